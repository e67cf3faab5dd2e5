"""NumPy's convolutions of 3 by 3, with a quarter of the multiplications, tile by tile so that a tile stays in cache.

Two polynomials are multiplied by multiplying their values at enough points. Four neighbouring entries of a convolution
with three weights so need six products in place of twelve; along both axes of an image 36 in place of 144. What leads
from entries to values and back are matrices of 6 by 6, 6 by 3 and 4 by 6, here Bᵀ, G and Aᵀ as in Lavin and Gray,
"Fast algorithms for convolutional neural networks" (2016): Y = Aᵀ ((G W Gᵀ) ⊙ (Bᵀ X B)) A, X being 6 by 6, Y 4 by 4.

Images are (H, W, C, N) here, a row of them one run of memory, so that each step is a product of matrices. Functions
give the calls to be made, in order, so that a recorded step has them ready. An entry that is not finite makes its whole
tile so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpnet.backends.base import Geometry, Pair

#: Entries of y that a tile has along an axis, weights, and entries of x that they are computed from.
OUT, KERNEL, IN = 4, 3, 6
#: The points, beside infinity. Rounding errors grow with the matrices' entries: in float32 they are 3 to 4 times those
#: of plain sums; with the usual points 0, 1, -1, 2 and -2 they would be 6 to 7 times as large. All are exact in binary.
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
#: Fewer channels or samples make such small products that plain convolutions take less time.
LEAST_CHANNELS, LEAST_SAMPLES = 8, 8

Calls = Iterator[Callable[[], Any]]
#: Start and length in y and in x of a tile along one axis, and how much of its 6 entries lies before x.
Span = tuple[int, int, int, int, int]


def fits(shape: tuple[int, ...], filters: int, size: tuple[int, int], dtype: Any) -> bool:
    """Whether it pays for images (N, C, H, W), so many filters and y of that size."""
    n, c, *_ = shape
    entries, tiles = prod(size), prod(-(-length // OUT) for length in size)
    enough = n >= LEAST_SAMPLES and min(c, filters) >= LEAST_CHANNELS and 2 * entries >= OUT * OUT * tiles
    return enough and dtype in (np.float32, np.float64)


def size_in_tiles(x: Any, W: Any, geometry: Geometry) -> Pair | None:
    """H' and W' where a convolution of images x (N, C, H, W) is faster in tiles; else None."""
    padding, plain = geometry.padding, Geometry((1, 1), geometry.padding)
    if W.shape[2:] != (KERNEL, KERNEL) or geometry != plain or max(padding) >= KERNEL:
        return None
    if W.dtype != x.dtype:  # tiles are computed in the dtype of x, which may be the narrower one
        return None
    high, wide = (length + 2 * p - KERNEL + 1 for length, p in zip(x.shape[2:], padding, strict=True))
    return (high, wide) if fits(x.shape, W.shape[0], (high, wide), x.dtype) else None


def scratch_size(c: int, f: int, n: int) -> int:
    """How many numbers of memory of their own :func:`convolution` and :func:`weight_gradient` need."""
    return IN * IN * (n * (2 * max(c, f) + c + f) + 2 * c * f)


def convolution(x: Any, W: Any, b: Any, y: Any, scratch: Any, padding: tuple[int, int]) -> Calls:
    """Into y (H', W', F, N) the convolution of x (H, W, C, N) with W (9, F C), and b (F,) added unless it is None."""
    (*_, c, n), f = x.shape, y.shape[2]
    At, G, Bt = transforms(x.dtype)
    U, X, V, M, Y = _parts(scratch, IN * IN * f * c, *(IN * IN * k * n for k in (c, c, f, f)))
    yield partial(np.matmul, G, W, U.reshape(IN * IN, f * c))
    U, V, M = U.reshape(IN, IN, f, c), V.reshape(IN, IN, c, n), M.reshape(IN, IN, f, n)
    for rows, columns in tiles(y, x, padding):
        yield from _transformed(Bt, x, rows, columns, X, V)
        yield partial(np.matmul, U, V, M)
        (top, high, *_), (left, wide, *_) = rows, columns
        between = Y[: IN * wide * f * n].reshape(IN, wide, f * n)
        yield partial(np.matmul, At[:wide], M.reshape(IN, IN, f * n), between)
        yield partial(np.matmul, At[:high], between.reshape(IN, wide * f * n), _tile(y, top, high, left, wide))
        if b is not None:
            tile = y[top : top + high, left : left + wide]
            yield partial(np.add, tile, b[:, None], tile)


def weight_gradient(x: Any, dy: Any, dW: Any, scratch: Any, padding: tuple[int, int]) -> Calls:
    """Into dW (3, 3, F, C) what x (H, W, C, N) and dy (H', W', F, N) make of it."""
    (*_, c, n), f = x.shape, dy.shape[2]
    At, G, Bt = transforms(x.dtype)
    dU, here, X, V, D, M = _parts(scratch, *[IN * IN * f * c] * 2, *(IN * IN * k * n for k in (c, c, f, f)))
    V, M = V.reshape(IN, IN, c, n), M.reshape(IN, IN, f, n)
    dU, here = dU.reshape(IN, IN, f, c), here.reshape(IN, IN, f, c)
    into = dU
    for rows, columns in tiles(dy, x, padding):
        yield from _transformed(Bt, x, rows, columns, X, V)
        (top, high, *_), (left, wide, *_) = rows, columns
        between = D[: IN * wide * f * n].reshape(IN, wide * f * n)
        yield partial(np.matmul, At.T[:, :high], _tile(dy, top, high, left, wide), between)
        yield partial(np.matmul, At.T[:, :wide], between.reshape(IN, wide, f * n), M.reshape(IN, IN, f * n))
        yield partial(np.matmul, M, V.swapaxes(2, 3), into)
        if into is here:
            yield partial(np.add, dU, here, dU)
        into = here
    yield partial(np.matmul, G.T, dU.reshape(IN * IN, f * c), dW.reshape(KERNEL * KERNEL, f * c))


def tiles(y: Any, x: Any, padding: tuple[int, int]) -> Iterator[tuple[Span, Span]]:
    """All of them: along the rows and along the columns."""
    rows, columns = (_spans(*each) for each in zip(y.shape[:2], x.shape[:2], padding, strict=True))
    return product(rows, columns)


def _spans(out: int, length: int, padding: int) -> list[Span]:
    """The tiles along an axis of y, of ``out`` entries, and of x, of ``length``."""
    found = []
    for start in range(0, out, OUT):
        first, last = max(0, start - padding), min(length, start - padding + IN)
        found.append((start, min(OUT, out - start), first, last - first, first - start + padding))
    return found


def _transformed(Bt: Any, x: Any, rows: Span, columns: Span, X: Any, V: Any) -> Calls:
    """Into V (6, 6, C, N) what Bᵀ X B is for a tile; where X reaches beyond x there are zeros."""
    (_, _, top, high, above), (_, _, left, wide, before) = rows, columns
    entries = V[0, 0].size
    between = X[: IN * wide * entries].reshape(IN, wide * entries)
    yield partial(np.matmul, Bt[:, above : above + high], _tile(x, top, high, left, wide), between)
    by_columns = between.reshape(IN, wide, entries)
    yield partial(np.matmul, Bt[:, before : before + wide], by_columns, V.reshape(IN, IN, entries))


def _tile(x: Any, top: int, high: int, left: int, wide: int) -> Any:
    """Rows of a part of images (H, W, C, N) as a matrix (high, wide C N)."""
    return as_strided(x[top:, left:], (high, wide * x[0, 0].size), (x.strides[0], x.strides[3]))


def _parts(scratch: Any, *sizes: int) -> list[Any]:
    """Memory one behind the other."""
    found, start = [], 0
    for size in sizes:
        found.append(scratch[start : start + size])
        start += size
    return found


@cache
def transforms(dtype: Any) -> tuple[Any, Any, Any]:
    """Aᵀ (4, 6), G ⊗ G (36, 9) and Bᵀ (6, 6); the last point is infinity: the value there is the last coefficient."""
    At, G, Bt = np.zeros((OUT, IN)), np.zeros((IN, KERNEL)), np.zeros((IN, IN))
    At[-1, -1] = G[-1, -1] = 1
    Bt[-1] = np.poly(POINTS)[::-1]
    for k, point in enumerate(POINTS):
        others = [other for other in POINTS if other != point]
        At[:, k] = point ** np.arange(OUT)
        G[k] = point ** np.arange(KERNEL) / prod(point - other for other in others)
        Bt[k, :-1] = np.poly(others)[::-1]
    return At.astype(dtype), np.kron(G, G).astype(dtype), Bt.astype(dtype)
