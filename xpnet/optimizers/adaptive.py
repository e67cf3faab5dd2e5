"""Adaptive learning rates: each weight's steps are divided by how large its gradients have been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import namespace
from xpnet.optimizers.base import Optimizer
from xpnet.schedules import Schedule


@dataclass(frozen=True, repr=False)
class AdaGrad(Optimizer):
    """h ← h + g², w ← w - lr g / (√h + eps): steps that only get smaller.

    Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization" (2011). The
    book's eps is 1e-7.

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`.
        eps: positive, next to the root.

    >>> import numpy as np
    >>> params, adagrad = {"W": np.asarray([1.0])}, AdaGrad(lr=0.1)
    >>> for _ in range(2):
    ...     adagrad.update(params, {"W": np.asarray([5.0])})
    >>> params["W"].round(4)  # 1 - 0.1 - 0.1 / √2
    array([0.8293])
    """

    lr: float | Schedule = 0.01
    eps: float = 1e-10

    def slots(self, w: Array) -> dict[str, Array]:
        return {"h": namespace(w).zeros_like(w)}

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        slots["h"] += g * g
        w -= lr * g / (namespace(w).sqrt(slots["h"]) + self.eps)
        return w


@dataclass(frozen=True, repr=False)
class RMSprop(Optimizer):
    """h ← ρ h + (1 - ρ) g², w ← w - lr g / (√h + eps): AdaGrad that forgets.

    Tieleman and Hinton, "Lecture 6.5" of "Neural Networks for Machine Learning" (2012); ``centered`` divides by the
    standard deviation √(h - mean²) instead, as Graves does in "Generating Sequences With Recurrent Neural Networks"
    (2013). The book's eps is 1e-7.

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`.
        decay_rate: ρ, 0 or more and less than 1.
        eps: positive, next to the root.
        centered: whether the mean of the gradients is taken off.

    >>> import numpy as np
    >>> params = {"W": np.asarray([1.0])}
    >>> RMSprop(lr=0.1, decay_rate=0.75).update(params, {"W": np.asarray([5.0])})
    >>> params["W"].round(6)  # 1 - 0.1 / √0.25
    array([0.8])
    """

    lr: float | Schedule = 0.01
    decay_rate: float = 0.99
    eps: float = 1e-8
    centered: bool = False

    def slots(self, w: Array) -> dict[str, Array]:
        xp = namespace(w)
        return {slot: xp.zeros_like(w) for slot in (("h", "mean") if self.centered else ("h",))}

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        xp = namespace(w)
        slots["h"] += (1 - self.decay_rate) * (g * g - slots["h"])
        variance = slots["h"]
        if self.centered:
            slots["mean"] += (1 - self.decay_rate) * (g - slots["mean"])
            variance = variance - slots["mean"] * slots["mean"]
            # of gradients that are all the same rounding may leave less than zero
            variance = xp.maximum(variance, xp.zeros_like(variance))
        w -= lr * g / (xp.sqrt(variance) + self.eps)
        return w


@dataclass(frozen=True, repr=False)
class AdaDelta(Optimizer):
    """d = g √(u + eps) / √(h + eps), w ← w - lr d, with h and u the running means of g² and of d².

    The steps have the unit of the weights, so that lr = 1 is a start. Zeiler, "ADADELTA: An Adaptive Learning Rate
    Method" (2012), which has no lr.

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`.
        decay_rate: ρ of both means, 0 or more and less than 1.
        eps: positive, in both roots; the first steps grow from it.

    >>> import numpy as np
    >>> params = {"W": np.asarray([1.0])}
    >>> AdaDelta().update(params, {"W": np.asarray([5.0])})
    >>> params["W"].round(6)  # 1 - 5 √1e-6 / √(0.1 25 + 1e-6)
    array([0.996838])
    """

    lr: float | Schedule = 1.0
    decay_rate: float = 0.9
    eps: float = 1e-6

    def slots(self, w: Array) -> dict[str, Array]:
        xp = namespace(w)
        return {"h": xp.zeros_like(w), "u": xp.zeros_like(w)}

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        xp = namespace(w)
        slots["h"] += (1 - self.decay_rate) * (g * g - slots["h"])
        d = g * xp.sqrt(slots["u"] + self.eps) / xp.sqrt(slots["h"] + self.eps)
        slots["u"] += (1 - self.decay_rate) * (d * d - slots["u"])
        w -= lr * d
        return w
