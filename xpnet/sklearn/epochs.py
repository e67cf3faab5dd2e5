"""What happens between the epochs of a fit: the loss curve, the score on held-out samples, and when it is enough."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import Any

from xpnet._typing import Array, State
from xpnet.backends.dispatch import namespace
from xpnet.schedules import ReduceOnPlateau, Schedule
from xpnet.schedules.plateau import LOWER_IS_BETTER
from xpnet.training.callbacks import Callback
from xpnet.training.history import Evaluation
from xpnet.training.step import copy_state

#: ``learning_rate="adaptive"`` divides by this, and ends training where the rate is this small.
DIVISOR, SMALLEST_RATE = 5.0, 1e-6


class Patience:
    """Watches a number, epoch by epoch; it stalls where it fails for more than ``epochs`` in a row to be better by tol.

    Better than the best so far, as scikit-learn's networks have it. After a stall counting begins anew.

    >>> patience = Patience(tol=0.1, epochs=1)
    >>> [patience.ends(loss) for loss in (3.0, 2.0, 2.0, 1.95, 1.0)]
    [False, False, False, True, False]
    """

    def __init__(self, tol: float, epochs: float, *, lower: bool = True) -> None:
        self.tol, self.epochs, self.sign = tol, epochs, 1 if lower else -1
        self.best, self.waited = inf, 0

    def ends(self, value: float) -> bool:
        """Whether it stalls at this value."""
        value *= self.sign
        self.waited = 0 if value <= self.best - self.tol else self.waited + 1
        self.best = min(self.best, value)
        if self.waited <= self.epochs:
            return False
        self.waited = 0
        return True


@dataclass(frozen=True)
class Adaptive(ReduceOnPlateau):
    """A fifth of the learning rate after each stall, as :class:`Patience` has it with this ``tol``."""

    tol: float = 1e-4

    def scale(self, values: Sequence[float]) -> float:
        patience = Patience(self.tol, self.patience, lower=LOWER_IS_BETTER[self.monitor])
        return float((1 / DIVISOR) ** sum(map(patience.ends, values)))


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """lr / √(1 + samples seen), constant within an epoch of ``steps`` minibatches and ``samples`` samples."""

    lr: float
    steps: int
    samples: int

    @property
    def start(self) -> float:
        return self.lr

    def rate(self, t: Array) -> Array:
        xp = namespace(t)
        return self.lr / xp.sqrt(1 + self.samples * xp.floor(t / self.steps))


class Epochs(Callback):
    """Notes what each epoch came to, and stops when it stalls.

    Args:
        patience: when to stop; None for never. With held-out samples it watches their score, else the loss.
        adaptive: whether a stall makes the learning rate smaller, and does not end training.
        verbose: whether to write a line an epoch.

    Attributes:
        losses: the mean loss of each epoch's minibatches, each seen before the step that learned from it.
        scores: accuracies or R² of the held-out samples after each epoch.
        best: ``{"params", "buffers"}`` of the epoch with the best score; ``{}`` where there are none.
    """

    def __init__(self, patience: Patience | None, *, adaptive: bool, verbose: bool) -> None:
        self.patience, self.adaptive, self.verbose = patience, adaptive, verbose
        self.losses: list[float] = []
        self.scores: list[float] = []
        self.best: State = {}

    def on_evaluation(self, trainer: Any, evaluation: Evaluation) -> None:
        if not evaluation.ends_epoch:
            return
        self.losses.append(_mean_loss(trainer))
        if evaluation.validation_loss is not None:
            self._scored(trainer, evaluation)
        if self.verbose:
            scored = f", validation score = {self.scores[-1]:.6f}" if self.scores else ""
            sys.stdout.write(f"Iteration {len(self.losses)}, loss = {self.losses[-1]:.8f}{scored}\n")
        if self.patience is not None and self.patience.ends((self.scores or self.losses)[-1]):
            self._stalled(trainer, self.patience)

    def _scored(self, trainer: Any, evaluation: Evaluation) -> None:
        found = evaluation.validation_r2 if evaluation.validation_accuracy is None else evaluation.validation_accuracy
        score = nan if found is None else found  # there is no R² of targets that are all the same
        if not self.best or score > max(self.scores):
            net = trainer.net
            self.best = copy_state(net.backend, {"params": net.params, "buffers": net.buffers})
        self.scores.append(score)

    def _stalled(self, trainer: Any, patience: Patience) -> None:
        if self.adaptive and trainer.history.learning_rates[-1] > SMALLEST_RATE:
            return
        trainer.stop(
            f"{'validation score' if self.scores else 'training loss'} did not improve more than "
            f"tol={patience.tol:g} for {patience.epochs} consecutive epochs"
        )
        if self.verbose:
            sys.stdout.write(f"Stopping: {trainer.stopped}.\n")


def _mean_loss(trainer: Any) -> float:
    """The mean of the losses of an epoch's minibatches, the last of which may have fewer samples."""
    batches = trainer.batches
    losses = trainer.history.losses[-batches.per_epoch :]
    last = batches.n - batches.batch_size * (len(losses) - 1)
    return float((sum(losses[:-1]) * batches.batch_size + losses[-1] * last) / batches.n)
