"""The schedule that watches the history of a training, and what can be monitored in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from xpnet._checks import check_count, check_number
from xpnet._typing import Array
from xpnet.schedules.base import Schedule, check_rate_or_schedule, rate_of, set_checked

#: What can be monitored at the end of an epoch, and whether less of it is better.
LOWER_IS_BETTER = {
    "loss": True,
    "accuracy": False,
    "r2": False,
    "validation_loss": True,
    "validation_accuracy": False,
    "validation_r2": False,
}


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """``factor`` times the learning rate whenever the monitor has not improved for more than ``patience`` epochs.

    An improvement is a loss below (1 - threshold) times the best one so far, or an accuracy or R² above (1 + threshold)
    times it; NaN never is. A call gives the rate without reductions, and :meth:`scale` the product of the reductions;
    the learning rate is the one times the other.

    Args:
        lr: the learning rate to reduce, or a schedule to scale down.
        factor: more than 0, less than 1.
        patience: epochs in a row that may pass without an improvement.
        threshold: how much counts as an improvement, relative to the best so far.
        cooldown: epochs after a reduction that are not counted.
        min_lr: no reduction goes below it. For a schedule this limits ``start`` times the reductions.
        monitor: ``"loss"``, ``"accuracy"`` or ``"r2"``, or these of the validation data: ``"validation_loss"``.

    >>> plateau = ReduceOnPlateau(0.1, factor=0.5, patience=1)
    >>> plateau.scale([0.9, 0.7, 0.7]), plateau.scale([0.9, 0.7, 0.7, 0.7])
    (1.0, 0.5)
    """

    lr: float | Schedule
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0
    monitor: str = "loss"

    def __post_init__(self) -> None:
        if isinstance(self.lr, ReduceOnPlateau):
            raise ValueError(f"lr is {self.lr!r}, expected a number or a schedule that depends on t alone")
        set_checked(
            self,
            lr=check_rate_or_schedule(self.lr, "lr"),
            factor=check_number(self.factor, "factor", above=0, below=1, example="0.1 for example"),
            patience=check_count(self.patience, "patience", 0),
            threshold=check_number(self.threshold, "threshold", least=0, below=1),
            cooldown=check_count(self.cooldown, "cooldown", 0),
            min_lr=check_number(self.min_lr, "min_lr", least=0),
            monitor=check_monitor(self.monitor),
        )

    def rate(self, t: Array) -> Array:
        return rate_of(self.lr, t)

    @property
    def start(self) -> float:
        return self.lr.start if isinstance(self.lr, Schedule) else self.lr

    @property
    def reaches_zero(self) -> bool:
        return isinstance(self.lr, Schedule) and self.lr.reaches_zero

    def scale(self, values: Sequence[float]) -> float:
        """The product of the reductions after epochs with these values of the monitor, from the first epoch on.

        Raises:
            ValueError: a value is None, as there are no validation data.
        """
        lr, bad, cooldown = self.start, 0, 0
        best = inf if LOWER_IS_BETTER[self.monitor] else -inf
        for epoch, value in enumerate(values):
            if value is None:
                raise ValueError(
                    f"the {self.monitor} of epoch {epoch} is None, expected a number; "
                    f"give fit validation=(x, t), or ReduceOnPlateau another monitor than {self.monitor!r}"
                )
            best, bad = (value, 0) if self._better(value, best) else (best, bad + 1)
            if cooldown > 0:
                cooldown, bad = cooldown - 1, 0
            if bad > self.patience:
                lr, bad, cooldown = self._reduced(lr), 0, self.cooldown
        return lr / self.start

    def _better(self, value: float, best: float) -> bool:
        if LOWER_IS_BETTER[self.monitor]:
            return value < best * (1 - self.threshold)
        return value > best * (1 + self.threshold if best > 0 else 1 - self.threshold)  # R² may be below 0

    def _reduced(self, lr: float) -> float:
        less = max(lr * self.factor, self.min_lr)
        return less if lr - less > NEGLIGIBLE else lr


#: A reduction by this or less is not made.
NEGLIGIBLE = 1e-8


def check_monitor(monitor: Any) -> str:
    """What can be monitored, else ``ValueError``."""
    if not isinstance(monitor, str) or monitor not in LOWER_IS_BETTER:
        raise ValueError(f"unknown monitor {monitor!r}, expected one of: {', '.join(LOWER_IS_BETTER)}")
    return monitor
