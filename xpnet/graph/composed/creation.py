"""Functions that make arrays: of numbers, which are constants then, and of variables."""

from __future__ import annotations

from typing import Any

from xpnet._typing import Array
from xpnet.backends.base import backend_class
from xpnet.backends.dispatch import device as device_of
from xpnet.backends.dispatch import name_of
from xpnet.graph.operations import add, is_complex
from xpnet.graph.recording import Recording, composed, created, holds_variable, value
from xpnet.graph.wrapper import Wrapper


@composed("linspace")
def linspace(
    xp: Recording,
    start: Any,
    stop: Any,
    /,
    num: int = 50,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: bool = True,
) -> Array:
    """Numbers at equal distances from ``start`` to ``stop``."""
    if not isinstance(start, Wrapper) and not isinstance(stop, Wrapper):
        options = {"dtype": xp.dtype(dtype), "device": device, "endpoint": endpoint}
        return created(xp, xp.library.linspace(start, stop, num, **options), start, stop)
    like = start if isinstance(start, Wrapper) else stop
    options = {"dtype": like.dtype, "device": like.device if device is None else device}
    way = xp.library.linspace(0.0, 1.0, num, endpoint=endpoint, **options)
    way = xp.reshape(way, (num, *[1] * max(getattr(end, "ndim", 0) for end in (start, stop))))
    found = start * (1 - way) + stop * way
    return found if dtype is None else xp.astype(found, dtype)


@composed("logspace")
def logspace(
    xp: Recording, start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: float = 10.0, dtype: Any = None
) -> Array:
    """Numbers of equal ratios, from base^start to base^stop."""
    return base ** xp.linspace(start, stop, num, endpoint=endpoint, dtype=dtype)


@composed("geomspace")
def geomspace(xp: Recording, start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None) -> Array:
    """Numbers of equal ratios, from ``start`` to ``stop``, which have one sign."""
    like = start if isinstance(start, Wrapper) else stop
    options = {"dtype": like.dtype, "device": like.device} if isinstance(like, Wrapper) else {"dtype": dtype}
    ends = [xp.asarray(end, **options) * 1.0 for end in (start, stop)]
    sizes = (xp.log(xp.abs(end)) for end in ends)
    return xp.sign(ends[0]) * xp.exp(xp.linspace(*sizes, num, endpoint=endpoint))


@composed("full")
def full(xp: Recording, shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Array:
    """A number in every place of a shape."""
    if not isinstance(fill_value, Wrapper):
        return created(xp, xp.library.full(shape, fill_value, dtype=xp.dtype(dtype), device=device), fill_value)
    found = xp.asarray(fill_value, dtype=dtype, device=device)
    return xp.broadcast_to(found, (shape,) if isinstance(shape, int) else tuple(shape))


COPY = add("copy", lambda xp, g, y, x: g, symbol="copy", own=True)


@composed("asarray", "array")
def asarray(xp: Recording, obj: Any, /, dtype: Any = None, *, device: Any = None, copy: bool | None = None) -> Array:
    """A variable as it is, in another dtype, on another device or as a copy; lists of them are stacked.

    Numbers, lists of them and arrays are constants.
    """
    if isinstance(obj, list | tuple) and holds_variable(obj):
        obj = _stacked(xp, obj)
    if not isinstance(obj, Wrapper):
        options = {} if device is None else {"device": device}
        made = xp.library.asarray(obj, dtype=xp.dtype(dtype), copy=copy, **options)
        return created(xp, made, obj if isinstance(obj, float) or hasattr(obj, "shape") else made)
    found = obj if device is None else obj.to_device(device)
    found = found if dtype is None else xp.astype(found, dtype)
    if copy is False and found is not obj:
        raise ValueError("asarray was told not to copy, and this needs another dtype or device")
    return xp.record(COPY, (found,)) if copy and found is obj else found


def _stacked(xp: Recording, parts: Any) -> Array:
    """Nested lists of variables, arrays and numbers as one array, in the dtype that holds all of them."""
    parts = [_stacked(xp, p) if isinstance(p, list | tuple) and holds_variable(p) else p for p in parts]
    like = next(p for p in parts if isinstance(p, Wrapper))
    made = [p if hasattr(p, "shape") else xp.library.asarray(p, device=like.device) for p in parts]
    numbers = [not hasattr(p, "shape") for p in parts]
    dtype = xp.library.result_type(*(value(p).dtype for p, number in zip(made, numbers, strict=True) if not number))
    if any(isinstance(p, complex) for p in parts) and not is_complex(xp, dtype):
        dtype = xp.library.result_type(dtype, xp.library.complex64)
    return xp.stack([xp.astype(p, dtype) for p in made])


@composed("copy")
def copied(xp: Recording, x: Array) -> Array:
    """The same values in memory of their own."""
    return xp.record(COPY, (x,)) if isinstance(x, Wrapper) else xp.library.asarray(x, copy=True)


def _moved(x: Any, device: Any) -> Array:
    name = name_of(x)
    assert name is not None
    return backend_class(name)(device).asarray(x)


MOVED = add(
    "moved",
    lambda xp, g, y, x, device: xp.moved(g, device_of(x)),
    options=("device",),
    symbol="to device",
    compute=_moved,
    own=True,
)


@composed("moved")
def moved(xp: Recording, x: Array, device: Any) -> Array:
    """The same values on another device of the library."""
    return xp.record(MOVED, (x,), {"device": device}) if isinstance(x, Wrapper) else _moved(x, device)


@composed("from_dlpack")
def from_dlpack(xp: Recording, x: Array, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """A variable as it is: it is of this library already; an array of another library as a constant."""
    if not isinstance(x, Wrapper):
        options = {key: option for key, option in (("device", device), ("copy", copy)) if option is not None}
        return created(xp, xp.library.from_dlpack(x, **options), x)
    return xp.asarray(x, device=device, copy=copy)
