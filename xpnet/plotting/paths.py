"""The ways that descents took, on the contours of what they descended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.dispatch import Backend, describe, name_of
from xpnet.plotting.figures import axes_or_new
from xpnet.plotting.grids import Interval, PointFunction, check_interval, line, on_grid, to_host
from xpnet.plotting.surfaces import draw_contours, name_after, one_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: So many times as far as the starts are from the origin, and a path that still takes longer steps runs away.
FAR = 10

#: So many times as far is shown of paths that all run away.
NEAR = 2

#: Widths of the last path and of the first of several.
THIN, THICK = 1.2, 2.2

#: More than any picture shows; what is further away would overflow where positions on the page are computed.
LARGEST = 1e30


def descent_paths(
    f: PointFunction,
    paths: Mapping[str, Array] | Array,
    ax: Axes | None = None,
    *,
    x: Interval | None = None,
    y: Interval | None = None,
    points: int = 101,
    levels: int | Sequence[float] = 12,
    backend: str | Backend | None = None,
) -> Axes:
    """Contours of f, and on them one or several paths, each from its start to its last finite point.

    Args:
        f: from a point (2,), an array of ``backend``, to one number: a float or a 0-d array.
        paths: the points (steps + 1, 2) of one descent, or several of them by label; arrays of any backend.
        ax: the Axes to draw on; by default a new one.
        x, y: the range of each coordinate, (low, high); by default what holds all paths but those that run away.
        points, levels: as in :func:`contours`.
        backend: where the points that f is given are made, as in :func:`gradient_field`.

    Raises:
        TypeError: a path is no array.
        ValueError: no path, one of another shape or whose start is not finite, or what :func:`contours` refuses.
    """
    ax = axes_or_new(ax)
    paths = getattr(paths, "path", paths)  # all that gradient_descent returned may be given
    labelled = isinstance(paths, Mapping)
    named = dict(paths) if labelled else {"": paths}
    if not named:
        raise ValueError('paths is empty, expected points (steps + 1, 2), or a dict of them: {"SGD": points}')
    arrays = {label: _checked(getattr(path, "path", path), label) for label, path in named.items()}
    box = limits(list(arrays.values()))
    x, y = (check_interval(b if given is None else given, n) for given, b, n in ((x, box[0], "x"), (y, box[1], "y")))
    xs, ys = line(x, points, "x"), line(y, points, "y")
    draw_contours(ax, xs, ys, on_grid(f, xs, ys, backend), levels, alpha=0.6)
    for i, (label, path) in enumerate(arrays.items()):
        # thinner and thinner, so that a way is seen under another one
        width = THIN + (THICK - THIN) * (len(arrays) - 1 - i) / max(len(arrays) - 1, 1)
        _draw_path(ax, path, label, f"C{i % 10}" if labelled else "tab:red", width)
    for marker, name in (("o", "start"), ("*", "end")):
        ax.plot([], [], marker, color="black", markerfacecolor="white", label=name)
    ax.set(xlabel="x0", ylabel="x1", title=f"Descent{name_after(f)}", xlim=x, ylim=y)
    one_scale(ax, x, y)
    ax.legend(fontsize="small")
    return ax


def _checked(path: Any, label: str) -> np.ndarray:
    name = f"the path {label!r}" if label else "the path"
    if name_of(path) is None:
        raise TypeError(f"{name} is {describe(path)}, expected an array of points (steps + 1, 2): numpy.asarray(...)")
    points = np.asarray(to_host(path), dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"{name} has shape {points.shape}, expected points (steps + 1, 2)")
    if not (np.abs(points[0]) <= LARGEST).all():
        raise ValueError(f"{name} starts at {points[0].tolist()}, expected a finite point, within {LARGEST:g}")
    return np.where(np.abs(points) <= LARGEST, points, np.nan)


def _draw_path(ax: Axes, path: np.ndarray, label: str, color: str, width: float) -> None:
    ax.plot(path[:, 0], path[:, 1], ".-", color=color, markersize=3 + width, linewidth=width, label=label or None)
    finite = path[np.isfinite(path).all(axis=1)]
    style: dict[str, Any] = {"color": color, "markerfacecolor": "white", "label": "_", "zorder": 3}
    ax.plot(*finite[0], "o", markersize=7, **style)
    ax.plot(*finite[-1], "*", markersize=11, **style)


def limits(paths: Sequence[np.ndarray]) -> tuple[Interval, Interval]:
    """What is shown of each coordinate: all points, with a margin; of a path that runs away, its start at least."""
    starts = np.stack([path[0] for path in paths])
    scale = float(np.abs(starts).max()) or 1.0
    tame = [path for path in paths if not _runs_away(path, scale)]
    if not tame:
        near = [np.clip(path, path[0] - NEAR * scale, path[0] + NEAR * scale) for path in paths]
        tame = [path[np.isfinite(path).all(axis=1)] for path in near]
    shown = np.concatenate([starts, *tame])
    low, high = shown.min(axis=0), shown.max(axis=0)
    extent = high - low
    # a path along one axis has no width, and one that stands still has neither
    extent = np.maximum(extent, 0.2 * extent.max() or 1.0)
    middle = (low + high) / 2
    (x0, y0), (x1, y1) = middle - 0.6 * extent, middle + 0.6 * extent
    return (float(x0), float(x1)), (float(y0), float(y1))


def _runs_away(path: np.ndarray, scale: float) -> bool:
    if not np.isfinite(path).all():
        return True
    steps = np.abs(np.diff(path, axis=0)).max(axis=1)
    return bool(np.abs(path - path[0]).max() > FAR * scale and steps[-1] > steps[0])
