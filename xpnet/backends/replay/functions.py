"""Which functions of the standard can be replayed, beside NumPy's ufuncs, and which of NumPy's are best for it."""

from __future__ import annotations

from typing import Any

import numpy as np

_NAMES = """
all any argmax argmin argsort asarray astype broadcast_to ceil clip concat count_nonzero cross cumulative_prod
cumulative_sum diff expand_dims flip floor matmul matrix_transpose max mean min moveaxis outer permute_dims prod
repeat reshape roll round searchsorted sign sort squeeze stack std sum take take_along_axis tensordot tile tril triu
trunc var vecdot where
"""
#: Functions whose result is one array of a shape that does not depend on values, besides NumPy's ufuncs.
RECORDED = set(_NAMES.split())
#: Functions whose result is known by the shape of what they are given.
LIKE = {"empty_like", "full_like", "ones_like", "zeros_like"}
#: Functions that make arrays out of nothing but numbers.
CREATION = {"arange", "asarray", "empty", "eye", "full", "linspace", "ones", "zeros"}
#: Functions that tell something about dtypes, and need no values.
ABOUT = {"can_cast", "finfo", "iinfo", "isdtype", "result_type"}


def plainest(name: str, function: Any, args: tuple[Any, ...]) -> Any:
    """NumPy's own ufunc where the library's function differs from it for complex numbers or integers only."""
    own = getattr(np, name, None)
    arrays = [x for x in args if hasattr(x, "__array_namespace__") and not isinstance(x, type)]  # dtypes are types
    floating = all(x.dtype.kind == "f" for x in arrays)
    return own if floating and isinstance(own, np.ufunc) and own.signature is None else function


def same_place(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same elements of the same memory."""
    return (a.ctypes.data, a.shape, a.strides) == (b.ctypes.data, b.shape, b.strides)
