"""Trainings in mixed precision: beside PyTorch's autocast, with steps left out, and from file to file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from xpnet import (
    SGD,
    Adam,
    CheckpointError,
    DivergedError,
    Momentum,
    Sequential,
    Trainer,
    TwoLayerNet,
    get_backend,
    make_step,
    sweep,
)
from xpnet.backends.base import HALF_DTYPES, Block, PlainStep
from xpnet.layers import (
    Affine,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    LayerNorm,
    MaxPool2d,
    ReLU,
    Rescale,
    Residual,
    Tanh,
)
from xpnet.losses import MeanSquaredError
from xpnet.optimizers import Accumulate, ClipByNorm, LossScaling
from xpnet.schedules import Cosine
from xpnet.stacked import StackError
from xpnet.training import init_state


@pytest.fixture
def halves(training_backend):
    if not training_backend.half_dtypes:
        pytest.skip(f"{training_backend.name} trains in no 16 bits")
    return training_backend.half_dtypes


@pytest.fixture
def samples(array, rng):
    return array(rng.normal(size=(48, 6)).astype("float32")), array(rng.integers(0, 3, 48))


def network(backend, seed=0):
    return TwoLayerNet(6, 8, 3, weight_init_std=0.5, seed=seed, backend=backend)


def regression(backend):
    return Sequential([Affine(6, 8), BatchNorm(8), ReLU(), Affine(8, 1)], MeanSquaredError(), seed=0, backend=backend)


def images_network(backend):
    layers = [Rescale(1 / 255), Conv2d(1, 4, 3, padding=1), BatchNorm(4), ReLU(), MaxPool2d(2)]
    layers += [Residual(Conv2d(4, 4, 3, padding=1)), Flatten(), Affine(64, 8), LayerNorm(8), Dropout(0.2), Affine(8, 3)]
    return Sequential(layers, seed=0, backend=backend)


def weights(trainer):
    to_numpy = trainer.net.backend.to_numpy
    return {name: to_numpy(a).copy() for name, a in (trainer.net.params | trainer.net.buffers).items()}


def fit(trainer, data, iterations, **options):
    return trainer.fit(*data, iterations=iterations, progress=False, **({"evaluate": "never"} | options))


def test_weights_stay_float32_and_follow_those_of_single_precision(halves, training_backend, samples):
    single = Trainer(network(training_backend), Adam(0.01), batch_size=16, seed=1)
    fit(single, samples, 20)
    for name in halves:
        trainer = Trainer(network(training_backend), Adam(0.01), batch_size=16, seed=1, compute_dtype=name)
        history = fit(trainer, samples, 20)
        assert all(a.dtype == np.float32 for a in weights(trainer).values())
        np.testing.assert_allclose(history.losses, single.history.losses, rtol=0.02)
        assert history.losses != single.history.losses
        assert history.compute_dtype == trainer.compute_dtype == name
        assert f", compute_dtype='{name}') after 20" in repr(trainer)
        assert training_backend.to_numpy(trainer.net.predict(samples[0])).dtype == np.float32


@pytest.mark.parametrize("name", HALF_DTYPES)
def test_steps_are_those_of_pytorchs_autocast(name, halves, training_backend, samples):
    """With its GradScaler in float16, weights after ten steps of momentum, to a few roundings of a gradient."""
    torch = pytest.importorskip("torch")
    if name not in halves:
        pytest.skip(f"{training_backend.name} does not train in {name}")
    b, dtype = training_backend, getattr(torch, name)
    x, t = (b.to_numpy(a) for a in samples)
    net = Sequential([Affine(6, 8), Tanh(), Affine(8, 3)], seed=0, backend=b)
    start = {k: b.to_numpy(p).copy() for k, p in net.params.items()}
    trainer = Trainer(net, Momentum(0.1, 0.9), batch_size=16, sampling="sequential", compute_dtype=name)
    losses = fit(trainer, samples, 9).losses
    theirs = {k: torch.nn.Parameter(torch.from_numpy(w.copy())) for k, w in start.items()}
    optimizer = torch.optim.SGD(theirs.values(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", enabled=name == "float16")
    for i, expected in enumerate(losses):
        rows = slice(i % 3 * 16, i % 3 * 16 + 16)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype):
            hidden = torch.nn.functional.linear(torch.from_numpy(x[rows].copy()), theirs["W1"].T, theirs["b1"])
            y = torch.nn.functional.linear(torch.tanh(hidden), theirs["W2"].T, theirs["b2"])
            loss = torch.nn.functional.cross_entropy(y, torch.from_numpy(t[rows].astype("int64")))
        assert loss.item() == pytest.approx(expected, rel=4 * float(torch.finfo(dtype).eps))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    for k, w in weights(trainer).items():
        way = np.abs(theirs[k].detach().numpy() - start[k]).max()
        np.testing.assert_allclose(w, theirs[k].detach().numpy(), rtol=0, atol=8 * float(torch.finfo(dtype).eps) * way)


def spoiled(array, rng, n=48):
    """Targets, those of the second of three minibatches too far off for float16, and not for float32."""
    t = rng.normal(size=(n, 1)).astype("float32")
    t[16:32] = 1e6
    return array(t)


def test_a_minibatch_that_overflows_is_left_out_as_if_it_had_not_been(halves, training_backend, array, rng, at_home):
    """Weights, running statistics and what is added up, to the last bit; its loss is in the history, and finite."""
    x, t = array(rng.normal(size=(48, 6)).astype("float32")), spoiled(array, rng)
    found = []
    for rows in (np.arange(48), np.r_[0:16, 32:48]):
        data = tuple(training_backend.xp.take(a, training_backend.asarray(rows), axis=0) for a in (x, t))
        transforms = (LossScaling(backoff_factor=1.0), Accumulate(2), ClipByNorm(1.0))
        options = {"transforms": transforms, "batch_size": 16, "sampling": "sequential", "compute_dtype": "float16"}
        trainer = Trainer(regression(training_backend), Adam(0.01), **options)
        history = fit(trainer, data, len(rows) // 4)
        assert np.isfinite(history.losses).all()
        assert len(history.losses) == len(rows) // 4
        found.append((weights(trainer), trainer))
    assert [int(trainer.transform_states["0"]["skipped"]) for _, trainer in found] == [4, 0]
    for name, w in found[0][0].items():
        np.testing.assert_array_equal(w, found[1][0][name], err_msg=name)


def test_the_learning_rate_does_not_count_what_was_left_out(halves, training_backend, array, rng):
    data = array(rng.normal(size=(48, 6)).astype("float32")), spoiled(array, rng)
    optimizer = Adam(Cosine(0.01, 20))
    options = {"batch_size": 16, "sampling": "sequential", "compute_dtype": "float16"}
    trainer = Trainer(regression(training_backend), optimizer, **options)
    fit(trainer, data, 2)
    left = int(trainer.transform_states["0"]["skipped"])
    assert left == 1
    assert int(trainer.optimizer_state["t"]) == 1
    assert trainer.learning_rate == pytest.approx(float(optimizer.learning_rates(np.asarray([1.0]))[0]))
    assert float(trainer.transform_states["0"]["scale"]) == 2.0**15


def test_gradients_that_no_scale_helps_are_a_divergence(halves, training_backend, array, rng):
    """The scale falls from 2¹⁶ below 2⁻²⁴, and the weights stay where they were."""
    x, t = (array(a.astype("float32")) for a in (rng.normal(size=(48, 6)), np.full((48, 1), 1e15)))
    trainer = Trainer(regression(training_backend), SGD(0.1), batch_size=16, compute_dtype="float16")
    before = weights(trainer)
    with pytest.raises(DivergedError, match=r"gradients are not finite, however small the loss scale.*bfloat16"):
        fit(trainer, (x, t), 100)
    for name, w in weights(trainer).items():
        np.testing.assert_array_equal(w, before[name])
    assert trainer.iteration == 39
    assert np.isfinite(trainer.history.losses[: trainer.iteration]).all()


def test_activations_that_overflow_are_a_divergence(halves, training_backend, samples, at_home):
    net = network(training_backend)
    net.params["W1"] = net.params["W1"] * 1e6
    trainer = Trainer(net, SGD(0.1), batch_size=16, compute_dtype="float16")
    with pytest.raises(DivergedError, match=r"the loss at iteration 0 is nan.*compute_dtype=\"bfloat16\""):
        fit(trainer, samples, 5)


def test_a_scale_of_float32_changes_nothing(training_backend, samples):
    """Powers of two round nothing: loss scaling by itself, in single precision, on every backend."""
    found = []
    for transforms in ((), (LossScaling(1024.0, growth_interval=3),)):
        trainer = Trainer(network(training_backend), Momentum(0.1), transforms=transforms, batch_size=16, seed=1)
        fit(trainer, samples, 8)
        found.append(weights(trainer))
    for name, w in found[0].items():
        np.testing.assert_allclose(w, found[1][name], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("cut", [1, 7])
def test_a_training_that_goes_on_from_a_file_is_the_same_to_the_last_bit(
    cut, halves, training_backend, array, rng, tmp_path
):
    data = array(rng.normal(size=(48, 6)).astype("float32")), spoiled(array, rng)
    for name in halves:
        options = {"transforms": (ClipByNorm(5.0),), "batch_size": 16, "seed": 3, "compute_dtype": name}
        whole = Trainer(regression(training_backend), Adam(0.01), **options)
        fit(whole, data, 12)
        first = Trainer(regression(training_backend), Adam(0.01), **options)
        fit(first, data, cut)
        first.save(tmp_path / "half.safetensors")
        other = {"transforms": (ClipByNorm(5.0),), "net": regression(training_backend)}
        for more in ({"backend": training_backend}, other):
            second = Trainer.load(tmp_path / "half.safetensors", **more)
            assert (second.compute_dtype, second.history.compute_dtype) == (name, name)
            fit(second, data, 12 - cut)
            assert second.history.losses == whole.history.losses
            for k, w in weights(whole).items():
                np.testing.assert_array_equal(weights(second)[k], w)
            states = [t.transform_states.get("0", {}) for t in (whole, second)]
            assert {k: float(v) for k, v in states[0].items()} == {k: float(v) for k, v in states[1].items()}


def test_a_file_can_be_gone_on_with_in_single_precision(halves, training_backend, samples, tmp_path):
    trainer = Trainer(network(training_backend), SGD(0.1), batch_size=16, seed=1, compute_dtype="float16")
    fit(trainer, samples, 3)
    trainer.save(tmp_path / "half.safetensors")
    other = Trainer.load(tmp_path / "half.safetensors", backend=training_backend, compute_dtype="float32")
    assert other.compute_dtype is None
    fit(other, samples, 3)
    assert len(other.history.losses) == 6


def test_a_dtype_in_a_file_that_is_none_is_damage(training_backend, samples, tmp_path, monkeypatch):
    trainer = Trainer(network(training_backend), SGD(0.1), batch_size=16)
    trainer.compute_dtype = "float8"
    with pytest.raises(ValueError, match="its compute_dtype is 'float8'"):
        trainer.save(tmp_path / "half.safetensors")


def test_compiled_steps_are_those_of_numpy_uncompiled(halves, training_backend, rng):
    """Convolutions, normalizations and draws, of images that stay bytes; on NumPy itself to the last bit."""
    if not training_backend.compiles_by_default:
        pytest.skip(f"{training_backend.name} takes long to compile")
    x, t = rng.integers(0, 256, (32, 1, 8, 8)).astype("uint8"), rng.integers(0, 3, 32)
    rows, numpy = rng.integers(0, 32, (5, 16)), get_backend("numpy")
    optimizer, transforms, found = Adam(0.01), (LossScaling(), ClipByNorm(1.0)), []
    for b, make in ((numpy, lambda step: PlainStep(step, numpy)), (training_backend, training_backend.compile)):
        net = images_network(b)
        draws = [net.draws(np.random.default_rng(i), (16, 1, 8, 8)) for i in range(5)]
        block = Block(rows, {k: np.stack([d[k] for d in draws]) for k in draws[0]})
        step = make(make_step(net, optimizer, transforms=transforms, compute_dtype="float16"))
        data = {"x": b.asarray(x), "t": b.asarray(t)}
        state, losses = step.run(init_state(net, optimizer, transforms), data, block)
        found.append((losses, {k: b.to_numpy(w) for k, w in (state["params"] | state["buffers"]).items()}))
    (losses, plain), (others, compiled) = found
    exact = training_backend.name == "numpy"
    np.testing.assert_allclose(others, losses, rtol=0 if exact else 0.01)
    for k, w in plain.items():  # Adam makes a step of 0.01 of the least gradient
        np.testing.assert_allclose(compiled[k], w, rtol=0, atol=0 if exact else 0.06)


def test_a_block_of_steps_waits_once_for_its_losses(halves, training_backend, samples):
    b = training_backend
    waits = getattr(getattr(b.library(), "cuda", None), "waits", None)
    if waits is None:
        pytest.skip(f"{b.name} does not count waits")
    net, optimizer, transforms = network(b), Adam(0.01), (LossScaling(), ClipByNorm(1.0), Accumulate(2))
    with b.current():
        step = PlainStep(make_step(net, optimizer, transforms=transforms, compute_dtype="float16"), b)
        state, data = init_state(net, optimizer, transforms), dict(zip("xt", samples, strict=True))
        waits.clear()
        step.run(state, data, Block(np.arange(32).reshape(4, 8), {}))
    assert waits == {"get": 1}


def test_samples_that_count_twice_as_much_do_so(halves, training_backend, samples, at_home):
    """Weights of one kind leave a mean as it is, whatever they are."""
    weight = training_backend.xp.ones_like(samples[0][:, 0]) * 4
    found = []
    for more in ({}, {"weight": weight}):
        trainer = Trainer(network(training_backend), SGD(0.1), batch_size=16, seed=1, compute_dtype="float16")
        fit(trainer, samples, 6, **more)
        found.append(trainer.history.losses)
    np.testing.assert_allclose(*found, rtol=1e-3)


def test_digits_are_learned_as_well_as_in_single_precision(halves, training_backend, some_digits, array):
    if training_backend.name != "numpy":
        pytest.skip("once is enough")
    (x, t), (x_test, t_test) = some_digits
    found = []
    for name in (None, "float16"):
        trainer = Trainer(TwoLayerNet(784, 30, 10, seed=0), Adam(0.003), batch_size=100, seed=0, compute_dtype=name)
        fit(trainer, (array(x), array(t)), 180)
        found.append(trainer.net.accuracy(x_test, t_test))
    assert found[0] > 0.88
    assert abs(found[0] - found[1]) <= 0.005


def test_what_cannot_be_is_refused_at_once(training_backend):
    b = training_backend
    with pytest.raises(ValueError, match="unknown compute_dtype 'float8'; expected one of: bfloat16, float16"):
        Trainer(network(b), SGD(0.1), compute_dtype="float8")
    for name in set(HALF_DTYPES) - set(b.half_dtypes):
        with pytest.raises(ValueError, match=f"backend '{b.name}' does not train in {name}, it"):
            Trainer(network(b), SGD(0.1), compute_dtype=name)
    for name in b.half_dtypes:
        net = Sequential([Affine(2, 2)], dtype="float64", backend=b)
        with pytest.raises(ValueError, match=f"compute_dtype is '{name}' for a network of float64; expected float32"):
            Trainer(net, SGD(0.1), compute_dtype=name)
    assert Trainer(network(b), SGD(0.1), compute_dtype="float32").compute_dtype is None


def test_in_float16_losses_are_scaled_by_themselves(halves, training_backend):
    made = Trainer(network(training_backend), SGD(0.1), transforms=(ClipByNorm(1.0),), compute_dtype="float16")
    assert made.transforms == (LossScaling(), ClipByNorm(1.0))
    own = (LossScaling(8.0), ClipByNorm(1.0))
    assert Trainer(network(training_backend), SGD(0.1), transforms=own, compute_dtype="float16").transforms == own
    for name in set(halves) - {"float16"}:
        assert Trainer(network(training_backend), SGD(0.1), compute_dtype=name).transforms == ()


def test_networks_in_mixed_precision_are_trained_one_by_one(halves, training_backend, samples):
    def make(lr):
        return Trainer(network(training_backend), SGD(lr), batch_size=16, seed=0, compute_dtype="float16")

    with pytest.raises(StackError, match="compute_dtype is 'float16' in network 0; one_by_one=True"):
        sweep(make, {"lr": [0.1, 0.2]}, *samples, epochs=1, progress=False)


def test_a_history_in_a_file_names_the_dtype(halves, training_backend, samples, tmp_path):
    trainer = Trainer(network(training_backend), SGD(0.1), batch_size=16, compute_dtype="float16")
    fit(trainer, samples, 1)
    trainer.history.save(tmp_path / "history.json")
    assert json.loads((tmp_path / "history.json").read_text())["compute_dtype"] == "float16"


def test_a_file_for_a_backend_without_the_dtype_says_so(tmp_path):
    jax = pytest.importorskip("jax")  # noqa: F841
    trainer = Trainer(network("jax"), SGD(0.1), batch_size=16, compute_dtype="bfloat16")
    trainer.save(tmp_path / "half.safetensors")
    with pytest.raises(CheckpointError, match="does not train in bfloat16"):
        Trainer.load(tmp_path / "half.safetensors", backend="numpy")
