"""What the benchmark scripts have in common: how many cores they run on, and the name of the machine."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import platform
from pathlib import Path

LIBRARIES = ("numpy", "torch", "jax", "cupy", "cupy-cuda12x", "cupy-cuda13x")


def limit_cores(cores: int) -> None:
    """Run on so many cores, on which each library takes the threads that it takes when nobody says how many."""
    if not hasattr(os, "sched_setaffinity"):
        limit_threads(cores)
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def limit_threads(threads: int) -> None:
    """Run on so many cores; to be called before any array library is imported, as they count cores when they start."""
    if hasattr(os, "sched_setaffinity"):  # not everywhere; the variables below then have to do
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ |= {f"{lib}_NUM_THREADS": str(threads) for lib in ("OMP", "OPENBLAS", "MKL")}


def described(threads: int, device: str | None) -> dict:
    """The machine, the versions and the threads, for a result that is written down."""
    return {
        "machine": {"processor": processor(), "system": platform.system(), "python": platform.python_version()},
        "device": device or "cpu",
        "versions": {d.name: d.version for d in metadata.distributions() if d.name in LIBRARIES},
        "blas": blas(),
        "threads": threads,
    }


def blas() -> str:
    """What NumPy multiplies matrices with."""
    import numpy

    found = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{found['name']} {found['version']}"


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
