"""Loss scaling: small gradients keep their digits in float16, and a step whose gradients overflow is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xpnet._checks import check_count, check_number, check_positive
from xpnet._typing import Array, Params, State, Transform
from xpnet.backends.dispatch import namespace, quiet
from xpnet.optimizers.arrays import entry, floating_like
from xpnet.schedules.base import set_checked

#: With a scale below this (2⁻²⁴), gradients that still overflow float16 are above 10¹²: no scale helps.
LEAST_SCALE = 2.0**-24


@dataclass(frozen=True)
class LossScaling:
    """g ← g / scale, of a loss times scale; where an entry of g is not finite, no step is taken, and the scale shrinks.

    A training in float16 has it as its first transform. A step that is left out changes neither parameters nor
    buffers, nor what the optimizer and the other transforms remember, and schedules do not count it. Nothing is read
    back from the device for it. Micikevicius et al., "Mixed Precision Training" (2018), section 3.2; the rule and its
    numbers are those of ``torch.amp.GradScaler``.

    The state is ``{"scale": of the next step, "good": steps since it changed, "finite": whether the last step was
    taken, "skipped": how many were not}``, arrays without axes.

    Args:
        init_scale: the scale of the first step.
        growth_factor: what the scale is multiplied by after ``growth_interval`` steps in a row that were taken, 1 or
            more. With 1, and a ``backoff_factor`` of 1, the scale is constant.
        backoff_factor: what it is multiplied by after a step that was not, above 0, at most 1.
        growth_interval: how many steps in a row that is, a whole number of 1 or more.

    Raises:
        ValueError: a number out of range.

    >>> import numpy as np
    >>> scaling, params = LossScaling(init_scale=4.0, growth_interval=2), {"W": np.ones(1, "float32")}
    >>> state = scaling.init(params)
    >>> for g in (8.0, np.inf, 8.0, 8.0):
    ...     grads, state = scaling.update({"W": np.asarray([g], "float32")}, state, params)
    ...     print(grads["W"], bool(scaling.ready(state)), float(state["scale"]))
    [2.] True 4.0
    [inf] False 2.0
    [4.] True 2.0
    [4.] True 4.0
    """

    init_scale: float = 65536.0
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def __post_init__(self) -> None:
        set_checked(
            self,
            init_scale=check_positive(self.init_scale, "init_scale", "65536.0 for example"),
            growth_factor=check_number(self.growth_factor, "growth_factor", least=1),
            backoff_factor=check_number(self.backoff_factor, "backoff_factor", above=0, most=1),
            growth_interval=check_count(self.growth_interval, "growth_interval", example="2000 for example"),
        )

    def init(self, params: Params) -> State:
        """The first scale, and nothing counted."""
        if not params:
            return {}
        first = entry(next(iter(params.values())))
        xp = namespace(first)
        none = xp.zeros_like(first, dtype=xp.int32)
        return {
            "scale": xp.full_like(first, self.init_scale, dtype=xp.float32),
            "good": none,
            "finite": xp.ones_like(first, dtype=xp.bool),
            "skipped": xp.zeros_like(none),
        }

    @quiet
    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        """Gradients of the loss itself, in float32 at least, and the scale of the next step."""
        if not grads:
            return grads, state
        scale, good = state["scale"], state["good"]
        xp = namespace(scale)
        wide = {name: floating_like(g, params[name]) for name, g in grads.items()}
        finite = xp.all(xp.stack([xp.all(xp.isfinite(g)) for g in wide.values()]))
        longer = xp.asarray(xp.where(finite, good + 1, xp.zeros_like(good)))
        grows, larger = longer >= self.growth_interval, scale * self.growth_factor
        taken = xp.where(grows & xp.isfinite(larger), larger, scale)
        after = {
            "scale": xp.asarray(xp.where(finite, taken, scale * self.backoff_factor)),
            "good": xp.asarray(xp.where(grows, xp.zeros_like(good), longer)),
            "finite": xp.asarray(finite),
            "skipped": xp.asarray(state["skipped"] + xp.astype(xp.logical_not(finite), xp.int32)),
        }
        return {name: g * xp.astype(1 / scale, g.dtype) for name, g in wide.items()}, after

    def ready(self, state: State) -> Array:
        """Whether all gradients of the last update were finite."""
        return state["finite"]


def loss_scaling_in(transforms: Sequence[Transform]) -> LossScaling | None:
    """The loss scaling among transforms.

    Raises:
        ValueError: it is not the first of them, which get gradients of the loss itself behind it.
    """
    for i, transform in enumerate(transforms):
        if isinstance(transform, LossScaling):
            if i:
                raise ValueError(
                    f"transforms[{i}] is {transform!r}, and has to be the first: what stands before it would get "
                    "gradients that are scaled"
                )
            return transform
    return None


def with_loss_scaling(transforms: Sequence[Transform], compute_dtype: str | None) -> tuple[Transform, ...]:
    """Transforms for a training in this dtype: with loss scaling in float16, if they have none."""
    if compute_dtype == "float16" and loss_scaling_in(transforms) is None:
        return LossScaling(), *transforms
    return tuple(transforms)


def scaling_state(transforms: Sequence[Transform], states: State) -> Any:
    """What the loss scaling remembers, of the states of all transforms by place; ``{}`` if there is none."""
    return states.get("0", {}) if loss_scaling_in(transforms) is not None else {}
