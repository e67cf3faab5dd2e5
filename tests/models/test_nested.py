"""A network of every kind of array and container: one training, the same on every library, wherever it is cut."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import Adam, Momentum, Sequential, Trainer, load_network, namespace
from xpnet.layers import Affine, BatchNorm, Chain, Concat, Dropout, Embedding, Function, Residual, Tanh, TimeDistributed
from xpnet.optimizers import ClipByNorm, WeightDecay

WORDS, LENGTH, CLASSES = 11, 5, 3


def bent(x, slope):
    """tanh x + slope x, whose way back is the graph's."""
    return namespace(x).tanh(x) + slope * x


def network(backend="numpy", dtype="float64"):
    inner = Residual(Chain(Dropout(0.2), Affine(8, 8)))
    block = Chain(Affine(6, 8), BatchNorm(8), Tanh(), Dropout(0.3), inner, Affine(8, 6))
    layers = [
        Embedding(WORDS, 4),
        TimeDistributed(Chain(Affine(4, 3), Function(bent, {"slope": (3,)}))),
        Affine(3 * LENGTH, 6),
        Residual(block),
        Concat(Affine(6, 4), Chain(BatchNorm(6), Affine(6, 4))),
        Affine(8, CLASSES),
    ]
    return Sequential(layers, seed=0, dtype=dtype, backend=backend)


def data(samples=46):
    rng = np.random.default_rng(5)
    return rng.integers(0, WORDS, (samples, LENGTH)), rng.integers(0, CLASSES, samples), rng.uniform(0.2, 1, samples)


def trainer_of(net, **options):
    """Momentum, and not Adam: a bias in front of a batch normalization has a gradient of rounding errors alone."""
    transforms = (ClipByNorm(1.0), WeightDecay(0.01))
    return Trainer(net, Momentum(0.05), batch_size=10, seed=1, transforms=transforms, **options)


def train(trainer, iterations=12):
    """Two epochs and a part of the third, with a short batch at the end of each."""
    x, t, weight = map(trainer.net.backend.asarray, data())
    return trainer.fit(x, t, weight=weight, iterations=iterations, progress=False)


def arrays(net):
    return {name: net.backend.to_numpy(a) for name, a in (net.params | net.buffers).items()}


@pytest.fixture(scope="module")
def reference():
    trainer = trainer_of(network(), compile=False)
    train(trainer)
    return trainer


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_every_library_takes_the_same_steps(compiled, training_backend, reference):
    if compiled and training_backend.name == "torch":
        pytest.skip("it takes half a minute; tests/backends/test_compiled_steps.py has it")
    trainer = trainer_of(network(training_backend), compile=compiled)
    history = train(trainer)
    np.testing.assert_allclose(history.losses, reference.history.losses, rtol=1e-10)
    for name, wanted in arrays(reference.net).items():
        np.testing.assert_allclose(arrays(trainer.net)[name], wanted, rtol=1e-8, atol=1e-11, err_msg=name)


def test_numpy_replays_it_to_the_bit(reference):
    trainer = trainer_of(network(), compile=True)
    train(trainer)
    np.testing.assert_allclose(trainer.history.losses, reference.history.losses, rtol=1e-13)


def test_a_training_that_is_cut_goes_on_to_the_bit_on_any_library(training_backend, reference, tmp_path):
    first = trainer_of(network(training_backend), compile=False)
    train(first, 7)
    first.save(tmp_path / "checkpoint")
    net = network(training_backend)  # a function is not made from a file
    second = Trainer.load(tmp_path / "checkpoint", net=net)
    train(second, 5)
    whole = trainer_of(network(training_backend), compile=False)
    train(whole)
    assert second.history.losses == whole.history.losses
    for name, wanted in arrays(whole.net).items():
        np.testing.assert_array_equal(arrays(second.net)[name], wanted, err_msg=name)
    if training_backend.name != "numpy":
        elsewhere = Trainer.load(tmp_path / "checkpoint", net=network("numpy"))
        train(elsewhere, 5)
        np.testing.assert_allclose(elsewhere.history.losses, reference.history.losses, rtol=1e-10)


def test_buffers_are_of_training_steps_alone(reference):
    """The statistics by hand; neither decay nor clipping touches them, and no optimizer keeps slots of them."""
    net = network()
    trainer = trainer_of(net, compile=False)
    x, t, _ = data()
    rows = np.random.default_rng(1).permutation(46)[:10]
    drawn = net.draws(np.random.default_rng(0), (10, LENGTH))
    (inner,) = (part for part in net.chain.parts if part.name == "Residual1")
    start = {name: b.copy() for name, b in net.buffers.items()}
    _, grads, updates = net.training_value_and_grad(net.params | drawn, x[rows], t[rows])
    assert set(grads) == set(net.params)
    assert set(updates) == set(net.buffers) == {n for n in net.buffers if n.endswith((".mean", ".var"))}
    before = x[rows]
    for part in net.chain.parts[:3]:
        before = part.layer.predict(part.view(net.params | net.buffers), before)
    hidden = before @ net.params["Residual1.W1"] + net.params["Residual1.b1"]
    np.testing.assert_allclose(updates["Residual1.BatchNorm1.mean"], 0.1 * hidden.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(updates["Residual1.BatchNorm1.var"], 0.9 + 0.1 * hidden.var(axis=0, ddof=1), rtol=1e-12)
    assert inner.is_random
    assert all(np.array_equal(net.buffers[name], b) for name, b in start.items())
    assert set(trainer.optimizer_state["slots"]) == set(net.params)
    x_all, t_all, _ = data()
    net.loss(x_all, t_all), net.accuracy(x_all, t_all), net.gradient(x_all, t_all)
    assert all(np.array_equal(net.buffers[name], b) for name, b in start.items())
    trainer.fit(x_all, t_all, iterations=1, progress=False)
    assert not any(np.array_equal(net.buffers[name], b) for name, b in start.items())


def test_a_minibatch_of_one_sample_is_found_before_the_first_step(training_backend):
    net = network(training_backend)
    x, t, _ = (training_backend.asarray(a[:41]) for a in data())  # four minibatches of ten, and one of one
    with pytest.raises(ValueError, match=r"BatchNorm1: a minibatch of shape \(1, 8\) has one value a feature"):
        trainer_of(net).fit(x, t, epochs=1, progress=False)


class Drifting(BatchNorm):
    """It gives its buffers another shape."""

    def train(self, params, x):
        y, residuals, updates = super().train(params, x)
        return y, residuals, {name: b[None, :] for name, b in updates.items()}


def test_buffers_of_another_shape_are_found_before_the_first_step():
    net = Sequential([Affine(4, 3), Drifting(3)], seed=0)
    with pytest.raises(ValueError, match=r"gives Drifting1.mean of shape \(1, 3\) .* expected \(3,\) and float32"):
        Trainer(net, Momentum(0.1), batch_size=4).fit(np.ones((8, 4), "float32"), np.zeros(8, int), epochs=1)


def test_draws_are_named_by_their_place_and_the_same_everywhere(training_backend):
    net = network(training_backend)
    drawn = net.draws(np.random.default_rng(3), (10, LENGTH))
    assert {name: (a.shape, a.dtype.name) for name, a in drawn.items()} == {
        "Residual1.Dropout1.mask": ((10, 8), "bool"),
        "Residual1.Residual1.Dropout1.mask": ((10, 8), "bool"),
    }
    again = network("numpy").draws(np.random.default_rng(3), (10, LENGTH))
    assert all(np.array_equal(a, again[name]) for name, a in drawn.items())


def test_dropout_inside_drops(reference):
    """Dropout in a residual block changes what a step computes, and not what is predicted."""
    net, (x, t, _) = network(), data()
    drawn = net.draws(np.random.default_rng(3), (46, LENGTH))
    kept = {name: np.ones_like(a) for name, a in drawn.items()}
    losses = [float(net.training_value_and_grad(net.params | masks, x, t)[0]) for masks in (drawn, kept, {})]
    assert losses[0] != losses[1]
    assert losses[1] != losses[2]  # a mask that keeps everything still scales


def test_the_names_and_the_table():
    net = network()
    assert list(net.params)[:8] == [
        "W1", "TimeDistributed1.W1", "TimeDistributed1.b1", "TimeDistributed1.slope1", "W2", "b2",
        "Residual1.W1", "Residual1.b1",
    ]  # fmt: skip
    assert "Residual1.Residual1.W1" in net.params
    assert list(net.buffers)[-1] == "Concat1.Chain1.BatchNorm1.var"
    lines = net.summary((LENGTH,), optimizer=Adam()).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "buffers", "draws", "slots"]
    total = lines[-1].split()[-4:]
    sizes = [sum(a.size for a in group.values()) for group in (net.params, net.buffers)]
    assert [int(n) for n in total] == [*sizes, 16, 2 * sizes[0]]


def test_it_is_saved_and_loaded_with_what_it_is_made_of(tmp_path):
    """All but the function, which no file may bring."""
    layers = [part.layer for part in network().chain.parts if part.name not in ("TimeDistributed1",)]
    net = Sequential([layers[0], TimeDistributed(Affine(4, 3)), *layers[1:]], seed=0)
    net.buffers = {name: b + 1 for name, b in net.buffers.items()}
    net.save(tmp_path / "net")
    found = load_network(tmp_path / "net")
    assert repr(found) == repr(net)
    for name, wanted in arrays(net).items():
        np.testing.assert_array_equal(arrays(found)[name], wanted)
