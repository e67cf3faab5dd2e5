"""The loop: steps in blocks, what happens between them, and the way back when a loss is not finite.

The backend is handed a block of minibatches and their losses are read back together, so a device is never waited for
in between. A loss that is not finite is therefore found after its block; the loop then goes back to the copy of the
state that it made before, and takes the good steps again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from xpnet._typing import Array, State
from xpnet.backends.dispatch import namespace
from xpnet.errors import DivergedError
from xpnet.training.callbacks import Callback, aside
from xpnet.training.history import Evaluation
from xpnet.training.minibatches import Mark
from xpnet.training.step import make_step, preparation

#: A block grows until it takes this many seconds: long enough that nothing but steps costs time, short enough that
#: Ctrl-C and the progress bar answer at once.
BLOCK_SECONDS = 0.1
LONGEST_BLOCK = 256

Split = tuple[Array, Array]


@dataclass(frozen=True)
class _Snapshot:
    """The state after so many steps, and the place in the minibatches."""

    iteration: int
    samples: int
    state: State
    mark: Mark


class Loop:
    """One call of ``fit``: the state, and the ways to go on with it or back."""

    def __init__(
        self,
        trainer: Any,
        x: Array,
        t: Array,
        validation: Split | None,
        callbacks: Sequence[Callback],
        interrupted: Callable[[], bool] = lambda: False,
    ):
        self.trainer, self.net, self.history = trainer, trainer.net, trainer.history
        self.x, self.t, self.validation, self.callbacks = x, t, validation, callbacks
        self.interrupted = interrupted
        self.batches, self.backend = trainer.batches, trainer.net.backend
        step = make_step(self.net, trainer.optimizer, divide_x_by=trainer.divide_x_by)
        self.step = self.backend.compile(step) if trainer.compiles else step
        self.prepare = preparation(self.net, trainer.divide_x_by)
        # a step consumes its state, and the user may hold on to these
        self.state: State = {"params": copied(self.net.own_params()), "optimizer": copied(trainer.memory)}
        self.snapshots: list[_Snapshot] = []
        self.size = 1

    def run(self) -> None:
        """Take blocks of steps until it is enough."""
        trainer = self.trainer
        self.show()
        for callback in self.callbacks:
            callback.on_begin(trainer)
        self._take_over()
        self.evaluate()
        while trainer.iteration < trainer.goal and trainer.stopped is None and not self.interrupted():
            self.take(self._most())
            for callback in self.callbacks:
                callback.on_block(trainer)
            self._take_over()
            if self.batches.epoch_ended or trainer.iteration == trainer.goal:
                self.evaluate()
        if self.interrupted() or trainer.stopped is not None:
            self.evaluate()

    def show(self) -> None:
        """Leave the state of the moment where callbacks, and the user afterwards, find it."""
        self.trainer.net.params, self.trainer.memory = self.state["params"], self.state["optimizer"]

    def take(self, most: int) -> None:
        """Take a block of steps."""
        trainer, start = self.trainer, time.perf_counter()
        # two of them: the first loss of this block may show that the last step of the one before was too much
        here = _Snapshot(trainer.iteration, self.history.samples, copied(self.state), self.batches.mark())
        self.snapshots = [*self.snapshots[-1:], here]
        rows, masks = self.batches.block(most)
        try:
            self.state, losses = self.backend.run(self.step, self.state, self.x, self.t, rows, masks)
        except BaseException:  # the state is consumed, and this may have happened in the middle of a step
            self._return_to(self.snapshots[-1])
            self.show()
            raise
        seconds = time.perf_counter() - start
        finite = np.isfinite(losses)
        if not finite.all():
            bad = int(np.argmin(finite))
            self._note(losses[: bad + 1], trainer.iteration)
            self._rewind(trainer.iteration + bad, float(losses[bad]))
        self._note(losses, trainer.iteration)
        self.history.samples += rows.size
        self.history.seconds += seconds
        trainer.iteration += len(rows)
        self.show()
        if seconds < BLOCK_SECONDS / 2:
            self.size = min(2 * self.size, LONGEST_BLOCK)
        elif seconds > 2 * BLOCK_SECONDS:
            self.size = max(self.size // 2, 1)

    def evaluate(self) -> None:
        """Add accuracies to the history and report them; go back if the last step left weights that are not finite."""
        iteration = self.trainer.iteration
        if not all(bool(namespace(p).all(namespace(p).isfinite(p))) for p in self.state["params"].values()):
            self._rewind(iteration, float("nan"))
        self._evaluate(iteration)

    def _most(self) -> int:
        """How many steps the next block may have: callbacks ask to be called after certain ones."""
        now: int = self.trainer.iteration
        stops = [callback.every - now % callback.every for callback in self.callbacks if callback.every]
        return min([self.size, int(self.trainer.goal) - now, *stops])

    def _note(self, losses: np.ndarray, iteration: int) -> None:
        self.history.losses += losses.tolist()
        self.history.learning_rates += self.trainer.learning_rates(iteration, len(losses))

    def _evaluate(self, iteration: int) -> None:
        if self.history.evaluations and self.history.evaluations[-1].iteration == iteration:
            return  # the same weights
        found = []
        for split in ((self.x, self.t), self.validation):
            params = self.state["params"]
            found.append((None, None) if split is None else self.net.evaluate(params, *split))
        (train_loss, train), (test_loss, test) = found
        ends = iteration > 0 and self.batches.epoch_ended
        evaluation = Evaluation(self.batches.epoch, iteration, train, test, train_loss, test_loss, ends)
        self.history.evaluations.append(evaluation)
        self._adapt()
        with aside():
            for callback in self.callbacks:
                callback.on_evaluation(self.trainer, evaluation)
        self._take_over()

    def _take_over(self) -> None:
        """Go on with the weights that a callback gave the network, if one did."""
        if self.net.params is not self.state["params"]:
            self.state["params"] = copied(self.net.own_params())
            self.snapshots = []  # the steps to what was there before lead nowhere now
            self.show()

    def _adapt(self) -> None:
        """Scale the learning rate by what the history asks for."""
        scale = self.trainer.rescale()
        if scale is not None:
            memory = self.state["optimizer"]
            memory["scale"] = self.backend.asarray(scale, memory["scale"].dtype)

    def _return_to(self, snapshot: _Snapshot) -> None:
        """Forget what came after: the history keeps its losses for a while, to show where they led."""
        self.state = snapshot.state
        self.batches.go_back(snapshot.mark)
        self.trainer.iteration, self.history.samples = snapshot.iteration, snapshot.samples

    def _rewind(self, iteration: int, loss: float) -> NoReturn:
        """Go back to the last weights whose loss was finite, by taking the steps to them again, and raise."""
        if self.snapshots:
            origin = next((s for s in reversed(self.snapshots) if s.iteration < iteration), self.snapshots[0])
            self._return_to(origin)
            again = iteration - 1 - origin.iteration
            if again > 0:
                rows, masks = self.batches.block(again)
                self.state, _ = self.backend.run(self.step, self.state, self.x, self.t, rows, masks)
                self.trainer.iteration += len(rows)
                self.history.samples += rows.size
        good = self.trainer.iteration
        self.history.evaluations = [e for e in self.history.evaluations if e.iteration <= good]
        self._adapt()
        self.show()
        self._evaluate(good)
        raise DivergedError(
            f"training diverged: the loss at iteration {iteration} is {loss}; the network keeps the last weights with "
            f"a finite loss. Try a smaller learning rate than {self.trainer.learning_rate:g}",
            iteration=iteration,
            loss=loss,
        )


def copied(tree: State) -> State:
    """The same dicts with copies of the arrays in them."""
    return {k: copied(v) if isinstance(v, dict) else namespace(v).asarray(v, copy=True) for k, v in tree.items()}
