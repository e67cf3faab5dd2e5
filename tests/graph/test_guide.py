"""The guide for people from autograd or JAX: its examples run, and print what they say."""

from __future__ import annotations

import doctest
from pathlib import Path

GUIDE = Path(__file__).parent.parent.parent / "docs" / "graph-from-autograd.md"


def test_examples_of_the_guide():
    failed, tried = doctest.testfile(str(GUIDE), module_relative=False, encoding="utf-8")
    assert tried > 20
    assert not failed  # what was printed instead stands above
