"""The step that a Trainer calls on CuPy: captured once for the arrays that it is given, and launched from then on.

Everything of it has a place that stays: the state in the caller's arrays, results in between in memory of the step's
own. What functions of CuPy take for themselves while they are captured is kept as long as the graph: a pool alone would
give it back to the device where memory is short.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import combinations
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from xpnet._typing import Array, State
from xpnet.backends.base import Backend, Block, Data
from xpnet.backends.captured.blas import Blas, takes_tf32
from xpnet.backends.captured.blocks import COUNTER, LOSSES, for_blocks
from xpnet.backends.captured.groups import fused
from xpnet.backends.captured.launches import Launch, launches
from xpnet.backends.captured.outlines import OutlineRecorder
from xpnet.backends.captured.simpler import simpler
from xpnet.backends.replay.memory import allocated, resolved
from xpnet.backends.replay.plan import Given, Names
from xpnet.backends.replay.program import Program, Ref, UnrecordableError
from xpnet.backends.replay.recorded import RecordedStep
from xpnet.backends.replay.tracer import Recorder

#: The most steps of a block that are moved to the device together, and the memory that their draws take there.
STEPS, DRAW_BYTES = 256, 2**26


class CapturedStep(RecordedStep):
    """A step of CuPy that is captured as a CUDA graph, and launched for each step of a block.

    The host moves the minibatches of a block to the device, launches the graph so many times, and reads the losses
    together, which is the only time it waits. What cannot be captured runs as it is, after one warning that says why.
    """

    recorder: ClassVar[type[Recorder]] = OutlineRecorder

    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        with self.plain.backend.current():
            return super().run(state, data, block)

    @cached_property
    def place(self) -> _Place:
        """Taken when it is first needed, and given back when a training ends."""
        return _Place.taken(self.plain.backend)

    def release(self) -> None:
        with self.lock:  # at once: a graph that another thread captured in between would be launched on what is idle
            self.bound = {}
            if place := self.__dict__.pop("place", None):
                place.give_back()

    def _admits(self, given: Given, block: Block) -> bool:
        return bool(block.rows.size)  # rows out of range wrap around, captured or not

    def _form(self, array: Array) -> Any:
        return getattr(array, "shape", None), getattr(array, "dtype", type(array)), getattr(array, "strides", None)

    def _on_host(self, array: Array, name: Names) -> np.ndarray:
        if name[0] in ("rows", "draws"):  # they are still on the host
            return np.zeros(array.shape, array.dtype)
        if not isinstance(array, self.plain.backend.library().ndarray):
            raise UnrecordableError(f"{'/'.join(name)} is of type {type(array).__name__}, and not an array of CuPy")
        if name[0] == "state":
            return np.zeros(array.shape, array.dtype)
        return np.broadcast_to(np.zeros((), array.dtype), array.shape)  # all samples, in the memory of one number

    def _check_apart(self, arrays: list[Any]) -> None:
        cupy = self.plain.backend.library()
        if any(cupy.may_share_memory(a, b) for a, b in combinations(arrays, 2)):
            raise UnrecordableError("two arrays of its state share memory")

    def _made_of(self, program: Program) -> Program:
        bytes_a_step = sum(ref.nbytes for name, ref in program.given.items() if name[0] in ("rows", "draws"))
        return fused(for_blocks(simpler(program), max(1, min(STEPS, DRAW_BYTES // max(bytes_a_step, 1)))))

    def _planned(self, program: Program) -> CapturedPlan:
        return CapturedPlan(program, self)


class _Place:
    """Where a step is captured and launched: a stream, a pool of memory, a handle of cuBLAS; for one at a time."""

    idle: ClassVar[dict[str, list[_Place]]] = {}

    def __init__(self, backend: Backend) -> None:
        self.name, self.xp = backend.device_name, backend.xp
        self.cupy: ModuleType = backend.library()
        # one that does not wait for the default stream, on which others may compute while this one captures
        self.stream = self.cupy.cuda.Stream(non_blocking=True)
        self.pool = self.cupy.cuda.MemoryPool()

    @classmethod
    def taken(cls, backend: Backend) -> _Place:
        """One that is idle, or a new one, on the device of a backend."""
        with suppress(KeyError, IndexError):
            return cls.idle[backend.device_name].pop()
        return cls(backend)

    def give_back(self) -> None:
        self.idle.setdefault(self.name, []).append(self)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """On the stream, after all that was asked of the current one before; memory comes from the pool.

        Whoever leaves by an error, Ctrl+C for example, waits for what was launched: its memory is soon that of others.
        """
        self.stream.wait_event(self.cupy.cuda.get_current_stream().record())
        with self.stream, self.cupy.cuda.using_allocator(self.pool.malloc):
            try:
                yield
            except BaseException:
                with suppress(Exception):
                    self.stream.synchronize()
                raise

    @cached_property
    def blas(self) -> Blas:
        return Blas(self.cupy, self.stream)


class CapturedPlan:
    """A program, and the step that it is of."""

    def __init__(self, program: Program, step: CapturedStep) -> None:
        self.program, self.step, self.tried = program, step, False
        self.failed: Exception | None = None

    def bound(self, given: Given, block: Block) -> Captured:
        """The graph of a step on these arrays."""
        if self.failed is not None:
            raise self.failed
        try:
            if not self.tried:
                self._try(given)
            return Captured(self, given, block)
        except Exception as error:
            self.failed = error.with_traceback(None)  # which holds on to the arrays
            raise

    def _try(self, given: Given) -> None:
        """Take a step on a copy of the state: kernels are compiled at their first launch, and not in a capture."""
        copies = {name: a.copy("K") if name[0] == "state" else a for name, a in given.items()}
        place, calls = self.step.place, self.launches(self.arrays(copies))
        with place.computing():
            for launch in calls:
                launch()
            place.stream.synchronize()
        self.tried = True

    def arrays(self, given: Given) -> dict[Ref, Any]:
        """The array of each place: those that are given, and others, of the step's own."""
        cupy, program = self.step.place.cupy, self.program
        own = {name: ref for name, ref in program.given.items() if name not in given}
        arrays = {ref: given[name] for name, ref in program.given.items() if name in given}
        arrays |= {ref: cupy.zeros(ref.shape, ref.dtype) for ref in own.values()}
        arrays |= allocated(program, lambda nbytes: cupy.empty(nbytes, np.uint8))
        for ref in {ref for call in program.calls for ref in call.read() if ref.root.constant is not None}:
            arrays[ref.root] = cupy.asarray(ref.root.constant)
        return arrays

    def launches(self, arrays: dict[Ref, Any]) -> list[Launch]:
        """What has to be called for a step on these arrays."""
        place = self.step.place

        def find(x: Any) -> Any:
            return resolved(x, arrays, place.cupy)

        return [
            launch
            for call in self.program.calls
            for launch in launches(call, find, place.cupy, place.xp, lambda: place.blas)
        ]


class Captured:
    """The graph of a step on some arrays.

    Attributes:
        launches: what was captured, and holds on to its arrays as long as the graph is there.
        taken: the memory that functions of CuPy took in the meantime, to be held on to as well.
    """

    def __init__(self, plan: CapturedPlan, given: Given, block: Block) -> None:
        self.place, arrays = plan.step.place, plan.arrays(given)
        self.own = {name: arrays[ref] for name, ref in plan.program.given.items() if name not in given}
        self.launches = plan.launches(arrays)
        self.shapes, self.tf32 = _shapes(block), takes_tf32(self.place.cupy)
        self.taken: list[Any] = []
        self.graph = self._captured()

    def fits(self, block: Block) -> bool:
        """Whether steps of this block are on as many samples, and multiply as these do."""
        return self.shapes == _shapes(block) and self.tf32 == takes_tf32(self.place.cupy)

    def losses(self, block: Block) -> np.ndarray:
        """Take the steps of a block."""
        cupy, losses, found = self.place.cupy, self.own[LOSSES], []
        most = len(losses) - 1
        with self.place.computing():
            for start in range(0, len(block.rows), most):
                steps = len(block.rows[start : start + most])
                for name, drawn in (("rows", block.rows), *block.draws.items()):
                    self.own["block", name][:steps] = cupy.asarray(drawn[start : start + most])
                self.own[COUNTER].fill(0)
                for _ in range(steps):
                    self.graph.launch()
                found.append(losses[1 : steps + 1].get())
        return np.concatenate(found)

    def _captured(self) -> Any:
        place, stream = self.place, self.place.stream

        def malloc(nbytes: int) -> Any:
            self.taken.append(place.pool.malloc(nbytes))
            return self.taken[-1]

        with place.computing(), place.cupy.cuda.using_allocator(malloc):
            stream.begin_capture()
            try:
                for launch in self.launches:
                    launch()
            except BaseException:
                with suppress(Exception):  # a capture that failed has to be ended, which fails as well
                    stream.end_capture()
                raise
            return stream.end_capture()


def _shapes(block: Block) -> dict[str, tuple[int, ...]]:
    return {name: drawn.shape[1:] for name, drawn in (("rows", block.rows), *block.draws.items())}
