"""Whether a network here and a module of PyTorch are the same function: seen on samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from xpnet._checks import check_number
from xpnet._typing import Array
from xpnet.backends.dispatch import dtype_name, get_backend
from xpnet.interop.state import host
from xpnet.models.network import Sequential

#: How far scores may be apart, as a share of the largest: sums are added up in another order, layer after layer.
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
NOT_IN_WEIGHTS = (
    "what is not in the weights may differ: the order of layers of equal shapes, activations (torch.nn.GELU() is "
    "GELU(exact=True)), eps, padding, stride, a softmax at the end"
)


def check_predictions(module: Any, net: Sequential, x: Array, *, tolerance: float | None = None) -> float:
    """How far the scores of a network are from those of a module, as a share of the largest score; or an error.

    The module computes as in evaluation, without gradients, and is afterwards in the mode that it was in.

    Args:
        module: a ``torch.nn.Module``.
        net: the network that took its weights, of whatever backend.
        x: samples (N, ...), as ``net.predict`` takes them; a few that are like real ones.
        tolerance: the largest share that is no error, by default 1e-4 in float32 and 1e-9 in float64.

    Raises:
        TypeError: no module.
        ValueError: the scores are further apart, are not finite or of another shape.

    ``check_predictions(module, net, x_test[:100])`` after ``from_torch(module, net)`` gives 1e-7 or so.
    """
    if not callable(getattr(module, "modules", None)) or not callable(module):
        raise TypeError(f"module is of type {type(module).__name__}, expected a torch.nn.Module")
    least = TOLERANCE[dtype_name(net.dtype)]
    limit = least if tolerance is None else check_number(tolerance, "tolerance", least=0)
    ours, theirs = net.backend.to_numpy(net.predict(x)), _scores(module, host(net.backend.asarray(x)))
    if ours.shape != theirs.shape:
        raise ValueError(f"the network gives scores of shape {ours.shape}, the module {theirs.shape}: {NOT_IN_WEIGHTS}")
    largest = float(np.max(np.abs(theirs)))
    found = float(np.max(np.abs(ours - theirs)))
    share = found / largest if largest else found
    if not share <= limit:
        raise ValueError(
            f"scores of up to {largest:.3g} are apart by {found:.3g}, expected at most a share of {limit:g}: "
            f"{NOT_IN_WEIGHTS}"
        )
    return share


def _scores(module: Any, x: np.ndarray) -> np.ndarray:
    """What a module makes of samples, in its own dtype and on its own device."""
    first = next(iter(module.parameters()), None)
    backend = get_backend("torch", "cpu" if first is None else first.device)
    samples: Any = backend.asarray(np.ascontiguousarray(x))
    if first is not None and samples.is_floating_point():
        samples = samples.to(first.dtype)
    with _evaluating(module), backend.xp.no_grad():
        found = module(samples)
    return host(found)


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    before = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, training in before:
            each.training = training
