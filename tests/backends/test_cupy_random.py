"""Steps drawn at random, captured: what a graph computes is what CuPy computes call by call, to the last bit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from capturing import assert_same, on_device
from random_steps import drawn, step_of

from xpnet import CompileWarning, get_backend
from xpnet.backends.base import Block, PlainStep
from xpnet.backends.dispatch import backend_status

if problem := backend_status("cupy").problem:
    pytest.skip(problem, allow_module_level=True)


def refused(lines, args, b):
    """Why the step was not captured, if it was not; ``None`` also where CuPy cannot take it at all."""
    step, (state, x, t, rows) = step_of(lines), args
    data, block, captured = on_device(b, {"x": x, "t": t}), Block(rows, {}), b.compile(step)
    try:
        wanted = PlainStep(step, b).run(on_device(b, state), data, block)
    except (TypeError, ValueError):
        return None  # what NumPy makes of a number, for one, which CuPy has not
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)
        found = captured.run(on_device(b, state), data, block)
    try:
        assert_same(b, [wanted, found])
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(lines)) from None
    return captured.reason


@pytest.mark.parametrize("part", range(5))
def test_steps_drawn_at_random(part):
    b, found = get_backend("cupy"), []
    for seed in range(1000 + 20 * part, 1020 + 20 * part):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found += filter(None, [refused(*drawn(seed), b)])
    # products of two dtypes
    assert len(found) <= 3, found
