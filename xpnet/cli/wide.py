"""The row of ``xpnet bench`` that compares a training with the rate at which its device multiplies matrices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xpnet import throughput
from xpnet.throughput import Comparison, Entrant, Job, Share

WHAT = "GFLOP/s of its matrix products, and of matrix products alone"


class Wide:
    """Whether the wide job is measured, on which entrants, and what came of it.

    Args:
        entrants: all that are compared.
        wanted: on all of them (True), on none (False), or on those that are GPUs (None).
        samples: how many there are to train on.
        expected: whether somebody who reads the results would look for a GPU in them.

    Attributes:
        job: the job, or None.
        why_not: why there is none, or nothing where nobody expects it.
    """

    def __init__(
        self, entrants: Iterable[Entrant], *, wanted: bool | None, samples: int, expected: bool, seed: int = 0
    ) -> None:
        job = throughput.wide_job(seed)
        self.entrants = [e for e in entrants if wanted or (wanted is None and e.on_gpu)]
        self.title, self.why_not = throughput.title(job), ""
        if wanted is None and not self.entrants and expected:
            self.why_not = "not run: no GPU takes part; --wide measures it on CPUs, which takes many seconds a step"
        elif self.entrants and samples < job.batch_size:
            self.why_not, self.entrants = f"not run: there are {samples} digits to train on", []
        self.job: Job | None = job if self.entrants else None
        self.found: dict[str, Share] = {}

    def takes(self, entrant: Entrant, job: Job) -> bool:
        return job != self.job or entrant in self.entrants

    def look(self, comparison: Comparison) -> None:
        """Measure the devices of those that trained."""
        cell = next((c for c in comparison.cells if c.job == self.job), None)
        self.found = throughput.shares(cell, self.entrants) if cell else {}

    def lines(self) -> list[str]:
        if self.why_not:
            return [f"{self.title}: {self.why_not}"]
        if not self.found:
            return []
        each = [f"  {n}: {s.gflops:,.0f} of {s.matrix_gflops:,.0f}, {s.of_rate:.0%}" for n, s in self.found.items()]
        return [f"{self.title}, {WHAT}:", *each]

    def result(self) -> dict[str, Any]:
        """As JSON can hold it."""
        rates = {name: {**vars(share), "of_rate": share.of_rate} for name, share in self.found.items()}
        return {"what": f"{self.title}: {WHAT}"} | ({"not_run": self.why_not} if self.why_not else {"rates": rates})
