"""The comparison with other libraries: workers that need NumPy alone train alike, and one that fails says why."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(PEERS)
    return importlib.import_module("compare")


def losses_of(peers, name, folder, turns=2):
    contender = peers.Contender(name, folder)
    try:
        contender.wait_until_ready()
        found = [contender.turn(turn) for turn in range(turns)]
    finally:
        contender.end()
    assert all(seconds > 0 for seconds, _ in found)
    return [loss for _, losses in found for loss in losses]


@pytest.mark.parametrize("job", ["seed", "deep"])
def test_the_trainer_and_the_loop_of_the_tutorials_have_the_same_losses(peers, job, tmp_path):
    peers.write_job(tmp_path, job, turns=2, samples=1000)
    expected = losses_of(peers, "tutorial", tmp_path)
    assert len(expected) == 20
    assert expected[-1] < expected[0]
    np.testing.assert_allclose(losses_of(peers, "xpnet-numpy", tmp_path), expected, rtol=1e-4)


@pytest.mark.parametrize("job", ["convnet", "simple-convnet", "deep-convnet"])
def test_a_network_of_convolutions_is_the_same_in_torch(peers, job, tmp_path):
    pytest.importorskip("torch", reason="it is PyTorch that it is compared with")
    peers.write_job(tmp_path, job, turns=1, samples=300)
    expected = losses_of(peers, "torch-eager", tmp_path, turns=1)
    assert len(expected) == 3
    for name in ("xpnet-numpy", "torch-channels-last"):
        np.testing.assert_allclose(losses_of(peers, name, tmp_path, turns=1), expected, rtol=1e-4)


@pytest.mark.parametrize("job", ["seed", "deep"])
def test_a_step_that_can_be_captured_is_the_tutorials_step_in_torch(peers, job, tmp_path):
    torch = pytest.importorskip("torch", reason="it is PyTorch whose step it is")
    graph, worker = importlib.import_module("torch_graph"), importlib.import_module("worker")
    peers.write_job(tmp_path, job, turns=2, samples=1000)

    def capture(step):  # a graph takes warm-up steps and is then launched; without a GPU the step is what is launched
        for _ in range(graph.WARM_UP):
            step()
        return step

    described = worker.Job(tmp_path)
    train = graph.trainer(described, capture)
    found = [loss for turn in range(2) for loss in train(torch.from_numpy(described.rows(turn)))]
    np.testing.assert_allclose(found, losses_of(peers, "torch-eager", tmp_path), rtol=1e-4)


def test_where_there_is_no_gpu_each_row_says_so(peers, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "limit_threads", lambda threads: None)
    monkeypatch.setattr(peers.signal, "signal", lambda *arguments: None)
    words = f"compare.py --device cuda --samples 300 --rounds 1 --only xpnet-cupy --out {tmp_path / 'out.json'}"
    monkeypatch.setattr(peers.sys, "argv", words.split())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    peers.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "nothing can be measured on cuda here; the reasons are above, and no file was written"
    assert [line.split()[0] for line in lines[2:-1]] == ["torch-eager", "xpnet-cupy"]
    assert not (tmp_path / "out.json").exists()


def test_cupy_is_compared_with_torch_on_the_processor_where_torch_sees_no_gpu(peers, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="it is PyTorch that it is compared with")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "standins"), prepend=os.pathsep)
    peers.write_job(tmp_path, "seed", turns=3, samples=500, device="cuda")
    found = peers.compare(tmp_path, ["torch-eager", "xpnet-cupy", "torch-graph"], 1, {})
    assert [(c.name, c.failure is None) for c in found] == [
        ("torch-eager-cpu", True),
        ("torch-eager", False),
        ("xpnet-cupy", True),
        ("torch-graph", False),
    ]
    result = {"sizes": [784, 50, 10], "batch": 100, **peers.summary(found), "matrix rates": {"cupy": {"GFLOP/s": 50.0}}}
    peers.add_rates(result)
    assert result["compared with"] == "torch-eager-cpu"
    row = result["contenders"]["xpnet-cupy"]
    assert row["of matrix rate"] == pytest.approx(row["GFLOP/s"] / 50, abs=1e-3)


def test_the_floor_learns_nothing_and_has_no_losses(peers, tmp_path):
    peers.write_job(tmp_path, "seed", turns=1, samples=300)
    assert losses_of(peers, "floor", tmp_path, turns=1) == []


def test_a_contender_that_cannot_start_says_why(peers, tmp_path):
    contender = peers.Contender("floor", tmp_path)  # there is no job in that folder
    with pytest.raises(peers.FailedError, match=r"FileNotFoundError: .*job\.json"):
        contender.wait_until_ready()
    contender.end()


def test_losses_that_are_not_those_of_the_same_training_are_found(peers):
    expected = np.linspace(2.3, 0.5, 600).tolist()
    peers.check(0, [loss * (1 + 5e-5) for loss in expected], expected)
    peers.check(0, [float(np.mean(expected))], expected)
    peers.check(1, [loss * 1.01 for loss in expected], expected)
    with pytest.raises(peers.FailedError, match="turn 0, step 50, is 3"):
        peers.check(0, [*expected[:50], 3.0, *expected[51:]], expected)
    with pytest.raises(peers.FailedError, match="turn 0, on average"):
        peers.check(0, [float(np.mean(expected)) * 1.01], expected)
    peers.check(0, [*expected[:50], 3.0, *expected[51:]], expected, adam=True)
    with pytest.raises(peers.FailedError, match="turn 0, step 5, is 3"):
        peers.check(0, [*expected[:5], 3.0, *expected[6:]], expected, adam=True)
    peers.check(0, [loss * 1.004 for loss in expected[:10]] + expected[10:], expected, tf32=True)
    with pytest.raises(peers.FailedError, match=r"turn 0, step 0, is .* and numpy's is"):
        peers.check(0, [loss * 1.006 for loss in expected], expected, tf32=True, of="numpy")
    with pytest.raises(peers.FailedError, match="turn 7, on average, is nan"):
        peers.check(7, [float("nan")] * 600, expected)


def test_ctrl_c_keeps_the_rounds_that_all_have_had(peers):
    contenders = []
    for rounds, failure in ((3, None), (2, None), (0, "it failed")):
        contender = peers.Contender.__new__(peers.Contender)
        vars(contender).update(failure=failure, microseconds=[1.0] * rounds, of_processor=[1.0] * rounds)
        contenders.append(contender)
    assert peers.cut(contenders) == 2
    assert [len(c.microseconds) for c in contenders] == [len(c.of_processor) for c in contenders] == [2, 2, 0]


def test_ratios_are_medians_of_those_of_each_round(peers):
    rows = {"torch-eager": [10.0, 20.0, 40.0], "floor": [5.0, 5.0, 5.0], "sklearn": [5.0, 30.0, 20.0]}
    contenders = []
    for name, microseconds in rows.items():
        contender = peers.Contender.__new__(peers.Contender)
        vars(contender).update(name=name, versions={}, start=1.0, failure=None, means=[1.0], microseconds=microseconds)
        contender.of_processor = [2 * value for value in reversed(microseconds)]
        contenders.append(contender)
    found = peers.summary(contenders)["contenders"]["sklearn"]
    assert (found["ratio"], found["of floor"], found["median"]) == (0.5, 4.0, 20.0)
    assert (found["processor"], found["processor ratio"]) == (40.0, 0.5)
