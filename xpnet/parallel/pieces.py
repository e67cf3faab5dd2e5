"""Arrays shared out over processes: laid end to end, a piece of the whole for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, starmap

import numpy as np

#: By ranks, the entries that each process has of some arrays: flat views.
Pieces = list[list[np.ndarray]]
#: The update of an array takes as long as if it had so many entries more, for the calls; and parts begin in multiples
#: of so many entries of it, as vector instructions like.
APIECE, ALIGNED = 8192, 16


def balanced(sizes: Sequence[int], processes: int) -> list[slice]:
    """Parts of arrays of these sizes, laid end to end, whose updates take as long as each other's, by ranks."""
    total = sum(sizes) + APIECE * len(sizes)
    ends = [_entries(sizes, total * rank / processes) for rank in range(processes)]
    return list(starmap(slice, pairwise([*ends, sum(sizes)])))


def _entries(sizes: Sequence[int], cost: float) -> int:
    """Of how many entries, from the first on, the updates cost so much."""
    start = 0
    for size in sizes:
        if cost < APIECE + size:
            return start + max(int(cost - APIECE), 0) // ALIGNED * ALIGNED
        start, cost = start + size, cost - APIECE - size
    return start


def ranges(sizes: Sequence[int], part: slice) -> list[slice]:
    """Which entries of arrays of these sizes are in this part of all of them, laid end to end.

    >>> ranges([3, 4, 2], slice(2, 5))
    [slice(2, 3, None), slice(0, 2, None), slice(0, 0, None)]
    """
    found, start = [], 0
    for size in sizes:
        found.append(slice(min(max(part.start - start, 0), size), min(max(part.stop - start, 0), size)))
        start += size
    return found


def pieces(arrays: Sequence[np.ndarray], parts: Sequence[slice]) -> Pieces:
    """Views of the entries in each part of these arrays, which lie row after row."""
    sizes, flat = [array.size for array in arrays], [array.reshape(-1) for array in arrays]
    return [
        [array[own] for array, own in zip(flat, ranges(sizes, part), strict=True) if own.start < own.stop]
        for part in parts
    ]


def spans(views: Sequence[np.ndarray], start: int, stop: int) -> Iterator[tuple[np.ndarray, slice]]:
    """Entries ``start`` to ``stop`` of views laid end to end: of each view those, and where they are among them."""
    done = 0
    for view, own in zip(views, ranges([view.size for view in views], slice(start, stop)), strict=True):
        if size := own.stop - own.start:
            yield view[own], slice(done, done + size)
            done += size
