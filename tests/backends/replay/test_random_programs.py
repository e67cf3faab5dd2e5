"""Steps drawn at random: what is replayed is what NumPy computes, to the last bit, or it is not replayed and a warning
says so.

``random_steps.py`` draws them.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from random_steps import START, arguments, drawn, stays_small, step_of
from replaying import NUMPY, copied, one_step, run

from xpnet import CompileWarning, namespace


def replayed(lines, args):
    """Why the recorded step did not run, if it did not; it has to have done the same as the step itself."""
    step, (state, x, t, block) = step_of(lines), args
    recorded = NUMPY.compile(step)
    expected, losses = run(step, copied(state), x, t, block)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)
        found, again = run(recorded, copied(state), x, t, block)
    for name, a, b in [("loss", losses, again), *((name, expected[name], found[name]) for name in state)]:
        np.testing.assert_array_equal(b, a, err_msg=f"{name}, of\n" + "\n".join(lines))
    return recorded.reason


@pytest.mark.parametrize("part", range(9))
def test_steps_drawn_at_random(part):
    refused = []
    for seed in range(20 * part, 20 * part + 20):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of means of nothing, for example, which are not kept
            lines, args = drawn(seed)
            refused += filter(None, [replayed(lines, args)])
    assert len(refused) <= 2, refused


CASES = {
    "reshape of what lies column by column": "a = xp.matrix_transpose(b) * 2.0; y0 = xp.reshape(a.T, (-1,)) ** 2",
    "a scaled slice, reshaped": "y0 = xp.matmul(xp.reshape(2.0 * (b + 1.0)[:, :2], (2, 3)), b[:, :1])",
    "a column of the first row": "y0 = b + 0.0; y0[:, 0] = y0[0, :]; s['v'] += y0[0]; s['v'] += y0[1]",
    "its own transpose": "y0 = b + 0.0; y0[...] = y0.T; s['v'] += y0[0]",
    "a number of the same name": "a = xp.sum(b); c = a; c += 1.0; y0 = a * 1.0",
    "an element, then its array": "a = xp.sum(b, axis=0); c = a[0]; a += 1.0; y0 = c * 1.0",
    "a factor that changes": "a = s['k'] * b; s['k'] += 1.0; y0 = xp.matmul(a, b[:, 0])",
    "a factor of integers": "a = xp.astype(xp.floor(b * 3.0), xp.int64); y0 = 0.5 * xp.matmul(xp.concat([b, b]), a)",
    "a sum of another dtype": "a = xp.astype(b, xp.float32); y0 = xp.sum(a * (a + 1), dtype=xp.float64)",
    "a condition of integers": "y0 = xp.where(xp.astype(b * 2.0, xp.int64), b, 0.0)",
    "divided by what has no reciprocal": "y0 = xp.astype(b, xp.float32) * 0.0; y1 = y0 / 1e-39",
    "a mean of many halves": "y0 = xp.astype(xp.full_like(b, 3e4) + b, xp.float16); y1 = xp.mean(y0); y1 = y1 / 1e3",
    "a negative zero": "y0 = xp.atan2(xp.abs(b) * 0.0, -0.0)",
    "a number spread and cast": "a = xp.sum(b, axis=0) * 9; y0 = xp.astype(xp.broadcast_to(a[1:2], (3,)), xp.int64)",
    "part of a new array": "y0 = xp.zeros_like(b); y0[:, 0] = b[0]; y0[1] += 2.0",
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_steps_that_were_drawn_once(case):
    args = arguments(np.random.default_rng(4), 4)
    lines = [*START, *case.split("; ")]
    assert stays_small(lines, args) or "float16" in case
    with np.errstate(all="ignore"):
        replayed(lines, args)


def test_indices_that_differ_between_recordings_are_noticed(rng):
    columns = iter(range(100))

    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        return state, xp.sum(xp.take(data["x"], rows, axis=0)[:, next(columns) % 3])

    with pytest.warns(CompileWarning, match="does not compute the same twice"):
        one_step(NUMPY.compile(step), {"w": np.ones(2)}, rng.normal(size=(9, 3)), np.ones(9), np.arange(4))


def test_rows_of_a_part_are_looked_at(rng):
    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        return state, xp.sum(xp.take(data["x"][:5, :], rows, axis=0))

    with pytest.raises(IndexError):
        run(NUMPY.compile(step), {"w": np.ones(2)}, rng.normal(size=(9, 3)), np.ones(9), [[0], [7]])


@pytest.mark.parametrize("kind", ["scalar", "read-only"])
def test_a_state_that_cannot_be_written_is_replaced(kind, rng):
    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        return {"w": state["w"] + 1.0}, xp.sum(xp.take(data["x"], rows, axis=0))

    w = np.float64(1.0) if kind == "scalar" else np.broadcast_to(1.0, 3)
    with pytest.warns(CompileWarning):
        state, _ = one_step(NUMPY.compile(step), {"w": w}, rng.normal(size=(9, 3)), np.ones(9), np.arange(4))
    np.testing.assert_array_equal(state["w"], np.full(np.shape(w), 2.0))
