"""Optimizers, in rising complexity: ``init(params) -> state``, ``step(params, grads, state) -> (params, state)``.

A step consumes what it is given: dict entries are updated in place where arrays allow it and rebound where not, so
one line serves eager and compiled code; the caller goes on with what is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any

from xpnet._typing import Optimizer, Params, State


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: W ← W - lr dL/dW.

    Args:
        lr: the learning rate, positive.

    Raises:
        ValueError: ``lr`` is not a positive finite number.

    >>> import numpy as np
    >>> params = {"W": np.asarray([1.0, 2.0])}
    >>> SGD(lr=0.1).update(params, {"W": np.asarray([1.0, -1.0])})
    >>> params["W"]
    array([0.9, 2.1])
    """

    lr: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", check_learning_rate(self.lr))

    def init(self, params: Params) -> State:
        """Nothing to remember."""
        return {}

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Parameters after one step, and the state."""
        for name, gradient in grads.items():
            params[name] -= self.lr * gradient
        return params, state

    def update(self, params: Params, grads: Params) -> None:
        """The book's form: change the entries of ``params``."""
        self.step(params, grads, {})


def check_learning_rate(lr: Any) -> float:
    """A positive finite number as a Python float, which leaves every array its dtype; else ``ValueError``."""
    if not (isinstance(lr, Real) and isfinite(lr) and float(lr) > 0):
        raise ValueError(f"the learning rate is {lr!r}, expected a positive number, 0.1 for example")
    return float(lr)


#: The optimizers that have a name; each takes its learning rate as ``lr``.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD}
