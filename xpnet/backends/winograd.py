"""NumPy's convolutions of 3 by 3, with a quarter of the multiplications, tile by tile so that a tile stays in cache.

Two polynomials are multiplied by multiplying their values at enough points. Four neighbouring entries of a convolution
with three weights so need six products in place of twelve; along both axes of an image 36 in place of 144. What leads
from entries to values and back are matrices of 6 by 6, 6 by 3 and 4 by 6, here Bᵀ, G and Aᵀ as in Lavin and Gray,
"Fast algorithms for convolutional neural networks" (2016): Y = Aᵀ ((G W Gᵀ) ⊙ (Bᵀ X B)) A, X being 6 by 6, Y 4 by 4.

Images are (H, W, C, N) here, a row of them one run of memory, so that each step is a product of matrices. Rows of tiles
beside each other are transformed together, as a strip. Functions give the calls to be made, in stages of pieces that
threads may share, so that a recorded step has them ready; sums over tiles are cut in the same way however many threads
there are. An entry that is not finite makes its whole tile so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import pairwise, product
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpnet.backends.base import Geometry, Pair
from xpnet.backends.replay.program import Calls, Stage

#: Entries of y that a tile has along an axis, weights, and entries of x that they are computed from.
OUT, KERNEL, IN = 4, 3, 6
#: The points, beside infinity. Rounding errors grow with the matrices' entries: in float32 they are 3 to 4 times those
#: of plain sums; with the usual points 0, 1, -1, 2 and -2 they would be 6 to 7 times as large. All are exact in binary.
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
#: Fewer channels or samples make such small products that plain convolutions take less time.
LEAST_CHANNELS, LEAST_SAMPLES = 8, 8

#: Tiles in a strip.
STRIP = 4
#: The sums that a gradient of weights is cut into, so that threads can share it.
SUMS = 8

#: Start and length in y and in x of a tile along one axis, and how much of its 6 entries lies before x.
Span = tuple[int, int, int, int, int]
#: Tiles beside each other: along the rows they have one place, along the columns a few.
Strip = tuple[Span, Sequence[Span]]


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


def memory(c: int, f: int, n: int, shared: int = 1) -> dict[str, int]:
    """How many numbers of memory :func:`convolution` and :func:`weight_gradient` need, for all and for each thread.

    ``shared`` says how many arrays of transformed weights there are.
    """
    weights, along = IN * IN * c * f, STRIP * OUT + IN - OUT
    return {"shared": shared * weights, "own": IN * (IN + along) * (c + f) * n + weights}


def convolution(x: Any, W: Any, b: Any, y: Any, shared: Any, padding: tuple[int, int]) -> Iterator[Stage]:
    """Into y (H', W', F, N) the convolution of x (H, W, C, N) with W (9, F C), and b (F,) added unless it is None."""
    c, f = x.shape[2], y.shape[2]
    _, G, _ = transforms(x.dtype)
    U = shared[: IN * IN * f * c]
    yield [lambda _: iter([partial(np.matmul, G, W, U.reshape(IN * IN, f * c))])]
    yield [partial(_convolved, x, U.reshape(IN, IN, f, c), b, y, strip) for strip in strips(y.shape, x.shape, padding)]


def _convolved(x: Any, U: Any, b: Any, y: Any, strip: Strip, own: Any) -> Calls:
    """A strip of y."""
    (*_, c, n), f = x.shape, y.shape[2]
    At, _, _ = transforms(x.dtype)
    V, M, X, Y = _parts(own, *(IN * IN * k * n for k in (c, f)), *_along(strip, c * n, f * n))
    Y = Y.reshape(IN, -1, f * n)
    (top, high, *_), columns = strip
    first, last = columns[0][0], columns[-1][0] + columns[-1][1]
    for (left, wide, *_), transformed in zip(columns, _transformed(x, strip, X, V), strict=True):
        yield from transformed
        yield partial(np.matmul, U, V.reshape(IN, IN, c, n), M.reshape(IN, IN, f, n))
        yield partial(np.matmul, At[:wide], M.reshape(IN, IN, f * n), Y[:, left - first : left - first + wide])
    yield partial(np.matmul, At[:high], Y.reshape(IN, -1), _tile(y, top, high, first, last - first))
    if b is not None:
        here = y[top : top + high, first:last]
        yield partial(np.add, here, b[:, None], here)


def weight_gradient(x: Any, dy: Any, dW: Any, shared: Any, padding: tuple[int, int]) -> Iterator[Stage]:
    """Into dW (3, 3, F, C) what x (H, W, C, N) and dy (H', W', F, N) make of it."""
    c, f = x.shape[2], dy.shape[2]
    found = list(strips(dy.shape, x.shape, padding))
    sums = shared.reshape(-1, IN, IN, f, c)
    bounds = [k * len(found) // len(sums) for k in range(len(sums) + 1)]
    yield [partial(_summed, x, dy, dU, found[i:j]) for dU, (i, j) in zip(sums, pairwise(bounds), strict=True)]
    yield [lambda _: _together(sums, dW)]


def sums_of(shape: tuple[int, ...]) -> int:
    """How many sums a gradient of weights is cut into, for dy (H', W', ...)."""
    high, wide = (-(-length // OUT) for length in shape[:2])
    return min(SUMS, high * -(-wide // STRIP))


def _summed(x: Any, dy: Any, dU: Any, found: Sequence[Strip], own: Any) -> Calls:
    """Into dU (6, 6, F, C) the sum over the tiles of some strips."""
    (*_, c, n), f = x.shape, dy.shape[2]
    At, _, _ = transforms(x.dtype)
    whole = True  # of the first tile; others are added to it
    for strip in found:
        V, M, here, X, D = _parts(own, *(IN * IN * k * n for k in (c, f)), dU.size, *_along(strip, c * n, f * n))
        D = D.reshape(IN, -1, f * n)
        (top, high, *_), columns = strip
        first, wide = columns[0][0], D.shape[1]
        yield partial(np.matmul, At.T[:, :high], _tile(dy, top, high, first, wide), D.reshape(IN, -1))
        for (left, wide, *_), transformed in zip(columns, _transformed(x, strip, X, V), strict=True):
            yield from transformed
            part = D[:, left - first : left - first + wide]
            yield partial(np.matmul, At.T[:, :wide], part, M.reshape(IN, IN, f * n))
            into = dU if whole else here.reshape(dU.shape)
            yield partial(np.matmul, M.reshape(IN, IN, f, n), V.reshape(IN, IN, c, n).swapaxes(2, 3), into)
            if not whole:
                yield partial(np.add, dU, into, dU)
            whole = False


def _together(sums: Any, dW: Any) -> Calls:
    """dW of the sums of transformed gradients, which are added to the first one."""
    _, G, _ = transforms(dW.dtype)
    for each in sums[1:]:
        yield partial(np.add, sums[0], each, sums[0])
    yield partial(np.matmul, G.T, sums[0].reshape(IN * IN, -1), dW.reshape(KERNEL * KERNEL, -1))


def strips(y: tuple[int, ...], x: tuple[int, ...], padding: tuple[int, int]) -> Iterator[Strip]:
    """All tiles of y (H', W', ...), made of x (H, W, ...)."""
    rows, columns = (_spans(*each) for each in zip(y[:2], x[:2], padding, strict=True))
    return product(rows, [columns[i : i + STRIP] for i in range(0, len(columns), STRIP)])


def _spans(out: int, length: int, padding: int) -> list[Span]:
    """The tiles along an axis of y, of ``out`` entries, and of x, of ``length``."""
    found = []
    for start in range(0, out, OUT):
        first, last = max(0, start - padding), min(length, start - padding + IN)
        found.append((start, min(OUT, out - start), first, last - first, first - start + padding))
    return found


def _along(strip: Strip, x: int, y: int) -> tuple[int, int]:
    """How many numbers a strip has with its rows transformed, in x and in y, of so many an entry."""
    _, columns = strip
    (first, _, start, *_), (last, wide, end, length, _) = columns[0], columns[-1]
    return IN * (end + length - start) * x, IN * (last + wide - first) * y


def _transformed(x: Any, strip: Strip, X: Any, V: Any) -> Iterator[Calls]:
    """Into V (6, 6, C, N) what Bᵀ X B is for each tile of a strip; where X reaches beyond x there are zeros."""
    _, _, Bt = transforms(x.dtype)
    entries = x.shape[2] * x.shape[3]
    X, V = X.reshape(IN, -1, entries), V.reshape(IN, IN, entries)
    (_, _, top, high, above), columns = strip
    first = columns[0][2]
    rows = partial(np.matmul, Bt[:, above : above + high], _tile(x, top, high, first, X.shape[1]), X.reshape(IN, -1))
    for k, (_, _, left, wide, before) in enumerate(columns):
        part = X[:, left - first : left - first + wide]
        by_columns = partial(np.matmul, Bt[:, before : before + wide], part, V)
        yield iter([by_columns] if k else [rows, by_columns])


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
