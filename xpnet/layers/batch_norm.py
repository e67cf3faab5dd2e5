"""Batch normalization: each feature with mean 0 and variance 1 in a minibatch, then scaled and shifted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet._checks import check_count, check_number, check_positive
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.initializers import HostArray, ones, zeros
from xpnet.layers.base import Layer, Shape
from xpnet.parallel import minibatch


@dataclass(frozen=True, repr=False)
class BatchNorm(Layer):
    """y = gamma (x - mean) / √(var + eps) + beta, for each feature, with x and y (N, F) or (N, F, ...).

    In a training step mean and var are those of the minibatch over all axes but the features', so of images for each
    channel; the book's, of images too, are for each entry of a sample: ``BatchNorm((16, 14, 14))``. The buffers follow
    them: mean ← (1 - momentum) mean + momentum mean of the batch, and var likewise, with the unbiased variance, as in
    PyTorch. When predicting they are the buffers. Ioffe, Szegedy, "Batch normalization: accelerating deep network
    training by reducing internal covariate shift" (2015).

    Args:
        features: F, a whole number of 1 or more; or the shape of a sample, for statistics of each of its entries.
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

    features: int | tuple[int, ...]
    momentum: float = 0.1
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if isinstance(self.features, list | tuple) and len(self.features):
            shape = tuple(check_count(n, f"BatchNorm: features[{i}]") for i, n in enumerate(self.features))
            object.__setattr__(self, "features", shape)
        else:
            object.__setattr__(self, "features", check_count(self.features, "BatchNorm: features"))
        object.__setattr__(self, "momentum", check_number(self.momentum, "BatchNorm: momentum", least=0, most=1))
        object.__setattr__(self, "eps", check_positive(self.eps, "BatchNorm: eps", "1e-5 for example"))

    def init(self, rng: Any, weight_init: Any) -> dict[str, Any]:
        return {"gamma": ones(rng, self._shape), "beta": zeros(rng, self._shape)}

    def buffers(self) -> dict[str, HostArray]:
        return {"mean": zeros(None, self._shape), "var": ones(None, self._shape)}

    @property
    def in_channels(self) -> int | None:
        """The features, where they are counted and not those of each entry."""
        return self.features if isinstance(self.features, int) else None

    out_channels = in_channels

    def output_shape(self, shape: Shape) -> Shape:
        if shape is not None and not self._fits(shape):
            wanted = self.features if self._by_entry else f"({self.features}, ...)"
            raise ValueError(f"BatchNorm: a sample of shape {shape} does not fit, expected {wanted}")
        return shape

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        self._check(x)
        scale = namespace(x).sqrt(params["var"] + self.eps)
        normal = (x - self._spread(params["mean"], x)) / self._spread(scale, x)
        return self._spread(params["gamma"], x) * normal + self._spread(params["beta"], x), (normal, scale, False)

    def train(self, params: Params, x: Array) -> tuple[Array, Any, Params]:
        self._check(x)
        xp, axes = namespace(x), self._others(x)
        count = minibatch.count(x, axes)
        if count < 2:
            raise ValueError(
                f"BatchNorm: a minibatch of shape {tuple(x.shape)} has one value a feature, which has no variance; "
                "take larger minibatches, and a batch_size that does not leave one sample over"
            )
        mean = minibatch.mean(x, axes)
        difference = x - self._spread(mean, x)
        var = minibatch.mean(difference * difference, axes)
        scale = xp.sqrt(var + self.eps)
        normal = difference / self._spread(scale, x)
        y = self._spread(params["gamma"], x) * normal + self._spread(params["beta"], x)
        kept = 1 - self.momentum
        updates = {
            "mean": kept * params["mean"] + self.momentum * mean,
            "var": kept * params["var"] + (self.momentum * count / (count - 1)) * var,
        }
        return y, (normal, scale, True), updates

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        normal, scale, trained = residuals
        axes, grads = self._others(dy), self.parameter_gradients(params, residuals, dy)
        dx = dy
        if trained:  # mean and variance depend on x as well
            count, (gamma, beta) = minibatch.count(dy, axes), minibatch.totals(grads["gamma"], grads["beta"])
            dx = dy - self._spread(beta / count, dy) - normal * self._spread(gamma / count, dy)
        return dx * self._spread(params["gamma"] / scale, dy), grads

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        xp, axes = namespace(dy), self._others(dy)
        return {"gamma": xp.sum(dy * residuals[0], axis=axes), "beta": xp.sum(dy, axis=axes)}

    @property
    def _by_entry(self) -> bool:
        return isinstance(self.features, tuple)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.features if isinstance(self.features, tuple) else (self.features,)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return (shape if self._by_entry else shape[:1]) == self._shape

    def _check(self, x: Array) -> None:
        if x.ndim < 2 or not self._fits(tuple(x.shape[1:])):
            sizes = ", ".join(map(str, self._shape))
            also = "" if self._by_entry else f" or (N, {sizes}, ...)"
            raise ValueError(f"BatchNorm: x has shape {tuple(x.shape)}, expected (N, {sizes}){also}")

    def _others(self, x: Array) -> tuple[int, ...]:
        """The axes that statistics are over: all but that of the features."""
        return (0,) if self._by_entry else (0, *range(2, x.ndim))

    def _spread(self, a: Array, x: Array) -> Array:
        """a (F,) as it meets x (N, F, ...)."""
        if self._by_entry or x.ndim == 2:
            return a
        return namespace(a).reshape(a, (-1, *(1,) * (x.ndim - 2)))
