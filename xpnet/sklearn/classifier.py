"""The classifier: one class of two or more for each sample, or any number of labels."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from xpnet._typing import Array, Loss
from xpnet.backends.dispatch import namespace
from xpnet.functions import sigmoid, softmax
from xpnet.losses import SigmoidWithLoss, SoftmaxWithLoss
from xpnet.sklearn.estimator import NeuralNet
from xpnet.sklearn.places import from_host, on_host


class NeuralNetClassifier(ClassifierMixin, NeuralNet):  # type: ignore[misc]
    """A neural network that classifies: cross-entropy of softmax, or of a sigmoid for two classes and for labels.

    Args:
        class_weight: how much the samples of each class count, a dict; or ``"balanced"``, by how rare they are.

    Attributes:
        classes_: the classes, in the order of columns of probabilities.
        network_: the network, :class:`xpnet.Sequential`; ``coefs_`` and ``intercepts_`` are its arrays.
        history_: the losses of all minibatches, and what each epoch came to; ``loss_curve_`` is the loss of each epoch.
        loss_, best_loss_, n_iter_: the last loss, the smallest one, and the epochs of the last fit.
        validation_scores_, best_validation_score_: accuracies on the held-out samples, with ``early_stopping``.
        n_outputs_, n_features_in_, feature_names_in_: how many numbers a sample has behind and before the network, and
            the names of these where X is a table.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 2))
    >>> y = np.where(X[:, 0] * X[:, 1] > 0, "same sign", "other sign")
    >>> model = NeuralNetClassifier(learning_rate_init=0.02, max_iter=1000, random_state=0).fit(X, y)
    >>> model.predict([[1.0, 2.0], [-1.0, 2.0]])
    array(['same sign', 'other sign'], dtype='<U10')
    """

    classes_: Array
    _multilabel: bool

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
        dropout: float = 0.0,
        class_weight: Any = None,
        network: Any = None,
        callbacks: Any = (),
        dtype: Any = None,
        backend: Any = None,
        device: Any = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            dropout=dropout,
            network=network,
            callbacks=callbacks,
            dtype=dtype,
            backend=backend,
            device=device,
        )
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch, going on from where an earlier call ended.

        Args:
            X, y, sample_weight: as in :meth:`fit`; y need not have all classes.
            classes: all classes there will be; the first call needs them.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit, which does not see all samples; give a dict "
                "of compute_class_weight('balanced', classes=classes, y=y)"
            )
        known = None if classes is None else np.unique(on_host(classes))
        if not hasattr(self, "network_"):
            if known is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
        elif known is not None and not np.array_equal(known, on_host(self.classes_)):
            raise ValueError(f"`classes={known}` is not the same as on last call to partial_fit: {self.classes_}")
        return self._partial_fit(X, y, sample_weight, known)

    def decision_function(self, X: Any) -> Array:
        """Scores before softmax (N, classes); for two classes (N,), above 0 for the second; for labels (N, labels)."""
        scores = self._outputs(X, "decision_function")
        if self._multilabel or self.classes_.shape[0] > 2:
            return scores
        return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class (N, classes), or of each label (N, labels)."""
        scores = self._outputs(X, "predict_proba")
        return sigmoid(scores) if self._multilabel else softmax(self._scores_of_classes(scores))

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of :meth:`predict_proba`, also of probabilities that are rounded to 0."""
        scores = self._outputs(X, "predict_log_proba")
        xp = namespace(scores)
        if self._multilabel:
            return xp.minimum(scores, xp.zeros_like(scores)) - xp.log1p(xp.exp(-xp.abs(scores)))
        scores = self._scores_of_classes(scores)
        scores = scores - xp.max(scores, axis=-1, keepdims=True)
        return scores - xp.log(xp.sum(xp.exp(scores), axis=-1, keepdims=True))

    def predict(self, X: Any) -> Array:
        """The class of each sample (N,), or 1 for each label that it has and 0 for the others (N, labels)."""
        scores = self._outputs(X, "predict")
        xp = namespace(scores)
        if self._multilabel:
            return xp.astype(scores > 0, self.classes_.dtype)
        index = xp.argmax(self._scores_of_classes(scores), axis=-1)
        if isinstance(self.classes_, np.ndarray):
            return self.classes_[on_host(index)]
        return xp.take(self.classes_, index, axis=0)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy, 0 to 1, wherever X and y are; of several labels the share of samples that have all right."""
        weight = on_host(sample_weight)
        return float(accuracy_score(on_host(y), on_host(self.predict(X)), sample_weight=weight))

    def _scores_of_classes(self, scores: Array) -> Array:
        """A score for each class: of one output, 0 for the first class and the output for the second."""
        if self.classes_.shape[0] == 1:
            return scores[:, :1]
        xp = namespace(scores)
        return xp.concat([xp.zeros_like(scores), scores], axis=1) if scores.shape[1] == 1 else scores

    def _learn(self, y: Any, going_on: bool, classes: np.ndarray | None) -> np.ndarray:
        y = y.toarray() if issparse(y) else y
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind == "multiclass-multioutput":
            raise ValueError("Unknown label type: multiclass-multioutput; fit a classifier for each output")
        if going_on and (kind == "multilabel-indicator") != self._multilabel:
            raise ValueError(f"y is {kind}, which is another kind of target than in the call before")
        known = on_host(self.classes_) if going_on else classes
        self._multilabel = kind == "multilabel-indicator"
        if self._multilabel:
            labels, known = np.asarray(y, np.float64), np.arange(y.shape[1]) if known is None else known
            if labels.shape[1] != len(known):
                raise ValueError(f"y has {labels.shape[1]} labels, expected {len(known)}: {known}")
        else:
            labels, known = _encoded(column_or_1d(y, warn=True), known)
        self.classes_ = from_host(self._place, known)
        self.n_outputs_ = 1 if len(known) <= 2 and not self._multilabel else len(known)
        return labels

    def _weights(self, y: Any, weight: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is None:
            return weight
        by_class: np.ndarray
        if isinstance(self.class_weight, dict) and not self._multilabel:
            known, labels = on_host(self.classes_), column_or_1d(y)  # partial_fit may see a few of the classes
            by_class = compute_class_weight(self.class_weight, classes=known, y=labels)[_encoded(labels, known)[0]]
        else:
            by_class = compute_sample_weight(self.class_weight, y)
        return by_class if weight is None else weight * by_class

    def _loss(self, outputs: int) -> Loss:
        return SigmoidWithLoss() if self._multilabel or outputs == 1 else SoftmaxWithLoss()

    def _monitor(self) -> str:
        return "validation_accuracy" if self.early_stopping else "loss"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _encoded(y: np.ndarray, known: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The number of each sample's class, and the classes: those known, or those in y."""
    classes, codes = np.unique(y, return_inverse=True)
    if known is None:
        return codes, classes
    if strangers := sorted(set(classes.tolist()) - set(known.tolist())):
        raise ValueError(f"`y` has classes not in `self.classes_`: {strangers}; expected some of {known.tolist()}")
    return np.searchsorted(known, classes)[codes], known
