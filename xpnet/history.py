"""What a training run leaves behind: the loss of every step, the accuracies of every epoch, and how long it took."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from xpnet import storage


@dataclass(frozen=True)
class Evaluation:
    """Accuracies, 0 to 1, after so many steps; None without test data, or where outputs are no classes."""

    epoch: float
    iteration: int
    train: float | None
    test: float | None

    def __str__(self) -> str:
        rates = [
            f"{name} {rate:7.2%}" for name, rate in (("train", self.train), ("test", self.test)) if rate is not None
        ]
        accuracy = "  accuracy: " + "  ".join(rates) if rates else ""
        return f"epoch {self.epoch:5.4g}  iteration {self.iteration:6d}{accuracy}"


@dataclass
class History:
    """The course of a training run.

    Attributes:
        losses: the loss of each minibatch, in order, before the step that learned from it.
        evaluations: accuracies before the first step, after each epoch and after the last step.
        samples: how many samples the steps took, each as often as it was taken.
        seconds: how long the steps took, evaluations left out.
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    samples: int = 0
    seconds: float = 0.0

    @property
    def iterations(self) -> int:
        return len(self.losses)

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it; a loss that is not finite becomes None."""
        return {
            "iterations": self.iterations,
            "samples": self.samples,
            "seconds": self.seconds,
            "samples_per_second": self.samples_per_second,
            "losses": [loss if isfinite(loss) else None for loss in self.losses],
            "evaluations": [asdict(e) for e in self.evaluations],
        }

    def save(self, path: str | Path, **more: Any) -> None:
        """Write :meth:`to_dict`, and whatever else is given by name, as JSON; the file is there whole or not at all."""
        storage.write_bytes(path, (json.dumps(more | self.to_dict(), indent=1, allow_nan=False) + "\n").encode())
