"""The namespace of stacked arrays: the standard's functions, each for all networks at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from types import ModuleType
from typing import Any

from xpnet._numbers import Numbers
from xpnet._typing import Array
from xpnet.backends.dispatch import device, kind_of, namespace
from xpnet.stacked.array import Stacked, StackError, aligned, behind, front, moved, place, plain, stacked

#: Functions of one element of each operand.
_ELEMENTWISE = """
abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_invert bitwise_or bitwise_xor ceil clip conj
copysign cos cosh divide equal exp expm1 floor floor_divide greater greater_equal hypot imag isfinite isinf isnan less
less_equal log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor maximum minimum multiply
negative not_equal positive pow real reciprocal remainder round sign signbit sin sinh sqrt square subtract tan tanh
trunc where
"""
ELEMENTWISE = set(_ELEMENTWISE.split())
#: Functions of axes that they take away, or keep with length 1.
REDUCTIONS = {"all", "any", "argmax", "argmin", "count_nonzero", "max", "mean", "min", "prod", "std", "sum", "var"}
#: Functions that look at a dtype, and at no values.
ABOUT = {"can_cast", "finfo", "iinfo", "isdtype", "result_type"}
#: Functions that make an array like another one, or of numbers alone.
LIKE = {"empty_like", "full_like", "ones_like", "zeros_like"}
CREATION = {"arange", "empty", "eye", "full", "linspace", "ones", "zeros"}


class Together(ModuleType):
    """``namespace(x)`` of stacked arrays on top of one library; what it lacks is an error that says so."""

    def __init__(self, library: ModuleType) -> None:
        super().__init__("xpnet.stacked.functions")
        self.library = library

    def __getattr__(self, name: str) -> Any:
        found = self._found(name)
        setattr(self, name, found)
        return found

    def _found(self, name: str) -> Any:
        if name in RULES:
            return _bound(RULES[name], self.library)
        own = getattr(self.library, name)
        if name in ELEMENTWISE:
            return _elementwise(own)
        if name in REDUCTIONS:
            return _reduction(own)
        if name in LIKE:
            return _like(own)
        if name in CREATION:
            return lambda *args, **options: stacked(own(*args, **options))
        if name in ABOUT:
            return lambda *args: own(*(x.array if isinstance(x, Stacked) else x for x in args))
        if name.startswith("_") or isinstance(own, type) or not callable(own):
            return own  # dtypes, numbers, and what a module has
        return partial(_refuse, name)


def _refuse(name: str, *_: Any, **__: Any) -> Any:
    raise StackError(f"{name}() is not computed for several networks together")


RULES: dict[str, Callable[..., Any]] = {}


def _rule(function: Callable[..., Any]) -> Callable[..., Any]:
    RULES[function.__name__] = function
    return function


def _bound(rule: Callable[..., Any], library: ModuleType) -> Callable[..., Any]:
    return lambda *args, **options: rule(library, *args, **options)


def _elementwise(own: Callable[..., Any]) -> Callable[..., Any]:
    def function(*operands: Any, **options: Any) -> Any:
        arrays, count = aligned(operands)
        return stacked(own(*arrays, **options), count)

    return function


def _like(own: Callable[..., Any]) -> Callable[..., Any]:
    def function(x: Any, *value: Any, **options: Any) -> Any:
        if any(isinstance(each, Stacked | Numbers) for each in value):
            return stacked(own(x.array, 0, **options), x.count) + value[0]
        return stacked(own(x.array, *value, **options), x.count)

    return function


def _axes(axis: Any, ndim: int) -> list[int]:
    """Axes of one array of so many as they are counted from the front."""
    given = tuple(range(ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    if not all(-ndim <= a < ndim for a in given):
        raise ValueError(f"axis {axis} is none of an array of {ndim} axes")
    return [a % ndim for a in given]


def _reduction(own: Callable[..., Any]) -> Callable[..., Any]:
    def function(x: Any, /, *, axis: Any = None, keepdims: bool = False, **options: Any) -> Any:
        if x.count is None:
            return stacked(own(x.array, axis=axis, keepdims=keepdims, **options))
        ndim, axes = x.ndim, _axes(axis, x.ndim)
        if not ndim:
            return x
        last, single = ndim - 1, isinstance(axis, int)
        whole = tuple(a + (a == last) for a in axes)
        if own.__name__.startswith("arg") and not single:
            raise StackError(f"{own.__name__}() of all axes is not computed for several networks together")
        found = own(x.array, axis=whole[0] if single else whole, keepdims=keepdims, **options)
        if not keepdims and last in axes:  # the networks' axis is the last one left
            found = moved(found, found.ndim - 1, place(found.ndim - 1))
        return stacked(found, x.count)

    return function


@_rule
def matmul(xp: ModuleType, a: Any, b: Any) -> Any:
    """a b of each network: one wide product where a is the same for all, or b."""
    a, b = stacked(a), stacked(b)
    if a.count is None and b.count is None:
        return stacked(xp.matmul(a.array, b.array))
    if min(a.ndim, b.ndim) < 2:
        raise StackError("matmul() of an array with one axis is not computed for several networks together")
    if a.ndim == b.ndim == 2:
        (n, k), (_, m) = a.shape, b.shape
        if a.count is None:
            return stacked(xp.reshape(xp.matmul(a.array, xp.reshape(b.array, (k, -1))), (n, b.count, m)), b.count)
        if b.count is None:
            return stacked(xp.reshape(xp.matmul(xp.reshape(a.array, (-1, k)), b.array), (n, a.count, m)), a.count)
    ndim = max(a.ndim, b.ndim)
    found = xp.matmul(_in_front(a, ndim), _in_front(b, ndim))
    return stacked(moved(found, 0, ndim - 1), a.count or b.count)


def _in_front(x: Stacked, ndim: int) -> Array:
    """The arrays of all networks with as many axes as asked, the networks' axis before them."""
    whole = front(x)
    if x.count is None:
        return whole
    missing = ndim - x.ndim
    return namespace(whole).reshape(whole, (x.count, *(1,) * missing, *x.shape)) if missing else whole


@_rule
def matrix_transpose(xp: ModuleType, x: Any) -> Any:
    if x.count is None:
        return stacked(xp.matrix_transpose(x.array))
    axes = list(range(x.array.ndim))
    axes[-3], axes[-1] = axes[-1], axes[-3]
    return stacked(xp.permute_dims(x.array, tuple(axes)), x.count)


@_rule
def reshape(xp: ModuleType, x: Any, shape: Any, **options: Any) -> Any:
    if x.count is None:
        return stacked(xp.reshape(x.array, shape, **options))
    shape, size = tuple(shape), x.size
    if -1 in shape:
        known = 1
        for length in shape:
            known *= length if length != -1 else 1
        shape = tuple(size // known if length == -1 else length for length in shape)
    if shape and x.ndim and shape[-1] == x.shape[-1]:
        return stacked(xp.reshape(x.array, (*shape[:-1], x.count, shape[-1])), x.count)
    return behind(xp.reshape(front(x), (x.count, *shape)), x)


@_rule
def permute_dims(xp: ModuleType, x: Any, axes: Any) -> Any:
    if x.count is None:
        return stacked(xp.permute_dims(x.array, axes))
    return behind(xp.permute_dims(front(x), (0, *(a % x.ndim + 1 for a in axes))), x)


@_rule
def expand_dims(xp: ModuleType, x: Any, *, axis: int = 0) -> Any:
    if x.count is None:
        return stacked(xp.expand_dims(x.array, axis=axis))
    return behind(xp.expand_dims(front(x), axis=axis % (x.ndim + 1) + 1), x)


@_rule
def squeeze(xp: ModuleType, x: Any, axis: Any) -> Any:
    if x.count is None:
        return stacked(xp.squeeze(x.array, axis=axis))
    return behind(xp.squeeze(front(x), axis=tuple(a + 1 for a in _axes(axis, x.ndim))), x)


@_rule
def flip(xp: ModuleType, x: Any, *, axis: Any = None) -> Any:
    if x.count is None:
        return stacked(xp.flip(x.array, axis=axis))
    return behind(xp.flip(front(x), axis=tuple(a + 1 for a in _axes(axis, x.ndim))), x)


@_rule
def broadcast_to(xp: ModuleType, x: Any, shape: Any) -> Any:
    if x.count is None:
        return stacked(xp.broadcast_to(x.array, shape))
    return behind(xp.broadcast_to(_in_front(x, len(shape)), (x.count, *shape)), x)


@_rule
def concat(xp: ModuleType, arrays: Any, *, axis: int = 0) -> Any:
    given, count = _all_stacked(arrays)
    if count is None:
        return stacked(xp.concat(given, axis=axis))
    ndim = given[0].ndim - 1
    (axis,) = _axes(axis, ndim)
    return stacked(xp.concat(given, axis=axis + (axis == ndim - 1)), count)


@_rule
def stack(xp: ModuleType, arrays: Any, *, axis: int = 0) -> Any:
    given, count = _all_stacked(arrays)
    if count is None:
        return stacked(xp.stack(given, axis=axis))
    ndim = given[0].ndim - 1
    fronts = [moved(a, place(ndim), 0) for a in given]
    return stacked(moved(xp.stack(fronts, axis=axis % (ndim + 1) + 1), 0, ndim), count)


def _all_stacked(arrays: Any) -> tuple[list[Array], int | None]:
    """Their values, those that are shared once for each network if one of them is not."""
    given = [stacked(a) for a in arrays]
    count = next((a.count for a in given if a.count is not None), None)
    return [a.array if count is None else plain(a, count) for a in given], count


@_rule
def take(xp: ModuleType, x: Any, indices: Any, *, axis: int = 0) -> Any:
    """Rows; each network may have its own of an array that all share."""
    x, indices = stacked(x), stacked(indices)
    (axis,) = _axes(axis, x.ndim)
    if indices.count is None:
        last = x.count is not None and axis == x.ndim - 1
        return stacked(xp.take(x.array, indices.array, axis=axis + last), x.count)
    if x.count is not None or axis:
        raise StackError("take() with indices of each network's own is computed along the first axis of a shared array")
    rows = xp.take(x.array, xp.reshape(indices.array, (-1,)), axis=0)
    found = xp.reshape(rows, (*indices.array.shape, *x.shape[1:]))
    return behind(found, stacked(indices.array, indices.count))


@_rule
def put_rows(xp: ModuleType, rows: Any, index: Any, length: int, axis: int) -> Any:
    """Zeros with rows added at these places along the first axis, where a place may come twice."""
    if index.count is not None or axis or rows.ndim < 2:
        raise StackError("rows are added at places that are the same for all networks")
    zeros = xp.zeros((length, *rows.array.shape[1:]), dtype=rows.dtype, device=device(rows.array))
    return stacked(kind_of(rows.array).add_at(zeros, index.array, rows.array), rows.count)


@_rule
def astype(xp: ModuleType, x: Any, dtype: Any, **options: Any) -> Any:
    return stacked(xp.astype(x.array, dtype, **options), x.count)


@_rule
def asarray(xp: ModuleType, x: Any, **options: Any) -> Any:
    if isinstance(x, Numbers):
        return stacked(xp.asarray(x.values, **options), len(x.values))
    given, count = (x.array, x.count) if isinstance(x, Stacked) else (x, None)
    return stacked(xp.asarray(given, **options), count)


Stacked.together = cache(Together)
