"""Code of the site's pages that the site does not run, as it needs a GPU or another library; run elsewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from xpnet import datasets

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if not {"_build", "gallery"} & set(p.parts))


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def run(page, digits, **here):
    """Run a page's blocks one after the other; names that they take for granted stand in ``here``."""
    (x_train, t_train), (x_test, t_test) = digits
    here = {
        "x": x_train,
        "t": t_train,
        "x_train": x_train,
        "t_train": t_train,
        "x_test": x_test,
        "t_test": t_test,
    } | here
    for block in blocks(DOCS / page):
        block = block.replace('backend="cupy"', 'backend="strict"').replace(
            'backend="torch", device="cuda"', 'backend="numpy"'
        )
        exec(block.replace('"bfloat16"', '"float16"').replace("epochs=5", "epochs=1"), here)
    return here


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: str(p.relative_to(DOCS)))
def test_it_is_python(page):
    for block in blocks(page):
        ast.parse("" if block.startswith(">>> ") else block)  # doctests are run elsewhere


def test_a_network_on_another_library(monkeypatch, some_digits):
    monkeypatch.setattr(datasets, "mnist", lambda: some_digits)
    assert run("guides/gpu.md", some_digits)["net"].backend.name == "strict"


def test_five_minutes_on_another_library(some_digits):
    import xpnet

    here = run("start.md", some_digits, **{name: getattr(xpnet, name) for name in ("SGD", "Trainer", "TwoLayerNet")})
    assert here["net"].backend.name == "strict"


def test_mixed_precision(some_digits):
    assert run("guides/precision.md", some_digits)["trainer"].compute_dtype == "float16"


def test_a_backend(some_digits):
    assert run("guides/own-backend.md", some_digits)["MyBackend"].name == "mine"


def test_weights_from_and_to_pytorch(tmp_path, monkeypatch, some_digits):
    pytest.importorskip("torch", reason="PyTorch is not installed, whose weights these are")
    monkeypatch.chdir(tmp_path)
    here = run("guides/pytorch-weights.md", some_digits)
    with here["torch"].no_grad():
        theirs = here["module"](here["torch"].asarray(here["x"][:5])).numpy()
    assert np.allclose(here["net"].predict(here["x"][:5]), theirs, atol=1e-5)
    assert (tmp_path / "weights.safetensors").exists()
