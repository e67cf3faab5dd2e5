"""What a script calls ``np``: NumPy, or the namespace of a device that stands in for it."""

from __future__ import annotations

from typing import Any

import numpy as np

_current: Any = np


def numbers() -> Any:
    """The namespace in use, which random numbers and new arrays of the book's modules come from."""
    return _current


def use(namespace: Any) -> None:
    """From here on it is this one."""
    global _current
    _current = namespace
