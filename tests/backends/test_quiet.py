"""No floating-point warning of NumPy's comes out of xpnet: which there are depends on the kernel that BLAS picks."""

from __future__ import annotations

import operator

import numpy as np
import pytest

from xpnet import SGD, DivergedError, Sequential, Trainer, book, check_gradient, graph, metrics
from xpnet.backends.dispatch import quiet
from xpnet.backends.numpy import NumpyBackend
from xpnet.gradient import columns
from xpnet.layers import Affine, ReLU, Tanh

LATER = "Dask computes when it is asked to, in threads of its own, with NumPy's own settings"
FAR = [np.inf, -np.inf, np.nan, 0.0, 1e300, -1e300]


@pytest.fixture(autouse=True)
def _every_warning_is_an_error():
    with np.errstate(all="raise"):
        yield


def network(backend, *hidden):
    return Sequential([Affine(6, 5), *(hidden or [Tanh()]), Affine(5, 4)], seed=1, dtype="float64", backend=backend)


def samples(array, rng):
    return array(rng.normal(size=(7, 6))), array(rng.integers(0, 4, 7))


def with_far_weights(backend, array, value):
    net = network(backend, ReLU())
    rng = np.random.default_rng(0)
    net.params = {name: array(rng.choice([value, -value, 0.0], p.shape)) for name, p in net.params.items()}
    return net


def test_the_errors_would_be_seen(rng):
    with pytest.raises(FloatingPointError):
        np.matmul(1e300 * np.ones((2, 2)), 1e300 * np.ones((2, 2)))
    assert np.isinf(quiet(np.exp)(1e3))


def test_predict(backend, array):
    if backend.name == "dask":
        pytest.skip(LATER)
    x = array(np.asarray([FAR, FAR[::-1], [0.0] * 6]))
    y = backend.to_numpy(network(backend).predict(x))
    assert np.isnan(y[:2]).all()
    assert np.isfinite(y[2]).all()


@pytest.mark.parametrize("value", [1e200, 1e308, np.inf, np.nan])
def test_a_network_with_far_weights(value, training_backend, array, rng):
    x, t = samples(array, rng)
    net = with_far_weights(training_backend, array, value)
    assert not np.isfinite(training_backend.to_numpy(net.predict(x))).all()
    assert not np.isfinite(float(net.loss(x, t)))
    assert 0 <= net.accuracy(x, t) <= 1
    found = net.gradient(x, t)
    assert not all(np.isfinite(training_backend.to_numpy(g)).all() for g in found.values())
    for ask in (lambda: net.numerical_gradient(x, t), lambda: check_gradient(net, x, t)):
        with pytest.raises(ValueError, match="no gradient"):
            ask()


def test_threads(rng, monkeypatch):
    """They start with NumPy's own settings, and are given those of the call that they work for."""
    monkeypatch.setattr(columns, "WORTH_A_THREAD", 0)
    monkeypatch.setattr(NumpyBackend, "workers", 2)
    net = with_far_weights("numpy", np.asarray, 1e308)
    with pytest.raises(ValueError, match="no gradient to be had"):
        net.numerical_gradient(rng.normal(size=(7, 6)), rng.integers(0, 4, 7))
    seen = list(net.backend.map(lambda _: np.geterr()["over"], range(3)))
    assert seen == ["raise"] * 3


@pytest.mark.parametrize("compiled", [False, True])
def test_training_that_diverges(compiled, training_backend, array, rng):
    if compiled and training_backend.name == "torch":
        pytest.skip("it takes half a minute, and warnings are NumPy's")
    x, t = samples(array, rng)
    trainer = Trainer(network(training_backend, ReLU()), SGD(lr=1e300), batch_size=7, seed=0, compile=compiled)
    with pytest.raises(DivergedError):
        trainer.fit(x, t, iterations=20, progress=False)


def test_products(backend, array):
    """Of layers, of the book's classes, and of variables, forward and back."""
    if backend.name == "dask":
        pytest.skip(LATER)
    a, b, ones = array([FAR] * 2), array([[value, 1.0] for value in FAR]), array([[1.0, 1.0]] * 2)
    params = {"W": b, "b": array([0.0, 0.0])}
    y, residuals = Affine(6, 2).forward(params, a)
    assert np.isnan(backend.to_numpy(y)).all()
    dx, grads = Affine(6, 2).backward(params, residuals, y)
    layer = book.Affine(b, params["b"])
    layer.forward(a)
    np.testing.assert_array_equal(backend.to_numpy(layer.backward(y)), backend.to_numpy(dx))
    np.testing.assert_array_equal(backend.to_numpy(layer.dW), backend.to_numpy(grads["W"]))
    v, w = graph.variable(a), graph.variable(b)
    product = operator.matmul(v, w)
    product.backward(ones)
    assert np.isnan(backend.to_numpy(product.value)).all()
    np.testing.assert_array_equal(backend.to_numpy(w.grad), np.repeat(2 * np.asarray(FAR)[:, None], 2, axis=1))
    assert backend.to_numpy(metrics.confusion_matrix(array([0, 1, 1]), array([0, 1, 0]))).tolist() == [[1, 1], [0, 1]]
