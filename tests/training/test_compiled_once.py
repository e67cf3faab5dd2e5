"""A step is compiled once: later calls of fit and equal trainings compile and record nothing."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from xpnet import SGD, CompileWarning, Sequential, Trainer, TwoLayerNet
from xpnet.backends.replay import recorded
from xpnet.layers import Affine, Dropout, ReLU, Tanh
from xpnet.losses import SoftmaxWithLoss
from xpnet.optimizers import Adam, ClipByNorm
from xpnet.schedules import ReduceOnPlateau
from xpnet.training import Callback
from xpnet.training.compiled import forget
from xpnet.training.step import made_of


@pytest.fixture
def count(monkeypatch):
    """How often steps were recorded by NumPy, and traced by JAX; one compilation has two recordings or one trace."""
    found = []
    usual = recorded.RecordedStep._recorded

    def counted(self, *arguments):
        found.append("recorded")
        return usual(self, *arguments)

    monkeypatch.setattr(recorded.RecordedStep, "_recorded", counted)
    usual_loss = Sequential.training_value_and_grad

    def traced(self, params, x, **rest):
        if "Tracer" in type(x).__name__ and type(x).__module__.startswith("jax"):
            found.append("traced")
        return usual_loss(self, params, x, **rest)

    monkeypatch.setattr(Sequential, "training_value_and_grad", traced)
    return found


@pytest.fixture
def data(training_backend, rng):
    b = training_backend
    if b.name not in ("numpy", "jax", "cupy"):
        pytest.skip(f"{b.name} compiles nothing by default")
    return b.asarray(rng.normal(size=(60, 6)).astype("float32")), b.asarray(rng.integers(0, 4, 60))


def trainer_of(backend, optimizer, **options):
    net = TwoLayerNet(6, 5, 4, weight_init_std=0.3, seed=0, backend=backend)
    return Trainer(net, optimizer, batch_size=20, seed=1, **options)


def test_a_second_fit_compiles_nothing(training_backend, data, count):
    """Also on other data of the same shapes, after a callback assigned weights, and a rate that came down."""
    b = training_backend
    trainer = trainer_of(b, Adam(ReduceOnPlateau(0.01, patience=0, threshold=0.9)), transforms=(ClipByNorm(1.0),))
    trainer.fit(*data, epochs=2, progress=False)
    once = len(count)
    assert once == {"numpy": 2, "cupy": 2, "jax": 1}[b.name]
    other = b.asarray(b.to_numpy(data[0]) + 1), b.asarray((b.to_numpy(data[1]) + 1) % 4)

    class Reset(Callback):
        def on_block(self, trainer):
            trainer.net.params["W1"] = trainer.net.params["W1"] * 0.5

    for samples, callbacks in ((data, []), (other, []), (data, [Reset()])):
        trainer.fit(*samples, epochs=2, callbacks=callbacks, progress=False)
    trainer.batch_size = 20
    trainer.evaluate(*data)
    assert len(count) == once
    assert trainer.history.iterations == 24


def test_cut_and_uncut_trainings_agree_to_the_last_bit(training_backend, data):
    found = []
    for cuts in ([12], [5, 1, 6]):
        trainer = trainer_of(training_backend, Adam(0.01))
        for iterations in cuts:
            trainer.fit(*data, iterations=iterations, progress=False)
        found.append(trainer.history.losses)
    assert found[0] == found[1]


def test_another_step_is_compiled_anew(training_backend, data, count):
    b = training_backend
    trainer = trainer_of(b, SGD(0.1))
    trainer.fit(*data, iterations=3, progress=False)
    once = len(count)
    for change in (
        lambda: setattr(trainer, "optimizer", SGD(0.2)),
        lambda: setattr(trainer, "transforms", (ClipByNorm(0.1),)),
        lambda: setattr(trainer.net, "loss_layer", SoftmaxWithLoss(reduction="sum")),
    ):
        change()
        before = len(count)
        trainer.fit(*data, iterations=3, progress=False)
        assert len(count) == before + once
    trainer.net.loss_layer = SoftmaxWithLoss()  # an equal one
    before = len(count)
    trainer.fit(*data, iterations=3, progress=False)
    assert len(count) == before


def test_trainings_of_equal_parts_compile_once(training_backend, data, count):
    """Copies, and others that were made of equal networks and optimizers; each has its own numbers."""
    trainer = trainer_of(training_backend, Adam(0.01), transforms=(ClipByNorm(1.0),))
    trainer.fit(*data, iterations=3, progress=False)
    once = len(count)
    again = trainer_of(training_backend, Adam(0.01), transforms=(ClipByNorm(1.0),))
    for other in (copy.deepcopy(trainer), pickle.loads(pickle.dumps(trainer)), again):
        other.fit(*data, iterations=3, progress=False)
    assert len(count) == once
    assert again.history.losses == trainer.history.losses
    trainer.fit(*data, iterations=3, progress=False)
    again.fit(*data, iterations=3, progress=False)
    assert again.history.losses == trainer.history.losses
    assert len(count) == once


def test_a_number_that_is_written_into_a_part_later_changes_no_other_training(training_backend, data):
    """The other one has minibatches of another size, for which the step is compiled anew."""

    def trainer(dropout, **options):
        layers = [Affine(6, 5), ReLU(), Dropout(dropout), Affine(5, 4)]
        net = Sequential(layers, weight_init=0.3, seed=0, backend=training_backend)
        return Trainer(net, SGD(0.1), seed=1, **options)

    def losses():
        return trainer(0.2, batch_size=30).fit(*data, iterations=3, progress=False).losses

    alone = losses()
    forget()
    written = trainer(0.2, batch_size=20)
    written.fit(*data, iterations=3, progress=False)
    object.__setattr__(written.optimizer, "lr", 0.9)
    object.__setattr__(written.net.layers["Dropout1"], "rate", 0.7)
    assert losses() == alone


def test_trainings_of_equal_parts_may_run_at_a_time(training_backend, data):
    trainers = [trainer_of(training_backend, SGD(0.1)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda trainer: trainer.fit(*data, epochs=20, progress=False), trainers))
    assert all(trainer.history.losses == trainers[0].history.losses for trainer in trainers)


def test_what_is_shared_keeps_no_arrays(training_backend, data):
    trainer = trainer_of(training_backend, SGD(0.1))
    trainer.fit(*data, iterations=3, progress=False)
    step = trainer._compiled[1].step
    kept = [weakref.ref(trainer.net), *([weakref.ref(step)] if training_backend.name == "numpy" else [])]
    del trainer, step
    gc.collect()
    assert [reference() for reference in kept] == [None] * len(kept)


def test_parts_of_ones_own_are_shared_with_nobody(training_backend, data, count):
    """They are equal only to themselves, whatever they say: their fields may not be all of them."""

    class Own(Tanh):
        pass

    layers = [Affine(6, 5), Own(), Affine(5, 4)]
    for trainings in (1, 2):
        net = Sequential(layers, seed=0, backend=training_backend)
        Trainer(net, SGD(0.1), batch_size=20, compile=True).fit(*data, iterations=3, progress=False)
        assert len(count) == trainings * {"numpy": 2, "cupy": 2, "jax": 1}[training_backend.name]


class Odd(Tanh):
    """A layer with no hash, that is equal to nothing, with an array among its fields."""

    __hash__ = None

    def __init__(self):
        object.__setattr__(self, "table", np.arange(3.0))

    def __eq__(self, other):
        raise TypeError("not even this")


def test_layers_without_a_hash_or_a_way_to_be_equal(data, count, training_backend):
    b = training_backend
    net = Sequential([Affine(6, 5), Odd(), Affine(5, 4)], seed=0, backend=b)
    trainer = Trainer(net, SGD(0.1), batch_size=20, compile=True)
    trainer.fit(*data, iterations=3, progress=False)
    once = len(count)
    trainer.fit(*data, iterations=3, progress=False)
    assert len(count) == once


def test_what_a_step_is_made_of():
    """The same objects with the same fields, however deep; a field that was changed makes another step."""

    class Own:
        def __init__(self):
            self.rate, self.inside, self.table = 0.5, [ReLU(), {"k": 1}], np.zeros(3)
            self.itself = self

    one, other = Own(), Own()
    assert made_of([one]) == made_of([one])
    assert made_of([one]) != made_of([other])
    before = made_of([one])
    one.rate = 0.25
    assert made_of([one]) != before
    before = made_of([one])
    one.inside[1]["k"] = 2
    assert made_of([one]) != before
    assert made_of(1) != made_of(True)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed, so nothing is compiled by it")


def on_torch(torch, **options):
    rng = np.random.default_rng(0)
    x, t = torch.from_numpy(rng.normal(size=(70, 6)).astype("float32")), torch.from_numpy(rng.integers(0, 4, 70))
    trainer = trainer_of("torch", SGD(0.1), **options)
    return trainer.fit(x, t, validation=(x[:7], t[:7]), epochs=2, progress=False)


def test_pytorch_compiles_steps_and_evaluations_once(torch, monkeypatch):
    """A program for each size: minibatches of 20 and 10, evaluations of 70 and 7."""
    count = []
    monkeypatch.setattr(torch, "compile", lambda graph, **options: count.append(options) or graph)
    usual, plain = on_torch(torch, compile=True), on_torch(torch, compile=False)
    assert len(count) == 4
    assert on_torch(torch, compile=True).losses == usual.losses
    assert len(count) == 4
    for a, b in zip(usual.evaluations, plain.evaluations, strict=True):
        assert (a.train_accuracy, a.validation_accuracy) == (b.train_accuracy, b.validation_accuracy)
        assert a.train_loss == pytest.approx(b.train_loss, rel=1e-5)


def test_where_pytorch_cannot_compile_evaluations_they_are_the_same(torch, monkeypatch):
    """Steps say why, once; evaluations go on without a word, and do not try again."""
    tried = []

    def fail(graph, **options):
        tried.append(graph)
        raise RuntimeError("no compiler here")

    wanted = on_torch(torch, compile=False).evaluations
    monkeypatch.setattr(torch, "compile", fail)
    with pytest.warns(CompileWarning, match="no compiler here; steps run uncompiled") as warned:
        found = on_torch(torch, compile=True).evaluations
    assert found == wanted
    assert (len(warned), len(tried)) == (1, 2)
