"""What a network is given by its user, looked at once and refused with a reason; nothing of this runs in a step."""

from __future__ import annotations

from math import inf, nan
from numbers import Real
from typing import Any

import numpy as np

from xpnet._typing import Array, Loss
from xpnet.backend import Backend, check_same_backend, dtype_name, namespace, traced


def check_input(x: Any, backend: Backend, dtype: Any, name: str = "x") -> None:
    """Raise unless ``x`` is a non-empty floating-point array of this backend, device and dtype; reads no values.

    Raises:
        TypeError: another backend, no array at all, integers, or another dtype.
        ValueError: another device, or no samples.
    """
    check_same_backend(x, name, backend, "the network")
    if x.dtype != dtype:
        wanted, xp = dtype_name(dtype), namespace(x)
        if xp.isdtype(x.dtype, ("integral", "bool")):
            raise TypeError(
                f"{name} is {dtype_name(x.dtype)}, the network computes in {wanted}; scale images to 0..1 first, "
                f"xp.astype({name}, xp.{wanted}) / 255, as xpnet.datasets.mnist(normalize=True) does, or train with "
                "Trainer(..., divide_x_by=255)"
            )
        raise TypeError(
            f"{name} has dtype {x.dtype}, the network computes in {wanted} (the dtype it was made with); "
            f"convert with xp.astype({name}, xp.{wanted})"
        )
    if x.ndim == 0 or x.shape[0] == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: there are no samples in it")


def check_samples(
    x: Any,
    t: Any,
    *,
    backend: Backend,
    dtype: Any,
    outputs: int,
    loss: Loss,
    names: tuple[str, str] = ("x", "t"),
    integers: bool = False,
) -> None:
    """Raise unless ``x`` and ``t`` can be trained on: what :func:`check_input` says, finite, and targets that fit.

    With ``integers``, x may be of any integer dtype as well, as it will be converted a batch at a time.

    It reads the values, so it waits for the device. Labels are looked at here and nowhere else: some libraries wrap
    an index that is out of range instead of refusing it.
    """
    x_name, t_name = names
    check_same_backend(x, x_name, backend, "the network")
    converted = integers and namespace(x).isdtype(x.dtype, "integral")
    check_input(x, backend, x.dtype if converted else dtype, x_name)
    check_same_backend(t, t_name, backend, "the network")
    if t.ndim == 0 or t.shape[0] != x.shape[0]:
        count = t.shape[0] if t.ndim else 1
        raise ValueError(f"{x_name} has {x.shape[0]} samples and {t_name} has {count}; expected as many")
    if not traced(x):
        check_finite(x, x_name)
        loss.check((x.shape[0], outputs), t, t_name)


def check_finite(x: Array, name: str = "x") -> None:
    """Raise ``ValueError`` if there is a NaN or an infinity in ``x``, with how many and the first sample with one."""
    xp = namespace(x)
    finite = xp.isfinite(x)
    if bool(xp.all(finite)):
        return
    bad = xp.reshape(xp.astype(~finite, xp.int32), (x.shape[0], -1))
    first = int(xp.argmax(xp.max(bad, axis=1)))
    raise ValueError(f"{name} has {int(xp.sum(bad))} values that are NaN or infinite, the first in sample {first}")


def check_positive(value: Any, name: str, example: str) -> float:
    """A positive finite number as a Python float, or ``ValueError``, which ends with ``"0.1 for example"``."""
    number = _number(value)
    if not 0 < number < inf:
        raise ValueError(f"{name} is {_shown(value)}, expected a positive number, {example}")
    return number


def check_number(
    value: Any,
    name: str,
    *,
    least: float = -inf,
    above: float = -inf,
    below: float = inf,
    most: float = inf,
    example: str = "",
) -> float:
    """A finite number within the bounds as a Python float, or ``ValueError``.

    >>> check_number(0.5, "momentum", least=0, below=1)
    0.5
    """
    number = _number(value)
    if above < number < below and least <= number <= most:
        return number
    lower = f"more than {above}" if above > -inf else f"{least} or more" if least > -inf else ""
    upper = f"less than {below}" if below < inf else f"{most} or less" if most < inf else ""
    bounds = " and ".join(bound for bound in (lower, upper) if bound)
    expected = ", ".join(part for part in ("a finite number", bounds, example) if part)
    raise ValueError(f"{name} is {_shown(value)}, expected {expected}")


def check_count(value: Any, name: str, least: int = 1, example: str = "") -> int:
    """A whole number of at least ``least``, or ``ValueError``."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < least:
        more = f", {example}" if example else ""
        raise ValueError(f"{name} is {value!r}, expected a whole number, {least} or more{more}")
    return int(value.__index__())


def check_switch(value: Any, name: str) -> bool:
    """True or False, also NumPy's, as Python's; else ``ValueError``."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} is {value!r}, expected True or False")
    return bool(value)


def _number(value: Any) -> float:
    """The value as a Python float; NaN, which is within no bounds, if it is no number or too large for one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return nan
    try:
        return float(value)
    except OverflowError:
        return nan


def _shown(value: Any) -> str:
    """The value as text that fits in a message."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write out integers of thousands of digits
        return "a very large integer"
    return text if len(text) <= 100 else f"{text[:20]}... ({len(text)} characters)"
