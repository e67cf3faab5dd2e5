"""Linear algebra that is made of recorded functions, and decompositions, which have several results."""

from __future__ import annotations

from math import inf, prod
from typing import Any, NamedTuple

from xpnet._typing import Array
from xpnet.backends.dispatch import traced
from xpnet.graph.operations import axes_of, is_complex
from xpnet.graph.recording import Recording, composed, value
from xpnet.graph.rules import linalg as rules


class Eigh(NamedTuple):
    """What ``eigh`` returns."""

    eigenvalues: Array
    eigenvectors: Array


class Eig(NamedTuple):
    """What ``eig`` returns."""

    eigenvalues: Array
    eigenvectors: Array


class Svd(NamedTuple):
    """What ``svd`` returns."""

    U: Array
    S: Array
    Vh: Array


class Qr(NamedTuple):
    """What ``qr`` returns."""

    Q: Array
    R: Array


class Slogdet(NamedTuple):
    """What ``slogdet`` returns."""

    sign: Array
    logabsdet: Array


def _parts(xp: Recording, name: str, operations: Any, x: Any, **options: Any) -> list[Array]:
    values = tuple(xp.computing(name)(x.value, **options))
    return [xp.record(operation, (x,), {"parts": values}) for operation in operations]


@composed("linalg.eigh", standard=True)
def eigh(xp: Recording, x: Array, /, UPLO: str = "L") -> Eigh:
    """Eigenvalues and eigenvectors of a symmetric matrix; its gradient is symmetric too.

    Where eigenvalues are equal, derivatives of their eigenvectors do not exist, and are finite here.
    """
    options = {} if UPLO == "L" else {"UPLO": UPLO}
    return Eigh(*_parts(xp, "linalg.eigh", rules.EIGH, x, **options))


@composed("linalg.eig", standard=True)
def eig(xp: Recording, x: Array, /) -> Eig:
    """Eigenvalues and eigenvectors of any square matrix. Derivatives of the vectors leave their length 1.

    What depends on the phase of complex vectors, which is arbitrary, has no derivative to speak of.
    """
    return Eig(*_parts(xp, "linalg.eig", rules.EIG, x))


@composed("linalg.lstsq", standard=True)
def lstsq(xp: Recording, a: Array, b: Array, rcond: Any = None) -> Any:
    """The x of least length with the least sum of squares of a x - b; that sum, the rank, and the singular values.

    Derivatives are those at the rank that a has. The sums are given where a has more rows than columns, and full rank.
    """
    m, n = a.shape[-2:]
    rtol = float(xp.finfo(a).eps) * max(m, n) if rcond is None else rcond
    found = xp.matmul(xp.linalg.pinv(a, rtol=rtol), b)
    rank = xp.linalg.matrix_rank(a, rtol=rtol)
    apart = b - xp.matmul(a, found)
    squares = xp.sum(xp.real(conjugated(xp, apart) * apart), axis=0, keepdims=b.ndim == 1)
    if not traced(value(rank)) and (m <= n or int(value(rank)) < n):
        squares = squares[:0]
    return found, squares, rank, xp.linalg.svdvals(a)


@composed("linalg.svd", standard=True)
def svd(
    xp: Recording, x: Array, /, *, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Singular values and vectors. Those that only ``full_matrices=True`` has have no derivatives."""
    if not compute_uv:
        return xp.linalg.svdvals(x)
    m, n = x.shape[-2:]
    if full_matrices and m != n:
        u, s, vh = whole = tuple(xp.computing("linalg.svd")(x.value, full_matrices=True))
        thin = {"parts": (u[..., :, :n], s, vh[..., :m, :])}
        completed = {"parts": whole, "thin": thin["parts"]}
        left, middle, right = (xp.record(operation, (x,), thin) for operation in rules.SVD)
        if m > n:
            left = xp.record(rules.WHOLE_LEFT, (x,), completed)
        else:
            right = xp.record(rules.WHOLE_RIGHT, (x,), completed)
        return Svd(left, middle, right)
    return Svd(*_parts(xp, "linalg.svd", rules.SVD, x, full_matrices=False))


@composed("linalg.qr", standard=True)
def qr(xp: Recording, x: Array, /, *, mode: str = "reduced") -> Qr:
    """Orthogonal and triangular factors. Columns that only ``mode="complete"`` has have no derivatives."""
    m, n = x.shape[-2:]
    if mode == "complete" and m > n:
        q, r = whole = tuple(xp.computing("linalg.qr")(x.value, mode="complete"))
        options = {"parts": whole, "thin": (q[..., :, :n], r[..., :n, :])}
        return Qr(*(xp.record(operation, (x,), options) for operation in rules.WHOLE_QR))
    return Qr(*_parts(xp, "linalg.qr", rules.QR, x))


@composed("linalg.slogdet", standard=True)
def slogdet(xp: Recording, x: Array, /) -> Slogdet:
    """The sign of the determinant, and the logarithm of its size."""
    return Slogdet(*_parts(xp, "linalg.slogdet", rules.SLOGDET, x))


@composed("linalg.diagonal", standard=True)
def diagonal(xp: Recording, x: Array, /, *, offset: int = 0) -> Array:
    """The diagonal of the last two axes, or one that is so many columns to the right of it."""
    m, n = x.shape[-2:]
    length = max(0, min(m + min(offset, 0), n - max(offset, 0)))
    start = offset if offset >= 0 else -offset * n
    flat = xp.reshape(x, (*x.shape[:-2], m * n))
    return flat[..., start : start + (length - 1) * (n + 1) + 1 : n + 1] if length else flat[..., :0]


@composed("linalg.trace", standard=True)
def trace(xp: Recording, x: Array, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """The sum of the diagonal of the last two axes."""
    return xp.sum(diagonal(xp, x, offset=offset), axis=-1, dtype=dtype)


@composed("linalg.outer", standard=True)
def outer(xp: Recording, x1: Array, x2: Array, /) -> Array:
    """All products of an entry of one vector and one of the other."""
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"outer is of two vectors, and these have shapes {tuple(x1.shape)} and {tuple(x2.shape)}")
    return x1[:, None] * x2[None, :]


@composed("linalg.cross", standard=True)
def cross(xp: Recording, x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """The vector that is perpendicular to two others, of three entries along an axis."""
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError(f"cross is of vectors of 3 entries, and these have {x1.shape[axis]} and {x2.shape[axis]}")
    ahead = [xp.roll(x, -1, axis=axis) for x in (x1, x2)]
    behind = [xp.roll(x, 1, axis=axis) for x in (x1, x2)]
    return ahead[0] * behind[1] - behind[0] * ahead[1]


@composed("tensordot", standard=True)
def tensordot(xp: Recording, x1: Array, x2: Array, /, *, axes: Any = 2) -> Array:
    """Sums of products over axes of both: as many as are named, the last of x1 and the first of x2, or these pairs."""
    if isinstance(axes, int):
        pairs = list(range(x1.ndim - axes, x1.ndim)), list(range(axes))
    else:
        pairs = tuple(
            [i % x.ndim for i in (a if isinstance(a, tuple | list) else (a,))]
            for x, a in zip((x1, x2), axes, strict=True)
        )  # type: ignore[assignment]
    if len(pairs[0]) != len(pairs[1]) or any(x1.shape[i] != x2.shape[j] for i, j in zip(*pairs, strict=True)):
        raise ValueError(f"axes {axes} of shapes {tuple(x1.shape)} and {tuple(x2.shape)} do not go together")
    free = [[i for i in range(x.ndim) if i not in summed] for x, summed in zip((x1, x2), pairs, strict=True)]
    count = prod(x1.shape[i] for i in pairs[0])
    left = xp.reshape(ordered(xp, x1, (*free[0], *pairs[0])), (prod(x1.shape[i] for i in free[0]), count))
    right = xp.reshape(ordered(xp, x2, (*pairs[1], *free[1])), (count, prod(x2.shape[i] for i in free[1])))
    shape = (*(x1.shape[i] for i in free[0]), *(x2.shape[i] for i in free[1]))
    return xp.reshape(xp.matmul(left, right), shape)


def ordered(xp: Recording, x: Array, order: tuple[int, ...]) -> Array:
    """x with its axes in this order."""
    return x if order == tuple(range(x.ndim)) else xp.permute_dims(x, order)


@composed("linalg.matrix_power", standard=True)
def matrix_power(xp: Recording, x: Array, n: int, /) -> Array:
    """x times itself n times, by squares; of the inverse for a negative n."""
    if n == 0:
        eye = xp.library.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        return xp.zeros_like(x) + eye
    if n < 0:
        return matrix_power(xp, xp.linalg.inv(x), -n)
    found = None
    while n:
        if n % 2:
            found = x if found is None else xp.matmul(found, x)
        n //= 2
        x = xp.matmul(x, x) if n else x
    return found


@composed("linalg.matrix_norm", standard=True)
def matrix_norm(xp: Recording, x: Array, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:  # noqa: A002
    """A norm of matrices, of the last two axes: Frobenius', of singular values, or of sums over rows or columns."""
    if ord in ("fro", None):
        return xp.linalg.vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord in (2, -2, "nuc"):
        values = xp.linalg.svdvals(x)
        found = {2: xp.max, -2: xp.min, "nuc": xp.sum}[ord](values, axis=-1)
    elif ord in (1, -1, inf, -inf):
        sums = xp.sum(xp.abs(x), axis=-2 if abs(ord) == 1 else -1)
        found = (xp.max if ord > 0 else xp.min)(sums, axis=-1)
    else:
        raise ValueError(f"ord is {ord!r}, expected 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2")
    return found[..., None, None] if keepdims else found


@composed("linalg.norm")
def norm(xp: Recording, x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:  # noqa: A002
    """NumPy's: of vectors along an axis, of matrices along two, or of all entries."""
    if axis is None and (ord is None or x.ndim == 1):
        found = xp.linalg.vector_norm(x if x.ndim == 1 else xp.reshape(x, (-1,)), ord=2 if ord is None else ord)
        return xp.reshape(found, (1,) * x.ndim) if keepdims else found
    axes = axes_of(x, axis)
    if len(axes) == 1:
        return xp.linalg.vector_norm(x, axis=axes[0], keepdims=keepdims, ord=2 if ord is None else ord)
    if len(axes) != 2:
        raise ValueError(f"norm is along one axis or two, and this has axis {axis} and shape {tuple(x.shape)}")
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    found = xp.linalg.matrix_norm(ordered(xp, x, (*rest, *axes)), ord=ord)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return xp.reshape(found, kept) if keepdims else found


@composed("linalg.multi_dot")
def multi_dot(xp: Recording, arrays: Any) -> Array:
    """The product of several matrices, from the left."""
    found, *rest = arrays
    for x in rest:
        found = xp.matmul(found, x)
    return found


@composed("linalg.cond")
def cond(xp: Recording, x: Array, p: Any = None) -> Array:
    """How much a system magnifies errors: the norm of a matrix times that of its inverse."""
    if p in (None, 2, -2):
        values = xp.linalg.svdvals(x)
        largest, least = xp.max(values, axis=-1), xp.min(values, axis=-1)
        return least / largest if p == -2 else largest / least
    return xp.linalg.matrix_norm(x, ord=p) * xp.linalg.matrix_norm(xp.linalg.inv(x), ord=p)


@composed("linalg.tensorsolve")
def tensorsolve(xp: Recording, a: Array, b: Array, axes: Any = None) -> Array:
    """x with a x = b, where a has the axes of b first and those of x behind."""
    if axes is not None:
        moved = [i % a.ndim for i in axes]
        a = ordered(xp, a, (*(i for i in range(a.ndim) if i not in moved), *moved))
    shape = tuple(a.shape[b.ndim :])
    found = xp.linalg.solve(xp.reshape(a, (prod(b.shape), prod(shape))), xp.reshape(b, (-1,)))
    return xp.reshape(found, shape)


@composed("linalg.tensorinv")
def tensorinv(xp: Recording, a: Array, ind: int = 2) -> Array:
    """The inverse of a product over axes, of which ``ind`` stand first."""
    shape = (*a.shape[ind:], *a.shape[:ind])
    n = prod(a.shape[:ind])
    return xp.reshape(xp.linalg.inv(xp.reshape(a, (n, n))), shape)


def conjugated(xp: Recording, x: Array) -> Array:
    """The conjugate of complex numbers; real ones as they are."""
    return xp.conj(x) if is_complex(xp, x.dtype) else x
