"""Gradient descent, and the two that carry on with the steps before: one learning rate for all weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import namespace
from xpnet.optimizers.base import Optimizer
from xpnet.schedules import Schedule


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent: w ← w - lr g.

    Robbins and Monro, "A Stochastic Approximation Method" (1951).

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`.

    Raises:
        ValueError: ``lr`` is neither a positive finite number nor a schedule.

    >>> import numpy as np
    >>> params = {"W": np.asarray([1.0, 2.0])}
    >>> SGD(lr=0.1).update(params, {"W": np.asarray([1.0, -1.0])})
    >>> params["W"]
    array([0.9, 2.1])
    """

    lr: float | Schedule = 0.01

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        w -= lr * g
        return w


@dataclass(frozen=True, repr=False)
class Momentum(Optimizer):
    """v ← momentum v + g, w ← w - lr v: a ball that rolls on, with friction.

    Polyak, "Some methods of speeding up the convergence of iteration methods" (1964). The book has lr inside:
    v ← momentum v - lr g, w ← w + v, which is the same as long as lr is.

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`.
        momentum: what is left of v after each step, 0 or more and less than 1.

    >>> import numpy as np
    >>> params, momentum = {"W": np.asarray([1.0])}, Momentum(lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     momentum.update(params, {"W": np.asarray([1.0])})
    >>> params["W"].round(3)
    array([0.71])
    """

    lr: float | Schedule = 0.01
    momentum: float = 0.9

    def slots(self, w: Array) -> dict[str, Array]:
        return {"v": namespace(w).zeros_like(w)}

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        slots["v"] *= self.momentum
        slots["v"] += g
        w -= lr * slots["v"]
        return w


@dataclass(frozen=True, repr=False)
class Nesterov(Momentum):
    """v ← momentum v + g, w ← w - lr (g + momentum v): momentum with the gradient from where it is about to lead.

    Nesterov (1983), in the form of Sutskever et al., "On the importance of initialization and momentum in deep
    learning" (2013), with w standing for the point that is looked ahead to. The book's lines are the same, with v the
    other way round and lr in it.

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`.
        momentum: what is left of v after each step, 0 or more and less than 1.

    >>> import numpy as np
    >>> params = {"W": np.asarray([1.0])}
    >>> Nesterov(lr=0.1, momentum=0.9).update(params, {"W": np.asarray([1.0])})
    >>> params["W"].round(3)
    array([0.81])
    """

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        slots["v"] *= self.momentum
        slots["v"] += g
        w -= lr * (g + self.momentum * slots["v"])
        return w
