"""What a measurement was made on: processor, devices, versions and threads, for results that are written down."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xpnet.backends.dispatch import Backend
from xpnet.throughput.blas import numpy_blas

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE", "XLA_FLAGS")


def device_model(backend: Backend) -> str:
    """What a device is sold as: that of the processor, or of the GPU."""
    device = backend.device
    if backend.device_name.startswith("cuda") and backend.name == "torch":
        return str(backend.library().cuda.get_device_name(device))
    if backend.name == "cupy":
        return str(backend.library().cuda.runtime.getDeviceProperties(device.id)["name"].decode())
    on_cpu = backend.device_name.lower().startswith("cpu")
    return processor() if on_cpu else str(getattr(device, "device_kind", backend.device_name))


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def described(backends: Iterable[Backend]) -> dict[str, Any]:
    """The machine as JSON can hold it; ``backends`` are those that were measured."""
    threads: dict[str, int | str] = {"cores": cores()}
    versions = {}
    for backend in backends:
        library = backend.library()
        versions[backend.name] = library.__version__
        if backend.name == "torch":
            threads["torch"] = library.get_num_threads()
    threads |= {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "threads": threads,
        "numpy_blas": asdict(numpy_blas()),
    }
