"""How well a classifier does: accuracy, the confusion matrix, and precision, recall and F1 of each class.

What a network says is given as scores (N, C), of which the largest decides (the first of equal ones), or as the labels
(N,) that were decided on; the truth as labels (N,) of any integer dtype or one-hot (N, C). One column of scores (N, 1)
tells two classes apart: class 1 is where the score, before the sigmoid, is above 0. Values are looked at, so the device
is waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import Any

from xpnet import _html
from xpnet._checks import check_count, check_number
from xpnet._typing import Array
from xpnet.backends.dispatch import (
    backend_of,
    check_same_backend,
    device,
    namespace,
    on_device_of_first,
    quiet,
    widest_floating,
)
from xpnet.functions import check_labels, check_real

HEADERS = ("class", "precision", "recall", "F1", "samples")

#: Samples that are counted at once: so many ones can be added up exactly in any floating-point dtype from float32 on.
CHUNK = 100_000
#: How much memory their one-hot rows may take.
CHUNK_BYTES = 2**28
#: The most classes that labels alone stand for: a matrix of them takes 800 MB, and a stray label would ask for more.
MOST_CLASSES = 10_000


@on_device_of_first
def accuracy(y: Array, t: Array, *, threshold: float | None = None) -> float:
    """The share of samples, 0 to 1, that are given their class.

    Args:
        y: scores (N, C) of two classes or more, or (N, 1) of two, floating-point; or labels (N,), integers or booleans.
        t: labels (N,), integers or booleans, or one-hot (N, C), of the library and on the device of y; for scores
            (N, 1) zeros and ones, (N, 1) or (N,), in any dtype.
        threshold: for scores (N, 1): above it is class 1. By default 0, which is right for what a network predicts; 0.5
            is for probabilities.

    Raises:
        TypeError: no arrays, arrays of two libraries, or scores that are not floating-point.
        ValueError: another shape, no samples, NaN among the scores, or labels that are out of range; scores (N, 1) that
            are all from 0 to 1, as probabilities are, without a threshold.

    >>> import numpy as np
    >>> accuracy(np.asarray([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), np.asarray([1, 1, 1]))
    0.6666666666666666
    """
    found, truth, _ = _labels(y, t, threshold=threshold)
    return _share(found == truth)


@on_device_of_first
def top_k_accuracy(y: Array, t: Array, *, k: int = 5) -> float:
    """The share of samples, 0 to 1, whose class is among the k with the largest scores.

    Of equal scores the first counts as larger, so that k = 1 is :func:`accuracy`.

    Args:
        y: scores (N, C), floating-point.
        t: as in :func:`accuracy`, which also says what else is raised.
        k: from 1 to C.

    Raises:
        ValueError: y is no scores, or there are fewer than k classes.

    >>> import numpy as np
    >>> y = np.asarray([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    >>> top_k_accuracy(y, np.asarray([1, 2]), k=2)
    0.5
    """
    if getattr(y, "ndim", 0) == 2 and y.shape[1] == 1:
        raise ValueError(f"y has shape {tuple(y.shape)}, and of one output there is no second place; take accuracy")
    _, truth, classes = _labels(y, t)
    if y.ndim != 2:
        raise ValueError(f"y has shape {tuple(y.shape)}, expected scores (N, C): labels have no second place")
    if check_count(k, "k") > classes:
        raise ValueError(f"k is {k}, and y has scores of {classes} classes; expected 1 to {classes}")
    xp = namespace(y)
    place, label = xp.arange(classes, dtype=truth.dtype, device=device(y)), truth[:, None]
    theirs = xp.max(xp.where(place == label, y, xp.full_like(y, -inf)), axis=1, keepdims=True)
    ahead = (y > theirs) | ((y == theirs) & (place < label))
    return _share(xp.sum(xp.astype(ahead, place.dtype), axis=1) < k)


@on_device_of_first
@quiet
def confusion_matrix(y: Array, t: Array, *, classes: int | None = None, threshold: float | None = None) -> Array:
    """How many samples of class i (row) were taken for class j (column): integers (C, C).

    Args:
        y, t, threshold: as in :func:`accuracy`, which also says what else is raised.
        classes: C, where neither y nor t has a column for each class; by default the largest label and one.

    Raises:
        ValueError: ``classes`` is not the number of columns, or a label is not below it; or it is not given, and a
            label is 10,000 or more.

    >>> import numpy as np
    >>> confusion_matrix(np.asarray([0, 1, 2, 2]), np.asarray([0, 1, 1, 2]))
    array([[1, 0, 0],
           [0, 1, 1],
           [0, 0, 1]])
    """
    given = classes
    found, truth, classes = _labels(y, t, classes, threshold=threshold)
    if classes > MOST_CLASSES and given is None and y.ndim == t.ndim == 1:
        raise ValueError(
            f"there is a label {classes - 1}, and a matrix of {classes:,} x {classes:,} classes would take "
            f"{8 * classes**2 / 2**30:,.1f} GiB; if these are labels, say how many classes there are: classes={classes}"
        )
    xp, n = namespace(y), found.shape[0]
    chunk = max(1, min(CHUNK, CHUNK_BYTES // (4 * classes)))
    each = xp.arange(classes, dtype=found.dtype, device=device(found))
    total = xp.zeros((classes, classes), dtype=found.dtype, device=device(found))
    for start in range(0, n, chunk):
        part = slice(start, min(start + chunk, n))
        # as floating-point numbers: not every library multiplies matrices of integers on every device
        rows, columns = (xp.astype(v[part, None] == each, xp.float32) for v in (truth, found))
        total = total + xp.astype(xp.matmul(xp.matrix_transpose(rows), columns), total.dtype)
    return total


@on_device_of_first
def precision(matrix: Array) -> Array:
    """Of the samples taken for a class, the share that is of it, (C,): TP / (TP + FP).

    A class that nothing was taken for has none: NaN.

    Args:
        matrix: counts (C, C), rows the true classes, as :func:`confusion_matrix` makes them.

    Raises:
        ValueError: no square matrix, or negative entries.

    >>> import numpy as np
    >>> precision(np.asarray([[3, 1, 0], [1, 1, 0], [0, 0, 0]]))
    array([0.75, 0.5 ,  nan])
    """
    return _ratio(*_counts(matrix)[:2])


@on_device_of_first
def recall(matrix: Array) -> Array:
    """Of the samples of a class, the share that was taken for it, (C,): TP / (TP + FN).

    A class without samples has none: NaN. What is given and raised is that of :func:`precision`.

    >>> import numpy as np
    >>> recall(np.asarray([[3, 1, 0], [1, 1, 0], [0, 0, 0]]))
    array([0.75, 0.5 ,  nan])
    """
    right, _, samples = _counts(matrix)
    return _ratio(right, samples)


@on_device_of_first
def f1(matrix: Array) -> Array:
    """The harmonic mean of precision and recall of each class, (C,): 2 TP / (2 TP + FP + FN) (van Rijsbergen, 1979).

    It is 0 for a class that was never right, and NaN for one without samples that nothing was taken for. What is given
    and raised is that of :func:`precision`.

    >>> import numpy as np
    >>> f1(np.asarray([[3, 1, 0], [1, 1, 0], [0, 0, 0]]))
    array([0.75, 0.5 ,  nan])
    """
    right, found, samples = _counts(matrix)
    return _ratio(2 * right, found + samples)


@dataclass(frozen=True, repr=False)
class Report:
    """What :func:`report` found, in plain Python numbers; ``str()`` is a table.

    Attributes:
        accuracy: the share of samples that were given their class.
        matrix: rows of the confusion matrix.
        precision, recall, f1: one number a class; NaN where there is none.
        support: how many samples each class has.
    """

    accuracy: float
    matrix: tuple[tuple[int, ...], ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    support: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same in lists, with None for NaN, as JSON has it."""
        shares = {name: without_nan(getattr(self, name)) for name in ("precision", "recall", "f1")}
        matrix = [list(row) for row in self.matrix]
        return {"accuracy": self.accuracy, **shares, "support": list(self.support), "confusion_matrix": matrix}

    def __str__(self) -> str:
        from tabulate import tabulate

        align = ["right"] * len(HEADERS)
        table = tabulate(self._cells(), HEADERS, tablefmt="simple", disable_numparse=True, colalign=align)
        return f"accuracy {self.accuracy:.2%}\n\n{table}"

    def __repr__(self) -> str:
        samples, score = sum(self.support), cell(mean(self.f1))
        return (
            f"Report(accuracy {self.accuracy:.2%}, mean F1 {score}, {len(self.support)} classes, {samples:,} samples)"
        )

    def _repr_html_(self) -> str:
        return _html.text(f"accuracy {self.accuracy:.2%}") + _html.table(HEADERS, self._cells())

    def _cells(self) -> list[list[Any]]:
        columns = self.precision, self.recall, self.f1
        rows = [[c, *map(cell, row[:3]), row[3]] for c, row in enumerate(zip(*columns, self.support, strict=True))]
        return [*rows, ["average", *(cell(mean(column)) for column in columns), sum(self.support)]]


@on_device_of_first
def report(y: Array, t: Array, *, classes: int | None = None, threshold: float | None = None) -> Report:
    """Accuracy, confusion matrix, and precision, recall and F1 of each class; all as :func:`confusion_matrix` takes it.

    The last row of the table is the mean over the classes that have a value, each counting the same. Of a network with
    one output and ``SigmoidWithLoss`` it is the same with two classes.

    >>> import numpy as np
    >>> print(report(np.asarray([0, 1, 1, 1]), np.asarray([0, 1, 1, 0])))
    accuracy 75.00%
    <BLANKLINE>
      class    precision    recall      F1    samples
    -------  -----------  --------  ------  ---------
          0       1.0000    0.5000  0.6667          2
          1       0.6667    1.0000  0.8000          2
    average       0.8333    0.7500  0.7333          4
    """
    matrix = confusion_matrix(y, t, classes=classes, threshold=threshold)
    p, r, f = (tuple(_host(share(matrix))) for share in (precision, recall, f1))
    rows = _host(matrix)
    support = tuple(sum(row) for row in rows)
    right = sum(row[i] for i, row in enumerate(rows))
    return Report(right / sum(support), tuple(map(tuple, rows)), p, r, f, support)


def _labels(
    y: Array, t: Array, classes: int | None = None, *, threshold: float | None = None
) -> tuple[Array, Array, int]:
    """What was decided and what is true, as labels (N,) of one dtype, and how many classes there are."""
    xp = namespace(y)
    check_same_backend(t, "t", backend_of(y), "y")
    if y.ndim == 2 and y.shape[1] == 1 and y.shape[0] and xp.isdtype(y.dtype, "real floating"):
        y, t = _decided(y, threshold), _zeros_and_ones(t, y.shape[0])
        classes = 2 if classes is None else classes
    elif threshold is not None:
        raise ValueError(f"threshold is {threshold!r}, and y has shape {tuple(y.shape)}; it is for scores (N, 1)")
    _check_shapes(y, t)
    said = {name: int(a.shape[1]) for name, a in (("y", y), ("t", t)) if a.ndim == 2}
    if classes is not None:
        said["classes"] = check_count(classes, "classes")
    if len(set(said.values())) > 1:
        found = ", ".join(f"{width} by {name}" for name, width in said.items())
        raise ValueError(f"the number of classes is {found}; expected the same of all that say it")
    size = max(said.values()) if said else 1 + max(_largest(a, name) for a, name in ((y, "y"), (t, "t")))
    return _found(y, size), _true(t, size), size


def _check_shapes(y: Array, t: Array) -> None:
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise ValueError(f"y has shape {tuple(y.shape)}, expected scores (N, C) or labels (N,), N and C at least 1")
    n, c = y.shape[0], y.shape[1] if y.ndim == 2 else "C"
    if c == 1:
        raise ValueError(
            f"y has shape ({n}, 1) and dtype {y.dtype}, expected scores, floating-point, or labels: y[:, 0]"
        )
    if t.ndim == 2 and t.shape == (n, 1):
        raise ValueError(f"t has shape ({n}, 1), expected labels ({n},), which are t[:, 0], or one-hot ({n}, {c})")
    if t.ndim not in (1, 2) or t.shape[0] != n:
        raise ValueError(f"t has shape {tuple(t.shape)}, expected labels ({n},) or one-hot ({n}, {c})")


def _decided(y: Array, threshold: float | None) -> Array:
    """Scores (N, 1) as labels 0 and 1."""
    xp, y = namespace(y), y[:, 0]
    if bool(xp.any(xp.isnan(y))):
        raise ValueError("y has NaN among its scores; look at the loss of the network")
    if threshold is None and bool(xp.all((y >= 0) & (y <= 1))):
        raise ValueError(
            "y (N, 1) is from 0 to 1 throughout, as probabilities are, and a few scores may be; for probabilities give "
            "threshold=0.5, for scores threshold=0"
        )
    return y > check_number(0.0 if threshold is None else threshold, "threshold", example="0.5 for probabilities")


def _zeros_and_ones(t: Array, n: int) -> Array:
    """The truth of two classes as labels (N,)."""
    xp = namespace(t)
    if tuple(t.shape) not in ((n,), (n, 1)):
        raise ValueError(f"t has shape {tuple(t.shape)}, expected zeros and ones ({n},) or ({n}, 1), for one output")
    check_real(t, "t")
    t = xp.reshape(t, (n,))
    if not xp.isdtype(t.dtype, "bool") and not bool(xp.all((t == 0) | (t == 1))):
        raise ValueError(
            "t has other numbers than 0 and 1, and y has one output, which tells two classes apart; where numbers are "
            "learned take metrics.regression_report(y, t)"
        )
    return xp.astype(t, xp.bool)


def _largest(labels: Array, name: str) -> int:
    return max(0, int(namespace(labels).max(_as_labels(labels, name))))


def _found(y: Array, classes: int) -> Array:
    xp = namespace(y)
    if y.ndim == 1:
        check_labels(y, classes, "y")
        return _as_labels(y, "y")
    if not xp.isdtype(y.dtype, "real floating"):
        raise TypeError(f"y has scores of dtype {y.dtype}, expected floating-point; labels are one number a sample")
    if bool(xp.any(xp.isnan(y))):
        raise ValueError("y has NaN among its scores, so there is no largest one; look at the loss of the network")
    return _as_labels(xp.argmax(y, axis=1), "y")


def _true(t: Array, classes: int) -> Array:
    if t.ndim == 1:
        check_labels(t, classes, "t")
        return _as_labels(t, "t")
    xp = namespace(t)
    check_real(t, "t")
    t = xp.astype(t, xp.float32)
    if not bool(xp.all((t == 0) | (t == 1))) or not bool(xp.all(xp.sum(t, axis=1) == 1)):
        raise ValueError(
            "t is not one-hot: expected one 1 in each row, and 0 elsewhere; of probabilities take argmax; where "
            "several labels may hold take metrics.multilabel_report(y, t), of numbers metrics.regression_report(y, t)"
        )
    return _as_labels(xp.argmax(t, axis=1), "t")


def _as_labels(labels: Array, name: str) -> Array:
    """In the library's default integer dtype: labels of two dtypes can be compared then, and none wraps."""
    xp = namespace(labels)
    if not xp.isdtype(labels.dtype, ("bool", "integral")):
        raise ValueError(
            f"{name} has labels of dtype {labels.dtype}, expected integers; of scores (N, C) take both axes"
        )
    return xp.astype(labels, xp.arange(0, device=device(labels)).dtype)


def _share(hits: Array) -> float:
    xp = namespace(hits)
    return int(xp.sum(xp.astype(hits, xp.int32))) / int(hits.shape[0])


def _counts(matrix: Array) -> tuple[Array, Array, Array]:
    """Of each class: how many were right, how many were taken for it, how many there are."""
    xp = namespace(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or 0 in matrix.shape:
        raise ValueError(f"matrix has shape {tuple(matrix.shape)}, expected (C, C), as confusion_matrix makes it")
    if not xp.isdtype(matrix.dtype, "integral") or bool(xp.any(matrix < 0)):
        raise ValueError(f"matrix ({matrix.dtype}) is no counts, expected integers from 0 on, as of confusion_matrix")
    matrix = xp.astype(matrix, widest_floating(matrix))  # sums of integers would wrap
    eye = xp.eye(matrix.shape[0], dtype=matrix.dtype, device=device(matrix))
    return xp.sum(matrix * eye, axis=0), xp.sum(matrix, axis=0), xp.sum(matrix, axis=1)


def _ratio(part: Array, whole: Array) -> Array:
    xp, dtype = namespace(whole), widest_floating(whole)
    part, whole = xp.astype(part, dtype), xp.astype(whole, dtype)
    some = whole > 0
    return xp.where(some, part / xp.where(some, whole, xp.ones_like(whole)), xp.full_like(whole, nan))


def _host(a: Array) -> list[Any]:
    values: list[Any] = backend_of(a).to_numpy(a).tolist()
    return values


def mean(values: Sequence[float]) -> float:
    there = [value for value in values if not isnan(value)]
    return sum(there) / len(there) if there else nan


def cell(value: float) -> str:
    return "-" if isnan(value) else f"{value:.4f}"


def without_nan(values: Sequence[float]) -> list[float | None]:
    """The values as JSON has them."""
    return [None if isnan(value) else value for value in values]
