"""Products by cuBLAS, by a handle of one's own.

CuPy refuses its own cuBLAS while it captures, since a handle that takes memory in the middle of it breaks the graph.
One that was given memory before takes none. The library is the one that CuPy itself loads, called through ``ctypes``;
its functions are those that CuPy calls for the same product, so the results are the same.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpnet._typing import Array
from xpnet.backends.replay.program import UnrecordableError

#: How much memory cuBLAS may compute in: what NVIDIA advises for Hopper, and more than older GPUs need.
WORKSPACE = 32 * 2**20

#: cudaDataType, cublasComputeType_t, and the type of the factors in front of the product and of what is there.
_KINDS = {
    "float16": (2, 68, ctypes.c_float),
    "float32": (0, 68, ctypes.c_float),
    "float64": (1, 70, ctypes.c_double),
}
_FAST_TF32 = 77
#: What CuPy calls TF32 among the types that it multiplies in.
_CUPY_TF32 = 7
_DEFAULT_ALGORITHM = -1
#: The largest int of C: ``ctypes`` would cut off larger ones without a word.
MOST = 2**31 - 1

Pointer = ctypes.c_void_p


@functools.cache
def cublas() -> ctypes.CDLL:
    """The library; ``UnrecordableError`` if it is not found."""
    try:
        path = import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cublas").abs_path
        if path is None:
            raise OSError("nothing says where it is")
        return ctypes.CDLL(path)
    except Exception as error:
        raise UnrecordableError(
            "its products need cuBLAS apart from CuPy's, which is not found "
            f"({type(error).__name__}: {error}); pip install cuda-pathfinder"
        ) from error


def takes_tf32(cupy: ModuleType) -> bool:
    """Whether CuPy multiplies float32 in TF32 now: the environment variable CUPY_TF32, or somebody, said so."""
    core: Any = getattr(cupy, "_core", None)  # no part of its interface, so it may not be there
    return hasattr(core, "get_compute_type") and bool(core.get_compute_type(np.float32) == _CUPY_TF32)


class _Matrices(NamedTuple):
    """A stack of matrices as BLAS sees it.

    Attributes:
        transposed: whether columns follow each other in memory, and not rows.
        leading: how many entries one row (or column) is from the next.
        step: how many entries one matrix is from the next.
    """

    transposed: bool
    leading: int
    step: int


class Blas:
    """A handle on the current device, whose products go to one stream."""

    def __init__(self, cupy: ModuleType, stream: Any) -> None:
        self.cupy, self.library, handle = cupy, cublas(), Pointer()
        self._call("cublasCreate_v2", ctypes.byref(handle))
        self.handle = handle
        weakref.finalize(self, self.library.cublasDestroy_v2, handle)
        self._call("cublasSetStream_v2", handle, Pointer(stream.ptr))
        self.workspace = cupy.cuda.alloc(WORKSPACE)
        # after the stream, which takes the memory away that was there
        self._call("cublasSetWorkspace_v2", handle, Pointer(self.workspace.ptr), ctypes.c_size_t(WORKSPACE))

    def product(self, a: Array, b: Array, out: Array) -> list[Callable[[], Any]]:
        """The calls that leave ``matmul(a, b)`` in ``out``, whose rows follow each other."""
        if not a.size or not b.size:
            return [functools.partial(out.fill, 0)]
        if a.dtype != b.dtype or a.dtype != out.dtype or a.dtype.name not in _KINDS:
            raise UnrecordableError(f"it multiplies matrices of {a.dtype} and {b.dtype}")
        if b.ndim == 1:
            b, out = b[:, None], out[..., None]
        if a.ndim == 1:
            a, out = a[None, :], out[..., None, :]
        stack, before = out.shape[:-2], list[Callable[[], Any]]()
        a, b = (self.cupy.broadcast_to(x, (*stack, *x.shape[-2:])) for x in (a, b))
        return before + self._products(self._laid_out(a, before), self._laid_out(b, before), out)

    def _laid_out(self, x: Array, before: list[Callable[[], Any]]) -> Array:
        """x, or where BLAS cannot take its rows a copy; ``before`` gets the call that makes it in each step."""
        if _matrices(x, True) is not None:
            return x
        own = self.cupy.empty(x.shape, x.dtype)
        before.append(functools.partial(own.__setitem__, ..., x))
        return own

    def _products(self, a: Array, b: Array, out: Array) -> list[Callable[[], Any]]:
        first, second, result = _matrices(a, False), _matrices(b, True), _matrices(out, False)
        assert first is not None
        assert second is not None
        if result is None or result.transposed:
            raise UnrecordableError("it multiplies into an array whose rows do not follow each other")
        if min(first.step, second.step, result.step) < 0:  # stacks that are not one after the other
            return [call for i in range(out.shape[0]) for call in self._products(a[i], b[i], out[i])]
        return [self._gemm(a, b, out, first, second, result)]

    def _gemm(self, a: Array, b: Array, out: Array, *how: _Matrices) -> Callable[[], Any]:
        """BLAS counts along columns: to it a matrix of rows is its transpose, and out is Cᵀ = Bᵀ Aᵀ."""
        kind, compute, number = _KINDS[out.dtype.name]
        if out.dtype.name == "float32" and takes_tf32(self.cupy):
            compute = _FAST_TF32
        first, second, result = how
        (m, k), n, count = a.shape[-2:], b.shape[-1], out.size // (out.shape[-2] * out.shape[-1])
        one, zero = number(1), number(0)
        if max(m, n, k, count, *(each.leading for each in how)) > MOST:
            raise UnrecordableError(f"it multiplies matrices {a.shape} and {b.shape}, which cuBLAS cannot count")

        def argument(x: Array, seen: _Matrices) -> tuple[Any, ...]:
            steps = () if count == 1 else (ctypes.c_longlong(seen.step),)
            return Pointer(x.data.ptr), kind, seen.leading, *steps

        args = (
            *(self.handle, int(second.transposed), int(first.transposed), n, m, k),
            *(ctypes.byref(one), *argument(b, second), *argument(a, first)),
            *(ctypes.byref(zero), *argument(out, result)),
            *(() if count == 1 else (count,)),
            *(compute, _DEFAULT_ALGORITHM),
        )
        call = functools.partial(self._call, "cublasGemmEx" if count == 1 else "cublasGemmStridedBatchedEx", *args)
        call.arrays = a, b, out  # type: ignore[attr-defined]  # which have to be there as long as it is
        return call

    def _call(self, name: str, *args: Any) -> None:
        if status := getattr(self.library, name)(*args):
            raise RuntimeError(f"{name} returned status {status}")


def _matrices(x: Array, columns_first: bool) -> _Matrices | None:
    """How matrices lie, None if BLAS cannot take them; a ``step`` of -1 if the stack is not one after the other.

    A matrix of one row or column may be seen in both ways, and CuPy sees the second factor by its columns first.
    """
    *stack, rows, columns = x.shape
    *steps, row, column = (stride // x.itemsize for stride in x.strides)
    by_rows = (column == 1 or columns == 1) and (row >= columns or rows == 1)
    by_columns = (row == 1 or rows == 1) and (column >= rows or columns == 1)
    if not (by_rows or by_columns):
        return None
    transposed = by_columns and (columns_first or not by_rows)
    leading = max(column, rows) if transposed else max(row, columns)
    moved = [(length, step) for length, step in zip(stack, steps, strict=True) if length > 1]
    even = all(step == length * inner for (_, step), (length, inner) in pairwise(moved))
    return _Matrices(transposed, leading, (moved[-1][1] if moved else 0) if even else -1)
