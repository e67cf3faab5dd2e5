"""The gradient of a loss with respect to a parameter of the book's layers, with many moves of its entries at once.

Whoever asks has a function f and an array, and no network. So f is called once with somebody listening to the layers:
if the array is a parameter of exactly one of them, and that and all that follow are a chain up to the loss, f is
computed along this chain. An entry moved by h moves the output of its layer by h times something known, as these layers
are linear in their parameters; what is behind computes stacks (K, N, ...) of K moved batches.

That f has no other way to the array, a weight decay for example, cannot be seen from outside. So all entries are moved
at once, and f and the chain have to agree on what that does; otherwise f is a black box, and is asked for each entry.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.dispatch import backend_of, dtype_name, name_of, quiet
from xpnet.book.images import Convolution
from xpnet.book.layers import Affine, BatchNormalization, PrintedSoftmaxWithLoss, Weighted
from xpnet.book.numbers import numbers
from xpnet.book.tape import Call, listening
from xpnet.layers.windows import every, padded

#: Where arrays are written to by arrays of indices, and NumPy's functions take them.
LIBRARIES = ("numpy", "cupy")
#: Fewer entries are asked for one by one.
FEWEST = 8
#: How many spacings f and the chain may differ by, of the size of f: both round a few hundred times.
SPACINGS = 2**12
NAMES: dict[type, tuple[str, ...]] = {Weighted: ("W", "b"), BatchNormalization: ("gamma", "beta")}


@quiet
def through_layers(f: Callable[[Array], Any], p: Array, h: float) -> Array | None:
    """(f(p + h) - f(p - h)) / 2h for each entry of p, or None where f has to be asked for each."""
    if name_of(p) not in LIBRARIES or p.dtype != np.float64 or p.size < FEWEST or not p.flags.c_contiguous:
        return None
    value, chain = _value(f, p)
    if chain is None or not _agree(f, p, h, value, chain):
        return None
    first, *behind = chain
    size = prod(p.shape)
    most = max(1, backend_of(p).tile_bytes // (8 * prod(first.y.shape)))
    slopes = []
    for start in range(0, size, most):
        entries = np.arange(start, min(start + most, size))
        above, below = (_losses(_moved(first, p, entries, step), behind) for step in (h, -h))
        slopes.append((above - below) / (2 * h))
    for call in chain:
        if isinstance(call.layer, BatchNormalization):
            call.layer.settle(2 * size - 3)  # beside the three passes that there were
    return np.concatenate(slopes).reshape(p.shape)


def _value(f: Callable[[Array], Any], p: Array) -> tuple[float, list[Call] | None]:
    """f, and the chain of calls from the layer that p belongs to up to the loss, if there is one."""
    with listening() as calls:
        value = float(f(p))
    owners = [i for i, call in enumerate(calls) if any(getattr(call.layer, n) is p for n in _names(call.layer))]
    chain = calls[owners[0] :] if len(owners) == 1 else []
    able = all(hasattr(call.layer, "many") for call in chain[1:])
    linked = able and all(after.x is before.y for before, after in pairwise(chain))
    ends = bool(chain) and isinstance(chain[-1].layer, PrintedSoftmaxWithLoss) and chain[-1].x.ndim == 2
    return value, chain if linked and ends and len({id(call.layer) for call in chain}) == len(chain) else None


def _names(layer: Any) -> tuple[str, ...]:
    return next((names for kind, names in NAMES.items() if isinstance(layer, kind)), ())


def _agree(f: Callable[[Array], Any], p: Array, h: float, value: float, chain: list[Call]) -> bool:
    """Whether f changes as the chain does, when all entries of p are moved.

    The output of the first layer is all that may be moved. Its input has to be what it was, and the layers behind are
    asked when p is back and f was called with it, as one of them may have weights that are made of p.
    """
    start = _losses(chain[0].y[None], chain[1:])
    before = p.copy()
    move = h * np.random.default_rng(0).uniform(0.5, 1, p.shape)
    p += backend_of(p).asarray(move, dtype_name(p.dtype))
    try:
        moved, again = _value(f, p)
    finally:
        p[...] = before
    f(p)
    if again is None or not bool(np.array_equal(again[0].x, chain[0].x)):
        return False
    found = _losses(again[0].y[None], again[1:]) - start
    allowed = SPACINGS * float(np.finfo(np.float64).eps) * max(1.0, abs(value))
    return abs(float(found[0]) - (moved - value)) <= allowed


def _losses(y: Array, behind: list[Call]) -> Array:
    """The loss (K,) of each of K batches (K, N, ...) that a layer may have returned."""
    for call in behind:
        y = call.layer.many(y)
    return y


def _moved(call: Call, p: Array, entries: np.ndarray, h: float) -> Array:
    """The output (K, N, ...) of a layer with each of K entries of its parameter moved by h."""
    layer, x, y = call
    stack = np.repeat(y[None], len(entries), axis=0)
    move = numbers().asarray
    each, where = move(np.arange(len(entries))), [move(index) for index in np.unravel_index(entries, p.shape)]
    if isinstance(layer, Affine):
        rows = x.reshape(x.shape[0], -1)
        stack[each, :, where[-1]] += h if p is layer.b else h * rows[:, where[0]].T
    elif isinstance(layer, BatchNormalization):
        flat = stack.reshape(len(entries), y.shape[0], -1)
        flat[each, :, where[0]] += h if p is layer.beta else h * layer.normal[:, where[0]].T
    elif p is layer.b:
        stack[each, :, where[0]] += h
    else:
        _move_filters(layer, x, stack, np.unravel_index(entries, p.shape), h)
    return stack


def _move_filters(layer: Convolution, x: Array, stack: Array, where: Any, h: float) -> None:
    """Add to outputs (K, N, F, H', W') of a convolution what entries f, c, i, j of its W make of h."""
    s, (out_h, out_w) = layer.stride, stack.shape[3:]
    x = padded(padded(x, 2, layer.pad, layer.pad), 3, layer.pad, layer.pad)
    for k, (f, c, i, j) in enumerate(zip(*where, strict=True)):
        stack[k, :, f] += h * every(every(x[:, c], 1, i, s, out_h), 2, j, s, out_w)
