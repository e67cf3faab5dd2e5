"""Layer normalization: the entries of each sample with mean 0 and variance 1, then scaled and shifted."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from xpnet._checks import check_count, check_positive
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.initializers import ones, zeros
from xpnet.layers.base import Layer, Shape


@dataclass(frozen=True, repr=False)
class LayerNorm(Layer):
    """y = gamma (x - mean) / √(var + eps) + beta, with mean and var over the last axes of each sample.

    x and y are (N, ..., *shape), gamma and beta have the shape. Ba, Kiros, Hinton, "Layer normalization" (2016).

    Args:
        shape: of the last axes: a whole number of 1 or more, or several.
        eps: is added to the variance, positive.

    Raises:
        ValueError: a number out of range; x of another shape.

    >>> import numpy as np
    >>> layer = LayerNorm(2)
    >>> layer.forward({"gamma": np.ones(2), "beta": np.zeros(2)}, np.asarray([[0.0, 1.0], [2.0, 6.0]]))[0].round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    acts_on: ClassVar[str] = "sample"
    weight_gain: ClassVar[float | None] = None
    in_float32: ClassVar[bool] = True

    shape: int | tuple[int, ...]
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if isinstance(self.shape, list | tuple):
            given = tuple(check_count(n, f"LayerNorm: shape[{i}]") for i, n in enumerate(self.shape))
            if not given:
                raise ValueError("LayerNorm: shape is (), expected one whole number or more")
            object.__setattr__(self, "shape", given)
        else:
            object.__setattr__(self, "shape", check_count(self.shape, "LayerNorm: shape"))
        object.__setattr__(self, "eps", check_positive(self.eps, "LayerNorm: eps", "1e-5 for example"))

    @property
    def _last(self) -> tuple[int, ...]:
        return self.shape if isinstance(self.shape, tuple) else (self.shape,)

    def init(self, rng: Any, weight_init: Any) -> dict[str, Any]:
        return {"gamma": ones(rng, self._last), "beta": zeros(rng, self._last)}

    def output_shape(self, shape: Shape) -> Shape:
        if shape is not None and shape[-len(self._last) :] != self._last:
            raise ValueError(
                f"LayerNorm: a sample of shape {shape} does not fit, expected (..., {', '.join(map(str, self._last))})"
            )
        return shape

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        if tuple(x.shape[1:])[-len(self._last) :] != self._last:
            raise ValueError(
                f"LayerNorm: x has shape {tuple(x.shape)}, expected (N, ..., {', '.join(map(str, self._last))})"
            )
        xp, axes = namespace(x), self._axes
        difference = x - xp.mean(x, axis=axes, keepdims=True)
        scale = xp.sqrt(xp.mean(difference * difference, axis=axes, keepdims=True) + self.eps)
        normal = difference / scale
        return params["gamma"] * normal + params["beta"], (normal, scale)

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        (normal, scale), xp, axes = residuals, namespace(dy), self._axes
        d, size = dy * params["gamma"], prod(self._last)
        mean, slope = xp.sum(d, axis=axes, keepdims=True), xp.sum(d * normal, axis=axes, keepdims=True)
        dx = (d - mean / size - normal * (slope / size)) / scale
        return dx, self.parameter_gradients(params, residuals, dy)

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        xp, others = namespace(dy), tuple(range(dy.ndim - len(self._last)))
        return {"gamma": xp.sum(dy * residuals[0], axis=others), "beta": xp.sum(dy, axis=others)}

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self._last), 0))
