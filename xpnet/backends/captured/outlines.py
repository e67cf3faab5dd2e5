"""Recording from shapes and dtypes alone: nothing is computed, and no value of a device is looked at.

Arrays of the host stand for those of the device. Where a function would compute something large, an array of zeros
stands for what it returns, of which the system gives memory when it is read: a step that multiplies for seconds on a
CPU is recorded at once.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from xpnet.backends.captured.source import ufunc_dtypes
from xpnet.backends.replay.program import Ref, order_of
from xpnet.backends.replay.tracer import Recorder, Tracer


class Outline(Tracer):
    """An array of CuPy's: it has no numbers in the place of arrays without axes, and indexing it gives a view."""

    __slots__ = ()
    __xpnet_backend__ = "cupy"

    @property
    def scalar(self) -> bool:
        return False

    @scalar.setter
    def scalar(self, value: bool) -> None:
        """It never is."""

    def __getitem__(self, key: Any) -> Tracer:
        return self._part(key if isinstance(key, tuple) else (key,))


class OutlineRecorder(Recorder):
    """A recorder that computes with constants alone."""

    @property
    def tracer(self) -> type[Tracer]:
        return Outline

    def computed(self, name: str, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        arrays = [self.operand(x) for x in args]
        if not all(x.root.folds for x in arrays if isinstance(x, Ref)):
            values = [x.array if isinstance(x, Tracer) else x for x in args]
            if name == "matmul" and all(isinstance(x, np.ndarray) and x.ndim > 1 for x in values):
                return product(*values)
            if isinstance(function, np.ufunc) and function.signature is None and not options:
                return outline(function, values)
        found = super().computed(name, function, args, options)
        return np.asarray(found) if isinstance(found, np.generic) else found

    def write(self, function: Callable[..., Any], target: Tracer, *args: Any) -> None:
        """Nobody reads what an array of the device holds."""


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What stands for ``matmul(a, b)``."""
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit")
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    return np.zeros(shape, np.result_type(a, b))


def outline(function: np.ufunc, values: list[Any]) -> np.ndarray:
    """What stands for a result of a ufunc; it lies in memory as NumPy, and CuPy, would have it lie."""
    dtype, arrays = ufunc_dtypes(function, values)[-1], [x for x in values if isinstance(x, np.ndarray)]
    operands: Any = [*arrays, None]
    flags: Any = [*([["readonly"]] * len(arrays)), ["writeonly", "allocate"]]
    like = np.nditer(operands, ["zerosize_ok"], flags, [*(a.dtype for a in arrays), dtype]).operands[-1]
    zeros = np.zeros(prod(like.shape) * dtype.itemsize, np.uint8)
    return np.asarray(Ref(like.shape, dtype, order=order_of(like)).laid_out(zeros))
