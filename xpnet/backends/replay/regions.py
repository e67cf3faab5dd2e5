"""A program shared out to threads: phases in which each makes calls of its own, after which they wait for each other.

A phase goes on while no thread reads or writes memory that another one of the phase writes: nine elementwise calls of
an optimizer on one parameter are one phase, each thread taking the same rows in all of them. Who touches what is told
by memory, so arrays that share it are no exception.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet.backends.replay.kernels import REDUCTIONS
from xpnet.backends.replay.program import HOST, THROUGH, WRITTEN, Call, Program, Ref
from xpnet.backends.replay.slices import Cut, Find, pieces, ways

#: What it costs that threads wait for each other once, in elements of an elementwise call: about 15 µs, of 0.1 ns each.
HAND_OVER = 150_000
#: What has to be saved of a step. Where it is less, each wait is so short that cores do not settle down to it: steps of
#: 784-100-10 took 4 times as long on two threads.
LEAST_GAIN = 0.35
#: Multiplications of a product that take the time of one element.
MULTIPLICATIONS = 6
#: Times that a convolution in tiles goes over its arrays.
PASSES = 20
#: More threads than these would wait for the interpreter, which each needs at each call.
MOST_THREADS = 8

#: How hard it is tried to find out whether arrays whose memory is interlaced share any.
MOST_WORK: Any = 10_000

#: What each thread calls in one phase.
Phase = list[list[Call]]
#: What is read and what is written.
Touched = tuple[list[np.ndarray], list[np.ndarray]]


def shared_out(program: Program, find: Find, number: int, own: Sequence[Ref]) -> list[Phase] | None:
    """The phases of a program for so many threads, or None where one is as fast; ``find`` gives the array of a place.

    ``own`` are bytes that each thread but the first one has for itself. The first one, the caller's, begins a step: it
    reads the loss of the one before, and writes the rows of the minibatch and the draws.
    """
    sharing = _Sharing(find, number)
    begun = [find(ref) for name, ref in program.given.items() if name[0] in ("rows", "draws")]
    sharing.touched[0], sharing.load[0] = ([find(program.loss)], begun), 1
    for call in _small_first(program.calls, sharing.touches):
        if call.own is not None:
            mine = [call.own, *(_part(each, call.own) for each in own)]
            for cut in pieces(call, find, number, mine):
                sharing.add(cut)
        else:
            sharing.place(call)
    total = sum(map(work, program.calls))
    gain = sharing.cut * (1 - 1 / number) - HAND_OVER * len(sharing.phases)
    return sharing.phases if gain > LEAST_GAIN * total else None


def work(call: Call) -> int:
    """About how long a call takes, in elements of an elementwise one."""
    read = [ref.size for ref in call.read()]
    if call.name == WRITTEN:
        return PASSES * max(read)
    if call.name == "matmul":
        return call.out.size + call.out.size * int(call.operands[0].shape[-1]) // MULTIPLICATIONS
    return max([call.out.size, *read] if call.name in REDUCTIONS else [call.out.size])


def _small(call: Call) -> bool:
    # functions of the host stay in their order, which is that of other processes: these may have other threads
    return call.name not in (WRITTEN, HOST, THROUGH) and work(call) <= max(1, HAND_OVER // 20)


class _Sharing:
    """Phases as they grow.

    Attributes:
        phases: so far; the last one is open.
        cut: how much work is shared.
    """

    def __init__(self, find: Find, number: int) -> None:
        self.find, self.number, self.cut = find, number, 0
        self.phases: list[Phase] = []
        self.touched: list[Touched] = []
        self.load: list[int] = []
        self.open()

    @property
    def phase(self) -> Phase:
        return self.phases[-1]

    def open(self) -> None:
        self.phases.append([[] for _ in range(self.number)])
        self.touched = [([], []) for _ in range(self.number)]
        self.load = [0] * self.number

    def place(self, call: Call) -> None:
        """Put a call where nobody has to wait for it, cut or whole; else into a new phase."""
        best, small = None, _small(call)
        if small and self.whole(call):
            return
        for cut in ways(call, self.find, self.number):
            touched = [self.touches(part) for part in cut]
            if _in_conflict(touched, touched):
                continue
            best = best or cut
            if not _in_conflict(touched, self.touched):
                self.add(cut)
                return
        if best is not None and work(call) >= HAND_OVER:
            self.add(best)
        elif small or not self.whole(call):
            self.add([call])

    def whole(self, call: Call) -> bool:
        """Give a call to the thread with the least to do, if that is possible in this phase."""
        touched = self.touches(call)
        # functions of the host are called in the caller's thread, in their order
        workers = [0] if call.name in (THROUGH, HOST) else sorted(range(self.number), key=self.load.__getitem__)
        for worker in workers:
            alone: list[Touched] = [([], []) for _ in range(self.number)]
            alone[worker] = touched
            if not _in_conflict(alone, self.touched):
                self._note(worker, call, touched)
                return True
        return False

    def add(self, cut: Cut) -> None:
        """Give each thread its part, in a new phase if it has to be."""
        touched = [self.touches(part) for part in cut]
        if _in_conflict(touched, self.touched):
            self.open()
        for worker, (part, each) in enumerate(zip(cut, touched, strict=True)):
            self._note(worker, part, each)
        self.cut += sum(map(work, cut)) if len(cut) > 1 else 0

    def _note(self, worker: int, call: Call, touched: Touched) -> None:
        self.phase[worker].append(call)
        self.load[worker] += work(call)
        for known, more in zip(self.touched[worker], touched, strict=True):
            known += more

    def touches(self, call: Call) -> Touched:
        read = [self.find(ref) for ref in call.read() if ref.root.constant is None]
        return read, [self.find(ref) for ref in call.written()]


def _small_first(calls: Sequence[Call], touches: Callable[[Call], Touched]) -> list[Call]:
    """The calls, small ones as early as possible: threads wait for numbers, and for who keeps the interpreter busy."""
    ordered: list[tuple[Call, Touched]] = []
    for call in calls:
        place, touched = len(ordered), touches(call)
        if _small(call):
            while place and not _in_conflict([touched, ([], [])], [([], []), ordered[place - 1][1]]):
                place -= 1
        ordered.insert(place, (call, touched))
    return [call for call, _ in ordered]


def _in_conflict(some: Sequence[Touched], others: Sequence[Touched]) -> bool:
    """Whether one thread writes what another one reads or writes."""
    for i, (read, written) in enumerate(some):
        for j, (read_there, written_there) in enumerate(others):
            if i != j and (_overlap(written, read_there + written_there) or _overlap(read, written_there)):
                return True
    return False


def _overlap(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return any(np.may_share_memory(a, b) and _shared(a, b) for a in some for b in others)


def _shared(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        return np.shares_memory(a, b, max_work=MOST_WORK)
    except np.exceptions.TooHardError:
        return True


def _part(place: Ref, like: Ref) -> Ref:
    """Memory like that of another place, at the beginning of one that is large enough."""
    return Ref(
        like.shape, like.dtype, base=place, view=lambda a: a[: like.nbytes].view(like.dtype), how=f"first {like.nbytes}"
    )
