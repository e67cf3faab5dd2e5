"""``xpnet sweep``: settings drawn at random, networks trained together, and what is left of them."""

from __future__ import annotations

import itertools
import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from xpnet import load_network
from xpnet.cli import main
from xpnet.cli.sweep import Range, drawn
from xpnet.sweeping.course import Course


@pytest.fixture
def sweep(command):
    return lambda *options: command("sweep", "--networks", 3, "--iterations", 70, "--out", "out", *options)


def test_a_sweep_leaves_the_best_network_all_results_and_a_picture(sweep, some_digits, tmp_path):
    pytest.importorskip("matplotlib")
    done = sweep("--lr", "0.01:1", "--weight-decay", "0,1e-4")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "out"
    found = json.loads((folder / "sweep.json").read_text())
    assert found["criterion"] == "validation_accuracy"
    told = {"networks": 3, "iterations": 70, "hidden": [50], "optimizer": "sgd", "lr": "0.01:1.0", "momentum": None}
    assert found["settings"].items() >= (told | {"weight_decay": "0.0,0.0001", "backend": "numpy", "seed": 0}).items()
    assert [len(trial["history"]["losses"]) for trial in found["trials"]] == [70] * 3
    assert all(0.01 <= trial["settings"]["lr"] <= 1 for trial in found["trials"])
    assert {trial["settings"]["weight_decay"] for trial in found["trials"]} <= {0, 1e-4}
    accuracies = [trial["history"]["evaluations"][-1]["validation_accuracy"] for trial in found["trials"]]
    assert found["best"] == int(np.argmax(accuracies))
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    accuracy = load_network(folder / "best.safetensors").accuracy(*some_digits[1])
    lines = done.output.splitlines()
    assert lines[0] == "3 of TwoLayerNet 784-50-10 on numpy (cpu), float32, sgd, batch 100, 70 iterations"
    assert lines[2].split()[:3] == ["network", "lr", "weight_decay"]
    assert any(line.startswith(f"best: network {found['best']}, lr ") for line in lines)
    assert f"test accuracy {accuracy:.2%} (" in done.output
    assert lines[-3:] == [str(Path("out", name)) for name in ("best.safetensors", "sweep.json", "sweep.png")]


def test_settings_can_be_said(sweep, tmp_path):
    options = ("--optimizer", "momentum", "--momentum", "0.5,0.9", "--lr", "0.1", "--dropout", "0.2", "--seeds")
    command = (*options, "--quiet", "--no-plot", "--hidden", "20,10", "--dtype", "float64")
    done = sweep(*command, "--epochs", "1")
    assert done.exit_code == 2
    assert "give one of them" in done.output
    done = sweep(*command)
    assert done.exit_code == 0, done.output
    assert len(done.output.splitlines()) == 1
    trials = json.loads((tmp_path / "out" / "sweep.json").read_text())["trials"]
    assert [trial["settings"]["seed"] for trial in trials] == [0, 1, 2]
    assert {trial["settings"]["lr"] for trial in trials} == {0.1}
    assert not (tmp_path / "out" / "sweep.png").exists()
    assert sweep(*command).exit_code == 1  # the results of the first are there


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_what_was_trained_until_a_signal_is_written(name, sweep, tmp_path, monkeypatch, ctrl_c):
    take, number, blocks = Course.take, getattr(signal, name), itertools.count(1)

    def taken(self, most):
        take(self, most)
        if next(blocks) == 3:
            signal.raise_signal(number)

    monkeypatch.setattr(Course, "take", taken)
    before = signal.getsignal(signal.SIGTERM)
    done = sweep("--iterations", 100_000, "--no-plot")
    assert done.exit_code == 128 + number
    found = json.loads((tmp_path / "out" / "sweep.json").read_text())
    taken_steps = found["trials"][0]["history"]["iterations"]
    assert 3 <= taken_steps < 100_000
    assert f"Interrupted after iteration {taken_steps}; saving what there is." in done.output
    assert f"best: network {found['best']}, lr " in done.output
    assert load_network(tmp_path / "out" / "best.safetensors")
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_was_trained_until_an_error_is_written(sweep, tmp_path, monkeypatch):
    take, blocks = Course.take, itertools.count(1)

    def fail(self, most):
        take(self, most)
        if next(blocks) == 3:
            raise RuntimeError("the device is lost")

    monkeypatch.setattr(Course, "take", fail)
    done = sweep("--iterations", 100_000, "--no-plot")
    assert done.exit_code == 1
    found = json.loads((tmp_path / "out" / "sweep.json").read_text())
    taken = found["trials"][0]["history"]["iterations"]
    assert f"Ended by an error after iteration {taken}; saving what there is." in done.output
    assert done.output.endswith("Error: RuntimeError: the device is lost\n")
    assert f"best: network {found['best']}, lr " in done.output
    assert load_network(tmp_path / "out" / "best.safetensors")


def test_a_sweep_runs_in_a_thread_that_receives_no_signals(sweep, ctrl_c):
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(sweep, "--no-plot").result()
    assert done.exit_code == 0, done.output


def test_a_sweep_of_which_all_diverged_says_so(sweep):
    done = sweep("--lr", "1e30:1e35", "--quiet", "--no-plot")
    assert done.exit_code == 0, done.output
    assert re.search(r"^best: network \d, lr .*, which diverged at iteration \d+ as all did; test", done.output)


def test_a_picture_of_an_earlier_sweep_does_not_stay(sweep, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sweep.png").write_bytes(b"earlier")
    assert sweep("--no-plot", "--overwrite").exit_code == 0
    assert not (tmp_path / "out" / "sweep.png").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--lr", "fast"), "'fast' is no number, list or range"),
        (("--lr", "1:0.1"), "'1:0.1' is no number, list or range"),
        (("--lr", "0:1"), "'0:1' is no number, list or range"),
        (("--lr", "-1"), "the learning rate is -1.0"),
        (("--lr", "0.1"), "all networks are alike; give a range such as --lr 0.001:1, or --seeds"),
        (("--momentum", "0.9"), "--momentum is for optimizers that have it; sgd has not"),
        (("--backend", "numpy", "--device", "cuda"), "for a GPU"),
    ],
)
def test_mistakes_are_told_in_a_line(sweep, options, told, tmp_path):
    done = sweep(*options)
    assert done.exit_code > 0
    assert told in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out" / "sweep.json").exists()


def test_numbers_of_a_range_are_spread_over_its_powers_of_ten():
    rng = np.random.default_rng(0)
    found = np.log10(drawn(Range().convert("0.001:10", None, None), 1000, rng))
    assert (found.min() > -3, found.max() < 1) == (True, True)
    np.testing.assert_allclose([found.mean(), found.std()], [-1, 4 / 12**0.5], atol=0.1)
    assert set(drawn(Range().convert("0.1,0.3", None, None), 50, rng)) == {0.1, 0.3}
    assert drawn(Range().convert("0.1", None, None), 2, rng) == [0.1, 0.1]


def test_help_says_what_a_range_is():
    done = CliRunner().invoke(main, ["sweep", "--help"])
    assert "0.001:1" in done.output
