"""The book's ``common.util``: windows of images as rows and back, smoothed curves, shuffled data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.dispatch import kind_of, name_of, namespace, widest_floating
from xpnet.book.numbers import numbers
from xpnet.layers.windows import every, padded, put_back

#: How many values a smoothed one is the mean of, and the parameter of Kaiser's window that weighs them.
WIDTH, KAISER = 11, 2


def smooth_curve(x: Any) -> np.ndarray:
    """A curve that is easier to see: of each value and its 10 neighbours the mean, weighted by Kaiser's window.

    Beyond its ends the curve goes on as its mirror image. x are numbers, (N,) or a list; so is what is returned, on the
    host, where it is drawn.

    >>> smooth_curve([1.0] * 20).round(12).tolist() == [1.0] * 20
    True
    """
    y, beyond = on_host(x), WIDTH - 1
    weights = np.kaiser(WIDTH, KAISER)
    longer = np.concatenate([y[beyond:0:-1], y, y[: -beyond - 1 : -1]])
    means = np.convolve(weights / weights.sum(), longer, mode="valid")
    return means[WIDTH // 2 : len(means) - WIDTH // 2]


def on_host(x: Any) -> np.ndarray:
    """An array of any library, or a list of its numbers, as floating-point numbers of NumPy."""
    if isinstance(x, list | tuple):
        return np.asarray([float(each) for each in x])
    return np.asarray(kind_of(x).to_host(x) if name_of(x) else x, dtype=float)


def shuffle_dataset(x: Array, t: Array) -> tuple[Array, Array]:
    """Samples (N, ...) and their targets (N, ...) in another order, the same for both; drawn from ``np.random``."""
    order = numbers().random.permutation(x.shape[0])
    return x[order], t[order]


def conv_output_size(input_size: int, filter_size: int, stride: int = 1, pad: int = 0) -> float:
    """How many places a filter finds along an axis; no whole number where it does not fit in."""
    return (input_size + 2 * pad - filter_size) / stride + 1


def im2col(input_data: Array, filter_h: int, filter_w: int, stride: int = 1, pad: int = 0) -> Array:
    """Images (N, C, H, W) as rows (N H' W', C filter_h filter_w): one for each window, in float64.

    >>> im2col(np.arange(9.0).reshape(1, 1, 3, 3), 2, 2)[:2]
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.]])
    """
    xp, (n, _, h, w) = namespace(input_data), input_data.shape
    out_h, out_w = _places(h, filter_h, stride, pad), _places(w, filter_w, stride, pad)
    x = padded(padded(xp.astype(input_data, widest_floating(input_data)), 2, pad, pad), 3, pad, pad)
    x = xp.stack([every(x, 2, i, stride, out_h) for i in range(filter_h)], axis=2)
    x = xp.stack([every(x, 4, j, stride, out_w) for j in range(filter_w)], axis=3)
    return xp.reshape(xp.permute_dims(x, (0, 4, 5, 1, 2, 3)), (n * out_h * out_w, -1))


def col2im(
    col: Array, input_shape: Sequence[int], filter_h: int, filter_w: int, stride: int = 1, pad: int = 0
) -> Array:
    """The way back from :func:`im2col`: images (N, C, H, W) that have each row added where its window was.

    >>> col2im(np.ones((4, 4)), (1, 1, 3, 3), 2, 2)[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    xp, (n, c, h, w) = namespace(col), input_shape
    out_h, out_w = _places(h, filter_h, stride, pad), _places(w, filter_w, stride, pad)
    x = xp.permute_dims(xp.reshape(col, (n, out_h, out_w, c, filter_h, filter_w)), (0, 3, 4, 5, 1, 2))
    x = put_back([x[:, :, :, j, ...] for j in range(filter_w)], [j - pad for j in range(filter_w)], stride, w, 4)
    return put_back([x[:, :, i, ...] for i in range(filter_h)], [i - pad for i in range(filter_h)], stride, h, 2)


def _places(size: int, filter_size: int, stride: int, pad: int) -> int:
    found = (size + 2 * pad - filter_size) // stride + 1
    if found < 1:
        raise ValueError(f"a filter of {filter_size} does not fit into an axis of {size} with a padding of {pad}")
    return found
