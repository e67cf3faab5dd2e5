"""A sweep: what came of which settings, and the courses of the best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

from xpnet.plotting.curves import DASHED, Course, loss_curve
from xpnet.plotting.figures import axes_or_new, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: From this ratio of the largest to the smallest on, positive numbers are drawn by their powers of ten.
DECADE = 10.0
BEST = 5


class Trial(Protocol):
    """What is drawn of a network of a sweep."""

    @property
    def number(self) -> int: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def diverged(self) -> int | None: ...
    @property
    def history(self) -> Course: ...
    @property
    def last(self) -> Any: ...


class Result(Protocol):
    """What is drawn of a sweep."""

    @property
    def trials(self) -> Sequence[Trial]: ...
    @property
    def ranked(self) -> Sequence[Trial]: ...
    @property
    def criterion(self) -> str: ...


def sweep_map(result: Result, ax: Axes | None = None, *, names: Sequence[str] | None = None) -> Axes:
    """Two settings against each other, each network a dot in the colour of its result; a cross has diverged.

    Of one setting, the result over it. Numbers that span more than a factor of ten are on logarithmic axes.

    Args:
        result: of :func:`xpnet.sweep`.
        ax: where to draw; by default a new figure.
        names: one or two settings that are numbers; by default the first that take several values.

    Raises:
        ValueError: a name is no setting of numbers, or there is none.
    """
    ax = axes_or_new(ax)
    names = _told(result, names)
    at = [[float(trial.settings[name]) for trial in result.trials] for name in names]
    values = [float(getattr(trial.last, result.criterion)) for trial in result.trials]
    fine = [trial.diverged is None and isfinite(value) for trial, value in zip(result.trials, values, strict=True)]
    label = result.criterion.replace("_", " ")
    ys, told = (at[1], names[1]) if len(names) > 1 else (values, label)

    def of(which: Iterable[Any], keep: bool) -> list[Any]:
        return [value for value, good in zip(which, fine, strict=True) if good is keep]

    colours: dict[str, Any] = {"c": of(values, True), "cmap": "viridis"} if len(names) > 1 else {"color": "tab:blue"}
    dots = ax.scatter(of(at[0], True), of(ys, True), edgecolors="#333333", linewidths=0.5, zorder=2, **colours)
    if not all(fine):
        ax.scatter(of(at[0], False), of(ys, False), marker="x", color="tab:red", label="diverged", zorder=2)
        ax.legend()
    if len(names) > 1 and any(fine):
        ax.figure.colorbar(dots, ax=ax, label=label)
    _scale(ax.set_xscale, ax.xaxis, at[0])
    if len(names) > 1:
        _scale(ax.set_yscale, ax.yaxis, at[1])
    ax.set(xlabel=names[0], ylabel=told, title=f"{len(values)} network{'s' if len(values) > 1 else ''}")
    ax.grid(alpha=0.3)
    return ax


def best_curves(result: Result, ax: Axes | None = None, *, most: int = BEST) -> Axes:
    """The course of the best networks, so many at most, with their settings.

    It is that of the result if it was evaluated in between, else that of the loss.
    """
    ax, best = axes_or_new(ax), result.ranked[:most]
    between = len(best[0].history.evaluations) > 2
    for trial in best:
        points = [(e.iteration, getattr(e, result.criterion)) for e in trial.history.evaluations]
        told = ", ".join(f"{name} {_short(value)}" for name, value in trial.settings.items())
        if between:
            ax.plot(*zip(*points, strict=True), "o-", markersize=3, label=told)
        else:
            loss_curve(trial.history, ax, label=told)
    if between:
        ax.set(xlabel="iteration", ylabel=result.criterion.replace("_", " "))
    dashed = DASHED if not between and best[0].last.validation_loss is not None else ""
    ax.set_title((f"The best {len(best)}" if len(best) > 1 else "The best") + dashed)
    ax.legend(fontsize=8)
    ax.grid(alpha=0.3)
    return ax


def sweep_figure(result: Result) -> Figure:
    """:func:`sweep_map` and :func:`best_curves` beside each other; the curves alone where no setting is a number."""
    if not _numeric(result):
        figure, right = new_figure()
    else:
        figure, (left, right) = new_figure(2)
        sweep_map(result, left)
    best_curves(result, right)
    return figure


def _told(result: Result, names: Sequence[str] | None) -> list[str]:
    """One or two settings to draw, looked at."""
    known = _numeric(result)
    found = known[:2] if names is None else [names] if isinstance(names, str) else list(names)
    if not 0 < len(found) < 3 or not set(found) <= set(known):
        raise ValueError(f"names is {names!r}, expected one or two settings that are numbers: {known}")
    return found


def _numeric(result: Result) -> list[str]:
    """Settings that are numbers, those with several values first."""
    rows = [trial.settings for trial in result.trials]
    names = [n for n in rows[0] if all(isinstance(r[n], int | float) and not isinstance(r[n], bool) for r in rows)]
    varied = [name for name in names if len({row[name] for row in rows}) > 1]
    floats = [name for name in varied if any(isinstance(row[name], float) for row in rows)]
    return list(dict.fromkeys([*floats, *varied, *names]))


def _scale(put: Any, axis: Any, values: Sequence[float]) -> None:
    if min(values) > 0 and max(values) > DECADE * min(values):
        put("log")
    elif min(values) >= 0 and max(values) > 0 and sorted(values)[len(values) // 2] < max(values) / DECADE:
        put("symlog", linthresh=min(value for value in values if value > 0))
    elif all(value.is_integer() for value in values):  # seeds, for example
        axis.get_major_locator().set_params(integer=True)


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
