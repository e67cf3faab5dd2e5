"""A new layer touches four places: its file, exports, kinds, and a row of tests. One is added here, in a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]
LAYER = '''"""Rounded: a ReLU whose corner is round."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.functions import sigmoid
from xpnet.layers.activations import Activation


@dataclass(frozen=True, repr=False)
class Rounded(Activation):
    """y = log(1 + exp(x)); dx = dy / (1 + exp(-x)).

    Dugas et al., "Incorporating second-order functional knowledge for better option pricing" (2000).
    """

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        return namespace(x).log1p(namespace(x).exp(x)), x

    def gradient(self, x: Array, dy: Array) -> Array:
        return dy * sigmoid(x)
'''


def insert(path, before, text):
    source = path.read_text("utf-8")
    assert source.count(before) == 1, (path, before)
    path.write_text(source.replace(before, text + before), "utf-8")


@pytest.fixture
def checkout(tmp_path):
    """What of the checkout its tests of layers and of the house need, with the four places touched."""
    left_out = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("xpnet", "tests", "benchmarks", "examples"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=left_out)
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    layers = tmp_path / "xpnet" / "layers"
    (layers / "rounded.py").write_text(LAYER, "utf-8")
    public = layers / "__init__.py"
    insert(public, "    from xpnet.layers.shapes import", "    from xpnet.layers.rounded import Rounded\n")
    insert(public, '            "shapes": "', '            "rounded": "Rounded",\n')
    insert(public, '    "Tanh",\n    "TimeDistributed",\n]', '    "Rounded",\n')
    insert(layers / "kinds.py", "from xpnet.layers.shapes import", "from xpnet.layers.rounded import Rounded\n")
    insert(layers / "kinds.py", "        Tanh,\n        TimeDistributed,\n", "        Rounded,\n")
    tests = tmp_path / "tests" / "layers" / "test_layers.py"
    insert(tests, "    Tanh,\n    TimeDistributed,\n)", "    Rounded,\n")
    insert(tests, '    "Dropout": (', '    "Rounded": (Rounded(), (4, 5), (4, 5)),\n')
    return tmp_path


def run(checkout, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--backend", "numpy,strict", *arguments]
    return subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, encoding="utf-8", timeout=300, check=False
    )


def test_a_layer_in_four_places_is_tested_saved_and_at_home(checkout):
    done = run(checkout, "tests/layers/test_layers.py", "-k", "Rounded or every_layer_has_a_row")
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout
    done = run(checkout, "tests/test_architecture.py", "-k", "rounded or circle or public or one_way")
    assert done.returncode == 0, done.stdout
    layer = checkout / "xpnet" / "layers" / "rounded.py"
    layer.write_text(layer.read_text("utf-8").replace("dy * sigmoid(x)", "dy * sigmoid(-x)"), "utf-8")
    done = run(checkout, "tests/layers/test_layers.py", "-k", "Rounded")
    assert done.returncode == 1
    assert "Rounded(): the gradient with respect to x is" in done.stdout


def test_a_layer_without_a_row_is_missed(checkout):
    tests = checkout / "tests" / "layers" / "test_layers.py"
    lines = tests.read_text("utf-8").splitlines(keepends=True)
    tests.write_text("".join(line for line in lines if '"Rounded": (' not in line), "utf-8")
    done = run(checkout, "tests/layers/test_layers.py", "-k", "every_layer_has_a_row")
    assert done.returncode == 1
    assert "Rounded" in done.stdout
