"""Trainers, histories, callbacks and logs are copied and sent, in every way that Python programs do it."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from other_process import T, X, trained_on

from xpnet import SGD, Adam, Sequential, Trainer
from xpnet.layers import Affine, BatchNorm, Chain, Dropout, ReLU, Residual
from xpnet.optimizers import Accumulate, ClipByNorm
from xpnet.schedules import ReduceOnPlateau
from xpnet.training import (
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    Evaluation,
    History,
    JSONLinesLog,
    LearningRateLog,
    Progress,
    StopOnDivergence,
)


def locked(x):
    """As joblib sends a trainer: arrays beside the pickle, which come back locked."""
    buffers = []
    data = pickle.dumps(x, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])


WAYS = {
    "copy": copy.deepcopy,
    "oldest": lambda x: pickle.loads(pickle.dumps(x, protocol=2)),
    "newest": lambda x: pickle.loads(pickle.dumps(x, protocol=pickle.HIGHEST_PROTOCOL)),
    "beside": locked,
}


def trainer_of(backend):
    layers = [Affine(4, 5), BatchNorm(5), Residual(Chain(ReLU(), Dropout(0.3))), Affine(5, 3)]
    net = Sequential(layers, seed=0, backend=backend)
    optimizer = Adam(ReduceOnPlateau(0.01, patience=0, threshold=0.9))
    return Trainer(net, optimizer, batch_size=5, seed=0, transforms=(Accumulate(2), ClipByNorm(1.0)))


def arrays(trainer):
    trees = [trainer.net.params, trainer.net.buffers, trainer.optimizer_state, trainer.transform_states]
    return dict(leaf for i, tree in enumerate(trees) for leaf in leaves(tree, str(i)))


def leaves(tree, name):
    for key, value in tree.items():
        yield from leaves(value, f"{name}/{key}") if isinstance(value, dict) else [(f"{name}/{key}", value)]


def assert_same(one, other):
    assert one.history.losses == other.history.losses
    assert one.history.learning_rates == other.history.learning_rates
    found, wanted = arrays(one), arrays(other)
    assert found.keys() == wanted.keys()
    for name, a in wanted.items():
        np.testing.assert_array_equal(np.asarray(one.net.backend.to_numpy(found[name])), other.net.backend.to_numpy(a))


class Copied(Callback):
    """A copy of the trainer at each moment at which a callback is called."""

    every = 3

    def __init__(self, way):
        self.way, self.copies = way, []

    def on_begin(self, trainer):
        self.copies.append(self.way(trainer))

    def on_block(self, trainer):
        self.copies.append(self.way(trainer))

    def on_evaluation(self, trainer, evaluation):
        self.copies.append(self.way(trainer))

    def on_end(self, trainer):
        self.copies.append(self.way(trainer))


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_goes_on_as_the_trainer_does(way, training_backend, array):
    """Made before, between, and after two fits, and at every moment of one; each compiles for itself."""
    b, data = training_backend, (array(X, "float32"), array(T))
    if b.compiles_shapes and way != "newest":
        pytest.skip("each costs compilations, and one has them all")
    straight, trainer, copied = trainer_of(b), trainer_of(b), Copied(WAYS[way])
    straight.fit(*data, iterations=13, progress=False)
    copied.on_end(trainer)
    trainer.fit(*data, iterations=6, callbacks=[copied], progress=False)
    trainer.fit(*data, iterations=7, progress=False)
    copies = {other.iteration: other for other in copied.copies}
    assert len(copies) > 2
    for other in [trainer, *copies.values()]:
        if other.iteration < 13:
            other.fit(*data, iterations=13 - other.iteration, progress=False)
        assert_same(other, straight)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_trainer_that_was_fitted_goes_to_another_process_and_comes_back(method):
    trainer = trainer_of("numpy")
    trainer.fit(X.astype("float32"), T, iterations=5, progress=False)
    with ProcessPoolExecutor(1, get_context(method)) as pool:
        other = pool.submit(trained_on, trainer).result(timeout=120)
    trained_on(trainer)
    assert_same(other, trainer)
    assert_same(trained_on(other), trained_on(trainer))


@pytest.mark.parametrize("way", WAYS)
def test_histories_callbacks_and_logs(way, tmp_path):
    history = History([1.0, 0.5], [Evaluation(1.0, 2, 0.5, None, 0.7)], 20, 0.1, [0.1, 0.1])
    assert WAYS[way](history) == history
    callbacks = [
        EarlyStopping(patience=3),
        Checkpoint(tmp_path / "run", every=2),
        StopOnDivergence(),
        LearningRateLog(print),
        Progress(),
        CSVLog(tmp_path / "log.csv"),
        JSONLinesLog(tmp_path / "log.jsonl"),
    ]
    trainer = trainer_of("numpy")
    trainer.fit(X.astype("float32"), T, validation=(X, T), iterations=5, callbacks=callbacks, progress=False)
    for callback in callbacks:
        other = WAYS[way](callback)
        assert type(other) is type(callback)
        assert vars(other) == vars(callback)


def test_a_copy_holds_nothing_that_was_compiled():
    trainer = Trainer(Sequential([Affine(4, 3)], seed=0, backend="numpy"), SGD(0.1), batch_size=5)
    before = len(pickle.dumps(trainer))
    trainer.fit(X.astype("float32"), T, iterations=1, progress=False)
    assert len(pickle.dumps(trainer)) < before + 1000
