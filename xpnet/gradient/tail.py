"""What is behind a parameter: the layers from its own on, the loss, and where kinks are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.gradient.reach import goes_with_forward, reach
from xpnet.layers.base import Container, Layer, Shape
from xpnet.layers.chain import Part

#: On which side of its kink each unit is, for each layer that has one.
Sides = list[Array]


@dataclass(frozen=True)
class Found:
    """The numerical gradient of a parameter, and (if it was asked) at which entries a move took a unit over a kink."""

    gradient: Array
    crossed: Array | None


def differ(above: Sides, below: Sides) -> bool:
    """Whether a unit is on one side of its kink here, and on the other there."""
    return any(bool(namespace(a).any(a != b)) for a, b in zip(above, below, strict=True))


@dataclass(frozen=True)
class Watched(Layer):
    """A layer, and a list that gets the sides of its kink whenever something goes through it."""

    layer: Layer
    sides: Sides

    @property
    def label(self) -> str:  # type: ignore[override]
        return self.layer.label

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        self._look(x)
        return self.layer.forward(params, x)

    def train(self, params: Params, x: Array) -> tuple[Array, Any, Params]:
        self._look(x)
        return self.layer.train(params, x)

    def _look(self, x: Array) -> None:
        side = self.layer.side(x)
        self.sides.extend([] if side is None else [side])

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        return self.layer.backward(params, residuals, dy)

    def init(self, rng: Any, weight_init: Any) -> dict[str, Any]:
        return self.layer.init(rng, weight_init)

    def buffers(self) -> dict[str, Any]:
        return self.layer.buffers()

    def draws(self, rng: Any, shape: tuple[int, ...]) -> dict[str, Any]:
        return self.layer.draws(rng, shape)

    def output_shape(self, shape: Shape) -> Shape:
        return self.layer.output_shape(shape)

    @property
    def is_random(self) -> bool:
        return self.layer.is_random


def watched(layer: Layer, sides: Sides) -> Layer:
    """The same layer, with all in it that have a kink watched; itself if none has."""
    if not isinstance(layer, Container):
        return layer if layer.kink is None and type(layer).side is Layer.side else Watched(layer, sides)
    children = tuple(watched(child, sides) for child in layer.children)
    same = all(a is b for a, b in zip(children, layer.children, strict=True))
    return layer if same else layer.with_children(children)


@dataclass(frozen=True)
class Tail:
    """Layers in their places from one on, the loss, and what goes into them."""

    parts: tuple[Part, ...]
    loss: Any
    params: Params
    x: Array
    t: Array
    weight: Array = None

    @property
    def samples_apart(self) -> bool:
        """Whether no sample has an influence on the loss of another, and the loss of each can be had."""
        if not goes_with_forward(self.loss, "per_sample") or "batch" in self.reaches:
            return False
        y = self.x
        for part in self.parts:
            y = part.layer.predict(part.view(self.params), y)
        fits = self.weight is None or self.weight.ndim == 1
        return hasattr(self.loss, "reduction") and y.ndim == 2 and fits

    @cached_property
    def reaches(self) -> list[str]:
        """How far the input of each layer reaches in its output; up to one that mixes samples, as it is enough."""
        found, y = list[str](), self.x
        for part in self.parts:
            found.append(reach(part.layer, part.view(self.params), y))
            if found[-1] == "batch":
                break
            y = part.layer.predict(part.view(self.params), y)
        return found

    @cached_property
    def _watched(self) -> tuple[Sides, list[tuple[Part, Layer]]]:
        sides: Sides = []
        return sides, [(part, watched(part.layer, sides)) for part in self.parts]

    def value(self, params: Params) -> tuple[Array, Sides]:
        """The loss with these parameters, and the sides of the kinks on which its units are."""
        y, (sides, layers) = self.x, self._watched
        sides.clear()
        for part, layer in layers:
            y = layer.predict(part.view(params), y)
        counts = () if self.weight is None else (self.weight,)
        return self.loss.forward(y, self.t, *counts)[0], list(sides)
