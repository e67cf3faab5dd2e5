"""The stand-in's cuBLAS: C's functions, called through ``ctypes``, on addresses of the stand-in's arrays.

It counts along columns as BLAS does, and multiplies with NumPy, factors as they lie in memory: as NumPy itself would.
"""

import ctypes
from functools import partial

import numpy as np

from cupy import cuda
from cupy._addresses import at_address

KINDS = {2: np.float16, 0: np.float32, 1: np.float64}
#: cublasComputeType_t for each of them, TF32 for float32 as well.
COMPUTED_IN = {2: (68,), 0: (68, 77), 1: (70,)}
_handles = {}


class _Handle:
    stream, workspace = 0, None


def cublasCreate_v2(out):  # noqa: N802  (their names)
    _no_capture()
    out._obj.value = max(_handles, default=0) + 1
    _handles[out._obj.value] = _Handle()
    return 0


def cublasDestroy_v2(handle):  # noqa: N802
    _handles.pop(handle.value, None)
    return 0


def cublasSetStream_v2(handle, stream):  # noqa: N802
    found = _handles[handle.value]
    found.stream, found.workspace = stream.value or 0, None  # the memory that was given is forgotten
    return 0


def cublasSetWorkspace_v2(handle, pointer, size):  # noqa: N802
    _handles[handle.value].workspace = pointer.value, size.value
    return 0


def cublasGemmEx(handle, ta, tb, m, n, k, alpha, a, ka, lda, b, kb, ldb, beta, c, kc, ldc, compute, algorithm):  # noqa: N802
    _multiply(handle, (ta, tb, m, n, k), alpha, (a, ka, lda, 0), (b, kb, ldb, 0), beta, (c, kc, ldc, 0), 1, compute)
    return 0


def cublasGemmStridedBatchedEx(  # noqa: N802
    handle, ta, tb, m, n, k, alpha, a, ka, lda, sa, b, kb, ldb, sb, beta, c, kc, ldc, sc, count, compute, algorithm
):
    steps = sa.value, sb.value, sc.value  # long long: an int would be cut off
    given = (a, ka, lda, steps[0]), (b, kb, ldb, steps[1]), (c, kc, ldc, steps[2])
    _multiply(handle, (ta, tb, m, n, k), alpha, *given[:2], beta, given[2], count, compute)
    return 0


def _multiply(handle, form, alpha, a, b, beta, c, count, compute):
    ta, tb, m, n, k = form
    found, kind = _handles[handle.value], a[1]
    _check(a[1] == b[1] == c[1], "one dtype")
    _check(compute in COMPUTED_IN[kind], "and what it is computed in")
    number = ctypes.c_double if kind == 1 else ctypes.c_float
    _check(isinstance(alpha._obj, number), "factors are of the type that is computed in")
    _check((alpha._obj.value, beta._obj.value) == (1, 0), "C = A B is all that the stand-in knows")
    stream = cuda.get_current_stream()
    if stream.is_capturing():
        _check(found.stream == stream.ptr, "a product on another stream is not captured")
        _check(found.workspace, "cuBLAS would take memory for itself in a capture")
    # by columns A is m x k; in C's order that is its transpose, and Cᵀ = Bᵀ Aᵀ
    left, right = _Seen(b, kind, (n, k), tb, count), _Seen(a, kind, (k, m), ta, count)
    out = _Seen(c, kind, (n, m), 0, count)
    run = partial(_product, left.matrices, right.matrices, out.matrices, [x.memory for x in (left, right, out)])
    stream.launch("gemm", run, [x.block for x in (left, right, out)])


def _product(left, right, out, _):
    """NumPy's memory is kept, whoever owns it in the stand-in."""
    with np.errstate(all="ignore"):
        out[...] = np.matmul(left, right)


class _Seen:
    """What is at an address, in C's order (rows, columns): where it is transposed to BLAS, it lies by columns here."""

    def __init__(self, given, kind, shape, transposed, count):
        pointer, _, leading, step = given
        (rows, columns), item = shape, np.dtype(KINDS[kind]).itemsize
        _check(leading >= (rows if transposed else columns), "a leading dimension is a whole row at least")
        _check(all(0 <= number < 2**31 for number in (rows, columns, leading, count)), "ints of C")
        strides = (item, leading * item) if transposed else (leading * item, item)
        first, x = at_address(pointer.value, KINDS[kind])
        shape, strides = (shape, strides) if count == 1 else ((count, *shape), (step * item, *strides))
        self.matrices = np.lib.stride_tricks.as_strided(first, shape, strides)
        self.memory, self.block = x._memory, x._block


def _check(right, what):
    if not right:
        raise AssertionError(f"the stand-in's cuBLAS: {what}")


def _no_capture():
    if cuda.get_current_stream().is_capturing():
        cuda.get_current_stream().wait("cublasCreate")
