"""R², the metric of networks that learn numbers: how much of the targets' spread they explain."""

from __future__ import annotations

from xpnet._typing import Array
from xpnet.backends.base import Data
from xpnet.backends.dispatch import namespace
from xpnet.losses import MeanSquaredError, SumSquaredError
from xpnet.models import Sequential

#: The losses whose smallest value for one constant is that of the mean of the targets.
SQUARED = (MeanSquaredError, SumSquaredError)


def spread(net: Sequential, data: Data) -> float | None:
    """The loss of the constant that fits these targets best, their (weighted) mean; None where there is no R².

    There is none where targets are labels, where the loss is no squared error, and where all targets are the same.
    """
    t, weight, loss = data["t"], data.get("weight"), net.loss_layer
    if not isinstance(loss, SQUARED) or t.ndim < 2:
        return None
    xp = namespace(t)
    t = xp.astype(t, net.dtype)
    if weight is None:
        found = loss.forward(xp.zeros_like(t) + xp.mean(t, axis=0), t)[0]
    else:
        found = loss.forward(xp.zeros_like(t) + _weighted_mean(t, weight), t, weight)[0]
    return float(found) or None


def explained(loss: float | None, of: float | None) -> float | None:
    """R², 1 - loss / loss of the mean.

    It is scikit-learn's ``r2_score``; of several outputs they count by their variance (``"variance_weighted"``).
    """
    return None if loss is None or of is None else 1 - loss / of


def _weighted_mean(t: Array, weight: Array) -> Array:
    """The mean over the samples; ``weight`` has the leading axes of ``t``."""
    xp = namespace(t)
    w = xp.reshape(weight, tuple(weight.shape) + (1,) * (t.ndim - weight.ndim))
    w = w + xp.zeros_like(t)
    return xp.sum(w * t, axis=0) / xp.sum(w, axis=0)
