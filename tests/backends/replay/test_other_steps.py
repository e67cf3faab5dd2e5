"""Steps that meet arrays of other steps, of another thread perhaps: what is recorded is their own, or nothing is."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
from replaying import NUMPY, one_step

from xpnet import CompileWarning, namespace
from xpnet.backends.replay import UnrecordableError


def test_arrays_of_another_recording_are_refused_by_what_they_are():
    kept = []

    def keeping(state, data, rows, draws):
        kept.append(state["w"] * 2.0)
        state["w"] += 1.0
        return state, namespace(rows).sum(state["w"])

    def mixing(state, data, rows, draws):
        state["w"] += kept[-1] if not isinstance(state["w"], np.ndarray) else 5.0
        return state, namespace(rows).sum(state["w"])

    arguments = np.zeros((3, 2)), np.zeros(3), np.zeros(2, int)
    one_step(NUMPY.compile(keeping), {"w": np.ones(3)}, *arguments)
    assert not isinstance(kept[-1], np.ndarray)
    with pytest.warns(CompileWarning, match="it uses an array of another step, that of another thread perhaps"):
        state, _ = one_step(NUMPY.compile(mixing), {"w": np.ones(3)}, *arguments)
    assert state["w"].tolist() == [6.0] * 3


def test_an_array_of_another_recording_is_not_written_in_part():
    """The rest of it has values that this recording knows nothing of."""
    kept = []

    def keeping(state, data, rows, draws):
        kept.append(state["w"] * 2.0)
        state["w"] += 1.0
        return state, namespace(rows).sum(state["w"])

    def mixing(state, data, rows, draws):
        if not isinstance(state["w"], np.ndarray):
            kept[-1][0:1] = state["w"][1:2]
            state["w"] += kept[-1]
        return state, namespace(rows).sum(state["w"])

    arguments = np.zeros((3, 2)), np.zeros(3), np.zeros(2, int)
    one_step(NUMPY.compile(keeping), {"w": np.ones(3)}, *arguments)
    with pytest.warns(CompileWarning, match="it uses an array of another step"):
        state, _ = one_step(NUMPY.compile(mixing), {"w": np.ones(3)}, *arguments)
    assert state["w"].tolist() == [1.0] * 3


#: What a step may do with ``other``, an array of another step.
MIXED = (
    "own += other",
    "other += own",
    "own[0:1] = other[1:2]",
    "other[0:1] = own[1:2]",
    "own[...] = other",
    "other[...] = own",
    "own = xp.sum(other) * own",
    "own = xp.where(other > 0, own, other)",
    "own = xp.matmul(other, own) + own",
    "other = xp.reshape(other, (3, 1)); other += 1.0",
    "own = xp.max(xp.stack([other, own]), axis=0)",
    "w += xp.astype(other, xp.float64)",
    "xp.take(other, rows, axis=0)",
)


@pytest.mark.parametrize("line", MIXED)
def test_whatever_is_done_with_arrays_of_another_recording_there_is_one_reason(line):
    """That of another thread perhaps: no error of our own comes out of it."""
    kept = []

    def keeping(state, data, rows, draws):
        kept.append(state["w"] * 2.0)
        state["w"] += 1.0
        return state, namespace(rows).sum(state["w"])

    def mixing(state, data, rows, draws):
        here = {"xp": namespace(rows), "w": state["w"], "own": state["w"] * 3.0, "rows": rows}
        here["other"] = kept[-1] if not isinstance(state["w"], np.ndarray) else state["w"] * 2.0
        exec(line, here)
        state["w"] += here["own"]
        return state, here["xp"].sum(state["w"])

    arguments = np.zeros((3, 2)), np.zeros(3), np.zeros(2, int)
    one_step(NUMPY.compile(keeping), {"w": np.ones(3)}, *arguments)
    recorded = NUMPY.compile(mixing)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state, _ = one_step(recorded, {"w": np.ones(3)}, *arguments)
    expected, _ = one_step(mixing, {"w": np.ones(3)}, *arguments)
    np.testing.assert_array_equal(state["w"], expected["w"])
    assert recorded.reason is None or isinstance(recorded.reason, UnrecordableError), repr(recorded.reason)
    assert [str(each.message).count("an array of another step") for each in caught] == [1] * bool(recorded.reason)


def test_two_threads_that_record_at_the_same_time(rng):
    """Each step writes down its own calls, however the threads take turns."""
    meeting, found = threading.Barrier(2, timeout=20), {}

    def work(name, factor):
        def step(state, data, rows, draws):
            if not isinstance(state["w"], np.ndarray):
                meeting.wait()  # both are recording
            state["w"] *= factor
            return state, namespace(rows).sum(state["w"])

        recorded, state = NUMPY.compile(step), {"w": np.ones(3)}
        for _ in range(3):
            state, loss = one_step(recorded, state, np.zeros((3, 2)), np.zeros(3), [0, 0])
        found[name] = state["w"].tolist(), float(loss), all(recorded.plans.values())

    threads = [threading.Thread(target=work, args=pair) for pair in (("a", 2.0), ("b", 3.0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": ([8.0] * 3, 24.0, True), "b": ([27.0] * 3, 81.0, True)}
