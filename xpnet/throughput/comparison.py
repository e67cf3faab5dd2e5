"""The same trainings on every entrant, in turns, within so many seconds; no time counts where the losses are wrong.

Jobs come in the order of their arithmetic, and each may take its share of the time that is left, so that what a small
one does not need goes to the large ones. What would not fit is left out, with the reason.
"""

from __future__ import annotations

import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from xpnet.backends.base import PlainStep
from xpnet.backends.dispatch import Backend, get_backend
from xpnet.errors import CompileWarning
from xpnet.throughput.entrants import Entrant
from xpnet.throughput.training import Job, Split, Training

#: A block of steps lasts about so long; a round is a block of each entrant.
BLOCK_SECONDS = 0.1
LEAST_ROUNDS, MOST_ROUNDS = 3, 15
#: Before each block: the idle threads of some libraries keep a core busy for a while after their work.
PAUSE = 0.05
#: Steps that are compared with those of NumPy, uncompiled, by their losses; taken in blocks of one and of the rest.
CHECKED, RTOL = 3, 1e-3
#: How far weights may be from NumPy's after these steps, as a share of the way they went: TF32 has three digits.
STRAYED = 0.05


@dataclass
class Measurement:
    """What one entrant did: seconds of each block of ``steps`` steps, and of all before them, compiling included."""

    batch_size: int
    steps: int
    warm_up_seconds: float
    rounds: list[float] = field(default_factory=list)

    @property
    def samples_per_second(self) -> float:
        return self.batch_size * self.steps / statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """The upper quartile of the rounds over the lower one: 1 where all took the same time."""
        low, _, high = statistics.quantiles(self.rounds, method="inclusive") if len(self.rounds) > 1 else (1, 1, 1)
        return high / low


@dataclass
class Cell:
    """One job: what was measured, and why the rest was not, both by the name of the entrant."""

    job: Job
    measured: dict[str, Measurement] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


class _LeftOutError(Exception):
    """What is not measured, for the reason it says."""


@dataclass(frozen=True)
class _Expected:
    """The first losses of the reference, its weights after them, and those that all start from."""

    losses: np.ndarray
    weights: dict[str, np.ndarray]
    start: dict[str, np.ndarray]

    def check(self, losses: np.ndarray, weights: dict[str, np.ndarray]) -> None:
        """Raise if an entrant has others. First losses change little, so that they alone would not show much."""
        if not np.allclose(losses, self.losses, rtol=RTOL, atol=0):
            raise _LeftOutError(f"wrong: the first losses are {_listed(losses)}, those of NumPy {_listed(self.losses)}")
        for name, w in self.weights.items():
            off, way = np.linalg.norm(weights[name] - w), np.linalg.norm(w - self.start[name])
            if not off <= STRAYED * way:
                steps = len(losses)
                raise _LeftOutError(f"wrong: {steps} steps moved {name} elsewhere than with NumPy: {off / way:.0%} off")


@dataclass(frozen=True)
class _Cost:
    """What a job took an entrant: seconds until its first losses, and for each step after them."""

    start: float
    step: float
    job: Job

    def of(self, job: Job) -> float:
        """Seconds that another job, of no less arithmetic, may take at least."""
        return self.start + (LEAST_ROUNDS + 1) * self.step * job.operations / self.job.operations


class Comparison:
    """``run`` fills ``cells``, which hold what there is at any moment.

    Args:
        entrants: who takes part.
        data: images uint8 (N, 784) and labels (N,), of NumPy.
        jobs: what they do.
        seconds: how long all of it may take.
        seed: of the turns; the weights' and the minibatches' is the jobs'.
        stop: asked between blocks whether to end here.
        tell: called with each cell when it is done.
        takes: whether a job is one for an entrant; others are not measured on it and have no problem either.
        clock, sleep: those of ``time``.
    """

    def __init__(
        self,
        entrants: Sequence[Entrant],
        data: Split,
        jobs: Sequence[Job],
        *,
        seconds: float,
        seed: int = 0,
        stop: Callable[[], bool] = lambda: False,
        tell: Callable[[Cell], None] | None = None,
        takes: Callable[[Entrant, Job], bool] = lambda entrant, job: True,  # noqa: ARG005
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.entrants, self.data, self.seconds = entrants, data, seconds
        self.jobs = sorted(jobs, key=lambda job: (job.operations, job.batch_size))
        self.stop, self.tell, self.takes, self.clock, self.sleep = stop, tell, takes, clock, sleep
        self.turns = random.Random(seed)
        self.reference = Entrant(get_backend("numpy"), compiled=False)
        self.cells: list[Cell] = []
        self.moved: dict[Backend, Split] = {}
        self.known: dict[Entrant, _Cost] = {}
        self.begin = self.end = 0.0

    @property
    def used(self) -> float:
        """Seconds so far."""
        return self.clock() - self.begin

    def run(self) -> None:
        """Measure until all is done, or the time is over, or ``stop`` says so."""
        self.begin = self.clock()
        self.end = self.begin + self.seconds
        for i, job in enumerate(self.jobs):
            if self.stop():
                break
            now = self.clock()
            self.cells.append(cell := Cell(job))
            self._measure(cell, now + (self.end - now) / (len(self.jobs) - i))
            if self.tell is not None:
                self.tell(cell)

    def _measure(self, cell: Cell, until: float) -> None:
        """Have all take turns until the time of this cell is over."""
        ready = self._ready(cell)
        rounds, now = 0, self.clock()
        while ready and self._another(rounds, now, until):
            for entrant in self.turns.sample(list(ready), len(ready)):  # no one always runs after the same one
                if self.stop():
                    return
                self.sleep(PAUSE)
                with self._problems(cell, entrant):
                    cell.measured[entrant.name] = _turn(*ready[entrant])
                if entrant.name in cell.problems:
                    del ready[entrant]
            rounds, now = rounds + 1, self.clock()

    def _another(self, rounds: int, now: float, until: float) -> bool:
        if rounds in (0, MOST_ROUNDS) or now >= self.end:
            return not rounds
        return rounds < LEAST_ROUNDS or now < until

    def _ready(self, cell: Cell) -> dict[Entrant, tuple[Training, Measurement]]:
        """Those that compute what the reference computes, warm."""
        ready: dict[Entrant, tuple[Training, Measurement]] = {}
        expected: _Expected | None = None
        taking = [entrant for entrant in self.entrants if self.takes(entrant, cell.job)]
        with self._problems(cell, *taking):
            expected = self._expected(cell.job)
        for entrant in () if expected is None else taking:
            if self.stop():
                return {}
            with self._problems(cell, entrant):
                ready[entrant] = self._warm(entrant, cell.job, expected)
        return ready

    def _expected(self, job: Job) -> _Expected:
        """What the reference computes."""
        job = replace(job, compute_dtype=None)  # in mixed precision, too, they have to be those of single precision
        training, losses = self._start(self.reference, job)
        start = Training(self.reference, job, self.data, self.clock).weights()
        return _Expected(losses, training.weights(), start)

    def _start(self, entrant: Entrant, job: Job) -> tuple[Training, np.ndarray]:
        """A training, and its first losses."""
        self._check_time(entrant, job)
        backend = entrant.backend
        if backend not in self.moved:
            x, t = self.data
            self.moved[backend] = backend.asarray(x), backend.asarray(t)
        begin = self.clock()
        training = Training(entrant, job, self.moved[backend], self.clock)
        losses = training.take(1).losses
        while len(losses) < CHECKED:
            seconds, more = training.take(min(CHECKED - len(losses), training.longest))
            losses = np.concatenate([losses, more])
        self.known[entrant] = _Cost(self.clock() - begin, seconds / len(more), job)
        return training, losses

    def _warm(self, entrant: Entrant, job: Job, expected: _Expected) -> tuple[Training, Measurement]:
        """A training whose next blocks can be timed."""
        begin = self.clock()
        training, losses = self._start(entrant, job)
        expected.check(losses, training.weights())
        steps, seconds = _block_size(training)
        cost = replace(self.known[entrant], step=seconds / steps)
        if isinstance(training.step, PlainStep):  # what its library compiles for a first step it has for every job
            cost = replace(cost, start=CHECKED * cost.step)
        self.known[entrant] = cost
        return training, Measurement(job.batch_size, steps, self.clock() - begin)

    def _check_time(self, entrant: Entrant, job: Job) -> None:
        """Raise unless a few rounds of this fit in what is left, going by what the last job took."""
        left, cost = self.end - self.clock(), self.known.get(entrant)
        if left <= 0:
            raise _LeftOutError(f"the {self.seconds:g} seconds were over")
        if cost is not None and (needed := cost.of(job)) > left:
            raise _LeftOutError(f"would take about {needed:.0f} s, and {left:.0f} of the {self.seconds:g} s were left")

    @contextmanager
    def _problems(self, cell: Cell, *entrants: Entrant) -> Iterator[None]:
        """What goes wrong is told of these, who get no time, and the others go on."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", CompileWarning)  # it would be timed uncompiled, under another name
                yield
            return
        except _LeftOutError as error:
            why = str(error)
        except CompileWarning as error:
            why = f"could not be compiled: {_shortened(error)}"
        except Exception as error:  # each library has its own for want of memory, and any may fail in a way of its own
            why = f"failed: {type(error).__name__}: {_shortened(error)}"
        for entrant in entrants:
            cell.problems[entrant.name] = why
            cell.measured.pop(entrant.name, None)


def _turn(training: Training, measurement: Measurement) -> Measurement:
    seconds, losses = training.take(measurement.steps)
    if not np.isfinite(losses).all():
        raise _LeftOutError("wrong: a loss is not finite")
    measurement.rounds.append(seconds)
    return measurement


def _block_size(training: Training) -> tuple[int, float]:
    """How many steps last long enough, found by taking some, and how long they took."""
    steps = 1
    while True:
        seconds = training.take(steps).seconds
        if seconds >= BLOCK_SECONDS / 2:
            seconds = training.take(steps).seconds  # the first block of a length may have been compiled
        if seconds >= BLOCK_SECONDS / 2 or steps == training.longest:
            return steps, seconds
        steps = min(2 * steps, training.longest)


def _listed(losses: np.ndarray) -> str:
    return ", ".join(f"{loss:.6g}" for loss in losses)


def _shortened(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:200]
