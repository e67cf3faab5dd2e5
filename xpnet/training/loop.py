"""The loop: steps in blocks, what happens between them, and the way back when a loss is not finite.

The backend is handed a block of minibatches and their losses are read back together, so a device is never waited for
in between. A loss that is not finite is therefore found after its block; the loop then goes back to the copy of the
state that it made before, and takes the good steps again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from xpnet._typing import Array, State
from xpnet.backends.base import Block, CompiledStep, Data
from xpnet.errors import DivergedError
from xpnet.training.callbacks import Callbacks
from xpnet.training.evaluator import Evaluator
from xpnet.training.minibatches import Draws, Mark
from xpnet.training.same import broadcast
from xpnet.training.shared import names_by_sample, own_draws
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
        data: ``{"x", "t"}``, and ``"weight"`` where samples have one.
        evaluator: what evaluates, and says when.
        draws: what layers draw for one step; None if they draw nothing.
        callbacks: what is called in between.
        interrupted: whether to end.
        begun: when this call began, by ``time.perf_counter``; None if its time does not count.
    """

    def __init__(
        self,
        training: TrainingState,
        step: CompiledStep,
        data: Data,
        evaluator: Evaluator,
        draws: Draws | None,
        callbacks: Callbacks,
        interrupted: Callable[[], bool],
        begun: float | None = None,
    ):
        self.training, self.history, self.batches = training, training.history, training.batches
        self.parallel = training.parallel
        self.step, self.data, self.draws = step, data, draws
        self.evaluator, self.plan = evaluator, evaluator.plan
        self.callbacks, self.interrupted = callbacks, interrupted
        self.begun, self.before = begun, self.history.wall
        self.snapshots: list[_Snapshot] = []
        self.size, self.looked_at = 1, -1
        self.was_interrupted = False
        alone = self.parallel.size == 1 or not self.parallel.divides
        self.by_sample = None if alone or draws is None else names_by_sample(training.net, data["x"].shape[1:])

    def run(self) -> None:
        """Take blocks of steps until it is enough."""
        training = self.training
        training.forget()  # the user may hold on to the arrays of now
        training.compose()
        self.callbacks.begin()
        self.look(self.plan.at_start)
        while steps := self._agreed():
            self.take(steps)
            self.tick()
            self.callbacks.block()
            if self._due():
                self.evaluate()
            if self.batches.epoch_ended:
                self.callbacks.epoch_end()
        if self.looked_at != training.iteration:
            self.look(self.plan.at_end)
        self.state()  # what a callback assigned at the end is looked at, too

    def tick(self) -> None:
        """Have the history know how long this call has taken until now."""
        if self.begun is not None:
            self.history.wall = self.before + time.perf_counter() - self.begun

    def _steps(self) -> int:
        """How many steps to take before somebody wants to look."""
        done = self.training.iteration
        most = self.plan.steps_until_one(done, min(self.size, self.training.goal - done))
        return self.callbacks.steps_until_one(done, most)

    def _agreed(self) -> int:
        """How many steps to take now; 0 to end, as any of the processes may want, and all do then."""
        training = self.training
        ends = training.iteration >= training.goal
        wanted = 0 if ends else self._steps()
        found = self.parallel.gather((wanted, training.stopped, self.interrupted()))
        training.stopped = next((stopped for _, stopped, _ in found if stopped is not None), None)
        self.was_interrupted = any(interrupted for *_, interrupted in found)
        return 0 if training.stopped is not None or self.was_interrupted else int(found[0][0])

    def _due(self) -> bool:
        return self.plan.due(self.training.iteration, self.batches.epoch, self.batches.epoch_ended)

    def state(self) -> State:
        """The tree for the next step, with what callbacks assigned; those of process 0 where there are several."""
        replaced = self.training.replaced()
        if replaced:
            self.training.take_over()
        if self.parallel.gather(replaced)[0]:
            self.snapshots = []  # the steps to what was there before lead nowhere now
            broadcast(self.training)
        return self.training.tree()

    def take(self, most: int) -> None:
        """Take a block of steps."""
        training, state, start = self.training, self.state(), time.perf_counter()
        # two of them: the first loss of this block may show that the last step of the one before was too much
        copies = copy_state(training.net.backend, state)
        here = _Snapshot(training.iteration, self.history.samples, copies, self.batches.mark())
        self.snapshots = [*self.snapshots[-1:], here]
        block = self._block(most)
        try:
            state, losses = self.step.run(state, self.data, block)
        except BaseException as error:  # the state is consumed, and this may have happened in the middle of a step
            self.parallel.abort(error)
            self._return_to(here)
            raise
        seconds = time.perf_counter() - start
        training.take_back(state)
        finite = np.isfinite(losses)
        if not finite.all():
            bad = int(np.argmin(finite))
            self._note(losses[: bad + 1])
            self._rewind(training.iteration + bad, float(losses[bad]))
        self._note(losses)
        self._advance(block.rows)
        self.history.seconds += seconds
        enough = BLOCK_SECONDS * training.net.backend.longer_blocks
        if seconds < enough / 2:
            self.size = min(2 * self.size, LONGEST_BLOCK)
        elif seconds > 2 * enough:
            self.size = max(self.size // 2, 1)

    def _block(self, most: int) -> Block:
        """The next minibatches, with the draws of own rows."""
        block = self.batches.block(most, self.draws)
        if self.by_sample is None:
            return block
        return own_draws(block, self.parallel.mine(block.rows.shape[1]), self.by_sample)

    def look(self, evaluate: bool) -> None:
        """Evaluate the weights, or see at least that they are finite."""
        if evaluate:
            self.evaluate()
        else:
            self._checked()
            self.training.check_scale()

    def evaluate(self) -> None:
        """Add an evaluation to the history and report it; go back if the last step left weights that are not finite."""
        self._evaluate(self._checked())

    def _checked(self) -> State:
        """The state, if all is finite in it that a network has."""
        state, self.looked_at = self.state(), self.training.iteration
        if not self.evaluator.programs.is_finite(state["params"] | state["buffers"]):
            self._rewind(self.training.iteration, float("nan"))
        return state

    def _evaluate(self, state: State) -> None:
        training = self.training
        if self.history.evaluations and self.history.evaluations[-1].iteration == training.iteration:
            return  # the same weights
        ends = training.iteration > 0 and self.batches.epoch_ended
        arrays = state["params"] | state["buffers"]
        evaluation = self.evaluator.found(arrays, self.history, self.batches.epoch, training.iteration, ends)
        self.history.evaluations.append(evaluation)
        training.check_scale()
        self.tick()
        self.callbacks.evaluation(evaluation)

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
        failure = training.failure(iteration, loss)
        if self.snapshots:
            origin = next((s for s in reversed(self.snapshots) if s.iteration < iteration), self.snapshots[0])
            self._return_to(origin)
            again = max(iteration - 1 - origin.iteration, 0)
        good = training.iteration + again
        self.history.evaluations = [e for e in self.history.evaluations if e.iteration <= good]
        if again:
            block = self._block(again)
            state, _ = self.step.run(training.compose(), self.data, block)
            training.take_back(state)
            self._advance(block.rows)
        if self.plan.at_end:
            self._evaluate(self.state())
        raise DivergedError(
            f"training diverged: {failure}; the network keeps the last weights with a finite loss. Try a smaller "
            f"learning rate than {training.learning_rate:g}{training.other_dtype}",
            iteration=iteration,
            loss=loss,
        )
