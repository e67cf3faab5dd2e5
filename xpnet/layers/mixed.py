"""Layers in mixed precision: they hand on numbers of 16 bits, and what adds many of them up does so in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.functions import cast
from xpnet.initializers import Generator, HostArray
from xpnet.layers.base import Container, Layer, Shape


def in_mixed_precision(layer: Layer, half: Any, *, emulated: bool = False) -> Layer:
    """The same layer, and each layer in it if it is a container, as it computes in mixed precision.

    It goes by the same names, takes the same parameters and buffers in float32, and gives their gradients and new
    values in float32.

    Args:
        layer: a layer that computes in float32.
        half: the dtype of 16 bits.
        emulated: whether numbers are rounded to that dtype and computed with in float32, for libraries that have it
            but no fast arithmetic in it. Sums are then exact to float32, as those of tensor cores are.
    """
    if isinstance(layer, Container):
        return layer.with_children(tuple(in_mixed_precision(each, half, emulated=emulated) for each in layer.children))
    return MixedPrecision(layer, half, emulated)


@dataclass(frozen=True, repr=False)
class MixedPrecision(Layer):
    """y = f(x), both of 16 bits; inside f has numbers of 16 bits, or those of float32 if it asks for them.

    It does where :attr:`Layer.in_float32` says so or it has buffers: running statistics change by less than the digits
    of 16 bits.
    """

    inner: Layer
    half: Any
    emulated: bool

    @property
    def label(self) -> str:  # type: ignore[override]
        return self.inner.label

    @property
    def acts_on(self) -> str:  # type: ignore[override]
        return self.inner.acts_on

    @property
    def takes(self) -> str:  # type: ignore[override]
        return self.inner.takes

    @property
    def keeps_channels(self) -> bool:  # type: ignore[override]
        return self.inner.keeps_channels

    @property
    def is_random(self) -> bool:
        return self.inner.is_random

    def init(self, rng: Generator, weight_init: Any) -> dict[str, HostArray]:
        return self.inner.init(rng, weight_init)

    def buffers(self) -> dict[str, HostArray]:
        return self.inner.buffers()

    def draws(self, rng: Generator, shape: tuple[int, ...]) -> dict[str, HostArray]:
        return self.inner.draws(rng, shape)

    def output_shape(self, shape: Shape) -> Shape:
        return self.inner.output_shape(shape)

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        inside = self._all_inside(params)
        y, residuals = self.inner.forward(inside, self._inside(x))
        return cast(y, self.half), (inside, residuals)

    def train(self, params: Params, x: Array) -> tuple[Array, Any, Params]:
        inside = self._all_inside(params)
        y, residuals, updates = self.inner.train(inside, self._inside(x))
        return cast(y, self.half), (inside, residuals), {name: _single(b) for name, b in updates.items()}

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        inside, kept = residuals
        dx, grads = self.inner.backward(inside, kept, self._inside(dy))
        return dx if dx is None else cast(dx, self.half), self._gradients(grads)

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        inside, kept = residuals
        return self._gradients(self.inner.parameter_gradients(inside, kept, self._inside(dy)))

    @property
    def _wide(self) -> bool:
        return self.inner.in_float32 or bool(self.inner.buffers())

    def _inside(self, x: Array) -> Array:
        """Floating-point numbers as the layer computes with them; others as they are."""
        if not namespace(x).isdtype(x.dtype, "real floating"):
            return x
        if self._wide:
            return _single(x)
        x = cast(x, self.half)
        return _single(x) if self.emulated else x

    def _all_inside(self, params: Params) -> Params:
        return {name: self._inside(a) for name, a in params.items()}

    def _gradients(self, grads: Params) -> Params:
        """In float32, and of 16 bits before if they were computed so, where the large ones become infinite."""
        return {name: _single(g if self._wide else cast(g, self.half)) for name, g in grads.items()}


def _single(x: Array) -> Array:
    return cast(x, namespace(x).float32)
