"""Batch normalization: each feature with mean 0 and variance 1 in a minibatch, then scaled and shifted."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from xpnet._checks import check_count, check_number, check_positive
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.initializers import HostArray, ones, zeros
from xpnet.layers.base import Layer, Shape


@dataclass(frozen=True, repr=False)
class BatchNorm(Layer):
    """y = gamma (x - mean) / √(var + eps) + beta, for each feature, with x and y (N, F) or (N, F, ...).

    In a training step mean and var are those of the minibatch over all axes but the features', and the buffers follow
    them: mean ← (1 - momentum) mean + momentum mean of the batch, and var likewise, with the unbiased variance, as in
    PyTorch. When predicting they are the buffers. Ioffe, Szegedy, "Batch normalization: accelerating deep network
    training by reducing internal covariate shift" (2015).

    Args:
        features: F, a whole number of 1 or more.
        momentum: the share of the new in the running statistics, 0 to 1. The book's momentum is 1 minus this.
        eps: is added to the variance, positive.

    Raises:
        ValueError: a number out of range; x of another number of features; a training step on one value a feature,
            which has no variance.

    >>> import numpy as np
    >>> from xpnet.layers import BatchNorm
    >>> layer = BatchNorm(2)
    >>> params = layer.init(np.random.default_rng(0), None) | layer.buffers()
    >>> y, _, updates = layer.train(params, np.asarray([[0.0, 1.0], [2.0, 5.0]]))
    >>> y.round(3), updates["mean"].round(3)
    (array([[-1., -1.],
           [ 1.,  1.]]), array([0.1, 0.3]))
    """

    acts_on: ClassVar[str] = "element"  # of forward, which predicts
    weight_gain: ClassVar[float | None] = None

    features: int
    momentum: float = 0.1
    eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", check_count(self.features, "BatchNorm: features"))
        object.__setattr__(self, "momentum", check_number(self.momentum, "BatchNorm: momentum", least=0, most=1))
        object.__setattr__(self, "eps", check_positive(self.eps, "BatchNorm: eps", "1e-5 for example"))

    def init(self, rng: Any, weight_init: Any) -> dict[str, Any]:
        return {"gamma": ones(rng, (self.features,)), "beta": zeros(rng, (self.features,))}

    def buffers(self) -> dict[str, HostArray]:
        return {"mean": zeros(None, (self.features,)), "var": ones(None, (self.features,))}

    def output_shape(self, shape: Shape) -> Shape:
        if shape is not None and (not shape or shape[0] != self.features):
            raise ValueError(f"BatchNorm: a sample of shape {shape} does not fit, expected ({self.features}, ...)")
        return shape or None

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        self._check(x)
        scale = namespace(x).sqrt(params["var"] + self.eps)
        normal = (x - _spread(params["mean"], x)) / _spread(scale, x)
        return _spread(params["gamma"], x) * normal + _spread(params["beta"], x), (normal, scale, False)

    def train(self, params: Params, x: Array) -> tuple[Array, Any, Params]:
        self._check(x)
        xp, axes = namespace(x), _others(x)
        count = prod(x.shape[axis] for axis in axes)
        if count < 2:
            raise ValueError(
                f"BatchNorm: a minibatch of shape {tuple(x.shape)} has one value a feature, which has no variance; "
                "take larger minibatches, and a batch_size that does not leave one sample over"
            )
        mean = xp.mean(x, axis=axes)
        difference = x - _spread(mean, x)
        var = xp.mean(difference * difference, axis=axes)
        scale = xp.sqrt(var + self.eps)
        normal = difference / _spread(scale, x)
        y = _spread(params["gamma"], x) * normal + _spread(params["beta"], x)
        kept = 1 - self.momentum
        updates = {
            "mean": kept * params["mean"] + self.momentum * mean,
            "var": kept * params["var"] + (self.momentum * count / (count - 1)) * var,
        }
        return y, (normal, scale, True), updates

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        normal, scale, trained = residuals
        axes, grads = _others(dy), self.parameter_gradients(params, residuals, dy)
        dx = dy
        if trained:  # mean and variance depend on x as well
            count = prod(dy.shape[axis] for axis in axes)
            dx = dy - _spread(grads["beta"] / count, dy) - normal * _spread(grads["gamma"] / count, dy)
        return dx * _spread(params["gamma"] / scale, dy), grads

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        xp, axes = namespace(dy), _others(dy)
        return {"gamma": xp.sum(dy * residuals[0], axis=axes), "beta": xp.sum(dy, axis=axes)}

    def _check(self, x: Array) -> None:
        if x.ndim < 2 or x.shape[1] != self.features:
            raise ValueError(
                f"BatchNorm: x has shape {tuple(x.shape)}, expected (N, {self.features}) or (N, {self.features}, ...)"
            )


def _others(x: Array) -> tuple[int, ...]:
    """All axes but that of the features."""
    return (0, *range(2, x.ndim))


def _spread(a: Array, x: Array) -> Array:
    """a (F,) as it meets x (N, F, ...)."""
    return a if x.ndim == 2 else namespace(a).reshape(a, (-1, *(1,) * (x.ndim - 2)))
