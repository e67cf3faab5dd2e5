"""Random numbers of own rows: those that one process would have drawn for them, without drawing the others."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

#: Bit generators that can be moved on by any number of words of 64 bits at once.
MOVABLE = (np.random.PCG64, np.random.PCG64DXSM)


class OwnRows:
    """A ``numpy.random.Generator`` whose :meth:`random` gives own rows alone, and ends where all rows would have led.

    All else is that of the generator, which draws the whole.

    Args:
        rng: the generator, which is drawn from.
        mine: which rows are own.
        rows: how many there are.

    >>> whole, part = np.random.default_rng(0), OwnRows(np.random.default_rng(0), slice(2, 4), 5)
    >>> bool((whole.random((5, 3))[2:4] == part.random((5, 3))).all()), bool(whole.random() == part.random())
    (True, True)
    """

    def __init__(self, rng: np.random.Generator, mine: slice, rows: int) -> None:
        self._rng, self._mine, self._rows = rng, mine, rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rng, name)

    def random(self, size: Any = None, dtype: Any = np.float64, **options: Any) -> Any:
        """Numbers in [0, 1) of shape ``size``, or of own rows where its first axis is that of all rows."""
        shape = size if isinstance(size, tuple) else ()
        if options or not shape or shape[0] != self._rows or not isinstance(self._rng.bit_generator, MOVABLE):
            return self._rng.random(size, dtype, **options)
        a_row, halves = prod(shape[1:]), np.dtype(dtype) == np.float32
        self._skip(self._mine.start * a_row, halves)
        found = self._rng.random((self._mine.stop - self._mine.start, *shape[1:]), dtype)
        self._skip((self._rows - self._mine.stop) * a_row, halves)
        return found

    def _skip(self, numbers: int, halves: bool) -> None:
        """Leave out so many numbers: those of 32 bits take half a word each, and the second half is kept."""
        bits: Any = self._rng.bit_generator
        if not numbers:
            return
        kept = bits.state
        if not halves:
            bits.advance(numbers)
            bits.state = bits.state | {name: kept[name] for name in ("has_uint32", "uinteger")}
            return
        numbers -= kept["has_uint32"]
        bits.advance(numbers // 2)  # which forgets the half that was kept
        if numbers % 2:
            self._rng.random(1, np.float32)
