"""How much faster several processes are than one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from xpnet.plotting.figures import new_figure
from xpnet.plotting.throughput import STYLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Speed-up by number of processes, by name.
Speedups = Mapping[str, Mapping[int, float]]


def speedups(panels: Mapping[str, Speedups]) -> Figure:
    """Speed-up over the number of processes, Axes for each title and a line for each name, beside the ideal.

    Raises:
        ValueError: nothing to draw.

    >>> figure = speedups({"1000 hidden units": {"batch 1000": {1: 1.0, 2: 1.8, 4: 3.1}}})  # doctest: +SKIP
    """
    numbers = sorted({n for lines in panels.values() for line in lines.values() for n in line})
    if not numbers:
        raise ValueError('panels has no speed-up, expected one at least: {"50 hidden units": {"batch 100": {2: 1.8}}}')
    figure, axes = new_figure(len(panels))
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    styles = {name: STYLES[i % len(STYLES)] for i, name in enumerate(names)}
    for (title, lines), ax in zip(panels.items(), [axes] if len(panels) == 1 else axes, strict=True):
        ax.plot(numbers, [n / numbers[0] for n in numbers], ":", color="grey", label="ideal")
        for name, line in lines.items():
            style, colour = styles[name]
            ax.plot(sorted(line), [line[n] for n in sorted(line)], style, color=colour, markersize=4, label=name)
        ax.set(xlabel="processes", ylabel="speed-up", title=title, xticks=numbers)
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
    handles = {line.get_label(): line for ax in figure.axes for line in ax.lines}
    figure.legend(handles=list(handles.values()), loc="outside right center")
    return figure
