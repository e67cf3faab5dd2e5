"""Callbacks: stopping, saving and logging, between blocks of steps and never inside one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Protocol

from xpnet._checks import check_count, check_number
from xpnet.models import Sequential
from xpnet.schedules.plateau import LOWER_IS_BETTER, check_monitor
from xpnet.serialization import atomic
from xpnet.training.every import Every
from xpnet.training.history import Evaluation, History


class Evaluated(Protocol):
    """What is known of a call of ``fit`` that evaluates."""

    evaluated: Every


class Training(Protocol):
    """What a callback sees of the :class:`xpnet.Trainer` that calls it.

    Attributes:
        net: the network with its current parameters. On some backends the next step consumes these arrays: copy what
            you want to keep.
        history: losses, evaluations and learning rates so far.
        iteration: the number of steps taken.
        goal: the number of steps at which ``fit`` ends.
        evaluated: when this call of ``fit`` evaluates.
    """

    net: Sequential
    history: History
    iteration: int
    goal: int
    evaluated: Every

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""

    def stop(self, reason: str) -> None:
        """End ``fit`` after this block of steps."""

    def check_save(self, path: str | Path) -> None:
        """Raise what :meth:`save` would raise, as far as it can be known before."""

    def save(self, path: str | Path) -> None:
        """Write a checkpoint."""


class Callback:
    """Methods that ``fit`` calls between steps; each does nothing until a subclass overrides it.

    Callbacks are called in the order in which they were given to ``fit``. An exception in one ends ``fit``, and the
    network keeps its current weights. To print in :meth:`on_block`, use ``with aside():``, which hides the progress bar
    while you print.

    Attributes:
        every: a number of steps; :meth:`on_block` is then also called at each iteration that is a multiple of it.
        everywhere: whether it is called in all processes of a training, and not in the first one alone.

    >>> class Norm(Callback):
    ...     every = 100
    ...
    ...     def on_block(self, trainer):
    ...         if trainer.iteration % self.every == 0:
    ...             W = trainer.net.params["W1"]
    ...             print(float((W * W).sum()) ** 0.5)
    """

    every: int | None = None
    everywhere: bool = False

    def __repr__(self) -> str:
        told = (f"{k}={v!r:.60}" for k, v in vars(self).items() if isinstance(v, str | int | float | Path))
        return f"{type(self).__name__}({', '.join(told)})"

    def on_begin(self, trainer: Training) -> None:
        """Called before the first step of each ``fit``."""

    def on_block(self, trainer: Training) -> None:
        """Called after each block of steps, about ten times a second; their losses are in the history."""

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        """Called with accuracies and losses at the start, after each epoch and at the end; no progress bar is shown.

        ``fit(evaluate=...)`` may say that there are fewer, or more.
        """

    def on_epoch_end(self, trainer: Training) -> None:
        """Called after each epoch, behind its evaluation if there is one."""

    def on_end(self, trainer: Training) -> None:
        """Called when ``fit`` ends for any reason, even before this callback's :meth:`on_begin` was called."""


class Callbacks:
    """Those of one call of ``fit``, which are called in their order, with its trainer."""

    def __init__(self, trainer: Training, callbacks: Sequence[Callback]) -> None:
        self.trainer, self.all = trainer, callbacks

    def begin(self) -> None:
        for callback in self.all:
            callback.on_begin(self.trainer)

    def block(self) -> None:
        for callback in self.all:
            callback.on_block(self.trainer)

    def evaluation(self, evaluation: Evaluation) -> None:
        with aside():
            for callback in self.all:
                callback.on_evaluation(self.trainer, evaluation)

    def epoch_end(self) -> None:
        for callback in self.all:
            callback.on_epoch_end(self.trainer)

    def end(self) -> None:
        """Each of them, whatever the others raise."""
        with ExitStack() as ends:
            for callback in reversed(self.all):
                ends.callback(callback.on_end, self.trainer)

    def steps_until_one(self, iteration: int, most: int) -> int:
        """How many steps may follow, at most so many, before one asks to be called."""
        return min([most, *(each.every - iteration % each.every for each in self.all if each.every)])


class OnEvaluation(Callback):
    """A function that is called with each :class:`Evaluation`: ``fit`` makes one of any function it is given."""

    def __init__(self, function: Callable[[Evaluation], Any]) -> None:
        self.function = function

    def on_begin(self, trainer: Training) -> None:
        check_evaluated(trainer, f"the function {self.function!r:.60} is called with evaluations", regular=False)

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        self.function(evaluation)


class EarlyStopping(Callback):
    """Stop when the monitor has not improved for ``patience`` epochs in a row.

    Where ``fit(evaluate=Every(...))`` evaluates more or less often, it is as many evaluations in a row.

    It looks at the whole history, so a resumed training stops where an uninterrupted one would have. To keep the best
    network, add ``Checkpoint(path, monitor=...)``.

    Args:
        monitor: ``"loss"``, ``"accuracy"`` or ``"r2"``, or these of the validation data: ``"validation_loss"``.
        patience: the number of epochs.
        min_delta: the smallest change that counts as an improvement.

    Raises:
        ValueError: an unknown monitor, or a number out of range; in ``fit``, before the first step, if there is no such
            value: no validation data were given, the network does not classify, or nothing is evaluated.

    >>> EarlyStopping("validation_accuracy", patience=3).patience
    3
    """

    def __init__(self, monitor: str = "validation_loss", *, patience: int = 5, min_delta: float = 0.0) -> None:
        self.monitor, self.patience = check_monitor(monitor), check_count(patience, "patience")
        self.min_delta = check_number(min_delta, "min_delta", least=0, example="0.001 for example")

    def on_begin(self, trainer: Training) -> None:
        check_evaluated(trainer, f"{self!r} watches evaluations")

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        values = watched(trainer.history, self.monitor)
        best = None
        for i, value in enumerate(values):
            if best is None or better(self.monitor, value, values[best], self.min_delta):
                best = i
        if best is not None and len(values) - 1 - best >= self.patience:
            many = f"{self.patience} {trainer.evaluated.unit}"
            trainer.stop(f"{self.monitor} was no better than {values[best]:.6g} for {many}")


class Checkpoint(Callback):
    """Write a checkpoint after each epoch, or every ``every`` steps; each replaces the one before.

    Args:
        path: the file; ``Trainer.load(path)`` resumes from it.
        every: a number of steps; by default an epoch.
        monitor: write after an evaluation, and only if this is the best value so far; one of those of
            :class:`EarlyStopping`.

    Raises:
        ValueError: both are given, or one is out of range; in ``fit``, as :class:`EarlyStopping` does, or for a random
            generator whose state cannot be kept.
        TypeError: this is no path; in ``fit``, before the first step, for ``trainer.notes`` that JSON cannot hold.
        OSError: in ``fit``, before the first step, if there is no such folder, it cannot be written, or what has this
            name is no file; later, if the file cannot be written.
    """

    def __init__(self, path: atomic.PathLike, *, every: int | None = None, monitor: str | None = None) -> None:
        self.path = atomic.file_path_of(path)
        if every is not None and monitor is not None:
            raise ValueError("every and monitor are both given; what is watched is known after evaluations only")
        self.every = None if every is None else check_count(every, "every")
        self.monitor = None if monitor is None else check_monitor(monitor)

    def on_begin(self, trainer: Training) -> None:
        if self.monitor is not None:
            check_evaluated(trainer, f"{self!r} watches evaluations")
        trainer.check_save(self.path)  # hours before the first one

    def on_block(self, trainer: Training) -> None:
        if self.every is not None and trainer.iteration % self.every == 0:
            trainer.save(self.path)

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        if self.monitor is not None:
            values = watched(trainer.history, self.monitor)
            if evaluation.regular and self.is_best(self.monitor, values):
                trainer.save(self.path)

    def on_epoch_end(self, trainer: Training) -> None:
        if self.every is None and self.monitor is None:
            trainer.save(self.path)

    @staticmethod
    def is_best(monitor: str, values: list[float]) -> bool:
        return all(better(monitor, values[-1], other) for other in values[:-1])


class StopOnDivergence(Callback):
    """Stop when the loss of a minibatch is more than ``factor`` times the first one, long before it is infinite.

    A loss that is not finite ends training in any case, with a ``DivergedError`` and the last good weights.

    Args:
        factor: more than 1.
    """

    def __init__(self, factor: float = 10.0) -> None:
        self.factor = check_number(factor, "factor", above=1, example="10 for example")
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
    """Write the learning rate at each evaluation, and in between when it has changed by a tenth.

    Args:
        write: a function that is called with each line.

    Raises:
        TypeError: ``write`` is no function.
    """

    def __init__(self, write: Callable[[str], Any] = print) -> None:
        if not callable(write):
            raise TypeError(f"write is {write!r}, expected a function of a line of text, print for example")
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
    """The callback itself, or a function as an :class:`OnEvaluation`."""
    if isinstance(given, type) or not (isinstance(given, Callback) or callable(given)):
        raise TypeError(f"{given!r} is no callback; expected one such as EarlyStopping(patience=3), or a function")
    callback = given if isinstance(given, Callback) else OnEvaluation(given)
    if callback.every is not None:
        check_count(callback.every, f"{type(callback).__name__}.every")
    return callback


def aside() -> AbstractContextManager[Any]:
    """A context in which it is safe to print: progress bars are hidden, and drawn again afterwards."""
    module = sys.modules.get("tqdm.std")
    return nullcontext() if module is None else module.tqdm.external_write_mode()


def check_evaluated(trainer: Evaluated, who: str, *, regular: bool = True) -> None:
    """Raise ``ValueError`` if there are no evaluations, or none but the last where regular ones are needed."""
    plan = trainer.evaluated
    if not (plan.regular or (plan.at_end and not regular)):
        raise ValueError(
            f"{who}, and with evaluate={plan!r} there is {'one, after the last step' if plan.at_end else 'none'}; give "
            "fit evaluate='epoch', or evaluate=Every(epochs=5) for fewer of them"
        )


def watched(history: History, monitor: str) -> list[float]:
    """The values of the monitor in regular evaluations; those without validation data are left out.

    Raises:
        ValueError: the last evaluation has no such value. It need not be a regular one, so that the error comes before
            the first step.
    """
    check_monitored(history, monitor)
    return history.values(monitor)


def check_monitored(history: History, monitor: str) -> None:
    """Raise ``ValueError`` if the last evaluation has no value of the monitor."""
    last = history.evaluations[-1] if history.evaluations else None
    # of running losses there is none before the first step
    if last is None or last.value(monitor) is not None or (monitor == "loss" and not last.iteration):
        return
    kinds = {"accuracy": "a network that classifies", "r2": "a network that learns numbers by a squared error"}
    wants = [kind for metric, kind in kinds.items() if monitor.endswith(metric)]
    held_out = monitor.startswith("validation_")
    wants.append("validation=(x, t)" if held_out else "evaluate=Every(train='all') or a number of samples")
    raise ValueError(f"there is no {monitor} to watch: it needs {', and '.join(wants)}")


def better(monitor: str, value: float, other: float, by: float = 0.0) -> bool:
    """Whether a value is better than another; NaN is never better, and everything else is better than NaN."""
    if value != value or other != other:
        return value == value
    return value < other - by if LOWER_IS_BETTER[monitor] else value > other + by
