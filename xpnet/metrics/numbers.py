"""Numbers that a network comes near to: how much of their spread it explains, and how far off it is."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt
from typing import Any

from xpnet import _html
from xpnet._typing import Array
from xpnet.backends.dispatch import (
    backend_of,
    check_same_backend,
    namespace,
    on_device_of_first,
    quiet,
    widest_floating,
)
from xpnet.functions import check_real
from xpnet.metrics.classes import cell, without_nan

HEADERS = ("output", "R2", "MAE", "RMSE", "spread")


@dataclass(frozen=True, repr=False)
class RegressionReport:
    """What :func:`regression_report` found, in plain Python numbers; ``str()`` is a table.

    Attributes:
        r2, mae, rmse: of all outputs together, as the functions of these names have them; R² is NaN where all targets
            are the same.
        outputs: the same of each output: ``{"r2": (...), "mae": (...), "rmse": (...), "spread": (...)}``; ``spread`` is
            the standard deviation of its targets, which is the RMSE of their mean.
        samples: how many samples there are.
    """

    r2: float
    mae: float
    rmse: float
    outputs: dict[str, tuple[float, ...]]
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """The same in lists, with None for NaN, as JSON has it."""
        (r2,) = without_nan([self.r2])
        known = {"r2": r2, "mae": self.mae, "rmse": self.rmse, "samples": self.samples}
        return known | {"outputs": {name: without_nan(values) for name, values in self.outputs.items()}}

    @property
    def summary(self) -> str:
        """The line above the table."""
        return f"R2 {cell(self.r2)}, MAE {self.mae:.4g}, RMSE {self.rmse:.4g} of {self.samples:,} samples"

    def __str__(self) -> str:
        from tabulate import tabulate

        align = ["right"] * len(HEADERS)
        table = tabulate(self._cells(), HEADERS, tablefmt="simple", disable_numparse=True, colalign=align)
        return f"{self.summary}\n\n{table}"

    def __repr__(self) -> str:
        return f"RegressionReport({self.summary})"

    def _repr_html_(self) -> str:
        return _html.text(self.summary) + _html.table(HEADERS, self._cells())

    def _cells(self) -> list[list[Any]]:
        r2s, *errors = (self.outputs[name] for name in ("r2", "mae", "rmse", "spread"))
        numbers = zip(*([f"{value:.4g}" for value in column] for column in errors), strict=True)
        return [[i, cell(r2), *row] for i, (r2, row) in enumerate(zip(r2s, numbers, strict=True))]


@on_device_of_first
@quiet
def regression_report(y: Array, t: Array) -> RegressionReport:
    """R², the mean absolute error and the root of the mean squared error, of all outputs and of each.

    Args:
        y: what was predicted, floating-point, (N,) or (N, C).
        t: the numbers to come near to, in that shape (or (N,) for (N, 1)), of the library and on the device of y.

    Raises:
        TypeError: no arrays, or arrays of two libraries.
        ValueError: other shapes, no samples, or NaN or infinity.

    >>> import numpy as np
    >>> print(regression_report(np.asarray([1.0, 2.0, 3.5]), np.asarray([1.0, 2.0, 3.0])))
    R2 0.8750, MAE 0.1667, RMSE 0.2887 of 3 samples
    <BLANKLINE>
      output      R2     MAE    RMSE    spread
    --------  ------  ------  ------  --------
           0  0.8750  0.1667  0.2887    0.8165
    """
    y, t = _columns(y, t)
    xp, n = namespace(y), int(y.shape[0])
    d, around = y - t, t - xp.mean(t, axis=0)
    left, whole, off = (_host(xp.sum(part, axis=0)) for part in (d * d, around * around, xp.abs(d)))
    outputs = {
        "r2": tuple(map(_explained, left, whole)),
        "mae": tuple(v / n for v in off),
        "rmse": tuple(sqrt(v / n) for v in left),
        "spread": tuple(sqrt(v / n) for v in whole),
    }
    count = n * len(left)
    return RegressionReport(_explained(sum(left), sum(whole)), sum(off) / count, sqrt(sum(left) / count), outputs, n)


def r2(y: Array, t: Array) -> float:
    """The share of the spread of the targets that is explained: 1 - sum of (y - t)² / sum of (t - mean of t)².

    It is 1 where all is right, 0 for the mean of the targets, and less for what is worse; NaN where all targets are the
    same. Several outputs count by their variance (scikit-learn's ``"variance_weighted"``). Arguments as of
    :func:`regression_report`, which also says what is raised.

    >>> import numpy as np
    >>> r2(np.asarray([1.0, 2.0, 3.5]), np.asarray([1.0, 2.0, 3.0]))
    0.875
    """
    return regression_report(y, t).r2


def mae(y: Array, t: Array) -> float:
    """The mean absolute error, of all samples and outputs; arguments as of :func:`regression_report`.

    >>> import numpy as np
    >>> mae(np.asarray([1.0, 2.0, 3.5]), np.asarray([1.0, 2.0, 3.0]))
    0.16666666666666666
    """
    return regression_report(y, t).mae


def rmse(y: Array, t: Array) -> float:
    """The root of the mean squared error, of all samples and outputs; arguments as of :func:`regression_report`.

    >>> import numpy as np
    >>> rmse(np.asarray([1.0, 4.0]), np.asarray([1.0, 2.0])) ** 2
    2.0000000000000004
    """
    return regression_report(y, t).rmse


def _columns(y: Array, t: Array) -> tuple[Array, Array]:
    """Both as (N, C), in the widest floating-point dtype."""
    xp = namespace(y)
    check_same_backend(t, "t", backend_of(y), "y")
    shapes = tuple(y.shape), tuple(t.shape)
    alike = shapes[0] == shapes[1] or sorted(shapes, key=len) == [shapes[0][:1], (*shapes[0][:1], 1)]
    if y.ndim not in (1, 2) or 0 in y.shape or not alike:
        raise ValueError(f"y has shape {shapes[0]} and t {shapes[1]}, expected the same, (N,) or (N, C), N at least 1")
    check_real(y, "y")
    check_real(t, "t")
    width, dtype = (y.shape[0], y.shape[1] if y.ndim == 2 else 1), widest_floating(y)
    y, t = (xp.reshape(xp.astype(a, dtype), width) for a in (y, t))
    for name, a in (("y", y), ("t", t)):
        if not bool(xp.all(xp.isfinite(a))):
            raise ValueError(f"{name} has NaN or infinity in it; expected finite numbers")
    return y, t


def _explained(left: float, whole: float) -> float:
    return 1 - left / whole if whole else nan


def _host(a: Array) -> list[float]:
    values: list[float] = backend_of(a).to_numpy(a).tolist()
    return values
