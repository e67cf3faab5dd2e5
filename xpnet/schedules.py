"""Schedules: the learning rate as a function of the number of steps taken so far.

A schedule is a frozen description, called with t = 0, 1, 2, ... as floating-point arrays: 0-d in a training step, 1-d
to plot it. The result has the shape and the dtype of t.

>>> import numpy as np
>>> Warmup(4, then=Step(0.8, every=2, factor=0.5))(np.arange(8.0))
array([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.4, 0.4])
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, pi
from numbers import Real
from typing import Any

from xpnet._typing import Array
from xpnet.backend import namespace
from xpnet.validation import check_count, check_positive

__all__ = ["SCHEDULES", "Constant", "Cosine", "Exponential", "ReduceOnPlateau", "Schedule", "Step", "Warmup"]


class Schedule(ABC):
    """A learning rate that changes from step to step; a subclass says how in ``__call__``."""

    @abstractmethod
    def __call__(self, t: Array) -> Array:
        """The learning rate before step number ``t``, in the shape and dtype of ``t`` (floating-point)."""

    @property
    @abstractmethod
    def start(self) -> float:
        """The rate at t = 0, before any warm-up: what factors are relative to."""


@dataclass(frozen=True)
class _FromRate(Schedule):
    """A schedule that starts at ``lr``."""

    lr: float

    def __post_init__(self) -> None:
        _set(self, lr=check_positive(self.lr, "lr", "0.1 for example"))

    @property
    def start(self) -> float:
        return self.lr


@dataclass(frozen=True)
class Constant(_FromRate):
    """lr, always.

    Raises:
        ValueError: ``lr`` is not a positive finite number. So do the others, for what they are given.

    >>> import numpy as np
    >>> Constant(0.1)(np.arange(3.0))
    array([0.1, 0.1, 0.1])
    """

    def __call__(self, t: Array) -> Array:
        return namespace(t).full_like(t, self.lr)


@dataclass(frozen=True)
class Step(_FromRate):
    """lr factor^⌊t / every⌋: constant for ``every`` steps, then ``factor`` times that.

    >>> import numpy as np
    >>> Step(0.8, every=2, factor=0.5)(np.arange(6.0))
    array([0.8, 0.8, 0.4, 0.4, 0.2, 0.2])
    """

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, every=check_count(self.every, "every"), factor=check_positive(self.factor, "factor", "0.1"))

    def __call__(self, t: Array) -> Array:
        return self.lr * self.factor ** namespace(t).floor(t / self.every)


@dataclass(frozen=True)
class Exponential(_FromRate):
    """lr factor^(t / per): ``factor`` times as large after each ``per`` steps, without jumps.

    >>> import numpy as np
    >>> Exponential(0.8, factor=0.25, per=2)(np.arange(3.0))
    array([0.8, 0.4, 0.2])
    """

    factor: float
    per: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, factor=check_positive(self.factor, "factor", "0.99"), per=check_count(self.per, "per"))

    def __call__(self, t: Array) -> Array:
        namespace(t)
        return self.lr * self.factor ** (t / self.per)


@dataclass(frozen=True)
class Cosine(_FromRate):
    """final + (lr - final)(1 + cos(π t / steps)) / 2: half a cosine from lr down to ``final``, which it keeps to.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017), without the restarts.

    >>> import numpy as np
    >>> Cosine(0.8, steps=4)(np.arange(6.0)).round(3)
    array([0.8  , 0.683, 0.4  , 0.117, 0.   , 0.   ])
    """

    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, steps=check_count(self.steps, "steps"), final=check_number(self.final, "final", 0))

    def __call__(self, t: Array) -> Array:
        xp = namespace(t)
        way = xp.where(t < self.steps, t / self.steps, xp.ones_like(t))
        return self.final + 0.5 * (self.lr - self.final) * (1 + xp.cos(pi * way))


@dataclass(frozen=True)
class Warmup(Schedule):
    """Linear from then(0) / steps at t = 0 to then(0) at t = steps - 1, and then(t - steps) from there on.

    Goyal et al., "Accurate, Large Minibatch SGD" (2017), section 2.2.

    Args:
        steps: of the warm-up.
        then: a learning rate, or the schedule that follows, which then starts with its own t = 0.

    >>> import numpy as np
    >>> Warmup(4, then=0.8)(np.arange(6.0))
    array([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    """

    steps: int
    then: float | Schedule

    def __post_init__(self) -> None:
        if isinstance(self.then, ReduceOnPlateau):
            raise ValueError(
                f"then is {self.then!r}, expected a schedule that depends on t alone; "
                "put the warm-up inside: ReduceOnPlateau(Warmup(steps, lr))"
            )
        _set(self, steps=check_count(self.steps, "steps"), then=check_rate_or_schedule(self.then, "then"))

    def __call__(self, t: Array) -> Array:
        xp = namespace(t)
        warm = t < self.steps
        after = rate(self.then, xp.where(warm, xp.zeros_like(t), t - self.steps))
        return xp.where(warm, (t + 1) / self.steps, xp.ones_like(t)) * after

    @property
    def start(self) -> float:
        return self.then.start if isinstance(self.then, Schedule) else self.then


#: What :class:`ReduceOnPlateau` can look at, and whether less of it is better.
MONITORS = {"loss": True, "validation_loss": True, "accuracy": False, "validation_accuracy": False}


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """``factor`` times the learning rate whenever training has not got better for more than ``patience`` epochs.

    Better is: less than (1 - threshold) of the best so far, or more than (1 + threshold) of it for an accuracy; NaN is
    not. ``__call__`` gives the rate without reductions, and :meth:`scale` the factor they come to: the product of the
    two is the learning rate.

    Args:
        lr: the learning rate to reduce, or a schedule to scale down.
        factor: more than 0, less than 1.
        patience: epochs in a row that may pass without getting better.
        threshold: what counts as better, relative to the best so far.
        cooldown: epochs after a reduction that are not counted.
        min_lr: no reduction goes below it. With a schedule it holds for what the rate at its start is scaled to.
        monitor: ``"loss"``, ``"accuracy"``, ``"validation_loss"`` or ``"validation_accuracy"``.

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
        if self.monitor not in MONITORS:
            raise ValueError(f"monitor is {self.monitor!r}, expected one of: {', '.join(MONITORS)}")
        _set(
            self,
            lr=check_rate_or_schedule(self.lr, "lr"),
            factor=check_number(self.factor, "factor", 0, 1, open_below=True),
            patience=check_count(self.patience, "patience", 0),
            threshold=check_number(self.threshold, "threshold", 0, 1),
            cooldown=check_count(self.cooldown, "cooldown", 0),
            min_lr=check_number(self.min_lr, "min_lr", 0),
        )

    def __call__(self, t: Array) -> Array:
        return rate(self.lr, t)

    @property
    def start(self) -> float:
        return self.lr.start if isinstance(self.lr, Schedule) else self.lr

    def scale(self, values: Sequence[float]) -> float:
        """The factor for the learning rate after epochs with these values of what is monitored, all from the first.

        Raises:
            ValueError: one of them is None, as there are no validation data.
        """
        lr, bad, cooldown = self.start, 0, 0
        best = inf if MONITORS[self.monitor] else -inf
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
        if MONITORS[self.monitor]:
            return value < best * (1 - self.threshold)
        return value > best * (1 + self.threshold)

    def _reduced(self, lr: float) -> float:
        less = max(lr * self.factor, self.min_lr)
        return less if lr - less > NEGLIGIBLE else lr


#: A reduction by no more than this is not made.
NEGLIGIBLE = 1e-8

#: The schedules by name.
SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
    "warmup": Warmup,
    "reduce_on_plateau": ReduceOnPlateau,
}


def rate(lr: float | Schedule, t: Array) -> Array:
    """The learning rate before step number ``t``, whether it changes or not."""
    return lr(t) if isinstance(lr, Schedule) else namespace(t).full_like(t, lr)


def check_rate_or_schedule(lr: Any, name: str) -> float | Schedule:
    """A schedule, or a positive finite number as a Python float; else ``ValueError``."""
    if isinstance(lr, Schedule):
        return lr
    return check_positive(lr, name, "0.1 for example, or a schedule such as Cosine(0.1, steps=1000)")


def check_number(value: Any, name: str, least: float, below: float = inf, *, open_below: bool = False) -> float:
    """A number from ``least`` (or above it) to less than ``below`` as a Python float; else ``ValueError``."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and least <= float(value) < below) or (open_below and value == least):
        lower = f"more than {least}" if open_below else f"{least} or more"
        upper = "" if below == inf else f" and less than {below}"
        raise ValueError(f"{name} is {value!r}, expected a finite number, {lower}{upper}")
    return float(value)


def _set(schedule: Schedule, **values: Any) -> None:
    """Put checked values in the place of those given, though the description is frozen."""
    for name, value in values.items():
        object.__setattr__(schedule, name, value)
