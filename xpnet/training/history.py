"""What a training run leaves behind: the loss of every step, the accuracies of every epoch, and how long it took."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from xpnet.schedules.plateau import check_monitor
from xpnet.serialization import atomic

#: The attribute of an :class:`Evaluation` for each thing that can be monitored.
MONITORS = {
    "loss": "train_loss",
    "accuracy": "train_accuracy",
    "validation_loss": "validation_loss",
    "validation_accuracy": "validation_accuracy",
}


@dataclass(frozen=True)
class Evaluation:
    """Accuracies, 0 to 1, and mean losses after so many steps.

    None stands for what there is not: without validation data, or where outputs are no classes. ``epoch`` counts passes
    through the data, and ``ends_epoch`` says whether one ends here.
    """

    epoch: float
    iteration: int
    train_accuracy: float | None
    validation_accuracy: float | None
    train_loss: float | None = None
    validation_loss: float | None = None
    ends_epoch: bool = False

    def __str__(self) -> str:
        both = (("train", self.train_accuracy), ("validation", self.validation_accuracy))
        rates = [f"{name} {rate:7.2%}" for name, rate in both if rate is not None]
        accuracy = "  accuracy: " + "  ".join(rates) if rates else ""
        return f"epoch {self.epoch:5.4g}  iteration {self.iteration:6d}{accuracy}"

    def value(self, monitor: str) -> float | None:
        """``"loss"``, ``"accuracy"``, ``"validation_loss"`` or ``"validation_accuracy"``."""
        found: float | None = getattr(self, MONITORS[check_monitor(monitor)])
        return found


@dataclass
class History:
    """The course of a training run.

    Attributes:
        losses: the loss of each minibatch, in order, before the step that learned from it.
        evaluations: accuracies and losses before the first step, after each epoch and after the last step.
        samples: how many samples the steps took, each as often as it was taken.
        seconds: how long training took, drawing of minibatches included, evaluations and callbacks left out.
        learning_rates: the learning rate of each step; NaN if the optimizer does not tell.
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    samples: int = 0
    seconds: float = 0.0
    learning_rates: list[float] = field(default_factory=list)

    @property
    def iterations(self) -> int:
        return len(self.losses)

    @property
    def steps(self) -> list[int]:
        """The number of each step, from 1."""
        return list(range(1, self.iterations + 1))

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds if self.seconds else 0.0

    def values(self, monitor: str) -> list[float]:
        """The values of what :meth:`Evaluation.value` takes at the ends of epochs, where there is one."""
        found = [evaluation.value(monitor) for evaluation in self.evaluations if evaluation.ends_epoch]
        return [value for value in found if value is not None]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it; a number that is not finite becomes None."""
        return {
            "iterations": self.iterations,
            "samples": self.samples,
            "seconds": self.seconds,
            "samples_per_second": self.samples_per_second,
            "losses": [_finite(loss) for loss in self.losses],
            "learning_rates": [_finite(rate) for rate in self.learning_rates],
            "evaluations": [{k: _finite(v) for k, v in asdict(e).items()} for e in self.evaluations],
        }

    def save(self, path: str | Path, **more: Any) -> None:
        """Write :meth:`to_dict`, and whatever else is given by name, as JSON; the file is there whole or not at all."""
        atomic.write_bytes(path, (json.dumps(more | self.to_dict(), indent=1, allow_nan=False) + "\n").encode())


def _finite(value: float | None) -> float | None:
    return value if value is None or isfinite(value) else None
