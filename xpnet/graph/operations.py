"""What is recorded: each function with its derivatives, in the same functions, so that they can be recorded too.

A pullback takes the gradient ``g`` of what follows, with respect to the result ``y``, to that with respect to one
operand. ``xp`` is the recording namespace, which computes on arrays as they are and records what is done to variables,
so that the same pullback serves gradients and gradients of gradients. The rules themselves are in ``rules/``.

Of complex numbers z = a + bi the gradient of a real y is dy/da - i dy/db, as HIPS autograd and JAX have it: the rule of
a holomorphic function is then the same as that of real numbers, without a conjugate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from math import prod
from types import ModuleType
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import widest_floating
from xpnet.graph.signatures import parameters_of

#: ``pullback(xp, g, y, *operands, **options)``.
Pullback = Callable[..., Array]


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One function of the standard.

    Attributes:
        name: as the standard calls it, with its folder: ``"linalg.solve"``.
        pullbacks: one for each operand; None where there is no derivative, or it is zero almost everywhere.
        options: names of what follows the operands, in order.
        symbol: how a picture calls it.
        compute: what computes it, by default the namespace's function of that name.
        each: for a function of a sequence of arrays, the pullback to operand i, which takes i first.
        spreads: whether operands are broadcast against each other, which a gradient has to undo.
        own: whether it is the recording namespace's own, and none of the standard's.
        operands: how many arrays it takes; a sequence of them counts as one.
    """

    name: str
    pullbacks: tuple[Pullback | None, ...] = ()
    options: tuple[str, ...] = ()
    symbol: str = ""
    compute: Callable[..., Array] | None = None
    each: Callable[..., Array] | None = None
    spreads: bool = False
    own: bool = False
    operands: int = 1

    def pullback(self, i: int) -> Pullback | None:
        """The pullback to operand i, or None."""
        if self.each is not None:
            return partial(self.each, i)
        return self.pullbacks[i] if i < len(self.pullbacks) else None


#: Every operation that is recorded, by name.
OPERATIONS: dict[str, Operation] = {}


def add(name: str, *pullbacks: Pullback | None, spreads: bool = False, **rest: Any) -> Operation:
    """An operation in the table, with the options that its signature has."""
    operands = max(2 if spreads else 1, len(pullbacks))
    rest.setdefault("options", parameters_of(name)[operands:])
    OPERATIONS[name] = operation = Operation(name, pullbacks, spreads=spreads, operands=operands, **rest)
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
    return g if g.dtype == x.dtype else cast(xp, g, x.dtype)


def cast(xp: Any, g: Array, dtype: Any) -> Array:
    """g in a dtype; its real part, where that has no other."""
    if g.dtype == dtype:
        return g
    if is_complex(xp, g.dtype) and not is_complex(xp, dtype):
        g = xp.real(g)
    return g if g.dtype == dtype else xp.astype(g, dtype)


@cache
def is_complex(xp: ModuleType, dtype: Any) -> bool:
    """Whether a dtype is of complex numbers."""
    return bool(xp.isdtype(dtype, "complex floating"))


@cache
def is_real(xp: ModuleType, dtype: Any) -> bool:
    """Whether a dtype is of real floating-point numbers."""
    return bool(xp.isdtype(dtype, "real floating"))


@cache
def kind_of_dtype(xp: ModuleType, dtype: Any) -> str:
    """Which of the standard's kinds a dtype is of: ``"bool"``, ``"signed integer"`` and so on; or none, ``""``."""
    kinds = ("bool", "signed integer", "unsigned integer", "real floating", "complex floating")
    return next((kind for kind in kinds if xp.isdtype(dtype, kind)), "")


def conjugate(xp: Any, x: Array) -> Array:
    """The conjugate of complex numbers; real ones as they are."""
    return xp.conj(x) if is_complex(xp, x.dtype) else x


#: Libraries that add up one after the other lose a digit of float32 from so many entries on.
MANY = 1000


def widened(xp: Any, x: Array) -> Array:
    """x in float32 if its dtype is narrower: one with a step of 2 from 2048 on adds up and counts no further."""
    return xp.astype(x, xp.float32) if is_narrow(xp, x.dtype) else x


@cache
def is_narrow(xp: ModuleType, dtype: Any) -> bool:
    """Whether a dtype is of floating-point numbers of less than 32 bits."""
    return is_real(xp, dtype) and int(xp.finfo(dtype).bits) < 32


def _sums_in(xp: Any, g: Array, count: int) -> Any:
    """The dtype that so many entries of g are added up in; None for its own."""
    if count > MANY:
        return None if is_complex(xp, g.dtype) else widest_floating(g)
    return xp.float32 if is_narrow(xp, g.dtype) else None


def per(xp: Any, g: Array, count: Array | int) -> Array:
    """g / count in the dtype of g, for a count that this need not hold."""
    shared = widened(xp, g) / count
    return shared if shared.dtype == g.dtype else xp.astype(shared, g.dtype)


def as_floating(xp: Any, x: Array, like: Array) -> Array:
    """x in the dtype of ``like`` if it has integers, which wrap around where they are computed with, or booleans."""
    return x if xp.isdtype(x.dtype, ("real floating", "complex floating")) else xp.astype(x, like.dtype)


def axes_of(x: Array, axis: Any) -> tuple[int, ...]:
    """The axes that an option names, counted from 0; all for None."""
    wanted = range(x.ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    return tuple(i % x.ndim for i in wanted)


def stretched(xp: Any, g: Array, x: Array, axis: Any, keepdims: bool) -> Array:
    """What was reduced over an axis, with an axis of length 1 in its place."""
    if keepdims or axis is None:
        return g
    axes = axes_of(x, axis)
    return xp.reshape(g, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))
