"""Losses: pure pairs from a network's outputs and their targets to one number.

``forward(y, t)`` returns a 0-d array, so that the host is not asked in the middle of a step; ``backward`` returns the
gradient with respect to ``y``. ``each(y, t)`` returns the loss (...) of each sample (..., C) by itself, for any number
of axes and t one-hot, or targets, in the dtype of y; ``forward`` is their mean or their sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from xpnet._typing import Array
from xpnet.backends.dispatch import namespace, quiet
from xpnet.functions import (
    check_label_dtype,
    check_labels,
    check_real,
    is_small,
    match,
    mean_of,
    one_hot,
    over,
    softmax,
)


class BaseLoss:
    """What most losses have in common: targets in the shape of the outputs, and the largest output names the class."""

    #: Whether a batch's loss is the mean of its samples', or their sum.
    averages: ClassVar[bool] = True

    def check(self, y_shape: tuple[int, ...], t: Array, name: str = "t") -> None:
        _check_targets(y_shape, t, name)

    def classifies(self, outputs: int) -> bool:
        return outputs > 1

    def names_classes(self, t: Array) -> bool:
        """Whether targets are labels or one-hot, and not numbers to come near to; it reads the values."""
        if t.ndim == 1:
            return True
        xp = namespace(t)
        ones = t == 1
        each = xp.sum(xp.astype(ones, xp.int32), axis=-1) == 1
        return bool(xp.all(ones | (t == 0))) and bool(xp.all(each))

    def hits(self, y: Array, t: Array) -> Array:
        xp = namespace(y)
        found = xp.argmax(y, axis=-1)
        if t.ndim == 1:
            check_label_dtype(t, y.shape[-1])
        return found == (xp.astype(t, found.dtype) if t.ndim == 1 else xp.argmax(t, axis=-1))


@dataclass(frozen=True)
class SoftmaxWithLoss(BaseLoss):
    """Mean over a batch of -Σ_k t_k log softmax(y)_k: scores y (N, C), t labels (N,) or one-hot (N, C).

    dy = (softmax(y) Σ_k t_k - t) / N. Computed from y - max(y), which gives the same and lets no score be too large. A
    class whose score is -inf is masked out: it has probability 0, and costs nothing where t_k is 0.
    """

    @quiet
    def forward(self, y: Array, t: Array) -> tuple[Array, tuple[Array, Array, Array, Array | None, Any]]:
        xp, dtype = namespace(y), y.dtype
        if y.ndim != 2:
            raise ValueError(
                f"SoftmaxWithLoss: y has shape {tuple(y.shape)}, expected (N, C); one sample is y[None, :]"
            )
        rows = one_hot(t, y)
        if is_small(xp, dtype):  # in which many classes add up to infinity
            y, rows = xp.astype(y, xp.float32), xp.astype(rows, xp.float32)
        z = y - xp.max(y, axis=-1, keepdims=True)
        e = xp.exp(z)
        s = xp.sum(e, axis=-1, keepdims=True)
        total = None if t.ndim == 1 else xp.sum(rows, axis=-1, keepdims=True)  # of labels it is 1
        loss = mean_of(weighted(z - xp.log(s), rows), -y.shape[0])
        return loss if y.dtype == dtype else xp.astype(loss, dtype), (e, s, rows, total, dtype)

    def backward(self, residuals: tuple[Array, Array, Array, Array | None, Any]) -> Array:
        e, s, t, total, dtype = residuals
        return over((e if total is None else e * total) / s - t, t.shape[0], dtype)

    @quiet
    def each(self, y: Array, t: Array) -> Array:
        xp = namespace(y)
        z = y - xp.max(y, axis=-1, keepdims=True)
        s = xp.log(xp.sum(xp.exp(z), axis=-1)) * xp.sum(t, axis=-1)
        return s - xp.sum(weighted(z, t), axis=-1)

    def change(self, y: Array, d: Array, t: Array) -> Array:
        """``each(y + d, t) - each(y, t)`` (..., K) for K small moves d (..., K, C) from the same y and t (..., 1, C).

        It is log Σ_c softmax(y)_c exp(d_c) - Σ_c t_c d_c: moves share softmax(y), and no digits are lost to each(y, t).
        """
        xp = namespace(y)
        column = xp.matrix_transpose
        s = xp.log(xp.matmul(xp.exp(d), column(softmax(y)))) * xp.sum(t, axis=-1, keepdims=True)
        return (s - xp.matmul(d, column(t)))[..., 0]

    def names_classes(self, t: Array) -> bool:
        return True  # of probabilities the largest

    def check(self, y_shape: tuple[int, ...], t: Array, name: str = "t") -> None:
        n, classes = y_shape
        if classes == 1:
            raise ValueError(
                "SoftmaxWithLoss: the network has one output, whose softmax is 1 whatever it learns; for yes or no use "
                "two outputs, or the loss SigmoidWithLoss() with targets of shape (N, 1)"
            )
        if t.shape == y_shape:
            _check_one_hot(t, name)
        elif t.shape == (n,):
            check_labels(t, classes, name)
        else:
            raise ValueError(f"{name} has shape {tuple(t.shape)}, expected labels ({n},) or one-hot ({n}, {classes})")


@dataclass(frozen=True)
class SigmoidWithLoss(BaseLoss):
    """Mean over all elements of -t log s - (1 - t) log(1 - s), s = sigmoid(y): scores y, t in [0, 1], of one shape.

    For yes-or-no outputs, any number of them. Computed as (1 - t) max(y, 0) + t max(-y, 0) + log(1 + exp(-|y|)), which
    is the same and stays finite; dy = (s - t) / number of elements, from exp(-|y|) too, so that s - t keeps its digits.
    """

    def forward(self, y: Array, t: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        t = match(t, y)
        e = namespace(y).exp(-abs(y))
        return mean(_of_elements(y, t, e)), (y > 0, t, e)

    def backward(self, residuals: tuple[Array, Array, Array]) -> Array:
        positive, t, e = residuals
        xp = namespace(e)
        difference = e / (1 + e) - xp.where(positive, 1 - t, t)  # of sigmoid(-|y|), and the target seen from that side
        return over(xp.where(positive, -difference, difference), prod(t.shape), t.dtype)

    def each(self, y: Array, t: Array) -> Array:
        return namespace(y).mean(_of_elements(y, t, namespace(y).exp(-abs(y))), axis=-1)

    def check(self, y_shape: tuple[int, ...], t: Array, name: str = "t") -> None:
        super().check(y_shape, t, name)
        xp = namespace(t)
        t = t if xp.isdtype(t.dtype, "real floating") else xp.astype(t, xp.float32)
        if not _all(t, (t >= 0) & (t <= 1 + 1e-6)):  # sums of probabilities may be rounded up
            raise ValueError(f"{name} has targets outside of 0 to 1, which is where SigmoidWithLoss expects them")

    def classifies(self, outputs: int) -> bool:
        return True

    def names_classes(self, t: Array) -> bool:
        return True

    def hits(self, y: Array, t: Array) -> Array:
        return (y > 0) == (match(t, y) > 0.5)


@dataclass(frozen=True)
class SumSquaredError(BaseLoss):
    """Half the sum over all elements of (y - t)²: y and t of one shape; dy = y - t. The book's, not divided by N."""

    averages = False

    def forward(self, y: Array, t: Array) -> tuple[Array, Array]:
        d = y - match(t, y)
        return 0.5 * namespace(y).sum(d * d), d

    def backward(self, difference: Array) -> Array:
        return difference

    def each(self, y: Array, t: Array) -> Array:
        d = y - t
        return 0.5 * namespace(y).sum(d * d, axis=-1)


@dataclass(frozen=True)
class MeanSquaredError(BaseLoss):
    """Mean over all elements of (y - t)²: y and t of one shape; dy = 2 (y - t) / number of elements."""

    def forward(self, y: Array, t: Array) -> tuple[Array, Array]:
        d = y - match(t, y)
        return mean(d * d), d

    def backward(self, difference: Array) -> Array:
        return difference * (2 / prod(difference.shape))

    def each(self, y: Array, t: Array) -> Array:
        d = y - t
        return namespace(y).mean(d * d, axis=-1)


def weighted(values: Array, weights: Array) -> Array:
    """The product, and 0 where the weight is: also of an infinite value, as 0 log 0 is in information theory."""
    xp = namespace(values)
    return xp.where(weights == 0, xp.zeros_like(values), values) * weights


def mean(x: Array) -> Array:
    """The mean of all elements; of less than 32 bits in float32, as not every library adds them up so."""
    xp = namespace(x)
    return xp.astype(xp.mean(xp.astype(x, xp.float32)), x.dtype) if is_small(xp, x.dtype) else xp.mean(x)


def _of_elements(y: Array, t: Array, e: Array) -> Array:
    """-t log s - (1 - t) log(1 - s) of each element, given e = exp(-|y|)."""
    xp = namespace(y)
    return weighted(xp.maximum(y, 0), 1 - t) + weighted(xp.maximum(-y, 0), t) + xp.log1p(e)


def _all(t: Array, condition: Array) -> bool:
    return bool(namespace(t).all(condition))


def _check_targets(y_shape: tuple[int, ...], t: Array, name: str) -> None:
    if t.shape != y_shape:
        raise ValueError(f"{name} has shape {tuple(t.shape)}, expected {y_shape}, the shape of the network's outputs")
    check_real(t, name)
    if namespace(t).isdtype(t.dtype, "real floating") and not _all(t, namespace(t).isfinite(t)):
        raise ValueError(f"{name} has NaN or infinity in it")


def _check_one_hot(t: Array, name: str) -> None:
    xp = namespace(t)
    check_real(t, name)
    t = xp.astype(t, xp.float32)
    if not _all(t, t >= 0) or not _all(t, xp.abs(xp.sum(t, axis=-1) - 1) < 1e-3):
        raise ValueError(f"{name} is not one-hot: each row holds one 1, or probabilities that add up to 1")
