"""What ``test_cupy*.py`` say of CuPy, on the stand-in: it is no CuPy, and is found where it is asked for, alone."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
STANDINS = TESTS / "standins"


def found():
    spec = importlib.util.find_spec("cupy")
    return None if spec is None else Path(spec.origin or "")


@pytest.mark.skipif(str(STANDINS) in os.environ.get("PYTHONPATH", ""), reason="it was asked for")
def test_it_is_not_found_by_itself():
    assert found() is None or STANDINS not in found().parents


@pytest.mark.skipif(found() is not None, reason="there is a CuPy, on which the tests run by themselves")
def test_on_the_stand_in():
    """Devices and waits, captured steps, and graphs; the whole trainings take longer, and have a stage of their own."""
    path = os.pathsep.join(filter(None, [str(STANDINS), os.environ.get("PYTHONPATH")]))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        *(f"backends/test_cupy{name}.py" for name in ("", "_captured", "_graphs")),
    ]
    done = subprocess.run(
        command, cwd=TESTS, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
    assert " passed" in done.stdout
