"""What is behind a parameter: the layers from its own on, the loss, and where kinks are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet._typing import Array, Layer, Params
from xpnet.backend import namespace


@dataclass(frozen=True)
class Found:
    """The numerical gradient of a parameter, and (if it was asked) at which entries a move took a unit over a kink."""

    gradient: Array
    crossed: Array | None


def crosses(layer: Layer, above: Array, below: Array) -> Array | None:
    """Where the inputs of a layer lie on different sides of its kink; None if it has none."""
    kink = getattr(layer, "kink", None)
    return None if kink is None else (above > kink) != (below > kink)


def reach(layer: Layer) -> str:
    return getattr(layer, "reach", "batch")


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
        """Whether no sample has an influence on the loss of another."""
        return hasattr(self.loss, "each") and all(reach(layer) != "batch" for layer in self.layers)

    def value(self, params: Params) -> Array:
        y = self.x
        for layer in self.layers:
            y, _ = layer.forward(params, y)
        return self.loss.forward(y, self.t)[0]

    def crossed(self, above: Params, below: Params) -> bool:
        """Whether a unit is on another side of its kink with the one parameters than with the other."""
        upper = lower = self.x
        for layer in self.layers:
            found = crosses(layer, upper, lower)
            if found is not None and bool(namespace(found).any(found)):
                return True
            upper, lower = layer.forward(above, upper)[0], layer.forward(below, lower)[0]
        return False
