"""What goes into a network and what its layers make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, isqrt, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet._checks import check_count
from xpnet._typing import Array
from xpnet.plotting.figures import axes_or_new, resize
from xpnet.plotting.grids import to_host
from xpnet.validation import as_input

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The width and the height of a cell of the grid, for images of width and height 1: the rest is for the label.
CELL = (1.15, 1.4)


def digits(images: Array, t: Array, predicted: Array | None = None, ax: Axes | None = None, *, count: int = 25) -> Axes:
    """A grid of images with their labels: ``5``, or ``5 → 3`` in red where 3 was predicted for a 5.

    Args:
        images: (N, 784), another square number of pixels, or (N, height, width); shown from their lowest value, white,
            to their highest, black.
        t: labels (N,), integers.
        predicted: the labels (N,) that a network predicted, integers; those that are wrong are shown first.
        ax: the Axes to draw on; by default a new one.
        count: how many images are shown at most.

    Raises:
        TypeError: no arrays.
        ValueError: another shape, another number of labels, or labels that are not integers.
    """
    given, ax = ax, axes_or_new(ax)
    pictures = as_pictures(to_host(images))
    truth = as_labels(t, "t", len(pictures))
    guess = truth if predicted is None else as_labels(predicted, "predicted", len(pictures))
    order = np.argsort(truth == guess, kind="stable")[: check_count(count, "count")]
    wrong = (truth != guess)[order]
    texts = [f"{truth[i]} → {guess[i]}" if bad else f"{truth[i]}" for i, bad in zip(order, wrong, strict=True)]
    draw_grid(ax, pictures[order], texts, ["tab:red" if bad else "black" for bad in wrong], fit=given is None)
    if predicted is not None:
        ax.set_title(f"{int((truth != guess).sum())} of {len(truth)} misclassified")
    return ax


def draw_grid(
    ax: Axes, pictures: np.ndarray, texts: Sequence[str], colors: Sequence[str], *, fit: bool, letters: int = 5
) -> None:
    """Pictures (N, height, width) as a grid, each with a text of about so many letters above it.

    ``fit`` says whether the figure may be made as large as the grid needs it.
    """
    columns = ceil(sqrt(len(pictures)))
    rows = ceil(len(pictures) / columns)
    if fit:
        scale = max(1.0, letters / 9)
        resize(ax, max(3.5, 0.85 * scale * columns), max(2.0, scale * rows) + 0.3)
    size = _font_size(ax, columns, rows, letters)
    finite = pictures[np.isfinite(pictures)]
    shades = {"vmin": finite.min(initial=0), "vmax": finite.max(initial=0) or 1, "cmap": "gray_r"}
    for place, (picture, text, color) in enumerate(zip(pictures, texts, colors, strict=True)):
        row, column = divmod(place, columns)
        left, bottom = column * CELL[0] + (CELL[0] - 1) / 2, (row + 1) * CELL[1]
        ax.imshow(picture, extent=(left, left + 1, bottom, bottom - 1), **shades)
        ax.text(left + 0.5, bottom - 1.04, text, color=color, fontsize=size, ha="center", va="bottom")
    ax.set(xlim=(0, columns * CELL[0]), ylim=(rows * CELL[1], 0), aspect="equal")
    ax.set_axis_off()


def as_pictures(images: np.ndarray) -> np.ndarray:
    side = isqrt(images.shape[1]) if images.ndim == 2 else 0
    if 0 in images.shape or not (images.ndim == 3 or (side and side * side == images.shape[1])):
        raise ValueError(
            f"images has shape {images.shape}, expected (N, 784), (N, 28, 28) or (N, height, width), N at least 1; "
            "a row of pixels is taken as a square"
        )
    return images if images.ndim == 3 else images.reshape(-1, side, side)


def as_labels(labels: Array, name: str, samples: int) -> np.ndarray:
    found = to_host(labels)
    if found.shape != (samples,):
        raise ValueError(
            f"{name} has shape {found.shape}, expected the label of each of {samples} images, ({samples},); "
            "xp.argmax(..., axis=1) makes labels of scores and of one-hot rows"
        )
    if found.dtype.kind not in "iu":
        raise ValueError(f"{name} has labels of dtype {found.dtype}, expected integers")
    return found


def _font_size(ax: Axes, columns: int, rows: int, letters: int) -> float:
    """In points, so that a label of so many letters, such as 5 → 3, stays within its cell."""
    box = ax.get_window_extent()
    cell = min(box.width / (columns * CELL[0]), box.height / (rows * CELL[1])) * 72 / ax.figure.dpi
    return min(0.3 * cell * min(1, 6 / letters), 11)


def activations(net: Any, x: Array) -> dict[str, Array]:
    """The output of every layer by the layer's name, in order, for samples x (N, ...) or one sample (inputs,).

    Outputs are arrays of the network's backend with N rows; a sample alone is a batch of one.

    Raises:
        TypeError: no network, or x of another backend, or of integers or complex numbers.
        ValueError: x is on another device, is empty or has another number of columns.
    """
    if not (hasattr(net, "layers") and hasattr(net, "params")):
        raise TypeError(f"net is of type {type(net).__name__}, expected a network: activations(net, x)")
    x = as_input(x, net.backend, net.dtype, takes=net.chain.takes)
    if x.ndim == 1 and net.chain.takes != "integers":
        x = x[None, :]
    x, arrays, outputs = net.as_floating(x), net.own_arrays(), {}
    for part in net.chain.parts:
        x = part.layer.predict(part.view(arrays), x)
        outputs[part.name] = x
    return outputs


def activation_histograms(
    activations: Mapping[str, Array], ax: Axes | None = None, *, bins: int | Sequence[float] = 30
) -> Axes:
    """How the outputs of each layer are distributed: a histogram each, side by side, with the same vertical scale.

    Args:
        activations: arrays of any shape and backend by the layer's name, as :func:`activations` makes them. Values that
            are not finite are counted in the title and are in no bin.
        ax: the Axes to draw on; by default a new one. The histograms are its ``child_axes``.
        bins: how many from the lowest to the highest value of a layer, or the edges for all layers.

    Raises:
        TypeError: no dict of arrays.
        ValueError: it is empty, or a layer has no finite value.
    """
    given, ax = ax, axes_or_new(ax)
    if not isinstance(activations, Mapping):
        raise TypeError(
            f"activations is of type {type(activations).__name__}, expected a dict of arrays by layer; make one with "
            "activations(net, x)"
        )
    if not activations:
        raise ValueError("activations is empty, expected at least one array by its layer's name")
    values = {name: to_host(a).ravel() for name, a in activations.items()}
    counted = {name: _counted(_finite(v, name).astype(np.float64), bins) for name, v in values.items()}
    if given is None:
        resize(ax, max(5.5, 1.5 * len(values)), 4)
    top = 1.05 * max(counts.max() for counts, _ in counted.values()) or 1
    width = 1 / len(values)
    for i, (name, (counts, edges)) in enumerate(counted.items()):
        panel = ax.inset_axes((i * width, 0, 0.88 * width, 0.9), ylim=(0, top))  # below a title of ax
        panel.stairs(counts, edges, fill=True, color="tab:blue")
        left_out = int((~np.isfinite(values[name])).sum())
        panel.set_title(f"{name}\n({left_out} not finite)" if left_out else name, fontsize=9)
        panel.set_xlabel("output", fontsize=8)
        panel.tick_params(labelsize=7, labelleft=i == 0)
        panel.locator_params(axis="x", nbins=3)
    ax.child_axes[-len(values)].set_ylabel("count", fontsize=8)
    ax.set_axis_off()
    return ax


def _counted(values: np.ndarray, bins: int | Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """A histogram, also of values that are so nearly the same that bins between them would have no width."""
    low, high = values.min(), values.max()
    if np.ndim(bins) == 0 and high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - max(abs(low), 1) / 2, high + max(abs(high), 1) / 2
    return np.histogram(values, bins, range=(low, high))


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    finite: np.ndarray = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError(f"{name} has {values.size} values and none of them is finite; there is nothing to count")
    return finite
