"""The array that stands for one of each network: their values beside each other, and the shape of one of them.

Code that is written for one network sees the array of one: its shape, its dtype, its axes. The values of all of them
lie in an array with one axis more, that of the networks. It stands before the last axis, (N, E, C) for E arrays
(N, C): biases then meet activations as they always do, and where x is the same for all networks, x W of all is one
wide product with W (I, E, O) as it lies in memory.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from math import prod
from types import ModuleType
from typing import Any, ClassVar

from xpnet._numbers import Numbers
from xpnet._typing import Array
from xpnet.backends.dispatch import device, kind_of, namespace


class StackError(TypeError):
    """What is computed for one network cannot be computed for several together; the message says what."""


class Stacked:
    """Arrays of ``count`` networks, or with ``count`` None one array that is the same for all.

    Attributes:
        array: the values, (..., E, C) for arrays (..., C), and (E,) for numbers; or the array that all share.
        count: E, or None.

    >>> import numpy as np
    >>> from xpnet import namespace
    >>> W = stacked(np.ones((3, 2, 4)), 2)  # of two networks, 3 inputs and 4 outputs each
    >>> x = stacked(np.ones((5, 3)))
    >>> namespace(x).matmul(x, W).shape
    (5, 4)
    """

    __slots__ = ("array", "count")
    __hash__ = object.__hash__
    __array_ufunc__ = None  # arrays of NumPy leave operators to this one
    __array_priority__ = 1000.0
    xp: ClassVar[ModuleType]
    #: What makes the namespace of such arrays on top of a library's.
    together: ClassVar[Callable[[ModuleType], ModuleType]]

    def __init__(self, array: Array, count: int | None) -> None:
        self.array, self.count = array, count

    @property
    def ndim(self) -> int:
        found: int = self.array.ndim
        return found if self.count is None else found - 1

    @property
    def shape(self) -> tuple[int, ...]:
        whole = tuple(self.array.shape)
        return whole if self.count is None else whole[:-2] + whole[-1:] if len(whole) > 1 else ()

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def device(self) -> Any:
        return device(self.array)

    @property
    def T(self) -> Any:  # noqa: N802  (the standard's name)
        return self.xp.matrix_transpose(self)

    mT = T  # noqa: N815

    def __array_namespace__(self, api_version: str | None = None) -> ModuleType:
        return self.xp

    def __getitem__(self, key: Any) -> Any:
        return behind(front(self)[_inside(key, self.count)], self)

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.count is None and isinstance(value, Stacked) and value.count is not None:
            raise StackError("values that differ between networks are put into an array that they share")
        whole = front(self)
        if isinstance(value, Stacked) and value.count is not None:
            missing = len(whole[_inside(key, self.count)].shape) - 1 - value.ndim
            value = front(value)
            value = namespace(value).reshape(value, (value.shape[0], *(1,) * missing, *value.shape[1:]))
        else:
            value = value.array if isinstance(value, Stacked) else value
        self.array = behind(kind_of(whole).put(whole, _inside(key, self.count), value), self).array

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<{'one' if self.count is None else self.count} of {self.shape}: {self.array!r}>"

    def _value(self, make: Callable[[Array], Any]) -> Any:
        if self.count is not None:
            raise StackError("the value of an array is asked for, which each network has its own of")
        return make(self.array)

    def __bool__(self) -> bool:
        return bool(self._value(bool))

    def __int__(self) -> int:
        return int(self._value(int))

    def __index__(self) -> int:
        return int(self._value(operator.index))

    def __float__(self) -> float:
        return float(self._value(float))


@cache
def kind(inner: type) -> type[Stacked]:
    """The class of stacked arrays on top of arrays of this type: namespaces are looked up by it."""
    return type("Stacked", (Stacked,), {"__slots__": ()})


def stacked(array: Array, count: int | None = None) -> Any:
    """An array as that of ``count`` networks, (..., count, C); or as one that all of them share."""
    if isinstance(array, Stacked):
        return array
    inner: Any = type(array)
    cls = kind(inner)
    if not hasattr(cls, "xp"):
        cls.xp = Stacked.together(namespace(array))
    return cls(array, count)


def plain(x: Any, count: int) -> Array:
    """The array (..., count, C) of one that is stacked; one that is shared is given to each."""
    if x.count is not None:
        return x.array
    xp, shape = namespace(x.array), tuple(x.shape)
    at = place(x.ndim)
    wide = xp.broadcast_to(xp.expand_dims(x.array, axis=at), (*shape[:at], count, *shape[at:]))
    return xp.asarray(wide, copy=True)


def place(ndim: int) -> int:
    """Where the axis of the networks stands among those of so many."""
    return max(ndim - 1, 0)


def moved(array: Array, start: int, end: int) -> Array:
    """An array with one axis in another place."""
    if start == end:
        return array
    axes = list(range(array.ndim))
    axes.insert(end, axes.pop(start))
    return namespace(array).permute_dims(array, tuple(axes))


def front(x: Stacked) -> Array:
    """The values with the axis of the networks, if there is one, in front."""
    return x.array if x.count is None else moved(x.array, place(x.ndim), 0)


def behind(array: Array, like: Stacked) -> Stacked:
    """What :func:`front` gave, computed with and brought back."""
    if like.count is None:
        return stacked(array)  # type: ignore[no-any-return]
    return stacked(moved(array, 0, place(array.ndim - 1)), like.count)  # type: ignore[no-any-return]


def _inside(key: Any, count: int | None) -> Any:
    """A key of one array as that of all of them, the axis of the networks in front."""
    key = key if isinstance(key, tuple) else (key,)
    if any(isinstance(part, Stacked) for part in key):
        raise StackError("an array is indexed with an array; take() and where() are computed for several networks")
    return key if count is None else (slice(None), *key)


def aligned(operands: tuple[Any, ...]) -> tuple[list[Any], int | None]:
    """Operands of an elementwise function as arrays that broadcast, and how many networks there are."""
    arrays = [x for x in operands if isinstance(x, Stacked)]
    count = next((x.count for x in arrays if x.count is not None), None)
    numbers = next((x for x in operands if isinstance(x, Numbers)), None)
    if count is None and numbers is not None:
        count = len(numbers.values)
    ndim = max((len(x.shape) for x in operands if hasattr(x, "shape")), default=0)
    like = next((x.array for x in arrays if is_floating(x)), arrays[0].array if arrays else None)
    return [_aligned(x, ndim, count, like) for x in operands], count


def is_floating(x: Stacked) -> bool:
    return bool(namespace(x.array).isdtype(x.dtype, "real floating"))


def _aligned(x: Any, ndim: int, count: int | None, like: Array) -> Any:
    if isinstance(x, Numbers):
        xp = namespace(like)
        x = stacked(xp.asarray(x.values, dtype=like.dtype, device=device(like)), len(x.values))
    if not isinstance(x, Stacked):
        x = stacked(x) if hasattr(x, "shape") else x
        if not isinstance(x, Stacked):
            return x
    if count is None:
        return x.array
    if x.count is None:
        return namespace(x.array).expand_dims(x.array, axis=-2) if x.ndim > 1 else x.array
    return namespace(x.array).expand_dims(x.array, axis=-1) if x.ndim == 0 and ndim else x.array


def _fits(x: Any) -> bool:
    return (
        isinstance(x, Stacked | Numbers | bool | int | float | complex)
        or hasattr(x, "__array_namespace__")
        or (hasattr(x, "shape") and hasattr(x, "dtype"))
    )


def _operator(compute: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Stacked, *others: Any) -> Any:
        if not all(map(_fits, others)):
            return NotImplemented
        arrays, count = aligned((self, *others))
        return stacked(compute(*arrays), count)

    return method


def _reflected(compute: Callable[..., Any]) -> Callable[..., Any]:
    return _operator(lambda a, b: compute(b, a))


def _augmented(assign: Callable[..., Any], compute: Callable[..., Any]) -> Callable[..., Any]:
    """In place where arrays allow it, as arrays themselves do, unless the result is one for each network."""
    new = _operator(compute)

    def method(self: Stacked, other: Any) -> Any:
        if not _fits(other):
            return NotImplemented
        (array, value), count = aligned((self, other))
        if array is not self.array or count != self.count:
            return new(self, other)
        self.array = assign(self.array, value)
        return self

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor"):
    _compute, _plain = getattr(operator, _name), _name.rstrip("_")
    setattr(Stacked, f"__{_plain}__", _operator(_compute))
    setattr(Stacked, f"__r{_plain}__", _reflected(_compute))
    setattr(Stacked, f"__i{_plain}__", _augmented(getattr(operator, f"i{_plain}"), _compute))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert"):
    setattr(Stacked, f"__{_name}__", _operator(getattr(operator, _name)))
