"""One training step, pure, so that it can be compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet._typing import Array, Optimizer, Params, State
from xpnet.backends.base import Step
from xpnet.backends.dispatch import namespace
from xpnet.models import Sequential


def make_step(net: Sequential, optimizer: Optimizer, *, divide_x_by: float | None = None) -> Step:
    """The training step ``step(state, x, t, rows, masks={}) -> (state, loss)``: one update on x[rows], t[rows].

    It is pure but for consuming ``state`` (``{"params": ..., "optimizer": ...}``), so it can be compiled. ``masks`` are
    those of the layers that draw some (:class:`xpnet.layers.Dropout`), by name; without them, such a layer is off.

    Args:
        net: the network, of which only the layers and the loss are used.
        optimizer: the update rule.
        divide_x_by: see :class:`Trainer`.
    """
    prepare = preparation(net, divide_x_by)

    def step(state: State, x: Array, t: Array, rows: Array, masks: Params | None = None) -> tuple[State, Array]:
        xp = namespace(x)
        batch = prepare(xp.take(x, rows, axis=0)), xp.take(t, rows, axis=0)
        params = state["params"]
        loss, grads = net.value_and_grad(params | masks if masks else params, *batch)
        params, memory = optimizer.step(params, grads, state["optimizer"])
        return {"params": params, "optimizer": memory}, loss

    return step


def only_ours(net: Sequential, optimizer: Optimizer) -> bool:
    """Whether a step is made of xpnet's parts alone, which remember nothing but what is in their state."""
    return _ours(net) and all(map(_wholly_ours, (*net.layers.values(), net.loss_layer, optimizer)))


def _ours(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "xpnet"


def _wholly_ours(part: Any) -> bool:
    if part is None or isinstance(part, str | int | float | tuple | list):
        return True
    return _ours(part) and all(_wholly_ours(value) for name, value in vars(part).items() if name != "_held")


def preparation(net: Sequential, divide_x_by: float | None) -> Callable[[Array], Array]:
    """What is done to samples before they go in: in the dtype of the network, and divided."""
    if divide_x_by is None:
        return lambda x: x
    divisor = divide_x_by
    return lambda x: namespace(x).astype(x, net.dtype) / divisor
