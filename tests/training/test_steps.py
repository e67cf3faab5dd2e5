"""Training: the same course on every backend, and every way in which it can end."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from xpnet import SGD, DivergedError, MultiLayerNet, Sequential, Trainer, TwoLayerNet, get_backend, make_step
from xpnet.backends.base import Block, PlainStep
from xpnet.layers import Affine
from xpnet.losses import MeanSquaredError, SigmoidWithLoss
from xpnet.training import LONGEST_BLOCK, Callback, init_state
from xpnet.training.minibatches import Minibatches


def fit(backend, split, dtype="float32", lr=0.1, **options):
    x, t = split
    net = TwoLayerNet(784, 50, 10, seed=0, dtype=dtype, backend=backend)
    trainer = Trainer(net, SGD(lr=lr), batch_size=100, seed=1)
    trainer.fit(net.backend.asarray(x, dtype), net.backend.asarray(t), **options)
    return trainer


@pytest.fixture(scope="module")
def reference(digits):
    """What NumPy makes of the first 200 steps."""
    return {dtype: fit("numpy", digits[0], dtype, iterations=200).history.losses for dtype in ("float32", "float64")}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-10)])
def test_two_hundred_steps_are_the_same_everywhere(dtype, tolerance, training_backend, digits, reference):
    losses = fit(training_backend, digits[0], dtype, iterations=200).history.losses
    assert len(losses) == 200
    np.testing.assert_allclose(losses, reference[dtype], rtol=tolerance)
    assert np.mean(losses[-20:]) < 0.3 * losses[0]


def test_a_step_is_the_formula(training_backend, array, rng):
    """W ← W - lr dL/dW on the samples of the minibatch and no others."""
    net = TwoLayerNet(6, 5, 4, weight_init_std=0.5, seed=0, dtype="float64", backend=training_backend)
    x, t, rows = rng.normal(size=(9, 6)), rng.integers(0, 4, 9), np.asarray([7, 2, 2])
    before = {name: training_backend.to_numpy(p).copy() for name, p in net.params.items()}
    grads = net.gradient(array(x[rows]), array(t[rows]))
    expected_loss = float(net.loss(array(x[rows]), array(t[rows])))
    step = training_backend.compile(make_step(net, SGD(lr=0.3)))
    data = {"x": array(x), "t": array(t)}
    state, (loss,) = step.run(init_state(net, SGD(lr=0.3)), data, Block(rows[None, :], {}))
    assert float(loss) == pytest.approx(expected_loss, rel=1e-12)
    for name, p in state["params"].items():
        wanted = before[name] - 0.3 * training_backend.to_numpy(grads[name])
        np.testing.assert_allclose(training_backend.to_numpy(p), wanted, rtol=1e-12, atol=1e-15)


def test_compiled_and_plain_steps_agree(training_backend, digits):
    (x, t), _ = digits
    b = training_backend
    block = np.arange(300).reshape(3, 100)
    found = []
    for wrap in (b.compile, lambda step: PlainStep(step, b)):
        net = TwoLayerNet(784, 20, 10, seed=0, dtype="float64", backend=b)
        data = {"x": b.asarray(x[:300], "float64"), "t": b.asarray(t[:300])}
        state, losses = wrap(make_step(net, SGD(0.1))).run(init_state(net, SGD(0.1)), data, Block(block, {}))
        found.append((losses, b.to_numpy(state["params"]["W1"])))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-10, atol=1e-14)


def test_minibatches_are_shuffled_epochs():
    batches = Minibatches(25, 10, np.random.default_rng(0))
    epochs = []
    for _ in range(3):
        rows = [batches.block(1).rows, batches.block(5).rows, batches.block(5).rows]
        assert [r.shape for r in rows] == [(1, 10), (1, 10), (1, 5)]
        assert batches.epoch_ended
        epochs.append(np.concatenate([r.ravel() for r in rows]))
        assert sorted(epochs[-1]) == list(range(25))
    assert (epochs[0] != epochs[1]).any()
    sizes = Minibatches(1000, 10, np.random.default_rng(0))
    one_by_one = Minibatches(1000, 10, np.random.default_rng(0))
    for most in (1, 7, 64, 100):
        for row in sizes.block(most).rows:
            np.testing.assert_array_equal(one_by_one.block(1).rows[0], row, err_msg="blocks do not change the order")


def test_history(training_backend, digits):
    (x, t), _ = digits
    seen, blocks = [], []

    class Blocks(Callback):
        def on_block(self, trainer):
            blocks.append(trainer.history.iterations)

    trainer = fit(
        training_backend,
        (x[:1050], t[:1050]),
        epochs=2,
        validation=(training_backend.asarray(x[-50:]), training_backend.asarray(t[-50:])),
        callbacks=[seen.append, Blocks()],
    )
    history = trainer.history
    assert history.iterations == 22  # the eleventh batch of an epoch has 50 samples
    assert history.samples == 2100
    assert [(e.epoch, e.iteration) for e in history.evaluations] == [(0, 0), (1, 11), (2, 22)]
    assert seen == history.evaluations
    assert blocks == sorted(set(blocks))
    assert blocks[-1] == 22
    assert history.evaluations[-1].validation_accuracy == trainer.net.accuracy(
        training_backend.asarray(x[-50:]), training_backend.asarray(t[-50:])
    )
    assert history.samples_per_second == pytest.approx(2100 / history.seconds)
    trainer.fit(training_backend.asarray(x[:1050]), training_backend.asarray(t[:1050]), iterations=3)
    assert history.iterations == 25
    assert history.evaluations[-1].iteration == 25


def test_arrays_of_the_user_are_left_alone(training_backend, digits):
    """Some backends train in place and some donate memory; what the user holds is neither changed nor deleted."""
    (x, t), _ = digits
    b = training_backend
    net = TwoLayerNet(784, 5, 10, seed=0, backend=b)
    held, before = net.params["W1"], b.to_numpy(net.params["W1"]).copy()
    Trainer(net, SGD(0.1), seed=0).fit(b.asarray(x[:500]), b.asarray(t[:500]), iterations=5)
    np.testing.assert_array_equal(b.to_numpy(held), before)
    assert (b.to_numpy(net.params["W1"]) != before).any()


def stop_at(backend, split, iterations):
    """The weights after so many steps of the run that ``diverging`` makes."""
    net = MultiLayerNet(784, [20], 10, seed=0, backend=backend)
    x, t = split
    if iterations:
        Trainer(net, SGD(lr=1e18), seed=1).fit(net.backend.asarray(x), net.backend.asarray(t), iterations=iterations)
    return {name: net.backend.to_numpy(p) for name, p in net.params.items()}


def test_divergence_keeps_the_last_good_weights(training_backend, digits):
    (x, t), _ = digits
    b = training_backend
    net = MultiLayerNet(784, [20], 10, seed=0, backend=b)
    trainer = Trainer(net, SGD(lr=1e18), seed=1)
    with pytest.raises(
        DivergedError, match=r"diverged: the loss at iteration \d+ is .*smaller learning rate than 1e\+18"
    ) as e:
        trainer.fit(b.asarray(x), b.asarray(t), iterations=1000)
    found, losses = e.value.iteration, trainer.history.losses
    assert 0 < found < 1000
    assert np.isfinite(losses[:found]).all()
    assert not np.isfinite(e.value.loss)
    expected = stop_at(b, (x, t), found - 1)
    for name, p in net.params.items():
        assert np.isfinite(b.to_numpy(p)).all()
        np.testing.assert_array_equal(b.to_numpy(p), expected[name], err_msg=name)


def test_divergence_in_the_very_last_step(digits):
    """Its loss is finite, and the weights it leaves are not."""
    (x, t), _ = digits
    net = TwoLayerNet(784, 5, 10, seed=0)
    start = {name: p.copy() for name, p in net.params.items()}
    with pytest.raises(DivergedError, match="iteration 1"):
        Trainer(net, SGD(lr=1e300), seed=1).fit(x, t, iterations=1)
    for name, p in net.params.items():
        np.testing.assert_array_equal(p, start[name])


@pytest.mark.parametrize("at", [1, 2, 3, 40])
def test_the_rewind_is_exact_wherever_the_loss_breaks(at, digits):
    """A loss that breaks at a known step, whatever block that falls into, leaves the weights of the step before."""
    x, t = digits[0][0][:2000], digits[0][1][:2000]
    net, straight = (TwoLayerNet(784, 5, 10, seed=0) for _ in range(2))
    calls = iter(range(10**6))
    original = type(net.loss_layer).forward

    class Breaking(type(net.loss_layer)):
        def forward(self, y, t, weight=None):
            loss, residuals = original(self, y, t, weight)
            return (np.float32("nan") if y.shape[0] == 100 and next(calls) == at else loss), residuals

    net.loss_layer = Breaking()
    with pytest.raises(DivergedError) as e:
        Trainer(net, SGD(0.1), seed=1).fit(x, t, iterations=100)
    assert e.value.iteration == at
    if at > 1:
        Trainer(straight, SGD(0.1), seed=1, compile=False).fit(x, t, iterations=at - 1)
    for name, p in net.params.items():
        np.testing.assert_array_equal(p, straight.params[name])


def test_ctrl_c_finishes_the_step(training_backend, digits, ctrl_c):
    (x, t), _ = digits
    b = training_backend
    net = TwoLayerNet(784, 5, 10, seed=0, backend=b)
    trainer = Trainer(net, SGD(0.1), seed=1)

    class Interrupt(Callback):
        def on_block(self, trainer):
            if trainer.iteration >= 7:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(b.asarray(x), b.asarray(t), iterations=10_000, callbacks=[Interrupt()])
    assert signal.getsignal(signal.SIGINT) is before
    steps = trainer.history.iterations
    assert 7 <= steps < 7 + 2 * LONGEST_BLOCK
    straight = TwoLayerNet(784, 5, 10, seed=0, backend=b)
    Trainer(straight, SGD(0.1), seed=1).fit(b.asarray(x), b.asarray(t), iterations=steps)
    for name, p in net.params.items():
        np.testing.assert_array_equal(b.to_numpy(p), b.to_numpy(straight.params[name]))


def test_bad_input(digits):
    (x, t), _ = digits
    net = TwoLayerNet(784, 5, 10, seed=0)
    trainer = Trainer(net, SGD(0.1))
    before = {name: p.copy() for name, p in net.params.items()}
    for args, options, error, message in [
        ((x, t), {}, ValueError, "give one of them"),
        ((x, t), {"epochs": 1, "iterations": 1}, ValueError, "give one of them"),
        ((x, t), {"epochs": 0}, ValueError, "epochs is 0, expected a whole number"),
        ((x, t), {"iterations": 2.5}, ValueError, r"iterations is 2\.5"),
        ((x[:50], t[:50]), {"epochs": 1}, ValueError, "batch_size is 100, but there are only 50 samples"),
        ((x[:, :700], t), {"epochs": 1}, ValueError, r"a sample of shape \(700,\) does not fit, expected 784"),
        ((x, t + 1), {"epochs": 1}, ValueError, "t has labels from 1 to 10"),
        ((x, t), {"epochs": 1, "validation": (x[:9], t[:8])}, ValueError, "validation x has 9 .* validation t has 8"),
        (((x * 255).astype("uint8"), t), {"epochs": 1}, TypeError, "x is uint8"),
    ]:
        with pytest.raises(error, match=message):
            trainer.fit(*args, **options)
    assert trainer.history.iterations == 0
    for name, p in net.params.items():
        np.testing.assert_array_equal(p, before[name])
    with pytest.raises(TypeError, match=r"optimizer is 'sgd', expected an instance such as SGD\(lr=0\.1\)"):
        Trainer(net, "sgd")
    with pytest.raises(TypeError, match="net is a numpy array, expected a network"):
        Trainer(x, SGD(0.1))
    for size in (0, -1, 1.5, "100"):
        with pytest.raises(ValueError, match="batch_size is"):
            Trainer(net, SGD(0.1), batch_size=size)


def test_forward_only_backends_say_so(backend):
    if backend.trains:
        return
    with pytest.raises(ValueError, match=f"backend '{backend.name}' is for forward passes only"):
        Trainer(TwoLayerNet(6, 5, 4, backend=backend), SGD(0.1))


def test_a_numpy_array_on_another_backend():
    net = TwoLayerNet(6, 5, 4, backend=get_backend("strict"))
    with pytest.raises(TypeError, match=r"x is a numpy array, .*'strict'; .*net\.backend\.asarray\(x\)"):
        Trainer(net, SGD(0.1), batch_size=2).fit(np.zeros((4, 6), "float32"), np.zeros(4, "uint8"), epochs=1)


def test_regression_has_a_loss_and_no_accuracy(training_backend, array, rng):
    """A line through points: y = 2 x - 1, by the mean of squares; there are no classes to count."""
    x = rng.uniform(-1, 1, size=(200, 1))
    b = training_backend
    net = Sequential([Affine(1, 1)], MeanSquaredError(), seed=0, dtype="float64", backend=b)
    given, wanted = array(x), array(2 * x - 1)
    history = Trainer(net, SGD(0.2), batch_size=20, seed=0).fit(given, wanted, validation=(given, wanted), epochs=40)
    assert b.to_numpy(net.params["W1"])[0, 0] == pytest.approx(2, abs=1e-6)
    assert b.to_numpy(net.params["b1"])[0] == pytest.approx(-1, abs=1e-6)
    assert [(e.train_accuracy, e.validation_accuracy) for e in history.evaluations] == [(None, None)] * 41
    assert "accuracy" not in str(history.evaluations[-1])
    with pytest.raises(ValueError, match="accuracy compares classes"):
        net.accuracy(given, wanted)


def test_yes_or_no_with_one_output(training_backend, array, rng):
    x = rng.normal(size=(200, 2))
    t = (x.sum(axis=1, keepdims=True) > 0).astype(float)
    net = Sequential([Affine(2, 1)], SigmoidWithLoss(), seed=0, dtype="float64", backend=training_backend)
    history = Trainer(net, SGD(1.0), batch_size=20, seed=0).fit(array(x), array(t), epochs=10)
    assert history.evaluations[-1].train_accuracy > 0.95
    assert net.accuracy(array(x), array(t)) == history.evaluations[-1].train_accuracy
