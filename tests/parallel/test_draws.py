"""Own rows of what one process would draw, and its place in the generator behind them."""

import numpy as np
import pytest

from xpnet.parallel.draws import OwnRows


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("width", [1, 2, 7])
@pytest.mark.parametrize(("start", "stop"), [(0, 3), (3, 5), (5, 9), (8, 9)])
def test_own_rows_are_those_of_the_whole(kind, dtype, before, width, start, stop):
    """Also after an odd number of halves of words, of which the generator keeps one."""
    whole, source = (np.random.Generator(kind(3)) for _ in range(2))
    for rng in (whole, source):
        rng.random(before, np.float32)
    part = OwnRows(source, slice(start, stop), 9)
    for _ in range(3):
        expected, found = whole.random((9, width), dtype), part.random((9, width), dtype)
        found = found if len(found) < 9 else found[start:stop]  # drawn whole, where a generator cannot be moved on
        assert found.tobytes() == expected[start:stop].tobytes()
    assert source.random(3, np.float32).tobytes() == whole.random(3, np.float32).tobytes()
    assert source.random(3).tobytes() == whole.random(3).tobytes()


def test_what_is_not_of_rows_is_drawn_whole():
    whole, part = np.random.default_rng(3), OwnRows(np.random.default_rng(3), slice(1, 2), 9)
    for shape in (None, 4, (4, 9)):
        np.testing.assert_array_equal(part.random(shape), whole.random(shape))
    np.testing.assert_array_equal(part.normal(size=(9, 2)), whole.normal(size=(9, 2)))
