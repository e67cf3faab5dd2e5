"""Where a classifier is wrong: which classes it takes for which, and the samples it is furthest from getting right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet._checks import check_count
from xpnet._typing import Array
from xpnet.functions import softmax
from xpnet.plotting.figures import axes_or_new, resize
from xpnet.plotting.grids import to_host
from xpnet.plotting.networks import as_labels, as_pictures, draw_grid, explain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: With more classes than this, numbers in the cells would not be read.
MOST_NUMBERS = 20


def mistakes(images: Array, t: Array, y: Array, ax: Axes | None = None, *, count: int = 25) -> Axes:
    """The images that were misclassified, the largest loss first: ``5 → 3 p=0.98``, a 5 that was taken for a 3.

    Args:
        images: (N, 784), another square number of pixels, or (N, height, width), as in :func:`digits`.
        t: labels (N,), integers.
        y: scores (N, C), what a network predicts before softmax.
        ax: the Axes to draw on; by default a new one.
        count: how many images are shown at most.

    Raises:
        TypeError: no arrays.
        ValueError: another shape, labels that are not integers from 0 to C - 1, or scores that are not finite.
    """
    given, ax = ax, axes_or_new(ax)
    pictures = as_pictures(to_host(images))
    truth = as_labels(t, "t", len(pictures))
    probabilities = softmax(_scores(y, truth))
    guess = probabilities.argmax(axis=1)
    theirs = probabilities[np.arange(len(truth)), truth]
    wrong = np.flatnonzero(guess != truth)
    worst = wrong[np.argsort(theirs[wrong], kind="stable")][: check_count(count, "count")]
    title = f"{len(wrong)} of {len(truth)} misclassified"
    if len(worst):
        texts = [f"{truth[i]} → {guess[i]} p={probabilities[i].max():.2f}" for i in worst]
        draw_grid(ax, pictures[worst], texts, ["tab:red"] * len(worst), fit=given is None, letters=12)
        explain(
            ax,
            "true → predicted, with the probability of what was predicted;\nthe least probability for the truth first",
        )
        title += f", the worst {len(worst)}" if len(worst) < len(wrong) else ""
    ax.set_title(title)
    ax.set_axis_off()
    return ax


def _scores(y: Array, truth: np.ndarray) -> np.ndarray:
    scores = np.asarray(to_host(y), dtype=np.float64)
    if scores.ndim != 2 or len(scores) != len(truth):
        raise ValueError(f"y has shape {scores.shape}, expected scores ({len(truth)}, C), one row for each image")
    if not np.isfinite(scores).all():
        raise ValueError(f"y has {int((~np.isfinite(scores)).sum())} scores that are NaN or infinite")
    if truth.min() < 0 or truth.max() >= scores.shape[1]:
        raise ValueError(f"t has labels from {truth.min()} to {truth.max()}; y has scores of {scores.shape[1]} classes")
    return scores


def confusion(matrix: Array, ax: Axes | None = None) -> Axes:
    """A confusion matrix: how many of each class (row) were taken for which (column).

    The darker, the larger the share of the row; shades follow the square root of it, since what is wrong is rare.

    Args:
        matrix: counts (C, C), as :func:`xpnet.metrics.confusion_matrix` makes them.
        ax: the Axes to draw on; by default a new one.

    Raises:
        TypeError: no array.
        ValueError: not square, or not counts.
    """
    given, ax = ax, axes_or_new(ax)
    counts = to_host(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"matrix has shape {counts.shape}, expected (C, C), as metrics.confusion_matrix makes it")
    if counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ValueError(f"matrix ({counts.dtype}) is no counts, expected integers from 0 on")
    classes = len(counts)
    if given is None:
        resize(ax, max(4.0, 0.48 * min(classes, MOST_NUMBERS) + 1), max(3.6, 0.42 * min(classes, MOST_NUMBERS) + 1))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if classes <= MOST_NUMBERS:
        _write_numbers(ax, counts, shares)
    right = int(np.trace(counts))
    ax.set(xlabel="predicted", ylabel="true", title=f"{right} of {counts.sum()} right")
    return ax


def _write_numbers(ax: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    classes = len(counts)
    ax.set(xticks=range(classes), yticks=range(classes))
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
    for row, column in zip(*np.nonzero(counts), strict=True):  # a cell without a number is a zero, and easily seen
        color = "white" if shares[row, column] > 0.4 else "black"
        ax.text(column, row, f"{counts[row, column]}", color=color, **style)
