"""Throughput: who takes part, that the losses are right before time counts, and what fits in the time there is."""

from __future__ import annotations

import importlib
import itertools
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import SGD, MultiLayerNet, Trainer, TwoLayerNet
from xpnet.backends.base import PlainStep
from xpnet.backends.cupy import CupyBackend
from xpnet.backends.dispatch import BackendUnavailableError, get_backend
from xpnet.backends.replay import RecordedStep
from xpnet.backends.strict import StrictBackend
from xpnet.errors import CompileWarning
from xpnet.throughput import Cell, Comparison, Entrant, Job, Measurement, comparison, entrants, shares
from xpnet.throughput.training import Training

entrants_module = importlib.import_module("xpnet.throughput.entrants")  # whose name is that of its function
NUMPY = Entrant(get_backend("numpy"), compiled=True)
STRICT = Entrant(get_backend("strict", "device1"), compiled=True)
JOBS = [Job(hidden, batch) for hidden in (4, 40) for batch in (10, 100)]


@pytest.fixture
def data(rng):
    return rng.integers(0, 256, (600, 784), dtype=np.uint8), rng.integers(0, 10, 600, dtype=np.uint8)


class Clock:
    """Time that passes only when somebody sleeps, or steps are taken: ``cost(hidden, batch)`` seconds each."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def cost(hidden, batch):
    return 1.1e-2 + hidden * batch * 1e-5


@pytest.fixture
def clock(monkeypatch):
    """A clock by which every step on NumPy and strict takes what ``cost`` says."""
    found = Clock()
    for kind in (RecordedStep, PlainStep):

        def run(self, state, data, block, usual=kind.run):
            found.now += len(block.rows) * cost(state["params"]["b1"].shape[0], block.rows.shape[1])
            return usual(self, state, data, block)

        monkeypatch.setattr(kind, "run", run)
    return found


def compare(data, *who, clock=None, jobs=JOBS, seconds=1e6, **options):
    times = {"clock": clock, "sleep": clock.sleep} if clock else {}
    found = Comparison(who, data, jobs, seconds=seconds, **times, **options)
    found.run()
    return found


def spoil(monkeypatch, change):
    """Have the losses of strict be others."""
    usual = PlainStep.run

    def run(self, *arguments):
        state, losses = usual(self, *arguments)
        return state, change(losses) if self.backend.name == "strict" else losses

    monkeypatch.setattr(PlainStep, "run", run)


def test_what_is_measured_is_the_training_of_a_trainer(data, training_backend):
    device = training_backend.device_name
    move = get_backend(training_backend.name, device).asarray
    entrant, job = Entrant(training_backend, compiled=True), Job(5, 50, seed=3)
    training = Training(entrant, job, (move(data[0]), move(data[1])), lambda: 0.0)
    losses = [loss for steps in (1, 2, 3) for loss in training.take(steps).losses]
    net = TwoLayerNet(784, 5, 10, seed=3, backend="numpy")
    trainer, (images, labels) = Trainer(net, SGD(0.1), batch_size=50, seed=3), data
    wanted = trainer.fit(images.astype("float32") / 255, labels, iterations=6, progress=False).losses
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)


def test_a_block_has_whole_minibatches_of_one_epoch(data):
    training = Training(NUMPY, Job(2, 64), data, lambda: 0.0)
    assert training.longest == 9  # of 600 samples 576 are used
    assert [len(training.take(steps).losses) for steps in (5, 5, 9)] == [5, 5, 9]


def test_rates_are_medians_of_turns_at_a_clock(data, clock):
    found = compare(data, NUMPY, STRICT, clock=clock)
    assert [cell.job for cell in found.cells] == sorted(JOBS, key=lambda job: (job.operations, job.batch_size))
    for cell in found.cells:
        assert list(cell.problems) == []
        for measured in cell.measured.values():
            step = cost(cell.job.hidden, cell.job.batch_size)
            assert measured.rounds == pytest.approx([measured.steps * step] * comparison.MOST_ROUNDS)
            assert measured.samples_per_second == pytest.approx(cell.job.batch_size / step)
    middle = comparison.Measurement(10, 2, 0.0, [1.0, 4.0, 2.0])
    assert middle.samples_per_second == 10
    assert middle.spread == 2
    assert comparison.Measurement(10, 2, 0.0, [1.0]).spread == 1


def test_blocks_are_long_enough_and_no_longer_than_an_epoch(data, clock):
    cells = compare(data, NUMPY, clock=clock, jobs=[*JOBS, Job(2, 300)]).cells
    found = {(c.job.hidden, c.job.batch_size): c.measured["numpy cpu"].steps for c in cells}
    assert found == {(4, 10): 8, (4, 100): 4, (40, 10): 4, (40, 100): 1, (2, 300): 2}


@pytest.mark.parametrize("seconds", [0.5, 2, 5, 10])
def test_all_of_it_takes_the_time_that_it_may(seconds, data, clock):
    found = compare(data, NUMPY, STRICT, clock=clock, seconds=seconds)
    assert found.used < seconds + 6 * comparison.BLOCK_SECONDS  # what had begun was finished
    rounds = [len(m.rounds) for c in found.cells for m in c.measured.values()]
    assert found.used > seconds - 6 * comparison.BLOCK_SECONDS or rounds == 8 * [comparison.MOST_ROUNDS]


def test_what_does_not_fit_is_left_out_and_the_largest_first(data, clock):
    jobs = [Job(4, 10), Job(40, 100), Job(4000, 100)]
    found = compare(data, NUMPY, STRICT, clock=clock, jobs=jobs, seconds=20)
    small, middle, large = found.cells
    assert set(small.measured) == set(middle.measured) == {"numpy cpu", "strict device1"}
    assert large.measured == {}
    assert set(large.problems) == {"numpy cpu", "strict device1"}
    assert all("would take about" in why and "of the 20 s" in why for why in large.problems.values())
    assert found.used < 20


def test_kernels_that_are_compiled_for_the_first_step_of_all_are_not_expected_of_the_next_job(data, clock, monkeypatch):
    usual, compiled = PlainStep.run, []

    def run(self, *arguments):
        if self.backend.name == "strict" and not compiled:
            compiled.append(True)
            clock.sleep(8)
        return usual(self, *arguments)

    monkeypatch.setattr(PlainStep, "run", run)
    for cell in compare(data, STRICT, clock=clock, jobs=JOBS[:2], seconds=12).cells:
        assert cell.problems == {}
        (measured,) = cell.measured.values()
        assert max(measured.rounds) < 1


def test_when_the_time_is_over_it_says_so(data, clock):
    found = compare(data, NUMPY, clock=clock, jobs=[Job(400, 300), Job(400, 600)], seconds=6)
    first, second = found.cells
    assert len(first.measured["numpy cpu"].rounds) == 1  # what had begun before is not thrown away
    assert second.problems == {"numpy cpu": "the 6 seconds were over"}


def test_time_that_a_small_job_does_not_need_goes_to_the_large_ones(data, clock):
    small, large = Job(40, 100), Job(40, 600)
    alone = compare(data, NUMPY, clock=clock, jobs=[large], seconds=5)
    both = compare(data, NUMPY, clock=clock, jobs=[small, large], seconds=10)
    assert len(alone.cells[0].measured["numpy cpu"].rounds) < comparison.MOST_ROUNDS
    assert [len(c.measured["numpy cpu"].rounds) for c in both.cells] == 2 * [comparison.MOST_ROUNDS]


@pytest.mark.parametrize(("factor", "right"), [(1.0005, True), (1.002, False), (float("nan"), False)])
def test_no_time_counts_where_losses_are_wrong(factor, right, data, clock, monkeypatch):
    spoil(monkeypatch, lambda losses: losses * factor)
    found = compare(data, NUMPY, STRICT, clock=clock)
    for cell in found.cells:
        assert "numpy cpu" in cell.measured
        assert ("strict device1" in cell.measured) is right
        why = cell.problems.get("strict device1", "")
        assert right or why.startswith("wrong: the first losses are")


def test_a_step_that_goes_wrong_after_the_first_one_is_found(data, clock, monkeypatch):
    usual = PlainStep.run

    def run(self, state, *others):
        kept = {k: v + 0.0 for k, v in state["params"].items()}
        state, losses = usual(self, state, *others)
        if self.backend.name == "strict":
            state["params"] = kept  # as where an update does not reach the weights
        return state, losses

    monkeypatch.setattr(PlainStep, "run", run)
    for cell in compare(data, STRICT, clock=clock).cells:
        assert cell.measured == {}
        assert "wrong" in cell.problems["strict device1"]


def test_losses_that_become_infinite_cost_the_time(data, clock, monkeypatch):
    calls = itertools.count()
    spoil(monkeypatch, lambda losses: losses * (np.inf if next(calls) > 20 else 1))
    (cell,) = compare(data, NUMPY, STRICT, clock=clock, jobs=JOBS[:1]).cells
    assert cell.problems == {"strict device1": "wrong: a loss is not finite"}
    assert len(cell.measured["numpy cpu"].rounds) == comparison.MOST_ROUNDS


@pytest.mark.parametrize("after", [0, 3, 20])
def test_one_that_fails_is_told_and_the_others_go_on(after, data, clock, monkeypatch):
    calls = itertools.count()

    def change(losses):
        if next(calls) >= after:
            raise MemoryError("CUDA has no memory left\nand much more to say")
        return losses

    spoil(monkeypatch, change)
    (cell,) = compare(data, NUMPY, STRICT, clock=clock, jobs=JOBS[:1]).cells
    assert cell.problems == {"strict device1": "failed: MemoryError: CUDA has no memory left"}
    assert len(cell.measured["numpy cpu"].rounds) == comparison.MOST_ROUNDS


def test_what_could_not_be_compiled_is_not_timed_uncompiled(data, clock, monkeypatch):
    def compiled(self, step):
        warnings.warn("no compiler was found", CompileWarning, stacklevel=1)
        return step

    monkeypatch.setattr(StrictBackend, "compile", compiled)
    (cell,) = compare(data, NUMPY, STRICT, clock=clock, jobs=JOBS[:1]).cells
    assert cell.problems == {"strict device1": "could not be compiled: no compiler was found"}
    assert list(cell.measured) == ["numpy cpu"]


def test_stopping_keeps_what_there_is(data, clock):
    asked = itertools.count()
    found = compare(data, NUMPY, STRICT, clock=clock, stop=lambda: next(asked) > 45)
    assert len(found.cells) == 2  # of four: the first asks 34 times
    assert [len(m.rounds) for m in found.cells[0].measured.values()] == [15, 15]
    assert 0 < sum(len(m.rounds) for m in found.cells[1].measured.values()) < 30


def test_turns_are_in_random_order_of_a_seed(data, clock, monkeypatch):
    orders = []
    for seed in (0, 0, 1):
        seen = []
        monkeypatch.setattr(comparison, "_turn", lambda t, m, seen=seen: (seen.append(t.backend.name), m)[1])
        compare(data, NUMPY, STRICT, clock=clock, jobs=JOBS[:1], seed=seed)
        orders.append(seen)
    assert orders[0] == orders[1] != orders[2]
    rounds = [tuple(orders[0][i : i + 2]) for i in range(0, 30, 2)]
    assert set(rounds) == {("numpy", "strict"), ("strict", "numpy")}


def test_each_cell_is_told_when_it_is_done(data, clock):
    told = []
    found = compare(data, NUMPY, clock=clock, tell=told.append)
    assert told == found.cells


def test_entrants_are_all_devices_and_the_reasons_why_not(monkeypatch):
    def missing():
        raise BackendUnavailableError("no driver; install one")

    monkeypatch.setattr(CupyBackend, "library", missing)
    found, why = entrants(["numpy", "cupy", "strict", "dask"])
    names = [e.name for e in found]
    assert names == ["numpy cpu", "strict CPU_DEVICE", "strict device1", "strict device2"]
    assert (why[0].name, why[0].why) == ("cupy", "no driver; install one")
    assert why[1].name.startswith("dask")
    assert "forward passes only" in why[1].why or "pip install" in why[1].why


def test_entrants_on_the_devices_named():
    found, why = entrants(["numpy", "strict"], ["device1", "cpu"])
    assert [e.name for e in found] == ["numpy cpu", "strict device1"]
    assert [w.name for w in why] == ["numpy device1", "strict cpu"]
    assert all("has no device" in w.why for w in why)


def test_what_compiles_slowly_takes_part_as_it_is_and_compiled_when_asked(monkeypatch):
    monkeypatch.setattr(StrictBackend, "compiles_by_default", False)
    for compiled, names in ((False, ["strict device1"]), (True, ["strict device1", "strict compiled device1"])):
        found, _ = entrants(["strict"], ["device1"], compiled=compiled)
        assert [e.name for e in found] == names
    assert [e.compiled for e in found] == [False, True]
    assert [e.compiled for e in entrants(["numpy"])[0]] == [True]


def test_what_is_compiled_by_default_takes_part_as_it_is_where_that_is_worth_knowing(monkeypatch):
    monkeypatch.setattr(entrants_module, "ALSO_EAGER", ("strict",))
    assert [e.name for e in entrants(["strict", "numpy"], ["device1", "cpu"])[0]] == ["strict device1", "numpy cpu"]
    found, _ = entrants(["strict", "numpy"], ["device1", "cpu"], compiled=True)
    assert [e.name for e in found] == ["strict eager device1", "strict device1", "numpy cpu"]


def test_a_library_for_gpus_that_finds_none_says_so(monkeypatch):
    monkeypatch.setattr(entrants_module, "FOR_GPUS", ("numpy", "strict"))
    found, why = entrants(["numpy", "strict"])
    assert "numpy cpu" in [e.name for e in found]
    assert [(w.name, "has no device 'cuda' here" in w.why) for w in why] == [("numpy cuda", True)]
    assert entrants(["numpy"], ["cpu"])[1] == []  # nobody asked for another


@pytest.mark.parametrize(
    ("job", "sizes", "products"),
    [
        (Job(50, 100), (784, 50, 10), 2 * 784 * 50 + 3 * 50 * 10),
        (Job(4096, 8192, depth=2), (784, 4096, 4096, 10), 2 * 784 * 4096 + 3 * (4096 * 4096 + 4096 * 10)),
    ],
)
def test_a_job_says_how_many_operations_its_products_are(job, sizes, products):
    assert (job.sizes, job.operations) == (sizes, 2 * job.batch_size * products)


def test_a_deep_job_is_the_training_of_a_deep_network(data):
    training = Training(NUMPY, Job(6, 50, seed=1, depth=2), data, lambda: 0.0)
    net = MultiLayerNet(784, [6, 6], 10, weight_init=0.01, seed=1)
    trainer = Trainer(net, SGD(0.1), batch_size=50, seed=1)
    wanted = trainer.fit(data[0].astype("float32") / 255, data[1], iterations=4, progress=False).losses
    np.testing.assert_allclose(training.take(4).losses, wanted, rtol=1e-5)


def test_a_job_is_for_those_that_take_it(data, clock):
    small, large = JOBS[0], JOBS[-1]
    takes = lambda entrant, job: job == small or entrant is STRICT  # noqa: E731
    first, second = compare(data, NUMPY, STRICT, clock=clock, jobs=[small, large], takes=takes).cells
    assert set(first.measured) == {"numpy cpu", "strict device1"}
    assert (set(second.measured), second.problems) == ({"strict device1"}, {})


def test_the_share_of_a_matrix_rate_is_by_operations():
    job = Job(4096, 8192, depth=2)
    cell = Cell(job, {STRICT.name: Measurement(8192, 2, 0.0, [0.2])})  # a tenth of a second a step
    found = shares(cell, [NUMPY, STRICT], lambda backend: {"strict": 2e4}[backend.name])
    assert list(found) == [STRICT.name]
    assert found[STRICT.name].gflops == pytest.approx(job.operations / 0.1 / 1e9)
    assert found[STRICT.name].of_rate == pytest.approx(job.operations / 2e12)


def test_a_dtype_that_a_device_has_not_is_a_reason(monkeypatch):
    def dtype(self, name):
        raise ValueError(f"there is no {name} here")

    monkeypatch.setattr(StrictBackend, "dtype", dtype)
    found, why = entrants(["numpy", "strict"], ["cpu", "device1"], dtype="float64")
    assert [e.name for e in found] == ["numpy cpu"]
    assert "there is no float64 here" in [w.why for w in why]


def test_a_device_is_called_by_what_its_library_calls_it():
    from xpnet.throughput import device_model, processor

    assert device_model(NUMPY.backend) == processor() != ""
    gpu = SimpleNamespace(name="jax", device_name="gpu:0", device=SimpleNamespace(device_kind="NVIDIA H100"))
    assert device_model(gpu) == "NVIDIA H100"
