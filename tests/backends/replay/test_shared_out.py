"""Recorded steps shared out to threads: the same bits on any number of them, and every error is the caller's."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from random_steps import drawn, step_of
from replaying import NUMPY, assert_same, copied, net_of, run

from xpnet import SGD, Sequential, Trainer, make_step, optimizers
from xpnet.backends.base import Block, PlainStep
from xpnet.backends.replay import regions, slices
from xpnet.backends.replay.memory import resolved
from xpnet.backends.replay.program import THROUGH, Call, Ref
from xpnet.backends.replay.workers import Team
from xpnet.backends.threads import BLAS, granted
from xpnet.layers import Affine, AvgPool2d, BatchNorm, Conv2d, Dropout, MaxPool2d, ReLU, Tanh
from xpnet.training import init_state

OPTIMIZERS = [
    *(optimizers.SGD, optimizers.Momentum, optimizers.Nesterov, optimizers.AdaGrad, optimizers.RMSprop),
    *(optimizers.AdaDelta, optimizers.Adam, optimizers.AdamW, optimizers.AdaMax, optimizers.NAdam, optimizers.RAdam),
    *(optimizers.Lion, optimizers.Ftrl),
]


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Every program is worth it, and every call is worth cutting."""
    monkeypatch.setattr(regions, "HAND_OVER", 0)
    monkeypatch.setattr(regions, "LEAST_GAIN", -1.0)


def on_threads(number, step, state, data, block):
    """A block of a recorded step, which has been shared out."""
    recorded = NUMPY.compile(step)
    with BLAS.limited(number):
        found = recorded.run(state, data, block)
    assert number == 1 or all(each.plan.phases.get(number) for _, each in recorded.bound.values())
    return found


def all_ways(net, optimizer, x, t, batch=12, steps=4):
    step, rng = make_step(net, optimizer), np.random.default_rng(3)
    rows = rng.integers(0, len(x), (steps, batch))
    draws = [net.draws(rng, (batch, *x.shape[1:])) for _ in range(steps)]
    block = Block(rows, {name: np.stack([each[name] for each in draws]) for name in draws[0]})
    data = {"x": x, "t": t}
    with BLAS.limited(1):
        plain = PlainStep(step, NUMPY).run(init_state(net, optimizer), data, block)
    return plain, [on_threads(n, step, init_state(net, optimizer), data, block) for n in (1, 2, 3)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda kind: kind.__name__)
def test_the_bits_are_the_same_with_every_optimizer(optimizer, rng):
    dtype = ("float32", "float64")[OPTIMIZERS.index(optimizer) % 2]
    net = net_of(BatchNorm(6), Tanh(), Dropout(0.3), Affine(6, 4), dtype=dtype)
    x, t = rng.normal(size=(60, 7)).astype(dtype), rng.integers(0, 4, 60)
    plain, others = all_ways(net, optimizer(lr=0.1), x, t)
    for each in others:
        assert_same((plain, each))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_are_the_same_in_networks_of_convolutions(dtype, rng):
    layers = [
        *(Conv2d(1, 8, 3), ReLU(), Conv2d(8, 9, 3, padding=1), BatchNorm(9), ReLU(), MaxPool2d(2)),
        *(Conv2d(9, 8, 3, padding=2, stride=(1, 2)), AvgPool2d(2, padding=1), Dropout(0.2), Conv2d(8, 8, 3, padding=1)),
    ]
    net = Sequential([*layers, Affine(8 * 4 * 2, 3)], seed=1, dtype=dtype, backend="numpy")
    plain, others = all_ways(
        net, optimizers.Adam(0.01), rng.random((30, 1, 10, 8)).astype(dtype), rng.integers(0, 3, 30)
    )
    for each in others:
        assert_same((plain, each))


def test_products_of_any_size_keep_their_bits(rng):
    """Whichever kernel of BLAS takes the parts, and wherever it may be cut."""
    net = Sequential([Affine(130, 200), ReLU(), Affine(200, 97)], seed=1, dtype="float32", backend="numpy")
    x, t = rng.normal(size=(150, 130)).astype("float32"), rng.integers(0, 97, 150)
    plain, others = all_ways(net, SGD(0.1), x, t, batch=130, steps=2)
    for each in others:
        assert_same((plain, each))


@pytest.mark.parametrize("part", range(3))
def test_steps_drawn_at_random(part):
    """Views, writes in place and arrays that share memory: threads wait wherever they have to."""
    shared = 0
    for seed in range(10 * part, 10 * part + 10):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lines, args = drawn(seed)
            step, (state, x, t, block) = step_of(lines), args
            recorded = [NUMPY.compile(step) for _ in range(2)]
            found = []
            for number, each in enumerate(recorded, 1):
                with BLAS.limited(number):
                    found.append(run(each, copied(state), x, t, block))
            assert_same(found)
            shared += any(bound.plan.phases.get(2) for _, bound in recorded[1].bound.values())
    assert shared > 6


def test_the_callers_error_handling_is_in_force(rng):
    """A division by zero in any part of an array is raised where the caller asks for it."""

    def step(state, data, rows, draws):
        xp = data["x"].__array_namespace__()
        x = xp.take(data["x"], rows, axis=0)
        return {"w": state["w"] / x[:, 0]}, xp.sum(x)

    for place in (0, 39):
        x = rng.random((40, 3)) + 1
        x[place] = 0
        recorded, block = NUMPY.compile(step), Block(np.arange(40)[None], {})
        with BLAS.limited(2):
            with np.errstate(divide="ignore"):
                recorded.run({"w": np.ones(40)}, {"x": x, "t": x}, block)
            with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
                recorded.run({"w": np.ones(40)}, {"x": x, "t": x}, block)


@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_of_any_thread_ends_all_and_is_raised(number, kind):
    before = threading.active_count()
    for failing in range(number):
        met = []

        def work(k, meet, failing=failing, met=met):
            for turn in range(5):
                if (k, turn) == (failing, 2):
                    raise kind(f"of {failing}")
                meet()
                met.append((k, turn))

        with pytest.raises(kind, match=f"of {failing}"):
            Team(number).run(work)
        assert max(turn for _, turn in met) == 1
    assert threading.active_count() == before


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of POSIX")
def test_an_interrupted_caller_waits_for_whoever_works():
    """A second Ctrl-C while it waits changes nothing: the others write into arrays that are the caller's."""
    caller, written, begun = threading.main_thread().ident, [], threading.Event()

    def work(k, meet):
        if not k:
            begun.wait()
            raise KeyboardInterrupt
        begun.set()
        time.sleep(0.1)
        signal.pthread_kill(caller, signal.SIGINT)
        time.sleep(0.1)
        written.append(k)

    with pytest.raises(KeyboardInterrupt):
        Team(2).run(work)
    assert written == [1]


def test_nobody_begins_where_a_thread_cannot_be_started(monkeypatch):
    start, begun = threading.Thread.start, []

    def second_fails(self):
        if self.name.endswith("-2"):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", second_fails)
    with pytest.raises(RuntimeError, match="can't start"):
        Team(3).run(lambda k, meet: begun.append(k))
    assert begun == []


def test_functions_of_the_host_keep_their_order(monkeypatch):
    """Small ones too: they may add up numbers of several processes, which all have to do so in one order."""
    monkeypatch.undo()
    x, y = (Ref((size,), np.dtype(float), given=("state", str(size))) for size in (2, 3))
    calls = [Call(THROUGH, (ref,), Ref(ref.shape, ref.dtype)) for ref in (x, y)]
    big = Call("exp", (x,), Ref((10**6,), np.dtype(float)))
    calls.insert(1, big)
    arrays = {ref: np.empty(ref.shape) for call in calls for ref in (*call.read(), call.out)}

    def touches(call):
        return [arrays[ref] for ref in call.read()], [arrays[call.out]]

    assert regions._small_first(calls, touches) == calls


def test_data_in_memory_of_the_state_are_left_to_one_thread(rng):
    """Phases were made for other arrays, of which nobody waits for the other."""

    def step(state, data, rows, draws):
        xp = data["x"].__array_namespace__()
        x = xp.take(data["x"], rows, axis=0)
        return {"w": state["w"] + x[0, 0]}, xp.sum(x)

    recorded, block = NUMPY.compile(step), Block(np.arange(40)[None], {})
    w = rng.random((40, 3))
    for x, shared in ((rng.random((40, 3)), True), (w, False)):
        with BLAS.limited(2):
            recorded.run({"w": w}, {"x": x, "t": x}, block)
        assert [bound.ways[2] is not None for _, bound in recorded.bound.values()] == [shared]


def test_trials_leave_complex_numbers_alone():
    x, out = (Ref((8,), np.dtype(complex)) for _ in range(2))
    arrays = {x: np.ones(8, complex), out: np.full(8, 7 + 1j)}
    call = Call("exp", (x,), out, function=np.exp, elementwise=True)
    assert not list(slices.ways(call, lambda ref: resolved(ref, arrays, np), 2))
    assert (arrays[out] == 7 + 1j).all()


def test_nobody_goes_on_before_all_have_come():
    number, turns = 4, 200
    counts = [0] * number

    def work(k, meet):
        for turn in range(turns):
            counts[k] += 1
            meet()
            assert counts == [turn + 1] * number
            meet()

    Team(number).run(work)
    assert counts == [turns] * number


@pytest.fixture
def many(monkeypatch):
    """Trainings are granted three threads, whatever there is here."""
    monkeypatch.setattr(type(BLAS), "choose", lambda self, work, asked=None, worth=0: min(asked or 3, 3))


@pytest.mark.usefixtures("many")
def test_trainings_side_by_side_in_copies_and_in_forked_processes():
    def training(threads):
        net = Sequential([Affine(20, 30), ReLU(), Affine(30, 4)], seed=1, dtype="float32", backend="numpy")
        return Trainer(net, optimizers.Adam(0.01), batch_size=24, seed=2, threads=threads)

    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(96, 20)).astype("float32"), rng.integers(0, 4, 96)

    def losses(trainer, epochs):
        trainer.fit(x, t, epochs=epochs, progress=False)
        return list(trainer.history.losses)

    wanted = losses(training(1), 4)
    first = training(None)
    assert losses(first, 2) == wanted[:8]
    assert first.history.threads == 3
    again, other = copy.deepcopy(first), pickle.loads(pickle.dumps(first))
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(losses, (first, again, other), (2, 2, 2))) == [wanted] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX's")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.usefixtures("many")
def test_a_forked_process_trains_on(rng):
    x, t = rng.normal(size=(96, 20)).astype("float32"), rng.integers(0, 4, 96)
    net = Sequential([Affine(20, 30), ReLU(), Affine(30, 4)], seed=1, dtype="float32", backend="numpy")
    trainer = Trainer(net, optimizers.Adam(0.01), batch_size=24, seed=2)
    trainer.fit(x, t, epochs=1, progress=False)
    child = os.fork()
    if not child:
        code = 1
        try:
            trainer.fit(x, t, epochs=1, progress=False)
            code = 0 if np.isfinite(trainer.history.losses).all() and len(trainer.history.losses) == 8 else 2
        except BaseException:
            traceback.print_exc()  # which says why, where the test fails
            raise
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_what_is_granted_is_the_least_that_blocks_around_allow():
    seen = []
    assert granted() is None
    with BLAS.limited(4), BLAS.limited(2), BLAS.limited(3), BLAS.limited(None):
        seen.append(granted())
        thread = threading.Thread(target=lambda: seen.append(granted()))
        thread.start()
        thread.join()
    assert (seen, granted()) == ([2, None], None)


def test_one_thread_takes_what_is_not_worth_it(monkeypatch, rng):
    monkeypatch.undo()
    step, optimizer = make_step(net := net_of(Affine(6, 4)), SGD(0.1)), SGD(0.1)
    recorded = NUMPY.compile(step)
    data, block = {"x": rng.normal(size=(60, 7)), "t": rng.integers(0, 4, 60)}, Block(rng.integers(0, 60, (3, 10)), {})
    with BLAS.limited(2):
        recorded.run(init_state(net, optimizer), data, block)
    assert [bound.plan.phases for _, bound in recorded.bound.values()] == [{2: None}]
