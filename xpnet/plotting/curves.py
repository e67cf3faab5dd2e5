"""Curves over one variable: what a training left behind, and functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from xpnet._typing import Array
from xpnet.backends.dispatch import Backend, describe, name_of
from xpnet.plotting.figures import axes_or_new, new_figure
from xpnet.plotting.grids import Interval, Points, line, to_host, with_gaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Course(Protocol):
    """What is drawn of a training run: ``xpnet.History`` has it."""

    losses: list[float]
    evaluations: list[Any]


#: Of a curve in so many stretches, each point is the mean of one.
STRETCHES = 100
#: The metrics that there may be, of which the first counts: the end of the attributes' names, and how it is called.
METRICS = {"accuracy": "accuracy", "r2": "R²"}
#: How the values of the two kinds of samples are drawn.
STYLES = {"train": "o-", "validation": "s--"}
#: What a title says where a run has one line of the legend.
DASHED = " (dashed: validation)"


def loss_curve(history: Course, ax: Axes | None = None, *, label: str | None = None) -> Axes:
    """The loss of each minibatch, its mean over stretches of 1/100 of the run, and the loss of validation data.

    Args:
        history: of :class:`xpnet.Trainer`.
        ax: the Axes to draw on; by default a new one.
        label: what a run is called, where several are drawn on one Axes: its curves then have the next colour, and are
            one line of the legend.
    """
    ax, losses = axes_or_new(ax), history.losses
    mean, other = (next_colour(ax),) * 2 if label else ("tab:blue", "tab:orange")
    width = max(len(losses) // STRETCHES, 1)
    whole = width == 1  # each mean would be that of one minibatch, and hide it
    thin: dict[str, Any] = {} if whole else {"alpha": 0.1 if label else 0.25, "linewidth": 0.5}
    ax.plot(losses, color=mean, label="minibatch" if not label else label if whole else "_minibatch", **thin)
    if not whole:
        stretches = [losses[i : i + width] for i in range(0, len(losses), width)]
        middles = [i * width + (len(s) - 1) / 2 for i, s in enumerate(stretches)]
        ax.plot(middles, [sum(s) / len(s) for s in stretches], color=mean, label=label or f"mean of {width}")
    points = [(e.iteration, e.validation_loss) for e in history.evaluations]
    points = [(iteration, loss) for iteration, loss in points if loss is not None]
    if points:
        at_ends: dict[str, Any] = {"color": other, "markersize": 3, "label": "_validation" if label else "validation"}
        ax.plot(*zip(*points, strict=True), STYLES["validation"], **at_ends)
    drawn = DASHED if any(line.get_label() == "_validation" for line in ax.lines) else ""
    ax.set(xlabel="iteration", ylabel="loss", title=f"Loss{drawn}", yscale="log")
    ax.legend()
    ax.grid(alpha=0.3)
    return ax


def accuracy_curve(history: Course, ax: Axes | None = None, *, label: str | None = None) -> Axes:
    """Accuracy on training and validation data at the start, after each epoch, and at the end.

    The axis shows the values after the start, so that the two can be told apart; how the start was stands in a corner.
    Arguments as of :func:`loss_curve`.
    """
    return metric_curve(history, ax, metric="accuracy", label=label)


def metric_curve(history: Course, ax: Axes | None = None, *, metric: str, label: str | None = None) -> Axes:
    """One metric of the evaluations, ``"accuracy"`` or ``"r2"``, as :func:`accuracy_curve` draws it.

    Raises:
        ValueError: another metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}, expected one of: {', '.join(METRICS)}")
    ax, name = axes_or_new(ax), METRICS[metric]
    colour = next_colour(ax) if label else None
    starts = []
    for split, style in STYLES.items():
        values = [(e.epoch, getattr(e, f"{split}_{metric}", None)) for e in history.evaluations]
        points = [(epoch, value) for epoch, value in values if value is not None]
        if points:
            shown = split if not label else label if split == "train" else "_validation"
            ax.plot(*zip(*points, strict=True), style, color=colour, markersize=3, label=shown)
            starts += [f"{split} {points[0][1]:.3g}"] if points[0][0] == 0 and len(points) > 1 else []
    drawn = DASHED if any(line.get_label() == "_validation" for line in ax.lines) else ""
    ax.set(xlabel="epoch", ylabel=name, title=f"{name[0].upper()}{name[1:]}{drawn}")
    _zoom(ax, starts if not label else [])
    if ax.lines:
        ax.legend(loc="lower right")
    ax.grid(alpha=0.3)
    return ax


def _zoom(ax: Axes, starts: list[str]) -> None:
    """Show what comes after the start, and say what is left out."""
    curves = [np.asarray(line.get_xydata(), dtype=np.float64) for line in ax.lines]
    later = np.concatenate([np.zeros(0), *(c[1:, 1] if len(c) > 1 else c[:, 1] for c in curves)])
    later = later[np.isfinite(later)]
    if not later.size:
        ax.set_ylim(0, 1.02)
        return
    low, high = float(later.min()), float(later.max())
    margin = max(0.08 * (high - low), 0.002)
    ax.set_ylim(max(low - 4 * margin, min(low, 0.0)), high + 2 * margin)
    below = any(c[0, 1] < ax.get_ylim()[0] for c in curves if len(c))
    if starts and below:
        at: dict[str, Any] = {"transform": ax.transAxes, "fontsize": 8, "color": "#555555", "zorder": 3}
        at["bbox"] = {"facecolor": ax.get_facecolor(), "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
        ax.text(0.02, 0.02, f"at the start: {', '.join(starts)}", **at)


def next_colour(ax: Axes) -> str:
    """The first colour that no line on these Axes has yet."""
    used = {line.get_color() for line in ax.lines}
    return next((f"C{i}" for i in range(10) if f"C{i}" not in used), f"C{len(used) % 10}")


def metric_of(histories: Iterable[Course]) -> str | None:
    """The first metric that one of them has a value of."""
    evaluations = [e for history in histories for e in history.evaluations]
    names = ((m, f"{split}_{m}") for m in METRICS for split in STYLES)
    return next((m for m, name in names for e in evaluations if getattr(e, name, None) is not None), None)


def training_curves(history: Course, *, label: str | None = None) -> Figure:
    """The loss, and beside it the metric that there is: accuracy, or R² where numbers are learned.

    Where there is neither, the loss is alone.
    """
    metric = metric_of([history])
    if metric is None:
        figure, ax = new_figure()
        loss_curve(history, ax, label=label)
        return figure
    figure, (left, right) = new_figure(2)
    loss_curve(history, left, label=label)
    metric_curve(history, right, metric=metric, label=label)
    return figure


def function_curves(
    functions: Mapping[str, Callable[[Array], Array]],
    ax: Axes | None = None,
    *,
    x: Interval = (-5, 5),
    points: int = 501,
    backend: str | Backend | None = None,
) -> Axes:
    """Functions by label, over the same x: ``function_curves({"sigmoid": sigmoid, "ReLU": relu})``.

    Each is called once with all points, an array (points,) of the backend in float64 (float32 where there is no
    float64), and returns as many values. Values that are not finite are gaps.

    Raises:
        TypeError: ``functions`` is no dict of functions.
        ValueError: there are none, one returns another shape or has no finite value, or the range is empty.
    """
    ax = axes_or_new(ax)
    if not isinstance(functions, Mapping):
        raise TypeError(f'functions is of type {type(functions).__name__}, expected a dict: {{"sigmoid": sigmoid}}')
    if not functions:
        raise ValueError('functions is empty, expected at least one: {"sigmoid": sigmoid}')
    xs, make = line(x, points, "x"), Points(backend)
    curves = {label: _values(function, xs, make, label) for label, function in functions.items()}
    # dashes let a curve be seen that runs along another one
    for (label, ys), style in zip(curves.items(), cycle(("-", "--", "-.", ":")), strict=False):
        ax.plot(xs, ys, style, label=label)
    ax.set(xlabel="x", ylabel="y")
    ax.legend()
    ax.grid(alpha=0.3)
    return ax


def _values(function: Callable[[Array], Array], xs: np.ndarray, make: Points, label: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        ys = function(make(xs))
        shape = tuple(getattr(ys, "shape", ()))
        if name_of(ys) is None or shape != xs.shape:
            found = f"an array of shape {shape}" if name_of(ys) else f"a value {describe(ys)}"
            raise ValueError(f"{label} returned {found} for x of shape {xs.shape}, expected the shape of x")
        return with_gaps(to_host(ys), label, f"x from {xs[0]:g} to {xs[-1]:g}")
