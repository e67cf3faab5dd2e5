"""The book's modules served for a test, and programs in the manner of its chapters."""

from __future__ import annotations

import sys
from textwrap import dedent

import numpy as np
import pytest

from xpnet import book
from xpnet.book import mnist as served_mnist
from xpnet.book.run import run


@pytest.fixture
def installed(few_digits):
    """``common`` and ``dataset``, for one test."""
    book.install()
    yield sys.modules
    book.uninstall()


@pytest.fixture
def few_digits(monkeypatch, digits):
    """MNIST's first 600 and 200 digits, where the book's loader takes them from."""

    def few(normalize=True, flatten=True):
        found = []
        for (x, t), count in zip(digits, (600, 200), strict=True):
            x = x[:count] if normalize else (x[:count] * 255).round().astype(np.uint8)
            found.append((x if flatten else x.reshape(-1, 1, 28, 28), t[:count]))
        return tuple(found)

    monkeypatch.setattr(served_mnist, "mnist", few)


@pytest.fixture
def program(tmp_path, few_digits, monkeypatch):
    """``program(name, text, device=...)``: a script in a chapter's folder, run with seed 0; returns what was told."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    folder = tmp_path / "a book" / "ch09"
    folder.mkdir(parents=True)

    def write(name, text):
        path = folder / name
        path.write_text(dedent(text), encoding="utf-8")
        return path

    def execute(name, text, *arguments, **options):
        told = []
        np.random.seed(0)
        run(write(name, text), arguments, tell=told.append, **options)
        return told

    execute.write, execute.folder = write, folder
    return execute
