"""Figures and Axes that a notebook shows by itself, without ``%matplotlib inline``.

Importing this imports matplotlib.
"""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D  # type: ignore[import-untyped]

#: Dots an inch of every picture.
DPI = 120


def rendered(figure: Any, form: str) -> bytes:
    """The figure as the bytes of a file."""
    file = io.BytesIO()
    figure.savefig(file, format=form, dpi=DPI)
    return file.getvalue()


class _Shown:
    """What a notebook calls of an Axes: the picture is the whole figure that it is part of."""

    figure: Any

    def _repr_png_(self) -> bytes:
        return rendered(self.figure.figure, "png")  # an Axes may be part of a part of a figure


class Picture(Figure):
    """A figure that is tied to no window, and shown where it is the last value of a cell."""

    def _repr_png_(self) -> bytes:
        return rendered(self, "png")


class Plane(_Shown, Axes):
    """Axes of two dimensions."""


class Space(_Shown, Axes3D):  # type: ignore[misc]
    """Axes of three dimensions."""
