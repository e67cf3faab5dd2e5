"""Functions over axes: sums, products, extremes, counts, and their running kin, with their derivatives."""

from __future__ import annotations

from math import prod
from typing import Any

from xpnet._typing import Array
from xpnet.graph.operations import add, axes_of, cast, per, stretched, widened


def _sum(xp: Any, g: Array, y: Array, x: Array, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Array:
    g = xp.broadcast_to(stretched(xp, g, x, axis, keepdims), x.shape)
    return g if g.dtype == x.dtype else cast(xp, g, x.dtype)


def _mean(xp: Any, g: Array, y: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    count = prod(x.shape[i] for i in axes_of(x, axis))
    return xp.broadcast_to(per(xp, stretched(xp, g, x, axis, keepdims), count), x.shape)


def _extreme(xp: Any, g: Array, y: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """g to the largest or smallest entry; shared alike where there are several."""
    found = x == stretched(xp, y, x, axis, keepdims)
    count = xp.sum(widened(xp, xp.astype(found, x.dtype)), axis=axis, keepdims=True)
    share = xp.broadcast_to(per(xp, stretched(xp, g, x, axis, keepdims), count), x.shape)
    return xp.where(found, share, xp.zeros_like(share))


def _product(
    xp: Any, g: Array, y: Array, x: Array, axis: Any = None, dtype: Any = None, keepdims: bool = False
) -> Array:
    """g times the product of all the others, which a quotient y / x would not give where an entry is 0."""
    axes = axes_of(x, axis)
    order = (*(i for i in range(x.ndim) if i not in axes), *axes)
    kept = tuple(x.shape[i] for i in order[: x.ndim - len(axes)])
    rows = xp.reshape(xp.permute_dims(cast(xp, x, y.dtype), order), (*kept, prod(x.shape[i] for i in axes)))
    others = before(xp, rows) * xp.flip(before(xp, xp.flip(rows, axis=-1)), axis=-1)
    others = xp.reshape(others, tuple(x.shape[i] for i in order))
    others = xp.permute_dims(others, tuple(sorted(range(x.ndim), key=lambda i: order[i])))
    return cast(xp, stretched(xp, g, x, axis, keepdims) * others, x.dtype)


def before(xp: Any, x: Array) -> Array:
    """The product of all entries before each, along the last axis."""
    return xp.cumulative_prod(x, axis=-1, include_initial=True)[..., :-1]


def _running_sum(
    xp: Any, g: Array, y: Array, x: Array, axis: Any = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    axis = 0 if axis is None else axis % x.ndim
    if include_initial:
        g = g[(*[slice(None)] * axis, slice(1, None), ...)]
    return cast(xp, xp.flip(xp.cumulative_sum(xp.flip(g, axis=axis), axis=axis), axis=axis), x.dtype)


def _running_product(
    xp: Any, g: Array, y: Array, x: Array, axis: Any = None, dtype: Any = None, include_initial: bool = False
) -> Array:
    """To entry k, the product before it times Σ g[j] x[k + 1] ... x[j] over j from k on, zeros and all.

    That sum s[k] is g[k] + x[k + 1] s[k + 1], and found for all k in as many steps as n has binary digits.
    """
    axis = 0 if axis is None else axis % x.ndim
    g, rows = (xp.moveaxis(part, axis, -1) for part in (g, cast(xp, x, y.dtype)))
    total = g[..., 1:] if include_initial else g
    n, step = rows.shape[-1], 1
    none, ones = xp.zeros_like(rows[..., :1]), xp.ones_like(rows[..., :1])
    factor = xp.concat([rows[..., 1:], none], axis=-1) if n else rows
    while step < n:
        ahead = xp.concat([total[..., step:], *[none] * step], axis=-1)
        total = total + factor * ahead
        factor = factor * xp.concat([factor[..., step:], *[ones] * step], axis=-1)
        step *= 2
    return cast(xp, xp.moveaxis(before(xp, rows) * total, -1, axis), x.dtype)


add("sum", _sum)
add("mean", _mean)
add("max", _extreme)
add("min", _extreme)
add("prod", _product)
add("cumulative_sum", _running_sum)
add("cumulative_prod", _running_product)
for _name in ("argmax", "argmin", "any", "all", "count_nonzero"):
    add(_name, None)
