"""Everything follows X: training, fitted arrays and predictions are where X is, whatever y and weights come from."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import make_classification

from xpnet import get_backend
from xpnet.backends.dispatch import device, name_of
from xpnet.sklearn import NeuralNetClassifier, NeuralNetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_classification(120, 5, n_informative=4, n_redundant=0, n_classes=3, random_state=0)
NUMBERS = np.stack([X[:, 0] * X[:, 1], X[:, 2]], axis=1)
WEIGHT = np.random.default_rng(0).uniform(0.5, 1.5, len(X))
SETTINGS = {"hidden_layer_sizes": 8, "learning_rate_init": 0.02, "max_iter": 25, "random_state": 0}


@pytest.fixture
def dispatching():
    with config_context(array_api_dispatch=True):
        yield


def assert_there(backend, array, expected, tolerance=1e-8):
    assert (name_of(array), device(array)) == (backend.name, backend.device)
    np.testing.assert_allclose(backend.to_numpy(array), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("dispatching")
def test_a_classifier(training_backend, array):
    b, model = training_backend, NeuralNetClassifier(**SETTINGS, early_stopping=True)
    there = clone(model).fit(array(X), array(Y), sample_weight=array(WEIGHT))
    here = model.fit(X, Y, sample_weight=WEIGHT)
    assert there.n_iter_ == here.n_iter_
    assert there.validation_scores_ == pytest.approx(here.validation_scores_)
    for found, expected in zip(there.coefs_ + there.intercepts_, here.coefs_ + here.intercepts_, strict=True):
        assert_there(b, found, expected)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert_there(b, getattr(there, method)(array(X)), getattr(here, method)(X))
    assert_there(b, there.classes_, here.classes_)
    score = there.score(array(X), array(Y), sample_weight=array(WEIGHT))
    assert type(score) is float
    assert score == here.score(X, Y, sample_weight=WEIGHT)


@pytest.mark.usefixtures("dispatching")
def test_a_regressor_an_epoch_at_a_time(training_backend, array):
    b, there, here = training_backend, NeuralNetRegressor(**SETTINGS), NeuralNetRegressor(**SETTINGS)
    for _ in range(22):  # steps are compiled on the way
        there.partial_fit(array(X), array(NUMBERS))
        here.partial_fit(X, NUMBERS)
    assert_there(b, there.predict(array(X)), here.predict(X))
    score = there.score(array(X), array(NUMBERS))
    assert type(score) is float
    assert score == pytest.approx(here.score(X, NUMBERS))
    assert here.loss_curve_ == pytest.approx(there.loss_curve_)
    assert len(here.loss_curve_) == 22


@pytest.mark.usefixtures("dispatching")
def test_targets_from_elsewhere(training_backend, array):
    """NumPy's, a list of strings, and two classes, of which no array but NumPy's can hold the names."""
    b, two = training_backend, Y > 0
    few = SETTINGS | {"max_iter": 3}
    model = NeuralNetClassifier(**few).fit(array(X), Y, sample_weight=list(WEIGHT))
    assert_there(b, model.predict(array(X)), NeuralNetClassifier(**few).fit(X, Y, sample_weight=WEIGHT).predict(X))
    names = np.where(two, "yes", "no")
    model = NeuralNetClassifier(**few).fit(array(X), names.tolist())
    assert isinstance(model.classes_, np.ndarray)
    assert model.predict(array(X)).tolist() == NeuralNetClassifier(**few).fit(X, names).predict(X).tolist()
    assert_there(b, model.predict_proba(array(X)), NeuralNetClassifier(**few).fit(X, two).predict_proba(X))


@pytest.mark.usefixtures("dispatching")
def test_nothing_is_moved_unasked(training_backend, array):
    if training_backend.name == "numpy":
        other, where = get_backend("strict").asarray(X), "numpy on cpu"
    else:
        other, where = X, training_backend.name
    model = NeuralNetClassifier(**SETTINGS | {"max_iter": 1}).fit(array(X), Y)
    for method in ("predict", "predict_proba", "decision_function", "predict_log_proba", "partial_fit"):
        arguments = (other, Y) if method == "partial_fit" else (other,)
        with pytest.raises(
            ValueError, match=rf"NeuralNetClassifier.{method}\(\) must use the same .* fit\(\) was given {where}"
        ):
            getattr(model, method)(*arguments)


def test_asked_for_it_trains_elsewhere(training_backend):
    """NumPy in and out; the network is there."""
    b = training_backend
    here = NeuralNetClassifier(**SETTINGS).fit(X, Y)
    there = NeuralNetClassifier(**SETTINGS, backend=b.name, device=b.device_name).fit(X, Y)
    assert there.network_.backend == b
    assert_there(b, there.coefs_[0], here.coefs_[0])
    for method in ("predict", "predict_proba"):
        found = getattr(there, method)(X)
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, getattr(here, method)(X), rtol=1e-8, atol=1e-8)
    narrow = NeuralNetClassifier(**SETTINGS | {"max_iter": 3}, backend=b, dtype="float32").fit(X, Y)
    assert narrow.predict_proba(X).dtype == np.float32


def test_without_dispatch_input_is_made_numpys():
    """As everywhere in scikit-learn."""
    torch = pytest.importorskip("torch", reason="torch is not installed, and it is its tensors that are given")
    model = NeuralNetClassifier(**SETTINGS | {"max_iter": 2}).fit(torch.asarray(X), torch.asarray(Y))
    assert type(model.coefs_[0]) is type(model.predict(torch.asarray(X))) is np.ndarray
    with config_context(array_api_dispatch=True):
        model = NeuralNetClassifier(**SETTINGS | {"max_iter": 2}).fit(torch.asarray(X), torch.asarray(Y))
    with pytest.raises(ValueError, match=r"fit\(\) was given torch .*; array_api_dispatch is off, so all input"):
        model.predict(torch.asarray(X))
