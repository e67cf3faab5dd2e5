"""The book's optimizers: those of ``xpnet.optimizers`` with its numbers, and with fields that can be assigned to."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from xpnet import optimizers

Kind = TypeVar("Kind", bound=type[optimizers.Optimizer])


def _assignable(kind: Kind) -> Kind:
    """``optimizer.lr *= 0.5`` in the middle of a training, as one does with the book's classes."""

    def assign(self: Any, name: str, value: Any) -> None:
        known = [field.name for field in fields(self)]
        if name not in known:
            raise AttributeError(f"{type(self).__name__} has no {name}; it has: {', '.join(known)}")
        before = getattr(self, name)
        object.__setattr__(self, name, value)
        try:
            self.__post_init__()
        except Exception:
            object.__setattr__(self, name, before)
            raise
        if name == "lr" and isinstance(self, optimizers.Momentum):
            _keep_velocities(self, before / self.lr)

    kind.__setattr__ = assign  # type: ignore[method-assign]
    return kind


def _keep_velocities(optimizer: Any, factor: float) -> None:
    """The book's velocities have the learning rate in them, and stay what they are when it changes; ours have not."""
    _, state = vars(optimizer).get("_held", (None, {}))
    for slots in state.get("slots", {}).values():
        slots["v"] *= factor


@_assignable
class SGD(optimizers.SGD):
    """Stochastic gradient descent; ``lr`` may be assigned to.

    >>> import numpy as np
    >>> params, sgd = {"x": -7.0, "y": 2.0}, SGD(lr=0.5)
    >>> sgd.lr = 0.95
    >>> sgd.update(params, {"x": -0.7, "y": 4.0})
    >>> round(params["x"], 3), round(params["y"], 3)
    (-6.335, -1.8)
    """


@_assignable
class Momentum(optimizers.Momentum):
    """Momentum; ``lr`` and ``momentum`` may be assigned to."""


@_assignable
class Nesterov(optimizers.Nesterov):
    """Nesterov's momentum; ``lr`` and ``momentum`` may be assigned to."""


@_assignable
@dataclass(frozen=True, repr=False)
class AdaGrad(optimizers.AdaGrad):
    """AdaGrad with the book's 1e-7 next to the root.

    >>> import numpy as np
    >>> params, adagrad = {"W": np.asarray([1.0])}, AdaGrad(lr=0.5)
    >>> adagrad.update(params, {"W": np.asarray([5.0])})
    >>> params["W"].round(6)
    array([0.5])
    """

    eps: float = 1e-7


@_assignable
@dataclass(frozen=True, repr=False)
class RMSprop(optimizers.RMSprop):
    """RMSprop with the book's 1e-7 next to the root."""

    eps: float = 1e-7


@_assignable
@dataclass(frozen=True, repr=False)
class Adam(optimizers.Adam):
    """Adam with the book's 1e-7, next to the root of v as it is: the corrections are in the learning rate."""

    eps: float = 1e-7
    folded: bool = True
