"""Figures that are tied to no window, and the files made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpnet.serialization.atomic import file_path_of, write_bytes
from xpnet.streams import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSTALL = 'pip install "xpnet[plot]"'

SUFFIXES = (".png", ".svg", ".pdf")


class PlottingUnavailableError(ImportError):
    """matplotlib is not installed, or cannot be imported."""


def new_figure(columns: int = 1, projection: str | None = None, *, rows: int = 1) -> tuple[Figure, Any]:
    """A figure with so many Axes beside each other and below each other, tied to no window; notebooks show both.

    Args:
        columns, rows: how many; the second value returned is one Axes, or an array of them if there are more.
        projection: ``"3d"`` for Axes that :func:`surface` can draw on.

    Raises:
        PlottingUnavailableError: matplotlib is not installed; the message says which install draws.
    """
    try:
        from matplotlib.figure import Figure  # noqa: F401  (which is asked for at each call: it may be gone)

        from xpnet.plotting.shown import Picture, Plane, Space
    except ImportError as error:
        raise PlottingUnavailableError(f"drawing needs matplotlib ({error}); {INSTALL}") from error
    except Exception as error:  # where there is no home for its settings, for example
        raise PlottingUnavailableError(f"matplotlib cannot be imported: {type(error).__name__}: {error}") from error
    figure: Figure = Picture(figsize=(5.5 * columns, 4 * rows), layout="constrained")
    kind: Any = {None: {"axes_class": Plane}, "3d": {"axes_class": Space}}.get(projection, {"projection": projection})
    return figure, figure.subplots(rows, columns, subplot_kw=kind)


def axes_or_new(ax: Axes | None, projection: str | None = None) -> Axes:
    """The Axes given, or the one of a new figure."""
    if ax is None:
        made: Axes = new_figure(projection=projection)[1]
        return made
    if not hasattr(ax, "transAxes"):
        raise TypeError(f"ax is of type {type(ax).__name__}, expected one Axes of matplotlib; of an array, axes[0, 0]")
    if projection is None and ax.name == "3d":
        raise ValueError("ax is a 3-D Axes, and this is drawn on a plane one; give another, or none")
    return ax


def resize(ax: Axes, width: float, height: float) -> None:
    """Give the figure of these Axes another size, in inches."""
    figure: Any = ax.figure
    figure.set_size_inches(width, height)


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    from xpnet.plotting.shown import rendered

    return rendered(figure, "png")


def save(picture: Axes | Figure, path: str | Path) -> Path:
    """Write a picture as the file that its suffix says: ``.png``, ``.svg`` or ``.pdf``.

    The file is there whole or not at all, and a folder that is missing is made. An Axes is written with all the figure
    that it is part of.

    Raises:
        TypeError: neither an Axes nor a Figure.
        ValueError: another suffix.
        OSError: the file cannot be written.
    """
    path = file_path_of(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        found = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise ValueError(f"{printable(path)} has {found}; a picture is written as one of: {', '.join(SUFFIXES)}")
    figure = getattr(getattr(picture, "figure", None), "figure", None)  # an Axes may be part of a part of a figure
    if figure is None:
        raise TypeError(f"picture is of type {type(picture).__name__}, expected an Axes or a Figure of matplotlib")
    from xpnet.plotting.shown import rendered

    data = rendered(figure, suffix[1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)
    return path
