"""MPI: processes that ``mpiexec`` or a cluster's scheduler starts, through mpi4py.

Processes of one machine add up through memory that they share, and others through MPI.

What goes wrong in one process ends all: a process that is killed is noticed by ``mpiexec``; an exception that nobody
catches, and one in the middle of a step, ends the others after it was told; and a watch ends a process that has waited
too long for others, who may be on a machine that is lost.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from xpnet.backends.base import Backend
from xpnet.parallel.base import Call, Parallel, ParallelUnavailableError
from xpnet.parallel.pieces import pieces
from xpnet.parallel.window import Window, segment_for
from xpnet.streams import Quiet, warn

#: By which variables the programs that start processes say how many they started, and which of them this one is: those
#: of MPICH, Intel and Slurm, and those of Open MPI.
SIZES, RANKS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "OMPI_COMM_WORLD_RANK")
#: The longest that a process waits for the others before it ends all of them, in seconds; 0 for no end.
TIMEOUT, TIMEOUT_VARIABLE = 600.0, "XPNET_MPI_TIMEOUT"
#: How long a process that failed waits for process 0 to fail in the same way, which then speaks for all.
FIRST_SECONDS = 1.0
INSTALL = 'pip install "xpnet[mpi]"'


class Mpi(Parallel):
    """One of the processes of a communicator.

    Args:
        comm: a communicator of mpi4py, for this alone.
        timeout: the longest that a process waits for the others, in seconds; 0 for no end.
        segment: bytes of memory that this process shares with those of its machine, if all are there; 0 for none.
            By default what there is room for.
    """

    name = "mpi"

    def __init__(self, comm: Any, timeout: float = TIMEOUT, segment: int | None = None) -> None:
        self._comm, self._since = comm, 0.0
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.beside, self.place_here, self._sharing = _on_this_machine(comm)
        self._window = None
        if self.beside == self.size > 1:
            segment = min(comm.allgather(segment_for(self.size) if segment is None else segment))
            self._window = Window(_mpi(), comm, segment) if segment else None
        if timeout and self.size > 1:
            threading.Thread(target=self._watch, args=(timeout,), name="xpnet-mpi-watch", daemon=True).start()

    def all_reduce(self, part: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        out = np.empty_like(part) if out is None else out
        with self._waiting():
            if self._window is None:
                self._comm.Allreduce(part, out)
            else:
                self._window.all_reduce(part.reshape(-1), out.reshape(-1))
        return out

    def reduce_scatter(self, arrays: Sequence[np.ndarray], parts: Sequence[slice], out: np.ndarray) -> Call:
        if self._window is not None:
            return self._call(self._window.reduce_scatter(pieces(arrays, parts), out))

        def add_up() -> None:
            flat = np.concatenate([array.reshape(-1) for array in arrays])
            self._comm.Reduce_scatter(flat, out, _sizes(parts))

        return self._call(add_up)

    def all_gather(self, arrays: Sequence[np.ndarray], parts: Sequence[slice]) -> Call:
        if self._window is None:
            return super().all_gather(arrays, parts)
        return self._call(self._window.all_gather(pieces(arrays, parts), arrays[0].dtype))

    def joined(self, own: np.ndarray, parts: Sequence[slice]) -> np.ndarray:
        flat = np.empty(parts[-1].stop, own.dtype)
        with self._waiting():
            self._comm.Allgatherv(own, [flat, _sizes(parts)])
        return flat

    def _call(self, waits: Call) -> Call:
        """What waits for the others, watched."""

        def call() -> None:
            self._since = time.monotonic()
            try:
                waits()
            finally:
                self._since = 0.0

        return call

    @contextmanager
    def together(self) -> Iterator[None]:
        with warnings.catch_warnings(), super().together():
            if not self.leads:
                warnings.simplefilter("ignore")  # the first process has the same to say
            yield

    def exchange(self, value: Any) -> list[Any]:
        with self._waiting():
            if self._window is not None:
                self._window.meet()  # who waits for long lets others have the core
            return self._comm.allgather(value)  # type: ignore[no-any-return]

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        array = np.array(array, order="C") if self.leads else np.empty_like(array, order="C")
        with self._waiting():
            self._comm.Bcast(array)
        return array

    def abort(self, error: BaseException) -> None:
        if self.size > 1:
            code = error.code if isinstance(error, SystemExit) else 130 if isinstance(error, KeyboardInterrupt) else 1
            self.end_all(error, code if isinstance(code, int) else 1)

    def admit(self, backend: Backend) -> None:
        if backend.name == "jax" and _mpi().Query_thread() < _mpi().THREAD_SERIALIZED:
            raise ValueError(
                "JAX calls MPI from threads of its own, which this MPI does not allow: leave mpi4py.rc.thread_level "
                "as it is, or build MPI with threads"
            )
        if backend.threads is not None:
            backend.threads.sharing = self._sharing

    def end_all(self, error: BaseException, status: int) -> None:
        """Tell an error and end all processes; where process 0 fails as well, it alone tells."""
        if not self.leads:
            time.sleep(FIRST_SECONDS)
        if isinstance(error, Exception):
            text = "".join(traceback.format_exception(error))
            Quiet(sys.stderr).write(f"{text}process {self.rank} of {self.size} failed, and ends all of them\n")
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        Quiet(sys.stderr).flush()
        self._comm.Abort(status)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """What is done in this block waits for the others."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = 0.0

    def _watch(self, timeout: float) -> None:
        while True:
            time.sleep(min(1.0, timeout / 4))
            since = self._since
            if since and time.monotonic() - since > timeout:
                Quiet(sys.stderr).write(
                    f"process {self.rank} of {self.size} has waited {timeout:g} s for the others, and ends all: one of "
                    f"them hangs, or its machine is lost ({TIMEOUT_VARIABLE}=0 waits for ever)\n"
                )
                Quiet(sys.stderr).flush()
                os._exit(1)  # which mpiexec answers by ending the others

    def __reduce__(self) -> tuple[Callable[[], Parallel], tuple[()]]:
        return join, ()


def _sizes(parts: Sequence[slice]) -> list[int]:
    return [part.stop - part.start for part in parts]


def launched() -> int:
    """How many processes say those who started this one that there are, by variables of the environment."""
    return max(1, *_numbers_in(SIZES))


def launched_first() -> bool:
    """Whether this is the first of them, as far as the environment tells."""
    return not any(_numbers_in(RANKS))


def _numbers_in(names: tuple[str, ...]) -> list[int]:
    """The numbers in these variables, 0 for those that are missing."""
    texts = [os.environ.get(name, "") for name in names]
    return [int(text) if text.isdecimal() else 0 for text in texts]


@functools.cache
def join() -> Parallel:
    """The processes that this one was started with.

    Raises:
        ParallelUnavailableError: mpi4py or an MPI is missing, or ``mpiexec`` is that of another MPI.
    """
    MPI = _mpi()
    comm, started = MPI.COMM_WORLD, launched()
    if comm.Get_size() < started:
        library = MPI.Get_library_version().split("\n")[0].strip(" \0")
        raise ParallelUnavailableError(
            f"mpiexec has started {started} processes, but mpi4py's MPI ({library}) sees {comm.Get_size()} of them: "
            f"mpiexec is that of another MPI; use the one beside Python, {Path(sys.executable).with_name('mpiexec')}, "
            "or build mpi4py with yours: pip install --no-binary mpi4py mpi4py"
        )
    if comm.Get_size() == 1:
        warn(
            "parallel='mpi' trains alone, as this process was started by itself; for 4 processes: mpiexec -n 4 python "
            "program.py",
            stacklevel=5,
        )
        return Mpi(comm)
    found = Mpi(comm.Dup(), float(os.environ.get(TIMEOUT_VARIABLE) or TIMEOUT))
    _end_all_with_this_one(found)
    return found


def _mpi() -> Any:
    """mpi4py's module, which starts MPI when it is first imported."""
    try:
        importlib.import_module("mpi4py")
    except ModuleNotFoundError:
        raise ParallelUnavailableError(f"parallel='mpi' needs mpi4py, which is not installed; {INSTALL}") from None
    try:
        return importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError, OSError) as error:
        raise ParallelUnavailableError(
            f"parallel='mpi': mpi4py is there, but no MPI that it can load ({error}); {INSTALL} installs MPICH beside "
            "it, and on a cluster there is one to load by its modules"
        ) from None


def _on_this_machine(comm: Any) -> tuple[int, int, int]:
    """How many of the processes are on this machine, the number of this one among them, and how many share its cores.

    A launcher may have given each process cores of its own.
    """
    local = comm.Split_type(_mpi().COMM_TYPE_SHARED, comm.Get_rank())
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    others = local.allgather(cores)
    size, rank = local.Get_size(), local.Get_rank()
    local.Free()
    return size, rank, sum(not cores.isdisjoint(each) for each in others) or size


def _end_all_with_this_one(parallel: Mpi) -> None:
    """An exception that nobody catches ends all processes, who would wait for this one for ever."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):  # all have it
            if parallel.leads:
                before(kind, error, trace)
            return
        parallel.end_all(error, 1)

    sys.excepthook = hook
