"""The functions of the book's ``common.functions``, for arrays of NumPy and of CuPy, and for numbers.

NumPy's functions hand CuPy's arrays on to CuPy. ``xpnet.functions`` has the same for arrays of all libraries; these are
called hundreds of thousands of times with arrays of ten numbers, and lose no time with questions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.dispatch import describe, quiet
from xpnet.book.numbers import numbers


def identity_function(x: Any) -> Any:
    """x itself."""
    return x


def step_function(x: Any) -> Array:
    """1 where x > 0, else 0, as integers.

    >>> step_function(np.asarray([-1.0, 0.0, 2.0]))
    array([0, 0, 1])
    """
    return np.greater(x, 0).astype(int)


@quiet
def sigmoid(x: Any) -> Array:
    """1 / (1 + exp(-x)).

    >>> sigmoid(np.asarray([-1000.0, 0.0]))
    array([0. , 0.5])
    """
    return 1 / (1 + np.exp(-x))


def sigmoid_grad(x: Any) -> Array:
    """The slope of ``sigmoid`` at x: (1 - s) s, s = sigmoid(x)."""
    s = sigmoid(x)
    return (1 - s) * s


def relu(x: Any) -> Array:
    """max(x, 0)."""
    return np.maximum(0, x)


def relu_grad(x: Any) -> Array:
    """The slope of ``relu`` at x: 1 where x >= 0 (the book's layer ``Relu`` has 0 at x = 0), else 0.

    >>> relu_grad(np.asarray([-1.0, 0.0, 2.0]))
    array([0., 1., 1.])
    """
    return np.greater_equal(x, 0).astype(getattr(x, "dtype", float))


@quiet
def softmax(x: Array) -> Array:
    """exp(x_k) / Σ_j exp(x_j) along the last axis: of one sample (C,) or a batch (N, C).

    >>> softmax(np.asarray([0.3, 2.9, 4.0])).round(8)
    array([0.01821127, 0.24519181, 0.73659691])
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sum_squared_error(y: Any, t: Any) -> Array:
    """Half the sum of (y - t)²."""
    return 0.5 * np.sum((y - t) ** 2)


def cross_entropy_error(y: Array, t: Any) -> Array:
    """-log(y + 1e-7) of the target's class, the mean of it over all samples.

    Args:
        y: probabilities (C,) of one sample, or (N, C).
        t: labels, one for each sample in any shape, (N,) or (N, 1); or one-hot, in the shape of y; or a list of these.

    Raises:
        ValueError: t is neither.

    >>> y = np.asarray([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
    >>> float(cross_entropy_error(y, np.eye(10)[2]).round(6)), float(cross_entropy_error(y, np.asarray([2])).round(6))
    (0.510825, 0.510825)
    """
    rows = y.reshape(-1, y.shape[-1])
    picked = rows[numbers().arange(len(rows)), labels_of(t, rows)]
    return -np.log(picked + 1e-7).sum() / len(rows)


def labels_of(t: Any, rows: Array) -> Any:
    """The labels (N,) that targets of rows (N, C) are, whether they came as such or one-hot."""
    t = as_targets(t)
    size = getattr(t, "size", 1)
    if size == rows.size:
        return t.reshape(rows.shape).argmax(axis=1)
    if size != len(rows):
        where = f"{describe(t)} of shape {tuple(t.shape)}"
        raise ValueError(f"t is {where}, expected {len(rows)} labels, or one-hot {tuple(rows.shape)}")
    return t.reshape(-1) if hasattr(t, "reshape") else t


def as_targets(t: Any) -> Any:
    """t as an array where it is a list, ``[0, 0, 1]``; arrays and numbers as they are."""
    return numbers().asarray(t) if isinstance(t, list | tuple) else t


def softmax_loss(X: Array, t: Any) -> Array:
    """``cross_entropy_error`` of ``softmax`` of scores."""
    return cross_entropy_error(softmax(X), t)
