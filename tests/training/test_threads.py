"""The threads of a training: chosen by its products, in force in steps and evaluations only, and told."""

import json
from contextlib import contextmanager

import numpy as np
import pytest

from xpnet import SGD, Trainer, TwoLayerNet
from xpnet.backends.numpy import NumpyBackend
from xpnet.backends.threads import Threads


class Spy(Threads):
    """Notes the numbers that were in force when something was computed."""

    def __init__(self, number=8, **environment):
        self.pool = type("Pool", (), {"number": number})()
        self.pool.get_num_threads = lambda: self.pool.number
        self.pool.set_num_threads = lambda n: setattr(self.pool, "number", n)
        self.entered = []
        super().__init__(lambda: [self.pool], environment=environment)

    @contextmanager
    def limited(self, number):
        self.entered.append(number)
        with super().limited(number):
            yield


@pytest.fixture
def spy(monkeypatch):
    def make(**options):
        found = Spy(**options)
        monkeypatch.setattr(NumpyBackend, "threads", property(lambda self: found))
        return found

    return make


def trained(samples=200, hidden=5, **options):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(samples, 4)).astype("float32"), rng.integers(0, 2, samples)
    trainer = Trainer(TwoLayerNet(4, hidden, 2, seed=0, backend="numpy"), SGD(lr=0.1), seed=0, **options)
    trainer.fit(x, t, validation=(x, t), iterations=5, progress=False)
    return trainer


def test_a_small_training_takes_one_thread_and_says_so(spy, tmp_path):
    threads = spy()
    trainer = trained()
    assert (trainer.history.threads, set(threads.entered), threads.pool.number) == (1, {1}, 8)
    trainer.history.save(tmp_path / "history.json")
    assert json.loads((tmp_path / "history.json").read_text())["threads"] == 1


@pytest.mark.parametrize(("cores", "entered", "workers"), [(4, {1}, {8}), (1, {1}, {None})])
def test_large_evaluations_take_all_where_steps_are_small(cores, entered, workers, spy, monkeypatch):
    """Several cores take a part of the samples each, and need not wait for each other."""
    threads, asked, usual = spy(), set(), NumpyBackend.map

    def told(self, function, items, workers=None):
        asked.add(workers)
        return usual(self, function, items, workers)

    monkeypatch.setattr(NumpyBackend, "workers", cores)
    monkeypatch.setattr(NumpyBackend, "map", told)
    trained(samples=20_000, hidden=1300)  # steps of half a million multiplications, evaluations of 104 million
    assert (set(threads.entered), asked) == (entered, workers)


def test_evaluations_are_the_same_on_any_number_of_threads(monkeypatch):
    found = []
    for cores in (1, 2, 5):
        monkeypatch.setattr(NumpyBackend, "workers", cores)
        found.append(trained(samples=20_000, hidden=1300).history.evaluations)
    assert found[0] == found[1] == found[2]


def test_large_steps_take_all(spy):
    spy()
    assert trained(hidden=2000, samples=6500, batch_size=6500).history.threads == 8


@pytest.mark.parametrize(("asked", "expected"), [(1, 1), (3, 3), (100, 8)])
def test_a_number_that_is_asked_for_is_taken_in_steps_and_evaluations(asked, expected, spy, monkeypatch):
    monkeypatch.setattr(NumpyBackend, "workers", 1)
    threads = spy()
    assert trained(samples=20_000, hidden=1300, threads=asked).history.threads == expected
    assert set(threads.entered) == {expected}


def test_callbacks_see_the_number_of_the_user(spy):
    threads, seen = spy(), []
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(50, 4)).astype("float32"), rng.integers(0, 2, 50)
    trainer = Trainer(TwoLayerNet(4, 5, 2, seed=0, backend="numpy"), SGD(lr=0.1), batch_size=10)
    trainer.fit(x, t, epochs=2, callbacks=[lambda _: seen.append(threads.pool.number)], progress=False)
    assert seen == [8, 8, 8]


def test_a_limit_of_the_user_stands(spy):
    spy(number=4, OMP_NUM_THREADS="4")
    assert trained().history.threads == 4
    assert trained(threads=8).history.threads == 4


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_other_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=f"threads is {wrong!r}, expected a whole number, 1 or more"):
        Trainer(TwoLayerNet(4, 5, 2), SGD(lr=0.1), threads=wrong)


def test_the_bits_are_the_same_on_one_thread_and_by_default(training_backend):
    losses = []
    for threads in (None, 1):
        rng = np.random.default_rng(0)
        move = training_backend.asarray
        x, t = move(rng.normal(size=(60, 4)).astype("float32")), move(rng.integers(0, 2, 60))
        net = TwoLayerNet(4, 5, 2, seed=0, backend=training_backend)
        trainer = Trainer(net, SGD(lr=0.1), batch_size=20, seed=0, threads=threads)
        losses.append(trainer.fit(x, t, iterations=6, progress=False).losses)
    assert losses[0] == losses[1]


def test_what_a_network_is_asked_for_is_computed_on_few_threads_too(spy):
    threads = spy()
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(20, 4)), rng.integers(0, 2, 20)
    net = TwoLayerNet(4, 5, 2, seed=0, backend="numpy")
    calls = (
        lambda: net.predict(x),
        lambda: net.predict(x[0]),
        lambda: net.loss(x, t),
        lambda: net.gradient(x, t),
        lambda: net.accuracy(x, t),
        lambda: net.numerical_gradient(x, t, progress=False),
    )
    for call in calls:
        call()
    assert (threads.entered, threads.pool.number) == ([1] * len(calls), 8)
