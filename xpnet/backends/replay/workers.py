"""Threads that take the same way through a list of phases, and meet at the end of each.

Whoever waits in a lock sleeps, and to be woken takes 40 µs where its core sleeps too. So it looks at a flag first, for
a while, from within a function of NumPy: there it needs no interpreter. Who comes last sets the flag within another
one, which goes on for some microseconds, so that the interpreter is free when the others want it. The flag is only a
hint; what counts is the lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import as_strided

#: How many times a flag is looked at, in about 100 µs, before one sleeps: the other one may wait for this very core.
LOOKS = 400_000
#: Elements that are divided as a flag is set, the flags among the first: 3 µs.
STAY = 2000

#: What thread k of a team does, which meets the others each time it calls what it is given.
Work = Callable[[int, Callable[[], None]], None]


class _LeftError(Exception):
    """Another thread of the team has failed."""


class Team:
    """So many threads, the caller's among them, for one call of :meth:`run`.

    They live no longer than that, so there is nothing to be ended, forked or pickled.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.lock, self.arrived = threading.Lock(), 0
        self.doors = [threading.Lock() for _ in range(number)]
        self.ends, self.ended = [threading.Lock() for _ in range(number)], set[int]()
        for each in (*self.doors, *self.ends):
            each.acquire()
        self.ones, self.flags = np.ones(STAY, np.int8), np.zeros(STAY, np.int8)
        seen = self.flags.view(bool)
        self.look = [partial(np.logical_or.reduce, as_strided(seen[k:], (LOOKS,), (0,))) for k in range(number)]
        self.error: BaseException | None = None

    def run(self, work: Work) -> None:
        """``work(k, meet)`` in each thread k, with the caller's context; the first error in any of them is raised."""
        threads = [
            threading.Thread(target=copy_context().run, args=(self._work, work, k), name=f"xpnet-{k}", daemon=True)
            for k in range(1, self.number)
        ]
        begun = False
        try:
            for thread in threads:
                thread.start()
            begun = True
            self._work(work, 0)
        except BaseException as error:  # a thread could not be started, or Ctrl-C between two lines
            self._leave(error)
        finally:
            if begun:
                self._wait()
            for thread in threads:
                if thread.is_alive():
                    thread.join()
        if self.error is not None:
            raise self.error

    def _wait(self) -> None:
        """Until nobody works any more, however often Ctrl-C is pressed: they write into the caller's arrays.

        Before Python 3.13 a thread whose ``join`` was interrupted is taken for one that has ended.
        """
        for k in range(1, self.number):
            while k not in self.ended:
                try:
                    self.ends[k].acquire()
                except BaseException as error:  # Ctrl-C, or what another handler of a signal raises
                    self._leave(error)

    def _work(self, work: Work, k: int) -> None:
        try:
            self._meet(k)  # nobody begins before all are there: who comes after an error does nothing
            work(k, partial(self._meet, k))
        except _LeftError:
            pass
        except BaseException as error:  # it is the caller's, whichever thread it came up in
            self._leave(error)
        finally:
            self.ended.add(k)
            if k:
                self.ends[k].release()

    def _meet(self, k: int) -> None:
        with self.lock:
            self.arrived += 1
            last = self.arrived == self.number
            if last:
                self.arrived = 0
        if last:
            for j, door in enumerate(self.doors):
                if j != k:
                    door.release()
            np.floor_divide(self.ones, self.ones, self.flags)
            self.flags[k] = 0
        else:
            self.look[k]()
            self.doors[k].acquire()
            self.flags[k] = 0
        if self.error is not None:
            raise _LeftError

    def _leave(self, error: BaseException) -> None:
        """Have all others stop where they meet next."""
        with self.lock:
            self.error = error if self.error is None else self.error
            for door in self.doors:
                if door.locked():
                    door.release()
