"""Evaluations as they are asked for on the command line, and the bytes that a run trains on."""

from __future__ import annotations

import json

import pytest
from safetensors.numpy import load_file

from xpnet import Trainer, TwoLayerNet, load_network


@pytest.fixture
def train(command):
    """``train(*options)``: ``xpnet train`` without a picture."""
    return lambda *options: command("train", *options, "--no-plot")


def weights_in(folder):
    return {name: p.tobytes() for name, p in load_file(folder / "weights.safetensors").items()}


def history_in(folder):
    return json.loads((folder / "history.json").read_text())


@pytest.mark.parametrize(
    ("form", "found"),
    [
        (None, [0, 60, 100]),
        ("epoch", [0, 60, 100]),
        ("end", [100]),
        ("never", []),
        ("epochs:2", [0, 100]),
        ("steps:25:running", [0, 25, 50, 75, 100]),
        ("steps:90:500", [0, 90, 100]),
    ],
)
def test_a_run_is_evaluated_when_it_is_told_and_learns_the_same(form, found, train, tmp_path):
    options = ["--iterations", 100, "--out", "out", *([] if form is None else ["--evaluate", form])]
    result = train(*options)
    assert result.exit_code == 0, result.output
    history = history_in(tmp_path / "out")
    assert [e["iteration"] for e in history["evaluations"]] == found
    assert all(e["validation_loss"] is not None for e in history["evaluations"])
    assert history["wall"] > history["seconds"] > 0
    assert train("--iterations", 100, "--out", "usual").exit_code == 0
    assert weights_in(tmp_path / "out") == weights_in(tmp_path / "usual")
    assert ("not evaluated" in result.output) == (not found)
    again = train("--resume", "out")
    assert (again.exit_code, "nothing is left to do" in again.output) == (0, True), again.output


def test_a_run_that_goes_on_is_evaluated_as_before_or_as_it_is_told(train, tmp_path):
    options = "--iterations", 60, "--checkpoint-every", 60, "--evaluate", "end", "--out", "out"
    assert train(*options).exit_code == 0
    assert train("--resume", "out", "--iterations", 120).exit_code == 0
    assert [e["iteration"] for e in history_in(tmp_path / "out")["evaluations"]] == [60, 120]
    assert train("--resume", "out", "--iterations", 180, "--evaluate", "steps:20").exit_code == 0
    assert [e["iteration"] for e in history_in(tmp_path / "out")["evaluations"]] == [60, 120, 140, 160, 180]


@pytest.mark.parametrize(
    "form", ["", "always", "epochs", "epochs:0", "steps:x", "steps:5:some", "steps:5:1:1", "train:5"]
)
def test_an_evaluation_that_is_written_otherwise_is_refused(form, train):
    result = train("--evaluate", form)
    assert result.exit_code == 2
    words = " ".join(result.output.replace("|", "").split())
    assert "is none of: epoch, end, never, epochs:K[:TRAIN], steps:K[:TRAIN]" in words


def test_weights_are_those_of_a_network_of_numbers_from_0_to_1(train, tmp_path, some_digits):
    """Images are bytes while it trains; who loads the weights has what the tutorials load."""
    assert train("--iterations", 60, "--checkpoint-every", 60, "--out", "out").exit_code == 0
    net = load_network(tmp_path / "out" / "weights.safetensors", backend="numpy")
    assert (type(net), list(net.layers)) == (TwoLayerNet, ["Affine1", "Relu1", "Affine2"])
    told = history_in(tmp_path / "out")["evaluations"][-1]
    assert net.accuracy(*some_digits[1]) == told["validation_accuracy"]
    kept = Trainer.load(tmp_path / "out" / "checkpoint.safetensors", backend="numpy").net
    assert (type(kept), list(kept.layers)) == (TwoLayerNet, ["Rescale1", "Affine1", "Relu1", "Affine2"])
