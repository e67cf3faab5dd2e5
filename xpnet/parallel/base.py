"""What trains together: the processes that share the rows of each minibatch, as one of them sees it.

A training is written once. It asks ``parallel`` which rows are its own, hands it what has to be added up, and compares
notes with the others between blocks of steps. Alone, all rows are its own and nothing is to be added.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import numpy as np

from xpnet._typing import Array
from xpnet.backends.base import Backend, CompiledStep, PlainStep, Step

#: What looks at samples in an evaluation: ``function(params, x, t, weight)``, see :mod:`xpnet.models.evaluation`.
Judge = Callable[..., dict[str, Array]]

#: What was made ready to be called in each step.
Call = Callable[[], None]

#: The modules of those that have a name; each has a function ``join() -> Parallel``.
NAMES = {"mpi": "xpnet.parallel.mpi", "jax": "xpnet.parallel.jax"}


class ParallelUnavailableError(RuntimeError):
    """Several processes were asked for that cannot work together here; the message says why and what to do."""


class ParallelError(RuntimeError):
    """Another process of this training failed; the message is its own."""


class MismatchError(ValueError):
    """The processes of a training were not given the same; the message says what differs, and where."""


class Failure(NamedTuple):
    """What a process that failed tells in the place of a value."""

    message: str


class Parallel:
    """One process by itself, and what others override: the seam that a training has towards those beside it.

    An engine with processes has ``rank`` and ``size``, and overrides :meth:`all_reduce`, :meth:`exchange`,
    :meth:`broadcast` and :meth:`abort`; all else follows, :meth:`reduce_scatter` and :meth:`all_gather` slowly. One
    whose library divides the rows itself, over several devices for example, says so by ``divides``, and overrides
    :meth:`compile`.

    Attributes:
        name: by which it is asked for: ``Trainer(parallel="mpi")``.
        divides: whether a step takes :meth:`mine` of the rows and adds up by :meth:`all_reduce`; False where the
            library does both for a step of all rows.
        rank: the number of this process, from 0. Process 0 writes, logs and calls callbacks.
        size: how many processes there are.
        beside: how many of them compute on this machine, this one included.
        place_here: the number of this process among those, from 0: which GPU to take, for example.
    """

    name: ClassVar[str] = ""
    divides: ClassVar[bool] = True
    rank: int = 0
    size: int = 1
    beside: int = 1
    place_here: int = 0
    _told: BaseException | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def mine(self, rows: int) -> slice:
        """Which of so many rows of a minibatch are this process': as many as the others', or one more.

        >>> Parallel().mine(10)
        slice(0, 10, None)
        """
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def all_reduce(self, part: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The sum over all processes of a contiguous array, into ``out`` if it is given; the same bits in all of them.

        All have to call it, in the same order, with arrays of one shape and dtype.
        """
        if out is None:
            return part.copy()
        out[...] = part
        return out

    def reduce_scatter(self, arrays: Sequence[np.ndarray], parts: Sequence[slice], out: np.ndarray) -> Call:
        """A call, for as often as it is wanted, that adds up over all processes what is in this process' part.

        Args:
            arrays: of one dtype, row after row in memory, and of the same shapes in all processes.
            parts: by ranks, which entries of all arrays laid end to end each process adds up.
            out: flat, where the sums go.
        """

        def add_up() -> None:
            out[...] = self.all_reduce(np.concatenate([array.reshape(-1) for array in arrays]))[parts[self.rank]]

        return add_up

    def all_gather(self, arrays: Sequence[np.ndarray], parts: Sequence[slice]) -> Call:
        """A call that writes into arrays what the other processes have in their parts; see :meth:`reduce_scatter`."""

        def fetch() -> None:
            flat, start = np.concatenate([array.reshape(-1) for array in arrays]), 0
            flat = self.joined(flat[parts[self.rank]], parts)
            for array in arrays:
                array[...] = flat[start : start + array.size].reshape(array.shape)
                start += array.size

        return fetch

    def joined(self, own: np.ndarray, parts: Sequence[slice]) -> np.ndarray:
        """The own part, and those of all others, in one flat array."""
        return np.concatenate(self.exchange(own))

    def exchange(self, value: Any) -> list[Any]:
        """The values of all processes, by their ranks, on each of them; whatever can be pickled."""
        return [value]

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by their ranks, on each of them.

        Raises:
            ParallelError: another process has failed.
        """
        found = self.exchange(value)
        for rank, each in enumerate(found):
            if isinstance(each, Failure) and not isinstance(value, Failure):
                raise ParallelError(f"process {rank} of {self.size} failed, and so all of them end: {each.message}")
        return found

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        """The array of process 0, of this shape and dtype, on all."""
        return array

    @contextmanager
    def together(self) -> Iterator[None]:
        """All enter this block and leave it; where one fails in it, between two steps, the others fail with it.

        Raises:
            ParallelError: another process failed.
        """
        try:
            yield
        except BaseException as error:
            self.failed(error)
            raise
        self.gather(None)

    def failed(self, error: BaseException) -> None:
        """Tell the others, who wait in :meth:`gather` or will, that this process has failed between two steps.

        What they know already is not told again: that one of them failed, or what this one has told before.
        """
        if not any(isinstance(each, ParallelError) or each is self._told for each in _causes(error)):
            self._told = error
            message = getattr(error, "message", "")  # of click's, whose kind says nothing to a user
            self.gather(Failure(message or f"{type(error).__name__}: {error}"))

    def abort(self, error: BaseException) -> None:
        """End all processes, with this error on standard error; for one in the middle of a step.

        It returns where there are no others.
        """

    def admit(self, backend: Backend) -> None:
        """Raise ``ValueError`` if arrays of this backend cannot take part, and share the machine with those beside."""

    def compile(self, backend: Backend, step: Step, compiles: bool) -> CompiledStep:
        """The step, compiled if that is wanted and may be: a CUDA graph cannot wait for others in its middle."""
        if self.size > 1 and self.divides and backend.captures:
            compiles = False
        return backend.compile(step) if compiles else PlainStep(step, backend)

    def compile_function(self, backend: Backend, function: Judge) -> Judge:
        """What looks at samples in an evaluation, compiled."""
        return backend.compile_function(function)

    def check_same(self, found: dict[str, str]) -> None:
        """Compare notes: texts or digests by what they are of, which have to be the same in all processes.

        Raises:
            MismatchError: they are not; it says what differs from process 0, and in which process. All raise it.
        """
        others = self.gather(found)
        differing: dict[str, list[int]] = {}
        for rank, other in enumerate(others):
            for what in others[0].keys() | other.keys():
                if others[0].get(what) != other.get(what):
                    differing.setdefault(what, []).append(rank)
        if not differing:
            return
        parts = [_difference(what, ranks, others) for what, ranks in sorted(differing.items())]
        raise MismatchError(
            f"the {self.size} processes of this training were not given the same, so they cannot train one network: "
            f"{'; '.join(parts)}"
        )

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and (self.rank, self.size) == (other.rank, other.size)

    def __hash__(self) -> int:
        return hash((type(self), self.rank, self.size))

    def __repr__(self) -> str:
        return f"<xpnet parallel {self.name!r}, process {self.rank} of {self.size}>"


#: A process by itself.
ALONE = Parallel()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _difference(what: str, ranks: list[int], found: list[dict[str, str]]) -> str:
    """``seed on process 2 and 3``, with both values if they are short enough to be read."""
    where = f"{what} differs on process {' and '.join(map(str, ranks))} from process 0"
    there, here = found[ranks[0]].get(what, "none"), found[0].get(what, "none")
    readable = not any(text.startswith("#") or len(text) > 200 for text in (there, here))
    return f"{where} ({there}, and {here})" if readable else where


def as_parallel(given: Any) -> Parallel:
    """What ``Trainer(parallel=...)`` was given: None, a name, or what trains together already.

    Raises:
        TypeError, ValueError: it is something else, or no such name.
        ParallelUnavailableError: what it needs is missing; the message says what to install or how to start.
    """
    if given is None:
        return ALONE
    if isinstance(given, Parallel):
        return given
    if not isinstance(given, str):
        raise TypeError(f"parallel is {given!r}, expected None or one of: {', '.join(map(repr, NAMES))}")
    if given not in NAMES:
        raise ValueError(f"parallel is {given!r}, expected None or one of: {', '.join(map(repr, NAMES))}")
    join: Callable[[], Parallel] = importlib.import_module(NAMES[given]).join
    return join()
