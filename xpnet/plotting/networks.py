"""What goes into a network and what its layers make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, isqrt, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet._checks import check_count
from xpnet._typing import Array
from xpnet.plotting.figures import axes_or_new, resize
from xpnet.plotting.grids import Interval, check_interval, to_host
from xpnet.validation import as_input

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The ranges of a sigmoid and of tanh.
BOUNDED = ((0.0, 1.0), (-1.0, 1.0))

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
        if wrong.any():
            explain(ax, "true → predicted; those that are wrong come first")
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


def explain(ax: Axes, words: str) -> None:
    """A legend below the grid: what the texts mean."""
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "borderaxespad": 0.2}
    ax.legend(handles=[], title=words, title_fontsize=8, frameon=False, **below)


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
    activations: Mapping[str, Array],
    ax: Axes | None = None,
    *,
    bins: int | Sequence[float] = 30,
    x: Interval | None = None,
) -> Axes:
    """How the outputs of each layer are distributed: a histogram each, side by side, with the same scales.

    Args:
        activations: arrays of any shape and backend by the layer's name, as :func:`activations` makes them. Values that
            are not finite are counted in the title and are in no bin.
        ax: the Axes to draw on; by default a new one. The histograms are its ``child_axes``.
        bins: how many, or the edges; the same for all layers.
        x: the range of the bins, (low, high), and of the horizontal axes. By default it holds the values of all layers;
            where they are within 0 and 1, or -1 and 1, it is that, so that outputs of a sigmoid or of tanh that are all
            nearly the same look like it.

    Raises:
        TypeError: no dict of arrays.
        ValueError: it is empty, a layer has no finite value, or ``x`` is an empty range.
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
    finite = {name: _finite(v, name).astype(np.float64) for name, v in values.items()}
    ends = None if x is None else check_interval(x, "x")
    edges = np.asarray(bins, dtype=np.float64)
    if not edges.ndim:
        edges = np.linspace(*(ends or _range(finite)), check_count(bins, "bins") + 1)
    sides = _wider(ends or (edges[0], edges[-1]))
    counted = {name: np.histogram(v, edges) for name, v in finite.items()}
    if given is None:
        resize(ax, max(5.5, 1.5 * len(values)), 4)
    top = 1.05 * max(counts.max() for counts, _ in counted.values()) or 1
    width = 1 / len(values)
    for i, (name, (counts, edges)) in enumerate(counted.items()):
        panel = ax.inset_axes((i * width, 0, 0.88 * width, 0.9), ylim=(0, top), xlim=sides)  # below a title of ax
        panel.stairs(counts, edges, fill=True, color="tab:blue")
        left_out = int((~np.isfinite(values[name])).sum())
        panel.set_title(f"{name}\n({left_out} not finite)" if left_out else name, fontsize=9)
        panel.set_xlabel("output", fontsize=8)
        panel.tick_params(labelsize=7, labelleft=i == 0)
        panel.locator_params(axis="x", nbins=3)
    ax.child_axes[-len(values)].set_ylabel("count", fontsize=8)
    ax.set_axis_off()
    return ax


def _range(values: Mapping[str, np.ndarray]) -> Interval:
    """What holds all values: the range of a sigmoid or of tanh if it does, else from the lowest to the highest."""
    low, high = min(float(v.min()) for v in values.values()), max(float(v.max()) for v in values.values())
    known = next((ends for ends in BOUNDED if ends[0] <= low and high <= ends[1] and low < high), None)
    if known is not None:
        return known
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # so nearly the same that bins would have no width
        return low - max(abs(low), 1) / 2, high + max(abs(high), 1) / 2
    return low, high


def _wider(ends: Interval) -> Interval:
    """With a margin, in which nothing is cut."""
    margin = 0.04 * (ends[1] - ends[0])
    return ends[0] - margin, ends[1] + margin


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    finite: np.ndarray = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError(f"{name} has {values.size} values and none of them is finite; there is nothing to count")
    return finite
