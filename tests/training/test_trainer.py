"""The Trainer: the loop that one would write by hand, cut in any place, on data of any kind; and no wait inside."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import numpy as np
import pytest

import xpnet.training.loop
from xpnet import SGD, DivergedError, Sequential, Trainer, TwoLayerNet
from xpnet.layers import Affine, Dropout, ReLU, Rescale
from xpnet.optimizers import Adam, Momentum
from xpnet.schedules import Cosine, ReduceOnPlateau, Step, Warmup
from xpnet.training import Callback
from xpnet.training.history import MONITORS


def network(backend="numpy", dtype="float64"):
    return TwoLayerNet(784, 10, 10, weight_init_std=0.1, seed=0, dtype=dtype, backend=backend)


@pytest.fixture(scope="module")
def images(digits):
    """250 digits, in float64: two batches of 100 and one of 50."""
    (x, t), _ = digits
    return x[:250].astype("float64"), t[:250]


def moved(net, split):
    return tuple(net.backend.asarray(values) for values in split)


def by_hand(images, rates, sampling="epochs"):
    """The tutorials' loop on NumPy: losses and parameters after a step at each of these learning rates."""
    (x, t), net, rng, order, losses = images, network(), np.random.default_rng(1), [], []
    for rate in rates:
        if sampling == "replacement":
            rows = rng.integers(0, len(x), 100)
        else:
            order = order if len(order) else rng.permutation(len(x))
            rows, order = order[:100], order[100:]
        losses.append(float(net.loss(x[rows], t[rows])))
        grads = net.gradient(x[rows], t[rows])
        net.params = {name: w - rate * grads[name] for name, w in net.params.items()}
    return losses, net.params


@pytest.mark.parametrize("sampling", ["epochs", "replacement"])
def test_fit_is_the_loop_by_hand(sampling, training_backend, images):
    b, net = training_backend, network(training_backend)
    history = Trainer(net, SGD(0.3), seed=1, sampling=sampling).fit(*moved(net, images), iterations=7, progress=False)
    losses, params = by_hand(images, [0.3] * 7, sampling)
    np.testing.assert_allclose(history.losses, losses, rtol=1e-10)
    for name, w in params.items():
        np.testing.assert_allclose(b.to_numpy(net.params[name]), w, rtol=1e-9, atol=1e-12)
    assert [e.iteration for e in history.evaluations] == [0, 3, 6, 7]
    assert history.samples == (600 if sampling == "epochs" else 700)


OPTIMIZERS = {
    "sgd": lambda: SGD(0.1, weight_decay=1e-3),
    "momentum, cosine": lambda: Momentum(Cosine(0.1, steps=12)),
    "adam, plateau": lambda: Adam(ReduceOnPlateau(0.01, factor=0.5, patience=0, threshold=0.5)),
}


@pytest.mark.parametrize("sampling", ["epochs", "replacement"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_fits_are_one(optimizer, sampling, training_backend, images):
    """To the last bit, wherever it is cut: in the middle of an epoch, and at its end."""
    if training_backend.compiles_shapes and (optimizer, sampling) != ("adam, plateau", "epochs"):
        pytest.skip("each costs compilations, and this one has all that is remembered")
    b, found = training_backend, []
    for cuts in ([10], [4, 6], [3, 7]):
        layers = [Dropout(0.2), Affine(784, 10), ReLU(), Dropout(0.5), Affine(10, 10)]
        net = Sequential(layers, seed=0, backend=b, dtype="float64")
        trainer = Trainer(net, OPTIMIZERS[optimizer](), seed=1, sampling=sampling)
        for iterations in cuts:
            trainer.fit(*moved(net, images), iterations=iterations, progress=False)
        ends = [(e.epoch, e.train_loss, e.train_accuracy) for e in trainer.history.evaluations if e.ends_epoch]
        weights = [b.to_numpy(w).tolist() for w in net.params.values()]
        found.append((trainer.history.losses, trainer.history.learning_rates, ends, weights))
    assert found[0] == found[1]
    assert found[0] == found[2]
    assert len(found[0][0]) == 10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_are_scaled_a_batch_at_a_time(dtype, training_backend, digits):
    """As if all of them had been scaled before, but for the last bits where a compiled step orders work."""
    b = training_backend
    as_bytes = np.round(digits[0][0][:250] * 255).astype("uint8")
    t, found = digits[0][1][:250], []
    for x, layers in ((as_bytes, [Rescale(1 / 255)]), (as_bytes.astype(dtype) / np.asarray(255, dtype), [])):
        plain = network(b, dtype)
        net = Sequential([*layers, *plain.layers.values()], dtype=dtype, backend=b)
        net.params = plain.params
        trainer = Trainer(net, SGD(0.1), seed=1)
        x, labels = moved(net, (x, t))
        history = trainer.fit(x, labels, validation=(x[:50, ...], labels[:50]), epochs=2, progress=False)
        found.append(
            (
                history.losses,
                [[getattr(e, name) for name in MONITORS.values() if "r2" not in name] for e in history.evaluations],
            )
        )
    (losses, evaluations), (wanted, wanted_evaluations) = found
    rtol = 1e-6 if dtype == "float32" else 1e-14
    np.testing.assert_allclose(evaluations[0], wanted_evaluations[0], rtol=rtol)
    np.testing.assert_allclose(losses, wanted, rtol=rtol)
    if not trainer.compiles:
        assert losses == wanted
        assert evaluations == wanted_evaluations


def test_integers_are_refused_unless_a_layer_takes_them(training_backend, images):
    net = network(training_backend)
    x, t = moved(net, (np.zeros((250, 784), "uint8"), images[1]))
    with pytest.raises(TypeError, match=r"x is uint8, .*Rescale\(1 / 255\)"):
        Trainer(net, SGD(0.1)).fit(x, t, epochs=1)
    good, _ = moved(net, images)
    with pytest.raises(TypeError, match=r"validation x is uint8, .*Rescale\(1 / 255\)"):
        Trainer(net, SGD(0.1)).fit(good, t, validation=(x, t), epochs=1)


def test_what_cannot_be_trained_on_is_refused_before_anything_is_done(training_backend, images):
    net = network(training_backend)
    (x, t), trainer = moved(net, images), Trainer(net, SGD(0.1), seed=1)
    wrong = training_backend.asarray(np.where(np.arange(250) == 77, 10, images[1]))
    bad = training_backend.asarray(np.where(np.arange(250)[:, None] == 7, np.nan, images[0]))
    state = trainer.rng.bit_generator.state
    for data, options, message in [
        ((x, wrong), {}, r"t has labels from 0 to 10"),
        ((x, t), {"validation": (x, wrong)}, r"validation t has labels from 0 to 10"),
        ((bad, t), {}, "x has .*NaN"),
        ((x, t), {"validation": (x[:, :700], t)}, r"a sample of shape \(700,\) does not fit, expected 784"),
        ((x, t), {"iterations": 0}, "iterations is 0, expected a whole number, 1 or more"),
    ]:
        with pytest.raises(ValueError, match=message):
            trainer.fit(*data, **({"epochs": 1} | options if "iterations" not in options else options))
    assert (trainer.iteration, trainer.history.evaluations) == (0, [])
    assert trainer.rng.bit_generator.state == state


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": "shuffle"}, "sampling is 'shuffle', expected one of: epochs, sequential, replacement"),
        ({"batch_size": 2.5}, r"batch_size is 2\.5, expected a whole number, 1 or more"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        Trainer(network(), SGD(0.1), **options)


@pytest.mark.parametrize("at", [2, 5, 6])
def test_after_a_divergence_another_fit_goes_on(at, images):
    """With the steps that led nowhere gone from the history, as if they had not been taken."""
    net = network()

    class Breaking(type(net.loss_layer)):
        steps = 0

        def forward(self, y, t):
            loss, residuals = super().forward(y, t)
            breaks = Breaking.steps == at and y.shape[0] <= 100  # in a step, and in no evaluation
            return (loss * np.nan if breaks else loss), residuals

        def backward(self, residuals):
            Breaking.steps += 1
            return super().backward(residuals)

    net.loss_layer = Breaking()
    trainer = Trainer(net, SGD(0.3), seed=1)
    with pytest.raises(DivergedError, match="the network keeps the last weights with a finite loss") as e:
        trainer.fit(*images, iterations=20, progress=False)
    assert e.value.iteration == at
    assert trainer.iteration == at - 1
    losses, params = by_hand(images, [0.3] * 12)
    np.testing.assert_allclose(trainer.history.losses[:at], losses[:at], rtol=1e-10)
    history = trainer.fit(*images, iterations=12 - trainer.iteration, progress=False)
    assert trainer.iteration == history.iterations == len(history.learning_rates) == 12
    np.testing.assert_allclose(history.losses, losses, rtol=1e-9)
    for name, w in params.items():
        np.testing.assert_allclose(net.params[name], w, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "schedule",
    [Cosine(0.5, steps=9, final=0.1), Step(0.5, every=4, factor=0.5), Warmup(5, then=0.5)],
    ids=lambda s: type(s).__name__,
)
def test_recorded_learning_rates_are_those_of_the_schedule_and_of_the_steps(schedule, training_backend, images):
    b, net = training_backend, network(training_backend)
    if b.compiles_shapes and not isinstance(schedule, Cosine):
        pytest.skip("each costs compilations, and the cosine stands for the others")
    trainer = Trainer(net, SGD(schedule), seed=1)
    history = trainer.fit(*moved(net, images), iterations=10, progress=False)
    np.testing.assert_allclose(history.learning_rates, schedule(np.arange(10.0)), rtol=1e-14)
    assert trainer.learning_rate == pytest.approx(float(schedule(np.asarray(10.0))), rel=1e-14)
    _, params = by_hand(images, history.learning_rates)
    for name, w in params.items():
        np.testing.assert_allclose(b.to_numpy(net.params[name]), w, rtol=1e-9, atol=1e-12)


def plateaus(values, lr, *, factor, patience, threshold, cooldown):
    """Learning rates of the epochs after each of these losses, as the rule is told: line by line."""
    best, bad, wait, rates = inf, 0, 0, [lr]
    for value in values:
        if value < best * (1 - threshold):
            best, bad = value, 0
        else:
            bad += 1
        if wait > 0:
            wait, bad = wait - 1, 0
        if bad > patience:
            lr, wait, bad = lr * factor, cooldown, 0
        rates.append(lr)
    return rates


def test_a_plateau_lowers_the_learning_rate_of_the_steps(training_backend, images):
    options = {"factor": 0.5, "patience": 1, "threshold": 0.2, "cooldown": 1}
    b, net = training_backend, network(training_backend)
    trainer = Trainer(net, SGD(ReduceOnPlateau(0.5, monitor="validation_loss", **options)), seed=1)
    x, t = moved(net, images)
    history = trainer.fit(x, t, validation=(x[:60, ...], t[:60]), epochs=12, progress=False)
    wanted = plateaus([e.validation_loss for e in history.evaluations[1:]], 0.5, **options)
    assert len(set(wanted)) > 2
    np.testing.assert_allclose(history.learning_rates, np.repeat(wanted[:-1], 3), rtol=1e-14)
    assert trainer.learning_rate == pytest.approx(wanted[-1])
    _, params = by_hand(images, history.learning_rates)
    for name, w in params.items():
        np.testing.assert_allclose(b.to_numpy(net.params[name]), w, rtol=1e-8, atol=1e-10)


def test_nothing_is_read_back_but_the_losses_of_a_block(images, monkeypatch):
    """On arrays that tell when one of them becomes a number of the host."""
    net = network("strict")
    strict, read, off = type(net.params["W1"]), [], []
    for name in ("__float__", "__int__", "__bool__", "__index__", "__complex__", "to_device"):
        original = getattr(strict, name)

        def told(self, *args, name=name, original=original, **options):
            if not off:
                read.append(name)
            return original(self, *args, **options)

        monkeypatch.setattr(strict, name, told)
    evaluate = xpnet.training.loop.Loop.evaluate

    def aside(self):
        off.append(1)
        evaluate(self)
        off.pop()

    monkeypatch.setattr(xpnet.training.loop.Loop, "evaluate", aside)

    class Count(Callback):
        blocks = 0

        def on_begin(self, trainer):
            read.clear()

        def on_block(self, trainer):
            self.blocks += 1

    count = Count()
    optimizer = Adam(ReduceOnPlateau(0.01, patience=0, threshold=0.5), clip_norm=1.0, weight_decay=0.1)
    Trainer(net, optimizer, seed=1).fit(*moved(net, images), iterations=40, callbacks=[count])
    assert 1 < count.blocks < 40
    assert read == ["to_device"] * count.blocks


def test_a_step_is_compiled_once_for_each_size_of_batch(training_backend, images):
    if not training_backend.compiles_shapes:
        pytest.skip(f"{training_backend.name} compiles nothing that takes long")
    layers = [Dropout(0.2), Affine(784, 10), ReLU(), Affine(10, 10)]
    net, traced = Sequential(layers, seed=0, backend=training_backend), []
    original = net.training_value_and_grad

    def counted(params, x, t):
        traced.append(x.shape[0])
        return original(params, x, t)

    net.training_value_and_grad = counted
    data = moved(net, (images[0].astype("float32"), images[1]))
    for optimizer in (SGD(0.1), Adam(Cosine(0.1, steps=30)), Momentum(ReduceOnPlateau(0.1, patience=0, threshold=0.9))):
        trainer = Trainer(net, optimizer, seed=1)
        traced.clear()
        rates = trainer.fit(*data, epochs=4, progress=False).learning_rates
        assert sorted(traced) == [50, 100]
        assert len(set(rates)) > 1 or optimizer == SGD(0.1)
    assert any(later < earlier for earlier, later in pairwise(rates)), "it was lowered, and not compiled again"
