"""``pytest benchmarks --backend torch --device cuda``: where the benchmarks run."""

from __future__ import annotations

import pytest

from xpnet import backend_names, get_backend


def pytest_addoption(parser):
    parser.addoption("--backend", default="numpy", choices=backend_names(), help="the backend (default numpy)")
    parser.addoption("--device", default=None, help="its device")


@pytest.fixture(scope="session")
def backend(pytestconfig):
    return get_backend(pytestconfig.getoption("--backend"), pytestconfig.getoption("--device"))


def pytest_benchmark_update_machine_info(config, machine_info):
    b = get_backend(config.getoption("--backend"), config.getoption("--device"))
    machine_info["xpnet"] = {"backend": b.name, "device": str(b.device), "version": type(b).status().version}
