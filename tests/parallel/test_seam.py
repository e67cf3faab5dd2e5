"""What ``Trainer(parallel=...)`` takes, without an MPI."""

import sys

import pytest

from xpnet import SGD, Trainer, TwoLayerNet, get_backend
from xpnet.backends.base import Backend, PlainStep
from xpnet.parallel import ALONE, Parallel, ParallelUnavailableError, as_parallel, mpi


class Ranked(Parallel):
    def __init__(self, rank, size):
        self.rank, self.size = rank, size


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [7, 8, 100])
def test_each_row_is_somebodys(rows, size):
    slices = [Ranked(rank, size).mine(rows) for rank in range(size)]
    assert [row for each in slices for row in range(rows)[each]] == list(range(rows))
    lengths = {each.stop - each.start for each in slices}
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(("given", "error"), [(4, TypeError), ("nccl", ValueError), (True, TypeError)])
def test_what_is_no_way_to_train_together(given, error):
    with pytest.raises(error, match="expected None or one of: 'mpi'"):
        Trainer(TwoLayerNet(2, 3, 2), SGD(), parallel=given)


def test_alone():
    assert as_parallel(None) is ALONE
    assert as_parallel(ALONE) is ALONE
    assert (ALONE.rank, ALONE.size, ALONE.leads) == (0, 1, True)
    with ALONE.together():
        assert ALONE.gather(3) == [3]


def test_without_mpi4py(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(
        ParallelUnavailableError, match=r'needs mpi4py, which is not installed; pip install "xpnet\[mpi\]"'
    ):
        mpi.join.__wrapped__()


def test_how_many_were_started(monkeypatch):
    for name in mpi.SIZES:
        monkeypatch.delenv(name, raising=False)
    assert mpi.launched() == 1
    monkeypatch.setenv("PMI_SIZE", "4")
    assert mpi.launched() == 4
    monkeypatch.setenv("PMI_SIZE", "many")
    assert mpi.launched() == 1


def test_the_command_says_once_that_mpi4py_is_missing(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setenv("PMI_SIZE", "2")
    mpi.join.cache_clear()
    for rank, said in (("0", "Error: --parallel mpi needs mpi4py"), ("1", "")):
        monkeypatch.setenv("PMI_RANK", rank)
        done = command("train", "--iterations", "5")
        assert done.exit_code == 1
        assert done.output.startswith(said)
        assert bool(done.output) == bool(said)


@pytest.mark.parametrize(("captures", "processes", "plain"), [(True, 2, True), (True, 1, False), (False, 2, False)])
def test_a_step_that_waits_for_others_is_not_captured(monkeypatch, captures, processes, plain):
    monkeypatch.setattr(Backend, "captures", captures)
    step = Ranked(0, processes).compile(get_backend("numpy"), lambda state, data, rows, draws: (state, 0.0), True)
    assert isinstance(step, PlainStep) == plain
