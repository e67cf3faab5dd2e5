"""Layers of images: shapes, and what they say of images that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import SGD, Sequential, Trainer
from xpnet.layers import (
    Affine,
    AvgPool2d,
    BatchNorm,
    Chain,
    Conv1d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    MaxPool2d,
    ReLU,
    Reshape,
)
from xpnet.layers.base import shapes_of


def test_global_mean(training_backend, array, rng):
    x, dy = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3))
    y, residuals = GlobalAvgPool2d().forward({}, array(x))
    dx = GlobalAvgPool2d().backward({}, residuals, array(dy))[0]
    np.testing.assert_allclose(training_backend.to_numpy(y), x.mean((2, 3)), rtol=1e-12)
    np.testing.assert_allclose(training_backend.to_numpy(dx), np.broadcast_to(dy[:, :, None, None] / 20, x.shape))
    assert GlobalAvgPool2d().output_shape((3, 4, 5)) == (3,)


def test_shapes_alone(training_backend, array, rng):
    x = rng.normal(size=(2, 3, 4, 5))
    for layer, shape in ((Flatten(), (60,)), (Reshape((5, 12)), (5, 12))):
        y, residuals = layer.forward({}, array(x))
        np.testing.assert_array_equal(training_backend.to_numpy(y), x.reshape(2, *shape))
        assert layer.output_shape((3, 4, 5)) == shape
        dx = layer.backward({}, residuals, y)[0]
        np.testing.assert_array_equal(training_backend.to_numpy(dx), x)
    with pytest.raises(ValueError, match=r"Reshape1: a sample of shape \(4,\) has 4 entries, expected 6: \(2, 3\)"):
        Chain(Flatten(), Reshape((2, 3))).output_shape((1, 2, 2))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 28, 28), r"Conv: x has shape \(5, 28, 28\), expected images \(N, 3, H, W\)"),
        ((3, 28, 28), r"one image is x\[None, ...\]"),
        (
            (5, 28, 28, 3),
            r"\(28, 28, 3\), with 28 channels; expected 3 channels.*its last axis looks like that of the channels",
        ),
        ((5, 1, 28, 28), r"with 1 channel; expected 3 channels: \(3, H, W\)"),
        ((5, 3, 2, 28), r"the kernel of 3 by 3 does not fit into an image of 2 by 28; take larger images or a smaller"),
        ((5, 784), r"expected images \(N, 3, H, W\); make images of rows with Reshape"),
        ((2, 5, 3, 28, 28), "one axis of samples and one of channels"),
    ],
)
def test_images_that_do_not_fit(shape, message, array):
    layer = Conv2d(3, 4, 3)
    with pytest.raises(ValueError, match=message):
        layer.forward({"W": array(np.zeros((4, 3, 3, 3))), "b": array(np.zeros(4))}, array(np.zeros(shape)))


def test_images_without_an_axis_of_channels():
    params = {"W": np.zeros((4, 1, 3, 3)), "b": np.zeros(4)}
    with pytest.raises(ValueError, match=r"x\[:, None\]"):
        Conv2d(1, 4, 3).forward(params, np.zeros((5, 28, 28)))
    with pytest.raises(ValueError, match=r"Conv1: a sample of shape \(28, 28\).*x\[:, None\]"):
        Chain(Conv2d(1, 4, 3)).output_shape((28, 28))
    with pytest.raises(ValueError, match=r"Pool: x has shape \(5, 28, 28\).*x\[:, None\]"):
        MaxPool2d(2).forward({}, np.zeros((5, 28, 28)))


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((784,), r"expected \(1, H, W\); make images of rows with Reshape"),
        ((28, 28), r"images without an axis of channels get it with x\[:, None\]"),
        ((1, 1, 28, 28), "one axis of samples and one of channels"),
    ],
)
def test_a_network_says_the_same_of_samples_that_do_not_fit(shape, advice):
    net = Sequential([Conv2d(1, 2, 3), Flatten(), Affine(1352, 3)], seed=0)
    x, t = np.zeros((4, *shape), "float32"), np.asarray([0, 1, 2, 0])
    for call in (net.gradient, lambda x, t: Trainer(net, SGD(0.1)).fit(x, t, iterations=1, progress=False)):
        with pytest.raises(ValueError, match=advice):
            call(x, t)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Conv2d(1, 4, 3), Conv2d(5, 4, 3)), "Conv2: takes 5 channels and gets 4; they come from Conv1"),
        ((Conv2d(1, 4, 3), ReLU(), MaxPool2d(2), BatchNorm(5)), "BatchNorm1: takes 5 channels and gets 4; they come"),
        ((Conv1d(1, 4, 3), BatchNorm(4), Conv1d(3, 4, 3)), "Conv2: takes 3 channels and gets 4; they come from BatchN"),
    ],
)
def test_channels_that_do_not_fit_are_found_where_a_network_is_made(layers, message):
    with pytest.raises(ValueError, match=message):
        Chain(*layers)


def test_what_counts_channels_anew_is_not_refused():
    Chain(Conv2d(1, 4, 3), Flatten(), Reshape((1, 52, 52)), Conv2d(1, 4, 3))
    Chain(Conv2d(1, 4, 3), ReLU(), AvgPool2d(2), BatchNorm((4, 13, 13)), Conv2d(4, 4, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2d(0, 4, 3), "Conv2d: in_channels is 0, expected a whole number, 1 or more"),
        (lambda: Conv2d(1, 4, 0), "Conv2d: kernel_size is 0, expected a whole number, 1 or more"),
        (lambda: Conv2d(1, 4, (3, 3, 3)), r"kernel_size is \(3, 3, 3\), expected a whole number, or two"),
        (lambda: Conv2d(1, 4, (3, 0)), r"kernel_size\[1\] is 0"),
        (lambda: Conv2d(1, 4, 3, stride=0), "stride is 0"),
        (lambda: Conv2d(1, 4, 3, padding=-1), "padding is -1, expected a whole number, 0 or more"),
        (lambda: Conv2d(3, 4, 3, groups=2), "Conv2d: in_channels is 3, expected a multiple of groups, 2"),
        (lambda: Conv1d(2, 3, 3, groups=2), "Conv1d: out_channels is 3, expected a multiple of groups, 2"),
        (lambda: MaxPool2d(2, padding=2), "MaxPool2d: padding is 2, expected at most half of kernel_size, 2"),
        (lambda: Reshape(784), r"Reshape: shape is 784, expected that of a sample: \(1, 28, 28\)"),
        (
            lambda: Chain(Conv2d(1, 4, 3), Conv2d(3, 4, 3)).output_shape((1, 9, 9)),
            "Conv2: takes 3 channels and gets 4",
        ),
        (lambda: Chain(MaxPool2d(3)).output_shape((1, 2, 9)), "Pool1: the kernel of 3 by 3 does not fit into"),
    ],
)
def test_what_cannot_be_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_layers_are_values():
    assert Conv2d(1, 16, 3, padding=1) == Conv2d(1, 16, 3, 1, 1)
    assert repr(Conv2d(1, 16, 3, padding=1)) == "Conv2d(1, 16, 3, padding=1)"
    assert repr(Conv2d(1, 16, (3, 5), groups=1)) == "Conv2d(1, 16, (3, 5))"
    assert shapes_of(Conv2d(4, 6, (3, 5), groups=2)) == {"W": (6, 2, 3, 5), "b": (6,)}
    assert Conv2d(1, 16, [3, 5]) == Conv2d(1, 16, (3, 5))
