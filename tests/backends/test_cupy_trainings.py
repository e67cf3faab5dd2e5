"""Whole trainings in captured steps of CuPy: what a Trainer and its callbacks may do, and what happens if it fails."""

from __future__ import annotations

import importlib
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from capturing import assert_same, compared, leaves, on_device

from xpnet import (
    Adam,
    CompileWarning,
    DivergedError,
    Sequential,
    Trainer,
    TwoLayerNet,
    get_backend,
    make_step,
    namespace,
)
from xpnet.backends.base import Block, PlainStep
from xpnet.backends.captured import blas, launches
from xpnet.backends.captured import step as step_module
from xpnet.backends.dispatch import backend_status
from xpnet.layers import Affine, BatchNorm, Dropout, ReLU, Tanh
from xpnet.optimizers import SGD, ClipByNorm
from xpnet.schedules import ReduceOnPlateau
from xpnet.training import Callback, init_state

if problem := backend_status("cupy").problem:
    pytest.skip(problem, allow_module_level=True)
cupy = get_backend("cupy").library()
counts = pytest.mark.skipif(not hasattr(cupy.cuda, "launches"), reason="CuPy does not count them, the stand-in does")
DEVICES = backend_status("cupy").devices


@pytest.fixture
def b():
    """A backend on the last device; the first is the current one."""
    with cupy.cuda.Device(0):
        yield get_backend("cupy", DEVICES[-1])


@pytest.fixture
def data(b):
    rng = np.random.default_rng(1)
    return b.asarray(rng.normal(size=(50, 6)).astype("float32")), b.asarray(rng.integers(0, 3, 50))


def trainer_of(b, optimizer=None, compile=None, **options):  # noqa: A002
    net = Sequential([Affine(6, 5), BatchNorm(5), ReLU(), Dropout(0.2), Affine(5, 3)], seed=0, backend=b)
    return Trainer(net, optimizer or Adam(0.05), batch_size=16, seed=1, compile=compile, **options)


def arrays_of(trainer):
    b, net = trainer.net.backend, trainer.net
    state = {"params": net.params, "buffers": net.buffers, "optimizer": trainer.optimizer_state}
    return {name: b.to_numpy(array) for name, array in leaves(state)}


def both(b, train):
    """What ``train(compile)`` does with captured steps and with others has to be the same; no warning is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        eager, captured = train(False), train(None)
    np.testing.assert_array_equal(captured.history.losses, eager.history.losses)
    found, wanted = arrays_of(captured), arrays_of(eager)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    return captured


@pytest.mark.parametrize("sampling", ["epochs", "replacement"])
def test_trainings_with_a_short_last_minibatch(b, data, sampling):
    """50 samples are three minibatches of 16, and one of 2."""

    def train(compile):  # noqa: A002
        trainer = trainer_of(b, compile=compile, sampling=sampling)
        trainer.fit(*data, epochs=5, validation=data, progress=False)
        return trainer

    assert both(b, train).compiles


class Halve(Callback):
    def on_evaluation(self, trainer, evaluation):
        with trainer.net.backend.current():
            trainer.net.params["W1"] = trainer.net.params["W1"] * 0.5


def test_weights_that_a_callback_assigns_and_a_rate_that_comes_down(b, data):
    def train(compile):  # noqa: A002
        optimizer = Adam(ReduceOnPlateau(0.05, patience=0, threshold=0.9))
        trainer = trainer_of(b, optimizer, compile, transforms=(ClipByNorm(1.0),))

        trainer.fit(*data, epochs=3, callbacks=[Halve()], progress=False)
        trainer.fit(*data, epochs=2, progress=False)
        assert trainer.learning_rate < 0.05
        return trainer

    both(b, train)


def test_a_training_that_diverges_goes_back(b, data):
    def train(compile):  # noqa: A002
        net = TwoLayerNet(6, 4, 3, seed=0, weight_init_std=1.0, backend=b)
        trainer = Trainer(net, SGD(1e12), batch_size=16, seed=1, compile=compile)
        with pytest.raises(DivergedError):
            trainer.fit(*data, epochs=30, progress=False)
        trainer.optimizer = SGD(0.1)
        trainer.fit(*data, epochs=1, progress=False)
        return trainer

    both(b, train)


def test_arrays_that_a_user_holds_on_to_stay_as_they_are(b, data):
    trainer = trainer_of(b)
    trainer.fit(*data, epochs=1, progress=False)
    held, before = trainer.net.params["W1"], b.to_numpy(trainer.net.params["W1"])
    trainer.fit(*data, epochs=1, progress=False)
    np.testing.assert_array_equal(b.to_numpy(held), before)
    assert not np.array_equal(b.to_numpy(trainer.net.params["W1"]), before)


def test_no_graph_is_left_after_a_training(b, data):
    trainer = trainer_of(b)
    trainer.fit(*data, epochs=1, progress=False)
    step = trainer._programs().step
    assert step.plans
    assert not step.bound


def test_trainings_one_after_the_other_share_a_stream_and_its_cublas(b, data, monkeypatch):
    made, usual = [], step_module.Blas
    monkeypatch.setattr(step_module._Place, "idle", {})
    monkeypatch.setattr(step_module, "Blas", lambda *args: made.append(args) or usual(*args))
    for _ in range(3):
        trainer = trainer_of(b)
        for _ in range(2):
            trainer.fit(*data, epochs=1, progress=False)
    assert len(made) == 1


@counts
def test_a_second_call_of_fit_compiles_no_kernel(b, data, monkeypatch):
    made, usual = [], cupy.ElementwiseKernel

    def counted(*args, **options):
        made.append(args)
        return usual(*args, **options)

    launches.compiled.cache_clear()
    monkeypatch.setattr(cupy, "ElementwiseKernel", counted)
    trainers = [trainer_of(b) for _ in range(2)]
    trainers[0].fit(*data, epochs=2, progress=False)
    once = len(made)
    assert once > 5
    for trainer in trainers:
        trainer.fit(*data, epochs=2, progress=False)
    assert len(made) == once


@pytest.mark.skipif(len(DEVICES) < 2, reason="there is one device")
def test_threads_train_on_devices_of_their_own(data, b):
    host = [get_backend("cupy").to_numpy(x) for x in data]

    def losses(device):
        backend = get_backend("cupy", device)
        trainer = trainer_of(backend)
        trainer.fit(*(backend.asarray(x) for x in host), epochs=3, progress=False)
        return trainer.history.losses

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(losses, [*DEVICES[:2]] * 3))
    assert all(each == found[0] for each in found)


class Read(Tanh):
    """It looks at a value."""

    def forward(self, params, x):
        return super().forward(params, x) if float(namespace(x).sum(x)) < 1e9 else None


class Unsafe(Tanh):
    """It multiplies by a function of CuPy's that is not replaced."""

    def forward(self, params, x):
        xp = namespace(x)
        return super().forward(params, x + 0 * xp.tensordot(x, xp.matrix_transpose(x), axes=1)[:, :1])


CASES = {
    "a value is read": (Read, "asks for the value of an array"),
    "cuBLAS of CuPy's": (Unsafe, "calling cuBLAS API during"),
}


@pytest.mark.parametrize(("layer", "why"), CASES.values(), ids=CASES)
def test_what_cannot_be_captured_runs_as_it_is_after_one_warning(layer, why, b, data):
    histories = []
    for compiled in (False, True):
        trainer = Trainer(
            Sequential([Affine(6, 5), layer(), Affine(5, 3)], seed=0, backend=b),
            Adam(0.05),
            batch_size=16,
            seed=1,
            compile=compiled,
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", CompileWarning)
            for _ in range(2):
                trainer.fit(*data, epochs=2, progress=False)
        assert [why in str(each.message) for each in caught if each.category is CompileWarning] == [True] * compiled
        histories.append(trainer.history.losses)
    assert histories[0] == histories[1]


@pytest.fixture
def no_cublas(monkeypatch):
    blas.cublas.cache_clear()
    monkeypatch.setattr(step_module._Place, "idle", {})
    monkeypatch.setattr(blas, "import_module", lambda name: importlib.import_module(f"missing_{name}"))
    yield
    blas.cublas.cache_clear()


@pytest.mark.usefixtures("no_cublas")
def test_cublas_that_is_not_found_is_named_with_the_fix(b, data):
    trainer = trainer_of(b)
    with pytest.warns(CompileWarning, match=r"its products need cuBLAS apart from CuPy's.*pip install cuda-pathfinder"):
        trainer.fit(*data, epochs=1, progress=False)
    other = trainer_of(b, compile=False)
    other.fit(*data, epochs=1, progress=False)
    assert trainer.history.losses == other.history.losses


def test_two_arrays_of_the_state_in_one_memory_are_not_captured(b):
    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        state["a"] += xp.sum(xp.take(data["x"], rows, axis=0))
        state["b"] += 1.0
        return state, xp.sum(state["a"])

    x, block = {"x": np.ones((9, 2))}, Block(np.zeros((3, 2), int), {})
    with b.current():
        whole, both_ = b.asarray(np.ones(4)), b.asarray(np.ones(4))
        wanted, _ = PlainStep(step, b).run({"a": whole[:3], "b": whole[1:]}, on_device(b, x), block)
        with pytest.warns(CompileWarning, match="share memory"):
            found, _ = b.compile(step).run({"a": both_[:3], "b": both_[1:]}, on_device(b, x), block)
        assert b.to_numpy(found["a"]).tolist() == b.to_numpy(wanted["a"]).tolist()


def test_a_capture_that_fails_leaves_the_state_and_is_not_tried_again(b, monkeypatch):
    net, tried = TwoLayerNet(6, 4, 3, seed=0, backend=b), []
    usual = cupy.cuda.Stream.begin_capture

    def refused(self, *args):
        usual(self, *args)
        tried.append(self)
        raise MemoryError("none left")

    monkeypatch.setattr(cupy.cuda.Stream, "begin_capture", refused)
    optimizer, rng = SGD(0.1), np.random.default_rng(0)
    data = on_device(b, {"x": rng.normal(size=(9, 6)).astype("float32"), "t": rng.integers(0, 3, 9)})
    step, block = make_step(net, optimizer), Block(rng.integers(0, 9, (4, 5)), {})
    captured = b.compile(step)
    wanted = PlainStep(step, b).run(init_state(net, optimizer), data, block)
    with pytest.warns(CompileWarning, match="MemoryError: none left"):
        assert_same(b, [wanted, captured.run(init_state(net, optimizer), data, block)])
    captured.run(init_state(net, optimizer), data, block)
    assert len(tried) == 1


def test_without_compiling_nothing_is_captured(b, data):
    trainer = trainer_of(b, compile=False)
    trainer.fit(*data, epochs=1, progress=False)
    assert isinstance(trainer._programs().step, PlainStep)


def test_other_data_of_the_same_form_is_captured_anew(b):
    """A graph has the addresses of its arrays in it."""
    net, rng = TwoLayerNet(6, 4, 3, seed=0, backend=b), np.random.default_rng(0)
    first = {"x": rng.normal(size=(64, 6)).astype("float32"), "t": rng.integers(0, 3, 64)}
    _, captured = compared(net, SGD(0.1), first)
    step, block = make_step(net, SGD(0.1)), Block(rng.integers(0, 64, (4, 8)), {})
    other = on_device(b, {"x": first["x"] + 1, "t": first["t"]})
    found = [each.run(init_state(net, SGD(0.1)), other, block) for each in (PlainStep(step, b), captured)]
    assert_same(b, found)
    assert len(captured.plans) == len(captured.bound) == 1
