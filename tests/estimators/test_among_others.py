"""In scikit-learn's company: pipelines, searches, cross-validation, calibration, tables, and what a notebook shows."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

from xpnet.layers import Affine, ReLU
from xpnet.optimizers import AdamW
from xpnet.sklearn import NeuralNetClassifier, NeuralNetRegressor

X, Y = load_iris(return_X_y=True)
SETTINGS = {"hidden_layer_sizes": (10,), "learning_rate_init": 0.02, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline(StandardScaler(), NeuralNetClassifier(**SETTINGS)).fit(X, Y)


def test_a_search_in_two_processes(pipeline):
    grid = {"neuralnetclassifier__alpha": [1e-4, 1e3], "neuralnetclassifier__solver": ["adam", AdamW(0.02)]}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=3).fit(X, Y)
    assert search.best_params_["neuralnetclassifier__alpha"] == 1e-4
    assert search.best_score_ > 0.9
    alone = GridSearchCV(pipeline, grid, cv=3).fit(X, Y)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], atol=1e-9)


def test_cross_validation(pipeline):
    scores = cross_val_score(pipeline, X, Y, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.9
    assert cross_val_score(NeuralNetRegressor(**SETTINGS, max_iter=300), X[:, :3], X[:, 3], cv=3).shape == (3,)


def test_calibration(pipeline):
    calibrated = CalibratedClassifierCV(pipeline, cv=2).fit(X, Y)
    found = calibrated.predict_proba(X)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert calibrated.score(X, Y) > 0.9


def test_importances_of_features(pipeline):
    found = permutation_importance(pipeline, X, Y, n_repeats=3, random_state=0).importances_mean
    assert found[2:].min() > found[:2].max()  # iris are told apart by their petals


def test_a_clone_is_as_it_was_made():
    layers = [Affine(4, 6), ReLU(), Affine(6, 3)]
    model = NeuralNetClassifier(**SETTINGS, network=layers, solver=AdamW(0.02), max_iter=2).fit(X, Y)
    copy = clone(model)
    assert not hasattr(copy, "network_")
    assert repr(copy) == repr(model)
    for name in ("predict", "decision_function"):
        np.testing.assert_array_equal(getattr(copy.fit(X, Y), name)(X), getattr(model, name)(X))


def test_one_classifier_for_each_of_several_outputs():
    several = np.stack([Y, Y == 0], axis=1)
    with pytest.raises(ValueError, match="multiclass-multioutput; fit a classifier for each output"):
        NeuralNetClassifier().fit(X, several)
    assert MultiOutputClassifier(NeuralNetClassifier(**SETTINGS)).fit(X, several).predict(X).shape == several.shape


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables(library, pipeline):
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    table = module.DataFrame(dict(zip(names, X.T, strict=True)))
    labels = module.Series(np.array(["a", "b", "c"])[Y])
    model = clone(pipeline).set_output(transform=library).fit(table, labels)
    assert model[-1].feature_names_in_.tolist() == names
    assert model.score(table, labels) == pipeline.score(X, Y)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(table[names[::-1]])


def test_sparse_input_is_refused():
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    with pytest.raises(TypeError, match="Sparse data was passed"):
        NeuralNetClassifier().fit(sparse.csr_array(X), Y)
    inputs, labels = X / 5, np.eye(3, dtype=int)[Y]
    model = NeuralNetClassifier(**SETTINGS, max_iter=3).fit(inputs, sparse.csr_array(labels))  # of labels it is not
    np.testing.assert_array_equal(model.predict(inputs), clone(model).fit(inputs, labels).predict(inputs))


def test_what_a_notebook_shows(pipeline):
    page = estimator_html_repr(pipeline)
    assert "NeuralNetClassifier" in page
    assert "learning_rate_init" in page
    assert page == pipeline._repr_html_()[: len(page)] or "sk-" in page


def test_help_has_all_parameters():
    for kind in (NeuralNetClassifier, NeuralNetRegressor):
        for name in kind().get_params():
            assert kind.__doc__ is None or f"{name}" in kind.__doc__, name
