"""Trainers that are copied, pickled and sent to other processes, and errors that come back from there."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from other_process import T, X, diverge, trained_on

from xpnet import SGD, Adam, DivergedError, Sequential, Trainer, TwoLayerNet
from xpnet.layers import Affine, Dropout, ReLU

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("fitted", [False, True])
def test_trainers_are_copied_and_pickled(copied, fitted, training_backend, array):
    """What is trained with a copy is what would have been trained with it, to the last bit."""
    layers = [Affine(4, 5), ReLU(), Dropout(0.3), Affine(5, 3)]
    trainer = Trainer(Sequential(layers, seed=0, backend=training_backend), Adam(0.01), batch_size=5, seed=0)
    data = array(X, "float32"), array(T)
    if fitted:
        trainer.fit(*data, iterations=4, progress=False)
    other = copied(trainer)
    for each in (trainer, other):
        each.fit(*data, iterations=6, progress=False)
    assert other.history.losses == trainer.history.losses
    for name, p in trainer.net.params.items():
        np.testing.assert_array_equal(training_backend.to_numpy(other.net.params[name]), training_backend.to_numpy(p))
    assert other.rng is not trainer.rng


def test_a_trainer_is_copied_while_it_runs(training_backend, array):
    trainer = Trainer(TwoLayerNet(4, 5, 3, seed=0, backend=training_backend), SGD(lr=0.1), batch_size=4, seed=0)
    copies = []
    data = array(X, "float32"), array(T)
    trainer.fit(
        *data, epochs=2, progress=False, callbacks=[lambda e: copies.append(pickle.loads(pickle.dumps(trainer)))]
    )
    middle = next(c for c in copies if 0 < c.iteration < trainer.iteration)
    middle.fit(*data, epochs=1, progress=False)
    assert middle.history.losses == trainer.history.losses


def test_an_error_of_another_process_arrives():
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        error = pool.submit(diverge).exception(timeout=120)
    assert isinstance(error, DivergedError)
    assert error.iteration >= 1
    assert error.loss != error.loss or error.loss > 1e30
    assert "training diverged" in str(error)


def test_a_trainer_goes_to_another_process_and_comes_back():
    trainer = Trainer(TwoLayerNet(4, 5, 3, seed=0, backend="numpy"), Adam(0.01), batch_size=5, seed=0)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        other = pool.submit(trained_on, trainer).result(timeout=120)
    assert other.history.losses == trained_on(trainer).history.losses
