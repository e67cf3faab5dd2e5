"""Lion, whose steps have the length of the learning rate, and FTRL, which sets small weights to zero."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import namespace
from xpnet.optimizers.base import Optimizer
from xpnet.schedules import Schedule


@dataclass(frozen=True, repr=False)
class Lion(Optimizer):
    """w ← w - lr sign(β1 m + (1 - β1) g), then m ← β2 m + (1 - β2) g: every entry changes by lr.

    Chen et al., "Symbolic Discovery of Optimization Algorithms" (2023), algorithm 2; weight decay is decoupled there,
    and the learning rate 3 to 10 times less than Adam's. There is no eps. The book does not have it.

    Args:
        lr: the learning rate, or a schedule; options as for :class:`Optimizer`, but ``decoupled`` is True by default.
        beta1, beta2: the share of m in the step, and what is left of it after; 0 or more and less than 1.

    >>> import numpy as np
    >>> params = {"W": np.asarray([1.0, 1.0])}
    >>> Lion(lr=0.1).update(params, {"W": np.asarray([5.0, -0.01])})
    >>> params["W"]
    array([0.9, 1.1])
    """

    lr: float | Schedule = 0.0001
    beta1: float = 0.9
    beta2: float = 0.99
    decoupled: bool = field(default=True, kw_only=True)

    def slots(self, w: Array) -> dict[str, Array]:
        return {"m": namespace(w).zeros_like(w)}

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        w -= lr * namespace(w).sign(self.beta1 * slots["m"] + (1 - self.beta1) * g)
        slots["m"] += (1 - self.beta2) * (g - slots["m"])
        return w


@dataclass(frozen=True, repr=False)
class Ftrl(Optimizer):
    """Follow the regularized leader: w is the best choice for all gradients so far, with penalties l1 |w| + l2 w².

    n' = n + g², z ← z + g - (n'^p - n^p) w / lr, w ← (clip(z, -l1, l1) - z) / ((n'^p + beta) / lr + 2 l2), n ← n', with
    p = -learning_rate_power; where |z| <= l1 the weight is exactly zero. McMahan et al., "Ad Click Prediction: a View
    from the Trenches" (2013), with p, the start of n and 2 l2 for the paper's l2 as is usual. There is no eps. Only the
    first step knows the first weights. The book does not have it.

    Args:
        lr: the learning rate, or a schedule that does not come down to 0, as the rule divides by it: ``Cosine`` needs a
            ``final``. Options as for :class:`Optimizer`.
        learning_rate_power: -p, zero or less; -0.5 divides by the root, as AdaGrad does.
        initial_accumulator_value: n before the first step, positive.
        l1, l2: the strength of the penalties, zero or more.
        beta: zero or more; makes the first steps smaller.

    Raises:
        ValueError: a number out of range, or a schedule that comes down to 0.

    >>> import numpy as np
    >>> params = {"W": np.asarray([0.0, 0.0])}
    >>> Ftrl(lr=0.1, l1=1.0).update(params, {"W": np.asarray([2.0, 0.9])})
    >>> params["W"].round(4)  # -0.1 (2 - 1) / √(0.1 + 2²), and zero
    array([-0.0494,  0.    ])
    """

    lr: float | Schedule = 0.001
    learning_rate_power: float = -0.5
    initial_accumulator_value: float = 0.1
    l1: float = 0.0
    l2: float = 0.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.lr, Schedule) and self.lr.reaches_zero:
            raise ValueError(
                f"the learning rate is {self.lr!r}, which comes down to 0; expected one that stays above 0, as Ftrl "
                "divides by it; give the cosine a final rate: Cosine(0.1, steps=1000, final=0.001)"
            )

    def slots(self, w: Array) -> dict[str, Array]:
        xp = namespace(w)
        return {"n": xp.full_like(w, self.initial_accumulator_value), "z": xp.zeros_like(w)}

    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        xp, p = namespace(w), -self.learning_rate_power
        before = slots["n"] ** p
        slots["n"] += g * g
        after = slots["n"] ** p
        slots["z"] += g - (after - before) / lr * w
        z = slots["z"]
        best = (xp.clip(z, -self.l1, self.l1) - z) / ((after + self.beta) / lr + 2 * self.l2)
        w += best - w  # in place, and exactly zero where best is
        return w
