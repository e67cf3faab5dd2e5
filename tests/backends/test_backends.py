"""Choosing a backend, moving arrays, and what is said when one cannot be had."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

from xpnet import BackendUnavailableError, TwoLayerNet, backend_names, get_backend, namespace, use_backend
from xpnet.backends import dispatch as seam
from xpnet.backends.base import Backend, name_of
from xpnet.backends.dispatch import backend_status, device


def python(code, **environment):
    """Run code in a fresh interpreter."""
    import os

    env = {k: v for k, v in os.environ.items() if k != "XPNET_BACKEND"} | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int32", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_there_and_back(shape, dtype, backend, rng):
    host = (rng.normal(size=shape) * 10).astype(dtype) if dtype != "uint8" else rng.integers(0, 9, shape).astype(dtype)
    there = backend.asarray(host)
    assert name_of(there) == backend.name
    assert namespace(there) is backend.xp
    assert device(there) == backend.device
    back = backend.to_numpy(there)
    assert isinstance(back, np.ndarray)
    assert back.dtype == host.dtype
    np.testing.assert_array_equal(back, host)


def test_asarray_of_lists_dtypes_and_other_backends(backend):
    assert backend.to_numpy(backend.asarray([[1.0, 2.0]], "float32")).dtype == np.float32
    assert float(backend.asarray(3)) == 3
    other = get_backend("numpy" if backend.name == "strict" else "strict")
    moved = backend.asarray(other.asarray(np.arange(3.0)))
    assert name_of(moved) == backend.name
    assert backend.to_numpy(moved).tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match=f"to_numpy of backend '{backend.name}' was given a {other.name} array"):
        backend.to_numpy(other.asarray([1.0]))


def test_a_copy_is_a_copy(backend):
    host = np.zeros(3)
    there = backend.asarray(host, copy=True)
    host += 1
    assert backend.to_numpy(there).tolist() == [0, 0, 0]


def test_read_only_arrays_are_taken(backend):
    host = np.arange(3.0)
    host.setflags(write=False)
    assert backend.to_numpy(backend.asarray(host)).tolist() == [0, 1, 2]


def test_synchronize_returns(backend):
    assert backend.synchronize() is None


def test_identity_of_backends(backend):
    assert get_backend(backend.name, backend.device) == backend
    assert hash(get_backend(backend.name, backend.device)) == hash(backend)
    assert get_backend(backend) is backend
    assert repr(backend.name) in repr(backend)
    assert backend != get_backend("strict", "device2")


def test_namespace_of_what_numpy_returns():
    assert namespace(np.float32(1)) is namespace(np.zeros(1))


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32")])
def test_dtypes_by_any_name(dtype, backend):
    assert backend.dtype(dtype) == backend.dtype("float32")
    assert backend.dtype(backend.dtype("float64")) == backend.dtype("float64")


def test_unknown_names(monkeypatch):
    for name in ("numppy", "", 3):
        with pytest.raises(
            ValueError, match=r"unknown backend .*; known backends: numpy, cupy, torch, jax, strict, dask"
        ):
            get_backend(name)
    monkeypatch.setenv("XPNET_BACKEND", "tourch")
    with pytest.raises(ValueError, match=r"environment variable XPNET_BACKEND .* 'tourch'; known backends: numpy"):
        get_backend()


def test_unknown_devices(backend):
    with pytest.raises(ValueError, match=f"backend '{backend.name}' has no device 'toaster' here; it has: "):
        get_backend(backend.name, "toaster")


def test_order_of_choice(monkeypatch):
    """Named, else use_backend, else the environment, else NumPy."""
    monkeypatch.delenv("XPNET_BACKEND", raising=False)
    assert TwoLayerNet(2, 2, 2).backend.name == "numpy"
    monkeypatch.setenv("XPNET_BACKEND", "strict")
    assert TwoLayerNet(2, 2, 2).backend.name == "strict"
    with use_backend("numpy") as outer:
        assert TwoLayerNet(2, 2, 2).backend == outer == get_backend("numpy")
        with use_backend("strict", "device2"):
            assert TwoLayerNet(2, 2, 2).backend == get_backend("strict", "device2")
            assert TwoLayerNet(2, 2, 2, device="device1").backend == get_backend("strict", "device1")
            assert TwoLayerNet(2, 2, 2, backend="numpy").backend.name == "numpy"
        assert get_backend().name == "numpy"
    assert get_backend().name == "strict"


def test_a_plain_call_selects_from_here_on():
    code = "import xpnet; xpnet.use_backend('strict'); print(xpnet.TwoLayerNet(2, 2, 2).backend.name)"
    assert python(code)[0] == "strict"


def test_a_plain_call_reaches_threads_that_start_later():
    code = (
        "import threading, xpnet; from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "names = []; ask = lambda: names.append(xpnet.get_backend().name)\n"
        "def choose(): xpnet.use_backend('numpy'); ask()\n"
        "def run(f): t = threading.Thread(target=f); t.start(); t.join()\n"
        "xpnet.use_backend('strict'); ask(); run(ask); run(choose); ask(); run(ask)\n"
        "with xpnet.use_backend('numpy'): ask(); run(ask)\n"
        "ask(); Pool(1).submit(ask).result(); xpnet.use_backend('numpy'); ask(); run(ask); print(*names)"
    )
    # a thread's own choice is for that thread, and a block's for what it runs
    expected = "strict strict numpy strict strict numpy strict strict strict numpy numpy"
    assert python(code)[0] == expected


@pytest.fixture
def nothing_selected(monkeypatch):
    """A program in which nobody has selected a backend; what a test selects is forgotten after it."""
    monkeypatch.delenv("XPNET_BACKEND", raising=False)
    before = seam._selected.get(), seam._everywhere.backend
    seam._selected.set(None)
    seam._everywhere.backend = None
    yield
    seam._selected.set(before[0])
    seam._everywhere.backend = before[1]


@pytest.mark.usefixtures("nothing_selected")
def test_one_selection_for_many_blocks():
    strict, numpy = use_backend("strict"), use_backend("numpy")
    for _ in range(2):
        with strict as backend:
            assert get_backend() == backend == get_backend("strict")
            with numpy:
                assert get_backend().name == "numpy"
                with strict:
                    assert get_backend().name == "strict"
                assert get_backend().name == "numpy"
            assert get_backend().name == "strict"
        assert get_backend().name == "numpy"


@pytest.mark.usefixtures("nothing_selected")
def test_one_selection_in_two_threads():
    with use_backend("strict"):
        pass
    shared, meeting, found = use_backend("strict", "device1"), threading.Barrier(2, timeout=20), []
    use_backend("numpy")

    def work():
        meeting.wait()
        with shared:
            meeting.wait()  # both are inside
            found.append(get_backend().device_name)
            meeting.wait()
        found.append(get_backend().name)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["device1"] * 2 + ["numpy"] * 2


@pytest.mark.usefixtures("nothing_selected")
def test_an_exception_ends_a_selection():
    selection = use_backend("strict")
    use_backend("numpy")
    for _ in range(2):
        with pytest.raises(KeyError), selection:
            raise KeyError
        assert get_backend().name == "numpy"


def test_a_failed_selection_selects_nothing(monkeypatch):
    monkeypatch.delenv("XPNET_BACKEND", raising=False)
    with pytest.raises(ValueError, match=r"unknown backend"):
        use_backend("numppy")
    assert get_backend().name == "numpy"


def test_threads_and_tasks_do_not_disturb_each_other(monkeypatch):
    monkeypatch.delenv("XPNET_BACKEND", raising=False)
    found = {}
    with use_backend("strict"):
        thread = threading.Thread(target=lambda: found.update(thread=get_backend().name))
        thread.start()
        thread.join()

    async def task(name):
        with use_backend(name):
            await asyncio.sleep(0)
            return get_backend().name

    async def both():
        return await asyncio.gather(task("numpy"), task("strict"))

    assert found == {"thread": "numpy"}
    assert asyncio.run(both()) == ["numpy", "strict"]


def test_importing_xpnet_imports_no_other_library():
    code = "import sys, xpnet; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = python(code)[0]
    assert "'xpnet'" in loaded
    for name in ("torch", "jax", "cupy", "dask", "array_api_strict", "matplotlib", "click", "tqdm", "safetensors"):
        assert f"'{name}'" not in loaded


def test_a_library_that_is_not_installed(monkeypatch):
    for name, package in (("torch", "torch"), ("jax", "jax"), ("cupy", "cupy"), ("dask", "dask")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            BackendUnavailableError, match=rf"'{name}' needs {package}, .*not installed; pip install"
        ) as e:
            get_backend(name)
        assert f"xpnet[{'cuda13' if name == 'cupy' else name}]" in str(e.value)
        status = backend_status(name)
        assert (status.version, status.devices) == (None, ())
        assert "not installed" in status.problem


def fake_cupy(driver, count, *, without=()):
    """A CuPy as it is on a machine with such a driver and so many GPUs, or such an error in their place."""

    class CUDARuntimeError(RuntimeError):
        status = {"cudaErrorInsufficientDriver": 35, "cudaErrorNoDevice": 100}.get(count)

    def devices():
        if isinstance(count, str):
            raise CUDARuntimeError(count)
        return count

    def version():
        if "NVRTC" in without:
            raise RuntimeError('Failure finding "libnvrtc.so.13": No such file\n')
        return 13, 2

    class Cuda(types.SimpleNamespace):
        @property
        def cublas(self):
            if "cuBLAS" in without:
                raise ImportError('Failure finding "libcublas.so.13": No such file')

        __hash__ = object.__hash__

    runtime = types.SimpleNamespace(
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: 13020,
        getDeviceCount=devices,
        CUDARuntimeError=CUDARuntimeError,
    )
    module = types.ModuleType("cupy")
    module.__file__, module.__version__ = "cupy/__init__.py", "14.2.0"
    nvrtc = types.SimpleNamespace(getVersion=version)
    module.cuda = Cuda(runtime=runtime, nvrtc=nvrtc, Device=lambda i="that is current": f"<device {i}>")
    return module


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            fake_cupy(0, "cudaErrorInsufficientDriver"),
            "CuPy is installed, but there is no NVIDIA driver here; install the driver",
        ),
        (
            fake_cupy(12040, "cudaErrorInsufficientDriver"),
            r"CuPy needs CUDA 13\.2, the driver here gives 12\.4; .*xpnet\[cuda12\]",
        ),
        (fake_cupy(13020, 0), "the NVIDIA driver is here, but it shows no GPU; .*CUDA_VISIBLE_DEVICES"),
        (fake_cupy(13020, "cudaErrorNoDevice"), "the NVIDIA driver is here, but it shows no GPU"),
        (fake_cupy(13020, 1, without=("NVRTC",)), r"without NVRTC .*libnvrtc\.so\.13.*; pip install \"xpnet\[cuda"),
        (
            fake_cupy(13020, 1, without=("cuBLAS",)),
            r"without cuBLAS .*libcublas\.so\.13.*; pip install \"xpnet\[cuda",
        ),
    ],
)
def test_cupy_that_cannot_compute(found, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", found)
    with pytest.raises(BackendUnavailableError, match=message):
        get_backend("cupy")
    status = backend_status("cupy")
    assert status.version == "14.2.0"
    assert status.devices == ()


def test_devices_of_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(13020, 2))
    cupy = __import__("xpnet.backends.cupy", fromlist=["BACKEND"]).BACKEND
    assert cupy.devices() == ("cuda:0", "cuda:1")
    for given, found in ((None, "that is current"), ("cuda", "that is current"), ("cuda:1", 1), (1, 1)):
        assert cupy.find_device(given) == f"<device {found}>"
    assert cupy.find_device(types.SimpleNamespace(id=1)) == "<device 1>"
    for given in ("cuda:2", 2, "cpu"):
        with pytest.raises(ValueError, match=r"has no device .* it has: cuda:0, cuda:1"):
            cupy.find_device(given)


def test_float64_on_jax_is_asked_for_not_assumed():
    if backend_status("jax").problem:
        return
    code = "import xpnet; xpnet.TwoLayerNet(2, 2, 2, backend='jax', dtype='float64')"
    assert "JAX_ENABLE_X64=1" in python(code, JAX_ENABLE_X64="0")[1]
    code = "import numpy, xpnet; xpnet.get_backend('jax').asarray(numpy.asarray([2**40]))"
    assert "do not fit JAX's 32 bits" in python(code, JAX_ENABLE_X64="0")[1]


def test_every_backend_has_a_status():
    for name in backend_names():
        status = backend_status(name)
        assert status.name == name
        assert bool(status.devices) != bool(status.problem)
    assert issubclass(type(get_backend("numpy")), Backend)


def test_a_plain_call_in_a_block_or_a_task_is_for_that_alone():
    code = (
        "import asyncio, threading, xpnet\n"
        "names = []; ask = lambda: names.append(xpnet.get_backend().name)\n"
        "def run(): t = threading.Thread(target=ask); t.start(); t.join()\n"
        "async def task(): xpnet.use_backend('strict'); ask(); await asyncio.sleep(0); ask()\n"
        "xpnet.use_backend('numpy')\n"
        "with xpnet.use_backend('numpy'): xpnet.use_backend('strict'); ask(); run()\n"
        "ask(); run(); asyncio.run(task()); ask(); run(); print(*names)"
    )
    assert python(code)[0] == "strict numpy numpy numpy strict strict numpy numpy"
    for name in ([1], {}, None.__class__):
        with pytest.raises(ValueError, match=r"unknown backend .*; known backends"):
            get_backend(name)
