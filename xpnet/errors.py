"""Errors that more than one part of the house raises."""

from __future__ import annotations

from functools import partial
from typing import Any

from xpnet._typing import Array


class DivergedError(ArithmeticError):
    """A descent or a training went where the loss is not finite, or grew out of all proportion.

    Attributes:
        iteration: how many steps had been taken when this was seen.
        loss: what the loss, or the function that was descended, was then.
        path: of a descent, the points (steps + 1, ...) up to there; of a training, None.
    """

    def __init__(self, message: str, *, iteration: int, loss: float, path: Array = None) -> None:
        super().__init__(message)
        self.iteration, self.loss, self.path = iteration, loss, path

    def __reduce__(self) -> tuple[Any, ...]:
        """What an exception raised in another process is made again from; by default the message alone."""
        made = partial(type(self), iteration=self.iteration, loss=self.loss, path=self.path)
        return made, self.args, vars(self)


class CompileWarning(UserWarning):
    """A training step could not be compiled, and runs as it is; the message says why."""


class CheckpointError(ValueError):
    """A file is not what was expected: damaged, foreign, or of another network or optimizer; the message names it."""


class ConversionWarning(UserWarning):
    """What another library wrote was taken, but not to the letter; the message says what is other here."""
