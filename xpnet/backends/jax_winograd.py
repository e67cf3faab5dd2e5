"""JAX's convolutions of 3 by 3 on a CPU: those of :mod:`xpnet.backends.winograd`, of all tiles at once.

XLA computes products of matrices well on a CPU; sums of parts of arrays are often slow there, and computed anew
wherever they are used. So all is products here. What Bᵀ is for the 6 entries of a tile, one matrix is for a whole axis
of images: Bᵀ at the places of all tiles. It has zeros elsewhere, but to multiply by them costs less than to cut tiles
out, as long as images are small.

Images are (H, W, N, C), values at the points (6 by tiles along H, 6 by tiles along W, N, C); nothing is transposed. An
entry that is not finite makes its whole image so, and no other one.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.base import Geometry, Pair
from xpnet.backends.winograd import IN, KERNEL, OUT, size_in_tiles, transforms

#: Plain sums may have this part of the multiplications: XLA takes about twice as long for those of a gradient of W.
TIMES = 1.25


def pays(x: Array, W: Array, geometry: Geometry) -> bool:
    """Whether images x (N, C, H, W) take less time than in plain sums, by the number of multiplications."""
    size = size_in_tiles(x, W, geometry)
    if size is None:
        return False
    (f, c, *_), (h, w), (high, wide) = W.shape, x.shape[2:], size
    rows, columns = IN * _tiles(high), IN * _tiles(wide)
    ours = c * rows * w * (h + columns) + f * high * columns * (rows + wide) + c * f * rows * columns
    return bool(ours <= TIMES * KERNEL * KERNEL * c * f * high * wide)


def convolution(x: Array, W: Array, padding: Pair) -> Array:
    """x (H, W, N, C) convolved with W (F, C, 3, 3): (H', W', N, F)."""
    along = _along(x, padding)
    V = _transformed([Bt for Bt, _ in along], x)
    return _transformed([At for _, At in along], _multiplied(V, _points(W), 1))


def gradients(x: Array, W: Array, dy: Array, padding: Pair) -> tuple[Array, Array]:
    """dx and dW of :func:`convolution`: each of its steps back."""
    along, (f, c, *_) = _along(x, padding), W.shape
    V, dM = _transformed([Bt for Bt, _ in along], x), _transformed([At.T for _, At in along], dy)
    dx = _transformed([Bt.T for Bt, _ in along], _multiplied(dM, _points(W), 2))
    # for each row and column of tiles by themselves: no samples change their place, nor the device that they are on
    V, dM = (each.reshape(-1, *each.shape[2:]) for each in (V, dM))
    dU = import_module("jax").lax.dot_general(V, dM, (((1,), (1,)), ((0,), (0,))))
    rows, columns = (len(Bt) // IN for Bt, _ in along)
    dU = dU.reshape(IN, rows, IN, columns, c * f).sum((1, 3)).reshape(IN * IN, c * f)
    _, G, _ = transforms(x.dtype)
    return dx, (G.T @ dU).reshape(KERNEL, KERNEL, c, f).transpose(3, 2, 0, 1)


def _points(W: Array) -> Array:
    """G W Gᵀ: (36, C, F)."""
    f, c, *_ = W.shape
    _, G, _ = transforms(W.dtype)
    return (G @ W.transpose(2, 3, 1, 0).reshape(KERNEL * KERNEL, c * f)).reshape(IN * IN, c, f)


def _multiplied(V: Array, U: Array, axis: int) -> Array:
    """Values V by U (36, C, F), at each point, along an axis of U."""
    jax, (high, wide, *_) = import_module("jax"), V.shape
    U = jax.numpy.broadcast_to(U.reshape(IN, 1, IN, *U.shape[1:]), (IN, high // IN, IN, *U.shape[1:]))
    U, V = U.reshape(-1, *U.shape[3:]), V.reshape(high * IN, wide // IN, *V.shape[2:])
    found = jax.lax.dot_general(V, U, (((3,), (axis,)), ((0,), (0,))))
    return found.reshape(high, wide, *found.shape[2:])


def _transformed(matrices: list[Any], x: Array) -> Array:
    """One matrix by each column of images x, and the other by each row."""
    jax, (first, second) = import_module("jax"), matrices
    second = jax.numpy.broadcast_to(second, (len(x), *second.shape))
    x = jax.lax.dot_general(second, x, (((2,), (1,)), ((0,), (0,))))
    return jax.lax.dot_general(first, x, (((1,), (0,)), ((), ())))


def _along(x: Array, padding: Pair) -> list[tuple[Any, Any]]:
    """Bᵀ and Aᵀ of all tiles along H, and of those along W."""
    return [_of_all_tiles(length, p, x.dtype) for length, p in zip(x.shape[:2], padding, strict=True)]


@cache
def _of_all_tiles(length: int, padding: int, dtype: Any) -> tuple[Any, Any]:
    """Bᵀ (6 tiles, length) and Aᵀ (length of y, 6 tiles), each with those of one tile at its places."""
    At, _, Bt = transforms(dtype)
    out = length + 2 * padding - KERNEL + 1
    tiles = _tiles(out)
    into, out_of = np.zeros((IN, tiles, OUT * tiles + IN), dtype), np.zeros((OUT * tiles, IN, tiles), dtype)
    for k in range(tiles):
        into[:, k, OUT * k : OUT * k + IN] = Bt
        out_of[OUT * k : OUT * k + OUT, :, k] = At
    into = into.reshape(IN * tiles, -1)[:, padding : padding + length]
    return into, out_of.reshape(OUT * tiles, -1)[:out]


def _tiles(length: int) -> int:
    return -(-length // OUT)
