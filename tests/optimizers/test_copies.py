"""Optimizers, schedules and transforms are values: equal after pickle and copies, and into other processes."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import pytest
from other_process import returned, updated

from xpnet import book
from xpnet.optimizers import OPTIMIZERS, SGD, Accumulate, Adam, ClipByNorm, ClipByValue, ScaleGradients, WeightDecay
from xpnet.schedules import Constant, Cosine, Exponential, ReduceOnPlateau, Schedule, Step, Warmup

SCHEDULES = [
    Constant(0.1),
    Step(0.1, 5),
    Exponential(0.1, 0.9, 3),
    Cosine(0.1, 10, 0.01),
    Warmup(3, Cosine(0.1, 10)),
    ReduceOnPlateau(Warmup(3, 0.1), patience=2, monitor="accuracy"),
]
TRANSFORMS = [ClipByValue(0.5), ClipByNorm(1.5), WeightDecay(0.1, biases=False), ScaleGradients(0.25), Accumulate(3)]
KINDS = [*OPTIMIZERS.values(), book.AdaGrad, book.RMSprop, book.Adam]
USED = [kind(lr=ReduceOnPlateau(Cosine(0.1, 10, 0.01)), weight_decay=0.1, clip_norm=2.0) for kind in KINDS]
VALUES = [*USED, *SCHEDULES, *TRANSFORMS, SGD(0.1)]


def ways():
    """How values are copied, by name; joblib sends them to its processes by cloudpickle."""
    yield from (("copy", copy.copy), ("deepcopy", copy.deepcopy))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        yield f"pickle {protocol}", lambda v, protocol=protocol: pickle.loads(pickle.dumps(v, protocol))
    yield "cloudpickle", by_cloudpickle


def by_cloudpickle(value):
    cloudpickle = pytest.importorskip("cloudpickle", reason="cloudpickle is not installed")
    return cloudpickle.loads(cloudpickle.dumps(value))


@pytest.mark.parametrize(("name", "way"), list(ways()), ids=lambda v: v if isinstance(v, str) else "")
def test_equal_and_without_a_state(name, way):
    for value in VALUES:
        fresh = way(value)
        if hasattr(value, "update") and hasattr(value, "rule"):
            expected = updated(fresh)
            used = way(fresh)  # fresh has a state by now, and its copy has none
            assert "_held" not in vars(used)
            np.testing.assert_array_equal(updated(used), expected)
            np.testing.assert_array_equal(updated(way(used)), expected)
        again = way(value)
        assert type(again) is type(value)
        assert (again, hash(again), repr(again)) == (value, hash(value), repr(value))
        assert vars(again) == vars(way(again))


def test_into_another_process():
    """By spawn, which starts anew: it gets nothing but what is pickled."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = list(pool.map(returned, VALUES, timeout=120))
    for value, (again, text, w) in zip(VALUES, found, strict=True):
        assert (again, text) == (value, repr(value))
        if w is not None:
            np.testing.assert_array_equal(w, updated(copy.copy(value)))


def test_into_joblibs_processes():
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(returned)(copy.copy(value)) for value in VALUES)
    assert [again for again, *_ in found] == VALUES
    assert len({joblib.hash(value) for value in VALUES}) == len(VALUES)
    used = Adam(0.1)
    updated(used)
    assert joblib.hash(used) == joblib.hash(Adam(0.1)), "its state is none of its value"


def test_parts_of_ones_own_made_in_a_function():
    """Plain pickle cannot have them, cloudpickle can."""

    @dataclass(frozen=True)
    class InverseRoot(Schedule):
        lr: float

        def rate(self, t):
            return self.lr / (t + 1) ** 0.5

        @property
        def start(self):
            return self.lr

    optimizer = Adam(InverseRoot(0.5))
    expected = updated(optimizer)
    again = by_cloudpickle(optimizer)
    np.testing.assert_array_equal(updated(again), expected)
