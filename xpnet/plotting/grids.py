"""What is drawn as numbers: ranges, grids, and functions of any backend evaluated on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet._checks import check_count
from xpnet._typing import Array
from xpnet.backends.dispatch import Backend, backend_of, describe, dtype_name, get_backend, name_of, widest_floating

#: A lowest and a highest coordinate.
Interval = tuple[float, float]

#: From a point (2,) to one number.
PointFunction = Callable[[Array], Any]


def check_interval(interval: Any, name: str) -> Interval:
    """The two ends as floats, or ``ValueError``."""
    try:
        low, high = (float(end) for end in interval)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"{name} is {interval!r}, expected two finite numbers (low, high) with low < high")
    return low, high


def line(interval: Any, points: int, name: str) -> np.ndarray:
    """So many coordinates from the low end to the high one, both included."""
    return np.linspace(*check_interval(interval, name), check_count(points, "points", 2))


def to_host(x: Array) -> np.ndarray:
    """An array of any backend as NumPy's."""
    return backend_of(x).to_numpy(x)


class Points:
    """Where arrays for a function come from: a backend, in the widest floating-point dtype that it has."""

    def __init__(self, backend: str | Backend | None) -> None:
        self.backend = get_backend(backend)
        self._dtype = dtype_name(widest_floating(self.backend.asarray([0.0])))

    def __call__(self, values: Any) -> Array:
        return self.backend.asarray(np.array(values), self._dtype)


def on_grid(f: PointFunction, x: np.ndarray, y: np.ndarray, backend: str | Backend | None) -> np.ndarray:
    """f at every point of the grid, (len(y), len(x)), with NaN where it is not finite."""
    make = Points(backend)
    # where f has no value the picture has a gap, and that says it
    with np.errstate(all="ignore"):
        values = np.array([[_number(f(make([a, b]))) for a in x] for b in y])
    return with_gaps(values, "f", f"x from {x[0]:g} to {x[-1]:g}, y from {y[0]:g} to {y[-1]:g}")


def with_gaps(values: np.ndarray, name: str, where: str) -> np.ndarray:
    """The values with NaN for whatever is not finite; a ``ValueError`` if nothing is."""
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError(f"{name} is NaN or infinite everywhere on {where}; draw it where it has finite values")
    return np.where(finite, values, np.nan)


def _number(value: Any) -> float:
    shape = tuple(getattr(value, "shape", ()))
    if shape:
        raise ValueError(
            f"f returned an array of shape {shape} for one point, expected one number (a float or a 0-d array); "
            "f is given a point (2,) at a time"
        )
    try:
        return float(value)
    except TypeError:
        raise ValueError(f"f returned a value {describe(value)}, expected one number") from None


def vector(value: Any) -> np.ndarray:
    """What a gradient returned for one point, on the host."""
    shape = tuple(getattr(value, "shape", ()))
    if name_of(value) is None or shape != (2,):
        found = f"an array of shape {shape}" if name_of(value) else f"a value {describe(value)}"
        raise ValueError(f"gradient returned {found} for a point (2,), expected an array of shape (2,)")
    return to_host(value)
