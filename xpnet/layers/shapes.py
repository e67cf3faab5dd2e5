"""Layers that compute nothing: the same entries in another shape."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from xpnet._checks import check_count
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.layers.base import Layer, Shape


@dataclass(frozen=True, repr=False)
class Reshape(Layer):
    """y has the entries of x (N, ...) as (N, *shape), in the same order.

    Args:
        shape: that of one sample of y: whole numbers of 1 or more. ``Reshape((1, 28, 28))`` makes images of rows.

    Raises:
        ValueError: a number that is none; samples of another number of entries.
    """

    acts_on: ClassVar[str] = "sample"
    weight_gain: ClassVar[float | None] = None
    takes: ClassVar[str] = "any"

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.shape, list | tuple):
            raise ValueError(f"Reshape: shape is {self.shape!r}, expected that of a sample: (1, 28, 28), for example")
        shape = tuple(check_count(length, f"Reshape: shape[{i}]") for i, length in enumerate(self.shape))
        object.__setattr__(self, "shape", shape)

    def output_shape(self, shape: Shape) -> Shape:
        if shape is not None and prod(shape) != prod(self.shape):
            raise ValueError(
                f"Reshape: a sample of shape {shape} has {prod(shape)} entries, expected {prod(self.shape)}: "
                f"{self.shape}"
            )
        return self.shape

    def forward(self, params: Params, x: Array) -> tuple[Array, tuple[int, ...]]:
        if prod(x.shape[1:]) != prod(self.shape) or x.ndim < 1:
            raise ValueError(
                f"Reshape: x has shape {tuple(x.shape)}, expected {prod(self.shape)} entries a sample: {self.shape}"
            )
        return namespace(x).reshape(x, (x.shape[0], *self.shape)), tuple(x.shape)

    def backward(self, params: Params, shape: tuple[int, ...], dy: Array) -> tuple[Array, Params]:
        return namespace(dy).reshape(dy, shape), {}

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        return {}


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """y (N, I) has all I entries of a sample of x (N, ...) in a row.

    >>> import numpy as np
    >>> Flatten().forward({}, np.zeros((2, 3, 4, 4)))[0].shape
    (2, 48)
    """

    acts_on: ClassVar[str] = "sample"
    weight_gain: ClassVar[float | None] = None
    takes: ClassVar[str] = "any"

    def output_shape(self, shape: Shape) -> Shape:
        return None if shape is None else (prod(shape),)

    def forward(self, params: Params, x: Array) -> tuple[Array, tuple[int, ...]]:
        return namespace(x).reshape(x, (x.shape[0], prod(x.shape[1:]))), tuple(x.shape)

    def backward(self, params: Params, shape: tuple[int, ...], dy: Array) -> tuple[Array, Params]:
        return namespace(dy).reshape(dy, shape), {}

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        return {}
