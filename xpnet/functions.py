"""The functions a network is made of, as the tutorials define them, for arrays of any library; dtype in, dtype out."""

from __future__ import annotations

from functools import cache
from math import log, prod
from numbers import Integral
from types import ModuleType
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import describe, device, dtype_name, name_of, namespace, quiet, traced
from xpnet.hints import missing


def step(x: Array) -> Array:
    """1 where x > 0, else 0; any shape, in the dtype of x.

    >>> import numpy as np
    >>> step(np.asarray([-1.0, 0.0, 2.0]))
    array([0., 0., 1.])
    """
    return namespace(x).astype(x > 0, x.dtype)


def identity(x: Array) -> Array:
    """x itself: what the last layer does in regression."""
    namespace(x)
    return x


def relu(x: Array) -> Array:
    """max(x, 0); any shape.

    >>> import numpy as np
    >>> relu(np.asarray([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    xp = namespace(x)
    return xp.maximum(x, xp.zeros_like(x))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)); any shape, accurate to a few units in the last place, and without overflow.

    It is computed as e^x / (1 + e^x), which keeps its digits however negative x is; from the x on where that is 1, e^x
    stays as it is.

    >>> import numpy as np
    >>> sigmoid(np.asarray([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    >>> float(sigmoid(np.asarray(-50.0)))  # e^-50
    1.9287498479639178e-22
    """
    xp = namespace(x)
    check_floating(x, "sigmoid")
    e = xp.exp(xp.minimum(x, _saturation(xp, x.dtype)))
    return e / (1 + e)


@cache
def _saturation(xp: ModuleType, dtype: Any) -> float:
    """Where 1 - sigmoid(x) is less than a quarter of the spacing of the dtype at 1."""
    return 2 - log(float(xp.finfo(dtype).eps))


@quiet
def softmax(x: Array) -> Array:
    """exp(x_k) / sum_j exp(x_j) over the last axis: x (..., C), one sample (C,) or a batch (N, C) for example.

    The maximum is taken off first, which leaves the result as it is and keeps exp from overflowing.

    >>> import numpy as np
    >>> softmax(np.asarray([0.3, 2.9, 4.0])).round(8)
    array([0.01821127, 0.24519181, 0.73659691])
    >>> softmax(np.asarray([[1010.0, 1000.0, 990.0]])).round(8)
    array([[9.999546e-01, 4.540000e-05, 0.000000e+00]])
    """
    xp = namespace(x)
    check_floating(x, "softmax")
    if is_small(xp, x.dtype):  # in which many classes add up to infinity
        return xp.astype(softmax(xp.astype(x, xp.float32)), x.dtype)
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def sum_squared_error(y: Array, t: Array) -> Array:
    """Half the sum of (y - t)^2 over all elements, as a 0-d array; y and t have the same shape.

    >>> import numpy as np
    >>> y = np.asarray([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
    >>> float(sum_squared_error(y, np.eye(10)[2]).round(4))
    0.0975
    """
    xp = namespace(y)
    check_floating(y, "sum_squared_error")
    d = y - cast_targets(t, y)
    return 0.5 * xp.sum(d * d)


def cross_entropy_error(y: Array, t: Array | int) -> Array:
    """-sum_k t_k log(y_k + 1e-7), the mean of it over all samples, as a 0-d array.

    The 1e-7 is the book's: log never sees a zero, so the result is finite even where a probability is 0.

    Args:
        y: probabilities (..., C), as ``softmax`` gives them: of one sample (C,), a batch (N, C), sequences (N, T, C).
        t: labels, an int or integers (...); or one-hot, in the shape of y.

    Raises:
        TypeError: y is not floating-point, or t is no array, or of another library.
        ValueError: t has another shape, or labels that are not integers from 0 to C - 1.

    >>> import numpy as np
    >>> y = np.asarray([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
    >>> float(cross_entropy_error(y, 2).round(12)), float(cross_entropy_error(y, 7).round(12))
    (0.510825457099, 2.302584092995)
    """
    xp = namespace(y)
    check_floating(y, "cross_entropy_error")
    if isinstance(t, int | Integral):
        check_labels(t, y.shape[-1])
    else:
        check_same_library(t, y)
        if t.ndim < y.ndim and not traced(t):
            check_labels(t, y.shape[-1])
    return mean_of(-xp.log(y + 1e-7) * one_hot(t, y), prod(y.shape[:-1]))


def mean_of(x: Array, n: int) -> Array:
    """The sum of all elements over n, as a 0-d array; of less than 32 bits in float32, which does not overflow."""
    xp = namespace(x)
    return over(xp.sum(xp.astype(x, xp.float32)), n, x.dtype) if is_small(xp, x.dtype) else xp.sum(x) / n


def over(x: Array, n: int, dtype: Any) -> Array:
    """x / n in this dtype; if it has less than 32 bits, n may be more than its largest number, so in float32."""
    xp = namespace(x)
    if n == 1:
        return cast(x, dtype)
    return xp.astype(xp.astype(x, xp.float32) / n, dtype) if is_small(xp, dtype) else x / n


def cast(x: Array, dtype: Any) -> Array:
    """x in this dtype; the same array if it has it already."""
    return x if x.dtype == dtype else namespace(x).astype(x, dtype)


@cache
def is_small(xp: ModuleType, dtype: Any) -> bool:
    """Whether a floating-point dtype has less than 32 bits: sums are soon more than its largest number."""
    return bool(xp.finfo(dtype).bits < 32)


def one_hot(t: Array | int, y: Array) -> Array:
    """Targets as one-hot rows in the shape and dtype of y, whether they came as labels or one-hot already.

    Args:
        t: labels (...) with one axis less than y (an int for one sample), or one-hot in the shape of y.
        y: the array (..., C) that t is the target of.

    Raises:
        TypeError: t is no array, or of another library, or complex; y is not floating-point.
        ValueError: t fits neither form, or has labels that are no integers. Labels out of range, which only a look at
            their values finds, get a row of zeros; see :func:`check_labels`.

    >>> import numpy as np
    >>> one_hot(np.asarray([2, 0]), np.zeros((2, 3)))
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    xp = namespace(y)
    check_floating(y, "one_hot")
    if isinstance(t, int | Integral):
        return xp.astype(xp.arange(y.shape[-1], device=device(y)) == int(t), y.dtype)
    check_same_library(t, y)
    return xp.astype(label_mask(t, y), y.dtype) if are_labels(t, y.shape) else cast_targets(t, y)


def label_mask(t: Array, y: Array) -> Array:
    """Where the class of a label is: booleans (..., C) for labels t (...) of y (..., C).

    It is a comparison, and no indexing with arrays, so that every namespace can.
    """
    xp, count = namespace(y), y.shape[-1]
    check_label_dtype(t, count)
    same = t.dtype in (xp.uint8, xp.int32, xp.int64) and count - 1 <= int(xp.iinfo(t.dtype).max)
    classes = xp.arange(count, dtype=t.dtype if same else None, device=device(y))
    return classes == (t if same else xp.astype(t, classes.dtype))[..., None]


def are_labels(t: Array, y_shape: tuple[int, ...], name: str = "t") -> bool:
    """Whether t are labels (...) of outputs (..., C), or one-hot (..., C); a ``ValueError`` if it has neither shape."""
    if t.shape == y_shape[:-1]:
        return True
    if t.shape == y_shape:
        return False
    raise ValueError(
        f"{name} has shape {tuple(t.shape)}, expected labels {tuple(y_shape[:-1])} or one-hot {tuple(y_shape)}"
    )


def cast_targets(t: Array, y: Array) -> Array:
    """Give t the dtype of y; a ``ValueError`` if it has another shape than y, a ``TypeError`` if another library."""
    check_same_library(t, y)
    if t.shape != y.shape:
        raise ValueError(f"t has shape {tuple(t.shape)}, expected {tuple(y.shape)}, the shape of y")
    check_floating(y, "a loss")
    if t.dtype == y.dtype:
        return t
    check_real(t)
    return namespace(y).astype(t, y.dtype)


def check_real(t: Array, name: str = "t") -> None:
    """Raise ``TypeError`` if these are complex: converted, they would lose a part without a word."""
    if namespace(t).isdtype(t.dtype, "complex floating"):
        raise TypeError(f"{name} is {dtype_name(t.dtype)}, expected real numbers; xp.real({name}) takes the real part")


def check_labels(t: Array | int, classes: int, name: str = "t") -> None:
    """Raise ``ValueError`` unless these are integers (or booleans) from 0 to ``classes`` - 1; reads the values."""
    if isinstance(t, int | Integral):
        low = high = int(t)
    else:
        xp = namespace(t)
        check_label_dtype(t, classes, name)
        t = xp.astype(t, xp.arange(0).dtype)  # not every library finds the minimum of every kind of integer
        low, high = int(xp.min(t)), int(xp.max(t))
    if low < 0 or high >= classes:
        found = f"label {low}" if low == high else f"labels from {low} to {high}"
        raise ValueError(f"{name} has {found}; there are {classes} classes, so labels go from 0 to {classes - 1}")


def check_label_dtype(t: Array, classes: int, name: str = "t") -> None:
    """Raise ``ValueError`` unless labels are integers or booleans; reads no values, but for the message."""
    if not namespace(t).isdtype(t.dtype, ("bool", "integral")):
        raise ValueError(f"{name} has labels of dtype {t.dtype}{_fraction(t)}; expected integers 0 to {classes - 1}")


def _fraction(t: Array) -> str:
    xp = namespace(t)
    if traced(t):
        return ""
    fractional = xp.isdtype(t.dtype, "real floating") and not bool(xp.all(t == xp.floor(t)))
    return ", some of them fractional" if fractional else ""


def check_same_library(t: Array, y: Array, name: str = "t", what: str = "labels, or one-hot") -> None:
    """Raise ``TypeError`` unless t is an array, and of the library of y."""
    if not hasattr(t, "shape"):
        raise TypeError(f"{name} is {describe(t)}, expected an array like y, which is {describe(y)}: {what}")
    if type(t) is not type(y):
        theirs, ours = name_of(t), name_of(y)
        if theirs != ours and ours is not None:
            raise TypeError(f"{name} is {describe(t)} and y is {describe(y)}; both have to be of one library")


def check_floating(x: Array, function: str) -> None:
    """Raise ``TypeError`` unless x holds real floating-point numbers."""
    if not namespace(x).isdtype(x.dtype, "real floating"):
        raise TypeError(f"{function} is for floating-point arrays, got {x.dtype}; xp.astype(x, xp.float64) makes one")


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
