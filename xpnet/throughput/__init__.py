"""How fast training is on each library and device of a machine, and how fast each multiplies matrices.

:func:`entrants` finds them, :class:`Comparison` has them train the same networks in turns, :func:`matrix_rate` is the
rate of float32 products, and :func:`numpy_blas` what NumPy computes them with. ``xpnet bench`` and ``xpnet backends``
print what they say.
"""

from xpnet.throughput.blas import Blas, is_slow, kernel_advice, numpy_blas, rate_advice
from xpnet.throughput.comparison import Cell, Comparison, Measurement
from xpnet.throughput.entrants import FOR_GPUS, MEASURED, Entrant, NotRun, entrants
from xpnet.throughput.machine import cores, described, device_model, processor
from xpnet.throughput.matmul import matrix_rate
from xpnet.throughput.training import Job
from xpnet.throughput.wide import Share, shares, title, wide_job

__all__ = [
    "FOR_GPUS",
    "MEASURED",
    "Blas",
    "Cell",
    "Comparison",
    "Entrant",
    "Job",
    "Measurement",
    "NotRun",
    "Share",
    "cores",
    "described",
    "device_model",
    "entrants",
    "is_slow",
    "kernel_advice",
    "matrix_rate",
    "numpy_blas",
    "processor",
    "rate_advice",
    "shares",
    "title",
    "wide_job",
]
