"""What NumPy multiplies matrices with: which BLAS, how many threads, and whether its kernels are those of the machine.

OpenBLAS looks at the processor when it is loaded and picks kernels. One that it does not know, a newer one perhaps, is
given those of an older one, at about half of the rate. The environment variable OPENBLAS_CORETYPE picks others.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CORETYPE = "OPENBLAS_CORETYPE"

#: OpenBLAS's cores in the order of what their kernels use: SSE, AVX, AVX2 with FMA, AVX-512.
SSE = "katmai coppermine northwood prescott banias atom core2 penryn dunnington nehalem nano"
GENERATIONS = (
    (*SSE.split(), "athlon", "opteron", "opteron_sse3", "barcelona", "bobcat"),
    ("sandybridge", "bulldozer", "piledriver", "steamroller"),
    ("haswell", "zen", "excavator"),
    ("skylakex", "cooperlake", "sapphirerapids"),
)
#: What a processor must be able to do for the kernels of a generation, as Linux writes it, and the core to ask for.
NEEDS = (
    (3, "SkylakeX", {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}),
    (2, "Haswell", {"avx2", "fma"}),
    (1, "Sandybridge", {"avx"}),
)
#: Below this share of another library's rate on the same processor, something other than chance is at work.
SLOW = 0.6


@dataclass(frozen=True)
class Blas:
    """A BLAS library; ``core`` and ``threads`` are None where the library does not tell."""

    name: str
    version: str
    core: str | None = None
    threads: int | None = None

    def __str__(self) -> str:
        parts = [f"{self.name} {self.version}"]
        parts += [f"kernels for {self.core}"] if self.core else []
        parts += [f"{self.threads} thread{'s' if self.threads > 1 else ''}"] if self.threads else []
        return ", ".join(parts)


def numpy_blas() -> Blas:
    """The one that NumPy uses in this process."""
    built: Any = np.show_config(mode="dicts")
    found = built["Build Dependencies"]["blas"]
    name, version = found.get("name", "unknown"), found.get("version", "")
    return Blas(name, version, _asked("corename", ctypes.c_char_p), _asked("num_threads", ctypes.c_int))


def _asked(what: str, kind: type) -> Any:
    """What OpenBLAS answers, or None if NumPy uses another BLAS, or the system does not let it be found.

    NumPy's own module is asked for the function: a search in a module goes on in the libraries that it was linked to,
    so that the OpenBLAS of another package is not taken for NumPy's.
    """
    try:
        module = ctypes.CDLL(importlib.import_module("numpy._core._multiarray_umath").__file__)
    except (ImportError, OSError):
        return None
    for prefix in ("scipy_openblas", "openblas"):
        for suffix in ("64_", ""):
            function = getattr(module, f"{prefix}_get_{what}{suffix}", None)
            if function is not None:
                function.restype = kind
                answer = function()
                return answer.decode() if isinstance(answer, bytes) else answer
    return None


def processor_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the processor can do, as Linux writes it; empty where that is not told."""
    lines = path.read_text().splitlines() if path.exists() else []
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def better_core(blas: Blas, flags: frozenset[str]) -> str | None:
    """The core to ask OpenBLAS for, if the kernels that it uses are for an older processor than this one."""
    used = next((i for i, cores in enumerate(GENERATIONS) if (blas.core or "").lower() in cores), None)
    best = next(((i, core) for i, core, needs in NEEDS if needs <= flags), None)
    return None if used is None or best is None or used >= best[0] else best[1]


def kernel_advice(
    blas: Blas, flags: frozenset[str] | None = None, environment: Mapping[str, str] = os.environ
) -> str | None:
    """A sentence if OpenBLAS computes as for an older processor than there is, and nobody told it to."""
    core = better_core(blas, processor_flags() if flags is None else flags)
    if core is None or environment.get(CORETYPE):
        return None
    return (
        f"NumPy's OpenBLAS picked kernels for {blas.core}, and this processor can run those for {core}, which may be "
        f"much faster; to see whether they are, set the environment variable: {CORETYPE}={core} xpnet train"
    )


def is_slow(rate: float, others: Mapping[str, float]) -> bool:
    """Whether it is much lower than the best of the others, by name."""
    return rate < SLOW * max(others.values(), default=0.0)


def rate_advice(
    blas: Blas, rate: float, others: Mapping[str, float], cores: int, flags: frozenset[str] | None = None
) -> str | None:
    """A sentence if another library multiplies much faster on the same processor: rates in GFLOP/s by name."""
    if not is_slow(rate, others):
        return None
    name, best = max(others.items(), key=lambda item: item[1])
    flags = processor_flags() if flags is None else flags
    core = better_core(blas, flags)
    if blas.threads and blas.threads < cores:
        cause = f"it computes on {blas.threads} of {cores} cores; OPENBLAS_NUM_THREADS and OMP_NUM_THREADS set that"
    elif core is not None:
        cause = f"its kernels are for {blas.core}; compare with the environment variable {CORETYPE}={core} set"
    elif blas.core and not flags:
        cause = f"its kernels are for {blas.core}; the environment variable {CORETYPE} picks others"
    else:
        cause = "if that is so again while nothing else runs, another build of NumPy may be faster"
    return f"NumPy multiplies at {rate:,.0f} GFLOP/s and {name} at {best:,.0f} on the same processor: {cause}"
