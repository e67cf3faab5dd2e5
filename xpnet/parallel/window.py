"""Sums over processes of one machine through memory that they have in common.

Each writes what the others need into its own segment, all meet, and each reads. They meet by counters in that memory,
which takes half a microsecond. Whoever waits lets others have the core, so that more processes than cores get on, too.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import pairwise, starmap
from types import ModuleType
from typing import Any

import numpy as np

from xpnet.parallel.base import Call
from xpnet.parallel.pieces import Pieces, pieces, spans

#: Bytes of the two halves of a segment together; larger messages go through in turns. Halves take turns too: when a
#: process writes into one again, all have met in between, so nobody reads it any more.
SEGMENT = 2**20
#: The least that is worth it, where the machine has less room, and bytes before the halves, for the counter.
LEAST, LINE = 2**16, 64
#: Up to so many bytes each process adds up all of a message, which meets once; of more it adds up its own part.
SMALL = 2**15

#: What a process calls before all meet, and after it.
Turn = tuple[list[Call], list[Call]]

_yield = getattr(os, "sched_yield", lambda: time.sleep(0))


class Window:
    """The segments of the processes of a communicator, as one of them sees them.

    Args:
        MPI: mpi4py's module.
        comm: a communicator of processes that can share memory.
        segment: bytes of each process; the same in all.
    """

    def __init__(self, MPI: ModuleType, comm: Any, segment: int) -> None:
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._ranks = range(self.size)
        self._half = segment // 2 // LINE * LINE
        window = MPI.Win.Allocate_shared(LINE + 2 * self._half, 1, comm=comm)
        window.Lock_all()  # MPI allows its synchronization in between
        memory = [np.frombuffer(window.Shared_query(rank)[0], np.uint8) for rank in self._ranks]
        memory[self.rank][...] = 0  # all of it is there from here on, or this ends here
        counters = [memoryview(each[:8]).cast("q") for each in memory]  # type: ignore[arg-type]
        self._own, self._others = counters[self.rank], [counters[rank] for rank in self._ranks if rank != self.rank]
        self._halves = [[each[LINE + i * self._half :][: self._half] for each in memory] for i in range(2)]
        self._sync, self._turn = window.Sync, 0
        comm.Barrier()
        atexit.register(_free, MPI, window)

    def meet(self) -> None:
        """Wait until all have come here: what each has written before is then there for all."""
        self._turn = turn = self._turn + 1
        self._sync()
        self._own[0] = turn
        for counter in self._others:
            while counter[0] < turn:
                _yield()
        self._sync()

    def all_reduce(self, part: np.ndarray, out: np.ndarray) -> None:
        """The sum of flat arrays."""
        if part.nbytes > SMALL:
            ends = [part.size * rank // self.size for rank in range(self.size + 1)]
            parts = list(starmap(slice, pairwise(ends)))
            self.reduce_scatter(pieces([part], parts), out[parts[self.rank]])()
            self.all_gather(pieces([out], parts), part.dtype)()
            return
        room = self._half // part.itemsize
        for start in range(0, part.size, room):
            into, halves = out[start : start + room], self._of(self._turn, part.dtype)
            halves[self.rank][: into.size] = part[start : start + room]
            self.meet()
            for call in _sums([half[: into.size] for half in halves], into):
                call()

    def reduce_scatter(self, parts: Pieces, out: np.ndarray) -> Call:
        """A call that adds up own pieces over all into ``out``."""
        others = [rank for rank in self._ranks if rank != self.rank]
        room = self._half // LINE // len(others) * LINE // out.itemsize

        def place(halves: list[np.ndarray], of: int, rank: int) -> np.ndarray:
            """Where process ``of`` has what it gives to another; there is no place for itself."""
            return halves[of][(rank - (rank > of)) * room :][:room]

        def turn(start: int, halves: list[np.ndarray]) -> Turn:
            written, added = list[Call](), list[Call]()
            for rank in others:
                there = place(halves, self.rank, rank)
                written += [partial(np.copyto, there[i], view) for view, i in spans(parts[rank], start, start + room)]
            theirs = [place(halves, rank, self.rank) for rank in others]
            for view, i in spans(parts[self.rank], start, start + room):
                added += _sums([view, *(each[i] for each in theirs)], out[start:][i])
            return written, added

        return self._calling(parts, room, out.dtype, turn)

    def all_gather(self, parts: Pieces, dtype: np.dtype[Any]) -> Call:
        """A call that gives own pieces to all, and writes theirs into the others."""
        room = self._half // dtype.itemsize

        def turn(start: int, halves: list[np.ndarray]) -> Turn:
            written, fetched = list[Call](), list[Call]()
            for rank, half in enumerate(halves):
                for view, i in spans(parts[rank], start, start + room):
                    if rank == self.rank:
                        written.append(partial(np.copyto, half[i], view))
                    else:
                        fetched.append(partial(np.copyto, view, half[i]))
            return written, fetched

        return self._calling(parts, room, dtype, turn)

    def _calling(self, parts: Pieces, room: int, dtype: np.dtype[Any], turn: Callable[..., Turn]) -> Call:
        """A call of as many turns as the largest part needs, ready for both halves, as either may be next."""
        longest = max(sum(view.size for view in views) for views in parts)
        turns = [[turn(start, self._of(i, dtype)) for i in range(2)] for start in range(0, longest, room)]

        def call() -> None:
            for ready in turns:
                before, after = ready[self._turn % 2]
                for each in before:
                    each()
                self.meet()
                for each in after:
                    each()

        return call

    def _of(self, turn: int, dtype: np.dtype[Any]) -> list[np.ndarray]:
        """The halves of all processes for a turn, as numbers."""
        return [half.view(dtype) for half in self._halves[turn % 2]]


def _free(MPI: ModuleType, window: Any) -> None:
    if not MPI.Is_finalized():
        with suppress(Exception):
            window.Unlock_all()
            window.Free()


def _sums(parts: Sequence[np.ndarray], out: np.ndarray) -> list[Call]:
    """Calls that add up some arrays, one after the other."""
    first, second, *more = parts
    return [partial(np.add, first, second, out), *(partial(np.add, out, each, out) for each in more)]


def room() -> int:
    """Bytes that this machine has for what processes share: half of what is free.

    Memory that is not there ends a process without a word when it is written to, and containers have 64 MB of it.
    """
    with suppress(OSError, AttributeError):
        found = os.statvfs("/dev/shm")
        return found.f_bavail * found.f_frsize // 2
    return 2**40


def segment_for(processes: int) -> int:
    """Bytes of a segment of each of so many processes; 0 where there is no room."""
    segment = min(SEGMENT, room() // processes)
    return segment if segment >= LEAST else 0
