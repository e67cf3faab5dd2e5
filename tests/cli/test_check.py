"""``xpnet check``: the book's gradient check on digits, and an exit status that says how it went."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from xpnet import SGD, Trainer, TwoLayerNet
from xpnet.cli import main
from xpnet.layers import ReLU


def run(*arguments):
    return CliRunner().invoke(main, ["check", *arguments])


def rows(output):
    """The cells of each line of the table, by its first."""
    lines = [re.split(r"\s{2,}", line) for line in output.splitlines()]
    return {cells[0]: cells for cells in lines if re.fullmatch(r"[Wb]\d|direction \d", cells[0])}


def test_every_parameter_is_checked_on_every_backend(training_backend, pytestconfig):
    b = training_backend
    device = [] if b.name in ("numpy", "jax") else ["--device", b.device_name]
    done = run("--backend", b.name, *device)
    assert done.exit_code == 0, done.output
    table = rows(done.output)
    assert list(table) == ["W1", "b1", "W2", "b2"]
    assert all(float(cells[4]) < 1e-8 for cells in table.values())
    assert all(cells[-1] == "passed" for cells in table.values())
    assert done.output.startswith(f"TwoLayerNet 784-50-10 on {b.name} ({b.device_name}), 3 digits, seed 0\n")
    assert "\npassed: full, float64, the default step\n" in done.output


def test_a_wrong_gradient_fails(monkeypatch):
    monkeypatch.setattr(ReLU, "gradient", lambda self, y, dy: 1.001 * dy)
    for mode in ("full", "directional"):
        done = run("--mode", mode, "--samples", "5")
        assert done.exit_code == 1
        assert f"FAILED: {mode}" in done.output
    verdicts = {name: cells[-1] for name, cells in rows(run().output).items()}
    assert verdicts == {"W1": "FAILED", "b1": "FAILED", "W2": "passed", "b2": "passed"}


def test_directions_of_a_deeper_network():
    done = run("--hidden", "20,10", "--mode", "directional", "--samples", "50", "--seed", "3")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("MultiLayerNet 784-20-10-10 on numpy (cpu), 50 digits, seed 3\n")
    assert list(rows(done.output)) == [f"direction {k}" for k in range(1, 6)]


def test_trained_weights_and_kinks(digits, tmp_path):
    (x, t), _ = digits
    net = TwoLayerNet(784, 50, 10, seed=0)
    Trainer(net, SGD(lr=0.1), seed=0).fit(x, t, iterations=300)
    net.save(tmp_path / "weights.safetensors")
    done = run("--weights", str(tmp_path / "weights.safetensors"), "--samples", "20", "--h", "0.0003")
    assert done.exit_code == 0, done.output
    assert "20 digits, " in done.output
    assert int(re.search(r"(\d+) that crossed a kink", done.output)[1]) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--h", "0"], "--h is 0.0, expected a positive number"),
        (["--h", "1e-30"], "the step h = 1e-30 is too small: entry [0, 0] of W1"),
        (["--tolerance", "-1"], "tolerance is -1.0, expected a positive number"),
        (["--weights", "missing.safetensors"], "missing.safetensors"),
        (["--samples", "0"], "--samples"),
        (["--mode", "half"], "--mode"),
    ],
    ids=" ".join,
)
def test_bad_input_is_told_in_one_line(arguments, message):
    done = run(*arguments)
    assert done.exit_code != 0
    assert message in done.output
    assert "Traceback" not in done.output
