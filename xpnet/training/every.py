"""When a training is evaluated, and on what of its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xpnet._checks import check_count

#: What may be evaluated of the training data, other than so many samples.
TRAIN = ("all", "running")


@dataclass(frozen=True)
class Every:
    """Evaluations at the start, every so many epochs or steps, and at the end.

    Validation data are always evaluated whole.

    Args:
        epochs: every so many epochs; by default after each one.
        steps: every so many steps instead.
        train: of the training data ``"all"`` samples; so many of them, drawn once, the same ones each time; or
            ``"running"``, the mean of the minibatches' losses since the evaluation before, which costs nothing. They
            are losses of weights that have changed meanwhile, and there is no accuracy to go with them.

    Raises:
        ValueError: both epochs and steps, a number below 1, or another word.

    >>> Every(epochs=5), Every(steps=500, train="running"), Every(train=10_000)
    (Every(epochs=5), Every(steps=500, train='running'), Every(epochs=1, train=10000))
    """

    epochs: int | None = None
    steps: int | None = None
    train: int | str = "all"

    #: Whether there are evaluations before the first step, again and again from there on, and after the last step.
    at_start: ClassVar[bool] = True
    regular: ClassVar[bool] = True
    at_end: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs is {self.epochs} and steps is {self.steps}; give one of them")
        if self.steps is None:
            object.__setattr__(self, "epochs", check_count(1 if self.epochs is None else self.epochs, "epochs"))
        else:
            object.__setattr__(self, "steps", check_count(self.steps, "steps"))
        if isinstance(self.train, str) and self.train in TRAIN:
            return
        if isinstance(self.train, str):
            raise ValueError(f"train is {self.train!r}, expected 'all', 'running' or a number of samples")
        object.__setattr__(self, "train", check_count(self.train, "train"))

    def __repr__(self) -> str:
        when = f"epochs={self.epochs}" if self.steps is None else f"steps={self.steps}"
        return f"Every({when}{'' if self.train == 'all' else f', train={self.train!r}'})"

    @property
    def unit(self) -> str:
        """What is counted where evaluations are."""
        return "epochs" if self.epochs == 1 else "evaluations"

    def due(self, iteration: int, epoch: float, epoch_ended: bool) -> bool:
        """Whether there is one after so many steps and epochs."""
        if self.steps is not None:
            return iteration % self.steps == 0
        return epoch_ended and int(epoch) % (self.epochs or 1) == 0

    def steps_until_one(self, iteration: int, most: int) -> int:
        """How many steps may follow, at most so many, before one may be due; ends of epochs come by themselves."""
        return most if self.steps is None else min(most, self.steps - iteration % self.steps)

    def rows(self, samples: int) -> np.ndarray | None:
        """Which of so many training samples are evaluated; None for all of them.

        They are drawn apart from all else, so that a training takes the same steps however it is evaluated.
        """
        if isinstance(self.train, str) or self.train >= samples:
            return None
        return np.sort(np.random.default_rng(0).choice(samples, self.train, replace=False))


class AtEnd(Every):
    """One evaluation, after the last step."""

    at_start = regular = False
    word: ClassVar[str] = "end"

    def __repr__(self) -> str:
        return repr(self.word)

    def due(self, iteration: int, epoch: float, epoch_ended: bool) -> bool:
        return False


class Never(AtEnd):
    """No evaluation at all."""

    at_end = False
    word = "never"


#: What may be said in a word.
WORDS = {"epoch": Every(), "end": AtEnd(), "never": Never()}


def as_every(given: Any) -> Every:
    """What ``fit(evaluate=...)`` was given, or ``TypeError`` or ``ValueError``."""
    expected = "'epoch', 'end', 'never', or Every(epochs=5), Every(steps=500) of xpnet.training"
    if isinstance(given, Every):
        return given
    if not isinstance(given, str):
        raise TypeError(f"evaluate is {given!r}, expected {expected}")
    if given not in WORDS:
        raise ValueError(f"evaluate is {given!r}, expected {expected}")
    return WORDS[given]
