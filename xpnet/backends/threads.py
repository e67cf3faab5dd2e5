"""How many threads a library multiplies on: one number for the whole process, lowered while xpnet computes.

Threads that share a product wait for the last of them. Where other programs keep the cores busy, that one waits for its
turn, which takes milliseconds: a product of 0.1 ms then takes 20.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

#: Multiplications in one product from which on all cores share it unless somebody says otherwise: one core takes about
#: a millisecond for them. Measured on two cores, on products of 4 to 800 million: sharing saves 35 to 45 % from 8
#: million on if nothing else runs; beside busy programs the median took up to 350 times as long at 4 million, 6 to 20
#: times at 40 to 100 million, and 1.2 to 2 times at 800 million.
WORTH_SHARING = 50_000_000

#: Environment variables by which users set the number for libraries that multiply matrices.
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


_granted: ContextVar[int | None] = ContextVar("xpnet_threads", default=None)


def granted() -> int | None:
    """How many threads whoever called this may take, by the blocks of ``limited`` that it is in; None outside."""
    return _granted.get()


class Pool(Protocol):
    """The threads of one library."""

    def get_num_threads(self) -> int | None:
        """How many it uses, or None if it does not tell."""

    def set_num_threads(self, num_threads: int) -> object:
        """Have it use so many."""


class Threads:
    """The number of threads of some pools, for everything in this process that multiplies with them.

    Calls may be nested, and come from several threads at a time: what is in force is the smallest number that is asked
    for at the moment. When nobody asks any more it is what it was before, unless somebody else has changed it.

    Args:
        pools: gives the pools, once they are first needed.
        variables: environment variables that are a user's word.
        environment: where they are looked up.

    Attributes:
        sharing: how many processes of one training share the cores, this one included.
    """

    sharing = 1

    def __init__(
        self,
        pools: Callable[[], Sequence[Pool]],
        variables: Sequence[str] = VARIABLES,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._pools, self._variables, self._environment = functools.cache(pools), variables, environment
        self._lock = threading.Lock()
        self._asked: list[int] = []
        self._before: list[int] = []
        self._first: int | None = None

    @property
    def number(self) -> int | None:
        """How many threads multiply when xpnet asks for nothing; None if there is no pool that tells."""
        with self._lock:
            return self._number()

    def choose(self, work: int, asked: int | None = None, worth: int = WORTH_SHARING) -> int | None:
        """How many threads to take for products of up to ``work`` multiplications; None for as many as there are.

        Never more than are in force. Without ``asked`` a user's word stands, be it an environment variable or another
        number than at first (``threadpoolctl``, for example); else products of less than ``worth`` get one thread.
        """
        with self._lock:
            now = self._number()
            if now is None:
                return None
            self._first = now if self._first is None else self._first
            if asked is not None:
                return min(asked, now)
            told = now != self._first or any(self._environment.get(name) for name in self._variables)
            if told:
                return now
            return max(1, now // self.sharing) if work >= worth else 1

    @contextmanager
    def limited(self, number: int | None) -> Iterator[None]:
        """Multiply on no more threads than this within the block; None changes nothing."""
        if number is None:
            yield
            return
        before = _granted.get()
        self._enter(number)
        _granted.set(number if before is None else min(number, before))
        try:
            yield
        finally:
            _granted.set(before)
            self._leave(number)

    def _number(self) -> int | None:
        numbers = self._before if self._asked else [n for pool in self._pools() if (n := pool.get_num_threads())]
        return max(numbers, default=None)

    def _enter(self, number: int) -> None:
        with self._lock:
            now = [pool.get_num_threads() or 0 for pool in self._pools()]
            if not self._asked:
                self._before = now
            self._asked.append(number)
            for pool, there, wanted in zip(self._pools(), now, self._wanted(), strict=True):
                if wanted and there != wanted:
                    pool.set_num_threads(wanted)

    def _leave(self, number: int) -> None:
        with self._lock:
            if number not in self._asked:  # this process was forked meanwhile
                return
            put = self._wanted()
            self._asked.remove(number)
            for pool, now, then in zip(self._pools(), put, self._wanted(), strict=True):
                # where somebody else has changed it meanwhile, theirs stays
                if now != then and pool.get_num_threads() == now:
                    pool.set_num_threads(then)

    def _wanted(self) -> list[int]:
        return [self._below(before) for before in self._before]

    def _below(self, number: int) -> int:
        return min([number, *self._asked])

    def forget(self) -> None:
        """Let nobody ask any more: in a forked process those who did are not there."""
        self._lock = threading.Lock()
        if self._asked:
            self._asked = []
            for pool, before in zip(self._pools(), self._before, strict=True):
                if before:
                    pool.set_num_threads(before)


def _blas() -> Sequence[Pool]:
    """The libraries of linear algebra that are loaded: NumPy's, and perhaps SciPy's.

    None where they cannot be asked: with a name in Japanese, for example, and a locale that has ASCII alone.
    """
    from threadpoolctl import ThreadpoolController  # later: `import xpnet` does not need it

    try:
        found: Sequence[Pool] = ThreadpoolController().select(user_api="blas").lib_controllers
    except (OSError, UnicodeError):
        return ()  # as where there is no such library: history and output say of how many threads nothing is known
    return found


#: Those that NumPy multiplies on.
BLAS = Threads(_blas)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=BLAS.forget)
