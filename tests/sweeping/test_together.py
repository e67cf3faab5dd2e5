"""Networks that are trained together come out as each would by itself."""

from __future__ import annotations

import numpy as np
import pytest
from sweeping import assert_as_single

from xpnet import (
    SGD,
    Adam,
    MultiLayerNet,
    Sequential,
    Trainer,
    TwoLayerNet,
    layers,
    losses,
    namespace,
    optimizers,
    schedules,
    sweep,
)
from xpnet.optimizers import OPTIMIZERS, Accumulate, ClipByNorm, ScaleGradients

#: Two numbers of each optimizer's own that two networks differ in.
OWN = {
    "momentum": ("momentum", 0.5, 0.9),
    "nesterov": ("momentum", 0.0, 0.9),
    "rmsprop": ("decay_rate", 0.9, 0.99),
    "adadelta": ("decay_rate", 0.9, 0.95),
    "adagrad": ("eps", 1e-7, 1e-3),
    "adam": ("beta1", 0.0, 0.9),
    "adamw": ("beta2", 0.9, 0.999),
    "adamax": ("beta2", 0.9, 0.999),
    "nadam": ("beta1", 0.8, 0.9),
    "radam": ("beta2", 0.9, 0.999),
    "lion": ("beta1", 0.8, 0.9),
    "ftrl": ("l1", 0.0, 0.01),
}


def problem(backend, rng, *shape, classes=3, n=50):
    x = backend.asarray(rng.normal(size=(n, *shape)))
    return x, backend.asarray(rng.integers(0, classes, n))


def compiled(backend):
    """As a Trainer decides; but on JAX each test here would compile for seconds, and one of them shall do."""
    return False if getattr(backend, "compiles_shapes", False) else None


def maker(backend, kinds, optimizer, seed=0, loss=None, batch_size=20):
    """A function of a network's seed and an optimizer's numbers."""

    def make(start, **numbers):
        net = Sequential([kind() for kind in kinds], loss, seed=start, dtype="float64", backend=backend)
        return Trainer(net, optimizer(**numbers), batch_size=batch_size, seed=seed, compile=compiled(backend))

    return make


def bump(x):
    return namespace(x).exp(-x * x) * x


DENSE = (lambda: layers.Affine(4, 6), layers.ReLU, lambda: layers.Affine(6, 3))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_with_numbers_that_differ(training_backend, rng, name):
    """The learning rate, decay with a 0 among others, clipping, and a number of its own."""
    settings = {"start": [0, 1, 2], "lr": [0.01, 0.2, 0.1], "weight_decay": [0, 1e-2, 0.1], "clip_norm": [0.1, 1, 5]}
    if name in OWN:
        own, first, second = OWN[name]
        settings[own] = [first, second, first]
    make = maker(training_backend, DENSE, OPTIMIZERS[name])
    assert_as_single(make, settings, *problem(training_backend, rng, 4), epochs=3)


@pytest.mark.parametrize(
    "kinds",
    [
        (lambda: layers.Affine(4, 6), lambda: layers.BatchNorm(6), layers.GELU, lambda: layers.Affine(6, 3)),
        (lambda: layers.BatchNorm(4), lambda: layers.Affine(4, 6), lambda: layers.LayerNorm(6), *DENSE[1:]),
        (lambda: layers.Affine(4, 6), lambda: layers.Dropout(0.4), layers.Sigmoid, lambda: layers.Affine(6, 3)),
        (
            lambda: layers.Affine(4, 6),
            lambda: layers.Residual(layers.Chain(layers.Affine(6, 6), layers.Tanh(), layers.Affine(6, 6))),
            lambda: layers.Concat(layers.Swish(), layers.Chain(layers.ELU(), layers.Affine(6, 2))),
            lambda: layers.Affine(8, 3),
        ),
        (lambda: layers.Affine(4, 6), lambda: layers.Function(bump), lambda: layers.Affine(6, 3)),
    ],
    ids=["batch norm", "batch norm first", "dropout", "branches", "a graph"],
)
def test_layers(training_backend, rng, kinds):
    settings = {"start": [0, 1, 2], "lr": [0.1, 0.2, 0.5]}
    assert_as_single(maker(training_backend, kinds, SGD), settings, *problem(training_backend, rng, 4), epochs=2)


@pytest.mark.parametrize(
    "kinds",
    [
        (lambda: layers.Conv2d(2, 3, 3, padding=1), layers.ReLU, lambda: layers.MaxPool2d(2)),
        (
            lambda: layers.Conv2d(2, 4, 3, stride=2, padding=1, groups=2),
            lambda: layers.BatchNorm(4),
            layers.ReLU,
            lambda: layers.Conv2d(4, 3, 2, padding=1),
            lambda: layers.AvgPool2d(3),
        ),
    ],
    ids=["one", "two"],
)
def test_images(training_backend, rng, kinds):
    units = 12 if len(kinds) == 3 else 3
    kinds = (*kinds, layers.Flatten, lambda: layers.Affine(units, 3))
    settings = {"start": [0, 1], "lr": [0.1, 0.3]}
    data = problem(training_backend, rng, 2, 4, 4, n=12)
    assert_as_single(maker(training_backend, kinds, SGD, batch_size=5), settings, *data, epochs=1)


@pytest.mark.parametrize("kind", [losses.SumSquaredError, losses.MeanSquaredError, losses.SigmoidWithLoss])
def test_losses_weights_and_validation(training_backend, rng, kind):
    b, settings = training_backend, {"start": [0, 1, 2], "lr": [0.001, 0.002, 0.01]}
    x, v = (b.asarray(rng.normal(size=(n, 4))) for n in (50, 30))
    t, tv = (b.asarray(rng.random((n, 3))) for n in (50, 30))
    weight, wv = (b.asarray(rng.integers(0, 3, n).astype("float64")) for n in (50, 30))
    make = maker(b, DENSE, SGD, loss=kind())
    assert_as_single(make, settings, x, t, weight=weight, validation=(v, tv, wv), epochs=2)
    assert_as_single(make, settings, x, t, validation=(v, tv), iterations=2)


def test_float32(training_backend, rng):
    def make(start, lr):
        net = TwoLayerNet(4, 6, 3, 0.5, seed=start, backend=training_backend)
        return Trainer(net, Adam(lr), batch_size=20, seed=0)

    x, t = problem(training_backend, rng, 4)
    settings = {"start": [0, 1, 2], "lr": [0.001, 0.01, 0.03]}
    assert_as_single(make, settings, x, t, rtol=1e-5, atol=1e-6, epochs=3)


def test_minibatches_and_masks_of_their_own(training_backend, rng):
    """Where trainers have other seeds, each draws what it draws by itself; shares of dropout may differ."""

    def make(start, seed, rate, sampling="epochs"):
        net = MultiLayerNet(4, [6], 3, dropout=rate, seed=start, dtype="float64", backend=training_backend)
        return Trainer(net, SGD(0.1), batch_size=20, seed=seed, sampling=sampling, compile=compiled(training_backend))

    data = problem(training_backend, rng, 4)
    settings = {"start": [0, 0, 1], "seed": [0, 1, 0], "rate": [0.5, 0.5, 0.2]}
    assert_as_single(make, settings, *data, epochs=2)
    same = {"start": [0, 1], "seed": [3, 3], "rate": [0.2, 0.5], "sampling": ["replacement"] * 2}
    assert_as_single(make, same, *data, iterations=4)


def test_schedules_and_transforms(training_backend, rng):
    b = training_backend

    def make(lr, final, factor, norm):
        net = TwoLayerNet(4, 6, 3, 0.5, seed=0, dtype="float64", backend=b)
        optimizer = SGD(schedules.Warmup(2, schedules.Cosine(lr, steps=6, final=final)), weight_decay=lr / 100)
        transforms = (ScaleGradients(factor), Accumulate(2), ClipByNorm(norm))
        return Trainer(net, optimizer, transforms=transforms, batch_size=20, seed=0, compile=compiled(b))

    settings = {"lr": [0.1, 0.5], "final": [0.0, 0.01], "factor": [1.0, 3.0], "norm": [0.1, 1.0]}
    assert_as_single(make, settings, *problem(b, rng, 4), epochs=3)


def test_a_network_that_diverges_ends_where_its_own_training_ends_and_the_others_go_on(training_backend, rng):
    b = training_backend
    x, t = b.asarray(rng.normal(size=(50, 4))), b.asarray(rng.normal(size=(50, 3)))
    settings = {"start": [0, 1, 2, 3], "lr": [0.001, 3.0, 0.002, 1e3]}
    make = maker(b, (lambda: layers.Affine(4, 6), layers.Softplus, *DENSE[2:]), SGD, loss=losses.SumSquaredError())
    result = assert_as_single(make, settings, x, t, validation=(x, t), iterations=70, rtol=1e-8)
    assert [trial.diverged is None for trial in result] == [True, False, True, False]
    assert result.best.number in (0, 2)
    assert [trial.number for trial in result.ranked][2:] != [0, 2]
    assert f"at {result[1].diverged}" in result.table()


def test_all_of_them_diverge(rng):
    x, t = rng.normal(size=(50, 4)), rng.normal(size=(50, 3))
    make = maker("numpy", (lambda: layers.Affine(4, 3),), SGD, loss=losses.SumSquaredError())
    result = assert_as_single(make, {"start": [0, 1], "lr": [1e200, 1e3]}, x, t, iterations=200, rtol=1e-8)
    assert all(trial.diverged is not None for trial in result)
    assert np.isfinite(result.best.network.loss(x, t))


def test_weights_that_are_not_finite_at_the_start(training_backend, rng):
    b = training_backend

    def make(start, scale):
        net = TwoLayerNet(4, 6, 3, 0.5, seed=start, dtype="float64", backend=b)
        net.params["b2"] = net.params["b2"] + scale
        return Trainer(net, SGD(0.1), batch_size=20, seed=0, compile=compiled(b))

    settings = {"start": [0, 1], "scale": [float("inf"), 0.0]}
    result = assert_as_single(make, settings, *problem(b, rng, 4), iterations=3)
    assert (result[0].diverged, result.best.number) == (0, 1)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_several_stacks_at_a_time(monkeypatch, rng, workers):
    """On NumPy each core has networks of its own."""
    backend = TwoLayerNet(4, 6, 3, backend="numpy").backend
    monkeypatch.setattr(type(backend), "workers", workers)
    monkeypatch.setattr(type(backend.threads), "number", workers)
    settings = {"start": range(5), "lr": [0.1, 0.2, 1e4, 0.3, 0.01]}
    make = maker("numpy", DENSE, SGD, loss=losses.MeanSquaredError())
    x, t = rng.normal(size=(50, 4)), rng.normal(size=(50, 3))
    result = assert_as_single(make, settings, x, t, iterations=40, rtol=1e-8)
    assert result[2].diverged is not None


def test_a_trainer_goes_on_after_a_sweep(training_backend, rng, tmp_path):
    """Two calls are one, also where the first was a sweep, and from a file."""
    make = maker(training_backend, DENSE, optimizers.Momentum)
    x, t = problem(training_backend, rng, 4)
    found = sweep(make, {"start": [0, 1], "lr": [0.1, 0.2]}, x, t, iterations=4, progress=False)[1].trainer
    found.save(tmp_path / "checkpoint.safetensors")
    again, alone = Trainer.load(tmp_path / "checkpoint.safetensors", backend=training_backend), make(start=1, lr=0.2)
    alone.fit(x, t, iterations=7, progress=False)
    host = training_backend.to_numpy
    for trainer in (found, again):
        trainer.fit(x, t, iterations=3, progress=False)
        for name, w in alone.net.params.items():
            np.testing.assert_allclose(host(trainer.net.params[name]), host(w), rtol=1e-10, atol=1e-12)
