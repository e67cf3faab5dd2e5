"""Each optimizer against torch.optim, where torch is installed: 50 steps on the same gradients, and the defaults."""

from __future__ import annotations

import numpy as np
import pytest
from optimizer_rules import CASES, OPTIONS, ids, problem, rates_of

from xpnet import optimizers
from xpnet.optimizers import OPTIMIZERS


@pytest.fixture
def torch():
    """torch in float64: its NAdam keeps a product in the default dtype, whatever the parameters are."""
    torch = pytest.importorskip("torch", reason="torch is not installed, so torch.optim is no oracle")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def torch_optimizer(torch, name, o, params):
    """The same of torch, with its decay where it is coupled (and AdamW's); and the decay that is left to do by hand."""
    betas = {"betas": (getattr(o, "beta1", 0), getattr(o, "beta2", 0))}
    eps = {"eps": getattr(o, "eps", 0)}
    kind, options = {
        "sgd": (torch.optim.SGD, {}),
        "momentum": (torch.optim.SGD, {"momentum": getattr(o, "momentum", 0)}),
        "nesterov": (torch.optim.SGD, {"momentum": getattr(o, "momentum", 0), "nesterov": True}),
        "adagrad": (torch.optim.Adagrad, eps),
        "adadelta": (torch.optim.Adadelta, {**eps, "rho": getattr(o, "decay_rate", 0)}),
        "rmsprop": (
            torch.optim.RMSprop,
            {**eps, "alpha": getattr(o, "decay_rate", 0), "centered": getattr(o, "centered", False)},
        ),
        "adam": (torch.optim.Adam, {**betas, **eps}),
        "adamw": (torch.optim.Adam, {**betas, **eps}),
        "adamax": (torch.optim.Adamax, {**betas, **eps}),
        "nadam": (torch.optim.NAdam, {**betas, **eps}),
        "radam": (torch.optim.RAdam, {**betas, **eps}),
    }[name]
    if o.decoupled and name == "adamw":
        kind = torch.optim.AdamW
    weights, biases = [w for w in params if w.ndim > 1], [w for w in params if w.ndim < 2]
    coupled = o.weight_decay if kind is torch.optim.AdamW or not o.decoupled else 0.0
    groups = [
        {"params": weights, "weight_decay": coupled},
        {"params": biases, "weight_decay": coupled if o.decay_biases else 0.0},
    ]
    return kind(groups, **options), (o.weight_decay if o.decoupled and kind is not torch.optim.AdamW else 0.0)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("name", "kwargs"), [c for c in CASES if c[0] not in ("lion", "ftrl") and "folded" not in c[1]], ids=ids
)
def test_as_torch_has_it(torch, rng, name, kwargs, option):
    optimizer = OPTIMIZERS[name](**{**kwargs, **OPTIONS[option]})
    params, gradients = problem(rng)
    theirs = {key: torch.asarray(value.copy()).requires_grad_() for key, value in params.items()}
    oracle, decay = torch_optimizer(torch, name, optimizer, theirs.values())
    for grads, lr in zip(gradients, rates_of(optimizer, option), strict=True):
        for key, w in theirs.items():
            w.grad = torch.asarray(grads[key].copy())
            w.data.mul_(1 - lr * decay)
        if optimizer.clip_value is not None:
            torch.nn.utils.clip_grad_value_(theirs.values(), optimizer.clip_value)
        if optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(theirs.values(), optimizer.clip_norm)
        for group in oracle.param_groups:
            group["lr"] = lr
        oracle.step()
    ours, state = {key: value.copy() for key, value in params.items()}, optimizer.init(params)
    for grads in gradients:
        ours, state = optimizer.step(ours, grads, state)
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key], value.detach().numpy(), rtol=1e-10, atol=1e-13)


def test_torch_has_the_same_defaults(torch):
    w = [torch.zeros(1)]
    for ours, theirs in (
        (optimizers.AdaGrad(), torch.optim.Adagrad(w)),
        (optimizers.AdaDelta(), torch.optim.Adadelta(w)),
        (optimizers.RMSprop(), torch.optim.RMSprop(w)),
        (optimizers.Adam(), torch.optim.Adam(w)),
        (optimizers.AdamW(), torch.optim.AdamW(w)),
        (optimizers.AdaMax(), torch.optim.Adamax(w)),
        (optimizers.NAdam(), torch.optim.NAdam(w)),
        (optimizers.RAdam(), torch.optim.RAdam(w)),
    ):
        options = theirs.defaults
        names = {"beta1": ("betas", 0), "beta2": ("betas", 1)}
        for name in ("lr", "eps", "weight_decay", "momentum_decay", "beta1", "beta2"):
            key, place = names.get(name, (name, None))
            if hasattr(ours, name) and key in options:
                wanted = options[key] if place is None else options[key][place]
                assert getattr(ours, name) == wanted, (ours, name)
