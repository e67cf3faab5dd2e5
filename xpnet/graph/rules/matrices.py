"""Products and transposes of matrices, with their derivatives."""

from __future__ import annotations

import operator
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import quiet
from xpnet.graph.operations import add, conjugate, unbroadcast


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


def _inner_left(xp: Any, g: Array, y: Array, a: Array, b: Array, axis: int = -1) -> Array:
    return conjugate(xp, xp.expand_dims(g, axis=axis) * b)


def _inner_right(xp: Any, g: Array, y: Array, a: Array, b: Array, axis: int = -1) -> Array:
    return xp.expand_dims(g, axis=axis) * conjugate(xp, a)


MATMUL = add("matmul", _matmul_left, _matmul_right, symbol="@", compute=quiet(operator.matmul), spreads=True)
MATRIX_TRANSPOSE = add("matrix_transpose", lambda xp, g, y, x: xp.matrix_transpose(g), symbol="T")
add("vecdot", _inner_left, _inner_right, spreads=True)
add("tril", lambda xp, g, y, x, k=0: xp.tril(g, k=k))
add("triu", lambda xp, g, y, x, k=0: xp.triu(g, k=k))
