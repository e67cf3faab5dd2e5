"""Training on several processes or devices, as one training: the same losses and weights, to rounding.

``Trainer(net, optimizer, parallel="mpi")`` in programs that ``mpiexec -n 4 python program.py`` starts;
``parallel="jax"`` on all devices of JAX.
"""

from xpnet.parallel.base import (
    ALONE,
    MismatchError,
    Parallel,
    ParallelError,
    ParallelUnavailableError,
    as_parallel,
)

__all__ = ["ALONE", "MismatchError", "Parallel", "ParallelError", "ParallelUnavailableError", "as_parallel"]
