"""What is asked of arrays by NumPy's names: shapes, kinds, and whether two are equal."""

from __future__ import annotations

from math import prod
from typing import Any

from xpnet._typing import Array
from xpnet.graph.composed.standard import values
from xpnet.graph.operations import is_complex
from xpnet.graph.recording import Recording, composed, value


@composed("shape")
def shape(xp: Recording, a: Any) -> tuple[int, ...]:
    """The lengths of the axes."""
    return tuple(a.shape)


@composed("ndim")
def ndim(xp: Recording, a: Any) -> int:
    """How many axes there are."""
    return int(a.ndim)


@composed("size")
def size(xp: Recording, a: Any, axis: int | None = None) -> int:
    """How many entries there are, along an axis or in all."""
    return prod(a.shape) if axis is None else int(a.shape[axis])


@composed("iscomplexobj")
def iscomplexobj(xp: Recording, x: Any) -> bool:
    """Whether the dtype is complex."""
    return is_complex(xp, x.dtype)


@composed("isrealobj")
def isrealobj(xp: Recording, x: Any) -> bool:
    """Whether the dtype is not complex."""
    return not is_complex(xp, x.dtype)


@composed("iscomplex")
def iscomplex(xp: Recording, x: Any) -> Array:
    """Where there is an imaginary part."""
    return xp.imag(x) != 0 if is_complex(xp, x.dtype) else x != x + 0 * x


@composed("isreal")
def isreal(xp: Recording, x: Any) -> Array:
    """Where there is no imaginary part."""
    return xp.logical_not(iscomplex(xp, x))


@composed("isposinf")
def isposinf(xp: Recording, x: Any) -> Array:
    """Where it is infinite, above."""
    return xp.isinf(x) & (x > 0)


@composed("isneginf")
def isneginf(xp: Recording, x: Any) -> Array:
    """Where it is infinite, below."""
    return xp.isinf(x) & (x < 0)


@composed("isclose")
def isclose(xp: Recording, a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Array:
    """Where two are as good as equal."""
    a, b = (xp.constant(xp.asarray(value(x))) for x in (a, b))
    near = xp.abs(a - b) <= atol + rtol * xp.abs(b)
    found = (xp.isfinite(b) & near) | (a == b)
    return found | (xp.isnan(a) & xp.isnan(b)) if equal_nan else found


@composed("allclose")
def allclose(xp: Recording, a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether two are as good as equal everywhere."""
    return bool(xp.all(isclose(xp, a, b, rtol, atol, equal_nan)))


@composed("array_equal")
def array_equal(xp: Recording, a1: Any, a2: Any) -> bool:
    """Whether two have one shape and the same entries."""
    a1, a2 = (xp.constant(xp.asarray(value(x))) for x in (a1, a2))
    return a1.shape == a2.shape and bool(xp.all(a1 == a2))


@composed("argwhere")
def argwhere(xp: Recording, a: Array) -> Array:
    """The indices of what is not 0, one a row."""
    return xp.stack(list(values(xp, "nonzero", a)), axis=1)


@composed("flatnonzero")
def flatnonzero(xp: Recording, a: Array) -> Array:
    """The places of what is not 0, counted through."""
    return values(xp, "nonzero", xp.reshape(a, (-1,)))[0]


@composed("digitize")
def digitize(xp: Recording, x: Array, bins: Array, right: bool = False) -> Array:
    """Which bin each entry is in."""
    return values(xp, "searchsorted", bins, x, side="left" if right else "right")
