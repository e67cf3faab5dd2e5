"""Schedules that are functions of the step number alone, and the warm-up before any of them."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

from xpnet._checks import check_count, check_number, check_positive
from xpnet._typing import Array
from xpnet.backends.dispatch import namespace
from xpnet.schedules.base import Schedule, check_rate_or_schedule, rate_of, set_checked
from xpnet.schedules.plateau import ReduceOnPlateau


@dataclass(frozen=True)
class _FromRate(Schedule):
    """A schedule that starts at ``lr``."""

    lr: float

    def __post_init__(self) -> None:
        set_checked(self, lr=check_positive(self.lr, "lr", "0.1 for example"))

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

    def rate(self, t: Array) -> Array:
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
        every = check_count(self.every, "every", example="1000 for example")
        set_checked(self, every=every, factor=check_positive(self.factor, "factor", "0.1 for example"))

    def rate(self, t: Array) -> Array:
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
        per = check_count(self.per, "per", example="1000 for example")
        set_checked(self, factor=check_positive(self.factor, "factor", "0.99 for example"), per=per)

    def rate(self, t: Array) -> Array:
        return self.lr * self.factor ** (t / self.per)


@dataclass(frozen=True)
class Cosine(_FromRate):
    """final + (lr - final)(1 + cos(π t / steps)) / 2: half a cosine from lr to ``final``, and ``final`` from then on.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017), without the restarts.

    >>> import numpy as np
    >>> Cosine(0.8, steps=4)(np.arange(6.0)).round(3)
    array([0.8  , 0.683, 0.4  , 0.117, 0.   , 0.   ])
    """

    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = check_count(self.steps, "steps", example="1000 for example")
        set_checked(self, steps=steps, final=check_number(self.final, "final", least=0))

    @property
    def reaches_zero(self) -> bool:
        return self.final == 0

    def rate(self, t: Array) -> Array:
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
        steps = check_count(self.steps, "steps", example="100 for example")
        set_checked(self, steps=steps, then=check_rate_or_schedule(self.then, "then"))

    def rate(self, t: Array) -> Array:
        xp = namespace(t)
        warm = t < self.steps
        after = rate_of(self.then, xp.where(warm, xp.zeros_like(t), t - self.steps))
        return xp.where(warm, (t + 1) / self.steps, xp.ones_like(t)) * after

    @property
    def start(self) -> float:
        return self.then.start if isinstance(self.then, Schedule) else self.then

    @property
    def reaches_zero(self) -> bool:
        return isinstance(self.then, Schedule) and self.then.reaches_zero
