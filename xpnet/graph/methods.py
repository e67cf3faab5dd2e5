"""What variables have as methods: NumPy's, and every function of one array's entries by its name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from xpnet.graph.operations import OPERATIONS

#: Methods of NumPy's arrays that are functions of the namespace by the same name.
SAME = frozenset(
    [
        "all",
        "any",
        "argmax",
        "argmin",
        "argsort",
        "astype",
        "clip",
        "compress",
        "conj",
        "conjugate",
        "copy",
        "cumprod",
        "cumsum",
        "diagonal",
        "dot",
        "max",
        "mean",
        "min",
        "nonzero",
        "prod",
        "ptp",
        "ravel",
        "repeat",
        "round",
        "searchsorted",
        "squeeze",
        "std",
        "sum",
        "swapaxes",
        "take",
        "trace",
        "var",
    ]
)
#: Those that write into the array, and what to call.
IN_PLACE = frozenset(("sort", "partition", "fill", "put", "resize", "itemset", "setfield"))


def _reshape(v: Any, *shape: Any, **options: Any) -> Any:
    if "order" in options and options.pop("order") not in ("C", "A"):
        raise TypeError("reshape is recorded with order='C'")
    lengths: Any = options.pop("shape", shape[0] if len(shape) == 1 else shape)
    return v.xp.reshape(v, (lengths,) if isinstance(lengths, int) else tuple(lengths), **options)


def _transpose(v: Any, *axes: Any) -> Any:
    order: Any = axes if len(axes) != 1 or isinstance(axes[0], int) else tuple(axes[0] or ())
    return v.xp.transpose(v, order or None)


METHODS: dict[str, Callable[..., Any]] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "permute": _transpose,
    "flatten": lambda v, order="C": v.xp.ravel(v, order),
    "view": lambda v, *shape: _reshape(v, *shape),
}


def method(v: Any, name: str) -> Callable[..., Any] | None:
    """The bound method of that name, or None."""
    if name in METHODS:
        return functools.partial(METHODS[name], v)
    if name in SAME or (name in OPERATIONS and _is_of_entries(name)):
        return functools.partial(getattr(v.xp, name), v)
    return None


@functools.cache
def _is_of_entries(name: str) -> bool:
    operation = OPERATIONS[name]
    return operation.operands == 1 and not operation.options and operation.each is None and not operation.own
