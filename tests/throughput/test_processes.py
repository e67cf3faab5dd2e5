"""Numbers of processes: what is measured of groups that answer, fail or hang, and real ones where there is an MPI."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from xpnet.backends.dispatch import get_backend
from xpnet.parallel import ALONE, Parallel, ParallelUnavailableError
from xpnet.throughput import Entrant, Job, process, processes
from xpnet.throughput.process import Process, turns
from xpnet.throughput.processes import Group, GroupError, Scaling, Times, groups, measure

JOB = Job(4, 50)
MPI = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None, reason='mpi4py is missing: pip install "xpnet[mpi]"'
)


class Answering:
    """A group that takes ``seconds`` a step, and has these first losses."""

    def __init__(self, seconds, losses=(2.3, 2.2, 2.1), fails_after=None):
        self.seconds, self.losses, self.left, self.asked = seconds, list(losses), fails_after, []

    def ask(self, *, job, steps):
        self.asked.append(steps)
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise GroupError("killed")
        losses = self.losses if steps == processes.CHECKED else [2.0] * steps
        return {"seconds": self.seconds * steps, "processor": 2 * self.seconds * steps, "losses": losses}


def measured(**begun):
    return measure(JOB, {int(name[1:]): group for name, group in begun.items()}, until=0.0, turns=random.Random(0))


def test_speed_up_and_efficiency_are_those_of_the_times():
    found = measured(p1=Answering(0.008), p2=Answering(0.005), p4=Answering(0.004))
    assert found.problems == {}
    assert [found.speedup(p) for p in (1, 2, 4)] == pytest.approx([1, 1.6, 2])
    assert [found.efficiency(p) for p in (1, 2, 4)] == pytest.approx([1, 0.8, 0.5])
    assert found.seconds(4) == pytest.approx(0.004)
    assert found.steps * 0.008 >= processes.TURN_SECONDS / 2
    assert [len(t.seconds) for t in found.times.values()] == [processes.LEAST_ROUNDS] * 3


def test_ratios_are_medians_of_those_of_each_round():
    found = Scaling(JOB, 1, {1: Times([1.0, 2.0, 4.0]), 2: Times([1.0, 1.0, 1.0])})
    assert found.speedup(2) == 2
    only = Scaling(JOB, 1, {2: Times([1.0]), 4: Times([0.5])})  # against what there is least of
    assert (only.speedup(4), only.efficiency(4)) == (2, 1)


@pytest.mark.parametrize(("factor", "wrong"), [(1.0005, False), (1.002, True), (float("nan"), True)])
def test_no_time_counts_where_losses_are_others(factor, wrong):
    found = measured(p1=Answering(0.01), p2=Answering(0.005, [2.3, 2.2, 2.1 * factor]))
    assert set(found.times) == ({1} if wrong else {1, 2})
    assert ("wrong: the first losses" in found.problems.get(2, "")) is wrong


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_group_that_fails_is_told_and_the_others_go_on(after):
    found = measured(p1=Answering(0.01), p2=Answering(0.005, fails_after=after), p4=Answering(0.002))
    assert (set(found.times), found.problems) == ({1, 4}, {2: "killed"})
    assert len(found.times[4].seconds) == processes.LEAST_ROUNDS


def test_more_processes_than_samples_are_not_tried():
    few = Answering(0.01)
    found = measure(Job(4, 3), {1: Answering(0.01), 4: few}, until=0.0)
    assert few.asked == []
    assert found.problems == {4: "4 processes, and 3 samples in a minibatch"}


def test_it_takes_rounds_until_the_time_is_over():
    clock = iter(range(100))
    found = measure(JOB, {1: Answering(0.01)}, until=6, clock=lambda: next(clock))
    assert len(found.times[1].seconds) > processes.LEAST_ROUNDS
    stopped = measure(JOB, {1: Answering(0.01)}, until=1e9, stop=lambda: True)
    assert stopped.times == {}


class Two(Parallel):
    """The first of two processes, of which the other one has the same to say."""

    rank, size = 0, 2

    def gather(self, value):
        return [value, value]

    def all_reduce(self, part, out=None):
        out = np.empty_like(part) if out is None else out
        return np.multiply(part, 2, out=out)


@pytest.fixture
def data(rng):
    return rng.integers(0, 256, (300, 784), dtype=np.uint8), rng.integers(0, 10, 300, dtype=np.uint8)


def test_a_process_takes_steps_and_adds_up(data):
    entrant = Entrant(get_backend("numpy"), compiled=True)
    one = Process(ALONE, entrant, data)
    job = {"hidden": 4, "batch_size": 50, "seed": 1, "dtype": "float32", "depth": 1, "adam": True}
    first, second = one.turn({"job": job, "steps": 4}), one.turn({"job": job, "steps": 8})
    assert (len(first["losses"]), len(second["losses"])) == (4, 8)  # 6 are an epoch
    again = Process(ALONE, entrant, data).turn({"job": job, "steps": 4})
    assert again["losses"] == first["losses"]
    assert first["seconds"] > 0
    found = Process(Two(), entrant, data).turn({"bytes": 4096, "times": 3})
    assert found["seconds"] > 0
    assert found["processor"] >= 0


def test_turns_come_from_files_until_the_folder_is_gone(tmp_path, monkeypatch):
    folder = tmp_path / "f"
    folder.mkdir()
    for number in range(2):
        (folder / f"turn{number}.json").write_text(json.dumps({"steps": number}))
    taken = turns(folder, os.getpid())
    assert [next(taken), next(taken)] == [(0, {"steps": 0}), (1, {"steps": 1})]
    monkeypatch.setattr(
        process.time, "sleep", lambda seconds: (folder / "turn0.json").unlink(missing_ok=True) or gone()
    )

    def gone():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    assert list(taken) == []


@pytest.mark.skipif(os.name != "posix", reason="elsewhere it cannot be asked")
def test_a_process_ends_with_who_asks(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert list(turns(tmp_path, child.pid)) == []


def test_without_mpiexec_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ParallelUnavailableError, match=r'pip install "xpnet\[mpi\]"'):
        processes.mpiexec()
    (tmp_path / "mpiexec").touch()
    assert processes.mpiexec() == str(tmp_path / "mpiexec")


def test_a_group_that_ends_says_why(tmp_path, monkeypatch):
    folder = tmp_path / "one"
    folder.mkdir()
    group = Group(1, "numpy", "no such device", 1, folder)
    try:
        with pytest.raises(GroupError, match="has no device 'no such device'"):
            group.ask(bytes=8, times=1)
    finally:
        group.end()
    assert not folder.exists()


@MPI
@pytest.mark.slow
def test_real_processes_train_as_one_does():
    numpy = get_backend("numpy")
    with groups([1, 2], numpy, None, 1) as begun:
        found = measure(Job(8, 60, adam=True), begun, until=0.0)
        sums = begun[2].ask(bytes=4096, times=2)
        running = [group.process for group in begun.values()]
    assert found.problems == {}
    assert set(found.times) == {1, 2}
    assert sums["seconds"] > 0
    assert [p.poll() is not None for p in running] == [True, True]
