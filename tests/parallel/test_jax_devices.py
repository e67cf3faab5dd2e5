"""Several devices of JAX train one network: the losses and weights of one device, and one reduction a step."""

import pickle
import re

import numpy as np
import pytest

from xpnet import SGD, Adam, Momentum, Sequential, Trainer, TwoLayerNet, functions, get_backend, make_step
from xpnet.backends.dispatch import backend_of, device
from xpnet.errors import DivergedError
from xpnet.layers import Affine, BatchNorm, Conv2d, Dropout, Flatten, MaxPool2d, ReLU, Rescale
from xpnet.losses import MeanSquaredError
from xpnet.optimizers import OPTIMIZERS, Accumulate, ClipByNorm, WeightDecay
from xpnet.training import Callback, init_state

DEVICES = 4
ALL = ",".join(f"cpu:{i}" for i in range(DEVICES))
#: 330 samples in minibatches of 50: the last of an epoch has 30. Neither divides by four.
SAMPLES, BATCH = 330, 50


@pytest.fixture(scope="module", autouse=True)
def jax():
    found = pytest.importorskip("jax", reason="JAX is not installed, and these are its devices")
    if len(found.devices("cpu")) < DEVICES:
        pytest.skip(
            f"JAX has no {DEVICES} devices; XLA_FLAGS=--xla_force_host_platform_device_count={DEVICES} makes them"
        )
    return found


def samples(shape=(20,), dtype="float64", classes=10):
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(SAMPLES, *shape)).astype(dtype), rng.integers(0, classes, SAMPLES)
    return x, t, rng.random(SAMPLES).astype(dtype)


def dense(dtype="float64", device="cpu:0"):
    layers = [Affine(20, 24), ReLU(), Dropout(0.2), Affine(24, 10)]
    return Sequential(layers, seed=0, dtype=dtype, backend="jax", device=device)


def trained(
    net, optimizer, x, t, weight=None, *, parallel=None, transforms=(), iterations=40, callbacks=(), evaluate="epoch"
):
    trainer = Trainer(net, optimizer, batch_size=BATCH, seed=3, transforms=transforms, parallel=parallel)
    x, t, weight = (None if each is None else net.backend.asarray(each) for each in (x, t, weight))
    validation = (x[:101], t[:101])
    options = {"iterations": iterations, "callbacks": callbacks, "evaluate": evaluate, "progress": False}
    trainer.fit(x, t, weight=weight, validation=validation, **options)
    return trainer


def agree(one, many, tolerance, leave_out=()):
    """Whether two trainings have the same losses, weights and evaluations, to rounding."""
    np.testing.assert_allclose(many.history.losses, one.history.losses, rtol=tolerance)
    for name, value in (one.net.params | one.net.buffers).items():
        if name not in leave_out:
            found, expected = np.asarray((many.net.params | many.net.buffers)[name]), np.asarray(value)
            np.testing.assert_allclose(
                found, expected, rtol=0, atol=tolerance * 10 * np.abs(expected).max(), err_msg=name
            )
    assert len(one.history.evaluations) == len(many.history.evaluations)
    for a, b in zip(one.history.evaluations, many.history.evaluations, strict=True):
        assert b.validation_loss == pytest.approx(a.validation_loss, rel=tolerance * 10)
        assert b.train_loss == pytest.approx(a.train_loss, rel=tolerance * 10)
        assert b.train_accuracy == pytest.approx(a.train_accuracy, abs=1.5 / SAMPLES)


@pytest.mark.parametrize(("dtype", "iterations", "tolerance"), [("float32", 1000, 1e-6), ("float64", 200, 1e-12)])
def test_devices_train_what_one_device_trains(dtype, iterations, tolerance):
    transforms, data = (ClipByNorm(1.0), WeightDecay(1e-4)), samples(dtype=dtype)
    one, many = (
        trained(dense(dtype), Momentum(0.01), *data, parallel=p, transforms=transforms, iterations=iterations)
        for p in (None, "jax")
    )
    agree(one, many, tolerance)
    assert len(one.history.evaluations) > iterations / 7
    assert {array.device for array in many.net.params.values()} == {many.net.backend.device}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_steps_as_on_one_device(name):
    one, many = (trained(dense(), OPTIMIZERS[name](), *samples(), parallel=p, evaluate="never") for p in (None, "jax"))
    agree(one, many, 1e-11)


def test_statistics_of_batch_normalization_are_of_the_whole_minibatch():
    layers = [Conv2d(1, 4, 3), BatchNorm(4), ReLU(), MaxPool2d(2), Flatten(), Affine(4 * 3 * 3, 10)]
    nets = [Sequential(layers, seed=0, dtype="float64", backend="jax", device="cpu:0") for _ in range(2)]
    one, many = (
        trained(net, Momentum(0.01), *samples((1, 8, 8)), parallel=p, iterations=20)
        for net, p in zip(nets, (None, "jax"), strict=True)
    )
    # a bias before a mean is taken off has no effect, and its gradient is rounding alone
    agree(one, many, 1e-12, leave_out=("b1",))


def test_accumulated_gradients_bytes_and_other_losses():
    x, t = np.random.default_rng(0).integers(0, 256, (SAMPLES, 8)).astype("uint8"), samples()[0][:, :3]
    found = []
    for parallel in (None, "jax"):
        layers = [Rescale(1 / 255), Affine(8, 6), ReLU(), Affine(6, 3)]
        net = Sequential(layers, MeanSquaredError(), seed=0, dtype="float64", backend="jax", device="cpu:0")
        trainer = Trainer(net, Adam(0.01), batch_size=7, seed=0, transforms=(Accumulate(3),), parallel=parallel)
        trainer.fit(net.backend.asarray(x), net.backend.asarray(t), epochs=1, progress=False)
        found.append(trainer)
    np.testing.assert_allclose(found[1].history.losses, found[0].history.losses, rtol=1e-12)


@pytest.mark.parametrize("batch", [BATCH, 52])
def test_a_step_has_one_reduction_and_the_loop_stays_on_the_device(jax, batch):
    from xpnet.parallel.jax import JaxParallel

    net, optimizer = dense("float32"), Adam()
    step = JaxParallel().compile(net.backend, make_step(net, optimizer, transforms=(ClipByNorm(1.0),)), True)
    x, t, _ = samples(dtype="float32")
    data = {"x": net.backend.asarray(x), "t": net.backend.asarray(t)}
    state, data = jax.tree.map(lambda a: step._wide(a, {}), (init_state(net, optimizer, (ClipByNorm(1.0),)), data))
    rows = np.zeros((8, batch), np.int32)
    draws = {name: np.stack([d] * 8) for name, d in net.draws(np.random.default_rng(0), (batch, 20)).items()}
    text = step.step.many.lower(state, data, rows, draws, np.int32(8)).compile().as_text()
    kinds = re.findall(r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\(", text)
    assert kinds == ["all-reduce"]
    assert len(re.findall(r" while\(", text)) == 1


class _Assigns(Callback):
    every = 15

    def on_block(self, trainer):
        if trainer.iteration == 15:
            trainer.net.params["W1"] = trainer.net.params["W1"] / 2
            self.seen = trainer.net.accuracy(*(trainer.net.backend.asarray(each) for each in samples()[:2]))


def test_what_a_callback_assigns_is_trained_on():
    one, many = (
        trained(dense(device=d), SGD(0.1), *samples(), parallel=p, callbacks=[_Assigns()])
        for d, p in (("cpu:0", None), ("cpu:2", "jax"))
    )
    agree(one, many, 1e-12)
    assert {str(array.device.id) for array in many.net.params.values()} == {"2"}


def test_a_training_that_diverges_keeps_the_same_weights():
    found = []
    for parallel in (None, "jax"):
        net = dense("float32")
        trainer = Trainer(net, SGD(1e3), batch_size=BATCH, seed=0, parallel=parallel)
        x, t, _ = (net.backend.asarray(each) for each in samples(dtype="float32"))
        with pytest.raises(DivergedError) as caught:
            trainer.fit(x * 1e3, t, iterations=200, progress=False)
        found.append((caught.value.iteration, net.params))
        assert all(np.isfinite(np.asarray(array)).all() for array in net.params.values())
    assert found[0][0] == found[1][0]


@pytest.mark.parametrize(("first", "then"), [(None, "jax"), ("jax", None)])
def test_a_checkpoint_is_resumed_on_another_number_of_devices(tmp_path, first, then):
    x, t, weight = samples()
    whole = trained(dense(), Adam(0.01), x, t, weight, iterations=50)
    trained(dense(), Adam(0.01), x, t, weight, parallel=first, iterations=23).save(tmp_path / "run.safetensors")
    later = Trainer.load(tmp_path / "run.safetensors", backend="jax", device="cpu:0", parallel=then)
    data = (later.net.backend.asarray(each) for each in (x, t))
    later.fit(*data, weight=later.net.backend.asarray(weight), iterations=27, progress=False)
    np.testing.assert_allclose(later.history.losses, whole.history.losses, rtol=1e-12)


def test_predictions_after_training_are_those_of_a_network_on_one_device():
    x, t, _ = samples()
    many = trained(dense(), SGD(0.1), x, t, parallel="jax")
    expected = many.net.to("numpy").predict(x)
    np.testing.assert_allclose(
        np.asarray(many.net.predict(many.net.backend.asarray(x))), expected, rtol=1e-9, atol=1e-12
    )
    assert pickle.loads(pickle.dumps(many)).parallel == many.parallel


def test_a_backend_may_be_several_devices(jax):
    x, t, weight = samples()
    one = trained(dense(), Momentum(0.05), x, t, weight)
    layers = list(dense().layers.values())
    net = Sequential(layers, seed=0, dtype="float64", backend="jax", device=ALL)
    many = trained(net, Momentum(0.05), x, t, weight)
    agree(one, many, 1e-12)
    assert net.params["W1"].devices() == set(jax.devices("cpu")[:DEVICES])
    copied = pickle.loads(pickle.dumps(net))
    assert copied.backend == net.backend == get_backend("jax", ALL)
    assert copied.params["W1"].sharding == net.params["W1"].sharding


def test_arrays_that_are_spread_over_devices_are_computed_with(jax):
    net, alone = (TwoLayerNet(5, 6, 3, seed=0, dtype="float64", backend="jax", device=d) for d in (ALL, "cpu:0"))
    rows = jax.sharding.NamedSharding(net.backend.device.mesh, jax.sharding.PartitionSpec("rows"))
    x, t = np.random.default_rng(0).normal(size=(8, 5)), np.arange(8) % 3
    spread = jax.device_put(x, rows), jax.device_put(t, rows)
    assert device(spread[0]) == net.backend.device
    assert backend_of(spread[0]) == net.backend
    scores = net.predict(spread[0])
    assert scores.sharding.shard_shape(scores.shape) == (2, 3)
    assert np.asarray(functions.one_hot(spread[1], scores)).tolist() == np.eye(3)[t].tolist()
    expected = alone.gradient(alone.backend.asarray(x), alone.backend.asarray(t))
    for name, found in net.gradient(*spread).items():
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected[name]), rtol=1e-12, atol=1e-15)
    with pytest.raises(ValueError, match=f"x is on device {ALL}, but the network is on cpu:0"):
        alone.predict(spread[0])


def test_what_cannot_be_trained_on_several_devices_is_refused(monkeypatch):
    from xpnet.parallel.jax import JaxParallel

    with pytest.raises(ValueError, match="networks of JAX, and this one is on backend 'numpy'"):
        Trainer(TwoLayerNet(5, 6, 3, backend="numpy"), SGD(0.1), parallel="jax")
    with pytest.raises(ValueError, match="on several devices already"):
        Trainer(TwoLayerNet(5, 6, 3, backend="jax", device=ALL), SGD(0.1), parallel="jax")
    trainer = Trainer(dense(), SGD(0.1), parallel="jax", compile=False)
    x, t, _ = (trainer.net.backend.asarray(each) for each in samples())
    with pytest.raises(ValueError, match="needs compiled steps"):
        trainer.fit(x, t, epochs=1, progress=False)
    with pytest.raises(ValueError, match="has no device 'cpu:99' here"):
        get_backend("jax", "cpu:0,cpu:99")
    monkeypatch.setattr(JaxParallel, "_devices", lambda self, backend: [backend.device])
    with pytest.warns(UserWarning, match="trains on one device"):
        Trainer(dense(), SGD(0.1), parallel="jax")
