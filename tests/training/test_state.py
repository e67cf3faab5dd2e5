"""The owner of a training's state: what callbacks and users assign is found, checked and left as it is."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from xpnet import SGD, Adam, DivergedError, Momentum, Sequential, Trainer, TwoLayerNet
from xpnet.layers import Affine, BatchNorm, ReLU
from xpnet.schedules import ReduceOnPlateau
from xpnet.training import Callback
from xpnet.training.step import copy_state

MOMENTS = ("on_begin", "on_block", "on_evaluation")


@pytest.fixture
def data(rng):
    return rng.normal(size=(60, 6)).astype("float32"), rng.integers(0, 4, 60)


def trainer_of(backend, optimizer=None, seed=0):
    net = TwoLayerNet(6, 5, 4, weight_init_std=0.3, seed=seed, backend=backend)
    return Trainer(net, optimizer or SGD(0.1), batch_size=20, seed=1)


class At(Callback):
    """Do something to the trainer, once, at a moment and an iteration."""

    every = 1

    def __init__(self, moment, iteration, change):
        self.change, self.iteration, self.done = change, iteration, False
        setattr(self, moment, self.call)

    def call(self, trainer, evaluation=None):
        if trainer.iteration == self.iteration and not self.done:
            self.done = True
            self.change(trainer)


def at(moment):
    return {"on_begin": 0, "on_block": 2, "on_evaluation": 3}[moment]


def straight(b, data, moment, change):
    """The weights of a training that is cut there, with the change in between."""
    trainer = trainer_of(b)
    if at(moment):
        trainer.fit(*data, iterations=at(moment), progress=False)
    change(trainer)
    trainer.fit(*data, iterations=7 - at(moment), progress=False)
    return {name: b.to_numpy(w) for name, w in trainer.net.params.items()}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("whole", [False, True])
def test_what_a_callback_assigns_is_trained_on_and_stays_as_it_is(whole, moment, training_backend, array, data):
    """A whole dict of parameters, or one entry of it: the user's array is neither changed nor consumed."""
    b, host = training_backend, np.random.default_rng(5).normal(size=(6, 5)).astype("float32")
    mine, data = b.asarray(host, copy=True), tuple(map(b.asarray, data))

    def assign(trainer):
        if whole:
            trainer.net.params = trainer.net.params | {"W1": mine}
        else:
            trainer.net.params["W1"] = mine

    trainer = trainer_of(b)
    trainer.fit(*data, iterations=7, callbacks=[At(moment, at(moment), assign)], progress=False)
    np.testing.assert_array_equal(b.to_numpy(mine), host)  # of a deleted array this is an error
    for name, w in straight(b, data, moment, assign).items():
        np.testing.assert_array_equal(b.to_numpy(trainer.net.params[name]), w)
    assert trainer.net.params["W1"] is not mine


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_changed_in_place_is_trained_on(moment, data):
    def change(trainer):
        trainer.net.params["W1"][...] = 0.25

    b = trainer_of("numpy").net.backend
    trainer = trainer_of(b)
    trainer.fit(*data, iterations=7, callbacks=[At(moment, at(moment), change)], progress=False)
    for name, w in straight(b, data, moment, change).items():
        np.testing.assert_array_equal(trainer.net.params[name], w)


def test_an_array_in_two_places_is_two_arrays(training_backend):
    """Also where it was handed out, for another parameter."""
    b, rng = training_backend, np.random.default_rng(0)
    net = Sequential([Affine(4, 4), ReLU(), Affine(4, 4)], seed=0, backend=b)
    x, t = b.asarray(rng.normal(size=(20, 4)).astype("float32")), b.asarray(rng.integers(0, 4, 20))

    def tie(trainer):
        trainer.net.params["W2"] = trainer.net.params["W1"]

    trainer = Trainer(net, SGD(0.5), batch_size=10, seed=0)
    trainer.fit(x, t, iterations=6, callbacks=[At("on_block", 2, tie)], progress=False)
    one, other = (b.to_numpy(net.params[name]) for name in ("W1", "W2"))
    assert not np.shares_memory(one, other)
    assert not np.array_equal(one, other)


def test_the_state_of_the_optimizer_may_be_assigned(training_backend, data):
    """Momentum that a callback sets back: the speeds it assigned are left alone."""
    b, data, trainer = training_backend, tuple(map(training_backend.asarray, data)), None
    trainer = trainer_of(b, Momentum(0.1))
    zeros = copy_state(b, trainer.optimizer_state)

    def rest(trainer):
        trainer.optimizer_state = zeros

    trainer.fit(*data, iterations=7, callbacks=[At("on_block", 4, rest)], progress=False)
    other = trainer_of(b, Momentum(0.1))
    other.fit(*data, iterations=4, progress=False)
    other.optimizer_state = copy_state(b, zeros)
    other.fit(*data, iterations=3, progress=False)
    for name, w in other.net.params.items():
        np.testing.assert_array_equal(b.to_numpy(trainer.net.params[name]), b.to_numpy(w))
    assert all(not b.to_numpy(v).any() for slots in zeros["slots"].values() for v in slots.values())


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.zeros((5, 6), "float32"), ValueError, r"net\.params\['W1'\] is \(5, 6\)"),
        ([[1.0]], TypeError, r"net\.params\['W1'\] is of type list"),
    ],
)
def test_what_cannot_be_a_parameter_is_refused_before_a_step(value, error, message, data):
    trainer = trainer_of("numpy")
    spoil = At("on_block", 2, lambda trainer: trainer.net.params.update(W1=value))
    with pytest.raises(error, match=message):
        trainer.fit(*data, iterations=7, callbacks=[spoil], progress=False)
    assert trainer.iteration == 2


def test_what_the_user_holds_is_never_that_of_a_fit(training_backend, data):
    """Arrays of the network between two fits belong to the user as well."""
    b, data = training_backend, tuple(map(training_backend.asarray, data))
    trainer = trainer_of(b, Adam(0.01))
    for _ in range(2):
        held, state = dict(trainer.net.params), trainer.optimizer_state["slots"]["W1"]["m"]
        before = {name: b.to_numpy(w).copy() for name, w in held.items()}
        speed = b.to_numpy(state).copy()
        trainer.fit(*data, iterations=3, progress=False)
        for name, w in held.items():
            np.testing.assert_array_equal(b.to_numpy(w), before[name])
        np.testing.assert_array_equal(b.to_numpy(state), speed)


def test_the_factor_of_a_plateau_is_that_of_the_history(training_backend, data):
    """One place says it, before the first step, in the middle of a fit, and in the state of the optimizer."""
    b, data, seen = training_backend, tuple(map(training_backend.asarray, data)), []
    trainer = trainer_of(b, SGD(ReduceOnPlateau(0.1, factor=0.5, patience=0, threshold=0.9)))

    class Look(Callback):
        every = 1

        def on_block(self, trainer):
            seen.append((trainer.scale, float(b.to_numpy(trainer.optimizer_state["scale"]))))

    trainer.fit(*data, epochs=4, callbacks=[Look()], progress=False)
    scales = [scale for scale, _ in seen]
    assert scales == [1.0] * 6 + [0.5] * 3 + [0.25] * 3, "a reduction an epoch, from the second on"
    assert [found for _, found in seen] == scales
    assert trainer.scale == 0.125
    assert trainer.learning_rate == 0.1 * 0.125
    trainer.history.evaluations.clear()
    assert trainer.scale == 1


def test_a_watched_value_that_is_not_there_is_said_before_the_first_step_and_can_be_mended(data):
    trainer = trainer_of("numpy", SGD(ReduceOnPlateau(0.1, monitor="validation_loss")))
    with pytest.raises(ValueError, match="there is no validation_loss to watch"):
        trainer.fit(*data, epochs=1, progress=False)
    assert trainer.iteration == 0
    assert trainer.fit(*data, validation=data, epochs=1, progress=False).iterations == 3


@pytest.mark.parametrize("compiled", [True, False])
def test_a_trainer_does_not_hold_on_to_the_data(compiled, data):
    net = TwoLayerNet(6, 5, 4, seed=0, backend="numpy")
    trainer = Trainer(net, SGD(0.1), batch_size=20, compile=compiled)
    x, t = data[0].copy(), data[1].copy()
    held = weakref.ref(x)
    trainer.fit(x, t, epochs=1, progress=False)
    del x
    gc.collect()
    assert held() is None


def normalized(b):
    layers = [Affine(6, 5), BatchNorm(5), ReLU(), Affine(5, 4)]
    return Trainer(Sequential(layers, seed=0, backend=b), SGD(0.1, weight_decay=0.01), batch_size=20, seed=1)


@pytest.mark.parametrize("cut", [3, 4])
def test_buffers_are_part_of_the_state(cut, training_backend, data, tmp_path):
    """They go on with the steps, come back from a checkpoint, and are those of the last step when fit has ended."""
    b, data = training_backend, tuple(map(training_backend.asarray, data))
    straight, first = normalized(b), normalized(b)
    start = {name: b.to_numpy(a).copy() for name, a in straight.net.buffers.items()}
    straight.fit(*data, iterations=7, progress=False)
    first.fit(*data, iterations=cut, progress=False)
    first.save(tmp_path / "run")
    again = Trainer.load(tmp_path / "run", backend=b)
    again.fit(*data, iterations=7 - cut, progress=False)
    assert again.history.losses == straight.history.losses
    assert sorted(start) == ["BatchNorm1.mean", "BatchNorm1.var"]
    for name, a in straight.net.buffers.items():
        assert (b.to_numpy(a) != start[name]).all()
        np.testing.assert_array_equal(b.to_numpy(again.net.buffers[name]), b.to_numpy(a))


@pytest.mark.parametrize("whole", [False, True])
def test_buffers_that_a_callback_assigns(whole, training_backend, data):
    b, data, host = training_backend, tuple(map(training_backend.asarray, data)), np.full(5, 7.0, "float32")
    mine = b.asarray(host, copy=True)

    def assign(trainer):
        if whole:
            trainer.net.buffers = trainer.net.buffers | {"BatchNorm1.mean": mine}
        else:
            trainer.net.buffers["BatchNorm1.mean"] = mine

    trainer, cut = normalized(b), normalized(b)
    trainer.fit(*data, iterations=7, callbacks=[At("on_block", 2, assign)], progress=False)
    cut.fit(*data, iterations=2, progress=False)
    assign(cut)
    cut.fit(*data, iterations=5, progress=False)
    np.testing.assert_array_equal(b.to_numpy(mine), host)
    found, wanted = (b.to_numpy(each.net.buffers["BatchNorm1.mean"]) for each in (trainer, cut))
    np.testing.assert_array_equal(found, wanted)
    assert (found > 1).all()
    bad = At("on_block", 9, lambda trainer: trainer.net.buffers.update({"BatchNorm1.mean": mine[:4]}))
    with pytest.raises(ValueError, match=r"net\.buffers\['BatchNorm1\.mean'\] is \(4,\)"):
        trainer.fit(*data, iterations=7, callbacks=[bad], progress=False)


def test_a_divergence_goes_back_to_the_buffers_of_the_last_good_step(data):
    trainer, straight = normalized("numpy"), normalized("numpy")
    trainer.optimizer = straight.optimizer = SGD(1e18)
    with pytest.raises(DivergedError):
        trainer.fit(*data, iterations=50, progress=False)
    assert trainer.iteration >= 1
    straight.fit(*data, iterations=trainer.iteration, progress=False)
    for name, a in straight.net.buffers.items():
        np.testing.assert_array_equal(trainer.net.buffers[name], a)
    for name, w in straight.net.params.items():
        np.testing.assert_array_equal(trainer.net.params[name], w)
