"""Throughput over batch size, and where one way of computing overtakes another."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle, pairwise
from math import exp, isfinite, log, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.plotting.figures import axes_or_new, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Samples a second by batch size, by name.
Rates = Mapping[str, Mapping[int, float]]


#: Height of a line of text above the Axes, in points.
LINE = 10
#: What the legend says of a batch size at which a name has no measurement, and others have one.
MISSING = "not measured"
#: Markers and dashes keep lines apart that run along each other.
STYLES = tuple(zip(("o-", "s--", "^-.", "D:", "v-", "P--", "X-.", "*:"), (f"C{i}" for i in range(8)), strict=True))


def overtakings(rates: Rates) -> list[tuple[float, str]]:
    """The batch sizes at which the fastest changes, and who is the fastest from there on.

    Between two batch sizes that were measured, rates follow straight lines in the logarithms of both.

    >>> overtakings({"cpu": {10: 100.0, 1000: 100.0}, "gpu": {10: 10.0, 1000: 1000.0}})
    [(100.0, 'gpu')]
    """
    found: list[tuple[float, str]] = []
    leader = None
    for a, b in pairwise(sorted({size for measured in rates.values() for size in measured})):
        ends = {name: (log(m[a]), log(m[b])) for name, m in rates.items() if a in m and b in m}
        if not ends:
            continue
        first = max(ends, key=ends.__getitem__)
        if leader in ends and leader != first and ends[leader][0] == ends[first][0]:  # they met at a
            found.append((float(a), first))
        changes = _changes(ends, first)
        found += [(round(a * exp(share * log(b / a)), 6), name) for share, name in changes]
        leader = changes[-1][1] if changes else first
    return found


def _changes(ends: Mapping[str, tuple[float, float]], leader: str) -> list[tuple[float, str]]:
    """Who overtakes the leader of lines from the left end, 0, to the right one, 1, and where."""
    found: list[tuple[float, str]] = []
    while True:
        left, right = ends[leader]
        steeper = {n: (left - y) / ((z - y) - (right - left)) for n, (y, z) in ends.items() if z - y > right - left}
        share, name = min(((s, n) for n, s in steeper.items()), default=(1.0, leader))
        if share >= 1:
            return found
        found.append((share, name))
        leader = name


def crossover(rates: Rates, ax: Axes | None = None) -> Axes:
    """Samples a second over batch size, a line for each name; dotted lines mark where the fastest changes.

    A line has a gap at a batch size at which others were measured and it was not, and an x above the axis says so.

    Args:
        rates: ``{"numpy cpu": {10: 61e3, 100: 212e3}, ...}``.
        ax: where to draw.

    Raises:
        ValueError: nothing to draw, or a rate or a batch size that is not positive.
    """
    ax = axes_or_new(ax)
    measured = _checked(rates)
    _draw(measured, ax, dict(zip(measured, cycle(STYLES), strict=False)))
    ax.legend()
    return ax


def crossovers(panels: Mapping[str, Rates]) -> Figure:
    """A :func:`crossover` for each title, with the same style for a name and the same scales in all."""
    if not panels:
        raise ValueError('panels is empty, expected at least one: {"50 hidden units": {"numpy cpu": {100: 212e3}}}')
    columns = min(len(panels), 3)
    figure, axes = new_figure(columns, rows=-(-len(panels) // columns))
    every = list(np.ravel(axes))
    names = dict.fromkeys(name for rates in panels.values() for name in rates)
    styles = dict(zip(names, cycle(STYLES), strict=False))
    drawn = every[: len(panels)]
    room = max(_draw(_checked(rates), ax, styles) for rates, ax in zip(panels.values(), drawn, strict=True))
    x = [limit for ax in drawn for limit in ax.get_xlim()]
    y = [limit for ax in drawn for limit in ax.get_ylim()]
    for title, ax in zip(panels, drawn, strict=True):
        ax.set(xlim=(min(x), max(x)), ylim=(min(y), max(y)))
        ax.set_title(title, pad=6 + LINE * room)
    for ax in every[len(panels) :]:
        ax.remove()
    known = [*names, MISSING]
    lines = {line.get_label(): line for ax in drawn for line in ax.lines if line.get_label() in known}
    figure.legend(handles=[lines[name] for name in known if name in lines], loc="outside right center")
    return figure


def _checked(rates: Rates) -> dict[str, dict[int, float]]:
    """Those that were measured, in the order of batch sizes."""
    measured = {name: dict(sorted(found.items())) for name, found in rates.items() if found}
    if not measured:
        raise ValueError('rates has no measurement, expected at least one: {"numpy cpu": {100: 212e3}}')
    for name, found in measured.items():
        bad = next((pair for pair in found.items() if not all(isfinite(v) and v > 0 for v in pair)), None)
        if bad is not None:
            raise ValueError(f"{name}: {bad[1]} samples/s at batch size {bad[0]}, expected positive numbers")
    return measured


def _draw(measured: Rates, ax: Axes, styles: Mapping[str, tuple[str, str]]) -> int:
    colours, sizes = {}, sorted({size for found in measured.values() for size in found})
    for name, found in measured.items():
        style, colours[name] = styles[name]
        between = [size for size in sizes if min(found) <= size <= max(found)]
        rates = [found.get(size, nan) for size in between]  # a line goes on where something was measured
        ax.plot(between, rates, style, color=colours[name], markersize=4, label=name)
    ax.set(xlabel="batch size", ylabel="samples/s", xscale="log", yscale="log")
    ax.margins(y=0.12)
    ax.grid(alpha=0.3)
    _note_missing({name: [s for s in sizes if s not in found] for name, found in measured.items()}, ax, colours)
    return _mark(overtakings(measured), ax, colours)


def _note_missing(missing: Mapping[str, list[int]], ax: Axes, colours: Mapping[str, str]) -> None:
    """A small x above the axis at each batch size that only others were measured at, one above the other."""
    for row, (name, sizes) in enumerate((name, sizes) for name, sizes in missing.items() if sizes):
        height = [0.025 + 0.035 * row] * len(sizes)
        style: dict[str, Any] = {"color": colours[name], "markersize": 5, "linestyle": "none", "clip_on": False}
        ax.plot(sizes, height, "x", transform=ax.get_xaxis_transform(), label=MISSING if row == 0 else "_", **style)


def _mark(changes: list[tuple[float, str]], ax: Axes, colours: Mapping[str, str]) -> int:
    """A dotted line at each, and its text above the Axes, where it hides nothing; returns how many lines of text."""
    low, high = ax.get_xlim()
    for i, (size, name) in enumerate(reversed(changes)):
        ax.axvline(size, color=colours[name], linestyle=":", linewidth=1)
        share = log(size / low) / log(high / low)
        align = "left" if share < 1 / 3 else "right" if share > 2 / 3 else "center"
        text, above = f"{name} from ≈ {_rounded(size):,}", (0, 3 + LINE * i)
        options: dict[str, Any] = {"textcoords": "offset points", "xycoords": ax.get_xaxis_transform(), "fontsize": 8}
        ax.annotate(text, (size, 1), above, color=colours[name], ha=align, va="bottom", **options)
    return len(changes)


def _rounded(size: float) -> int:
    """To two digits: the measurements say no more."""
    return int(float(f"{size:.2g}"))
