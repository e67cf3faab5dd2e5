"""The regressor: numbers, one or several a sample."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import column_or_1d

from xpnet._typing import Array, Loss
from xpnet.losses import SumSquaredError
from xpnet.sklearn.estimator import NeuralNet
from xpnet.sklearn.places import on_host


class NeuralNetRegressor(RegressorMixin, NeuralNet):  # type: ignore[misc]
    """A neural network that predicts numbers: half the mean squared error, on whatever arrays X and y are.

    Args:
        hidden_layer_sizes: and all others: see :class:`NeuralNet`.

    Attributes:
        network_: the network, :class:`xpnet.Sequential`; ``coefs_`` and ``intercepts_`` are its arrays.
        history_: the losses of all minibatches, and what each epoch came to; ``loss_curve_`` is the loss of each epoch.
        loss_, best_loss_, n_iter_: the last loss, the smallest one, and the epochs of the last fit.
        validation_scores_, best_validation_score_: R² of the held-out samples, with ``early_stopping``.
        n_outputs_, n_features_in_, feature_names_in_: how many numbers a sample has behind and before the network, and
            the names of these where X is a table.

    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 100).reshape(-1, 1)
    >>> model = NeuralNetRegressor(learning_rate_init=0.02, max_iter=500, random_state=0).fit(X, X[:, 0] ** 2)
    >>> model.score(X, X[:, 0] ** 2) > 0.98
    True
    """

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch, going on from where an earlier call ended; arguments as in :meth:`fit`."""
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> Array:
        """The numbers (N,) or (N, outputs) for samples X (N, features), where X is."""
        y = self._outputs(X, "predict")
        return y[:, 0] if self.n_outputs_ == 1 else y

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R², 1 at most, wherever X and y are."""
        return float(r2_score(on_host(y), on_host(self.predict(X)), sample_weight=on_host(sample_weight)))

    def _learn(self, y: Any, going_on: bool, classes: np.ndarray | None) -> np.ndarray:
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        targets: np.ndarray = np.asarray(y, np.float64).reshape(len(y), -1)
        if going_on and targets.shape[1] != self.n_outputs_:
            raise ValueError(f"y has {targets.shape[1]} outputs, expected {self.n_outputs_} as in the call before")
        self.n_outputs_ = targets.shape[1]
        return targets

    def _loss(self, outputs: int) -> Loss:
        return SumSquaredError(reduction="mean")

    def _monitor(self) -> str:
        return "validation_r2" if self.early_stopping else "loss"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
