"""Curves over one variable: what a training left behind, and functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def loss_curve(history: Course, ax: Axes | None = None) -> Axes:
    """The loss of each minibatch, and its mean over stretches of 1/100 of the run."""
    ax = axes_or_new(ax)
    losses = history.losses
    ax.plot(losses, color="tab:blue", alpha=0.25, linewidth=0.5, label="minibatch")
    width = max(len(losses) // 100, 1)
    stretches = [losses[i : i + width] for i in range(0, len(losses), width)]
    middles = [i * width + (len(s) - 1) / 2 for i, s in enumerate(stretches)]
    ax.plot(middles, [sum(s) / len(s) for s in stretches], color="tab:blue", label=f"mean of {width}")
    ax.set(xlabel="iteration", ylabel="loss", title="Loss", yscale="log")
    ax.legend()
    ax.grid(alpha=0.3)
    return ax


def accuracy_curve(history: Course, ax: Axes | None = None) -> Axes:
    """Accuracy on training and validation data at the start, after each epoch, and at the end."""
    ax = axes_or_new(ax)
    for name, style in (("train", "o-"), ("validation", "s--")):
        rates = [(e.epoch, getattr(e, f"{name}_accuracy")) for e in history.evaluations]
        points = [(epoch, rate) for epoch, rate in rates if rate is not None]
        if points:
            ax.plot(*zip(*points, strict=True), style, markersize=3, label=name)
    ax.set(xlabel="epoch", ylabel="accuracy", title="Accuracy", ylim=(0, 1.02))
    if ax.lines:
        ax.legend(loc="lower right")
    ax.grid(alpha=0.3)
    return ax


def training_curves(history: Course) -> Figure:
    """Loss and accuracy beside each other."""
    figure, (left, right) = new_figure(2)
    loss_curve(history, left)
    accuracy_curve(history, right)
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
