"""Pictures folded into rows: nothing is lost, letters lead from row to row, and a page holds them."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from xpnet.graph import draw, variable
from xpnet.graph.pictures.dot import dot, shown
from xpnet.graph.pictures.folding import PAGE, folded
from xpnet.graph.pictures.scene import Node


def chain(steps, name="y"):
    """A long computation in which an input is used all along, and the first result at the end again."""
    x, y = variable(3.0, "x"), variable(2.0, name)
    first = value = x * y
    for _ in range(steps):
        value = value * 1.01 - y
    return value - first


def letters(scene):
    return [node.label for node in scene.nodes if re.fullmatch(r"\([a-z]+\)", node.label)]


def flows(scene):
    """From what to what, with which texts; what goes through a letter goes on behind it."""
    labels = {node.key: node.label for node in scene.nodes}
    into = {labels[a.target]: a for a in scene.arrows if labels[a.target] in letters(scene)}
    found = Counter()
    for arrow in scene.arrows:
        if labels[arrow.target] in into:
            continue
        source = labels[arrow.source]
        if source in into:
            through = into[source]
            assert (through.forward, through.backward) == (arrow.forward, arrow.backward)
            source = labels[through.source]
        found[source, labels[arrow.target], arrow.forward, arrow.backward] += 1
    return found


def test_what_fits_a_page_is_left_alone():
    scene = draw(chain(1)).scene
    assert folded(scene, PAGE) is scene
    wide = draw(chain(30)).scene
    assert folded(wide, None) is wide
    assert draw(chain(30), width=None).dot == dot(wide)


@pytest.mark.parametrize("width", [300, 800, 2000])
@pytest.mark.parametrize("name", ["y", "b"])
def test_no_arrow_is_lost_and_each_letter_is_met_twice(width, name):
    scene = draw(chain(20, name)).scene
    rows = folded(scene, width)
    assert flows(rows) == flows(scene)
    assert set(Counter(letters(rows)).values()) == {2}
    assert f"({name})" not in letters(rows)
    keys = [node.key for node in rows.nodes]
    assert len(set(keys)) == len(keys)
    place = {key: i for i, key in enumerate(keys)}
    assert all(place[arrow.source] < place[arrow.target] for arrow in rows.arrows), "sources are before targets"


def test_operands_stay_in_their_order():
    scene = draw(chain(20)).scene
    rows = folded(scene, 400)

    def operands(scene):
        minus = [node.key for node in scene.nodes if node.label == "-"]
        return Counter(tuple(a.forward for a in scene.arrows if a.target == key) for key in minus)

    assert operands(rows) == operands(scene)


def test_the_picture_is_about_as_wide_as_a_page(graphviz):
    for y in (chain(12), chain(40)):
        (width,) = re.findall(r'<svg width="(\d+)pt"', draw(y).svg)
        assert PAGE / 2 < int(width) < 1.2 * PAGE
        assert int(re.findall(r'<svg width="(\d+)pt"', draw(y, width=None).svg)[0]) > 1.3 * PAGE


@pytest.mark.parametrize(("label", "picture"), [("**2", "( )²"), ("**3", "( )³"), ("**0.5", "**0.5"), ("**12", "**12")])
def test_squares_are_written_as_in_formulas(label, picture):
    assert shown(Node(0, "operation", label)) == picture
    assert shown(Node(0, "input", label)) == label
