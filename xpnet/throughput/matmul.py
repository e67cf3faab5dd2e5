"""The rate at which a device multiplies float32 matrices: what no training on it can be faster than."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from xpnet._typing import Array
from xpnet.backends.dispatch import Backend

SIZE = 1024
#: For devices to which a product of the size above is over before it is well begun.
LARGE, SOON = 4096, 1e-3
#: Products between two waits for the device: no more, because all their results are kept until then.
MOST = 16


def matrix_rate(backend: Backend, seconds: float = 0.15, clock: Callable[[], float] = time.perf_counter) -> float:
    """The best rate seen within so many seconds, in GFLOP/s: C = A B takes 2 n³ operations, n = 1024.

    Where such a product takes less than a millisecond, n = 4096 is tried as well. The library computes as it does for
    anybody: in TF32 where that is what it takes for float32.
    """
    spent = _product_seconds(backend, SIZE, seconds, clock)
    rate = 2 * SIZE**3 / spent
    if spent < SOON:
        rate = max(rate, 2 * LARGE**3 / _product_seconds(backend, LARGE, seconds, clock))
    return rate / 1e9


def _product_seconds(backend: Backend, n: int, seconds: float, clock: Callable[[], float]) -> float:
    """The least time that one product took."""
    a, b = (backend.asarray(m) for m in np.random.default_rng(0).random((2, n, n), dtype=np.float32))
    _multiply(backend, a, b, 1)  # libraries load their kernels when they are first needed
    best, count, end = float("inf"), 1, clock() + seconds
    while True:
        start = clock()
        _multiply(backend, a, b, count)
        now = clock()
        best = min(best, (now - start) / count)
        if now >= end:
            return best
        if now - start < seconds / MOST:
            count = min(2 * count, MOST)


def _multiply(backend: Backend, a: Array, b: Array, count: int) -> None:
    # all are kept: a library that promises no order waits for those that it can see
    with backend.current():
        kept = [backend.xp.matmul(a, b) for _ in range(count)]
    backend.synchronize()
    del kept
