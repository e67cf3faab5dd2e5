"""What could not be loaded again is not saved, and that is found out before the first step."""

from __future__ import annotations

import itertools
import time

import checkpoint_cases as cases
import numpy as np
import pytest

from xpnet import CheckpointError, Evaluation, Trainer
from xpnet.backends.dispatch import get_backend
from xpnet.training import Checkpoint


def nested(depth):
    found = []
    for _ in range(depth):
        found = [found]
    return found


CIRCLE = {}
CIRCLE["itself"] = CIRCLE
#: Notes that JSON cannot hold, or would give back as something else; and what is said of them.
NOTES = {
    "a set": ({"a": {1, 2}}, TypeError, r"trainer\.notes\['a'\] is \{1, 2\}, which JSON cannot hold"),
    "bytes": ({"a": b"x"}, TypeError, r"\['a'\] is b'x'"),
    "an array": ({"a": [np.zeros(2)]}, TypeError, r"\['a'\]\[0\] is array\("),
    "a number of NumPy's": ({"a": np.float32(1)}, TypeError, r"\['a'\] is np\.float32\(1\.0\)"),
    "an object": ({"a": {"b": object()}}, TypeError, r"\['a'\]\['b'\] is <object"),
    "a number for a key": ({1: "a"}, TypeError, r"has the key 1, expected text"),
    "None for a key": ({"a": {None: 1}}, TypeError, r"\['a'\] has the key None, expected text"),
    "NaN": ({"a": [1.0, float("nan")]}, ValueError, r"\['a'\]\[1\] is nan, expected a finite number"),
    "infinity": ({"a": -float("inf")}, ValueError, r"\['a'\] is -inf, expected a finite number"),
    "many digits": ({"a": 10**5000}, ValueError, r"\['a'\] is an integer of \d+ bits"),
    "deep lists": ({"a": nested(51)}, ValueError, "stands in more than 50 others"),
    "very deep lists": ({"a": nested(100_000)}, ValueError, "stands in more than 50 others"),
    "a circle": (CIRCLE, ValueError, "stands in more than 50 others"),
    "no dict": (["a"], TypeError, r"trainer\.notes is \['a'\], expected a dict"),
    "a long text": ({"a": "x" * 2**23}, ValueError, "characters, expected at most"),
}


@pytest.mark.parametrize("case", NOTES)
def test_notes_that_cannot_be_kept_are_refused_before_the_first_step(case, tmp_path):
    notes, error, message = NOTES[case]
    trainer = cases.trainer_of("sgd", get_backend("numpy"))
    trainer.notes = notes
    for attempt in (
        lambda: trainer.check_save(tmp_path / "checkpoint"),
        lambda: trainer.save(tmp_path / "checkpoint"),
        lambda: cases.trained(trainer, 3, [Checkpoint(tmp_path / "checkpoint")]),
    ):
        with pytest.raises(error, match=message) as raised:
            attempt()
        assert len(str(raised.value)) < 500
    assert trainer.iteration == 0
    assert not list(tmp_path.iterdir())


def test_notes_come_back_as_they_were(tmp_path):
    trainer = cases.trainer_of("sgd", get_backend("numpy"))
    trainer.notes = {"": nested(49), "私": "\ud800\0", "numbers": [2**1023, -(2**1023), 1e308, -0.0], "no": None}
    trainer.notes |= {"yes": True, "tuple": (1, (2,)), "double": np.float64(0.1)}
    trainer.save(tmp_path / "checkpoint")
    found = Trainer.load(tmp_path / "checkpoint", backend="numpy").notes
    assert found == trainer.notes | {"tuple": [1, [2]]}


def spoil(way, value):
    """A trainer of which one thing is another."""
    *inside, last = way.split(".")

    def spoiled(trainer):
        for name in inside:
            trainer = getattr(trainer, name)
        setattr(trainer, last, value)

    return spoiled


SPOILED = {
    "a history that was emptied": (
        spoil("history.losses", []),
        r"training/losses has shape \(0,\), expected",
    ),
    "seconds that are NaN": (spoil("history.seconds", float("nan")), "its seconds is nan"),
    "samples that are less than nothing": (spoil("history.samples", -1), "its samples is -1"),
    "evaluations of the future": (
        lambda trainer: trainer.history.evaluations.append(Evaluation(1, 6, None, None)),
        "it has evaluations of steps that were not taken",
    ),
    "a batch size past counting": (spoil("batch_size", 2**60), "its batch_size is"),
    "a place past the end": (spoil("batches.taken", 100), "its place in the permutation of 53 samples cannot be"),
    "an order that is none": (spoil("batches.order", np.zeros(53, "int64")), "its place in the permutation"),
    "another way of sampling": (spoil("sampling", "both"), "its sampling is 'both'"),
    "a parameter of another shape": (
        lambda trainer: trainer.net.params.update(b1=np.zeros(7, "float32")),
        "the arrays of this network are not those of its layers",
    ),
    "a memory that no file holds": (
        lambda trainer: trainer.optimizer_state["slots"]["W1"].update(v=np.zeros((4, 6), "complex128")),
        "optimizer/slots/W1/v has dtype complex128, and a file can hold",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_could_not_be_loaded_again_is_not_saved_and_said_before_the_next_step(case, tmp_path):
    change, message = SPOILED[case]
    trainer = cases.trained(cases.trainer_of("momentum", get_backend("numpy")), 5)
    trainer.save(tmp_path / "checkpoint")
    before = (tmp_path / "checkpoint").read_bytes()
    change(trainer)
    for attempt in (trainer.save, trainer.check_save):
        with pytest.raises(ValueError, match=message) as raised:
            attempt(tmp_path / "checkpoint")
        assert not isinstance(raised.value, CheckpointError)  # nothing is wrong with the file
    assert (tmp_path / "checkpoint").read_bytes() == before
    assert Trainer.load(tmp_path / "checkpoint", backend="numpy").iteration == 5


def test_a_clock_that_is_put_back_costs_no_checkpoint(tmp_path, monkeypatch):
    ticks = itertools.count(0, -3)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    trainer = cases.trained(cases.trainer_of("sgd", get_backend("numpy")), 20, [Checkpoint(tmp_path / "checkpoint")])
    trainer.save(tmp_path / "checkpoint")
    monkeypatch.undo()
    loaded = Trainer.load(tmp_path / "checkpoint", backend="numpy")
    assert loaded.history.seconds == trainer.history.seconds
    assert cases.contents(loaded) == cases.contents(trainer)
