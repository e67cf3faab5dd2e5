"""Predictions in half precision, beside those in single."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import MultiLayerNet, ResNet, Sequential, SimpleConvNet, TwoLayerNet, half
from xpnet.layers import Affine, Embedding, ReLU
from xpnet.losses import MeanSquaredError


@pytest.fixture
def half_backend(backend):
    if not hasattr(backend.xp, "float16"):
        pytest.skip(f"{backend.name} has no float16")
    return backend


NETS = {
    "TwoLayerNet": (lambda **o: TwoLayerNet(64, 20, 10, weight_init_std=0.2, **o), (64,)),
    "SimpleConvNet": (lambda **o: SimpleConvNet((1, 8, 8), {"filter_size": 3}, 20, 10, 0.2, **o), (1, 8, 8)),
    "ResNet": (lambda **o: ResNet((1, 8, 8), [4, 8], **o), (1, 8, 8)),
}


@pytest.mark.parametrize("name", NETS)
def test_scores_are_those_of_single_precision_to_three_digits(name, half_backend, array):
    make, shape = NETS[name]
    net, x = make(seed=0, backend=half_backend), np.random.default_rng(1).random((50, *shape), "float32")
    small = half(net)
    single = half_backend.to_numpy(net.predict(array(x)))
    found = small.predict(array(x))
    assert found.dtype == half_backend.xp.float16
    np.testing.assert_allclose(half_backend.to_numpy(found).astype("float32"), single, atol=5e-3 * np.abs(single).max())
    assert all(p.dtype == half_backend.xp.float16 for p in (small.params | small.buffers).values())
    assert small.nbytes == 2 * sum(a.size for a in half_numpy(net))
    answers = single.argmax(axis=1)
    assert small.accuracy(array(x), array(answers)) >= 0.95
    assert net.accuracy(array(x), array(answers)) == 1
    assert next(iter(net.params.values())).dtype == half_backend.xp.float32  # as it was


def half_numpy(net):
    return [net.backend.to_numpy(a) for a in (net.params | net.buffers).values()]


def test_each_number_is_rounded_as_numpy_does(half_backend, array):
    """One Affine: the product of rounded numbers in float32, and its result rounded."""
    net, x = Sequential([Affine(30, 4)], seed=0, backend=half_backend), np.random.default_rng(0).random((5, 30), "f4")
    W = half_backend.to_numpy(net.params["W1"]).astype("float16").astype("float64")
    exact = x.astype("float16").astype("float64") @ W
    found = half_backend.to_numpy(half(net).predict(array(x))).astype("float64")
    np.testing.assert_allclose(found, exact, rtol=2**-11, atol=1e-5)


def test_one_sample_is_a_row(half_backend, array):
    small = half(TwoLayerNet(4, 3, 2, seed=0, backend=half_backend))
    assert small.predict(array(np.ones(4), "float32")).shape == (2,)


def test_what_is_larger_than_65504_is_infinite():
    net = Sequential([Affine(1, 2)], weight_init=1.0, seed=0, backend="numpy")
    net.params["W1"] = np.asarray([[1.0, -1.0]], "float32")
    np.testing.assert_array_equal(half(net).predict(np.asarray([[60000.0], [1e5]], "float32"))[1], [np.inf, -np.inf])


def test_integers_go_into_an_embedding():
    net = Sequential([Embedding(5, 4), Affine(12, 2)], seed=0, backend="numpy")
    x = np.asarray([[0, 4, 2], [1, 1, 3]])
    np.testing.assert_allclose(half(net).predict(x), net.predict(x), atol=5e-3)


def test_a_network_of_float64_is_rounded_too():
    net = MultiLayerNet(4, [5, 5], 3, dtype="float64", seed=0, backend="numpy")
    x = np.random.default_rng(0).random((6, 4))
    assert half(net).predict(x).dtype == np.float16
    np.testing.assert_allclose(half(net).predict(x), net.predict(x), atol=1e-2)


def test_what_is_not_possible_is_refused(backend):
    with pytest.raises(TypeError, match=r"net is of type list, expected a network: half\(net\)"):
        half([])
    if not hasattr(backend.xp, "float16"):
        with pytest.raises(ValueError, match=r"has no float16; net.to\(\) another"):
            half(TwoLayerNet(4, 3, 2, backend=backend))


def test_accuracy_needs_classes():
    net = Sequential([Affine(3, 1), ReLU(), Affine(1, 1)], MeanSquaredError(), seed=0, backend="numpy")
    with pytest.raises(ValueError, match="accuracy compares classes"):
        half(net).accuracy(np.ones((2, 3), "float32"), np.ones((2, 1), "float32"))


def test_images_that_do_not_fit_are_refused_by_the_layer():
    net = SimpleConvNet((1, 8, 8), {"filter_size": 3}, seed=0, backend="numpy")
    with pytest.raises(ValueError, match=r"Conv1: x has shape \(2, 8, 8\)"):
        half(net).predict(np.ones((2, 8, 8), "float32"))
