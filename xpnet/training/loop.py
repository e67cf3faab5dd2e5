"""The loop: steps in blocks, what happens between them, and the way back when a loss is not finite.

The backend is handed a block of minibatches and their losses are read back together, so a device is never waited for
in between. A loss that is not finite is therefore found after its block; the loop then goes back to the copy of the
state that it made before, and takes the good steps again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from xpnet._typing import Array, Params, State
from xpnet.backends.base import CompiledStep, Data
from xpnet.backends.dispatch import namespace
from xpnet.errors import DivergedError
from xpnet.training.callbacks import Callbacks
from xpnet.training.explained import explained, spread
from xpnet.training.history import Evaluation
from xpnet.training.minibatches import Draws, Mark
from xpnet.training.state import TrainingState
from xpnet.training.step import copy_state

#: A block grows until it takes this many seconds: long enough that nothing but steps costs time, short enough that
#: Ctrl-C and the progress bar answer at once.
BLOCK_SECONDS = 0.1
LONGEST_BLOCK = 256

#: Samples, their targets, and perhaps a weight for each.
Split = tuple[Array, ...]


@dataclass(frozen=True)
class _Snapshot:
    """The state after so many steps, and the place in the minibatches."""

    iteration: int
    samples: int
    state: State
    mark: Mark


class Loop:
    """One call of ``fit``, and the ways to go on with a training or back.

    Args:
        training: what goes on.
        step: compiled or not.
        data, validation: ``{"x", "t"}``, and ``"weight"`` where samples have one.
        draws: what layers draw for one step; None if they draw nothing.
        callbacks: what is called in between.
        interrupted: whether to end.
        evaluating: what evaluations are computed in.
    """

    def __init__(
        self,
        training: TrainingState,
        step: CompiledStep,
        data: Data,
        validation: Data | None,
        draws: Draws | None,
        callbacks: Callbacks,
        interrupted: Callable[[], bool],
        evaluating: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ):
        self.training, self.history, self.batches = training, training.history, training.batches
        self.step, self.data, self.draws = step, data, draws
        self.splits = {"train": data, "validation": validation}
        self.spreads: dict[str, float | None] = {}
        self.callbacks, self.interrupted, self.evaluating = callbacks, interrupted, evaluating
        self.snapshots: list[_Snapshot] = []
        self.size = 1

    def run(self) -> None:
        """Take blocks of steps until it is enough."""
        training = self.training
        training.forget()  # the user may hold on to the arrays of now
        training.compose()
        self.callbacks.begin()
        self.evaluate()
        while training.iteration < training.goal and training.stopped is None and not self.interrupted():
            left = training.goal - training.iteration
            self.take(self.callbacks.steps_until_one(training.iteration, min(self.size, left)))
            self.callbacks.block()
            if self.batches.epoch_ended or training.iteration == training.goal:
                self.evaluate()
        if self.interrupted() or training.stopped is not None:
            self.evaluate()
        self.state()  # what a callback assigned at the end is looked at, too

    def state(self) -> State:
        """The tree for the next step, with what callbacks assigned."""
        if self.training.replaced():
            self.snapshots = []  # the steps to what was there before lead nowhere now
            self.training.take_over()
        return self.training.tree()

    def take(self, most: int) -> None:
        """Take a block of steps."""
        training, state, start = self.training, self.state(), time.perf_counter()
        # two of them: the first loss of this block may show that the last step of the one before was too much
        copies = copy_state(training.net.backend, state)
        here = _Snapshot(training.iteration, self.history.samples, copies, self.batches.mark())
        self.snapshots = [*self.snapshots[-1:], here]
        block = self.batches.block(most, self.draws)
        try:
            state, losses = self.step.run(state, self.data, block)
        except BaseException:  # the state is consumed, and this may have happened in the middle of a step
            self._return_to(here)
            raise
        seconds = time.perf_counter() - start
        finite = np.isfinite(losses)
        if not finite.all():
            bad = int(np.argmin(finite))
            self._note(losses[: bad + 1])
            self._rewind(training.iteration + bad, float(losses[bad]))
        training.take_back(state)
        self._note(losses)
        self._advance(block.rows)
        self.history.seconds += seconds
        if seconds < BLOCK_SECONDS / 2:
            self.size = min(2 * self.size, LONGEST_BLOCK)
        elif seconds > 2 * BLOCK_SECONDS:
            self.size = max(self.size // 2, 1)

    def evaluate(self) -> None:
        """Add an evaluation to the history and report it; go back if the last step left weights that are not finite."""
        state = self.state()
        if not all(map(_is_finite, (*state["params"].values(), *state["buffers"].values()))):
            self._rewind(self.training.iteration, float("nan"))
        self._evaluate()

    def _evaluate(self) -> None:
        training, state = self.training, self.state()
        if self.history.evaluations and self.history.evaluations[-1].iteration == training.iteration:
            return  # the same weights
        arrays = state["params"] | state["buffers"]
        with self.evaluating():
            losses, rates, r2 = zip(*(self._judged(name, arrays) for name in self.splits), strict=True)
        ends = training.iteration > 0 and self.batches.epoch_ended
        values: list[Any] = [*rates, *losses, *r2, ends]
        evaluation = Evaluation(self.batches.epoch, training.iteration, *values)
        self.history.evaluations.append(evaluation)
        training.check_scale()
        self.callbacks.evaluation(evaluation)

    def _judged(self, name: str, arrays: Params) -> tuple[float | None, float | None, float | None]:
        """Loss, accuracy and R² of one of the splits, each None where there is none."""
        split, net = self.splits[name], self.training.net
        if split is None:
            return None, None, None
        loss, rate = net.evaluate(arrays, **split)
        if rate is None and name not in self.spreads:
            self.spreads[name] = spread(net, split)
        return loss, rate, None if rate is not None else explained(loss, self.spreads[name])

    def _note(self, losses: np.ndarray) -> None:
        self.history.losses += losses.tolist()
        self.history.learning_rates += self.training.learning_rates(self.training.iteration, len(losses))

    def _advance(self, rows: np.ndarray) -> None:
        self.training.iteration += len(rows)
        self.history.samples += rows.size

    def _return_to(self, snapshot: _Snapshot) -> None:
        """Forget what came after: the history keeps its losses for a while, to show where they led."""
        self.training.take_back(snapshot.state)
        self.batches.go_back(snapshot.mark)
        self.training.iteration, self.history.samples = snapshot.iteration, snapshot.samples

    def _rewind(self, iteration: int, loss: float) -> NoReturn:
        """Go back to the last weights whose loss was finite, by taking the steps to them again, and raise."""
        training, again = self.training, 0
        if self.snapshots:
            origin = next((s for s in reversed(self.snapshots) if s.iteration < iteration), self.snapshots[0])
            self._return_to(origin)
            again = max(iteration - 1 - origin.iteration, 0)
        good = training.iteration + again
        self.history.evaluations = [e for e in self.history.evaluations if e.iteration <= good]
        if again:
            block = self.batches.block(again, self.draws)
            state, _ = self.step.run(training.compose(), self.data, block)
            training.take_back(state)
            self._advance(block.rows)
        self._evaluate()
        raise DivergedError(
            f"training diverged: the loss at iteration {iteration} is {loss}; the network keeps the last weights with "
            f"a finite loss. Try a smaller learning rate than {training.learning_rate:g}",
            iteration=iteration,
            loss=loss,
        )


def _is_finite(array: Array) -> bool:
    xp = namespace(array)
    return bool(xp.all(xp.isfinite(array)))
