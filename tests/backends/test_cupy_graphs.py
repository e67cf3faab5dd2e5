"""What captured steps rely on, of CuPy's graphs: on a GPU it is CuPy that is tested, elsewhere the stand-in."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from importlib import import_module

import numpy as np
import pytest

from xpnet import get_backend
from xpnet.backends.captured.blas import Blas
from xpnet.backends.dispatch import backend_status
from xpnet.backends.replay.program import UnrecordableError

if problem := backend_status("cupy").problem:
    pytest.skip(problem, allow_module_level=True)
cupy = get_backend("cupy").library()
standin = pytest.mark.skipif("stand-in" not in cupy.__version__, reason="it is the stand-in that says so")


@pytest.fixture
def stream():
    return cupy.cuda.Stream(non_blocking=True)


def captured(stream, *calls):
    """The graph of some calls."""
    with stream:
        stream.begin_capture()
        try:
            for call in calls:
                call()
        except BaseException:
            with suppress(cupy.cuda.runtime.CUDARuntimeError):
                stream.end_capture()
            raise
        return stream.end_capture()


def test_a_graph_computes_when_it_is_launched(stream):
    x, y, rows, pool = cupy.ones(3), cupy.zeros(3), cupy.asarray([2, 0]), cupy.cuda.MemoryPool()
    cupy.cuda.Device().synchronize()
    calls = (lambda: cupy.take(x * 2, rows, axis=0, out=y[:2]), lambda: y.__iadd__(1))
    with stream, cupy.cuda.using_allocator(pool.malloc):
        graph = captured(stream, *calls)
        assert y.tolist() == [0, 0, 0]
        for k, factor in enumerate((1, 5)):
            x[...] = factor
            graph.launch()
            assert y.tolist() == [2 * factor + 1, 2 * factor + 1, k + 1]


REFUSED = {
    "its own cuBLAS": (lambda x: cupy.matmul(x, x), NotImplementedError, "calling cuBLAS API during stream capture"),
    "a value": (lambda x: float(x[0, 0]), RuntimeError, "operation not permitted when stream is capturing"),
    "the whole array": (lambda x: x.get(), RuntimeError, "operation not permitted when stream is capturing"),
}


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_in_a_capture(call, error, message, stream):
    x = cupy.ones((3, 3))
    with pytest.raises(error, match=message):
        captured(stream, lambda: call(x))
    with stream:
        assert float(cupy.sum(x)) == 9, "the stream works again"


def test_the_default_stream_is_not_captured():
    with pytest.raises(RuntimeError, match="cannot capture on the default"):
        cupy.cuda.Stream.null.begin_capture()


@standin
def test_waiting_breaks_a_capture(stream):
    with stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="when stream is capturing"):
            stream.synchronize()
        with pytest.raises(RuntimeError, match="previous error during capture"):
            stream.end_capture()


@standin
def test_what_comes_from_the_host_is_not_captured(stream):
    with pytest.raises(RuntimeError, match="memory of the host"):
        captured(stream, lambda: cupy.asarray([1.0]))


@standin
def test_nothing_has_values_in_a_capture(stream):
    x, seen = cupy.ones(3), []
    captured(stream, lambda: seen.append(x + 1))
    assert np.isnan(seen[0].get()).all()


@standin
def test_memory_that_was_given_back_is_noticed(stream):
    x, y = cupy.ones(3), cupy.zeros(3)
    graph = captured(stream, lambda: y.__setitem__(..., x * 2))
    gc.collect()
    with pytest.raises(RuntimeError, match="in memory that was given back"):
        graph.launch(stream)
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        graph = captured(stream, lambda: y.__setitem__(..., x * 2))
    graph.launch(stream)
    assert y.tolist() == [2, 2, 2]
    del pool
    gc.collect()
    with pytest.raises(RuntimeError, match="in memory that was given back"):
        graph.launch(stream)


@standin
def test_kernels_of_the_stand_in_are_read_as_cpp():
    source = "float v0 = float(x0 / x1);\nbool v1 = bool(v0 > float(0.5));\ny0 = v0;\ny1 = v1;"
    kernel = cupy.ElementwiseKernel("float32 x0,float32 x1", "float32 y0,bool y1", source, "k", no_return=True)
    x, y, z = cupy.asarray([1, 3], "float32"), cupy.zeros((2, 2), "float32"), cupy.zeros((2, 2), bool)
    kernel(x, cupy.asarray([[4], [8]], "float32"), y, z)
    assert y.tolist() == [[0.25, 0.75], [0.125, 0.375]]
    assert z.tolist() == [[False, True], [False, False]]
    with pytest.raises(TypeError, match="Type is mismatched"):
        kernel(x, x.astype("float64"), y, z)
    with pytest.raises(ValueError, match="Out shape is mismatched"):
        kernel(x, x, y[0], z)
    with pytest.raises(SyntaxError, match="does not know this line"):
        cupy.ElementwiseKernel("float32 x0", "float32 y0", "y0 = x0", "k")


LAYOUTS = {
    "rows": lambda x: x,
    "columns": lambda x: cupy.asarray(x.get().T.copy()).T,
    "with gaps": lambda x: cupy.asarray(np.repeat(x.get(), 2, axis=-1))[..., ::2],
    "a part": lambda x: cupy.asarray(np.pad(x.get(), [(0, 0)] * (x.ndim - 1) + [(0, 3)]))[..., :-3],
}
SHAPES = [((3, 4), (4, 5)), ((1, 4), (4, 1)), ((3, 1), (1, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,))]
STACKS = [((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (1, 6, 4, 5)), ((3, 4), (6, 4, 5)), ((2, 6, 3, 4), (4, 5))]


@pytest.mark.parametrize("second", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_products_of_every_layout(dtype, first, second, stream, rng):
    blas = Blas(cupy, stream)
    for one, other in [*SHAPES, *STACKS, ((0, 4), (4, 5)), ((3, 0), (0, 5))]:
        a, b = (np.asarray(rng.integers(-4, 5, shape), dtype) for shape in (one, other))
        wanted = np.matmul(a, b)
        x, y = LAYOUTS[first](cupy.asarray(a)), LAYOUTS[second](cupy.asarray(b))
        out = cupy.full(wanted.shape, 77, dtype)
        with stream:
            for call in blas.product(x, y, out):
                call()
        np.testing.assert_array_equal(out.get(), wanted, err_msg=f"{one} {other}")


def test_products_that_cublas_is_not_asked_for(stream, monkeypatch):
    x, y = cupy.ones((3, 4)), cupy.ones((4, 5))
    with pytest.raises(UnrecordableError, match="whose rows do not follow each other"):
        Blas(cupy, stream).product(x, y, cupy.zeros((5, 3)).T)
    monkeypatch.setattr("xpnet.backends.captured.blas.MOST", 4)
    with pytest.raises(UnrecordableError, match=r"matrices \(3, 4\) and \(4, 5\), which cuBLAS cannot count"):
        Blas(cupy, stream).product(x, y, cupy.zeros((3, 5)))
    assert Blas(cupy, stream).product(x, cupy.ones((4, 4)), cupy.zeros((3, 4)))


@standin
def test_cublas_of_the_stand_in_takes_no_memory_in_a_capture(stream):
    blas = Blas(cupy, stream)
    (product,) = blas.product(cupy.ones((2, 2)), cupy.ones((2, 2)), cupy.zeros((2, 2)))
    captured(stream, product)
    blas.library.cublasSetStream_v2(blas.handle, ctypes.c_void_p(stream.ptr))
    with pytest.raises(AssertionError, match="would take memory for itself"):
        captured(stream, product)
    other = Blas(cupy, cupy.cuda.Stream(non_blocking=True))
    (product,) = other.product(cupy.ones((2, 2)), cupy.ones((2, 2)), cupy.zeros((2, 2)))
    with pytest.raises(AssertionError, match="a product on another stream is not captured"):
        captured(stream, product)


@standin
def test_the_library_is_found_as_nvidias_is():
    found = import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cublas")
    assert hasattr(ctypes.CDLL(found.abs_path), "cublasGemmEx")
    with pytest.raises(RuntimeError, match="has no library"):
        import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cufft")
