"""Losses by case, what torch says of each sample, and the loss and the gradient that follow from it."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss, SumSquaredError

SHAPES = {"rows": (4,), "sequences": (2, 3), "images": (2, 3, 2)}
#: What torch computes for each sample (..., C) of these.
OF_TORCH = {
    "softmax, labels": (SoftmaxWithLoss, lambda F, y, t: F.cross_entropy(classes_second(y), t, reduction="none")),
    "softmax, soft": (
        SoftmaxWithLoss,
        lambda F, y, t: F.cross_entropy(classes_second(y), classes_second(t), reduction="none"),
    ),
    "sigmoid": (
        SigmoidWithLoss,
        lambda F, y, t: F.binary_cross_entropy_with_logits(y, t, reduction="none").mean(-1),
    ),
    "sum of squares": (SumSquaredError, lambda F, y, t: F.mse_loss(y, t, reduction="none").sum(-1) / 2),
    "mean of squares": (MeanSquaredError, lambda F, y, t: F.mse_loss(y, t, reduction="none").mean(-1)),
}


def classes_second(y):
    return y.movedim(-1, 1)


def outputs_and_targets(case, leading, rng, classes=5):
    labels = rng.integers(0, classes, leading)
    return rng.normal(size=(*leading, classes)), labels if "labels" in case else rng.dirichlet(
        np.ones(classes), leading
    )


def of_torch(case, y, t, weight=None, reduction="mean"):
    """The loss and its gradient: torch's losses of samples, and Σ w l / Σ w or Σ w l of them, by its autograd."""
    torch = pytest.importorskip("torch", reason="torch is not installed, and it is its losses that are compared with")
    y = torch.tensor(y, dtype=torch.float64, requires_grad=True)
    losses = OF_TORCH[case][1](torch.nn.functional, y, torch.tensor(t))
    weight = torch.ones(losses.shape[:1]) if weight is None else torch.tensor(np.asarray(weight, "float64"))
    weight = weight.reshape(*weight.shape, *(1,) * (losses.ndim - weight.ndim)).expand(losses.shape)
    loss = (losses * weight).sum() / (weight.sum() if reduction == "mean" else 1)
    loss.backward()
    return loss.item(), y.grad.numpy()


def made(case, reduction):
    kind = OF_TORCH[case][0]
    return kind() if reduction == kind.reduction else kind(reduction=reduction)
