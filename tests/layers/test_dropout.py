"""Dropout: its formula, where it is on and where it is off, and the same masks whatever the library and the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import central_difference

import xpnet.training.loop
import xpnet.training.minibatches
from xpnet import SGD, Sequential, Trainer, check_gradient, load_network
from xpnet.backends.dispatch import namespace
from xpnet.graph import draw, grad
from xpnet.layers import Affine, Dropout, Rescale, Tanh


def network(backend=None, rates=(0.2, 0.5)):
    """Six inputs, four classes, dropout on the inputs and on the hidden units; in float64."""
    first, second = rates
    layers = [Dropout(first), Affine(6, 5), Tanh(), Dropout(second), Affine(5, 4)]
    return Sequential(layers, seed=0, dtype="float64", backend=backend, weight_init="xavier")


def data(samples=50):
    rng = np.random.default_rng(3)
    return rng.normal(size=(samples, 6)), rng.integers(0, 4, samples)


def train(backend=None, rates=(0.2, 0.5), *, iterations=12, sampling="epochs", batch_size=20):
    """Twelve steps, with a short batch at the end of each epoch of three."""
    net = network(backend, rates)
    trainer = Trainer(net, SGD(0.5), batch_size=batch_size, seed=1, sampling=sampling)
    x, t = data()
    trainer.fit(net.backend.asarray(x), net.backend.asarray(t), iterations=iterations, progress=False)
    return trainer


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_formula(dtype, backend, array, rng):
    """y = x m / (1 - rate) and dx = dy m / (1 - rate), in the dtype of x, and nothing given is written to."""
    x, dy, mask = rng.normal(size=(4, 5)), rng.normal(size=(4, 5)), rng.random((4, 5)) > 0.3
    layer, given = Dropout(0.3), array(x, dtype)
    params = {"mask": array(mask)}
    y, residuals = layer.forward(params, given)
    dx, grads = layer.backward(params, residuals, array(dy, dtype))
    tolerance = 1e-15 if dtype == "float64" else 1e-6
    for found, wanted in ((y, x * mask / 0.7), (dx, dy * mask / 0.7)):
        assert found.dtype == backend.dtype(dtype)
        np.testing.assert_allclose(backend.to_numpy(found), wanted, rtol=tolerance, atol=0)
    assert grads == {}
    np.testing.assert_array_equal(backend.to_numpy(given), x.astype(dtype))


def test_torch_computes_the_same_with_its_own_masks(backend, array, rng):
    """Whatever torch leaves out, given as a mask, is left out and scaled in the same way, back and forth."""
    if backend.name != "torch":
        pytest.skip("it is torch that is asked")
    import torch

    x = array(rng.normal(size=(30, 40))).requires_grad_()
    theirs = torch.nn.functional.dropout(x, 0.4, training=True)
    weights = array(rng.normal(size=(30, 40)))
    (slope,) = torch.autograd.grad((theirs * weights).sum(), x)
    y, kept = Dropout(0.4).forward({"mask": theirs != 0}, x.detach())
    torch.testing.assert_close(y, theirs.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(Dropout(0.4).gradient(kept, weights), slope, rtol=1e-14, atol=0)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_masks_leave_out_the_share_and_keep_the_mean(rate):
    mask = Dropout(rate).draws(np.random.default_rng(0), (400, 500))["mask"]
    assert (mask.dtype, mask.shape) == (bool, (400, 500))
    share = 1 - mask.mean()
    assert abs(share - rate) <= 5 * np.sqrt(rate * (1 - rate) / mask.size)  # five standard deviations
    y, _ = Dropout(rate).forward({"mask": mask}, np.ones(mask.shape))
    assert y.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("rate", [1, 1.0, 1.5, -0.1, float("nan"), float("inf"), "0.5", None, True])
def test_rates_that_are_none(rate):
    with pytest.raises(ValueError, match=r"Dropout: rate is .*, expected a finite number, 0 or more and less than 1"):
        Dropout(rate)


def test_a_dropout_is_a_value():
    assert Dropout() == Dropout(0.5)
    assert Dropout(np.float32(0.25)).rate == 0.25
    assert list(network().layers) == ["Dropout1", "Affine1", "Tanh1", "Dropout2", "Affine2"]
    assert list(network().params) == ["W1", "b1", "W2", "b2"]


def test_it_is_off_unless_there_are_masks(training_backend, array):
    """All that is asked of a network beside training is what the network without dropout answers."""
    b = training_backend
    net, plain = network(b), Sequential([Affine(6, 5), Tanh(), Affine(5, 4)], dtype="float64", backend=b)
    plain.params = dict(net.params)
    x, t = (array(values) for values in data(6))
    np.testing.assert_array_equal(b.to_numpy(net.predict(x)), b.to_numpy(plain.predict(x)))
    assert float(net.loss(x, t)) == float(plain.loss(x, t))
    assert net.accuracy(x, t) == plain.accuracy(x, t)
    for name, g in net.gradient(x, t).items():
        np.testing.assert_array_equal(b.to_numpy(g), b.to_numpy(plain.gradient(x, t)[name]))
    if b.name != "jax":  # compilations, and the others stand for it
        for name, g in net.numerical_gradient(x, t, progress=False).items():
            np.testing.assert_allclose(b.to_numpy(g), b.to_numpy(net.gradient(x, t)[name]), atol=1e-8)
        assert check_gradient(net, x, t).passed


def test_the_gradient_with_masks_of_ones_own(training_backend, array):
    """By central differences of the forward pass with the same masks."""
    b, net = training_backend, network(training_backend)
    x, t = data(6)
    rng = np.random.default_rng(5)
    masks = {"Dropout1.mask": rng.random((6, 6)) > 0.2, "Dropout2.mask": rng.random((6, 5)) > 0.5}
    moved = {name: array(mask) for name, mask in masks.items()}
    loss, grads = net.value_and_grad(net.params | moved, array(x), array(t))
    host, values = network("numpy"), {name: b.to_numpy(p).copy() for name, p in net.params.items()}

    def loss_at(name, value):
        scores = host.forward(values | masks | {name: value}, x)
        return float(host.loss_layer.forward(scores, t)[0])

    assert float(loss) == pytest.approx(loss_at("W1", values["W1"]), rel=1e-12)
    assert float(loss) != pytest.approx(float(net.loss(array(x), array(t))), rel=1e-3)
    for name, value in values.items():
        wanted = central_difference(lambda w, name=name: loss_at(name, w), value)
        np.testing.assert_allclose(b.to_numpy(grads[name]), wanted, atol=1e-8)


def test_the_graph_knows_it_with_and_without_masks(training_backend, array):
    b, net = training_backend, network(training_backend)
    x, t = (array(values) for values in data(4))
    drawing = draw(net, x, t)
    assert "Affine2" in drawing.text()
    assert "Softmax with loss" in drawing.text()
    layer, mask = Dropout(0.25), np.arange(24).reshape(4, 6) % 3 > 0

    def total(x):
        y, _ = layer.forward({"mask": array(mask)}, x)
        return namespace(y).sum(y * y)

    wanted = 2 * b.to_numpy(x) * mask / 0.75**2
    np.testing.assert_allclose(b.to_numpy(grad(total)(x)), wanted, rtol=1e-14)


@pytest.fixture(scope="module")
def reference():
    """What NumPy makes of twelve steps."""
    return {sampling: train(sampling=sampling) for sampling in ("epochs", "replacement")}


@pytest.mark.parametrize("sampling", ["epochs", "replacement"])
def test_every_library_sees_the_same_masks(sampling, training_backend, reference):
    found, wanted = train(training_backend, sampling=sampling), reference[sampling]
    assert len(found.history.losses) == 12
    np.testing.assert_allclose(found.history.losses, wanted.history.losses, rtol=1e-10)
    for name, p in found.net.params.items():
        np.testing.assert_allclose(training_backend.to_numpy(p), wanted.net.params[name], rtol=1e-9, atol=1e-12)


def test_training_is_the_loop_of_the_paper(reference):
    """By hand: a permutation an epoch, masks drawn step by step in the order of the layers, and plain descent."""
    x, t = data()
    net, rng = network(), np.random.default_rng(1)
    losses, order = [], []
    for _ in range(12):
        order = order if len(order) else rng.permutation(50)
        rows, order = order[:20], order[20:]
        first = rng.random((len(rows), 6), dtype="float32") >= 0.2
        second = rng.random((len(rows), 5), dtype="float32") >= 0.5
        W1, b1, W2, b2 = net.params.values()
        inputs = x[rows] * first / 0.8
        hidden = np.tanh(inputs @ W1 + b1)
        scores = (hidden * second / 0.5) @ W2 + b2
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        one_hot = np.eye(4)[t[rows]]
        losses.append(-np.log((p * one_hot).sum(axis=1)).mean())
        dy = (p - one_hot) / len(rows)
        dz = dy @ W2.T * second / 0.5 * (1 - hidden**2)
        grads = {"W1": inputs.T @ dz, "b1": dz.sum(axis=0)}
        grads |= {"W2": (hidden * second / 0.5).T @ dy, "b2": dy.sum(axis=0)}
        net.params = {name: w - 0.5 * grads[name] for name, w in net.params.items()}
    np.testing.assert_allclose(reference["epochs"].history.losses, losses, rtol=1e-12)
    for name, w in net.params.items():
        np.testing.assert_allclose(reference["epochs"].net.params[name], w, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sampling", ["epochs", "replacement"])
@pytest.mark.parametrize(("longest", "seconds"), [(1, 0.1), (3, 60.0), (256, 60.0), (256, 0.0)])
def test_blocks_change_nothing(longest, seconds, sampling, reference, monkeypatch):
    monkeypatch.setattr(xpnet.training.loop, "LONGEST_BLOCK", longest)
    monkeypatch.setattr(xpnet.training.loop, "BLOCK_SECONDS", seconds)
    assert train(sampling=sampling).history.losses == reference[sampling].history.losses


@pytest.mark.parametrize("sampling", ["epochs", "replacement"])
def test_little_memory_for_masks_changes_nothing(sampling, reference, monkeypatch):
    monkeypatch.setattr(xpnet.training.loop, "BLOCK_SECONDS", 60.0)
    monkeypatch.setattr(xpnet.training.minibatches, "DRAW_BYTES", 300)  # one step takes 220
    assert train(sampling=sampling).history.losses == reference[sampling].history.losses


def test_a_rate_of_zero_leaves_nothing_out():
    net = Sequential([Affine(6, 5), Tanh(), Affine(5, 4)], seed=0, dtype="float64", weight_init="xavier")
    x, t = data()
    plain = Trainer(net, SGD(0.5), batch_size=50, seed=1).fit(x, t, iterations=1, progress=False)
    found = train(rates=(0, 0), iterations=1, batch_size=50).history
    assert found.losses == plain.losses
    assert found.evaluations == plain.evaluations


def test_evaluations_while_training_are_without_dropout():
    trainer = train()
    x, t = data()
    last = trainer.history.evaluations[-1]
    assert last.train_loss == float(trainer.net.loss(x, t))
    assert last.train_accuracy == trainer.net.accuracy(x, t)


def test_it_is_saved_with_its_network_and_its_training(tmp_path):
    """Taken up in the middle of an epoch, the masks that follow are those of a training that was not cut."""
    trainer = train(iterations=7)
    trainer.save(tmp_path / "checkpoint")
    trainer.net.save(tmp_path / "weights")
    assert load_network(tmp_path / "weights").layers == trainer.net.layers
    going_on = Trainer.load(tmp_path / "checkpoint")
    x, t = data()
    going_on.fit(x, t, iterations=5, progress=False)
    assert going_on.history.losses == train(iterations=12).history.losses


def test_images_of_bytes_and_dropout_in_front(training_backend):
    """Masks have the shape of an image, and not of what is known of its columns."""
    b, rng = training_backend, np.random.default_rng(2)
    images, t = rng.integers(0, 256, (8, 1, 4, 5), dtype="uint8"), rng.integers(0, 4, 8)
    net = Sequential([Rescale(1 / 255), Dropout(0.5), Affine(20, 4)], seed=0, dtype="float64", backend=b)
    trainer = Trainer(net, SGD(0.5), batch_size=8, seed=1)
    history = trainer.fit(b.asarray(images), b.asarray(t), iterations=1, progress=False)
    rng = np.random.default_rng(1)
    rows, mask = rng.permutation(8), rng.random((8, 1, 4, 5), dtype="float32") >= 0.5
    start = Sequential([Dropout(0.5), Affine(20, 4)], seed=0, dtype="float64")
    scores = start.forward(start.params | {"Dropout1.mask": mask}, images[rows] / 255)
    assert history.losses == pytest.approx([float(start.loss_layer.forward(scores, t[rows])[0])], rel=1e-12)
