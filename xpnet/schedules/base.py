"""What all schedules share: a call with any step numbers, and the rate for an array of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Real
from typing import Any

from xpnet._checks import check_positive
from xpnet._typing import Array
from xpnet.backends.dispatch import current_backend, dtype_name, namespace, widest_floating


class Schedule(ABC):
    """A learning rate that changes from step to step.

    A schedule of your own is a frozen dataclass with two members: :meth:`rate`, written with ``namespace(t)`` so that
    it runs on every library and can be compiled, and ``start``.

    >>> import numpy as np
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class InverseRoot(Schedule):
    ...     lr: float
    ...
    ...     def rate(self, t):
    ...         return self.lr / namespace(t).sqrt(t + 1)
    ...
    ...     @property
    ...     def start(self):
    ...         return self.lr
    >>> InverseRoot(0.6)(np.asarray([0, 3, 8]))
    array([0.6, 0.3, 0.2])
    """

    def __call__(self, t: Array) -> Array:
        """The learning rate before step number ``t``.

        Args:
            t: an array of any shape, or a number.

        Returns:
            An array of the shape of t, in the dtype of t if that is floating-point. For integers it is the widest
            floating-point dtype that the library has on that device: float64, or float32. For a number, a float.

        Raises:
            TypeError: t is neither an array nor a number, or is boolean or complex.
        """
        if isinstance(t, int | Real) and not isinstance(t, bool):
            steps = current_backend().asarray(float(t))
            return float(self.rate(namespace(steps).astype(steps, widest_floating(steps))))
        return self.rate(floating(t))

    @abstractmethod
    def rate(self, t: Array) -> Array:
        """What a call computes, for a floating-point array ``t``, in its shape and dtype; all a training step calls."""

    @property
    @abstractmethod
    def start(self) -> float:
        """The rate at t = 0, before any warm-up: what factors are relative to."""

    @property
    def reaches_zero(self) -> bool:
        """Whether the rate is certain to come down to 0, by which no update rule can divide."""
        return False


def floating(t: Array) -> Array:
    """Step numbers as a floating-point array: integers in the widest dtype there is, as rates would be rounded to 0."""
    xp = namespace(t)
    if xp.isdtype(t.dtype, "real floating"):
        return t
    if not xp.isdtype(t.dtype, "integral"):
        raise TypeError(f"t is {dtype_name(t.dtype)}, expected step numbers, integer or floating-point: 0, 1, 2, ...")
    return xp.astype(t, widest_floating(t))


def rate_of(lr: float | Schedule, t: Array) -> Array:
    """The learning rate before step number ``t``, a floating-point array, whether it is a schedule's or a number."""
    return lr.rate(t) if isinstance(lr, Schedule) else namespace(t).full_like(t, lr)


def check_rate_or_schedule(lr: Any, name: str) -> float | Schedule:
    """A schedule, or a positive finite number as a Python float; else ``ValueError``."""
    if isinstance(lr, Schedule):
        return lr
    return check_positive(lr, name, "0.1 for example, or a schedule such as Cosine(0.1, steps=1000)")


def set_checked(part: Any, **values: Any) -> None:
    """Replace what was given to a schedule or an optimizer by the checked values, although it is frozen."""
    for name, value in values.items():
        object.__setattr__(part, name, value)
