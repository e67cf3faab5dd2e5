"""A stand-in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet._typing import Array, Params
from xpnet.layers.activations import Activation


@dataclass(frozen=True)
class Rescale(Activation):
    """y = factor x."""

    takes: ClassVar[str] = "any"
    weight_gain = None
    factor: float

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        return x * self.factor, None

    def gradient(self, residuals: Any, dy: Array) -> Array:
        return dy * self.factor
