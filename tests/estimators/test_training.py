"""What an estimator does beside taking steps: going on, stopping, weights of classes, networks of one's own."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning

from xpnet.layers import Affine, Conv2d, Flatten, ReLU, Rescale
from xpnet.optimizers import AdamW
from xpnet.schedules import Cosine
from xpnet.sklearn import NeuralNetClassifier, NeuralNetRegressor
from xpnet.training import Callback, EarlyStopping

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
SMALL = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.02, "batch_size": 50, "random_state": 0}
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def arrays(model):
    return {name: array.tolist() for name, array in model.network_.params.items()}


@quiet
@pytest.mark.parametrize("shuffle", [True, False])
def test_two_fits_are_one_with_warm_start(shuffle):
    """To the last bit, and so are calls of ``partial_fit``, and what comes of a copy that was pickled in between."""
    options = SMALL | {"shuffle": shuffle, "dropout": 0.2}
    whole = NeuralNetClassifier(**options, max_iter=9).fit(X, Y)
    halves = NeuralNetClassifier(**options, max_iter=4, warm_start=True).fit(X, Y)
    halves = pickle.loads(pickle.dumps(halves)).set_params(max_iter=5).fit(X, Y)
    single = NeuralNetClassifier(**options)
    for _ in range(9):
        single.partial_fit(X, Y, classes=[0, 1, 2])
    for model in (halves, single):
        assert arrays(model) == arrays(whole)
        assert model.loss_curve_ == whole.loss_curve_
        assert model.history_.losses == whole.history_.losses
    assert (whole.n_iter_, halves.n_iter_, single.n_iter_) == (9, 5, 1)


@quiet
def test_one_seed_is_one_training():
    first, again, other = (NeuralNetClassifier(**SMALL | {"random_state": s}, max_iter=3).fit(X, Y) for s in (0, 0, 1))
    assert arrays(first) == arrays(again) != arrays(other)
    shared = np.random.RandomState(0)
    a, b = (NeuralNetClassifier(**SMALL | {"random_state": shared}, max_iter=3).fit(X, Y) for _ in range(2))
    assert arrays(a) != arrays(b)


def test_early_stopping_keeps_the_best_weights():
    seen = []

    class Keep(Callback):
        def on_evaluation(self, trainer, evaluation):
            if evaluation.ends_epoch:
                seen.append((evaluation, {name: w.tolist() for name, w in trainer.net.params.items()}))

    for kind, target in ((NeuralNetClassifier, Y), (NeuralNetRegressor, X[:, 0] * X[:, 1])):
        seen.clear()
        model = kind(**SMALL, early_stopping=True, n_iter_no_change=3, max_iter=500, callbacks=[Keep()]).fit(X, target)
        values = [e.validation_accuracy if kind is NeuralNetClassifier else e.validation_r2 for e, _ in seen]
        assert values == model.validation_scores_
        assert model.best_validation_score_ == max(values)
        assert arrays(model) == seen[values.index(max(values))][1] != seen[-1][1]
        assert model.n_iter_ == len(values) < 500
        assert max(values[:-4]) > max(values[-3:]) - 1e-4, "it stopped as there was no progress"


def test_held_out_samples_are_a_share_of_each_class():
    sizes = []

    class Look(Callback):
        def on_evaluation(self, trainer, evaluation):
            sizes.append((trainer.batches.n, round(evaluation.validation_accuracy * 30 % 1, 6)))

    NeuralNetClassifier(**SMALL, early_stopping=True, validation_fraction=0.2, callbacks=[Look()]).fit(X, Y)
    assert set(sizes) == {(120, 0.0)}
    with pytest.raises(ValueError, match="The validation set is too small"):
        NeuralNetRegressor(early_stopping=True).fit(X[:5], Y[:5])
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping"):
        NeuralNetRegressor(early_stopping=True).partial_fit(X, Y)


@quiet
def test_weights_of_classes_are_weights_of_samples():
    given = {0: 0.5, 1: 2.0, 2: 1.0}
    by_class = NeuralNetClassifier(**SMALL, max_iter=5, class_weight=given).fit(X, Y)
    by_sample = NeuralNetClassifier(**SMALL, max_iter=5).fit(X, Y, sample_weight=np.vectorize(given.get)(Y))
    assert arrays(by_class) == arrays(by_sample)
    few = np.r_[:50, 50:60, 100:120]
    counted = NeuralNetClassifier(**SMALL | {"batch_size": 20}, max_iter=5, class_weight="balanced").fit(X[few], Y[few])
    share = len(few) / (3 * np.bincount(Y[few]))
    told = NeuralNetClassifier(**SMALL | {"batch_size": 20}, max_iter=5, class_weight=dict(enumerate(share)))
    assert arrays(counted) == arrays(told.fit(X[few], Y[few]))
    two, some = Y < 2, {0: 0.5, 2: 3.0}  # partial_fit sees neither all classes nor all that have a weight
    by_class = NeuralNetClassifier(**SMALL, class_weight=some).partial_fit(X[two], Y[two], classes=[0, 1, 2])
    by_sample = NeuralNetClassifier(**SMALL).partial_fit(X[two], Y[two], [0, 1, 2], np.where(Y[two] == 0, 0.5, 1.0))
    assert arrays(by_class) == arrays(by_sample)
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        NeuralNetClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


def test_classes_of_partial_fit():
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        NeuralNetClassifier().partial_fit(X, Y)
    names = np.array(["a", "b", "c"])
    model = NeuralNetClassifier(**SMALL).partial_fit(X[:60], names[Y[:60]], classes=names[::-1])  # two of them
    assert model.classes_.tolist() == ["a", "b", "c"]
    model.partial_fit(X[60:], names[Y[60:]])
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`: \['d'\]"):
        model.partial_fit(X, np.where(Y == 0, "d", "a"))
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        model.partial_fit(X, names[Y], classes=["a", "b"])
    with pytest.raises(ValueError, match="y is multilabel-indicator, which is another kind of target"):
        model.partial_fit(X, np.eye(3, dtype=int)[Y])


def test_chunks_of_any_size():
    """Each as an epoch; minibatches are never larger than a chunk."""
    model = NeuralNetRegressor(**SMALL)
    for size in (60, 7, 60, 1, 30):
        model.partial_fit(X[:size], Y[:size])
    assert model.history_.samples == 158
    assert model.history_.iterations == 2 + 1 + 2 + 1 + 1


@quiet
def test_two_outputs_for_two_classes_and_labels():
    two, target = X[Y > 0], Y[Y > 0]
    layers = [Affine(4, 8), ReLU(), Affine(8, 2)]
    model = NeuralNetClassifier(**SMALL, max_iter=60, network=layers).fit(two, target)
    assert model.decision_function(two).shape == (100,)
    np.testing.assert_array_equal(model.classes_[(model.decision_function(two) > 0).astype(int)], model.predict(two))
    np.testing.assert_allclose(model.predict_proba(two).sum(axis=1), 1)
    assert model.score(two, target) > 0.9
    inputs, labels = make_multilabel_classification(200, 5, n_classes=4, random_state=0)
    model = NeuralNetClassifier(**SMALL, max_iter=5).fit(inputs / 10, labels)
    assert model.predict(inputs / 10).shape == model.predict_proba(inputs / 10).shape == labels.shape
    np.testing.assert_allclose(np.exp(model.predict_log_proba(inputs / 10)), model.predict_proba(inputs / 10))
    np.testing.assert_array_equal(model.decision_function(inputs / 10) > 0, model.predict(inputs / 10))


def convolutional(shape, outputs):
    channels, height, width = shape
    return [
        Rescale(1 / 255),
        Conv2d(channels, 4, 3),
        ReLU(),
        Flatten(),
        Affine(4 * (height - 2) * (width - 2), outputs),
    ]


@quiet
def test_networks_of_ones_own_take_images(digits):
    (x, t), _ = digits
    images = (x[:600].reshape(-1, 1, 28, 28) * 255).astype("float32")
    model = NeuralNetClassifier(network=convolutional, max_iter=4, learning_rate_init=0.005, random_state=0)
    model.fit(images[:500], t[:500])
    assert model.score(images[500:], t[500:600]) > 0.6
    assert model.n_outputs_ == 10
    assert pickle.loads(pickle.dumps(model)).predict(images[:9]).tolist() == model.predict(images[:9]).tolist()
    with pytest.raises(AttributeError, match=r"network_\.params"):
        _ = model.coefs_
    with pytest.raises(ValueError, match="dim 4"):
        NeuralNetClassifier().fit(images, t[:600])


@quiet
def test_optimizers_schedules_and_callbacks_of_xpnet(capsys):
    seen = []
    model = NeuralNetClassifier(
        hidden_layer_sizes=5,
        solver=AdamW(Cosine(0.05, steps=90), weight_decay=0.1),
        batch_size=50,
        max_iter=30,
        callbacks=[seen.append],
        verbose=True,
    ).fit(X, Y)
    assert model.history_.learning_rates[0] == 0.05
    assert model.history_.learning_rates[-1] < 1e-3
    assert [e.iteration for e in seen if e.ends_epoch] == list(range(3, 91, 3))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"Iteration 1, loss = {model.loss_curve_[0]:.8f}"
    assert len(printed) == 30
    for solver in ("rmsprop", "nadam"):
        assert NeuralNetClassifier(**SMALL, solver=solver, max_iter=60).fit(X, Y).score(X, Y) > 0.9
    stopping = EarlyStopping("loss", patience=1, min_delta=1e9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that it did not converge, for one
        assert NeuralNetClassifier(callbacks=[stopping]).fit(X, Y).n_iter_ == 2


def test_a_callback_may_stop_within_the_first_epoch():
    class Stop(Callback):
        every = 1

        def on_block(self, trainer):
            trainer.stop("enough")

    model = NeuralNetClassifier(**SMALL, callbacks=[Stop()], early_stopping=True).fit(X, Y)
    assert (model.n_iter_, model.history_.iterations, model.loss_curve_) == (0, 1, [])
    assert model.predict(X).shape == (150,)
    with pytest.raises(TypeError, match=r"callbacks is <.*Stop.*>|callbacks is .*Stop.*, expected a list"):
        NeuralNetClassifier(callbacks=Stop()).fit(X, Y)


def test_that_it_did_not_converge_is_said():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\) reached"):
        NeuralNetClassifier(max_iter=3).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_layer_sizes": (5, 0)}, r"hidden_layer_sizes must be > 0, got \(5, 0\)"),
        ({"hidden_layer_sizes": "many"}, "hidden_layer_sizes must be > 0, got 'many'"),
        ({"activation": "step"}, "unknown activation 'step'; known: .*relu.*logistic"),
        ({"solver": "lbfgs"}, "unknown solver 'lbfgs'; known: .*adam.*, and optimizers of xpnet"),
        ({"alpha": -1}, "alpha is -1, expected a finite number, 0 or more"),
        ({"batch_size": 0}, "batch_size is 0, expected a whole number, 1 or more, or 'auto'"),
        ({"learning_rate": "falling"}, "unknown learning_rate 'falling'; known: constant, invscaling, adaptive"),
        ({"learning_rate_init": 0}, "learning_rate_init is 0, expected a positive number"),
        ({"max_iter": 0}, "max_iter is 0, expected a whole number, 1 or more"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0, expected a whole number"),
        ({"tol": -1}, "tol is -1, expected a finite number, 0 or more"),
        ({"dropout": 1}, "dropout is 1, expected a finite number, 0 or more and less than 1"),
        ({"solver": "sgd", "momentum": 1}, "momentum is 1, expected"),
        ({"early_stopping": True, "validation_fraction": 1}, "validation_fraction is 1, expected"),
        ({"shuffle": "no"}, "shuffle is 'no', expected True or False"),
        ({"early_stopping": 1}, "early_stopping is 1, expected True or False"),
        ({"backend": "fortran"}, "unknown backend 'fortran'|known backends: .*numpy"),
        ({"network": [Affine(4, 7)]}, r"network has outputs of shape \(7,\) .*, expected \(3,\)"),
    ],
)
def test_a_parameter_that_is_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        NeuralNetClassifier(**options).fit(X, Y)
    with pytest.raises(TypeError, match=r"solver is <class .*AdamW'>, expected a name or an optimizer"):
        NeuralNetClassifier(solver=AdamW).fit(X, Y)
