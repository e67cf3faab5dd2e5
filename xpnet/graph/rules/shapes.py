"""Functions that move entries and leave them as they are: shapes, pieces, order; with their derivatives."""

from __future__ import annotations

from math import prod
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import device, namespace
from xpnet.graph.operations import add, unbroadcast


def _reshaped(xp: Any, g: Array, y: Array, x: Array, *rest: Any, **options: Any) -> Array:
    return xp.reshape(g, x.shape)


def _permuted(xp: Any, g: Array, y: Array, x: Array, axes: tuple[int, ...]) -> Array:
    return xp.permute_dims(g, tuple(sorted(range(x.ndim), key=lambda i: axes[i] % x.ndim)))


def _concatenated(i: int, xp: Any, g: Array, y: Array, *arrays: Array, axis: int | None = 0) -> Array:
    lengths = [prod(a.shape) if axis is None else a.shape[axis] for a in arrays]
    start = sum(lengths[:i])
    part = slice(start, start + lengths[i])
    if axis is None:
        return unbroadcast(xp, xp.reshape(g[part], arrays[i].shape), arrays[i])
    return unbroadcast(xp, g[(*[slice(None)] * (axis % g.ndim), part, ...)], arrays[i])


def _stacked(i: int, xp: Any, g: Array, y: Array, *arrays: Array, axis: int = 0) -> Array:
    return unbroadcast(xp, g[(*[slice(None)] * (axis % g.ndim), i, ...)], arrays[i])


_ALL = slice(None)


def _unsliced(xp: Any, g: Array, y: Array, x: Array, key: Any) -> Array:
    if type(key) is tuple and all(k is None or k is ... or (type(k) is slice and k == _ALL) for k in key):
        return xp.reshape(g, x.shape)  # only axes were added
    return xp.put_slice(g, key, x.shape)


def _rolled(xp: Any, g: Array, y: Array, x: Array, shift: Any, axis: Any = None) -> Array:
    return xp.roll(g, tuple(-n for n in shift) if isinstance(shift, tuple | list) else -shift, axis=axis)


def _repeated(xp: Any, g: Array, y: Array, x: Array, repeats: Any, axis: int | None = None) -> Array:
    """The sum of an entry's copies, which lie side by side."""
    if isinstance(repeats, int):
        shape = (prod(x.shape),) if axis is None else x.shape
        axis = 0 if axis is None else axis % x.ndim
        copies = xp.reshape(g, (*shape[: axis + 1], repeats, *shape[axis + 1 :]))
        return xp.reshape(xp.sum(copies, axis=axis + 1), x.shape)
    n = prod(x.shape) if axis is None else x.shape[axis]
    rows = xp.library.repeat(xp.library.arange(n, device=device(g)), repeats)
    g = xp.put_rows(g, rows, n, 0 if axis is None else axis % x.ndim)
    return xp.reshape(g, x.shape)


def _sorted(
    xp: Any, g: Array, y: Array, x: Array, axis: int = -1, descending: bool = False, stable: bool = True
) -> Array:
    order = xp.argsort(x, axis=axis, descending=descending, stable=stable)
    return xp.take_along_axis(g, xp.argsort(order, axis=axis), axis=axis)


add("reshape", _reshaped)
add("expand_dims", _reshaped)
SQUEEZE = add("squeeze", _reshaped)
PERMUTE_DIMS = add("permute_dims", _permuted, symbol="T")
add("broadcast_to", lambda xp, g, y, x, shape: unbroadcast(xp, g, x))
add("flip", lambda xp, g, y, x, axis=None: xp.flip(g, axis=axis))
add("roll", _rolled)
REPEAT = add("repeat", _repeated, compute=lambda x, repeats, axis=None: namespace(x).repeat(x, repeats, axis=axis))
CONCAT = add("concat", each=_concatenated)
STACK = add("stack", each=_stacked)
SORT = add("sort", _sorted)
ARGSORT = add("argsort", None)
TAKE = add("take", lambda xp, g, y, x, rows, axis: xp.put_rows(g, rows, x.shape[axis], axis), None, options=("axis",))
GET = add("getitem", _unsliced, options=("key",), symbol="[ ]", compute=lambda x, key: x[key])
#: Zeros of a shape with g in the place of a slice: what a slice has for a pullback.
PUT = add("put_slice", lambda xp, g, y, x, key, shape: g[key], options=("key", "shape"), symbol="0[ ]=", own=True)
#: Zeros with the rows of g added in their places along an axis of n: what rows have for a pullback.
PUT_ROWS = add(
    "put_rows",
    lambda xp, g, y, x, rows, n, axis: xp.take(g, rows, axis=axis),
    None,
    options=("n", "axis"),
    symbol="0[ ]+=",
    own=True,
)
#: The same value again: where a function that is differentiated inside another takes its argument.
SAME = add("same", lambda xp, g, y, x: g, symbol="=", compute=lambda x: x)
