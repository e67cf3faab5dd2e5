"""NumPy's functions of entries and products that the standard has under no name."""

from __future__ import annotations

import math
from math import pi
from typing import Any

from xpnet._typing import Array
from xpnet.graph.composed.linalg import conjugated, ordered
from xpnet.graph.operations import is_complex
from xpnet.graph.recording import Recording, composed, value

# --- entries ---------------------------------------------------------------------------------------------------------


@composed("sinc")
def sinc(xp: Recording, x: Array, /) -> Array:
    """sin(πx) / (πx); near 0 by its series, so that derivatives of every order are right."""
    turned = pi * x
    near = xp.abs(turned) < 0.05
    square = xp.where(near, turned * turned, xp.zeros_like(turned))
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72 * (1 - square / 110))))
    away = xp.where(near, xp.ones_like(turned), turned)
    return xp.where(near, series, xp.sin(away) / away)


@composed("cbrt")
def cbrt(xp: Recording, x: Array, /) -> Array:
    """The cube root, of negative numbers too."""
    return xp.copysign(xp.abs(x) ** (1 / 3), x)


@composed("deg2rad", "radians")
def deg2rad(xp: Recording, x: Array, /) -> Array:
    """Radians of degrees."""
    return x * (pi / 180)


@composed("rad2deg", "degrees")
def rad2deg(xp: Recording, x: Array, /) -> Array:
    """Degrees of radians."""
    return x * (180 / pi)


@composed("exp2")
def exp2(xp: Recording, x: Array, /) -> Array:
    """2^x."""
    return xp.exp(math.log(2) * x)


@composed("logaddexp2")
def logaddexp2(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """The binary logarithm of 2^a + 2^b."""
    return xp.logaddexp(x1 * math.log(2), x2 * math.log(2)) / math.log(2)


@composed("float_power")
def float_power(xp: Recording, x1: Array, x2: Any, /) -> Array:
    """x1 to the power of x2."""
    return x1**x2


@composed("fabs")
def fabs(xp: Recording, x: Array, /) -> Array:
    """The size of real numbers."""
    return xp.abs(x)


@composed("fix")
def fix(xp: Recording, x: Array, /) -> Array:
    """Towards zero."""
    return xp.trunc(x)


@composed("fmax")
def fmax(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """The larger one; the other one where one is NaN."""
    return _but_nan(xp, xp.maximum, x1, x2)


@composed("fmin")
def fmin(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """The smaller one; the other one where one is NaN."""
    return _but_nan(xp, xp.minimum, x1, x2)


def _but_nan(xp: Recording, function: Any, x1: Any, x2: Any) -> Array:
    first = isinstance(x1, int | float) and x1 != x1
    second = isinstance(x2, int | float) and x2 != x2
    if first or second:
        return (x2 if first else x1) + 0.0
    one = x1 if isinstance(x1, int | float) else xp.where(xp.isnan(x1), _like(xp, x2, x1), x1)
    two = x2 if isinstance(x2, int | float) else xp.where(xp.isnan(x2), _like(xp, x1, x2), x2)
    return function(one, two)


def _like(xp: Recording, x: Any, other: Array) -> Array:
    return xp.full_like(other, x) if isinstance(x, int | float) else x


@composed("heaviside")
def heaviside(xp: Recording, x1: Array, x2: Any, /) -> Array:
    """0 below 0, 1 above, and x2 there."""
    positive: Any = xp.constant(x1)
    side = xp.astype(positive > 0, value(x1).dtype)
    return xp.where(x1 == 0, _like(xp, x2, x1), side)


@composed("angle")
def angle(xp: Recording, z: Array, deg: bool = False) -> Array:
    """The argument of complex numbers."""
    found = xp.atan2(xp.imag(z), xp.real(z)) if is_complex(xp, z.dtype) else xp.atan2(xp.zeros_like(z), z)
    return found * (180 / pi) if deg else found


@composed("real_if_close")
def real_if_close(xp: Recording, a: Array, tol: float = 100) -> Array:
    """The real part, where there is hardly another one."""
    if not is_complex(xp, a.dtype):
        return a
    width = tol * float(xp.finfo(a).eps) if tol > 1 else tol
    return xp.real(a) if bool(xp.library.all(xp.library.abs(xp.library.imag(value(a))) < width)) else a


@composed("nan_to_num")
def nan_to_num(
    xp: Recording, x: Array, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> Array:
    """Numbers in the places of NaN and infinities, where nothing has a derivative."""
    limits = xp.finfo(x)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    ends = xp.where(x > 0, xp.full_like(x, high), xp.full_like(x, low))
    return xp.where(xp.isnan(x), xp.full_like(x, nan), xp.where(xp.isinf(x), ends, x))


@composed("divmod")
def divided(xp: Recording, x1: Array, x2: Array, /) -> tuple[Array, Array]:
    """Quotient and remainder."""
    return x1 // x2, x1 % x2


@composed("fmod")
def fmod(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """The remainder of a division towards zero."""
    return x1 - x2 * xp.trunc(x1 / x2)


@composed("modf")
def modf(xp: Recording, x: Array, /) -> tuple[Array, Array]:
    """What stands behind the point, and before it."""
    whole = xp.trunc(x)
    return x - whole, whole


# --- products --------------------------------------------------------------------------------------------------------


@composed("dot")
def dot(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """NumPy's: over the last axis of x1 and the last but one of x2."""
    if not getattr(x1, "ndim", 0) or not getattr(x2, "ndim", 0):
        return x1 * x2
    if x1.ndim <= 2 and x2.ndim <= 2:
        return xp.matmul(x1, x2)
    return xp.tensordot(x1, x2, axes=([-1], [-min(2, x2.ndim)]))


@composed("inner")
def inner(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """Over the last axes of both."""
    if not x1.ndim or not x2.ndim:
        return x1 * x2
    return xp.tensordot(x1, x2, axes=([-1], [-1]))


@composed("vdot")
def vdot(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """Of all entries; the first ones conjugated."""
    return xp.sum(conjugated(xp, xp.reshape(x1, (-1,))) * xp.reshape(x2, (-1,)))


@composed("outer")
def outer(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """All products of an entry of one and one of the other."""
    return xp.reshape(xp.asarray(x1), (-1, 1)) * xp.reshape(xp.asarray(x2), (1, -1))


@composed("kron")
def kron(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """x2 times each entry of x1, in its place."""
    n = max(x1.ndim, x2.ndim)
    first, second = ((*[1] * (n - x.ndim), *x.shape) for x in (x1, x2))
    left = xp.reshape(x1, tuple(part for k in first for part in (k, 1)))
    right = xp.reshape(x2, tuple(part for k in second for part in (1, k)))
    return xp.reshape(left * right, tuple(a * b for a, b in zip(first, second, strict=True)))


@composed("cross")
def cross(
    xp: Recording, a: Array, b: Array, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Array:
    """NumPy's, with axes for each; of vectors of two entries, the third one."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = xp.moveaxis(a, axisa, -1), xp.moveaxis(b, axisb, -1)
    if a.shape[-1] == 2 == b.shape[-1]:
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    a, b = (xp.concat([x, xp.zeros_like(x[..., :1])], axis=-1) if x.shape[-1] == 2 else x for x in (a, b))
    return xp.moveaxis(xp.linalg.cross(a, b), -1, axisc)


@composed("trace")
def trace(
    xp: Recording, a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Array:
    """The sum of a diagonal, of the first two axes if not told otherwise."""
    return xp.sum(diagonal(xp, a, offset, axis1, axis2), axis=-1, dtype=dtype)


@composed("diagonal")
def diagonal(xp: Recording, a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """A diagonal, of the first two axes if not told otherwise."""
    axes = (axis1 % a.ndim, axis2 % a.ndim)
    return xp.linalg.diagonal(ordered(xp, a, (*(i for i in range(a.ndim) if i not in axes), *axes)), offset=offset)


@composed("diag")
def diag(xp: Recording, v: Array, k: int = 0) -> Array:
    """A diagonal of a matrix, or the matrix of a diagonal."""
    if v.ndim == 2:
        return xp.linalg.diagonal(v, offset=k)
    if v.ndim != 1:
        raise ValueError(f"diag is of a vector or a matrix, and this has shape {tuple(v.shape)}")
    n = v.shape[0] + abs(k)
    start = k if k >= 0 else -k * n
    places = slice(start, start + (v.shape[0] - 1) * (n + 1) + 1, n + 1)
    return xp.reshape(xp.put_slice(v, (places,), (n * n,)), (n, n))


@composed("diagflat")
def diagflat(xp: Recording, v: Array, k: int = 0) -> Array:
    """The matrix with all entries on a diagonal."""
    return diag(xp, xp.reshape(v, (-1,)), k)


@composed("make_diagonal")
def make_diagonal(xp: Recording, x: Array, offset: int = 0, axis1: int = -1, axis2: int = -2) -> Array:
    """Matrices of vectors, along the last axis, on their diagonals."""
    eye = xp.library.eye(x.shape[-1], dtype=x.dtype)
    return x[..., None] * eye


@composed("convolve")
def convolve(xp: Recording, a: Array, v: Array, mode: str = "full") -> Array:
    """The sum of a[k] v[n - k], of two vectors."""
    if a.shape[0] < v.shape[0]:
        a, v = v, a
    n, m = a.shape[0], v.shape[0]
    padded = xp.pad(a, (m - 1, m - 1))
    total = None
    for k in range(m):
        part = padded[m - 1 - k : 2 * m + n - 2 - k] * v[k]
        total = part if total is None else total + part
    found = total[: n + m - 1]  # type: ignore[index]
    start = {"full": 0, "same": (m - 1) // 2, "valid": m - 1}[mode]
    return found[start : start + {"full": n + m - 1, "same": n, "valid": n - m + 1}[mode]]


@composed("correlate")
def correlate(xp: Recording, a: Array, v: Array, mode: str = "valid") -> Array:
    """The sum of a[n + k] v[n], of two vectors of which a is not shorter."""
    if a.shape[0] < v.shape[0]:
        raise TypeError("correlate is recorded where the first vector is not shorter than the second")
    return convolve(xp, a, conjugated(xp, xp.flip(v)), mode)


@composed("matvec")
def matvec(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """Stacks of matrices times stacks of vectors."""
    return xp.matmul(x1, x2[..., None])[..., 0]


@composed("vecmat")
def vecmat(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """Stacks of vectors, conjugated, times stacks of matrices."""
    return xp.matmul(conjugated(xp, x1)[..., None, :], x2)[..., 0, :]
