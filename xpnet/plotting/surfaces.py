"""Functions of two variables: their contours, their surface, and where their gradient points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.dispatch import Backend
from xpnet.plotting.figures import axes_or_new
from xpnet.plotting.grids import Interval, PointFunction, Points, line, on_grid, vector, with_gaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Of the colours of viridis, those that are dark enough on white; numbers on the lines are in one that is darker still.
DARK, INK = 0.78, "#333333"

#: Axes whose ranges differ by more than this factor are not drawn to one scale, as one would be a sliver.
SLIVER = 4

#: The mean length of an arrow, in steps of the grid.
ARROW = 0.6

#: What a label on a contour keeps clear of at the border, as a share of the range; it would be cut there.
BORDER = 0.05


def gradient_field(
    gradient: Callable[[Array], Array],
    ax: Axes | None = None,
    *,
    x: Interval = (-2, 2),
    y: Interval = (-2, 2),
    points: int = 17,
    backend: str | Backend | None = None,
) -> Axes:
    """Minus the gradient as arrows, which point downhill, on a grid of points by points.

    Args:
        gradient: from a point (2,) to the gradient (2,), both arrays of ``backend``:
            ``lambda p: numerical_gradient(f, p)``.
        ax: the Axes to draw on; by default a new one.
        x, y: the range of each coordinate, (low, high).
        points: how many there are along each axis.
        backend: where points are made; by default the current backend. They are float64, or float32 where there is
            no float64.

    Raises:
        ValueError: an empty range, a gradient of another shape, or one that is finite nowhere.
    """
    ax = axes_or_new(ax)
    xs, ys, make = line(x, points, "x"), line(y, points, "y"), Points(backend)
    with np.errstate(all="ignore"):
        slopes = np.array([[vector(gradient(make([a, b]))) for a in xs] for b in ys], dtype=np.float64)
    slopes[~np.isfinite(slopes).all(axis=-1)] = np.nan
    where = f"x from {xs[0]:g} to {xs[-1]:g}, y from {ys[0]:g} to {ys[-1]:g}"
    downhill = np.ma.masked_invalid(-with_gaps(slopes, "gradient", where))
    # by the mean, as the longest of a function with a pole would leave nothing of the others
    mean = float(np.hypot(downhill[..., 0], downhill[..., 1]).mean())
    scale = mean / (ARROW * min(xs[1] - xs[0], ys[1] - ys[0])) or 1.0
    arrows: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": scale, "color": "tab:blue"}
    ax.quiver(*np.meshgrid(xs, ys), downhill[..., 0], downhill[..., 1], **arrows)
    ax.set(xlabel="x0", ylabel="x1", title="Minus the gradient")
    one_scale(ax, xs, ys)
    return ax


def contours(
    f: PointFunction,
    ax: Axes | None = None,
    *,
    x: Interval = (-4, 4),
    y: Interval = (-4, 4),
    points: int = 101,
    levels: int | Sequence[float] = 12,
    backend: str | Backend | None = None,
) -> Axes:
    """Lines along which f is constant, with its values on them; gaps where f is not finite.

    Both coordinates have one scale, unless one range is over four times the other. The title has the name of f.

    Args:
        f: from a point (2,), an array of ``backend``, to one number: a float or a 0-d array.
        ax: the Axes to draw on; by default a new one.
        x, y: the range of each coordinate, (low, high).
        points: f is evaluated at so many times so many points.
        levels: about how many lines, or the values to draw lines at, in ascending order.
        backend: as in :func:`gradient_field`.

    Raises:
        ValueError: an empty range, no level within the values of f, or an f that returns an array or is finite nowhere.
    """
    ax = axes_or_new(ax)
    xs, ys = line(x, points, "x"), line(y, points, "y")
    draw_contours(ax, xs, ys, on_grid(f, xs, ys, backend), levels)
    ax.set(xlabel="x0", ylabel="x1", title=f"Contours{name_after(f)}")
    one_scale(ax, xs, ys)
    return ax


def one_scale(ax: Axes, xs: Sequence[float] | np.ndarray, ys: Sequence[float] | np.ndarray) -> None:
    """Draw both coordinates to one scale, so that circles are round, unless that would leave a sliver."""
    ratio = (xs[-1] - xs[0]) / (ys[-1] - ys[0])
    ax.set_aspect("equal" if 1 / SLIVER <= ratio <= SLIVER else "auto")


def name_after(f: Any) -> str:
    """What a title says after its first word: `` of bowl`` for a function of that name."""
    name = getattr(f, "__name__", "<lambda>")
    return "" if name == "<lambda>" else f" of {name}"


def draw_contours(
    ax: Axes, xs: np.ndarray, ys: np.ndarray, values: np.ndarray, levels: int | Sequence[float], alpha: float = 1.0
) -> None:
    """Contour lines of values (len(ys), len(xs)), labelled."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low == high:
        ax.text(0.5, 0.5, f"{low:.4g} everywhere", transform=ax.transAxes, ha="center", va="center")
        ax.set(xlim=(xs[0], xs[-1]), ylim=(ys[0], ys[-1]))
        return
    if isinstance(levels, Sequence | np.ndarray) and not any(low <= level <= high for level in levels):
        raise ValueError(f"levels is {list(levels)}, and f is from {low:.4g} to {high:.4g}; give levels between those")
    style: dict[str, Any] = {"cmap": dark_colours(), "linewidths": 1.0, "alpha": alpha, "zorder": 1.5}
    drawn = ax.contour(xs, ys, np.ma.masked_invalid(values), levels=levels, **style)
    for text in ax.clabel(drawn, fontsize=7, fmt="%.4g", inline=False, zorder=1.6, colors=INK):
        x, y = ((at - ends[0]) / (ends[-1] - ends[0]) for at, ends in zip(text.get_position(), (xs, ys), strict=True))
        text.set_visible(min(x, y) >= BORDER and max(x, y) <= 1 - BORDER)
        text.set_bbox({"facecolor": ax.get_facecolor(), "edgecolor": "none", "pad": 0.6})


def dark_colours() -> Any:
    """The colour map of contours: viridis without the yellow, which nobody reads on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](np.linspace(0, DARK, 256)), "dark viridis")


def surface(
    f: PointFunction,
    ax: Axes | None = None,
    *,
    x: Interval = (-4, 4),
    y: Interval = (-4, 4),
    points: int = 61,
    backend: str | Backend | None = None,
) -> Axes:
    """f as a surface in three dimensions, and its contours on the floor below; gaps where f is not finite.

    Args:
        f: from a point (2,), an array of ``backend``, to one number: a float or a 0-d array.
        ax: an Axes with a 3-D projection, ``new_figure(projection="3d")[1]``; by default a new one.
        x, y, points: as in :func:`contours`.
        backend: as in :func:`gradient_field`.

    Raises:
        ValueError: Axes without 3-D projection, an empty range, or an f that returns an array or is finite nowhere.
    """
    ax = axes_or_new(ax, "3d")
    space: Any = ax  # whose methods for three dimensions its type does not tell of
    if space.name != "3d":
        raise ValueError(
            f"surface needs Axes with a 3-D projection, and these are {space.name}; make them with "
            '_, ax = new_figure(projection="3d")'
        )
    xs, ys = line(x, points, "x"), line(y, points, "y")
    values = on_grid(f, xs, ys, backend)
    grid = np.meshgrid(xs, ys)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    floor = low - 0.4 * (high - low)
    space.plot_surface(*grid, values, rcount=points, ccount=points, cmap="viridis", linewidth=0, antialiased=False)
    if low < high:
        space.contour(*grid, np.ma.masked_invalid(values), levels=12, zdir="z", offset=floor, cmap=dark_colours())
        space.set_zlim(floor, high)
        space.set_zticks([tick for tick in space.get_zticks() if low <= tick <= high])
    space.locator_params(axis="x", nbins=5)
    space.locator_params(axis="y", nbins=5)
    space.set(xlabel="x0", ylabel="x1", zlabel="f", title=f"Surface{name_after(f)}")
    return ax
