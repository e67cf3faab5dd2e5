"""Loss scaling beside PyTorch's, and what a step that is left out leaves as it was."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.optimizers import OPTIMIZERS, SGD, Accumulate, ClipByNorm, LossScaling, WeightDecay
from xpnet.optimizers.loss_scaling import loss_scaling_in
from xpnet.optimizers.transforms import apply_transforms, init_transforms, step_when

OPTIONS = {"init_scale": 1024.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 3}


def overflows(rng, steps=60):
    """Gradients, some of which are not finite."""
    found = rng.normal(size=(steps, 4)).astype("float32")
    found[3, 1], found[4, 0], found[20, 2], found[21:26, 3] = np.inf, np.nan, -np.inf, np.inf
    return found


def host(backend, state):
    return {name: backend.to_numpy(a)[()] for name, a in state.items()}


def test_scales_and_steps_are_those_of_pytorch(training_backend, array, rng):
    torch = pytest.importorskip("torch")
    gradients, b = overflows(rng), training_backend
    theirs = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([theirs], lr=0.5)
    names = dict(zip(OPTIONS, ("init_scale", "growth_factor", "backoff_factor", "growth_interval"), strict=True))
    scaler = torch.amp.GradScaler("cpu", **{names[name]: value for name, value in OPTIONS.items()})
    transforms = (LossScaling(**OPTIONS),)
    params = {"W": array(np.ones(4, "float32"))}
    states = init_transforms(transforms, params)
    for g in gradients:
        scale = scaler.scale(torch.ones(())).item()  # which also makes PyTorch's first one
        assert float(states["0"]["scale"]) == scale
        theirs.grad = torch.from_numpy(g * np.float32(scale))
        scaler.step(optimizer)
        scaler.update()
        scaled = {"W": array(g * np.float32(scale))}
        grads, states, ready = apply_transforms(transforms, scaled, states, params)
        params, _ = step_when(ready, SGD(0.5), params, grads, {})
        assert bool(ready) == np.isfinite(g).all()
        np.testing.assert_array_equal(b.to_numpy(params["W"]), theirs.detach().numpy())
    assert host(b, states["0"])["skipped"] == 8
    assert float(states["0"]["scale"]) == scaler.get_scale()


def test_a_scale_grows_no_larger_than_float32(training_backend, array):
    scaling, params = LossScaling(init_scale=2.0**126, growth_interval=1), {"W": array(np.ones(1, "float32"))}
    state = scaling.init(params)
    for expected in (2.0**127, 2.0**127):
        _, state = scaling.update(params, state, params)
        assert float(state["scale"]) == expected
        assert int(state["good"]) == 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_left_out_leaves_everything_as_it_was(name, training_backend, array, rng):
    """With clipping, decay and accumulation behind it: only finite gradients count, to the last bit."""
    transforms = (LossScaling(2.0**8, backoff_factor=1.0), ClipByNorm(1.0), WeightDecay(0.1), Accumulate(2))
    optimizer, b = OPTIMIZERS[name](lr=0.1), training_backend
    gradients = overflows(rng, 30)
    good = [g for g in gradients if np.isfinite(g).all()]
    found = []
    for taken in (gradients, good):
        params = {"W": b.asarray(np.linspace(-1, 1, 4, dtype="float32"), copy=True)}
        state, states = optimizer.init(params), init_transforms(transforms, params)
        with np.errstate(all="ignore"):
            for g in taken:
                grads, states, ready = apply_transforms(transforms, {"W": array(g)}, states, params)
                params, state = step_when(ready, optimizer, params, grads, state)
        found.append([b.to_numpy(a) for a in leaves([params, state, states["3"]])])
    for after, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(after, expected)
    assert np.isfinite(found[0][0]).all()


def leaves(tree):
    if isinstance(tree, list | dict):
        return [a for each in (tree.values() if isinstance(tree, dict) else tree) for a in leaves(each)]
    return [tree]


def test_clipping_sees_gradients_of_the_loss_itself(training_backend, array):
    transforms = LossScaling(64.0), ClipByNorm(1.0)
    params = {"W": array(np.zeros(2, "float32"))}
    grads, *_ = apply_transforms(
        transforms,
        {"W": array(np.asarray([64 * 3.0, 64 * 4.0], "float32"))},
        init_transforms(transforms, params),
        params,
    )
    np.testing.assert_allclose(training_backend.to_numpy(grads["W"]), [0.6, 0.8], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init_scale": 0.0}, "init_scale is 0.0"),
        ({"growth_factor": 0.5}, "growth_factor is 0.5, expected a finite number, 1 or more"),
        ({"backoff_factor": 1.5}, "backoff_factor is 1.5"),
        ({"growth_interval": 0}, "growth_interval is 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LossScaling(**options)


def test_it_has_to_be_the_first():
    with pytest.raises(ValueError, match=r"transforms\[1\] is LossScaling\(.*\), and has to be the first"):
        loss_scaling_in((ClipByNorm(1.0), LossScaling()))


def test_without_parameters_there_is_nothing_to_do():
    assert LossScaling().init({}) == {}
    assert LossScaling().update({}, {}, {}) == ({}, {})
