"""Logs: a file that gets a line at each evaluation of a training."""

from __future__ import annotations

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from xpnet.serialization import atomic
from xpnet.streams import printable, warn
from xpnet.training.callbacks import Callback, Training, check_evaluated
from xpnet.training.history import MONITORS, Evaluation

COLUMNS = (
    "epoch",
    "iteration",
    "learning_rate",
    "loss",
    "accuracy",
    "r2",
    "validation_loss",
    "validation_accuracy",
    "validation_r2",
    "seconds",
    "samples_per_second",
)
#: The columns that a resumed training finds in its history too.
RESULTS = tuple(MONITORS)


class _Log(Callback, ABC):
    """A line at each evaluation. A training that is resumed, also from a checkpoint, continues its log.

    A log that can no longer be written, on a disk that is full for example, ends no training: that is told once, as a
    warning, and the lines are kept and written as soon as they can be, at the last when ``fit`` ends.

    Lines after the last evaluation in the history are removed first, as these steps will be taken again; so is an
    incomplete line of a process that was killed.

    Raises:
        FileExistsError: in ``fit``, if the file is the log of another training: this one is new, or its history has
            other evaluations.
        ValueError: in ``fit``, if the file is not such a log, or with ``evaluate="never"``.
        OSError: in ``fit``, if the file cannot be written before the first step.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.unwritten, self.told = atomic.file_path_of(path), b"", False

    def head(self) -> str:
        """What stands at the start of a new file."""
        return ""

    @abstractmethod
    def line(self, row: dict[str, Any]) -> str:
        """A row as it is written."""

    @abstractmethod
    def row(self, line: str) -> dict[str, Any]:
        """What :meth:`line` wrote, with None for what there is not."""

    def on_begin(self, trainer: Training) -> None:
        check_evaluated(trainer, f"{self!r} writes evaluations", regular=False)
        lines = self._lines() if self.path.exists() else []
        known = {e.iteration: _results(e) for e in trainer.history.evaluations}
        # what is in the history is not evaluated again, and what is not will be
        last = max(known, default=-1)
        kept = [(line, row) for line, row in lines if row["iteration"] <= last]
        foreign = any(known.get(row["iteration"]) != {name: row[name] for name in RESULTS} for _, row in kept)
        if foreign or (lines and not known):
            raise FileExistsError(
                17, "a log of another training is there; give another path, or delete it", str(self.path)
            )
        atomic.write_bytes(self.path, (self.head() + "".join(line for line, _ in kept)).encode())
        self.unwritten, self.told = b"", False

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        history = trainer.history
        row = {
            "epoch": evaluation.epoch,
            "iteration": evaluation.iteration,
            "learning_rate": _finite(trainer.learning_rate),
            **_results(evaluation),
            "seconds": history.seconds,
            "samples_per_second": _finite(history.samples_per_second),
        }
        self.unwritten += self.line({name: row[name] for name in COLUMNS}).encode()
        self._write()

    def on_end(self, trainer: Training) -> None:
        if self.unwritten:
            self._write()

    def _write(self) -> None:
        """Write the lines that are not in the file yet; all of them or, if that cannot be, none."""
        try:
            with self.path.open("ab", buffering=0) as file:
                end, left = file.seek(0, os.SEEK_END), self.unwritten
                try:
                    while left:
                        left = left[file.write(left) :]
                except OSError:
                    with suppress(OSError):
                        file.truncate(end)
                    raise
        except OSError as error:
            if not self.told:
                self.told = True
                warn(
                    f"the log {printable(self.path)} cannot be written now ({error.strerror}); training goes on, and "
                    "its lines are written when they can be",
                    stacklevel=2,
                )
            return
        self.unwritten = b""

    def _lines(self) -> list[tuple[str, dict[str, Any]]]:
        try:
            text = (self.path.read_bytes() + self.unwritten).decode()
            if text and not text.startswith(self.head()):
                raise ValueError("it begins in another way")
            *lines, half = text[len(self.head()) :].split("\n")  # the last is empty, or of a process that was killed
            if half and not lines and not self.head():
                raise ValueError("it has no whole line")
            return [(line + "\n", self._checked(self.row(line))) for line in lines]
        except (ValueError, KeyError, TypeError, OverflowError, StopIteration) as error:
            name, why = printable(self.path), printable(error)
            raise ValueError(f"{name} is no log of a training ({why}); give another path") from None

    @staticmethod
    def _checked(row: dict[str, Any]) -> dict[str, Any]:
        """The row with what is compared; raises if it is not there."""
        return {"iteration": int(row["iteration"]), **{name: row[name] for name in RESULTS}}


class CSVLog(_Log):
    """Comma-separated values: epoch, iteration, learning rate, losses, accuracies, R², seconds and samples a second.

    Losses, accuracies and R² are those of all samples with the current weights. A value that does not exist is left
    empty.

    Args:
        path: the file; a training that is resumed goes on with it.
    """

    def head(self) -> str:
        """The line of the columns' names."""
        return _csv(COLUMNS)

    def line(self, row: dict[str, Any]) -> str:
        return _csv(["" if v is None else v for v in row.values()])

    def row(self, line: str) -> dict[str, Any]:
        texts = dict(zip(COLUMNS, next(csv.reader([line])), strict=True))
        return {name: float(text) if text else None for name, text in texts.items()}


class JSONLinesLog(_Log):
    """The same values as :class:`CSVLog`, with one JSON object in each line; a value that does not exist is null."""

    def line(self, row: dict[str, Any]) -> str:
        return json.dumps(row) + "\n"

    def row(self, line: str) -> dict[str, Any]:
        return dict(json.loads(line))


def _results(evaluation: Evaluation) -> dict[str, float | None]:
    """Losses, accuracies and R² as they are written."""
    return {name: _finite(evaluation.value(name)) for name in RESULTS}


def _finite(value: float | None) -> float | None:
    return value if value is None or isfinite(value) else None


def _csv(values: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
