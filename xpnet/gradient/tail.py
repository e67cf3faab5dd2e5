"""What is behind a parameter: the layers from its own on, the loss, and where kinks are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet._typing import Array, Layer, Params
from xpnet.backends.dispatch import namespace

#: On which side of its kink each unit is, for each layer that has one.
Sides = list[Array]


@dataclass(frozen=True)
class Found:
    """The numerical gradient of a parameter, and (if it was asked) at which entries a move took a unit over a kink."""

    gradient: Array
    crossed: Array | None


def side_of(layer: Layer, x: Array) -> Array | None:
    """Which entries of a layer's input are above its kink; None if it has no kink."""
    kink = getattr(layer, "kink", None)
    return None if kink is None else x > kink


def differ(above: Sides, below: Sides) -> bool:
    """Whether a unit is on one side of its kink here, and on the other there."""
    return any(bool(namespace(a).any(a != b)) for a, b in zip(above, below, strict=True))


def reach(layer: Layer) -> str:
    """How far an entry of a layer's input reaches in its output; see :class:`xpnet._typing.Layer`.

    A ``forward`` that somebody put in the place of one of xpnet's is believed to keep to it only if its class says so.
    """
    ours = type(layer).forward.__module__.startswith("xpnet.layers")
    return getattr(layer, "reach", "batch") if ours or goes_with_forward(layer, "reach") else "batch"


def goes_with_forward(subject: Any, name: str) -> bool:
    """Whether a method is there, and speaks of the ``forward`` that runs, not of one that a subclass replaced."""
    owners = [next((k for k in type(subject).__mro__ if n in vars(k)), None) for n in (name, "forward")]
    return None not in owners and issubclass(*owners)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Tail:
    """A layer, what follows it, and what goes into it."""

    layers: list[Layer]
    loss: Any
    params: Params
    x: Array
    t: Array

    @property
    def samples_apart(self) -> bool:
        """Whether no sample has an influence on the loss of another, and the loss of each can be had."""
        if not goes_with_forward(self.loss, "per_sample") or any(reach(layer) == "batch" for layer in self.layers):
            return False
        y = self.x
        for layer in self.layers:
            y, _ = layer.forward(self.params, y)
        return hasattr(self.loss, "reduction") and y.ndim == 2

    def value(self, params: Params) -> tuple[Array, Sides]:
        """The loss with these parameters, and the sides of the kinks on which its units are."""
        y, sides = self.x, []
        for layer in self.layers:
            side = side_of(layer, y)
            sides += [] if side is None else [side]
            y, _ = layer.forward(params, y)
        return self.loss.forward(y, self.t)[0], sides
