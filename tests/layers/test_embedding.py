"""Embedding against ``torch.nn.functional.embedding`` and NumPy's indexing; Rescale, and what integers may go into."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import assert_close, gradients

from xpnet import Sequential, load_network
from xpnet.layers import Affine, Chain, Concat, Embedding, Rescale, Tanh


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("shape", [(6,), (4, 3), (2, 3, 2)])
def test_rows_by_number(shape, dtype, backend, array, rng):
    layer, W, x = Embedding(7, 3), rng.normal(size=(7, 3)), rng.integers(0, 7, shape).astype(dtype)
    params = {"W": array(W)}
    y, residuals = layer.forward(params, array(x))
    np.testing.assert_array_equal(backend.to_numpy(y), W[x])
    if backend.trains:
        dy = rng.normal(size=(*shape, 3))
        dx, grads = layer.backward(params, residuals, array(dy))
        wanted = np.zeros((7, 3))
        np.add.at(wanted, x, dy)
        assert dx is None
        np.testing.assert_allclose(backend.to_numpy(grads["W"]), wanted, rtol=0, atol=1e-14)


def test_it_is_that_of_torch(training_backend, array, rng):
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    W, x, dy = rng.normal(size=(7, 3)), rng.integers(0, 7, (5, 4)), rng.normal(size=(5, 4, 3))
    theirs = torch.from_numpy(W.copy()).requires_grad_()
    torch.nn.functional.embedding(torch.from_numpy(x), theirs).backward(torch.from_numpy(dy))
    layer, params = Embedding(7, 3), {"W": array(W)}
    _, residuals = layer.forward(params, array(x))
    grads = layer.parameter_gradients(params, residuals, array(dy))
    np.testing.assert_allclose(training_backend.to_numpy(grads["W"]), theirs.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_a_network_of_words(training_backend, array, rng):
    """Two tables side by side and what is behind them, against the oracles."""
    b = training_backend
    tables = Concat(Embedding(9, 4), Chain(Embedding(9, 3), Tanh()))
    net = Sequential([tables, Affine(7, 3)], seed=0, dtype="float64", backend=b, weight_init=0.5)
    assert list(net.params) == ["Concat1.W1", "Concat1.Chain1.W1", "W1", "b1"]
    x, t = array(rng.integers(0, 9, 8)), array(rng.integers(0, 3, 8))
    host = [b.to_numpy(p).copy() for p in net.params.values()]

    def loss(*values):
        return net.loss_layer.forward(net.forward(dict(zip(net.params, values, strict=True)), x), t)[0]

    wanted, tolerance = gradients(b, loss, *host)
    for g, w in zip(net.gradient(x, t).values(), wanted, strict=True):
        assert_close(b.to_numpy(g), w, max(tolerance, 1e-9))


def test_integers_without_a_row_are_refused_before_anything_is_done(training_backend, array):
    net = Sequential([Concat(Embedding(9, 4), Embedding(5, 3)), Affine(7, 3)], seed=0, backend=training_backend)
    for x in ([0, 5], [-1, 2]):
        message = rf"Concat1\.Embedding\d: x has integers from {min(x)} to {max(x)}, expected 0 to \d"
        with pytest.raises(ValueError, match=message):
            net.gradient(array(x), array([0, 1]))


def test_floating_point_numbers_are_no_rows(array):
    with pytest.raises(TypeError, match=r"Embedding: x is float64, expected integers from 0 to 4"):
        Embedding(5, 2).forward({"W": array(np.zeros((5, 2)))}, array([0.0, 1.0]))
    net = Sequential([Chain(Embedding(5, 2)), Affine(2, 2)], seed=0, backend="numpy")
    with pytest.raises(TypeError, match=r"x is float64, and the first layer takes integers"):
        net.predict(np.zeros(3))
    with pytest.raises(TypeError, match=r"^Chain1\.Embedding1: x is float64"):
        net.forward(net.params, np.zeros(3))
    for sizes in ((0, 2), (5, 2.5)):
        with pytest.raises(ValueError, match="Embedding: "):
            Embedding(*sizes)


def test_branches_that_take_different_inputs_are_refused_when_they_are_made():
    message = "Concat: Embedding1 for integers beside Rescale1, Affine1 for other numbers, and all get one input"
    with pytest.raises(ValueError, match=message):
        Concat(Embedding(5, 2), Rescale(0.5), Affine(3, 2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_images_of_bytes_are_converted_a_batch_at_a_time(dtype, backend, array, rng, tmp_path):
    images, t = rng.integers(0, 256, (5, 2, 3)).astype("uint8"), rng.integers(0, 2, 5)
    net = Sequential([Rescale(1 / 255), Affine(6, 2)], seed=0, dtype=dtype, backend=backend)
    y = net.predict(array(images))
    assert y.dtype == net.dtype
    scaled = (images.astype(dtype) * (1 / 255)).astype(dtype)
    np.testing.assert_allclose(backend.to_numpy(y), backend.to_numpy(net.predict(array(scaled * 255))), rtol=1e-5)
    net.save(tmp_path / "net")
    again = load_network(tmp_path / "net", backend=backend)
    np.testing.assert_array_equal(backend.to_numpy(again.predict(array(images))), backend.to_numpy(y))
    assert float(net.loss(array(images), array(t))) == float(again.loss(array(images), array(t)))


def test_an_empty_batch_has_no_gradient(training_backend, array):
    layer, params = Embedding(5, 2), {"W": array(np.ones((5, 2)))}
    y, residuals = layer.forward(params, array(np.zeros((0, 3), "int64")))
    assert y.shape == (0, 3, 2)
    grads = layer.parameter_gradients(params, residuals, array(np.zeros((0, 3, 2))))
    assert training_backend.to_numpy(grads["W"]).tolist() == np.zeros((5, 2)).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_over_255_are_rounded_once(dtype, backend, array):
    """As they are by who divides them by 255 before; and where the inverse is no whole number they are multiplied."""
    x = np.arange(256, dtype="uint8")
    net = Sequential([Rescale(1 / 255), Affine(256, 2)], dtype=dtype, backend=backend)
    y, _ = Rescale(1 / 255).forward({}, net.as_floating(array(x[None, :], "uint8")))
    rounded = 2 * np.finfo(dtype).eps if backend.name == "jax" else 0  # XLA makes products of quotients
    np.testing.assert_allclose(backend.to_numpy(y), np.divide(x, 255, dtype=dtype)[None, :], rtol=rounded)
    for scale in (0.3, 0.0, -2.0, -0.5, 1.0, 1e-30):
        y, _ = Rescale(scale).forward({}, net.as_floating(array(x[None, :], "uint8")))
        np.testing.assert_allclose(backend.to_numpy(y), (x[None, :] * scale).astype(dtype), rtol=1e-6)
