"""What comes of a sweep: a trial for each network, the best of them first, as a table, as JSON, as a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from xpnet import _html
from xpnet.models import Sequential
from xpnet.serialization import atomic
from xpnet.training import Evaluation, History, Trainer
from xpnet.training.history import as_json

#: By what networks are compared, the first that there is: an attribute of an evaluation, and whether more is better.
CRITERIA = {
    "validation_accuracy": True,
    "validation_loss": False,
    "train_accuracy": True,
    "train_loss": False,
}
#: What a table has of the last evaluation, and how it is written.
COLUMNS = {
    "train_loss": ("train loss", "#.4g"),
    "validation_loss": ("validation loss", "#.4g"),
    "train_accuracy": ("train accuracy", ".2%"),
    "validation_accuracy": ("validation accuracy", ".2%"),
    "train_r2": ("train R2", ".4f"),
    "validation_r2": ("validation R2", ".4f"),
}


@dataclass(frozen=True, repr=False)
class Trial:
    """One network of a sweep.

    Attributes:
        number: its place in the lists of settings.
        settings: its own, by name.
        trainer: as it is after the training: it can be saved, and trained on.
        diverged: the step at which its loss was not finite, or None. The network then has the last weights with a
            finite loss, as after a ``DivergedError`` of its own.
    """

    number: int
    settings: dict[str, Any]
    trainer: Trainer
    diverged: int | None = None

    @property
    def network(self) -> Sequential:
        """The network as it was trained."""
        return self.trainer.net

    @property
    def history(self) -> History:
        """How its training went."""
        return self.trainer.history

    @property
    def last(self) -> Evaluation:
        """The evaluation of its weights."""
        return self.history.evaluations[-1]

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={_written(value)}" for name, value in self.settings.items())
        ends = (
            f"diverged at iteration {self.diverged}"
            if self.diverged is not None
            else " ".join(self.last.results.split())
        )
        return f"Trial({self.number}: {told}; {ends})"


@dataclass(frozen=True, repr=False)
class Sweep(Sequence[Trial]):
    """Trials in the order of the settings; the best by validation accuracy, or by what else there is.

    What counts is the last evaluation: validation accuracy, where there is none the validation loss, and without
    validation data accuracy and loss of the training data. A network that diverged comes after all that did not.

    Attributes:
        trials: one for each network.
        seconds: how long all of it took, evaluations included. Networks that were trained together each have their
            share of it as the ``wall`` of their history.
    """

    trials: tuple[Trial, ...]
    seconds: float

    @property
    def best(self) -> Trial:
        """The trial that is first in ``ranked``."""
        return self.ranked[0]

    @property
    def criterion(self) -> str:
        """By what networks are compared: ``"validation_accuracy"``, for example, an attribute of an evaluation."""
        return next(name for name in CRITERIA if getattr(self.trials[0].last, name) is not None)

    @property
    def ranked(self) -> list[Trial]:
        """The trials, the best first."""
        name, sign = self.criterion, -1 if CRITERIA[self.criterion] else 1

        def place(trial: Trial) -> tuple[bool, float, float]:
            value = getattr(trial.last, name)
            loss = trial.last.train_loss if trial.last.validation_loss is None else trial.last.validation_loss
            return (
                trial.diverged is not None,
                sign * value if isfinite(value) else inf,
                loss if loss is not None else inf,
            )

        return sorted(self.trials, key=place)

    def __len__(self) -> int:
        return len(self.trials)

    def __getitem__(self, key: Any) -> Any:
        return self.trials[key]

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.trials)

    def table(self, most: int | None = None) -> str:
        """Settings and results as text, the best first; at most so many."""
        from tabulate import tabulate

        headers, rows = self._rows(most)
        found: str = tabulate(rows, headers, disable_numparse=True, colalign=["right"] * len(headers))
        return found

    def _rows(self, most: int | None) -> tuple[list[str], list[list[str]]]:
        columns = {name: told for name, told in COLUMNS.items() if getattr(self.trials[0].last, name) is not None}
        diverged = any(trial.diverged is not None for trial in self.trials)
        headers = ["network", *self.trials[0].settings, *(label for label, _ in columns.values())]
        rows = [
            [
                str(trial.number),
                *map(_written, trial.settings.values()),
                *(format(getattr(trial.last, name), form) for name, (_, form) in columns.items()),
                *([f"at {trial.diverged}" if trial.diverged is not None else ""] if diverged else []),
            ]
            for trial in self.ranked[:most]
        ]
        return headers + (["diverged"] if diverged else []), rows

    def to_dict(self) -> dict[str, Any]:
        """Settings, results and histories of all; a number that is not finite becomes None."""
        trials = [
            {
                "network": t.number,
                "settings": _finite(t.settings),
                "diverged": t.diverged,
                "history": t.history.to_dict(),
            }
            for t in self.trials
        ]
        return {"best": self.best.number, "criterion": self.criterion, "seconds": self.seconds, "trials": trials}

    def to_json(self, **more: Any) -> str:
        """:meth:`to_dict`, and whatever else is given by name, as JSON with a line for each network."""
        return as_json(more | self.to_dict(), default=str)

    def save(self, path: str | Path, **more: Any) -> None:
        """Write :meth:`to_json`; the file is there whole or not at all."""
        atomic.write_bytes(path, self.to_json(**more).encode())

    def __repr__(self) -> str:
        diverged = sum(trial.diverged is not None for trial in self.trials)
        networks = f"{len(self)} network{'s' if len(self) > 1 else ''}"
        told = f"{networks} in {self.seconds:.1f} s" + (f", {diverged} diverged" if diverged else "")
        return f"Sweep({told}; best {self.best!r})"

    def _repr_html_(self) -> str:
        return _html.table(*self._rows(10)) + _html.text(repr(self))


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a sweep.

    Attributes:
        result: the :class:`Sweep` of all networks at the step that they had come to; of those that were trained until
            then where they are trained one after the other.
    """

    def __init__(self, result: Sweep) -> None:
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        return f"the sweep was interrupted; this error's result has what there is: {self.result!r}"


class SweepError(RuntimeError):
    """An error ended a sweep in which something had been trained already; its ``__cause__`` is that error.

    Attributes:
        result: the :class:`Sweep` of all networks at the step before the error; of those that were trained until then
            where they are trained one after the other.
    """

    def __init__(self, result: Sweep, error: Exception, total: int) -> None:
        super().__init__(result, error, total)
        self.result, self.error, self.total = result, error, total

    def __str__(self) -> str:
        taken = max(trial.trainer.iteration for trial in self.result)
        count, all_together = len(self.result), f"at iteration {taken} of all networks"
        where = f"after {count} of {self.total} networks" if count < self.total else all_together
        return (
            f"{type(self.error).__name__} ended the sweep {where}: {self.error}; this error's result has what there "
            f"is: {self.result!r}"
        )


def _finite(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(v, float) and not isfinite(v) else v for name, v in settings.items()}


def _written(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
