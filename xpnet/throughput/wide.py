"""The wide job: steps that are matrix products and little else, as a share of what the device multiplies at most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xpnet.backends.dispatch import Backend
from xpnet.throughput.comparison import Cell
from xpnet.throughput.entrants import Entrant
from xpnet.throughput.matmul import matrix_rate
from xpnet.throughput.training import Job

#: 784-4096-4096-10 on minibatches of 8192: a million million operations a step.
HIDDEN, DEPTH, BATCH = 4096, 2, 8192


def wide_job(seed: int = 0) -> Job:
    """It is in float32, as the rates that it is compared with."""
    return Job(HIDDEN, BATCH, seed=seed, depth=DEPTH)


def title(job: Job) -> str:
    return f"{'-'.join(map(str, job.sizes))}, batch {job.batch_size}"


@dataclass(frozen=True)
class Share:
    """GFLOP/s of the matrix products of a training, and of products alone on the same device by the same library."""

    gflops: float
    matrix_gflops: float

    @property
    def of_rate(self) -> float:
        return self.gflops / self.matrix_gflops


def shares(cell: Cell, entrants: list[Entrant], rate: Callable[[Backend], float] = matrix_rate) -> dict[str, Share]:
    """By entrant, of those that were measured."""
    seconds = {name: cell.job.batch_size / m.samples_per_second for name, m in cell.measured.items()}
    here = [e for e in entrants if e.name in seconds]
    rates = {backend: rate(backend) for backend in dict.fromkeys(e.backend for e in here)}
    return {e.name: Share(cell.job.operations / seconds[e.name] / 1e9, rates[e.backend]) for e in here}
