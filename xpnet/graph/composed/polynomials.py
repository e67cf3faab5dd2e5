"""NumPy's functions of polynomials, which are arrays of coefficients, the highest power first."""

from __future__ import annotations

from typing import Any

from xpnet._typing import Array
from xpnet.graph.recording import Recording, composed, value
from xpnet.graph.wrapper import Wrapper


@composed("polyval")
def polyval(xp: Recording, p: Any, x: Any) -> Array:
    """p[0] x^(N-1) + ... + p[N-1], by Horner's scheme."""
    n = p.shape[0] if hasattr(p, "shape") else len(p)
    found = 0 * x
    for k in range(n):
        found = found * x + p[k]
    return found


@composed("vander")
def vander(xp: Recording, x: Array, N: int | None = None, increasing: bool = False) -> Array:
    """Powers of a vector's entries, in columns."""
    n = x.shape[0] if N is None else N
    columns = [xp.ones_like(x)]
    for _ in range(n - 1):
        columns.append(columns[-1] * x)
    return xp.stack(columns if increasing else columns[::-1], axis=1)


def _vectors(xp: Recording, *polynomials: Any) -> list[Array]:
    device = next(p.device for p in polynomials if isinstance(p, Wrapper))
    return [xp.reshape(xp.asarray(p, device=device), (-1,)) for p in polynomials]


def _of_one_length(xp: Recording, a1: Any, a2: Any) -> list[Array]:
    """Both as vectors, with zeros before the shorter one."""
    parts = _vectors(xp, a1, a2)
    longest = max(part.shape[0] for part in parts)
    return [xp.pad(part, (longest - part.shape[0], 0)) for part in parts]


@composed("polyadd")
def polyadd(xp: Recording, a1: Any, a2: Any) -> Array:
    """The sum of two polynomials."""
    first, second = _of_one_length(xp, a1, a2)
    return first + second


@composed("polysub")
def polysub(xp: Recording, a1: Any, a2: Any) -> Array:
    """The difference of two polynomials."""
    first, second = _of_one_length(xp, a1, a2)
    return first - second


@composed("polymul")
def polymul(xp: Recording, a1: Any, a2: Any) -> Array:
    """The product of two polynomials."""
    return xp.convolve(*_vectors(xp, a1, a2))


@composed("polyder")
def polyder(xp: Recording, p: Array, m: int = 1) -> Array:
    """The derivative, m times."""
    for _ in range(m):
        n = p.shape[0] - 1
        p = p[:-1] * xp.library.arange(n, 0, -1, dtype=value(p).dtype, device=p.device)
    return p


@composed("polyint")
def polyint(xp: Recording, p: Array, m: int = 1, k: Any = 0.0) -> Array:
    """The integral, m times, with constants k."""
    constants = list(k) if hasattr(k, "__len__") else [k] * m
    for constant in constants:
        powers = xp.library.arange(p.shape[0], 0, -1, dtype=value(p).dtype, device=p.device)
        p = xp.append(p / powers, xp.full_like(p[:1], constant))
    return p


@composed("polyfit")
def polyfit(xp: Recording, x: Any, y: Any, deg: int, rcond: Any = None) -> Array:
    """The polynomial of a degree with the least sum of squares of distances to points."""
    like = next(part for part in (x, y) if isinstance(part, Wrapper))
    x, y = (xp.asarray(part, dtype=like.dtype, device=like.device) for part in (x, y))
    columns = vander(xp, x, deg + 1)
    size = xp.sqrt(xp.sum(columns * columns, axis=0))
    rcond = x.shape[0] * float(xp.finfo(x).eps) if rcond is None else rcond
    found = xp.linalg.lstsq(columns / size, y, rcond)[0]
    return found / (size if found.ndim == 1 else size[:, None])


@composed("roots")
def roots(xp: Recording, p: Array) -> Array:
    """The zeros of a polynomial: the eigenvalues of its companion matrix."""
    n = p.shape[0] - 1
    first = xp.reshape(-p[1:] / p[0], (1, n))
    below = xp.library.eye(n - 1, n, dtype=value(p).dtype, device=p.device)
    return xp.linalg.eigvals(xp.concat([first, below], axis=0))
