"""The same training by one process and by several, in turns: how much faster it is, and how well processors are used.

Each number of processes is a group of its own, started by ``mpiexec``, which sleeps while others have their turn.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xpnet.backends.dispatch import Backend
from xpnet.parallel import ParallelUnavailableError
from xpnet.serialization import atomic
from xpnet.throughput.comparison import CHECKED, RTOL
from xpnet.throughput.machine import THREAD_VARIABLES
from xpnet.throughput.process import pause
from xpnet.throughput.training import Job

#: A turn lasts about so long, alone.
TURN_SECONDS = 0.2
LEAST_ROUNDS, MOST_ROUNDS = 3, 15
#: The longest that a group may take to start, or for one turn.
PATIENCE = 120.0
INSTALL = 'pip install "xpnet[mpi]"'


class GroupError(RuntimeError):
    """A group that has ended, or does not answer; the message has its last words."""


@dataclass
class Times:
    """Seconds of each turn of one number of processes, until the last one was done, and of all processors together."""

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


@dataclass
class Scaling:
    """One job on each number of processes: what was measured, or why it was not.

    Attributes:
        steps: of each turn.
    """

    job: Job
    steps: int = 0
    times: dict[int, Times] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)

    def seconds(self, processes: int) -> float:
        """Of a step: the median."""
        return statistics.median(self.times[processes].seconds) / self.steps

    def speedup(self, processes: int) -> float:
        """How many times as fast as the first number of processes, a median of the rounds' ratios."""
        first = self.times[min(self.times)].seconds
        return statistics.median(a / b for a, b in zip(first, self.times[processes].seconds, strict=False))

    def efficiency(self, processes: int) -> float:
        """The speed-up as a share of what as many times as many processes could make of it."""
        return self.speedup(processes) * min(self.times) / processes


def mpiexec() -> str:
    """The program beside this Python, or else the one that is found first.

    Raises:
        ParallelUnavailableError: there is none.
    """
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise ParallelUnavailableError(f"several processes are started by mpiexec, which is not installed; {INSTALL}")
    return found


class Group:
    """So many processes that train together, asleep between turns.

    Args:
        processes: how many; one is started without ``mpiexec``.
        threads: on which each of them multiplies.
        folder: an empty one, for this group alone; it is gone afterwards.
    """

    def __init__(self, processes: int, backend: str, device: str | None, threads: int, folder: Path) -> None:
        self.processes, self.folder, self.number = processes, folder, 0
        about = {"backend": backend, "device": device, "asked by": os.getpid()}
        atomic.write_bytes(folder / "about.json", json.dumps(about).encode())
        words = [sys.executable, "-m", "xpnet.throughput.process", str(folder)]
        if processes > 1:
            words = [mpiexec(), "-n", str(processes), *words]
        told = {name: str(threads) for name in THREAD_VARIABLES if name.endswith("_NUM_THREADS")}
        self.log = folder.with_suffix(".log")
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                words,
                env=os.environ | told,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for who asks
            )

    def ask(self, **asked: Any) -> dict[str, Any]:
        """What process 0 says of this turn, when all have had it."""
        number, begun = self.number, time.monotonic()
        self.number += 1
        atomic.write_bytes(self.folder / f"turn{number}.json", json.dumps(asked).encode())
        answer = self.folder / f"done{number}.json"
        while not answer.exists():
            if self.process.poll() is not None:
                raise GroupError(self._last_words())
            if time.monotonic() > begun + PATIENCE:
                raise GroupError(f"did not answer within {PATIENCE:g} s")
            pause(begun)
        found: dict[str, Any] = json.loads(answer.read_bytes())
        return found

    def end(self) -> None:
        """Let all of them see that there are no more turns; at once if they do not."""
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.terminate()  # mpiexec ends those that it has started
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process.kill()
            self.process.wait()

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line and not line.startswith(" ")]
        return (errors or lines or [f"ended with status {self.process.returncode} and said nothing"])[-1][:300]


@contextmanager
def groups(numbers: Sequence[int], backend: Backend, device: str | None, threads: int) -> Iterator[dict[int, Group]]:
    """A group for each number of processes; all of them end with the block."""
    begun: dict[int, Group] = {}
    with tempfile.TemporaryDirectory(prefix="xpnet-") as where:
        try:
            for processes in numbers:
                folder = Path(where) / str(processes)
                folder.mkdir()
                begun[processes] = Group(processes, backend.name, device, threads, folder)
            yield begun
        finally:
            for group in begun.values():
                group.end()


def measure(
    job: Job,
    begun: dict[int, Group],
    *,
    until: float,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    turns: random.Random | None = None,
    rounds: int = MOST_ROUNDS,
) -> Scaling:
    """One job on all groups, until the time is over; a few rounds are taken in any case.

    No time counts where the losses are not those of the first group.
    """
    found, order = Scaling(job), turns or random.Random(0)
    described = asdict(job)
    expected: list[float] = []
    for processes, group in begun.items():
        with _problems(found, processes):
            if processes > job.batch_size:
                raise GroupError(f"{processes} processes, and {job.batch_size} samples in a minibatch")
            _check(group.ask(job=described, steps=CHECKED)["losses"], expected, min(begun))
            found.steps = found.steps or _steps(group, described)
            group.ask(job=described, steps=found.steps)  # so that nothing is new any more
            found.times[processes] = Times()
    taken = 0
    while found.times and (taken < LEAST_ROUNDS or (taken < rounds and clock() < until)) and not stop():
        for processes in order.sample(list(found.times), len(found.times)):  # no one always runs after the same one
            with _problems(found, processes):
                said = begun[processes].ask(job=described, steps=found.steps)
                found.times[processes].seconds.append(said["seconds"])
                found.times[processes].processor.append(said["processor"])
        taken += 1
    found.times = {processes: times for processes, times in found.times.items() if times.seconds}
    return found


def _check(losses: list[float], expected: list[float], first: int) -> None:
    if not expected:
        expected += losses
    if not all(abs(a - b) <= RTOL * abs(b) for a, b in zip(losses, expected, strict=True)):
        raise GroupError(f"wrong: the first losses are {losses}, those of {first} process {expected}")


def _steps(group: Group, job: dict[str, Any]) -> int:
    """How many steps last long enough."""
    steps = 1
    while (seconds := group.ask(job=job, steps=steps)["seconds"]) < TURN_SECONDS / 2:
        steps = max(2 * steps, int(steps * min(16, TURN_SECONDS / max(seconds, 1e-6))))
    return steps


@contextmanager
def _problems(found: Scaling, processes: int) -> Iterator[None]:
    """What goes wrong is told of this number of processes, and the others go on."""
    try:
        yield
    except GroupError as error:
        found.problems[processes] = str(error)
        found.times.pop(processes, None)
