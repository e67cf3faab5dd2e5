"""Which kernel of OpenBLAS NumPy runs where the environment variable OPENBLAS_CORETYPE asks for one: its name, printed.

Exit status 3, and what is missing, where this processor cannot run it; 1 where another runs than was asked for.
"""

import os
import platform
import sys
from pathlib import Path

#: What a processor needs, as Linux spells it, and what NumPy's OpenBLAS calls what then runs: it has one kernel for Zen
#: and Haswell, and Katmai is another name of Prescott's.
KERNELS = {
    "Haswell": ("avx2 fma", {"Haswell"}),
    "SkylakeX": ("avx512f avx512cd avx512bw avx512dq avx512vl", {"SkylakeX"}),
    "Zen": ("avx2 fma", {"Zen", "Haswell"}),
    "Prescott": ("pni", {"Prescott", "Katmai"}),
}

asked = os.environ["OPENBLAS_CORETYPE"]
needs, names = KERNELS[asked]
if platform.machine() != "x86_64":
    print(f"this is a processor of kind {platform.machine()}")
    sys.exit(3)
flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")).split()
if missing := sorted(set(needs.split()) - set(flags)):
    print(f"this processor has no {', '.join(missing)}")
    sys.exit(3)

import numpy  # noqa: E402, F401  (before it is known that the processor can, it might end the process)
from threadpoolctl import threadpool_info  # noqa: E402

(running,) = {library["architecture"] for library in threadpool_info() if library["internal_api"] == "openblas"}
print(running)
if running not in names:
    sys.exit(f"OPENBLAS_CORETYPE={asked}, and {running} runs")
