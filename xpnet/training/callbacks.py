"""What happens beside training: stopping, saving, logging. All of it between blocks of steps, none of it inside."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from xpnet.models import Sequential
from xpnet.schedules import check_number
from xpnet.training.history import Evaluation, History, check_monitor
from xpnet.validation import check_count


class Training(Protocol):
    """What a callback sees of the :class:`xpnet.Trainer` that calls it.

    Attributes:
        net: the network with the parameters of the moment. On some backends the next step consumes these arrays: copy
            what you want to keep.
        history: what came of the steps so far.
        iteration: how many were taken.
        goal: after how many ``fit`` ends.
    """

    net: Sequential
    history: History
    iteration: int
    goal: int

    @property
    def learning_rate(self) -> float:
        """That of the next step."""

    def stop(self, reason: str) -> None:
        """End training after this block of steps."""

    def save(self, path: str | Path) -> None:
        """Write a checkpoint."""


class Callback:
    """Something to happen beside training; every method does nothing until it is overridden.

    They are called in the order in which ``fit`` was given the callbacks. What one raises ends ``fit``, and the network
    has the weights of that moment. Whoever prints in :meth:`on_block` does it ``with aside():``, so that a progress
    bar is not in the way.

    Attributes:
        every: a number of steps; :meth:`on_block` is then also called whenever the iteration is a multiple of it.

    >>> class Norm(Callback):
    ...     every = 100
    ...
    ...     def on_block(self, trainer):
    ...         if trainer.iteration % self.every == 0:
    ...             W = trainer.net.params["W1"]
    ...             print(float((W * W).sum()) ** 0.5)
    """

    every: int | None = None

    def on_begin(self, trainer: Training) -> None:
        """Before the first step of a call of ``fit``."""

    def on_block(self, trainer: Training) -> None:
        """After a block of steps, whose losses are then in the history: about ten times a second."""

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        """After each epoch, at the start and at the end, with accuracies and losses; there a bar is not in the way."""

    def on_end(self, trainer: Training) -> None:
        """When ``fit`` ends, however it ends; also if what was called before :meth:`on_begin` raised."""


class OnEvaluation(Callback):
    """A function that is called with each :class:`Evaluation`: ``fit`` makes one of any function it is given."""

    def __init__(self, function: Callable[[Evaluation], Any]) -> None:
        self.function = function

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        self.function(evaluation)


class EarlyStopping(Callback):
    """Stop when what is watched was no better than its best for so many epochs in a row.

    It looks at the whole history, so a training that was resumed stops where an uninterrupted one would have. To keep
    the best network, add ``Checkpoint(path, monitor=...)``.

    Args:
        monitor: ``"loss"``, ``"accuracy"``, ``"validation_loss"`` or ``"validation_accuracy"``.
        patience: epochs.
        min_delta: by how much it has to be better to count.

    Raises:
        ValueError: another monitor, a number out of range; in ``fit``, before the first step, if it is not known: of
            validation data that are not given, or of classes where there are none.

    >>> EarlyStopping("validation_accuracy", patience=3).patience
    3
    """

    def __init__(self, monitor: str = "validation_loss", *, patience: int = 5, min_delta: float = 0.0) -> None:
        self.monitor, self.patience = check_monitor(monitor), check_count(patience, "patience")
        self.min_delta = check_number(min_delta, "min_delta", 0)

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        values = watched(trainer.history, self.monitor)
        best = None
        for i, value in enumerate(values):
            if best is None or better(self.monitor, value, values[best], self.min_delta):
                best = i
        if best is not None and len(values) - 1 - best >= self.patience:
            trainer.stop(f"{self.monitor} was no better than {values[best]:.6g} for {self.patience} epochs")


class Checkpoint(Callback):
    """Write a checkpoint after each epoch, or every so many steps; each takes the place of the one before.

    Args:
        path: the file; ``Trainer.load(path)`` goes on from it.
        every: a number of steps; by default an epoch.
        monitor: write only when this was never better (one of those of :class:`EarlyStopping`), and at the end of
            epochs.

    Raises:
        ValueError: both are given, or one is out of range; in ``fit``, as :class:`EarlyStopping` does.
        OSError: in ``fit``, if the file cannot be written.
    """

    def __init__(self, path: str | Path, *, every: int | None = None, monitor: str | None = None) -> None:
        self.path = Path(path)
        if every is not None and monitor is not None:
            raise ValueError("every and monitor are both given; what is watched is known at the end of epochs only")
        self.every = None if every is None else check_count(every, "every")
        self.monitor = None if monitor is None else check_monitor(monitor)

    def on_block(self, trainer: Training) -> None:
        if self.every is not None and trainer.iteration % self.every == 0:
            trainer.save(self.path)

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        values = [] if self.monitor is None else watched(trainer.history, self.monitor)
        if self.every is None and evaluation.ends_epoch and self.is_best(values):
            trainer.save(self.path)

    def is_best(self, values: list[float]) -> bool:
        return self.monitor is None or all(better(self.monitor, values[-1], other) for other in values[:-1])


class StopOnDivergence(Callback):
    """Stop when the loss of a minibatch is so many times that of the first one, long before it is infinite.

    A loss that is not finite ends training in any case, with a ``DivergedError`` and the last good weights.

    Args:
        factor: more than 1.
    """

    def __init__(self, factor: float = 10.0) -> None:
        self.factor = check_number(factor, "factor", 1, open_below=True)
        self.seen = 0

    def on_begin(self, trainer: Training) -> None:
        self.seen = trainer.iteration

    def on_block(self, trainer: Training) -> None:
        losses = trainer.history.losses
        worst = max(losses[self.seen :], default=0.0)
        self.seen = len(losses)
        if worst > self.factor * abs(losses[0]):
            trainer.stop(f"a loss of {worst:.4g} is more than {self.factor:g} times the first, {losses[0]:.4g}")


class LearningRateLog(Callback):
    """Tell the learning rate at each evaluation, and in between when it has changed by a tenth.

    Args:
        write: where a line goes.
    """

    def __init__(self, write: Callable[[str], Any] = print) -> None:
        self.write, self.last, self.line = write, 0.0, ""

    def on_block(self, trainer: Training) -> None:
        if abs(trainer.learning_rate - self.last) > 0.1 * abs(self.last):
            with aside():
                self.tell(trainer)

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        self.tell(trainer)

    def tell(self, trainer: Training) -> None:
        self.last = trainer.learning_rate
        line = f"iteration {trainer.iteration:6d}  learning rate {self.last:.6g}"
        if line != self.line:  # an epoch's last block, and then its evaluation
            self.write(line)
        self.line = line


def as_callback(given: Any) -> Callback:
    """A callback as it is; a function as one that is called with each evaluation."""
    if isinstance(given, type) or not (isinstance(given, Callback) or callable(given)):
        raise TypeError(f"{given!r} is no callback; expected one such as EarlyStopping(patience=3), or a function")
    callback = given if isinstance(given, Callback) else OnEvaluation(given)
    if callback.every is not None:
        check_count(callback.every, f"{type(callback).__name__}.every")
    return callback


def aside() -> AbstractContextManager[Any]:
    """A moment in which others may print: bars are taken away before it, and drawn again after."""
    module = sys.modules.get("tqdm.std")
    return nullcontext() if module is None else module.tqdm.external_write_mode()


def watched(history: History, monitor: str) -> list[float]:
    """What is watched, at the end of each epoch; those before there were validation data are left out.

    Raises:
        ValueError: the last evaluation does not have it, though it may be no end of an epoch: it is then said in time.
    """
    if history.evaluations and history.evaluations[-1].value(monitor) is None:
        wants = "a network that classifies" if monitor == "accuracy" else "validation=(x, t)"
        if monitor == "validation_accuracy":
            wants += " and a network that classifies"
        raise ValueError(f"there is no {monitor} to watch: it needs {wants}")
    values = [evaluation.value(monitor) for evaluation in history.evaluations if evaluation.ends_epoch]
    return [value for value in values if value is not None]


def better(monitor: str, value: float, other: float, by: float = 0.0) -> bool:
    """Whether a value is better than another one; NaN never is, and anything is better than NaN."""
    if value != value or other != other:
        return value == value
    return value > other + by if monitor.endswith("accuracy") else value < other - by
