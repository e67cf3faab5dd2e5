"""A drawing in a notebook, in a terminal and in files, with and without Graphviz."""

from __future__ import annotations

import subprocess
import sys

import pytest

import xpnet.graph.pictures.dot as dot
from xpnet.graph import Drawing, DrawingUnavailableError, draw, variable


def shopping():
    apple, number, tax = variable(100, "apple"), variable(2, "number"), variable(1.1, "tax")
    pay = apple * number * tax
    pay.name = "pay"
    return pay


@pytest.mark.parametrize(
    ("suffix", "start"),
    [
        (".svg", b"<svg"),
        (".png", b"\x89PNG\r\n\x1a\n"),
        (".pdf", b"%PDF"),
        (".dot", b"digraph"),
        (".gv", b"digraph"),
        (".mmd", b"flowchart LR"),
        (".txt", b"         100"),
    ],
)
def test_files(tmp_path, suffix, start, request):
    if suffix in (".svg", ".png", ".pdf"):
        request.getfixturevalue("graphviz")
    drawing = draw(shopping())
    path = drawing.save(tmp_path / "new" / f"apples{suffix}")
    assert path.read_bytes().startswith(start)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["apples.jpg", "apples"])
def test_another_suffix_is_refused_and_nothing_is_written(tmp_path, name):
    with pytest.raises(ValueError, match=r"suffix.*\.svg, \.png, \.pdf, \.dot, \.gv, \.mmd, \.txt"):
        draw(shopping()).save(tmp_path / "new" / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("graphviz")
def test_a_notebook_gets_svg_and_a_terminal_text():
    drawing = draw(shopping())
    assert isinstance(drawing, Drawing)
    assert drawing._repr_svg_() == drawing.svg
    assert "pay" in drawing.svg
    assert repr(drawing) == str(drawing) == drawing.text()


def test_without_graphviz_it_says_what_to_install_and_shows_text(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    drawing = draw(shopping())
    with pytest.raises(DrawingUnavailableError, match=r'pip install "xpnet\[graph\]"'):
        drawing.save(tmp_path / "apples.svg")
    with pytest.warns(UserWarning, match="shown as text"):
        assert drawing._repr_svg_() is None
    assert drawing.save(tmp_path / "apples.dot").exists()


def test_graphviz_that_lacks_a_library_of_the_system(monkeypatch, tmp_path):
    """As in a small container: pip installed it, and it does not load."""
    (tmp_path / "pygraphviz.py").write_text("raise ImportError('libgobject-2.0.so.0: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "pygraphviz", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DrawingUnavailableError, match=r"libgobject-2.0.so.0.*apt install libglib2.0-0 .*; text"):
        draw(shopping()).save(tmp_path / "a.svg")


def test_nothing_that_draws_is_imported_before_it_draws():
    code = "import sys, xpnet.graph; sys.exit('pygraphviz' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.usefixtures("graphviz")
def test_letters_without_a_font_are_warned_of_in_a_png_and_not_in_an_svg(monkeypatch):
    drawing = draw(variable(1.0, "りんご") * 2)
    monkeypatch.setattr(dot, "_has_font", lambda ask, letters: "り" not in letters)
    monkeypatch.setattr(dot.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.warns(UserWarning, match="no font on this machine has 'り'.*save an SVG"):
        drawing.bytes("png")
    assert "りんご" in drawing.svg
    with pytest.raises(ValueError, match="form is 'jpg', expected one of: svg, png, pdf, dot"):
        drawing.bytes("jpg")
