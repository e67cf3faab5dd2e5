"""The picture of throughput: its lines, and where the fastest changes."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from xpnet import plotting

CPU, GPU = {10: 1e5, 100: 2e5, 1000: 3e5}, {10: 1e4, 100: 1e5, 1000: 1e6}
PNG = b"\x89PNG\r\n\x1a\n"


def fastest(rates, sizes):
    """The name of the highest line at each size, from NumPy's own interpolation."""
    lines = {n: np.interp(np.log(sizes), np.log(list(m)), np.log(list(m.values()))) for n, m in rates.items()}
    names = np.array(list(lines))
    return names[np.argmax(np.stack(list(lines.values())), axis=0)]


@pytest.mark.parametrize("seed", range(20))
def test_the_fastest_changes_where_the_highest_line_does(seed):
    rng = np.random.default_rng(seed)
    batches = [10, 100, 1000, 10_000]
    rates = {name: dict(zip(batches, 10 ** rng.uniform(3, 6, 4), strict=True)) for name in "abcd"}
    sizes = np.geomspace(10, 10_000, 100_001)
    names = fastest(rates, sizes)
    at = np.flatnonzero(names[1:] != names[:-1])
    found = plotting.overtakings(rates)
    assert [name for _, name in found] == [names[i + 1] for i in at]
    np.testing.assert_allclose([size for size, _ in found], sizes[at], rtol=2e-4)


def test_lines_that_meet_at_a_measurement_change_there():
    meeting = {"a": {1: 4.0, 10: 4.0, 100: 4.0}, "b": {1: 1.0, 10: 4.0, 100: 16.0}}
    assert plotting.overtakings(meeting) == [(10, "b")]
    touching = {"a": {1: 4.0, 10: 4.0, 100: 4.0}, "b": {1: 1.0, 10: 4.0, 100: 1.0}}
    assert plotting.overtakings(touching) == []


def test_what_was_not_measured_overtakes_nobody():
    assert plotting.overtakings({"a": CPU, "b": {}}) == []
    assert plotting.overtakings({"a": {10: 1.0}, "b": {100: 5.0}}) == []
    assert plotting.overtakings({}) == []
    gap = {"a": {10: 1.0, 100: 1.0, 1000: 1.0}, "b": {100: 2.0, 1000: 0.5}}
    ((size, name),) = plotting.overtakings(gap)
    assert (size, name) == (pytest.approx(100 * 10**0.5), "a")


def test_a_line_for_each_on_logarithmic_scales_and_a_mark_where_the_fastest_changes():
    ax = plotting.crossover({"numpy cpu": CPU, "torch cuda:0": dict(reversed(GPU.items())), "absent": {}})
    lines = {line.get_label(): line for line in ax.lines}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["numpy cpu", "torch cuda:0"]
    for name, measured in (("numpy cpu", CPU), ("torch cuda:0", GPU)):
        assert list(lines[name].get_xdata()) == list(measured)
        assert list(lines[name].get_ydata()) == list(measured.values())
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel(), ax.get_ylabel()) == (
        "log",
        "log",
        "batch size",
        "samples/s",
    )
    ((size, _),) = plotting.overtakings({"cpu": CPU, "gpu": GPU})
    assert [text.get_text() for text in ax.texts] == [f"torch cuda:0 from ≈ {float(f'{size:.2g}'):.0f}"]
    assert ax.texts[0].xy[0] == size
    assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"] == [size]
    assert 2e2 < size < 3e2


def test_it_is_drawn_on_the_axes_given():
    left, right = Figure().subplots(1, 2)
    assert plotting.crossover({"cpu": CPU}, right) is right
    assert not left.lines


@pytest.mark.parametrize("count", [1, 4])
def test_panels_share_their_scale_and_each_name_its_colour(count):
    panels = {f"{k} units": {"cpu": CPU, "gpu": {b: r / k for b, r in GPU.items()}} for k in range(2, 2 + count)}
    panels["2 units"] = {"gpu": {10: 1e4, 100: 1e5}}
    figure = plotting.crossovers(panels)
    assert [ax.get_title() for ax in figure.axes] == list(panels)
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    low, high = figure.axes[0].get_ylim()
    colours = {}
    for ax in figure.axes:
        for line in ax.lines:
            if line.get_label() in ("cpu", "gpu"):
                colours.setdefault(line.get_label(), set()).add(line.get_color())
                assert low < min(line.get_ydata()) <= max(line.get_ydata()) < high
    assert {len(found) for found in colours.values()} == {1}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(dict.fromkeys(["gpu", *sorted(colours)]))
    assert plotting.png(figure).startswith(PNG)


def test_what_was_not_measured_is_a_gap_and_is_told():
    rates = {"cpu": {1: 5.0, 10: 6.0, 100: 7.0, 1000: 8.0}, "gpu": {1: 1.0, 100: 9.0}, "tpu": {1: 1.0, 10: 2.0}}
    ax = plotting.crossover(rates)
    lines = {line.get_label(): line for line in ax.lines if line.get_label() in rates}
    np.testing.assert_array_equal(lines["gpu"].get_ydata(), [1, np.nan, 9])
    np.testing.assert_array_equal(lines["tpu"].get_ydata(), [1, 2])
    crosses = {line.get_color(): list(line.get_xdata()) for line in ax.lines if line.get_marker() == "x"}
    assert crosses == {lines["gpu"].get_color(): [10, 1000], lines["tpu"].get_color(): [100, 1000]}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [*rates, "not measured"]
    figure = plotting.crossovers({"one": rates})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*rates, "not measured"]
    whole = plotting.crossover({"cpu": rates["cpu"]})
    assert not [line for line in whole.lines if line.get_marker() == "x"]


def test_texts_of_marks_and_titles_overlap_nothing():
    rates = {"a": {1: 9.0, 10: 9.0, 100: 9.0}, "b": {1: 1.0, 10: 10.0, 100: 30.0}, "c": {1: 0.1, 10: 9.9, 100: 90.0}}
    figure = plotting.crossovers({"one": rates, "two": rates})
    figure.draw_without_rendering()
    boxes = [artist.get_window_extent() for ax in figure.axes for artist in (*ax.texts, ax.title)]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ({}, "no measurement"),
        ({"cpu": {}}, "no measurement"),
        ({"cpu": {10: 0.0}}, "cpu: 0.0 samples/s at batch size 10"),
        ({"cpu": {10: float("nan")}}, "cpu: nan samples/s"),
        ({"cpu": {0: 5.0}}, "batch size 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(rates, words):
    with pytest.raises(ValueError, match=words):
        plotting.crossover(rates)
    with pytest.raises(ValueError, match=words):
        plotting.crossovers({"a panel": rates})
    with pytest.raises(ValueError, match="panels is empty"):
        plotting.crossovers({})
