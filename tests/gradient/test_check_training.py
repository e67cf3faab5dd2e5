"""Gradient checks of losses by themselves, with weights of samples, and of networks as they train."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import Sequential, check_gradient
from xpnet.layers import Affine, BatchNorm, Chain, Dropout, ReLU, Residual
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss, SumSquaredError

LOSSES = [SoftmaxWithLoss(), SigmoidWithLoss(), SumSquaredError(), MeanSquaredError()]
modes = pytest.mark.parametrize("mode", ["full", "directional"])


@modes
@pytest.mark.parametrize("loss", [*LOSSES, SoftmaxWithLoss(reduction="sum")], ids=str)
def test_losses_of_sequences_with_weights(loss, mode, training_backend, array, rng):
    y, t, weight = rng.normal(size=(2, 3, 4)), rng.dirichlet(np.ones(4), (2, 3)), rng.uniform(size=(2, 3))
    for w in (None, weight, weight[:, 0], np.asarray([0, 1]), np.asarray([[True, True, False]] * 2)):
        given = None if w is None else array(w)
        assert check_gradient(loss, array(y), array(t), weight=given, mode=mode).passed
    for bad, message in ((-weight, "weight of -"), (weight[0], r"\(3,\), expected \(2,\) or \(2, 3\)")):
        with pytest.raises(ValueError, match=message):
            check_gradient(loss, array(y), array(t), weight=array(bad), mode=mode)


class Unweighted(SoftmaxWithLoss):
    """The gradient of the loss without weights."""

    def forward(self, y, t, weight=None):
        return super().forward(y, t, weight)[0], super().forward(y, t)[1]


def test_a_gradient_that_forgets_the_weights(training_backend, array, rng):
    y, t = array(rng.normal(size=(5, 4))), array([0, 1, 2, 3, 0])
    assert check_gradient(Unweighted(), y, t, weight=array(np.ones(5))).passed
    assert not check_gradient(Unweighted(), y, t, weight=array(np.arange(5))).passed


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.usefixtures("at_home")
def test_losses_sample_by_sample(loss, backend, array, rng):
    """``forward`` is the mean or the sum of ``per_sample``."""
    y, t = rng.normal(size=(5, 4)), rng.dirichlet(np.ones(4), 5)
    each = backend.to_numpy(loss.per_sample(array(y), array(t)))
    assert each.shape == (5,)
    alone = [float(loss.forward(array(y[i : i + 1]), array(t[i : i + 1]))[0]) for i in range(5)]
    np.testing.assert_allclose(each, alone, rtol=1e-12)
    assert float(loss.forward(array(y), array(t))[0]) == pytest.approx(
        each.mean() if loss.reduction == "mean" else each.sum(), rel=1e-12
    )


@pytest.mark.parametrize("target", [[0, 0, 1, 0], [0.1, 0.2, 0.3, 0.4], [0.3, 0, 0.2, 0]])
@pytest.mark.usefixtures("at_home")
def test_difference_of_softmax_with_loss(target, backend, array, rng):
    y, d, t = rng.normal(size=(5, 1, 4)), rng.uniform(-9, 9, (5, 3, 4)), np.asarray([[target]] * 5, "float64")
    found = backend.to_numpy(SoftmaxWithLoss().per_sample_difference(array(y), array(d), array(t)))
    moved, fixed = (backend.to_numpy(SoftmaxWithLoss().per_sample(array(a), array(t))) for a in (y + d, y))
    np.testing.assert_allclose(found, moved - fixed, rtol=1e-10, atol=1e-10)


def nested(backend):
    """Dropout and batch normalization inside of a residual connection, with a kink beside them."""
    block = Chain(Affine(6, 6), BatchNorm(6), ReLU(), Dropout(0.5), Affine(6, 6))
    layers = [Affine(6, 6), Residual(block), ReLU(), Affine(6, 4)]
    return Sequential(layers, weight_init="xavier", seed=1, dtype="float64", backend=backend)


@modes
def test_nested_networks_as_they_predict_and_as_they_train(mode, training_backend, array, rng):
    net, x, t = nested(training_backend), array(rng.normal(size=(7, 6))), array(rng.integers(0, 4, 7))
    weight = array(rng.uniform(size=7))
    if mode == "directional" or not training_backend.compiles_shapes:
        reports = [check_gradient(net, x, t, mode=mode, training=training, weight=weight) for training in (False, True)]
        assert all(report.passed for report in reports), "\n".join(map(str, reports))
        assert reports[0].rows[0].largest != reports[1].rows[0].largest  # they are two functions
    draws = {name: training_backend.asarray(a) for name, a in net.draws(np.random.default_rng(0), (7, 6)).items()}
    _, grads, updates = net.training_value_and_grad(net.params | draws, x, t)
    assert list(grads) == list(net.params)
    assert list(updates) == ["Residual1.BatchNorm1.mean", "Residual1.BatchNorm1.var"]


class NormThatForgetsItsBatch(BatchNorm):
    """Its way back takes mean and variance of the batch for constants."""

    def backward(self, params, residuals, dy):
        normal, scale, _ = residuals
        return super().backward(params, (normal, scale, False), dy)


def test_a_wrong_way_back_in_training_alone_is_found(training_backend, array, rng):
    x = array(rng.normal(size=(7, 6)))
    assert check_gradient(NormThatForgetsItsBatch(6), x).passed
    assert not check_gradient(NormThatForgetsItsBatch(6), x, training=True).passed
