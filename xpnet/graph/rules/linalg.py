"""Linear algebra, with its derivatives.

Sources: M. B. Giles, Collected matrix derivative results for forward and reverse mode AD (2008), for inverse,
determinant, Cholesky, eigenvalues and singular values; H. Walter and L. Lehmann, Algorithmic differentiation of linear
algebra functions (2012), for QR; G. Golub and V. Pereyra (1973), for the pseudoinverse. Formulas for complex matrices
are written for the conjugate of the gradient, and taken back by another.

A decomposition is an operation for each of its parts, which know the others: ``parts``, the values. Where gradients are
recorded, the decomposition is recorded again.
"""

from __future__ import annotations

from math import inf
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import device, traced
from xpnet.graph.operations import Operation, add, axes_of, cast, conjugate, is_complex, stretched, unbroadcast, widened
from xpnet.graph.rules.reductions import before
from xpnet.graph.wrapper import Wrapper


def adjoint(xp: Any, x: Array) -> Array:
    """The conjugate transpose."""
    return conjugate(xp, xp.matrix_transpose(x))


def hermitian(xp: Any, x: Array) -> Array:
    """The mean of x and its conjugate transpose."""
    return 0.5 * (x + adjoint(xp, x))


def _diagonal(xp: Any, x: Array) -> Array:
    """Matrices with these diagonals."""
    n = x.shape[-1]
    return x[..., None] * xp.library.eye(n, dtype=x.dtype, device=device(x))


def _apart(xp: Any, w: Array) -> Array:
    """1 / (w[j] - w[i]) at i, j; 0 where they are equal, as on the diagonal."""
    between = w[..., None, :] - w[..., :, None]
    same = between == 0
    return xp.where(same, xp.zeros_like(between), 1 / xp.where(same, xp.ones_like(between), between))


# --- systems ---------------------------------------------------------------------------------------------------------


def _solved(xp: Any, g: Array, a: Array, b: Array) -> Array:
    return xp.linalg.solve(xp.matrix_transpose(a), g)


def _solve_left(xp: Any, g: Array, y: Array, a: Array, b: Array) -> Array:
    if b.ndim == 1:
        g, y = g[..., None], y[..., None]
    found = _solved(xp, g, a, b)
    return -unbroadcast(xp, xp.matmul(found, xp.matrix_transpose(y)), a)


def _solve_right(xp: Any, g: Array, y: Array, a: Array, b: Array) -> Array:
    if b.ndim == 1:
        return unbroadcast(xp, _solved(xp, g[..., None], a, b)[..., 0], b)
    return unbroadcast(xp, _solved(xp, g, a, b), b)


def _inverse(xp: Any, g: Array, y: Array, x: Array) -> Array:
    turned = xp.matrix_transpose(y)
    return -xp.matmul(xp.matmul(turned, g), turned)


def _determinant(xp: Any, g: Array, y: Array, x: Array) -> Array:
    value = y.value if isinstance(y, Wrapper) else y
    if x.shape[-1] and not traced(value) and bool(xp.library.any(value == 0)):
        return g[..., None, None] * _cofactors(xp, x)
    return (g * y)[..., None, None] * xp.matrix_transpose(xp.linalg.inv(x))


def _cofactors(xp: Any, x: Array) -> Array:
    """The derivatives of the determinant, of matrices without an inverse too."""
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    others = before(xp, s) * xp.flip(before(xp, xp.flip(s, axis=-1)), axis=-1)
    turned = (xp.linalg.det(u) * xp.linalg.det(vh))[..., None, None]
    return turned * conjugate(xp, xp.matmul(u * others[..., None, :], vh))


def _log_determinant(xp: Any, g: Array, y: Array, x: Array, parts: Any) -> Array:
    return g[..., None, None] * xp.matrix_transpose(xp.linalg.inv(x))


def _sign_of_determinant(xp: Any, g: Array, y: Array, x: Array, parts: Any) -> Array:
    """Of complex matrices: what turns it. Of real ones it changes nowhere."""
    if y.dtype == xp.real(y).dtype:
        return xp.zeros_like(x)
    turning = 1j * xp.astype(xp.imag(g * y), y.dtype)
    return turning[..., None, None] * xp.matrix_transpose(xp.linalg.inv(x))


def _pseudoinverse(xp: Any, g: Array, y: Array, x: Array, rtol: Any = None) -> Array:
    g, turned = conjugate(xp, g), adjoint(xp, y)
    back = adjoint(xp, g)
    rows, columns = xp.matmul(x, y), xp.matmul(y, x)
    found = -xp.matmul(xp.matmul(turned, g), turned)
    left = xp.matmul(xp.matmul(back, y), turned)
    right = xp.matmul(xp.matmul(turned, y), back)
    return conjugate(xp, found + (left - xp.matmul(rows, left)) + (right - xp.matmul(right, columns)))


add("linalg.solve", _solve_left, _solve_right)
add("linalg.inv", _inverse)
add("linalg.det", _determinant)
add("linalg.pinv", _pseudoinverse)

_SVD = "svd(full_matrices=True)"

# --- decompositions ------------------------------------------------------------------------------------------------


def _cholesky(xp: Any, g: Array, y: Array, x: Array, upper: bool = False) -> Array:
    """Of a symmetric matrix: its gradient is symmetric too."""
    g, lower = (adjoint(xp, part) if upper else part for part in (conjugate(xp, g), y))
    inner = xp.tril(xp.matmul(adjoint(xp, lower), g))
    inner = inner - 0.5 * _diagonal(xp, xp.linalg.diagonal(inner))
    turned = adjoint(xp, lower)
    half = xp.linalg.solve(turned, adjoint(xp, xp.linalg.solve(turned, inner)))
    return conjugate(xp, hermitian(xp, half))


def _again(xp: Any, x: Array, function: Any, parts: Any) -> Any:
    return function(x) if isinstance(x, Wrapper) else parts


def _eigenvalues(xp: Any, g: Array, y: Array, x: Array, parts: Any = None) -> Array:
    _, v = xp.linalg.eigh(x) if parts is None else _again(xp, x, xp.linalg.eigh, parts)
    return conjugate(xp, xp.matmul(v * g[..., None, :], adjoint(xp, v)))


def _eigenvectors(xp: Any, g: Array, y: Array, x: Array, parts: Any) -> Array:
    w, v = _again(xp, x, xp.linalg.eigh, parts)
    turned = adjoint(xp, v)
    inner = xp.matmul(turned, conjugate(xp, g)) * _apart(xp, w)
    return conjugate(xp, hermitian(xp, xp.matmul(xp.matmul(v, inner), turned)))


def _inverse_turned(xp: Any, v: Array) -> Array:
    return xp.linalg.inv(xp.matrix_transpose(v))


def _general_eigenvalues(xp: Any, g: Array, y: Array, x: Array, parts: Any = None) -> Array:
    _, v = xp.linalg.eig(x) if parts is None else _again(xp, x, xp.linalg.eig, parts)
    turned = xp.matrix_transpose(v)
    return cast(xp, xp.matmul(_inverse_turned(xp, v) * g[..., None, :], turned), x.dtype)


def _general_eigenvectors(xp: Any, g: Array, y: Array, x: Array, parts: Any) -> Array:
    """Of vectors of length 1, whose sign or phase stays as it is."""
    w, v = _again(xp, x, xp.linalg.eig, parts)
    turned = xp.matrix_transpose(v)
    inner = xp.matmul(turned, g)
    along = xp.linalg.diagonal(inner)
    along = xp.real(along) if is_complex(xp, along.dtype) else along
    inner = inner - xp.matmul(turned, conjugate(xp, v)) * along[..., None, :]
    found = xp.matmul(_inverse_turned(xp, v), xp.matmul(inner * _apart(xp, w), turned))
    return cast(xp, found, x.dtype)


def _thin(xp: Any) -> Any:
    return lambda x: xp.linalg.svd(x, full_matrices=False)


def _singular_values(xp: Any, g: Array, y: Array, x: Array, parts: Any = None) -> Array:
    u, _, vh = _thin(xp)(x) if parts is None else _again(xp, x, _thin(xp), parts)
    return conjugate(xp, xp.matmul(u * g[..., None, :], vh))


def _left_vectors(xp: Any, g: Array, y: Array, x: Array, parts: Any) -> Array:
    u, s, vh = _again(xp, x, _thin(xp), parts)
    g, uh = conjugate(xp, g), adjoint(xp, u)
    inner = xp.matmul(uh, g)
    core = (inner - adjoint(xp, inner)) * _apart(xp, s * s)
    found = core * s[..., None, :]
    if found.dtype != s.dtype:
        turning = xp.linalg.diagonal(inner - adjoint(xp, inner))
        found = found + 0.5 * _diagonal(xp, turning / s)
    outside = (g - xp.matmul(u, inner)) / s[..., None, :]
    return conjugate(xp, xp.matmul(xp.matmul(u, found) + outside, vh))


def _right_vectors(xp: Any, g: Array, y: Array, x: Array, parts: Any) -> Array:
    u, s, vh = _again(xp, x, _thin(xp), parts)
    g = conjugate(xp, g)
    inner = xp.matmul(vh, adjoint(xp, g))
    core = (inner - adjoint(xp, inner)) * _apart(xp, s * s)
    outside = (g - xp.matmul(adjoint(xp, inner), vh)) / s[..., :, None]
    return conjugate(xp, xp.matmul(u, xp.matmul(s[..., :, None] * core, vh) + outside))


def _qr(xp: Any, x: Array, parts: Any, of_q: Array | None, of_r: Array | None) -> Array:
    """The gradient from those of Q and R, one of which is not there."""
    q, r = _again(xp, x, xp.linalg.qr, parts)
    m, n = x.shape[-2:]
    if m < n:  # A = [X Y] = Q [U V], so that V = Qᵀ Y
        right = x[..., :, m:]
        if of_r is not None:
            beside = xp.matmul(q, of_r[..., :, m:])
            of_q, of_r = xp.matmul(right, adjoint(xp, of_r[..., :, m:])), of_r[..., :, :m]
        else:
            beside = xp.zeros_like(right)
        square = (q, r[..., :, :m])
        return xp.concat([_square_qr(xp, square, of_q, of_r), beside], axis=-1)
    return _square_qr(xp, (q, r), of_q, of_r)


def _square_qr(xp: Any, parts: Any, of_q: Array | None, of_r: Array | None) -> Array:
    q, r = parts
    inner: Any = 0
    if of_r is not None:
        inner = xp.matmul(r, adjoint(xp, of_r))
    if of_q is not None:
        inner = inner - xp.matmul(adjoint(xp, of_q), q)
    below = xp.tril(inner, k=-1)
    diagonal = xp.real(xp.linalg.diagonal(inner)) if inner.dtype != xp.abs(inner).dtype else xp.linalg.diagonal(inner)
    both = below + adjoint(xp, below) + _diagonal(xp, cast(xp, diagonal, inner.dtype))
    found = xp.matmul(q, both)
    found = found if of_q is None else found + of_q
    return adjoint(xp, xp.linalg.solve(r, adjoint(xp, found)))


def _defined(xp: Any, g: Array, count: int, rows: bool, what: str) -> Array:
    """The part of a gradient that goes to vectors which are defined; the others have none, and may not get any."""
    rest = g[..., count:, :] if rows else g[..., :, count:]
    if (isinstance(g, Wrapper) and g.differentiable) or traced(rest) or bool(xp.library.any(_value_of(rest) != 0)):
        raise TypeError(f"{what} completes its vectors by others, which have no derivatives; ask for the first alone")
    return g[..., :count, :] if rows else g[..., :, :count]


def _value_of(x: Array) -> Array:
    return x.value if isinstance(x, Wrapper) else x


def _whole_left_vectors(xp: Any, g: Array, y: Array, x: Array, parts: Any, thin: Any) -> Array:
    return _left_vectors(xp, _defined(xp, g, thin[1].shape[-1], False, _SVD), y, x, thin)


def _whole_right_vectors(xp: Any, g: Array, y: Array, x: Array, parts: Any, thin: Any) -> Array:
    return _right_vectors(xp, _defined(xp, g, thin[1].shape[-1], True, _SVD), y, x, thin)


def _whole_q(xp: Any, g: Array, y: Array, x: Array, parts: Any, thin: Any) -> Array:
    return _q(xp, _defined(xp, g, x.shape[-1], False, 'qr(mode="complete")'), y, x, thin)


def _whole_r(xp: Any, g: Array, y: Array, x: Array, parts: Any, thin: Any) -> Array:
    return _r(xp, g[..., : x.shape[-1], :], y, x, thin)  # what is below is 0 for every x


def _q(xp: Any, g: Array, y: Array, x: Array, parts: Any) -> Array:
    return conjugate(xp, _qr(xp, x, parts, conjugate(xp, g), None))


def _r(xp: Any, g: Array, y: Array, x: Array, parts: Any) -> Array:
    return conjugate(xp, _qr(xp, x, parts, None, conjugate(xp, g)))


def _part(name: str, i: int, pullback: Any, symbol: str = "") -> Operation:
    """The operation of one part of a decomposition, which is computed already; it may complete a ``thin`` one."""
    return Operation(name, (pullback,), ("parts", "thin"), symbol, compute=lambda x, parts, thin=None: parts[i])


add("linalg.cholesky", _cholesky)
add("linalg.eigvalsh", _eigenvalues)
add("linalg.eigvals", _general_eigenvalues)
add("linalg.svdvals", _singular_values)
EIGH = (_part("linalg.eigh", 0, _eigenvalues, "eigh w"), _part("linalg.eigh", 1, _eigenvectors, "eigh v"))
SVD = (
    _part("linalg.svd", 0, _left_vectors, "svd u"),
    _part("linalg.svd", 1, _singular_values, "svd s"),
    _part("linalg.svd", 2, _right_vectors, "svd v"),
)
QR = (_part("linalg.qr", 0, _q, "qr q"), _part("linalg.qr", 1, _r, "qr r"))
WHOLE_LEFT = _part("linalg.svd", 0, _whole_left_vectors, "svd u")
WHOLE_RIGHT = _part("linalg.svd", 2, _whole_right_vectors, "svd v")
WHOLE_QR = (_part("linalg.qr", 0, _whole_q, "qr q"), _part("linalg.qr", 1, _whole_r, "qr r"))
EIG = (_part("linalg.eig", 0, _general_eigenvalues, "eig w"), _part("linalg.eig", 1, _general_eigenvectors, "eig v"))
SLOGDET = (
    _part("linalg.slogdet", 0, _sign_of_determinant, "sign det"),
    _part("linalg.slogdet", 1, _log_determinant, "log |det|"),
)

# --- norms -----------------------------------------------------------------------------------------------------------


def _norm(
    xp: Any,
    g: Array,
    y: Array,
    x: Array,
    axis: Any = None,
    keepdims: bool = False,
    ord: Any = 2,  # noqa: A002
) -> Array:
    """Of Euclid's norm g x / y, and 0 where x is 0, as PyTorch has it; of others by their order."""
    g, y = (stretched(xp, part, x, axis, keepdims) for part in (g, y))
    nowhere = y == 0
    whole = xp.where(nowhere, xp.ones_like(y), y)
    if ord == 2:
        return xp.where(nowhere, 0 * x, conjugate(xp, x) * (g / whole))
    if ord == 0:
        return xp.zeros_like(x)
    direction, size = conjugate(xp, xp.sign(x)), xp.abs(x)
    if ord == 1:
        return g * direction
    if ord in (inf, -inf):
        found = xp.astype(size == y, size.dtype)
        count = xp.sum(widened(xp, found), axis=tuple(axes_of(x, axis)), keepdims=True)
        return g * direction * xp.astype(found / count, size.dtype)
    inside = size == 0
    power = xp.where(inside, xp.zeros_like(size), (xp.where(inside, xp.ones_like(size), size) / whole) ** (ord - 1))
    return g * direction * power


add("linalg.vector_norm", _norm)
