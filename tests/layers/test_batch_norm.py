"""Batch normalization: what ``torch.nn`` computes, in training and in prediction; and its mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import Sequential
from xpnet.layers import Affine, BatchNorm, Chain, Residual, TimeDistributed

SHAPES = [(6, 5), (2, 5), (4, 5, 3), (1, 5, 3), (4, 5, 3, 2)]


def of_torch(layer, params, shape):
    """Theirs, with the same parameters and buffers."""
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    kind = torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d
    theirs = kind(layer.features, eps=layer.eps, momentum=layer.momentum, dtype=torch.float64)
    for name, own in {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}.items():
        getattr(theirs, own).data = torch.from_numpy(np.array(params[name]))
    return torch, theirs


def params_of(layer, rng):
    shape = (layer.features,)
    return {
        "gamma": rng.normal(size=shape),
        "beta": rng.normal(size=shape),
        "mean": rng.normal(size=shape),
        "var": 0.5 + rng.random(shape),
    }


def assert_close(b, found, wanted, tolerance=1e-12):
    wanted = wanted.detach().numpy()
    np.testing.assert_allclose(b.to_numpy(found), wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["forward", "train"])
def test_it_is_that_of_torch(mode, shape, training_backend, array, rng):
    b, layer = training_backend, BatchNorm(5, momentum=0.2, eps=1e-3)
    params, x, dy = params_of(layer, rng), 3 + 2 * rng.normal(size=shape), rng.normal(size=shape)
    torch, theirs = of_torch(layer, params, shape)
    theirs.train(mode == "train")
    given = {name: array(a) for name, a in params.items()}
    y, residuals, *updates = getattr(layer, mode)(given, array(x))
    dx, grads = layer.backward(given, residuals, array(dy))
    x_theirs = torch.from_numpy(x).requires_grad_()
    y_theirs = theirs(x_theirs)
    y_theirs.backward(torch.from_numpy(dy))
    assert_close(b, y, y_theirs)
    assert_close(b, dx, x_theirs.grad)
    assert_close(b, grads["gamma"], theirs.weight.grad)
    assert_close(b, grads["beta"], theirs.bias.grad)
    if mode == "train":
        assert_close(b, updates[0]["mean"], theirs.running_mean)
        assert_close(b, updates[0]["var"], theirs.running_var)
    for name, a in params.items():
        np.testing.assert_array_equal(b.to_numpy(given[name]), a)


@pytest.mark.parametrize("shape", [(8, 5), (4, 5, 3), (3, 5, 4, 2)])
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0])
def test_running_statistics_after_fifty_steps(momentum, shape, training_backend, array, rng):
    b, layer = training_backend, BatchNorm(5, momentum)
    params = layer.init(rng, None) | layer.buffers()
    torch, theirs = of_torch(layer, params, shape)
    given = {name: array(a) for name, a in params.items()}
    for _ in range(50):
        x = 1 + 3 * rng.normal(size=shape)
        given |= layer.train(given, array(x))[2]
        theirs(torch.from_numpy(x))
    np.testing.assert_allclose(b.to_numpy(given["mean"]), theirs.running_mean.numpy(), rtol=0, atol=1e-12)
    assert_close(b, given["var"], theirs.running_var)
    theirs.eval()
    x = rng.normal(size=shape)
    assert_close(b, layer.predict(given, array(x)), theirs(torch.from_numpy(x)))


def test_a_network_takes_statistics_of_the_batch_only_in_training(training_backend, array, rng):
    b = training_backend
    net = Sequential([Affine(4, 5), BatchNorm(5), Affine(5, 3)], seed=0, dtype="float64", backend=b)
    x, t = array(2 + rng.normal(size=(8, 4))), array(rng.integers(0, 3, 8))
    assert list(net.params) == ["W1", "b1", "gamma1", "beta1", "W2", "b2"]
    assert list(net.buffers) == ["BatchNorm1.mean", "BatchNorm1.var"]
    before = {name: b.to_numpy(a).copy() for name, a in net.buffers.items()}
    loss, grads, updates = net.training_value_and_grad(net.params | net.buffers, x, t)
    assert updates.keys() == net.buffers.keys()
    plain, plain_grads = net.value_and_grad(net.params, x, t)
    assert float(loss) != float(plain) == float(net.loss(x, t))
    for name, a in before.items():
        np.testing.assert_array_equal(b.to_numpy(net.buffers[name]), a, err_msg="nothing was changed on the way")
    # what comes behind a mean over the batch does not change with a bias before it
    assert np.abs(b.to_numpy(grads["b1"])).max() < 1e-14 < np.abs(b.to_numpy(plain_grads["b1"])).max()
    hidden = b.to_numpy(x) @ b.to_numpy(net.params["W1"])
    np.testing.assert_allclose(b.to_numpy(updates["BatchNorm1.mean"]), 0.1 * hidden.mean(axis=0), rtol=1e-12)
    wanted = 0.9 + 0.1 * hidden.var(axis=0, ddof=1)
    np.testing.assert_allclose(b.to_numpy(updates["BatchNorm1.var"]), wanted, rtol=1e-12)


def test_in_a_time_distributed_layer_all_steps_are_one_batch(backend, array, rng):
    x, layer = rng.normal(size=(3, 4, 5)), BatchNorm(5)
    params = {name: array(a) for name, a in params_of(layer, rng).items()}
    y, _, updates = TimeDistributed(layer).train(params, array(x))
    flat, _, wanted = layer.train(params, array(x.reshape(12, 5)))
    np.testing.assert_array_equal(backend.to_numpy(y).reshape(12, 5), backend.to_numpy(flat))
    for name, a in wanted.items():
        np.testing.assert_array_equal(backend.to_numpy(updates[name]), backend.to_numpy(a))


def test_mistakes_are_told(array):
    layer = BatchNorm(3)
    params = {name: array(a) for name, a in (layer.init(None, None) | layer.buffers()).items()}
    for method in (layer.forward, layer.train):
        with pytest.raises(ValueError, match=r"BatchNorm: x has shape \(2, 4\), expected \(N, 3\) or \(N, 3, \.\.\.\)"):
            method(params, array(np.zeros((2, 4))))
        with pytest.raises(ValueError, match=r"BatchNorm: x has shape \(3,\)"):
            method(params, array(np.zeros(3)))
    with pytest.raises(ValueError, match=r"shape \(1, 3\) has one value a feature, .* take larger minibatches"):
        layer.train(params, array(np.zeros((1, 3))))
    with pytest.raises(ValueError, match=r"BatchNorm: a sample of shape \(4,\) does not fit, expected \(3, \.\.\.\)"):
        layer.output_shape((4,))
    for options in ({"features": 0}, {"features": 3, "momentum": 1.5}, {"features": 3, "eps": 0}):
        with pytest.raises(ValueError, match="BatchNorm: "):
            BatchNorm(**options)


def test_one_sample_is_predicted_and_an_empty_batch_too(backend, array, rng):
    layer = BatchNorm(3)
    params = params_of(layer, rng)
    given, x = {name: array(a) for name, a in params.items()}, rng.normal(size=(1, 3))
    wanted = params["gamma"] * (x - params["mean"]) / np.sqrt(params["var"] + 1e-5) + params["beta"]
    np.testing.assert_allclose(backend.to_numpy(layer.predict(given, array(x))), wanted, rtol=1e-12)
    assert layer.predict(given, array(np.zeros((0, 3)))).shape == (0, 3)


def test_a_layer_deep_inside_tells_where_it_is():
    net = Sequential([Affine(3, 3), Residual(Chain(BatchNorm(3), Affine(3, 3)))], seed=0, backend="numpy")
    with pytest.raises(ValueError, match=r"^Residual1\.BatchNorm1: a minibatch of shape \(1, 3\)"):
        net.training_value_and_grad(net.params | net.buffers, np.zeros((1, 3), "float32"), np.asarray([0]))


def test_it_starts_as_nothing_at_all(backend, array, rng):
    net = Sequential([BatchNorm(4), Affine(4, 2)], seed=0, dtype="float64", backend=backend)
    x = rng.normal(size=(3, 4))
    y = backend.to_numpy(net.predict(array(x)))
    plain = x / np.sqrt(1 + 1e-5) @ backend.to_numpy(net.params["W1"])
    np.testing.assert_allclose(y, plain, rtol=1e-12)
