"""A program with memory, and the calls themselves: one after the other, or shared out to threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backends.base import Block
from xpnet.backends.replay.kernels import kernel, one_by_one
from xpnet.backends.replay.memory import Arrays, aligned, allocated, resolved
from xpnet.backends.replay.program import Call, Program, Ref
from xpnet.backends.replay.regions import MOST_THREADS, Phase, shared_out
from xpnet.backends.replay.workers import Team
from xpnet.backends.threads import BLAS, granted

Names = tuple[str, ...]
#: What a step is given, by the names that lead to it.
Given = dict[Names, Any]
Kernel = Callable[[], Any]


class Plan:
    """What has to be called for a step, and the step's own memory.

    Attributes:
        loss: where the loss is after a step.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.memory = allocated(program, aligned)
        self.loss: np.ndarray = resolved(program.loss, dict(self.memory), np)
        self.phases: dict[int, list[Phase] | None] = {}

    def bound(self, given: Given, block: Block) -> Bound:
        """The plan on these arrays, which are read and written where they are."""
        return Bound(self, given, block)

    def shared_out(self, arrays: Arrays, number: int) -> list[Phase] | None:
        """The calls for so many threads, or None where one is as fast."""
        if number not in self.phases:
            sizes = [call.own.nbytes for call in self.program.calls if call.own is not None]
            own = [Ref((max(sizes, default=0),), np.dtype(np.uint8)) for _ in range(number - 1)]
            places = {place: aligned(place.nbytes) for place in own}
            seen = arrays | places
            with BLAS.limited(1):
                found = shared_out(self.program, lambda x: resolved(x, seen, np), number, own)
            if found is not None:
                self.memory |= places
            self.phases[number] = found
        return self.phases[number]


class Bound:
    """A plan on some arrays.

    Attributes:
        rows, draws: where a step finds its minibatch.
        calls: what has to be called for a step.
    """

    def __init__(self, plan: Plan, given: Given, block: Block) -> None:
        self.plan, self.loss, self.rows = plan, plan.loss, np.empty_like(block.rows[0])
        self.draws = {name: np.empty_like(drawn[0]) for name, drawn in block.draws.items()}
        given = {**given, ("rows",): self.rows} | {("draws", name): place for name, place in self.draws.items()}
        self.arrays = plan.memory | {ref: given[name] for name, ref in plan.program.given.items()}
        self.calls = [self._kernel(call) for call in plan.program.calls]
        self.ways: dict[int, list[list[Kernel]] | None] = {}

    def fits(self, block: Block) -> bool:
        """Whether steps of this block are on as many samples."""
        shapes = {name: drawn.shape[1:] for name, drawn in block.draws.items()}
        return self.rows.shape == block.rows.shape[1:] and shapes == {n: place.shape for n, place in self.draws.items()}

    def losses(self, block: Block) -> np.ndarray:
        """Take the steps of a block, on as many threads as are granted where the plan is worth them."""
        number = min(granted() or 1, MOST_THREADS)
        ways = self._ways(number) if number > 1 else None
        losses = np.empty((len(block.rows), *self.loss.shape), self.loss.dtype)
        if ways is None:
            for k in range(len(losses)):
                self._begin(block, k)
                for call in self.calls:
                    call()
                losses[k] = self.loss
            return losses

        def steps(worker: int, meet: Kernel) -> None:
            for k in range(len(losses)):
                if worker == 0:
                    losses[k - 1] = self.loss  # of the step before
                    self._begin(block, k)
                for call in ways[worker]:
                    call()
                    meet()

        with BLAS.limited(1):
            Team(number).run(steps)
        losses[-1] = self.loss
        return losses

    def _begin(self, block: Block, k: int) -> None:
        """Put the minibatch of a step to where it is read."""
        self.rows[...] = block.rows[k]
        for name, place in self.draws.items():
            place[...] = block.draws[name][k]

    def _ways(self, number: int) -> list[list[Kernel]] | None:
        """For each thread what it calls in each phase."""
        if number not in self.ways:
            phases = self.plan.shared_out(self.arrays, number) if self._apart() else None
            self.arrays |= self.plan.memory
            self.ways[number] = None
            if phases is not None:
                self.ways[number] = [
                    [one_by_one([self._kernel(call) for call in phase[worker]]) for phase in phases]
                    for worker in range(number)
                ]
        return self.ways[number]

    def _apart(self) -> bool:
        """Whether no data lies in memory of the state, which the phases, made for other arrays perhaps, rely on."""
        given = [(name[0], self.arrays[ref]) for name, ref in self.plan.program.given.items()]
        state, data = ([array for kind, array in given if kind == wanted] for wanted in ("state", "data"))
        return not any(np.may_share_memory(a, b) for a in state for b in data)

    def _kernel(self, call: Call) -> Kernel:
        return kernel(call, lambda x: resolved(x, self.arrays, np))
