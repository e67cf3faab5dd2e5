"""Pictures. Every function draws on the Axes it is given, or on a new one, and returns it; nothing needs a screen.

matplotlib is an extra, ``pip install "xpnet[plot]"``, and is imported when something is drawn.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from xpnet.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSTALL = 'pip install "xpnet[plot]"'


class PlottingUnavailableError(ImportError):
    """matplotlib is not installed, or cannot be imported."""


def new_figure(columns: int = 1) -> tuple[Figure, Any]:
    """A figure with so many Axes beside each other, tied to no window.

    Raises:
        PlottingUnavailableError: matplotlib is not installed; the message says which install draws.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlottingUnavailableError(f"drawing needs matplotlib ({error}); {INSTALL}") from error
    figure = Figure(figsize=(5.5 * columns, 4), layout="constrained")
    return figure, figure.subplots(1, columns)


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()


def loss_curve(history: History, ax: Axes | None = None) -> Axes:
    """The loss of each minibatch, and its mean over stretches of 1/100 of the run."""
    ax = _axes(ax)
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


def accuracy_curve(history: History, ax: Axes | None = None) -> Axes:
    """Train and test accuracy at the start, after each epoch, and at the end."""
    ax = _axes(ax)
    for name, style in (("train", "o-"), ("test", "s--")):
        points = [(e.epoch, rate) for e in history.evaluations if (rate := getattr(e, name)) is not None]
        if points:
            ax.plot(*zip(*points, strict=True), style, markersize=3, label=name)
    ax.set(xlabel="epoch", ylabel="accuracy", title="Accuracy", ylim=(0, 1.02))
    if ax.lines:
        ax.legend(loc="lower right")
    ax.grid(alpha=0.3)
    return ax


def training_curves(history: History) -> Figure:
    """Loss and accuracy beside each other."""
    figure, (left, right) = new_figure(2)
    loss_curve(history, left)
    accuracy_curve(history, right)
    return figure


def _axes(ax: Axes | None) -> Axes:
    return new_figure()[1] if ax is None else ax
