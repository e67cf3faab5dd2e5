"""What a layer is called with: arrays on the host, drawn at random."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from xpnet._checks import check_count
from xpnet.initializers import normal
from xpnet.layers.base import Layer
from xpnet.testing.found import (
    Checked,
    changed,
    memory_of,
)


@dataclass(frozen=True)
class Case:
    """Arrays on the host that a layer is called with: random, as initial values are often 0 or 1 and hide errors."""

    params: dict[str, np.ndarray]
    buffers: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]
    x: np.ndarray
    seed: int

    @classmethod
    def drawn(cls, checked: Checked, layer: Layer, shape: tuple[int, ...], integers: int | None, seed: int) -> Case:
        rng, before = np.random.default_rng(seed), memory_of(layer)
        params = checked.call("init", layer.init, rng, normal(0.5))
        params = {name: np.asarray(a, "float64") + 0.25 * rng.normal(size=np.shape(a)) for name, a in params.items()}
        buffers = {name: np.asarray(a) for name, a in checked.call("buffers", layer.buffers).items()}
        buffers = {
            name: a + 0.25 * np.abs(rng.normal(size=a.shape)) if a.dtype.kind == "f" else a
            for name, a in buffers.items()
        }
        one, other = (checked.call("draws", layer.draws, np.random.default_rng(seed), shape) for _ in range(2))
        for name, a in one.items():
            if not np.array_equal(a, other.get(name)):
                raise checked.fail(f"draws gives other values of {name!r} for the same rng; draw with rng alone")
        if left := changed(before, memory_of(layer)):
            raise checked.fail(keeps("init, buffers or draws", left))
        x: np.ndarray
        if layer.takes != "integers":
            x = rng.normal(size=shape)
        elif integers is None:
            raise ValueError(f"{layer!r} takes integers; say how many different ones: integers=10")
        else:
            x = rng.integers(0, check_count(integers, "integers"), shape)
        return cls(params, buffers, one, x, seed)

    def given(self, *, training: bool) -> dict[str, np.ndarray]:
        """What the layer gets as params."""
        return self.params | self.buffers | (self.draws if training else {})

    def weights(self, shape: tuple[int, ...]) -> np.ndarray:
        """The gradient that comes from behind: weights of a sum of the outputs."""
        return np.random.default_rng(self.seed + 1).normal(size=shape)


def keeps(name: str, left: Iterable[str]) -> str:
    return (
        f"{name} changed {', '.join(left)}; a layer holds nothing but its description: what backward needs is returned "
        "as residuals, and what a training step changes is a buffer"
    )
