"""Arrays that states and gradients begin as: a number on the device of another array, gradients wide enough to add."""

from __future__ import annotations

from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import device, namespace


def entry(w: Array) -> Array:
    """An entry of w, for 0-d arrays to be made like.

    They are then on the device of w, and committed to it only if w is: compiled code gets arrays of one kind in the
    first step and in all others.
    """
    if 0 in w.shape:
        return namespace(w).zeros((), dtype=w.dtype, device=device(w))
    return w[(0,) * w.ndim]


def floating_like(g: Array, w: Array) -> Array:
    """A gradient as it is if it is floating-point, else in the dtype of its parameter, and at least in float32."""
    xp = namespace(w)
    if not hasattr(g, "dtype"):  # what some libraries make of computations with 0-d arrays
        g = xp.full_like(w, g)
    dtype = g.dtype if xp.isdtype(g.dtype, "real floating") else w.dtype
    dtype = dtype if xp.finfo(dtype).bits >= 32 else xp.float32
    return g if g.dtype == dtype else xp.astype(g, dtype)


def narrowed(x: Any, dtype: Any) -> Any:
    """Arrays, alone or in a tuple, in this dtype; anything else as it is."""
    if isinstance(x, tuple):
        return tuple(narrowed(each, dtype) for each in x)
    return namespace(x).astype(namespace(x).asarray(x), dtype) if hasattr(x, "dtype") else x
