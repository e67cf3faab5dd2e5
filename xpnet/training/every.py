"""What of the training data is evaluated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Every:
    """Evaluations after each epoch.

    Args:
        train: of the training data ``"all"`` samples, or ``"running"``, the mean of the minibatches' losses.
    """

    train: str = "all"
