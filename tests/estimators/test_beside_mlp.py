"""Parameters mean what they mean in scikit-learn's networks: from the same weights both take the same steps."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed, and its networks are the oracle")

from sklearn.datasets import load_digits, load_iris, make_multilabel_classification, make_regression
from sklearn.neural_network import MLPClassifier, MLPRegressor

from xpnet.sklearn import NeuralNetClassifier, NeuralNetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: What does not move the weights, so that those of one can be given to the other before training begins.
STILL = {"learning_rate_init": 1e-300, "max_iter": 1}
SGD = {"solver": "sgd", "learning_rate_init": 0.05}
SETTINGS = {
    "defaults": {},
    "no penalty": {"alpha": 0.0},
    "penalty": {"alpha": 3.0},
    "minibatches": {"batch_size": 30},
    "a last one that is smaller": {"batch_size": 40, "alpha": 0.0},
    "two layers": {"hidden_layer_sizes": (7, 6), "activation": "tanh"},
    "logistic": {"hidden_layer_sizes": 5, "activation": "logistic"},
    "identity": {"hidden_layer_sizes": [5], "activation": "identity"},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "sgd": SGD,
    "sgd, momentum": SGD | {"nesterovs_momentum": False},
    "sgd, no momentum": SGD | {"momentum": 0},
    # with momentum, scikit-learn's has the rates of earlier steps in it, and xpnet's that of now
    "sgd, invscaling": SGD | {"learning_rate": "invscaling", "momentum": 0, "batch_size": 30},
}


def classes(kind="three"):
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    if kind == "labels":
        X, y = make_multilabel_classification(120, n_features=4, n_classes=3, random_state=0)
        return (X - X.mean(axis=0)) / X.std(axis=0), y
    order = np.random.default_rng(0).permutation(150)
    X, y = X[order], y[order]
    return (X, y) if kind == "three" else (X[y > 0], y[y > 0])


def numbers(outputs):
    X, y = make_regression(120, 5, n_targets=outputs, random_state=0)
    return X, y / 100


def from_the_same_weights(theirs, ours, X, y, **settings):
    """Both, after twelve epochs in the order of the data."""
    common = {"shuffle": False, "warm_start": True, "random_state": 0, "tol": 0, "n_iter_no_change": np.inf}
    models = [kind(**common | settings).set_params(**STILL).fit(X, y) for kind in (theirs, ours)]
    given, net = models[0], models[1].network_
    arrays = [a.copy() for pair in zip(given.coefs_, given.intercepts_, strict=True) for a in pair]
    assert [a.shape for a in arrays] == [a.shape for a in net.params.values()]
    net.params = dict(zip(net.params, arrays, strict=True))
    given.t_ = 0  # the samples that its rate goes by
    moves = {"learning_rate_init": settings.get("learning_rate_init", 0.01), "max_iter": 12}
    return [model.set_params(**moves) for model in models]


def assert_same(theirs, ours):
    for name in ("coefs_", "intercepts_"):
        for expected, found in zip(getattr(theirs, name), getattr(ours, name), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_steps(name):
    X, y = classes()
    theirs, ours = from_the_same_weights(MLPClassifier, NeuralNetClassifier, X, y, **SETTINGS[name])
    assert_same(theirs.fit(X, y), ours.fit(X, y))
    for method in ("predict", "predict_proba", "predict_log_proba"):
        np.testing.assert_allclose(getattr(ours, method)(X), getattr(theirs, method)(X), rtol=1e-7, atol=1e-9)
    assert ours.score(X, y) == theirs.score(X, y)
    if ours.alpha == 0:  # their loss has the penalty in it
        np.testing.assert_allclose(ours.loss_curve_[1:], theirs.loss_curve_[1:], rtol=1e-7)


@pytest.mark.parametrize("kind", ["three", "two", "labels"])
def test_classes_and_labels(kind):
    X, y = classes(kind)
    theirs, ours = from_the_same_weights(MLPClassifier, NeuralNetClassifier, X, y, **SGD, alpha=1.0)
    assert_same(theirs.fit(X, y), ours.fit(X, y))
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-7, atol=1e-9)
    assert ours.predict_proba(X).shape == theirs.predict_proba(X).shape
    assert ours.n_outputs_ == theirs.n_outputs_
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


@pytest.mark.parametrize("outputs", [1, 3])
def test_numbers(outputs):
    X, y = numbers(outputs)
    theirs, ours = from_the_same_weights(MLPRegressor, NeuralNetRegressor, X, y, **SGD)
    assert_same(theirs.fit(X, y), ours.fit(X, y))
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-7, atol=1e-9)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=1e-9)


@pytest.mark.parametrize("settings", [{}, {"tol": 0.01}, {"n_iter_no_change": 2, "tol": 0.02}], ids=str)
def test_training_ends_after_as_many_epochs(settings):
    X, y = classes()
    theirs, ours = from_the_same_weights(MLPClassifier, NeuralNetClassifier, X, y, alpha=0)
    options = {"tol": 1e-4, "n_iter_no_change": 10, "max_iter": 500} | settings
    epochs = [model.set_params(**options).fit(X, y).n_iter_ for model in (theirs, ours)]
    assert epochs[0] == epochs[1] < 500


@pytest.mark.parametrize("rate", [0.01, 2e-6, 1e-6])
def test_a_rate_that_adapts_ends_training_after_as_many_epochs(rate):
    """No epoch is good enough here, so the rate becomes a fifth of it again and again."""
    X, y = classes()
    options = SGD | {"learning_rate": "adaptive", "learning_rate_init": rate, "tol": 1e3, "n_iter_no_change": 3}
    epochs = [kind(**options).fit(X, y).n_iter_ for kind in (MLPClassifier, NeuralNetClassifier)]
    assert epochs[0] == epochs[1] < 100


def test_digits_are_learnt_as_well():
    X, y = load_digits(return_X_y=True)
    scores = [
        kind(random_state=0, max_iter=40).fit(X[:1200], y[:1200]).score(X[1200:], y[1200:])
        for kind in (MLPClassifier, NeuralNetClassifier)
    ]
    assert scores[1] > scores[0] - 0.03  # they start from other weights
