"""``pytest benchmarks --backend torch --device cuda``: where the benchmarks run, and what is written down of the place.

Times are medians of rounds, the device waited for at the end of each. What a backend computes is compared with NumPy,
nothing compiled, before it is timed.
"""

from __future__ import annotations

import pytest

from xpnet import backend_names, get_backend
from xpnet.datasets import mnist
from xpnet.throughput import machine
from xpnet.throughput.blas import numpy_blas


def pytest_addoption(parser):
    parser.addoption("--backend", default="numpy", choices=backend_names(), help="the backend (default numpy)")
    parser.addoption("--device", default=None, help="its device")
    parser.addoption("--compiled-torch", action="store_true", help="time torch.compile too; each compilation is slow")


def backend_named(config):
    return get_backend(config.getoption("--backend"), config.getoption("--device"))


@pytest.fixture(scope="session")
def backend(pytestconfig):
    found = backend_named(pytestconfig)
    if not found.trains:
        pytest.skip(f"{found.name} computes when it is read, so the time of a call says nothing")
    return found


@pytest.fixture(scope="session")
def reference():
    """What every backend has to agree with."""
    return get_backend("numpy")


@pytest.fixture(scope="session")
def digits():
    """The images and labels to train on, on the host."""
    return mnist()[0]


@pytest.fixture(autouse=True)
def place(benchmark, pytestconfig):
    benchmark.extra_info |= described(backend_named(pytestconfig)) | {"dtype": "float32"}


@pytest.fixture
def timed(benchmark, backend):
    """``timed(call, calls=20)``: the time of a round of calls, with the device waited for at its end."""

    def measure(call, *, calls=1, rounds=20):
        def block():
            results = [call() for _ in range(calls)]  # JAX waits for what is still referred to
            backend.synchronize()
            return results

        benchmark.extra_info["calls a round"] = calls
        return benchmark.pedantic(block, rounds=rounds, warmup_rounds=2)[-1]

    return measure


def described(b):
    """The library, the device, the BLAS and the threads, for a result that is written down."""
    return {
        "library": b.name,
        "version": type(b).status().version,
        "device": b.device_name,
        "BLAS": blas(b),
        "threads": machine.described([b])["threads"],
    }


def blas(b):
    """What multiplies matrices on the CPU."""
    if b.name in ("numpy", "strict", "dask"):
        return str(numpy_blas())
    if b.name == "torch":
        return b.library().__config__.show().partition("BLAS_INFO=")[2].partition(",")[0]
    return f"{b.name}'s own"


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["xpnet"] = described(backend_named(config))


def pytest_report_header(config):
    return "xpnet on " + ", ".join(f"{k} {v}" for k, v in described(backend_named(config)).items() if v)
