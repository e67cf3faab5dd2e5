"""Arrays as JSON has them for the page: small, and with the scale by which they are to be read."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

#: Values become whole numbers from -127 to 127, which is as many shades as one can see.
LEVELS = 127


def in_base64(values: np.ndarray) -> str:
    """The bytes of an array of one byte a value."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def scaled(values: np.ndarray) -> dict[str, Any]:
    """Values of either sign: ``values``, int8 in base64, of which 127 stands for ``largest``.

    >>> scaled(np.asarray([0.0, -2.0, 1.0]))
    {'values': 'AIFA', 'largest': 2.0}
    """
    wide = values.astype(np.float64)
    largest = float(np.max(np.abs(wide), initial=0.0))
    levels = np.rint(wide * (LEVELS / largest)) if largest else wide
    return {"values": in_base64(levels.astype(np.int8)), "largest": largest}
