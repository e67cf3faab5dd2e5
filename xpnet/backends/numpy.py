"""NumPy: the CPU, and the reference that every other backend is compared with."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpnet._typing import Array
from xpnet.backends import winograd
from xpnet.backends.base import Backend, CompiledStep, Geometry, Item, Pair, Result, Step
from xpnet.backends.replay import RecordedStep
from xpnet.backends.replay.tracer import Tracer, host, written
from xpnet.backends.threads import BLAS, Threads

#: Parts of NumPy that no network needs, and that it imports itself when they are first asked for.
NEEDLESS = ("ctypeslib", "f2py", "ma", "polynomial", "testing")


class NumpyBackend(Backend):
    name = "numpy"
    packages = ("numpy",)
    namespace_module = "array_api_compat.numpy"
    in_place = True
    views = True
    install = "pip install numpy"
    checks_rows = True
    half_dtypes = ("float16",)
    emulates_half = True
    #: Recorded steps are shared out call by call, and who waits sleeps. Measured on two cores: at 24 million they take
    #: 0.67 of the time on one, 0.6 from 30 million on; beside two busy programs 0.9 to 1.6 times that on one.
    worth_sharing = 25_000_000

    @classmethod
    def namespace(cls) -> ModuleType:
        return super().namespace() if cls.namespace_module in sys.modules else _without_needless(super().namespace)

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("cpu",)

    @classmethod
    def no_such_device(cls, device: Any) -> str:
        return f"{super().no_such_device(device)}; for a GPU choose backend 'cupy', 'torch' or 'jax'"

    def compile(self, step: Step) -> CompiledStep:
        return RecordedStep(step, self)

    def copy(self, x: Array) -> Array:
        return np.array(x, order="C")

    @staticmethod
    def add_at(x: Array, index: Array, rows: Array) -> Array:
        np.add.at(x, index, rows)
        return x

    @staticmethod
    def image_axes(x: Array) -> tuple[int, ...]:
        strides = (x.array if isinstance(x, Tracer) else x).strides
        return tuple(sorted(range(4), key=lambda axis: -strides[axis]))

    @staticmethod
    def windows(x: Array, length: int, step: int, count: int) -> Array | None:
        if not isinstance(x, Tracer):
            return _windows(x, length, step, count)
        seen = _windows(x.array, length, step, count)
        if seen is None:
            return None
        return x.seen(lambda a: _windows(a, length, step, count), seen, f"windows {length} {step} {count}")

    @staticmethod
    def convolution(x: Array, W: Array, b: Array, geometry: Geometry) -> Array | None:
        size = winograd.size_in_tiles(x, W, geometry)
        if size is None:
            return None
        return _convolved(x, _by_places(W, (2, 3, 0, 1)), b, W.shape[0], size, geometry.padding)

    @staticmethod
    def convolution_gradients(
        x: Array, W: Array, dy: Array, geometry: Geometry, wanted: bool
    ) -> tuple[Array | None, Array, Array]:
        (f, c, kh, kw), n = W.shape, x.shape[0]
        rows, memory = (_as_rows(x), _as_rows(dy)), winograd.memory(c, f, n, winograd.sums_of(dy.shape[2:]))
        dW = written(winograd.weight_gradient, *rows, shape=(kh, kw, f, c), memory=memory, padding=geometry.padding)
        xp = dW.__array_namespace__()
        dW, db = xp.permute_dims(dW, (2, 3, 0, 1)), xp.sum(xp.sum(dy, axis=(2, 3)), axis=0)
        if not wanted:
            return None, dW, db
        turned = _by_places(W[:, :, ::-1, ::-1], (2, 3, 1, 0))
        p, q = (winograd.KERNEL - 1 - p for p in geometry.padding)
        return _convolved(dy, turned, None, c, x.shape[2:], (p, q)), dW, db

    @classmethod
    def on_host(cls, function: Callable[[np.ndarray], np.ndarray], x: Array) -> Array:
        return x.through(function) if isinstance(x, Tracer) else function(np.ascontiguousarray(x))

    @staticmethod
    def host_writes(made: Callable[..., Callable[[], None]], read: list[Array], into: list[Array]) -> None:
        host(made, read, into)

    @property
    def threads(self) -> Threads:
        return BLAS

    @property
    def workers(self) -> int:
        """One for each core that this process may use: NumPy itself computes on one, and lets others run meanwhile."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
    ) -> Iterator[Result]:
        _keep_memory()
        workers = self.workers if workers is None else min(workers, self.workers)
        if workers == 1:
            yield from map(function, items)
            return
        with ThreadPoolExecutor(workers) as pool:
            running: deque[Future[Result]] = deque()
            try:
                for item in items:
                    running.append(pool.submit(copy_context().run, function, item))  # np.errstate, for one
                    if len(running) > workers:  # no more results wait than there are workers
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                for future in running:
                    future.cancel()


class _Later(ModuleType):
    """A part of NumPy that is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def _without_needless(make: Callable[[], ModuleType]) -> ModuleType:
    """What a function imports that takes all names of NumPy, without the parts that take longest and compute nothing.

    The standard's namespace is made of all that NumPy has, its tests and its compiler of Fortran among them, which
    takes nine times as long as the rest.
    """
    parts = {name: _Later(f"numpy.{name}") for name in NEEDLESS if name not in vars(np)}
    vars(np).update(parts)
    try:
        return make()
    finally:
        for name, part in parts.items():
            if vars(np).get(name) is part:  # nobody has imported it meanwhile
                del vars(np)[name]


def _convolved(x: Array, W: Array, b: Array | None, filters: int, size: tuple[int, ...], padding: Pair) -> Array:
    n, c = x.shape[:2]
    shape, memory = (*size, filters, n), winograd.memory(c, filters, n)
    y = written(winograd.convolution, _as_rows(x), W, b, shape=shape, memory=memory, padding=padding)
    return y.__array_namespace__().permute_dims(y, (3, 2, 0, 1))


def _as_rows(x: Array) -> Array:
    """x (N, C, H, W) as (H, W, C, N) with each row in one run of memory: where it lies, or copied."""
    xp, (n, c, h, w) = x.__array_namespace__(), x.shape
    return xp.reshape(xp.reshape(xp.permute_dims(x, (2, 3, 1, 0)), (h, w * c * n)), (h, w, c, n))


def _by_places(W: Array, axes: tuple[int, ...]) -> Array:
    """W as (9, F C), its places first."""
    xp = W.__array_namespace__()
    return xp.reshape(xp.permute_dims(W, axes), (winograd.KERNEL**2, -1))


def _windows(x: Any, length: int, step: int, count: int) -> Any:
    *_, rows, high, wide = x.shape
    *outer, a_row, a_line, an_entry = x.strides
    if a_row != high * a_line or rows < length + step * (count - 1):
        return None
    shape = (*x.shape[:-3], count, length * high, wide)
    return as_strided(x, shape, (*outer, step * a_row, a_line, an_entry), writeable=False)


def _keep_memory() -> None:
    """Have the C library keep the memory of freed arrays.

    Large blocks go back to the system as they are freed, and every new one is paged in again, which can cost as much
    as what is computed in it. After the first free of a block (of up to 32 MiB), glibc keeps blocks of that size.
    """
    np.empty(2**25 - 2**16, np.uint8)


BACKEND = NumpyBackend
