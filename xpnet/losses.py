"""Losses: pure pairs from a network's outputs and their targets to one number.

Outputs are y (..., C): rows (N, C), sequences (N, T, C), images (N, H, W, C). A sample of a loss is what stands at one
place of the leading axes (...). Targets are of the shape of y; where outputs stand for classes, labels (...) may be
given instead, and are told by having one axis less.

``forward(y, t, weight=None)`` returns a 0-d array, so that the host is not asked in the middle of a step; ``backward``
returns the gradient with respect to ``y``. ``per_sample(y, t)`` returns the loss (...) of each sample by itself, also
where targets go with y by broadcasting. ``forward`` is the mean of these or their sum, as ``reduction`` says, over all
leading axes.

A ``weight`` w, not negative, has the shape of the first of these axes or of more of them: (N,) weighs sequences, (N, T)
single tokens, and masks those with 0. With losses l of samples, the loss is Σ w l / Σ w for a mean and Σ w l for a sum.
What has weight 0 adds nothing to loss and gradient, also where its own loss is infinite; if all of a batch has, both
are 0.

It is long because every loss has the same handful of methods, and all share the checks of targets and weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from math import inf, prod
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import namespace, quiet
from xpnet.functions import (
    are_labels,
    cast,
    cast_targets,
    check_floating,
    check_label_dtype,
    check_labels,
    check_real,
    check_same_library,
    is_small,
    label_mask,
    mean_of,
    one_hot,
    over,
    softmax,
)

REDUCTIONS = ("mean", "sum")


class BaseLoss:
    """What most losses have in common: targets in the shape of the outputs, and the largest output names the class."""

    #: Whether a batch's loss is the ``"mean"`` of its samples', or their ``"sum"``.
    reduction: str = "mean"

    def __post_init__(self) -> None:
        if not isinstance(self.reduction, str) or self.reduction not in REDUCTIONS:
            raise ValueError(f"reduction is {self.reduction!r}, expected one of: {', '.join(REDUCTIONS)}")

    def __repr__(self) -> str:
        own: Any = fields(self) if is_dataclass(self) else ()
        values = [(f, getattr(self, f.name)) for f in own]
        return f"{type(self).__name__}({', '.join(f'{f.name}={v!r}' for f, v in values if v != f.default)})"

    def check(self, y_shape: tuple[int, ...], t: Array, name: str = "t") -> None:
        """Raise unless ``t`` are targets for outputs of this shape; values are read."""
        _check_targets(tuple(y_shape), t, name)

    def classifies(self, outputs: int) -> bool:
        """Whether there is an accuracy: with more than one output."""
        return outputs > 1

    def names_classes(self, y: Array, t: Array) -> bool:
        """Whether targets are labels or one-hot, and not numbers to come near to; it reads the values."""
        if t.ndim == y.ndim - 1:
            return True
        xp = namespace(t)
        ones = t == 1
        single = xp.sum(xp.astype(ones, xp.int32), axis=-1) == 1
        return bool(xp.all(ones | (t == 0))) and bool(xp.all(single))

    def hits(self, y: Array, t: Array) -> Array:
        """Where the largest output is that of the target's class, (...)."""
        xp = namespace(y)
        found = xp.argmax(y, axis=-1)
        if not are_labels(t, y.shape):
            return found == xp.argmax(t, axis=-1)
        check_label_dtype(t, y.shape[-1])
        return found == xp.astype(t, found.dtype)


@dataclass(frozen=True, repr=False)
class SoftmaxWithLoss(BaseLoss):
    """-Σ_k t_k log softmax(y)_k of each sample: scores y (..., C), t labels (...) or one-hot (..., C).

    The mean over all samples, or their sum (``reduction="sum"``). Of a mean over n samples dy is (softmax(y) Σ_k t_k -
    t) / n. Computed from y - max(y), which gives the same and lets no score be too large. A class whose score is -inf
    is masked out: it has probability 0, and costs nothing where t_k is 0.

    >>> import numpy as np
    >>> y, t = np.zeros((2, 3, 4)), np.asarray([[0, 3, 1], [2, 0, 0]])  # two sequences of three tokens, four classes
    >>> loss, _ = SoftmaxWithLoss().forward(y, t, weight=np.asarray([[1, 1, 1], [1, 0, 0]]))  # the second has one token
    >>> float(loss.round(6))  # log 4
    1.386294
    """

    reduction: str = field(default="mean", kw_only=True)

    @quiet
    def forward(
        self, y: Array, t: Array, weight: Array | None = None
    ) -> tuple[Array, tuple[Array, Array, Array, Array | None, int, Any]]:
        """The loss, 0-d, and what ``backward`` needs."""
        xp, dtype = namespace(y), y.dtype
        if y.ndim < 2:
            raise ValueError(
                f"SoftmaxWithLoss: y has shape {tuple(y.shape)}, expected (N, C), or (..., C) with more axes; one "
                "sample is y[None, :]"
            )
        check_floating(y, "SoftmaxWithLoss")
        check_same_library(t, y)
        mask = label_mask(t, y) if are_labels(t, y.shape) else None
        rows = one_hot(t, y) if mask is None else xp.astype(mask, dtype)
        if is_small(xp, dtype):  # in which many classes add up to infinity
            y, rows = xp.astype(y, xp.float32), xp.astype(rows, xp.float32)
        total, n = None, prod(y.shape[:-1]) if self.reduction == "mean" and weight is None else 1
        if weight is not None:  # the weighted loss is the sum of that of weighted targets
            total = share = shares(weight, y, self.reduction)
            y, rows = counted(y, share), rows * share
        z = y - xp.max(y, axis=-1, keepdims=True)
        e = xp.exp(z)
        s = xp.sum(e, axis=-1, keepdims=True)
        if mask is None:  # the targets of a label add up to 1
            total = xp.sum(rows, axis=-1, keepdims=True)
        log_y = z - xp.log(s)
        if mask is None or weight is not None:
            log_y = weighted(log_y, rows)
        else:
            log_y = xp.where(mask, log_y, xp.zeros_like(log_y))
        loss = mean_of(log_y, -n)
        return cast(loss, dtype), (e, s, rows, total, n, dtype)

    def backward(self, residuals: tuple[Array, Array, Array, Array | None, int, Any]) -> Array:
        """The derivative by y."""
        e, s, t, total, n, dtype = residuals
        return over((e if total is None else e * total) / s - t, n, dtype)

    @quiet
    def per_sample(self, y: Array, t: Array) -> Array:
        """The loss of each sample by itself, (...)."""
        xp = namespace(y)
        if is_small(xp, y.dtype):
            return cast(self.per_sample(cast(y, xp.float32), t), y.dtype)
        t = one_hot(t, y) if t.ndim < y.ndim else cast(t, y.dtype)
        z = y - xp.max(y, axis=-1, keepdims=True)
        s = xp.log(xp.sum(xp.exp(z), axis=-1)) * xp.sum(t, axis=-1)
        return s - xp.sum(weighted(z, t), axis=-1)

    def per_sample_difference(self, y: Array, d: Array, t: Array) -> Array:
        """``per_sample(y + d, t) - per_sample(y, t)`` (..., K) for K small moves d (..., K, C).

        They are moves from the same y and t (..., 1, C). It is log Σ_c softmax(y)_c exp(d_c) - Σ_c t_c d_c: moves share
        softmax(y), and no digits are lost to per_sample(y, t).
        """
        xp = namespace(y)
        column = xp.matrix_transpose
        s = xp.log(xp.matmul(xp.exp(d), column(softmax(y)))) * xp.sum(t, axis=-1, keepdims=True)
        return (s - xp.matmul(d, column(t)))[..., 0]

    def names_classes(self, y: Array, t: Array) -> bool:
        return True  # of probabilities the largest

    def check(self, y_shape: tuple[int, ...], t: Array, name: str = "t") -> None:
        """Raise unless ``t`` are targets for outputs of this shape; values are read."""
        classes = y_shape[-1]
        if classes == 1:
            raise ValueError(
                "SoftmaxWithLoss: the network has one output, whose softmax is 1 whatever it learns; for yes or no use "
                "two outputs, or the loss SigmoidWithLoss() with targets of shape (N, 1)"
            )
        if are_labels(t, tuple(y_shape), name):
            check_labels(t, classes, name)
        else:
            _check_one_hot(t, name)


@dataclass(frozen=True, repr=False)
class SigmoidWithLoss(BaseLoss):
    """Mean over C of -t log s - (1 - t) log(1 - s), s = sigmoid(y): scores y (..., C), t in [0, 1], of one shape.

    For yes-or-no outputs, any number of them; the mean over samples, or their sum (``reduction="sum"``). Computed as
    (1 - t) max(y, 0) + t max(-y, 0) + log(1 + exp(-|y|)), which is the same and stays finite; of a mean over all
    elements dy = (s - t) / number of elements, from exp(-|y|) too, so that s - t keeps its digits.
    """

    reduction: str = field(default="mean", kw_only=True)

    def forward(
        self, y: Array, t: Array, weight: Array | None = None
    ) -> tuple[Array, tuple[Array, Array, Array, Array | None]]:
        """The loss, 0-d, and what ``backward`` needs."""
        t, share = cast_targets(t, y), None
        if weight is not None:
            share = shares(weight, y, self.reduction)
            y = counted(y, share)
        e = namespace(y).exp(-abs(y))
        return _of_means(_of_elements(y, t, e), self.reduction, share), (y > 0, t, e, share)

    def backward(self, residuals: tuple[Array, Array, Array, Array | None]) -> Array:
        """The derivative by y."""
        positive, t, e, share = residuals
        xp = namespace(e)
        difference = e / (1 + e) - xp.where(positive, 1 - t, t)  # of sigmoid(-|y|), and the target seen from that side
        dy = xp.where(positive, -difference, difference)
        if share is not None:
            return _times(dy, share / t.shape[-1])
        return over(dy, _parts(t, self.reduction), t.dtype)

    def per_sample(self, y: Array, t: Array) -> Array:
        """The loss of each sample by itself, (...)."""
        xp = namespace(y)
        return xp.mean(_of_elements(y, cast(t, y.dtype), xp.exp(-abs(y))), axis=-1)

    def check(self, y_shape: tuple[int, ...], t: Array, name: str = "t") -> None:
        """Raise unless ``t`` are targets for outputs of this shape; values are read."""
        super().check(y_shape, t, name)
        xp = namespace(t)
        t = t if xp.isdtype(t.dtype, "real floating") else xp.astype(t, xp.float32)
        if not _all(t, (t >= 0) & (t <= 1 + 1e-6)):  # sums of probabilities may be rounded up
            raise ValueError(f"{name} has targets outside of 0 to 1, which is where SigmoidWithLoss expects them")

    def classifies(self, outputs: int) -> bool:
        """Always: an output is above 0 or not."""
        return True

    def names_classes(self, y: Array, t: Array) -> bool:
        return True

    def hits(self, y: Array, t: Array) -> Array:
        """Where all outputs of a sample are on the right side of 0, (...)."""
        return (y > 0) == (cast_targets(t, y) > 0.5)


@dataclass(frozen=True, repr=False)
class SumSquaredError(BaseLoss):
    """Half the sum over all elements of (y - t)²: y (..., C) and t of one shape; dy = y - t.

    The book's: half the squared distance of each sample, and the sum of these, not divided by N; or their mean
    (``reduction="mean"``), of which dy = (y - t) / N.
    """

    reduction: str = field(default="sum", kw_only=True)

    def forward(self, y: Array, t: Array, weight: Array | None = None) -> tuple[Array, tuple[Array, Array | None]]:
        """The loss, 0-d, and what ``backward`` needs."""
        d = y - cast_targets(t, y)
        if weight is None:
            return 0.5 * mean_of(d * d, _parts(d, self.reduction) // d.shape[-1]), (d, None)
        share = shares(weight, y, self.reduction)
        d = counted(d, share)
        return 0.5 * _total(d * d, share), (d, share)

    def backward(self, residuals: tuple[Array, Array | None]) -> Array:
        """The derivative by y."""
        d, share = residuals
        return over(d, _parts(d, self.reduction) // d.shape[-1], d.dtype) if share is None else _times(d, share)

    def per_sample(self, y: Array, t: Array) -> Array:
        """The loss of each sample by itself, (...)."""
        d = y - cast(t, y.dtype)
        return 0.5 * namespace(y).sum(d * d, axis=-1)


@dataclass(frozen=True, repr=False)
class MeanSquaredError(BaseLoss):
    """Mean over C of (y - t)²: y (..., C) and t of one shape; the mean over all samples, or their sum.

    A mean over all samples is one over all elements, and dy = 2 (y - t) / number of elements; a sum
    (``reduction="sum"``) is divided by C.
    """

    reduction: str = field(default="mean", kw_only=True)

    def forward(self, y: Array, t: Array, weight: Array | None = None) -> tuple[Array, tuple[Array, Array | None]]:
        """The loss, 0-d, and what ``backward`` needs."""
        d, share = y - cast_targets(t, y), None
        if weight is not None:
            share = shares(weight, y, self.reduction)
            d = counted(d, share)
        return _of_means(d * d, self.reduction, share), (d, share)

    def backward(self, residuals: tuple[Array, Array | None]) -> Array:
        """The derivative by y."""
        d, share = residuals
        if share is not None:
            return _times(d, share * (2 / d.shape[-1]))
        return d * (2 / _parts(d, self.reduction))

    def per_sample(self, y: Array, t: Array) -> Array:
        """The loss of each sample by itself, (...)."""
        d = y - cast(t, y.dtype)
        return namespace(y).mean(d * d, axis=-1)


def check_weight(weight: Array, y_shape: tuple[int, ...], name: str = "weight") -> None:
    """Raise unless weights fit outputs of this shape (..., C); values are read, so the device is waited for.

    Raises:
        TypeError: no array, or complex numbers.
        ValueError: no shape of leading axes of the outputs; NaN, infinity, a negative weight, or nothing but zeros.

    >>> import numpy as np
    >>> check_weight(np.asarray([1.0, -2.0]), (2, 3))
    Traceback (most recent call last):
    ValueError: weight has a weight of -2.0; expected numbers of 0 or more
    """
    xp = namespace(weight)
    _check_weight_shape(weight, y_shape, name)
    check_real(weight, name)
    # not every library finds the minimum of every kind of integer
    weight = weight if xp.isdtype(weight.dtype, "real floating") else xp.astype(weight, xp.float32)
    low, high = float(xp.min(weight)), float(xp.max(weight))  # NaN if there is one
    if not -inf < low <= high < inf:
        raise ValueError(f"{name} has NaN or infinity in it; expected finite numbers of 0 or more")
    if low < 0:
        raise ValueError(f"{name} has a weight of {low}; expected numbers of 0 or more")
    if high == 0:
        raise ValueError(f"{name} is 0 throughout, so that no sample counts; expected some weight above 0")


def _check_weight_shape(weight: Array, y_shape: tuple[int, ...], name: str = "weight") -> None:
    if weight.ndim == 0 or weight.ndim >= len(y_shape) or weight.shape != y_shape[: weight.ndim]:
        shapes = " or ".join(str(tuple(y_shape[:k])) for k in range(1, len(y_shape)))
        raise ValueError(
            f"{name} has shape {tuple(weight.shape)}, expected {shapes or 'none'}: a weight for each sample of outputs "
            f"{tuple(y_shape)}"
        )


def shares(weight: Array, y: Array, reduction: str) -> Array:
    """What the losses of samples of y (..., C) are multiplied by, to be added up: w / Σ w for a mean, w for a sum.

    With as many axes as y, in its dtype, or in float32 if that has less than 32 bits; all zeros if w is.

    Raises:
        TypeError: no array, or of another library than y, or complex.
        ValueError: no shape of leading axes of y.
    """
    check_same_library(weight, y, "weight", "a weight for each sample")
    _check_weight_shape(weight, y.shape)
    check_real(weight, "weight")
    xp = namespace(y)
    w = cast(weight, xp.float32 if is_small(xp, y.dtype) else y.dtype)
    if reduction == "mean":
        total = xp.sum(w) * prod(y.shape[w.ndim : -1])
        w = w / xp.where(total == 0, xp.ones_like(total), total)
    return xp.reshape(w, (*w.shape, *(1,) * (y.ndim - w.ndim)))


def counted(x: Array, share: Array) -> Array:
    """x, and 0 where the share is: there no loss and no slope may be infinite, as 0 times that is NaN."""
    xp = namespace(x)
    return xp.where(share == 0, xp.zeros_like(x), x)


def _times(x: Array, share: Array) -> Array:
    """x (..., C) times the share of each sample, in the dtype of x; computed in that of the shares."""
    return cast(cast(x, share.dtype) * share, x.dtype)


def _total(x: Array, share: Array) -> Array:
    """The sum of all elements of x (..., C) times the share of each sample, in the dtype of x."""
    return cast(namespace(x).sum(cast(x, share.dtype) * share), x.dtype)


def weighted(values: Array, weights: Array) -> Array:
    """The product, and 0 where the weight is: also of an infinite value, as 0 log 0 is in information theory."""
    xp = namespace(values)
    return xp.where(weights == 0, xp.zeros_like(values), values) * weights


def mean(x: Array) -> Array:
    """The mean of all elements; of less than 32 bits in float32, as not every library adds them up so."""
    xp = namespace(x)
    return xp.astype(xp.mean(xp.astype(x, xp.float32)), x.dtype) if is_small(xp, x.dtype) else xp.mean(x)


def _of_means(x: Array, reduction: str, share: Array | None) -> Array:
    """Of each sample the mean of its elements x (..., C), and of these the mean or the sum, or what the shares say."""
    if share is not None:
        return _total(x, share / x.shape[-1])
    return mean(x) if reduction == "mean" else mean_of(x, x.shape[-1])


def _parts(x: Array, reduction: str) -> int:
    """What a sum over the elements of x (..., C) is divided by where samples are means over C."""
    return prod(x.shape) if reduction == "mean" else int(x.shape[-1])


def _of_elements(y: Array, t: Array, e: Array) -> Array:
    """-t log s - (1 - t) log(1 - s) of each element, given e = exp(-|y|)."""
    xp = namespace(y)
    zero = xp.zeros_like(y)
    return weighted(xp.maximum(y, zero), 1 - t) + weighted(xp.maximum(-y, zero), t) + xp.log1p(e)


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
