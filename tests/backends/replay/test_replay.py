"""Recorded steps: what is replayed is what the step itself does to the last bit, on memory of its own."""

from __future__ import annotations

import numpy as np
import pytest
from optimizer_rules import CASES, OPTIONS
from replaying import assert_same, compared, net_of

from xpnet import SGD, MultiLayerNet, Sequential, losses
from xpnet.layers import GELU, Affine, Dropout, Identity, LeakyReLU, ReLU, Rescale, Sigmoid, Softmax, Tanh
from xpnet.optimizers import OPTIMIZERS, Accumulate, Adam, ClipByNorm, WeightDecay
from xpnet.schedules import ReduceOnPlateau


@pytest.fixture
def small(rng):
    return rng.normal(size=(60, 7)), rng.integers(0, 4, 60)


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name}-{options}" for name, options in CASES])
def test_every_optimizer(name, options, small):
    assert_same(compared(net_of(Tanh(), Affine(6, 4)), OPTIMIZERS[name](**options), *small))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["sgd", "adam", "lion"])
def test_every_option_of_an_optimizer(name, option, small):
    assert_same(compared(net_of(Tanh(), Affine(6, 4)), OPTIMIZERS[name](**OPTIONS[option]), *small))


def test_the_factor_of_reduce_on_plateau(small):
    assert_same(compared(net_of(Affine(6, 4)), Adam(ReduceOnPlateau(0.1)), *small))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", [Identity(), ReLU(), LeakyReLU(), Sigmoid(), Tanh(), GELU(), Softmax()], ids=str)
def test_every_layer(layer, dtype, rng):
    x, t = rng.normal(size=(60, 7)).astype(dtype), rng.integers(0, 4, 60)
    net = net_of(layer, Affine(6, 5), layer, Affine(5, 4), dtype=dtype)
    assert_same(compared(net, SGD(0.1), x, t, steps=10))


@pytest.mark.parametrize("loss", [losses.SigmoidWithLoss(), losses.SumSquaredError(), losses.MeanSquaredError()])
def test_every_loss_with_targets_of_its_kind(loss, rng):
    found = compared(net_of(Affine(6, 4), loss=loss), SGD(0.01), rng.normal(size=(60, 7)), rng.random((60, 4)))
    assert_same(found)


def test_one_hot_targets(small):
    x, t = small
    assert_same(compared(net_of(Affine(6, 4)), SGD(0.1), x, np.eye(4, dtype="uint8")[t]))


def test_what_layers_draw_is_that_of_each_step(small):
    assert_same(compared(net_of(ReLU(), Dropout(0.5), Affine(6, 4)), SGD(0.1), *small))


@pytest.mark.parametrize("loss", [losses.SoftmaxWithLoss(), losses.MeanSquaredError()])
def test_weights_of_samples(loss, small, rng):
    x, t = small
    t = t if isinstance(loss, losses.SoftmaxWithLoss) else rng.random((60, 4))
    assert_same(compared(net_of(Affine(6, 4), loss=loss), SGD(0.1), x, t, weight=rng.random(60)))


@pytest.mark.parametrize("transforms", [(ClipByNorm(0.1),), (Accumulate(3), WeightDecay(0.1))], ids=str)
def test_transforms(transforms, small):
    assert_same(compared(net_of(Affine(6, 4)), Adam(0.1), *small, transforms=transforms))


@pytest.mark.parametrize("hidden", [50, 700])
def test_bytes_that_are_rescaled(hidden, digits):
    """Few hidden units leave the factor to the product with the weights, many do not."""
    x, t = np.round(digits[0][0][:500] * 255).astype("uint8"), digits[0][1][:500]
    layers = [Rescale(1 / 255), Affine(784, hidden), ReLU(), Affine(hidden, 10)]
    net = Sequential(layers, seed=0, dtype="float64", backend="numpy")
    assert_same(compared(net, SGD(0.1), x, t, batch=20))


@pytest.mark.parametrize("name", ["sgd", "adam", "ftrl", "nadam"])
def test_large_arrays(name, digits):
    """Arrays that do not fit the cache, some of which lie where others were before."""
    x, t = digits[0][0][:500].astype("float64"), digits[0][1][:500]
    net = MultiLayerNet(784, [301, 300], 10, seed=0, dtype="float64", backend="numpy")
    assert_same(compared(net, OPTIMIZERS[name](), x, t, batch=250, steps=6))
