"""Pictures of how much faster several processes are."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from xpnet.plotting import png, speedups

LINES = {"batch 100": {1: 1.0, 2: 0.5}, "batch 1000": {1: 1.0, 2: 1.8, 4: 3.0}}


def test_a_panel_for_each_title_with_the_ideal_beside_each_line():
    figure = speedups({"50 hidden units": LINES, "500 hidden units": {"batch 100": {1: 1.0, 2: 2.0}}})
    first, second = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["50 hidden units", "500 hidden units"]
    lines = {line.get_label(): line for line in first.lines}
    assert list(lines) == ["ideal", "batch 100", "batch 1000"]
    assert list(lines["ideal"].get_ydata()) == [1, 2, 4]
    assert list(lines["batch 1000"].get_ydata()) == [1.0, 1.8, 3.0]
    assert second.lines[1].get_color() == lines["batch 100"].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)
    assert png(figure).startswith(b"\x89PNG")


def test_the_ideal_begins_at_the_least_number():
    (ax,) = speedups({"a": {"b": {2: 1.0, 8: 3.0}}}).axes
    assert list(ax.lines[0].get_ydata()) == [1, 4]


@pytest.mark.parametrize("panels", [{}, {"a": {}}, {"a": {"b": {}}}])
def test_nothing_to_draw_is_refused(panels):
    with pytest.raises(ValueError, match="expected one at least"):
        speedups(panels)
