"""The course of a training in a file that grows by a line at each evaluation."""

from __future__ import annotations

import csv
import io
import json
from math import isfinite
from pathlib import Path
from typing import Any

from xpnet import storage
from xpnet.training.callbacks import Callback, Training
from xpnet.training.history import Evaluation

COLUMNS = (
    "epoch",
    "iteration",
    "learning_rate",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "seconds",
    "samples_per_second",
)


class _Log(Callback):
    """A line at each evaluation. A training that goes on, also from a checkpoint, goes on in its log.

    Lines of steps that are taken again, and half a line of a process that was killed, are taken out before.

    Raises:
        FileExistsError: in ``fit``, if the log of another training is there.
        ValueError: in ``fit``, if the file is there and is no such log.
        OSError: in ``fit``, if the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def head(self) -> str:
        return ""

    def line(self, row: dict[str, Any]) -> str:
        raise NotImplementedError

    def iteration_in(self, line: str) -> int:
        raise NotImplementedError

    def on_begin(self, trainer: Training) -> None:
        lines = self._lines() if self.path.exists() else []
        # what the history knows is not evaluated again, and what it does not know will be
        last = trainer.history.evaluations[-1].iteration if trainer.history.evaluations else -1
        if lines and last < 0:
            raise FileExistsError(
                17, "a log of another training is there; give another path, or delete it", str(self.path)
            )
        kept = (line for line, iteration in lines if iteration <= last)
        storage.write_bytes(self.path, (self.head() + "".join(kept)).encode())

    def on_evaluation(self, trainer: Training, evaluation: Evaluation) -> None:
        history = trainer.history
        values: tuple[Any, ...] = (
            evaluation.epoch,
            evaluation.iteration,
            trainer.learning_rate,
            evaluation.train_loss,
            evaluation.train,
            evaluation.test_loss,
            evaluation.test,
            history.seconds,
            history.samples_per_second,
        )
        finite = [v if v is None or isfinite(v) else None for v in values]
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(self.line(dict(zip(COLUMNS, finite, strict=True))))

    def _lines(self) -> list[tuple[str, int]]:
        try:
            text = self.path.read_bytes().decode()
            if text and not text.startswith(self.head()):
                raise ValueError("it begins in another way")
            *lines, half = text[len(self.head()) :].split("\n")  # the last is empty, or of a process that was killed
            if half and not lines and not self.head():
                raise ValueError("it has no whole line")
            return [(line + "\n", self.iteration_in(line)) for line in lines]
        except (ValueError, KeyError, IndexError, TypeError, StopIteration) as error:
            raise ValueError(f"{self.path} is no log of a training ({error}); give another path") from None


class CSVLog(_Log):
    """Comma-separated values: epoch, iteration, learning rate, losses, accuracies, seconds and samples a second.

    Losses and accuracies are those of all samples at that moment. What there is not is left empty.
    """

    def head(self) -> str:
        return _csv(COLUMNS)

    def line(self, row: dict[str, Any]) -> str:
        return _csv(["" if v is None else v for v in row.values()])

    def iteration_in(self, line: str) -> int:
        return int(next(csv.reader([line]))[COLUMNS.index("iteration")])


class JSONLinesLog(_Log):
    """The same as :class:`CSVLog`, a JSON object a line; what there is not is null."""

    def line(self, row: dict[str, Any]) -> str:
        return json.dumps(row) + "\n"

    def iteration_in(self, line: str) -> int:
        return int(json.loads(line)["iteration"])


def _csv(values: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
