"""The README: short, its Python runs, its commands exist, and both languages show the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from xpnet import SGD, Trainer, TwoLayerNet, cli, datasets

CHECKOUT = Path(__file__).parent.parent
NAMES = ("README.md", "README.ja.md")
TEXTS = {name: (CHECKOUT / name).read_text(encoding="utf-8") for name in NAMES}
LINES = 120


def blocks(name, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", TEXTS[name], re.DOTALL)


def code(block):
    """A block without its comments."""
    return [line.partition("#")[0].rstrip() for line in block.splitlines()]


def test_the_command_and_python_take_the_same_steps(monkeypatch, command, some_digits):
    monkeypatch.setattr(datasets, "mnist", lambda: some_digits)
    (x, t), _ = some_digits
    rng = np.random.default_rng(0)  # for the weights, then for the minibatches, as `xpnet train` has it
    net = TwoLayerNet(784, 50, 10, seed=rng)
    history = Trainer(net, SGD(lr=0.1), batch_size=100, seed=rng).fit(x, t, epochs=1)
    assert command("train", "--epochs", 1, "--seed", 0, "--no-plot", "--out", "run").exit_code == 0
    assert json.loads(Path("run/history.json").read_text())["losses"] == history.losses


def test_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    here = {}
    for block in blocks("README.md"):
        exec(block.replace("epochs=5", "epochs=1"), here)
    printed = capsys.readouterr().out
    assert "validation" in printed
    assert "passed: full, float64" in printed
    assert here["net"].accuracy(here["x_test"], here["t_test"]) > 0.88
    assert (tmp_path / "weights.safetensors").exists()


def test_both_languages_show_the_same_code():
    assert blocks("README.md")
    for language in ("python", "sh"):
        assert [code(b) for b in blocks("README.md", language)] == [code(b) for b in blocks("README.ja.md", language)]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_short(name):
    assert len(TEXTS[name].splitlines()) <= LINES


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", TEXTS[name]) if not t.startswith("http")]
    assert len(targets) > 4
    assert [t for t in targets if not (CHECKOUT / t).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(name):
    named = set(re.findall(r"`(?:mpiexec -n 4 )?xpnet ([a-z]+)", TEXTS[name]))
    assert {"train", "draw", "export"} <= named
    assert named - set(cli.main.commands) == set()
