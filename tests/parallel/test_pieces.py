"""How arrays are shared out over processes, without any."""

from itertools import pairwise

import numpy as np
import pytest

from xpnet.parallel import pieces
from xpnet.parallel.pieces import balanced, spans

RNG = np.random.default_rng(0)
SIZES = [[5], [392_000, 500, 250_000, 500, 5000, 10], [1, 1], [0, 3, 0], [100_000] * 7, RNG.integers(0, 10**5, 20)]


@pytest.mark.parametrize("processes", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"{len(sizes)}")
def test_each_entry_is_in_one_part(sizes, processes):
    parts = balanced(sizes, processes)
    assert (len(parts), parts[0].start, parts[-1].stop) == (processes, 0, sum(sizes))
    assert all(part.start <= part.stop for part in parts)
    assert all(a.stop == b.start for a, b in pairwise(parts))


def test_parts_cost_as_much_as_each_other():
    """One with many small arrays has fewer entries, as each array takes calls of its own."""
    sizes = [1_000_000, *[100] * 20]
    first, second = balanced(sizes, 2)
    costs = [part.stop - part.start + arrays * pieces.APIECE for part, arrays in ((first, 1), (second, 21))]
    assert abs(costs[0] - costs[1]) <= pieces.APIECE + pieces.ALIGNED
    assert first.stop % pieces.ALIGNED == 0


def test_pieces_are_views_of_all_entries(monkeypatch):
    monkeypatch.setattr(pieces, "APIECE", 0)
    arrays = [np.zeros((30, 7)), np.zeros(5), np.zeros((2, 3, 11))]
    found = pieces.pieces(arrays, balanced([array.size for array in arrays], 4))
    for rank, views in enumerate(found):
        for view in views:
            view += rank + 1
    flat = np.concatenate([array.reshape(-1) for array in arrays])
    assert set(flat) == {1.0, 2.0, 3.0, 4.0}
    assert (np.diff(flat) >= 0).all()


def test_spans_go_over_views_in_turns():
    views = [np.arange(3), np.arange(3, 10), np.arange(10, 11)]
    for room in (1, 4, 11, 100):
        out = np.full(11, -1)
        for start in range(0, 11, room):
            for view, here in spans(views, start, start + room):
                assert 0 <= here.start < here.stop <= room
                out[start:][here] = view
        assert out.tolist() == list(range(11))
