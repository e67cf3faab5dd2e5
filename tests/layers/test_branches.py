"""Residual, Add, Concat and TimeDistributed: their formulas, by NumPy's own hand and by torch, and their mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import Sequential
from xpnet.layers import Add, Affine, BatchNorm, Chain, Concat, Dropout, Parallel, Residual, Tanh, TimeDistributed
from xpnet.layers.base import shapes_of


def params_of(layer, rng, array):
    host = {name: rng.normal(size=shape) for name, shape in shapes_of(layer).items()}
    return host, {name: array(a) for name, a in host.items()}


def both_ways(b, layer, params, x, dy):
    """Output and gradients on the host."""
    y, residuals = layer.forward(params, x)
    dx, grads = layer.backward(params, residuals, dy)
    return b.to_numpy(y), b.to_numpy(dx), {name: b.to_numpy(g) for name, g in grads.items()}


def test_a_residual_block_adds_its_input(training_backend, array, rng):
    x, dy = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    host, params = params_of(Affine(3, 3), rng, array)
    y, dx, grads = both_ways(training_backend, Residual(Affine(3, 3)), params, array(x), array(dy))
    np.testing.assert_allclose(y, x + x @ host["W"] + host["b"], rtol=1e-12)
    np.testing.assert_allclose(dx, dy + dy @ host["W"].T, rtol=1e-12)
    np.testing.assert_allclose(grads["W"], x.T @ dy, rtol=1e-12, atol=1e-14)


def test_a_sum_of_branches(training_backend, array, rng):
    x, dy = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    layer = Add(Affine(3, 2), Chain(Tanh(), Affine(3, 2)), Affine(3, 2))
    host, params = params_of(layer, rng, array)
    assert list(host) == ["W1", "b1", "Chain1.W1", "Chain1.b1", "W2", "b2"]
    y, dx, grads = both_ways(training_backend, layer, params, array(x), array(dy))
    h = np.tanh(x)
    by_hand = x @ (host["W1"] + host["W2"]) + h @ host["Chain1.W1"] + host["b1"] + host["Chain1.b1"] + host["b2"]
    np.testing.assert_allclose(y, by_hand, rtol=1e-12, atol=1e-14)
    wanted = dy @ (host["W1"] + host["W2"]).T + dy @ host["Chain1.W1"].T * (1 - h * h)
    np.testing.assert_allclose(dx, wanted, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(grads["W1"], grads["W2"], rtol=0, atol=0)
    np.testing.assert_allclose(grads["Chain1.W1"], h.T @ dy, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("behind", [(), (2,)])
def test_one_behind_the_other(behind, training_backend, array, rng):
    """Along the first axis of a sample, whatever stands behind it."""
    x, dy = rng.normal(size=(4, 3, *behind)), rng.normal(size=(4, 9, *behind))
    layer = Concat(Tanh(), BatchNorm(3), Chain(Tanh(), Tanh()))
    params = {name: array(np.ones(3)) for name in ("gamma1", "BatchNorm1.var")}
    params |= {name: array(np.zeros(3)) for name in ("beta1", "BatchNorm1.mean")}
    y, dx, _ = both_ways(training_backend, layer, params, array(x), array(dy))
    parts = [np.tanh(x), x / np.sqrt(1 + 1e-5), np.tanh(np.tanh(x))]
    np.testing.assert_allclose(y, np.concatenate(parts, axis=1), rtol=1e-12)
    first, second, third = dy[:, :3], dy[:, 3:6], dy[:, 6:]
    slopes = (1 - parts[0] ** 2), 1 / np.sqrt(1 + 1e-5), (1 - parts[2] ** 2) * (1 - parts[0] ** 2)
    wanted = first * slopes[0] + second * slopes[1] + third * slopes[2]
    np.testing.assert_allclose(dx, wanted, rtol=1e-12, atol=1e-14)
    assert layer.output_shape((3, *behind)) == (9, *behind)


def test_a_layer_for_each_step(training_backend, array, rng):
    b, x, dy = training_backend, rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5, 2))
    layer = TimeDistributed(Affine(3, 2))
    host, params = params_of(layer, rng, array)
    y, dx, grads = both_ways(b, layer, params, array(x), array(dy))
    np.testing.assert_allclose(y, x @ host["W"] + host["b"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dx, dy @ host["W"].T, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(grads["W"], np.einsum("nti,nto->io", x, dy), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(grads["b"], dy.sum(axis=(0, 1)), rtol=1e-12, atol=1e-14)


def test_layers_of_torch_with_the_same_weights(training_backend, array, rng):
    """A residual block with batch normalization and a branch, in training: output, gradients, running statistics."""
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    b = training_backend
    layer = Concat(Residual(Chain(BatchNorm(3), Tanh(), Affine(3, 3))), Affine(3, 2))
    host = {name: rng.normal(size=shape) for name, shape in shapes_of(layer).items()}
    buffers = {name: np.array(a) for name, a in layer.buffers().items()}
    x, dy = rng.normal(size=(6, 3)), rng.normal(size=(6, 5))
    norm, inner, side = torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)
    modules = torch.nn.ModuleList([norm, inner, side]).double()
    with torch.no_grad():
        norm.weight[:], norm.bias[:] = (torch.from_numpy(host[f"Residual1.{name}1"]) for name in ("gamma", "beta"))
        inner.weight[:], inner.bias[:] = (
            torch.from_numpy(host["Residual1.W1"].T),
            torch.from_numpy(host["Residual1.b1"]),
        )
        side.weight[:], side.bias[:] = torch.from_numpy(host["W1"].T), torch.from_numpy(host["b1"])
    modules.train()
    theirs = torch.from_numpy(x).requires_grad_()
    out = torch.cat([theirs + inner(torch.tanh(norm(theirs))), side(theirs)], dim=1)
    out.backward(torch.from_numpy(dy))
    given = {name: array(a) for name, a in (host | buffers).items()}
    y, residuals, updates = layer.train(given, array(x))
    dx, grads = layer.backward(given, residuals, array(dy))
    pairs = [
        (y, out), (dx, theirs.grad), (updates["Residual1.BatchNorm1.var"], norm.running_var),
        (grads["Residual1.gamma1"], norm.weight.grad), (grads["Residual1.beta1"], norm.bias.grad),
        (grads["Residual1.W1"], inner.weight.grad.T), (grads["Residual1.b1"], inner.bias.grad),
        (grads["W1"], side.weight.grad.T), (grads["b1"], side.bias.grad),
    ]  # fmt: skip
    for ours, wanted in pairs:
        np.testing.assert_allclose(b.to_numpy(ours), wanted.detach().numpy(), rtol=1e-11, atol=1e-13)


def test_masks_of_steps_are_of_their_own(backend, array):
    """Each step of a sequence has its own mask; a draw has the shape that the layer inside sees."""
    layer, rng = TimeDistributed(Dropout(0.5)), np.random.default_rng(0)
    mask = layer.draws(rng, (2, 3, 4))["mask"]
    assert mask.shape == (6, 4)
    y, _ = layer.forward({"mask": array(mask)}, array(np.ones((2, 3, 4))))
    assert backend.to_numpy(y).tolist() == (2.0 * mask.reshape(2, 3, 4)).tolist()
    net = Sequential([TimeDistributed(Chain(Dropout(0.5), Affine(4, 2)))], seed=0, backend=backend)
    assert {name: a.shape for name, a in net.draws(rng, (2, 3, 4)).items()} == {
        "TimeDistributed1.Dropout1.mask": (6, 4)
    }


def test_branches_draw_for_themselves(backend):
    layer = Add(Dropout(0.5), Chain(Tanh(), Dropout(0.5)))
    drawn = layer.draws(np.random.default_rng(0), (3, 4))
    assert list(drawn) == ["Dropout1.mask", "Chain1.Dropout1.mask"]
    assert (drawn["Dropout1.mask"] != drawn["Chain1.Dropout1.mask"]).any()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Residual(Affine(3, 2)), (4, 3), r"Residual: x has shape \(4, 3\) and f\(x\) \(4, 2\), expected one shape"),
        (Add(Affine(3, 2), Tanh()), (4, 3), r"Add: its layers return \[\(4, 2\), \(4, 3\)\], expected one shape"),
        (Add(Tanh(), Affine(2, 3)), (4, 3), r"^Affine1: x has 3 columns, expected 2"),
        (
            Concat(Tanh(), Affine(6, 2)),
            (4, 3, 2),
            r"Concat: its layers return \[\(4, 3, 2\), \(4, 2\)\], ",
        ),
        (Concat(Tanh(), Tanh()), (4,), r"Concat: its layers return \[\(4,\), \(4,\)\]"),
        (TimeDistributed(Tanh()), (4,), r"TimeDistributed: x has shape \(4,\), expected sequences \(N, T, \.\.\.\)"),
    ],
)
def test_shapes_that_do_not_fit_are_told_when_they_come(layer, shape, message, array, rng):
    _, params = params_of(layer, rng, array)
    for method in (layer.forward, layer.train, layer.predict):
        with pytest.raises(ValueError, match=message):
            method(params, array(np.zeros(shape)))


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Residual(Affine(3, 2)), (3,), r"Residual: it adds samples of shape \(3,\) and \(2,\), .* Add\(f, g\)"),
        (Add(Affine(3, 2), Tanh()), (3,), r"Add: its layers make samples of shapes \[\(2,\), \(3,\)\]"),
        (Concat(Tanh(), Affine(6, 2)), (3, 2), r"Concat: its layers make samples of shapes \[\(3, 2\), \(2,\)\]"),
        (TimeDistributed(Tanh()), (), r"TimeDistributed: samples are numbers, expected sequences"),
        (TimeDistributed(Affine(3, 2)), (5, 4), r"Affine: a sample of shape \(4,\) does not fit"),
    ],
)
def test_shapes_that_do_not_fit_are_told_before(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.output_shape(shape)


@pytest.mark.parametrize(
    "layer", [Residual(Affine(3, 3)), Add(Affine(3, 2), Affine(3, 2)), Concat(Affine(3, 2), BatchNorm(3))]
)
@pytest.mark.parametrize("samples", [0, 1])
def test_no_sample_and_one_sample(samples, layer, training_backend, array, rng):
    _, params = params_of(layer, rng, array)
    params |= {name: array(a) for name, a in layer.buffers().items()}
    y, residuals = layer.forward(params, array(np.ones((samples, 3))))
    assert tuple(y.shape) == (samples, *layer.output_shape((3,)))
    dx, grads = layer.backward(params, residuals, array(np.ones(tuple(y.shape))))
    assert tuple(dx.shape) == (samples, 3)
    assert {name: tuple(g.shape) for name, g in grads.items()} == shapes_of(layer)


def test_how_far_an_entry_reaches_and_what_goes_in():
    assert Residual(Tanh()).acts_on == "element"
    assert Residual(Affine(3, 3)).acts_on == "sample"
    assert Concat(Tanh(), Tanh()).acts_on == TimeDistributed(Tanh()).acts_on == "sample"
    assert Add(Tanh(), Chain(Tanh(), Affine(3, 3))).acts_on == "sample"
    assert Residual(Chain(Tanh())).takes == "floating"


def test_branches_that_nothing_joins_are_told_what_does():
    with pytest.raises(NotImplementedError, match=r"^Parallel does not define joined_shape; take Add or Concat"):
        Sequential([Parallel(Affine(2, 2), Affine(2, 2))], seed=0)
