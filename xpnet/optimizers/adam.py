"""Adam and its variants: m, a running mean of the gradients, divided by how large they have been.

Means that start from zero are too small by 1 - beta^t after t steps; dividing by that is the correction of their bias.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log
from typing import Any

from xpnet._numbers import each
from xpnet._typing import Array
from xpnet.backends.dispatch import namespace
from xpnet.optimizers.arrays import entry
from xpnet.optimizers.base import Optimizer
from xpnet.schedules import Schedule


def bias_correction(beta: float, t: Array) -> Array:
    """1 - beta^t; by expm1, as the difference would have few correct digits in float32, where beta^t is near 1."""
    return -namespace(t).expm1(t * each(lambda number: log(number or 1e-300), beta))


@dataclass(frozen=True, repr=False)
class _Moments(Optimizer):
    """The running means m of g and v of g², which Adam and its variants share."""

    counts = True

    lr: float | Schedule = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def slots(self, w: Array) -> dict[str, Array]:
        xp = namespace(w)
        return {"m": xp.zeros_like(w), "v": xp.zeros_like(w)}

    def average(self, g: Array, slots: dict[str, Array]) -> tuple[Array, Array]:
        """m ← β1 m + (1 - β1) g and v ← β2 v + (1 - β2) g²."""
        slots["m"] += (1 - self.beta1) * (g - slots["m"])
        slots["v"] += (1 - self.beta2) * (g * g - slots["v"])
        return slots["m"], slots["v"]


@dataclass(frozen=True, repr=False)
class Adam(_Moments):
    """m ← β1 m + (1 - β1) g, v ← β2 v + (1 - β2) g², w ← w - lr m̂ / (√v̂ + eps).

    m̂ = m / (1 - β1^t) and v̂ = v / (1 - β2^t). Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015),
    algorithm 1. ``folded`` is the form at the end of its section 2, with the corrections in the learning rate, so that
    eps stands next to √v: w ← w - lr √(1 - β2^t) / (1 - β1^t) m / (√v + eps). The book's is that one, with eps = 1e-7.

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`.
        beta1, beta2: what is left of m and v after each step, 0 or more and less than 1.
        eps: positive, next to the root.
        folded: where eps stands.

    >>> import numpy as np
    >>> params = {"W": np.asarray([1.0, 1.0])}
    >>> Adam(lr=0.1).update(params, {"W": np.asarray([5.0, -0.01])})
    >>> params["W"].round(6)  # the first step is as long whatever the gradient
    array([0.9, 1.1])
    """

    folded: bool = False

    def shared(self, t: Array) -> Any:
        xp = namespace(t)
        first, root = bias_correction(self.beta1, t), xp.sqrt(bias_correction(self.beta2, t))
        return root / first, self.eps if self.folded else self.eps * root

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        factor, eps = shared  # both corrections are here, so that each entry of an array has fewer of them
        m, v = self.average(g, slots)
        w -= lr * factor * m / (namespace(w).sqrt(v) + eps)
        return w


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay: w ← (1 - lr weight_decay) w before each step.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019). The book does not have it.

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`, but ``decoupled`` is True by default.
        beta1, beta2, eps, folded: as for Adam: what is left of m and v after each step; next to the root; and where.

    >>> import numpy as np
    >>> params = {"W": np.asarray([1.0])}
    >>> AdamW(lr=0.1, weight_decay=0.5).update(params, {"W": np.asarray([5.0])})
    >>> params["W"].round(6)  # 0.95 - 0.1
    array([0.85])
    """

    weight_decay: float = field(default=0.01, kw_only=True)
    decoupled: bool = field(default=True, kw_only=True)


@dataclass(frozen=True, repr=False)
class AdaMax(Optimizer):
    """m ← β1 m + (1 - β1) g, u ← max(β2 u, |g| + eps), w ← w - lr / (1 - β1^t) m / u.

    Adam with the largest gradient, which fades, for the mean of squares; it needs no correction. Kingma and Ba (2015),
    algorithm 2, which has no eps. The book does not have it.

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`.
        beta1, beta2: what is left of m and u after each step, 0 or more and less than 1.
        eps: positive, added to |g|.

    >>> import numpy as np
    >>> params = {"W": np.asarray([1.0, 1.0])}
    >>> AdaMax(lr=0.1).update(params, {"W": np.asarray([5.0, -0.01])})
    >>> params["W"].round(6)
    array([0.9, 1.1])
    """

    counts = True

    lr: float | Schedule = 0.002
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def slots(self, w: Array) -> dict[str, Array]:
        xp = namespace(w)
        return {"m": xp.zeros_like(w), "u": xp.zeros_like(w)}

    def shared(self, t: Array) -> Any:
        return bias_correction(self.beta1, t)

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        xp = namespace(w)
        slots["m"] += (1 - self.beta1) * (g - slots["m"])
        u = xp.maximum(self.beta2 * slots["u"], xp.abs(g) + self.eps)
        slots["u"] = xp.asarray(u)  # not every library's function of 0-d arrays returns one
        w -= lr / shared * slots["m"] / u
        return w


@dataclass(frozen=True, repr=False)
class NAdam(_Moments):
    """w ← w - lr ((1 - μ_t) g / (1 - μ_1 ... μ_t) + μ_t+1 m / (1 - μ_1 ... μ_t+1)) / (√v̂ + eps).

    Adam that looks ahead as Nesterov does, with a momentum that grows: μ_t = β1 (1 - 0.96^(t momentum_decay) / 2). m, v
    and v̂ are Adam's. Dozat, "Incorporating Nesterov Momentum into Adam" (2016). The book does not have it.

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`.
        beta1, beta2: what is left of m and v after each step, 0 or more and less than 1.
        eps: positive, next to the root.
        momentum_decay: how fast μ_t grows to β1, zero or more.

    >>> import numpy as np
    >>> params, nadam = {"W": np.asarray([1.0])}, NAdam(lr=0.1)
    >>> for _ in range(2):
    ...     nadam.update(params, {"W": np.asarray([5.0])})
    >>> params["W"].round(4)
    array([0.816])
    """

    lr: float | Schedule = 0.002
    momentum_decay: float = 0.004

    def slots(self, w: Array) -> dict[str, Array]:
        return {**super().slots(w), "product": namespace(w).ones_like(entry(w))}

    def shared(self, t: Array) -> Any:
        mu, after = (self.beta1 * (1 - 0.5 * 0.96 ** (step * self.momentum_decay)) for step in (t, t + 1))
        return mu, after, bias_correction(self.beta2, t)

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        mu, after, second = shared
        m, v = self.average(g, slots)
        slots["product"] *= mu
        ahead = (1 - mu) / (1 - slots["product"]) * g + after / (1 - after * slots["product"]) * m
        w -= lr * ahead / (namespace(w).sqrt(v / second) + self.eps)
        return w


@dataclass(frozen=True, repr=False)
class RAdam(_Moments):
    """w ← w - lr r m̂ √(1 - β2^t) / (√v + eps) where ρ_t > 5, and w ← w - lr m̂ before, when v is of too few gradients.

    ρ_t = ρ - 2 t β2^t / (1 - β2^t), ρ = 2 / (1 - β2) - 1, r² = (ρ_t - 4) (ρ_t - 2) ρ / ((ρ - 4) (ρ - 2) ρ_t); m, v,
    m̂ are Adam's. Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond" (2020), which says ρ_t > 4; 5
    is what its authors and others compute with. The book does not have it.

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`.
        beta1, beta2: what is left of m and v after each step, 0 or more and less than 1.
        eps: positive, next to the root.

    >>> import numpy as np
    >>> params = {"W": np.asarray([1.0])}
    >>> RAdam(lr=0.1).update(params, {"W": np.asarray([5.0])})
    >>> params["W"].round(6)  # 1 - 0.1 5
    array([0.5])
    """

    def shared(self, t: Array) -> Any:
        """The factors of m before and after ρ_t > 5, one of them zero."""
        xp = namespace(t)
        first, second = bias_correction(self.beta1, t), bias_correction(self.beta2, t)
        most = max(2 / (1 - self.beta2) - 1, 5.0)
        length = most - 2 * t * (1 - second) / second
        enough = length > 5
        safe = xp.where(enough, length, 5 * xp.ones_like(length))  # no root of less than zero, in the branch not taken
        r = xp.sqrt((safe - 4) * (safe - 2) / safe * (most / ((most - 4) * (most - 2))))
        none = xp.zeros_like(length)
        return xp.where(enough, none, 1 / first), xp.where(enough, r * xp.sqrt(second) / first, none)

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        plain, rectified = shared
        m, v = self.average(g, slots)
        w -= lr * m * (plain + rectified / (namespace(w).sqrt(v) + self.eps))
        return w
