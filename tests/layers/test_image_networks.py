"""Networks of images: the same losses on every library, recorded, traced and compiled; and right gradients."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from replaying import assert_same, compared

from xpnet import CompileWarning, Sequential, check_gradient, get_backend
from xpnet.layers import (
    ELU,
    GELU,
    Affine,
    AvgPool2d,
    BatchNorm,
    Chain,
    Conv1d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    LayerNorm,
    MaxPool2d,
    ReLU,
    Reshape,
    Residual,
    Softplus,
    Swish,
)
from xpnet.optimizers import SGD, Adam

NETWORKS = {
    "conv, pool, relu, twice": [
        *(Conv2d(1, 4, 3, padding=1), MaxPool2d(2), ReLU(), Conv2d(4, 5, 3, padding=1), MaxPool2d(2), ReLU()),
        Affine(20, 3),
    ],
    "book": [Conv2d(1, 3, 5), ReLU(), MaxPool2d(2), Affine(12, 6), ReLU(), Affine(6, 3)],
    "many channels": [Conv2d(1, 6, 3, padding=1), ReLU(), Conv2d(6, 6, 3, padding=2), MaxPool2d(3, 2), Affine(96, 3)],
    "strides and groups": [
        *(Conv2d(1, 4, 3, stride=2, padding=1), Swish(), Conv2d(4, 6, (3, 1), (2, 1), groups=2), AvgPool2d((1, 2))),
        *(Flatten(), Affine(12, 3)),
    ],
    "residual": [
        *(Conv2d(1, 4, 3, padding=1), Residual(Chain(Conv2d(4, 4, 3, padding=1), ReLU(), Conv2d(4, 4, 1)))),
        *(GlobalAvgPool2d(), Affine(4, 3)),
    ],
    "sequences": [Reshape((2, 32)), Conv1d(2, 3, 3, dilation=2), Softplus(), Affine(84, 3)],
    "others": [Conv2d(1, 2, 3), LayerNorm((6, 6)), GELU(exact=True), AvgPool2d(3, 2, 1), ELU(0.5), Affine(18, 3)],
}


@pytest.fixture
def samples(rng):
    return rng.random((30, 1, 8, 8)), rng.integers(0, 3, 30)


def network(name, dtype="float64", backend="numpy"):
    return Sequential(NETWORKS[name], seed=1, dtype=dtype, backend=backend)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(0.01)], ids=["SGD", "Adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_recorded_steps_are_the_steps(name, optimizer, dtype, samples):
    x, t = samples
    assert_same(compared(network(name, dtype), optimizer, x.astype(dtype), t))


@pytest.mark.parametrize("name", NETWORKS)
def test_losses_and_gradients_are_the_same_on_every_library(name, training_backend, array, samples):
    x, t = samples
    net = network(name)
    loss, grads = net.value_and_grad(net.params, x, t)
    theirs = net.to(training_backend)
    found, found_grads = theirs.value_and_grad(theirs.params, array(x), array(t))
    assert float(found) == pytest.approx(float(loss), rel=1e-12)
    for key, g in grads.items():
        np.testing.assert_allclose(training_backend.to_numpy(found_grads[key]), g, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_central_differences(name, samples):
    x, t = samples
    report = check_gradient(network(name), x[:3], t[:3])
    assert report.passed, str(report)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_jax_grads_of_the_same_code(name, samples):
    jax = pytest.importorskip("jax", reason="JAX is not installed, and it is its gradients that are compared with")
    x, t = map(jax.numpy.asarray, samples)
    net = network(name, backend="jax")
    wanted = jax.grad(lambda params: net.loss_layer.forward(net.forward(params, x), t)[0])(net.params)
    _, grads = jax.jit(net.value_and_grad)(net.params, x, t)
    for key, g in wanted.items():
        np.testing.assert_allclose(np.asarray(grads[key]), np.asarray(g), rtol=1e-9, atol=1e-11)


def test_shapes_are_known_before_anything_is_computed():
    net = network("strides and groups")
    assert net.chain.output_shape((1, 8, 8)) == (3,)
    with pytest.raises(ValueError, match=r"Conv1: a sample of shape \(3, 8, 8\), with 3 channels; expected 1 channel"):
        net.chain.output_shape((3, 8, 8))
    with pytest.raises(ValueError, match=r"Conv1: x has shape \(30, 8, 8\).*x\[:, None\]"):
        net.predict(np.zeros((30, 8, 8)))
    assert list(network("residual").params)[:4] == ["W1", "b1", "Residual1.W1", "Residual1.b1"]


def test_statistics_of_entries_and_of_channels(training_backend, array, rng):
    """The book has a mean for each entry of a sample, others for each channel."""
    x = rng.normal(size=(6, 2, 3, 4))
    for layer, axes, shape in ((BatchNorm(2), (0, 2, 3), (1, 2, 1, 1)), (BatchNorm((2, 3, 4)), (0,), (1, 2, 3, 4))):
        params = layer.init(rng, None) | layer.buffers()
        arrays = {name: array(a) for name, a in params.items()}
        y, residuals, updates = layer.train(arrays, array(x))
        mean, var = x.mean(axes), x.var(axes)
        wanted = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-5)
        np.testing.assert_allclose(training_backend.to_numpy(y), wanted, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(training_backend.to_numpy(updates["mean"]), 0.1 * mean, rtol=1e-10)
        dx, grads = layer.backward(arrays, residuals, array(np.ones_like(x)))
        assert np.abs(training_backend.to_numpy(dx)).max() < 1e-10, "a shift of y is taken off again"
        assert tuple(grads["gamma"].shape) == mean.shape
    with pytest.raises(ValueError, match=r"BatchNorm: x has shape \(6, 2, 3, 4\), expected \(N, 2, 4, 3\)$"):
        BatchNorm((2, 4, 3)).forward({}, x)


def test_windows_are_views_and_copies_alike(rng):
    """What NumPy sees where rows stand in memory is what is copied elsewhere."""
    from xpnet.layers.windows import stacked_rows

    strict = get_backend("strict")
    x = rng.normal(size=(2, 7, 3, 5))
    for offsets, step, count in (([0, 1, 2], 1, 5), ([1, 2], 2, 3), ([0, 2, 4], 1, 3), ([0], 3, 3)):
        seen = stacked_rows(x, offsets, step, count)
        copied = strict.to_numpy(stacked_rows(strict.asarray(x), offsets, step, count))
        np.testing.assert_array_equal(seen, copied)
        assert np.may_share_memory(seen, x) == (offsets != [0, 2, 4])


def test_a_training_step_records_without_a_warning(samples):
    x, t = samples
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        compared(network("book", "float32"), Adam(), x.astype("float32"), t, steps=2)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_finds_the_same_gradients(name, samples):
    """That of the forward pass alone, recorded by its operations."""
    from xpnet.graph import variable

    x, t = samples
    net = network(name)
    recorded = {key: variable(p) for key, p in net.params.items()}
    net.loss_layer.forward(net.forward(recorded, variable(x)), t)[0].backward()
    for key, g in net.value_and_grad(net.params, x, t)[1].items():
        np.testing.assert_allclose(recorded[key].grad, g, rtol=1e-9, atol=1e-11)


def test_relu_and_pooling_may_change_places(samples, array, backend):
    """The largest entry of those cut off at zero is the largest entry cut off, and dy goes the same way."""
    x = np.round(np.random.default_rng(0).normal(size=(4, 2, 6, 8)), 1)
    dy = np.random.default_rng(1).normal(size=(4, 2, 3, 4))
    found = []
    for chain in (Chain(ReLU(), MaxPool2d(2)), Chain(MaxPool2d(2), ReLU())):
        y, tape = chain.forward({}, array(x))
        found.append([backend.to_numpy(a) for a in (y, chain.backward({}, tape, array(dy))[0])])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
