"""The options of optimizers: how each is checked, and the transforms that those of gradients stand for."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from inspect import cleandoc
from typing import Any

from xpnet._checks import check_number, check_positive, check_switch
from xpnet._typing import Transform
from xpnet.optimizers.transforms import ClipByNorm, ClipByValue, WeightDecay
from xpnet.schedules.base import check_rate_or_schedule

#: What stands for them in the docstring of an optimizer.
OPTIONS_ELSEWHERE = "; options as for :class:`Optimizer`"


def check_learning_rate(lr: Any) -> float:
    """A positive finite number as a Python float, which leaves every array its dtype; else ``ValueError``."""
    return check_positive(lr, "the learning rate", "0.1 for example")


@lru_cache(maxsize=64)  # a step asks, and making them anew would cost as much as adding small arrays
def transforms_of(
    clip_value: float | None, clip_norm: float | None, decay: float, decay_biases: bool
) -> tuple[Transform, ...]:
    """What these options do to gradients, in this order."""
    found: list[Transform] = []
    if clip_value is not None:
        found.append(ClipByValue(clip_value))
    if clip_norm is not None:
        found.append(ClipByNorm(clip_norm))
    if decay:
        found.append(WeightDecay(decay, decay_biases))
    return tuple(found)


def with_options(doc: str | None, shared: str | None) -> str | None:
    """The docstring of an optimizer with all its arguments: ``help(SGD)`` shall send nobody elsewhere.

    Args:
        doc: its own, which says "options as for :class:`Optimizer`", or another one, which stays as it is.
        shared: that of the base class, whose arguments but the first, lr, are put behind its own.
    """
    if doc is None or shared is None or OPTIONS_ELSEWHERE not in doc:
        return doc
    own, options = cleandoc(doc), cleandoc(shared)
    options = options[options.index("\n    weight_decay:") : options.index("\n\nRaises:")]
    own = own.replace(f"{OPTIONS_ELSEWHERE}, but ", "; ").replace(OPTIONS_ELSEWHERE, "")
    end = own.find("\n\n", own.index("Args:"))
    end = len(own) if end < 0 else end
    return f"{own[:end]}{options}{own[end:]}"


def _clip(value: Any, name: str) -> float | None:
    return None if value is None else check_positive(value, name, "1.0 for example, or None")


#: How the value of a field is checked, and made a Python number, by the name of the field.
CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "lr": lambda value, _: check_rate_or_schedule(value, "the learning rate"),
    **dict.fromkeys(("momentum", "decay_rate", "beta1", "beta2"), partial(check_number, least=0, below=1)),
    **dict.fromkeys(("weight_decay", "momentum_decay", "l1", "l2", "beta"), partial(check_number, least=0)),
    **dict.fromkeys(("clip_value", "clip_norm"), _clip),
    **dict.fromkeys(("decoupled", "decay_biases", "centered", "folded"), check_switch),
    "eps": partial(check_positive, example="1e-8 for example"),
    "initial_accumulator_value": partial(check_positive, example="0.1 for example"),
    "learning_rate_power": partial(check_number, most=0),
}
