"""What a training run leaves behind: the loss of every step, how good every epoch was, and how long it took."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from xpnet import _html
from xpnet.schedules.plateau import check_monitor
from xpnet.serialization import atomic
from xpnet.training.shown import curves_as_html, curves_as_png

#: The attribute of an :class:`Evaluation` for each thing that can be monitored.
MONITORS = {
    "loss": "train_loss",
    "accuracy": "train_accuracy",
    "r2": "train_r2",
    "validation_loss": "validation_loss",
    "validation_accuracy": "validation_accuracy",
    "validation_r2": "validation_r2",
}


#: How each metric is written in a line: the end of its attributes' names, and the format of its values.
METRICS = {"loss": ("loss", "#7.4g"), "accuracy": ("accuracy", "7.2%"), "R2": ("r2", "7.4f")}


@dataclass(frozen=True)
class Evaluation:
    """Mean losses after so many steps, and the metric that fits the problem; ``print`` shows what there is in one line.

    Networks that classify have accuracies, 0 to 1, and those that learn numbers by a squared error R²: 1 - loss / loss
    of the one constant that fits these targets best, which is 1 for a perfect network and 0 for that constant. Where
    samples have weights, losses and R² are weighted, and accuracies are not: they are shares of all samples.

    None stands for what there is not: without validation data, or where outputs are no classes. ``epoch`` counts passes
    through the data, and ``ends_epoch`` says whether one ends here. ``regular`` says whether it is one of those that
    ``fit(evaluate=...)`` asks for again and again, after each epoch by default, and not one at the start or the end of
    a call; callbacks that watch a value look at these.

    >>> print(Evaluation(1, 600, 0.9051, 0.9077, 0.341, 0.337))
    epoch     1  iteration    600  loss: train  0.3410  validation  0.3370  accuracy: train  90.51%  validation  90.77%
    >>> print(Evaluation(5, 30, None, None, 0.0125, None, 0.9873))
    epoch     5  iteration     30  loss: train 0.01250  R2: train  0.9873
    """

    epoch: float
    iteration: int
    train_accuracy: float | None
    validation_accuracy: float | None
    train_loss: float | None = None
    validation_loss: float | None = None
    train_r2: float | None = None
    validation_r2: float | None = None
    ends_epoch: bool = False
    regular: bool = False

    def __str__(self) -> str:
        return f"epoch {self.epoch:5.4g}  iteration {self.iteration:6d}  {self.results}".rstrip()

    @property
    def results(self) -> str:
        """What there is of losses, accuracies and R², as part of a line; R2, as some consoles lack the raised 2."""
        parts = []
        for metric, (field_, form) in METRICS.items():
            both = ((name, getattr(self, f"{name}_{field_}")) for name in ("train", "validation"))
            values = [f"{name} {value:{form}}" for name, value in both if value is not None]
            parts += [f"{metric}: {'  '.join(values)}"] if values else []
        return "  ".join(parts)

    def value(self, monitor: str) -> float | None:
        """``"loss"``, ``"accuracy"`` or ``"r2"``, or these of the validation data: ``"validation_loss"``."""
        found: float | None = getattr(self, MONITORS[check_monitor(monitor)])
        return found


@dataclass(repr=False)
class History:
    """The course of a training run; a prompt shows how it ended, a notebook its curves as well.

    Attributes:
        losses: the loss of each minibatch, in order, before the step that learned from it.
        evaluations: losses and accuracies or R² before the first step, after each epoch and after the last step, or
            when ``fit(evaluate=...)`` said.
        samples: how many samples the steps took, each as often as it was taken.
        seconds: how long the steps took, drawing of minibatches included, evaluations and callbacks left out.
        wall: how long the calls of ``fit`` took, with all that is in them: checks, steps, evaluations, callbacks.
        learning_rates: the learning rate of each step; NaN if the optimizer does not tell.
        compute_dtype: the dtype that steps were computed in, if not in that of the network.
        tf32: whether float32 was multiplied in TF32 in the last call of ``fit``; ``"products"`` or ``"convolutions"``
            if in these alone, None where there is none.
        threads: how many threads the library multiplied on in the last call of ``fit``; None if it does not tell.
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    samples: int = 0
    seconds: float = 0.0
    learning_rates: list[float] = field(default_factory=list)
    threads: int | None = field(default=None, compare=False)
    wall: float = field(default=0.0, compare=False)
    compute_dtype: str | None = None
    tf32: bool | str | None = field(default=None, compare=False)

    @property
    def iterations(self) -> int:
        """How many steps were taken."""
        return len(self.losses)

    @property
    def steps(self) -> list[int]:
        """The number of each step, from 1."""
        return list(range(1, self.iterations + 1))

    @property
    def samples_per_second(self) -> float:
        """Samples a second of ``seconds``; 0 if no time was taken."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def times(self) -> str:
        """How long it took, the steps alone, and their rate, as part of a line."""
        return f"{self.wall:.1f} s, steps {self.seconds:.1f} s, {self.samples_per_second:,.0f} samples/s"

    def values(self, monitor: str) -> list[float]:
        """The values of what :meth:`Evaluation.value` takes in the regular evaluations, where there is one."""
        found = [evaluation.value(monitor) for evaluation in self.evaluations if evaluation.regular]
        return [value for value in found if value is not None]

    def __repr__(self) -> str:
        last = self.evaluations[-1] if self.evaluations else None
        steps, epochs = f"{self.iterations:,}", f"{last.epoch:.4g}" if last else ""
        parts = [f"{n} {what}{'' if n == '1' else 's'}" for n, what in ((steps, "iteration"), (epochs, "epoch")) if n]
        parts += [self.times] if self.seconds else []
        ends = f"; {' '.join(last.results.split())}" if last and last.results else ""
        return f"History({', '.join(parts)}{ends})"

    def _repr_html_(self) -> str:
        return curves_as_html(self) + _html.text(repr(self))

    def _repr_png_(self) -> bytes | None:
        return curves_as_png(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it; a number that is not finite becomes None."""
        return {
            "iterations": self.iterations,
            "samples": self.samples,
            "wall": self.wall,
            "seconds": self.seconds,
            "samples_per_second": self.samples_per_second,
            "threads": self.threads,
            "compute_dtype": self.compute_dtype,
            "tf32": self.tf32,
            "losses": [_finite(loss) for loss in self.losses],
            "learning_rates": [_finite(rate) for rate in self.learning_rates],
            "evaluations": [{k: _finite(v) for k, v in asdict(e).items()} for e in self.evaluations],
        }

    def save(self, path: str | Path, **more: Any) -> None:
        """Write :meth:`to_dict`, and whatever else is given by name, as JSON; the file is there whole or not at all."""
        atomic.write_bytes(path, as_json(more | self.to_dict()).encode())


def as_json(values: dict[str, Any], default: Callable[[Any], Any] | None = None) -> str:
    """JSON with a line for each value, and for each dict in a list; ``indent=`` would take ten times as long.

    ``default`` makes what JSON can hold of what it cannot.
    """
    dumps = partial(json.dumps, allow_nan=False, default=default)
    lines = []
    for name, value in values.items():
        written = dumps(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            written = "[\n  " + ",\n  ".join(dumps(each) for each in value) + "\n ]"
        lines.append(f" {dumps(name)}: {written}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _finite(value: float | None) -> float | None:
    return value if value is None or isfinite(value) else None
