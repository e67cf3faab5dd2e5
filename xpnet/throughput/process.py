"""What each process of a comparison of numbers of processes runs: one turn after another, as files in a folder ask.

Between turns it sleeps. A process that waited for the others in MPI would keep a core busy that another number of
processes has its turn on. Process 0 answers, in a file as well. It ends when the folder or who asks is gone.

    python -m xpnet.throughput.process FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backends.dispatch import get_backend
from xpnet.datasets import mnist
from xpnet.parallel import ALONE, Parallel
from xpnet.parallel.devices import own_device
from xpnet.serialization import atomic
from xpnet.throughput.entrants import Entrant
from xpnet.throughput.training import Job, Split, Training

#: So many jobs may take turns.
KEPT = 3
#: Seconds between two looks for what another process writes, at the least and at the most.
LOOKS = 0.002, 0.05


class Process:
    """One of them, with the trainings that it is at."""

    def __init__(self, parallel: Parallel, entrant: Entrant, data: Split) -> None:
        self.parallel, self.entrant = parallel, entrant
        parallel.admit(entrant.backend)
        self.data = entrant.backend.asarray(data[0]), entrant.backend.asarray(data[1])
        self.trainings: dict[Job, Training] = {}

    def turn(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self.reduce(**asked) if "bytes" in asked else self.steps(**asked)

    def steps(self, job: dict[str, Any], steps: int) -> dict[str, Any]:
        """So many steps of a job, which goes on where it was, in blocks that are no longer than an epoch."""
        training = self.training(Job(**job))
        self.parallel.gather(None)  # all begin together
        processor, losses, seconds = time.process_time(), list[float](), 0.0
        while len(losses) < steps:
            block = training.take(min(steps - len(losses), training.longest))
            losses += map(float, block.losses)
            seconds += block.seconds
        return self._of_all(seconds, time.process_time() - processor) | {"losses": losses}

    def training(self, job: Job) -> Training:
        """The one that is at it, or another; of those before, the oldest makes room."""
        if job not in self.trainings:
            while len(self.trainings) >= KEPT:
                del self.trainings[next(iter(self.trainings))]
            self.trainings[job] = Training(self.entrant, job, self.data, time.perf_counter, self.parallel)
        return self.trainings[job]

    def reduce(self, bytes: int, times: int) -> dict[str, Any]:  # noqa: A002  (of one message)
        """So many sums of as many float32 over all processes."""
        part = np.ones(max(1, bytes // 4), np.float32)
        out = np.empty_like(part)
        self.parallel.all_reduce(part, out)
        self.parallel.gather(None)
        processor, begun = time.process_time(), time.perf_counter()
        for _ in range(times):
            self.parallel.all_reduce(part, out)
        return self._of_all(time.perf_counter() - begun, time.process_time() - processor)

    def _of_all(self, seconds: float, processor: float) -> dict[str, Any]:
        """Seconds until the last one was done, and the seconds of processors of all together."""
        each = self.parallel.gather((seconds, processor))
        return {"seconds": max(s for s, _ in each), "processor": sum(p for _, p in each)}


def turns(folder: Path, asked_by: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """What files in the folder ask for, until it is gone, or the process that asks."""
    for number in count():
        path, since = folder / f"turn{number}.json", time.monotonic()
        while not path.exists():
            if not folder.exists() or gone(asked_by):
                return
            pause(since)
        yield number, json.loads(path.read_bytes())


def pause(since: float) -> None:
    """Sleep before another look, for longer the longer it has been: each takes time from those who compute."""
    least, most = LOOKS
    time.sleep(min(most, max(least, (time.monotonic() - since) / 2)))


def gone(process: int) -> bool:
    if os.name != "posix":  # elsewhere to ask is to end it
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def main(folder: Path, parallel: Parallel) -> None:
    about = json.loads((folder / "about.json").read_bytes())
    backend = own_device(get_backend(about["backend"], about["device"]), about["device"], parallel)
    process = Process(parallel, Entrant(backend, compiled=True), mnist(normalize=False)[0])
    for number, asked in turns(folder, about["asked by"]):
        found = process.turn(asked)
        if parallel.leads:
            atomic.write_bytes(folder / f"done{number}.json", json.dumps(found).encode())


if __name__ == "__main__":
    from xpnet.parallel.mpi import join, launched

    main(Path(sys.argv[1]), join() if launched() > 1 else ALONE)
