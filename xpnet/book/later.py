"""An array that is computed when somebody looks at it: the gradient of a network's input, which hardly anybody does.

The book's ``backward`` of a first layer returns it like that of any other, and its scripts drop it. It takes as long as
the gradient of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin


class Later(NDArrayOperatorsMixin):
    """Computes like the array of NumPy that ``compute`` returns, which is asked once, or not at all.

    >>> later = Later(lambda: np.arange(3.0))
    >>> later.shape, later * 2, float(np.sum(later))
    ((3,), array([0., 2., 4.]), 3.0)
    """

    def __init__(self, compute: Callable[[], np.ndarray]) -> None:
        self._compute = compute
        self._found: np.ndarray | None = None

    def now(self) -> np.ndarray:
        if self._found is None:
            self._found = self._compute()
            del self._compute  # and with it what it was computed of
        return self._found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.now(), dtype=dtype, copy=copy)

    def __array_ufunc__(self, function: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if "out" in options:
            options["out"] = tuple(map(now, options["out"]))
        return getattr(function, method)(*map(now, inputs), **options)

    def __reduce__(self) -> Any:
        return np.asarray, (self.now(),)  # pickled and copied as the array

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked for by those who find out what this is
            raise AttributeError(name)
        return getattr(self.now(), name)

    def __getitem__(self, key: Any) -> Any:
        return self.now()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.now()[key] = now(value)

    def __len__(self) -> int:
        return len(self.now())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.now())

    def __repr__(self) -> str:
        return repr(self.now())

    def __str__(self) -> str:
        return str(self.now())


def now(x: Any) -> Any:
    """x, computed if that was left for later."""
    return x.now() if isinstance(x, Later) else x
