"""What is recorded: each function with its derivatives, in the same functions, so that they can be recorded too.

A pullback takes the gradient ``g`` of what follows, with respect to the result ``y``, to that with respect to one
operand. ``xp`` is the recording namespace, which computes on arrays as they are and records what is done to variables,
so that the same pullback serves gradients and gradients of gradients.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from math import log, nan, prod
from types import ModuleType
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import quiet, widest_floating

#: ``pullback(xp, g, y, *operands, **options)``.
Pullback = Callable[..., Array]


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One function of the standard.

    Attributes:
        name: as the standard calls it.
        pullbacks: one for each operand; None where there is no derivative, or it is zero almost everywhere.
        options: names of what follows the operands, in order.
        symbol: how a picture calls it.
        compute: what computes it, by default the namespace's function of that name.
        each: for a function of a sequence of arrays, the pullback to operand i, which takes i first.
        spreads: whether operands are broadcast against each other, which a gradient has to undo.
        own: whether it is the recording namespace's own, and none of the standard's.
    """

    name: str
    pullbacks: tuple[Pullback | None, ...] = ()
    options: tuple[str, ...] = ()
    symbol: str = ""
    compute: Callable[..., Array] | None = None
    each: Callable[..., Array] | None = None
    spreads: bool = False
    own: bool = False

    def pullback(self, i: int) -> Pullback | None:
        """The pullback to operand i, or None."""
        if self.each is not None:
            return partial(self.each, i)
        return self.pullbacks[i] if i < len(self.pullbacks) else None


#: Every operation that is recorded, by name.
OPERATIONS: dict[str, Operation] = {}


def _add(name: str, *pullbacks: Pullback | None, **rest: Any) -> Operation:
    OPERATIONS[name] = operation = Operation(name, pullbacks, **rest)
    return operation


def unbroadcast(xp: Any, g: Array, x: Array) -> Array:
    """g in the shape and dtype of x, which was broadcast: summed over the axes that were added or stretched."""
    if g.shape != x.shape:
        added = g.ndim - x.ndim
        axes = (*range(added), *(i + added for i, n in enumerate(x.shape) if n == 1))
        wide = _sums_in(xp, g, prod(g.shape) // max(1, prod(x.shape)))
        g = xp.sum(g, axis=axes if len(axes) > 1 else axes[0], dtype=wide, keepdims=not added)
        if added and len(axes) > added:
            g = xp.reshape(g, x.shape)
    return g if g.dtype == x.dtype else xp.astype(g, x.dtype)


#: Libraries that add up one after the other lose a digit of float32 from so many entries on.
MANY = 1000


def widened(xp: Any, x: Array) -> Array:
    """x in float32 if its dtype is narrower: one with a step of 2 from 2048 on adds up and counts no further."""
    return xp.astype(x, xp.float32) if _is_narrow(xp, x.dtype) else x


@cache
def _is_narrow(xp: ModuleType, dtype: Any) -> bool:
    return int(xp.finfo(dtype).bits) < 32


def _sums_in(xp: Any, g: Array, count: int) -> Any:
    """The dtype that so many entries of g are added up in; None for its own."""
    if count > MANY:
        return widest_floating(g)
    return xp.float32 if _is_narrow(xp, g.dtype) else None


def _per(xp: Any, g: Array, count: Array | int) -> Array:
    """g / count in the dtype of g, for a count that this need not hold."""
    shared = widened(xp, g) / count
    return shared if shared.dtype == g.dtype else xp.astype(shared, g.dtype)


def _as_floating(xp: Any, x: Array, like: Array) -> Array:
    """x in the dtype of ``like`` if it has integers, which wrap around where they are computed with, or booleans."""
    return x if xp.isdtype(x.dtype, "real floating") else xp.astype(x, like.dtype)


# --- elementwise, two operands -----------------------------------------------------------------------------------


def _power_base(xp: Any, g: Array, y: Array, a: Array, b: Any) -> Array:
    if isinstance(b, int | float):
        return g * (2 * a if b == 2 else b * a ** (b - 1)) if b else xp.zeros_like(g)
    b = _as_floating(xp, b, y)
    return g * xp.where(b == 0, xp.zeros_like(y), b * a ** xp.where(b == 0, xp.ones_like(b), b - 1))


def _power_exponent(xp: Any, g: Array, y: Array, a: Any, b: Array) -> Array:
    if isinstance(a, int | float):
        return g * y * (log(a) if a > 0 else 0.0 if a == 0 else nan)
    a = _as_floating(xp, a, y)
    return g * y * xp.log(xp.where(a == 0, xp.ones_like(a), a))  # 0^b stays 0 around b > 0


def _share(xp: Any, g: Array, y: Array, mine: Any, other: Any) -> Array:
    """g where this operand is the larger or smaller one; half of it at a tie, as from either side."""
    return xp.where(mine != y, xp.zeros_like(g), xp.where(other == y, 0.5 * g, g))


def _first(xp: Any, g: Array, y: Array, a: Any, b: Any) -> Array:
    return _share(xp, g, y, a, b)


def _second(xp: Any, g: Array, y: Array, a: Any, b: Any) -> Array:
    return _share(xp, g, y, b, a)


def _weight(xp: Any, g: Array, y: Array, mine: Any, other: Any) -> Array:
    """g times exp(mine) / exp(y); where y is infinite, what the maximum has."""
    infinite = xp.isinf(y)
    return xp.where(infinite, _share(xp, g, y, mine, other), g * xp.exp(xp.where(infinite, xp.zeros_like(y), mine - y)))


def _turned(xp: Any, g: Array, a: Array, b: Array) -> Array:
    """g a / (a² + b²), where the squares of what can be held cannot."""
    length = xp.hypot(a, b)
    return g * (a / length / length)


def _binary(name: str, symbol: str, compute: Any, *pullbacks: Pullback | None) -> Operation:
    return _add(name, *pullbacks, symbol=symbol, compute=compute, spreads=True)


ADD = _binary("add", "+", operator.add, lambda xp, g, y, a, b: g, lambda xp, g, y, a, b: g)
SUBTRACT = _binary("subtract", "-", operator.sub, lambda xp, g, y, a, b: g, lambda xp, g, y, a, b: -g)
MULTIPLY = _binary("multiply", "*", operator.mul, lambda xp, g, y, a, b: g * b, lambda xp, g, y, a, b: g * a)
DIVIDE = _binary("divide", "/", operator.truediv, lambda xp, g, y, a, b: g / b, lambda xp, g, y, a, b: -g * (y / b))
POW = _binary("pow", "**", operator.pow, _power_base, _power_exponent)
REMAINDER = _binary(
    "remainder", "%", operator.mod, lambda xp, g, y, a, b: g, lambda xp, g, y, a, b: -g * xp.floor_divide(a, b)
)
FLOOR_DIVIDE = _binary("floor_divide", "//", operator.floordiv)
_binary("maximum", "", None, _first, _second)
_binary("minimum", "", None, _first, _second)
_binary("logaddexp", "", None, _weight, lambda xp, g, y, a, b: _weight(xp, g, y, b, a))
_binary("hypot", "", None, lambda xp, g, y, a, b: g * (a / y), lambda xp, g, y, a, b: g * (b / y))
_binary("atan2", "", None, lambda xp, g, y, a, b: _turned(xp, g, b, a), lambda xp, g, y, a, b: _turned(xp, -g, a, b))
_add(
    "where",
    None,
    lambda xp, g, y, c, a, b: xp.where(c, g, xp.zeros_like(g)),
    lambda xp, g, y, c, a, b: xp.where(c, xp.zeros_like(g), g),
    spreads=True,
)
EQUAL = _binary("equal", "==", operator.eq)
NOT_EQUAL = _binary("not_equal", "!=", operator.ne)
LESS = _binary("less", "<", operator.lt)
LESS_EQUAL = _binary("less_equal", "<=", operator.le)
GREATER = _binary("greater", ">", operator.gt)
GREATER_EQUAL = _binary("greater_equal", ">=", operator.ge)
AND = _binary("logical_and", "and", None)
OR = _binary("logical_or", "or", None)
XOR = _binary("logical_xor", "xor", None)

# --- elementwise, one operand ------------------------------------------------------------------------------------

NEGATIVE = _add("negative", lambda xp, g, y, x: -g, symbol="-", compute=operator.neg)
POSITIVE = _add("positive", lambda xp, g, y, x: g, symbol="+", compute=operator.pos)
ABS = _add("abs", lambda xp, g, y, x: g * xp.sign(x), symbol="|x|", compute=abs)
_add("exp", lambda xp, g, y, x: g * y)
_add("expm1", lambda xp, g, y, x: g * xp.exp(x))
_add("log", lambda xp, g, y, x: g / x)
_add("log1p", lambda xp, g, y, x: g / (1 + x))
_add("log2", lambda xp, g, y, x: g / (log(2) * x))
_add("log10", lambda xp, g, y, x: g / (log(10) * x))
_add("sqrt", lambda xp, g, y, x: 0.5 * g / y)
_add("square", lambda xp, g, y, x: g * (2 * x), symbol="**2")
_add("reciprocal", lambda xp, g, y, x: -g * (y * y), symbol="1/x")
_add("sin", lambda xp, g, y, x: g * xp.cos(x))
_add("cos", lambda xp, g, y, x: -g * xp.sin(x))
_add("tan", lambda xp, g, y, x: g * (1 + y * y))
_add("sinh", lambda xp, g, y, x: g * xp.cosh(x))
_add("cosh", lambda xp, g, y, x: g * xp.sinh(x))
_add("tanh", lambda xp, g, y, x: g * (1 - y * y))
_add("asin", lambda xp, g, y, x: g / xp.sqrt(1 - x * x))
_add("acos", lambda xp, g, y, x: -g / xp.sqrt(1 - x * x))
_add("atan", lambda xp, g, y, x: g / (1 + x * x))
_add("asinh", lambda xp, g, y, x: g / xp.hypot(x, xp.ones_like(x)))
_add("acosh", lambda xp, g, y, x: g / (xp.sqrt(x - 1) * xp.sqrt(x + 1)))
_add("atanh", lambda xp, g, y, x: g / (1 - x * x))
ASTYPE = _add(
    "astype", lambda xp, g, y, x, dtype, copy=True: xp.astype(g, x.dtype), options=("dtype", "copy"), own=True
)
#: To integers or booleans: nothing comes back.
TO_EXACT = Operation("astype", (None,), options=("dtype", "copy"), own=True)
for _name in ("sign", "floor", "ceil", "trunc", "round", "isfinite", "isnan", "isinf"):
    _add(_name, None)
NOT = _add("logical_not", None, symbol="not")

# --- matrices ----------------------------------------------------------------------------------------------------


def _matmul_left(xp: Any, g: Array, y: Array, a: Array, b: Array) -> Array:
    if a.ndim == 2 and b.ndim == 2:
        return xp.matmul(g, xp.matrix_transpose(b))
    if a.ndim == 1 and b.ndim == 1:
        return g * b
    if b.ndim == 1:  # (..., N, K) times (K,): an outer product
        return unbroadcast(xp, g[..., None] * b, a)
    rows = g[..., None, :] if a.ndim == 1 else g
    found = xp.matmul(rows, xp.matrix_transpose(b))
    return unbroadcast(xp, found[..., 0, :] if a.ndim == 1 else found, a)


def _matmul_right(xp: Any, g: Array, y: Array, a: Array, b: Array) -> Array:
    if a.ndim == 2 and b.ndim == 2:
        return xp.matmul(xp.matrix_transpose(a), g)
    if a.ndim == 1 and b.ndim == 1:
        return g * a
    if a.ndim == 1:  # (K,) times (..., K, M): an outer product
        return unbroadcast(xp, a[:, None] * g[..., None, :], b)
    columns = g[..., None] if b.ndim == 1 else g
    found = xp.matmul(xp.matrix_transpose(a), columns)
    return unbroadcast(xp, found[..., 0] if b.ndim == 1 else found, b)


MATMUL = _add("matmul", _matmul_left, _matmul_right, symbol="@", compute=quiet(operator.matmul), spreads=True)
MATRIX_TRANSPOSE = _add("matrix_transpose", lambda xp, g, y, x: xp.matrix_transpose(g), symbol="T")

# --- over axes ---------------------------------------------------------------------------------------------------


def _axes(x: Array, axis: Any) -> tuple[int, ...]:
    wanted = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(i % x.ndim for i in wanted)


def _stretched(xp: Any, g: Array, x: Array, axis: Any, keepdims: bool) -> Array:
    """What was reduced over an axis, with an axis of length 1 in its place."""
    if keepdims or axis is None:
        return g
    axes = _axes(x, axis)
    return xp.reshape(g, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


def _sum(xp: Any, g: Array, y: Array, x: Array, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Array:
    g = xp.broadcast_to(_stretched(xp, g, x, axis, keepdims), x.shape)
    return g if g.dtype == x.dtype else xp.astype(g, x.dtype)


def _mean(xp: Any, g: Array, y: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    count = prod(x.shape[i] for i in _axes(x, axis))
    return xp.broadcast_to(_per(xp, _stretched(xp, g, x, axis, keepdims), count), x.shape)


def _extreme(xp: Any, g: Array, y: Array, x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """g to the largest or smallest entry; shared alike where there are several."""
    found = x == _stretched(xp, y, x, axis, keepdims)
    count = xp.sum(widened(xp, xp.astype(found, x.dtype)), axis=axis, keepdims=True)
    share = xp.broadcast_to(_per(xp, _stretched(xp, g, x, axis, keepdims), count), x.shape)
    return xp.where(found, share, xp.zeros_like(share))


_add("sum", _sum, options=("axis", "dtype", "keepdims"))
_add("mean", _mean, options=("axis", "keepdims"))
_add("max", _extreme, options=("axis", "keepdims"))
_add("min", _extreme, options=("axis", "keepdims"))
for _name in ("argmax", "argmin", "any", "all"):
    _add(_name, None, options=("axis", "keepdims"))

# --- shapes ------------------------------------------------------------------------------------------------------


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


def _unsliced(xp: Any, g: Array, y: Array, x: Array, key: Any) -> Array:
    return xp.put_slice(g, key, x.shape)


_add("reshape", _reshaped, options=("shape", "copy"))
_add("expand_dims", _reshaped, options=("axis",))
_add("squeeze", _reshaped, options=("axis",))
PERMUTE_DIMS = _add("permute_dims", _permuted, options=("axes",), symbol="T")
_add("broadcast_to", lambda xp, g, y, x, shape: unbroadcast(xp, g, x), options=("shape",))
_add("flip", lambda xp, g, y, x, axis=None: xp.flip(g, axis=axis), options=("axis",))
CONCAT = _add("concat", options=("axis",), each=_concatenated)
STACK = _add("stack", options=("axis",), each=_stacked)
TAKE = _add("take", lambda xp, g, y, x, rows, axis: xp.put_rows(g, rows, x.shape[axis], axis), None, options=("axis",))
GET = _add("getitem", _unsliced, options=("key",), symbol="[ ]", compute=lambda x, key: x[key])
#: Zeros of a shape with g in the place of a slice: what a slice has for a pullback.
PUT = _add("put_slice", lambda xp, g, y, x, key, shape: g[key], options=("key", "shape"), symbol="0[ ]=", own=True)
#: Zeros with the rows of g added in their places along an axis of n: what rows have for a pullback.
PUT_ROWS = _add(
    "put_rows",
    lambda xp, g, y, x, rows, n, axis: xp.take(g, rows, axis=axis),
    None,
    options=("n", "axis"),
    symbol="0[ ]+=",
    own=True,
)
#: The same value again: where a function that is differentiated inside another takes its argument.
SAME = _add("same", lambda xp, g, y, x: g, symbol="=", compute=lambda x: x)
