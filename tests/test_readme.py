"""The README: its Python runs as printed, and the two languages show the same code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from xpnet import datasets

CHECKOUT = Path(__file__).parent.parent
ENGLISH, JAPANESE = (
    re.findall(r"```python\n(.*?)```", (CHECKOUT / name).read_text(encoding="utf-8"), re.DOTALL)
    for name in ("README.md", "README.ja.md")
)


def code(block):
    """A block without its comments."""
    return [line.partition("#")[0].rstrip() for line in block.splitlines()]


def shortened(block):
    """The same with fewer epochs."""
    return block.replace("epochs=5", "epochs=1").replace("epochs=4", "epochs=1")


def test_the_command_and_the_python_of_the_readme_take_the_same_steps(monkeypatch, command, some_digits):
    monkeypatch.setattr(datasets, "mnist", lambda: some_digits)
    here = {}
    exec(shortened(ENGLISH[0]), here)
    assert command("train", "--epochs", 1, "--seed", 0, "--no-plot", "--out", "run").exit_code == 0
    assert json.loads(Path("run/history.json").read_text())["losses"] == here["history"].losses


def test_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    here = {}
    for block in ENGLISH:
        # there may be no GPU here, and the strict backend is as far from NumPy as a GPU is
        exec(shortened(block.replace('backend="cupy"', 'backend="strict"')), here)
    printed = capsys.readouterr().out
    assert "validation" in printed
    drawn = printed[printed.index("(apple)") :]
    assert all(
        drawn.rstrip() in (CHECKOUT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ja.md")
    )
    assert [float(here[name].grad) for name in ("apple", "number", "tax")] == pytest.approx([2.2, 110, 200])
    assert here["net"].backend.name == "strict"
    assert here["net"].to("numpy").accuracy(here["x_test"], here["t_test"]) > 0.88
    assert (tmp_path / "weights.safetensors").exists()
    assert here["x"].tolist() == pytest.approx([1 - 0.8**20, 2 - 2 * 0.8**20], abs=1e-8)
    assert here["report"].passed


def test_both_languages_show_the_same_code():
    assert len(ENGLISH) > 1
    assert [code(block) for block in ENGLISH] == [code(block) for block in JAPANESE]


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_links_lead_somewhere(name):
    text = (CHECKOUT / name).read_text(encoding="utf-8")
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", text) if not t.startswith("http")]
    assert len(targets) > 4
    assert [t for t in targets if not (CHECKOUT / t).exists()] == []
