"""Labels of which several may hold for a sample, one output each, as ``SigmoidWithLoss`` trains them."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Any

from xpnet import _html
from xpnet._checks import check_number
from xpnet._typing import Array
from xpnet.backends.dispatch import backend_of, check_same_backend, namespace, on_device_of_first, quiet
from xpnet.functions import check_real
from xpnet.metrics.classes import cell, mean, without_nan

HEADERS = ("label", "precision", "recall", "F1", "samples")


@dataclass(frozen=True, repr=False)
class MultilabelReport:
    """What :func:`multilabel_report` found, in plain Python numbers; ``str()`` is a table.

    Attributes:
        accuracy: the share of all decisions, a sample and a label each, that are right.
        exact: the share of samples all of whose labels are right.
        precision, recall, f1: one number a label; NaN where there is none.
        micro: precision, recall and F1 of all decisions together.
        support: how many samples each label holds for.
        samples: how many samples there are.
    """

    accuracy: float
    exact: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    micro: tuple[float, float, float]
    support: tuple[int, ...]
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """The same in lists, with None for NaN, as JSON has it."""
        shares = {name: without_nan(getattr(self, name)) for name in ("precision", "recall", "f1", "micro")}
        known = {"accuracy": self.accuracy, "exact": self.exact, "samples": self.samples}
        return known | shares | {"support": list(self.support)}

    @property
    def summary(self) -> str:
        """The line above the table."""
        right = f"{self.accuracy:.2%} of {self.samples * len(self.support):,} decisions right"
        return f"{right}, and all {len(self.support)} of a sample in {self.exact:.2%} of {self.samples:,} samples"

    def __str__(self) -> str:
        from tabulate import tabulate

        align = ["right"] * len(HEADERS)
        table = tabulate(self._cells(), HEADERS, tablefmt="simple", disable_numparse=True, colalign=align)
        return f"{self.summary}\n\n{table}"

    def __repr__(self) -> str:
        return f"MultilabelReport({self.summary})"

    def _repr_html_(self) -> str:
        return _html.text(self.summary) + _html.table(HEADERS, self._cells())

    def _cells(self) -> list[list[Any]]:
        columns = self.precision, self.recall, self.f1
        rows = [[c, *map(cell, row[:3]), row[3]] for c, row in enumerate(zip(*columns, self.support, strict=True))]
        rows.append(["average", *(cell(mean(column)) for column in columns), sum(self.support)])
        return [*rows, ["together", *map(cell, self.micro), sum(self.support)]]


@on_device_of_first
@quiet
def multilabel_report(y: Array, t: Array, *, threshold: float = 0.0) -> MultilabelReport:
    """How well labels are told of which several, or none, may hold for a sample.

    The last rows of the table are the mean over the labels that have a value, and all decisions together.

    Args:
        y: scores (N, C) before the sigmoid, floating-point, as a network with ``SigmoidWithLoss`` predicts them.
        t: which labels hold, (N, C) of 0 and 1 in any dtype, of the library and on the device of y.
        threshold: a label is told where its score is above; 0.5 for probabilities.

    Raises:
        TypeError: no arrays, arrays of two libraries, or scores that are not floating-point.
        ValueError: other shapes, no samples, NaN among the scores, or a t with other numbers than 0 and 1.

    >>> import numpy as np
    >>> y = np.asarray([[2.0, -1.0], [0.5, 3.0], [-1.0, -2.0]])
    >>> print(multilabel_report(y, np.asarray([[1, 0], [1, 1], [1, 0]])))
    83.33% of 6 decisions right, and all 2 of a sample in 66.67% of 3 samples
    <BLANKLINE>
       label    precision    recall      F1    samples
    --------  -----------  --------  ------  ---------
           0       1.0000    0.6667  0.8000          3
           1       1.0000    1.0000  1.0000          1
     average       1.0000    0.8333  0.9000          4
    together       1.0000    0.7500  0.8571          4
    """
    xp = namespace(y)
    check_same_backend(t, "t", backend_of(y), "y")
    if y.ndim != 2 or 0 in y.shape or tuple(t.shape) != tuple(y.shape):
        raise ValueError(
            f"y has shape {tuple(y.shape)} and t {tuple(t.shape)}, expected scores (N, C) and as many zeros and ones"
        )
    if not xp.isdtype(y.dtype, "real floating"):
        raise TypeError(f"y has scores of dtype {y.dtype}, expected floating-point")
    if bool(xp.any(xp.isnan(y))):
        raise ValueError("y has NaN among its scores; look at the loss of the network")
    check_real(t, "t")
    if not xp.isdtype(t.dtype, "bool") and not bool(xp.all((t == 0) | (t == 1))):
        raise ValueError("t has other numbers than 0 and 1; expected 1 where a label holds, and 0 elsewhere")
    told, true = y > check_number(threshold, "threshold", example="0.5 for probabilities"), xp.astype(t, xp.bool)
    right = told == true
    both, said, support = (_count(mask) for mask in (told & true, told, true))
    each = [_shares(*counts) for counts in zip(both, said, support, strict=True)]
    precision, recall, f1 = zip(*each, strict=True)
    n, c = y.shape
    exact = int(xp.sum(xp.astype(xp.all(right, axis=1), xp.int32))) / n
    micro = _shares(sum(both), sum(said), sum(support))
    return MultilabelReport(sum(_count(right)) / (n * c), exact, precision, recall, f1, micro, tuple(support), int(n))


def _count(mask: Array) -> list[int]:
    """How many are true in each column."""
    xp = namespace(mask)
    counts: list[int] = backend_of(mask).to_numpy(xp.sum(xp.astype(mask, xp.int32), axis=0)).tolist()
    return counts


def _shares(both: int, said: int, support: int) -> tuple[float, float, float]:
    """Precision, recall and F1; NaN where there is nothing to take a share of."""
    return tuple(part / of if of else nan for part, of in ((both, said), (both, support), (2 * both, said + support)))  # type: ignore[return-value]
