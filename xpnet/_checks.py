"""Checks of numbers and switches: made plain Python values, or refused with what was expected.

Where a number is expected there may be one for each of several networks (:class:`xpnet._numbers.Numbers`), which is
computed with as a number is.
"""

from __future__ import annotations

from math import inf, nan
from numbers import Real
from operator import index
from typing import Any, cast

import numpy as np

from xpnet._numbers import Numbers


def check_positive(value: Any, name: str, example: str) -> float:
    """A positive finite number as a Python float, or ``ValueError``, which ends with ``"0.1 for example"``."""
    if isinstance(value, Numbers):
        return cast(float, value.each(lambda each: check_positive(each, name, example)))
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
    if isinstance(value, Numbers):
        limits: dict[str, Any] = {"least": least, "above": above, "below": below, "most": most, "example": example}
        return cast(float, value.each(lambda each: check_number(each, name, **limits)))
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
    number = None if isinstance(value, bool) else whole(value)
    if number is None or number < least:
        more = f", {example}" if example else ""
        raise ValueError(f"{name} is {value!r}, expected a whole number, {least} or more{more}")
    return number


def whole(value: Any) -> int | None:
    """A whole number as Python's; None if it is none. A 0-d array of integers is one, in some libraries no index."""
    if getattr(value, "shape", ()) != ():
        return None
    try:
        return index(value)
    except (TypeError, AttributeError):
        return int(value) if _is_number_array(value) and "int" in str(value.dtype) else None


def check_switch(value: Any, name: str) -> bool:
    """True or False, also NumPy's, as Python's; else ``ValueError``."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} is {value!r}, expected True or False")
    return bool(value)


def _number(value: Any) -> float:
    """The value as a Python float; NaN, which is within no bounds, if it is no number or too large for one."""
    if isinstance(value, bool) or not (isinstance(value, Real) or _is_number_array(value)):
        return nan
    try:
        return float(value)
    except OverflowError:
        return nan


def _is_number_array(value: Any) -> bool:
    """Whether it is an array without axes that holds a number, as computing with numbers often gives."""
    kind = str(getattr(value, "dtype", ""))
    return getattr(value, "shape", None) == () and ("float" in kind or "int" in kind)


def _shown(value: Any) -> str:
    """The value as text that fits in a message."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write out integers of thousands of digits
        return "a very large integer"
    return text if len(text) <= 100 else f"{text[:20]}... ({len(text)} characters)"
