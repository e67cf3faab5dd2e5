"""The README: its Python runs as printed, and the two languages show the same code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
ENGLISH, JAPANESE = (
    re.findall(r"```python\n(.*?)```", (CHECKOUT / name).read_text(encoding="utf-8"), re.DOTALL)
    for name in ("README.md", "README.ja.md")
)


def code(block):
    """A block without its comments."""
    return [line.partition("#")[0].rstrip() for line in block.splitlines()]


def test_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    here = {}
    for block in ENGLISH:
        # there may be no GPU here, and the strict backend is as far from NumPy as a GPU is
        exec(block.replace('backend="cupy"', 'backend="strict"').replace("epochs=5", "epochs=1"), here)
    printed = capsys.readouterr().out
    assert "test" in printed
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
