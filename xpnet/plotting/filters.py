"""What a convolution looks for, and what it finds: its filters, and the images that it makes of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xpnet._checks import check_count
from xpnet._typing import Array
from xpnet.plotting.figures import axes_or_new, resize
from xpnet.plotting.grids import to_host

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The width of a cell of the grid, for pictures of width 1.
CELL = 1.12


def filters(W: Array, ax: Axes | None = None, *, count: int = 64) -> Axes:
    """The filters of a convolution as a grid of pictures, all in the same shades: the darker, the larger.

    Filters of one channel stand one after the other; those of several have a row each, with a picture for each channel.

    Args:
        W: the weights of a convolution, (out_channels, in_channels, height, width): ``net.params["W1"]``.
        ax: the Axes to draw on; by default a new one.
        count: how many filters are shown at most, and how many channels of each.

    Raises:
        TypeError: no array.
        ValueError: another shape, or no finite number in it.
    """
    kernels = _finite(to_host(W), 4, "W", "(out_channels, in_channels, height, width), as Conv2d has its W")
    count = check_count(count, "count")
    shown = kernels[:count, :count]
    columns = None if shown.shape[1] == 1 else shown.shape[1]
    ax = _grid(shown.reshape(-1, *shown.shape[2:]), columns, ax)
    more = f", the first {len(shown)}" if len(shown) < len(kernels) else ""
    ax.set_title(f"{len(kernels)} filters, {kernels.shape[2]} by {kernels.shape[3]}{more}")
    return ax


def feature_maps(maps: Array, ax: Axes | None = None, *, count: int = 64) -> Axes:
    """What a layer makes of one image, a picture for each channel, all in the same shades: the darker, the larger.

    Args:
        maps: (C, H, W), or (1, C, H, W): ``activations(net, x)["Conv1"][0]``.
        ax: the Axes to draw on; by default a new one.
        count: how many channels are shown at most.

    Raises:
        TypeError: no array.
        ValueError: another shape, or no finite number in it.
    """
    found = to_host(maps)
    found = found[0] if found.ndim == 4 and len(found) == 1 else found
    found = _finite(found, 3, "maps", 'those of one image, (C, H, W): activations(net, x)["Conv1"][0]')
    shown = found[: check_count(count, "count")]
    ax = _grid(shown, None, ax)
    more = f", the first {len(shown)}" if len(shown) < len(found) else ""
    ax.set_title(f"{len(found)} channels, {found.shape[1]} by {found.shape[2]}{more}")
    return ax


def _finite(found: np.ndarray, ndim: int, name: str, wanted: str) -> np.ndarray:
    if found.ndim != ndim or not found.size:
        raise ValueError(f"{name} has shape {found.shape}, expected {wanted}")
    if not np.isfinite(found).any():
        raise ValueError(f"{name} is NaN or infinite everywhere; there is nothing to show")
    return found


def _grid(pictures: np.ndarray, columns: int | None, ax: Axes | None) -> Axes:
    """Pictures (N, height, width) with so many in a row, or about as many rows as columns."""
    given, ax = ax, axes_or_new(ax)
    columns = columns or int(np.ceil(np.sqrt(len(pictures))))
    rows = -(-len(pictures) // columns)
    finite = pictures[np.isfinite(pictures)]
    low, high = float(finite.min()), float(finite.max())
    aspect = pictures.shape[1] / pictures.shape[2]
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        left, bottom = column * CELL, row * (aspect + CELL - 1) + aspect
        extent = (left, left + 1, bottom, bottom - aspect)
        ax.imshow(picture, extent=extent, vmin=low, vmax=high if high > low else low + 1, cmap="gray_r")
    width, height = columns * CELL - CELL + 1, rows * (aspect + CELL - 1) - CELL + 1
    if given is None:
        scale = min(0.7, 9 / width, 9 / height)
        resize(ax, max(3.0, scale * width), max(2.0, scale * height) + 0.4)
    ax.set(xlim=(-0.06, width + 0.06), ylim=(height + 0.06, -0.06), aspect="equal")
    ax.set_axis_off()
    return ax
