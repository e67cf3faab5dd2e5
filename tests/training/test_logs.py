"""Logs: each line as it was evaluated, whole and once, however often training stops and goes on."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recording import Recorder, data, fit, trainer_of

from xpnet import SGD, DivergedError, Sequential, Trainer
from xpnet.layers import Affine
from xpnet.losses import MeanSquaredError
from xpnet.training import Callback, Checkpoint, CSVLog, JSONLinesLog
from xpnet.training.logs import COLUMNS

LOGS = {"csv": CSVLog, "jsonl": JSONLinesLog}


@pytest.fixture(params=LOGS)
def kind(request):
    return LOGS[request.param]


def rows(path):
    """Any log as dicts, read by the standard library's readers."""
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    if text.startswith("{"):
        return [json.loads(line) for line in text.splitlines()]
    found = list(csv.DictReader(text.splitlines()))
    return [{name: float(value) if value else None for name, value in row.items()} for row in found]


def iterations(path):
    return [row["iteration"] for row in rows(path)]


def test_every_evaluation_is_a_line(kind, tmp_path, training_backend):
    if training_backend.compiles_shapes and kind is CSVLog:
        pytest.skip("each costs compilations, and JSON stands for both")
    path, trainer = tmp_path / "log", trainer_of(training_backend)
    x, t = (training_backend.asarray(values) for values in data())
    history = trainer.fit(x, t, validation=(x, t), iterations=7, callbacks=[kind(path)], progress=False)
    found = rows(path)
    assert [tuple(row) for row in found] == [COLUMNS] * 4
    for row, e in zip(found, history.evaluations, strict=True):
        assert (row["epoch"], row["iteration"], row["learning_rate"]) == (e.epoch, e.iteration, 0.1)
        assert (row["loss"], row["accuracy"]) == (e.train_loss, e.train_accuracy)
        assert (row["validation_loss"], row["validation_accuracy"]) == (e.validation_loss, e.validation_accuracy)
    assert found[-1]["seconds"] == history.seconds
    assert found[-1]["samples_per_second"] == history.samples_per_second


def test_what_there_is_not_is_left_out(tmp_path):
    """Validation that was not given, and the learning rate of an optimizer that does not tell it."""

    class Plain:
        def init(self, params):
            return {}

        def step(self, params, grads, state):
            return {name: w - 0.1 * grads[name] for name, w in params.items()}, state

    for name, kind in LOGS.items():
        trainer = Trainer(trainer_of().net, Plain(), batch_size=30)
        fit(trainer, kind(tmp_path / name), epochs=1)
    for row in rows(tmp_path / "csv") + rows(tmp_path / "jsonl"):
        assert row["learning_rate"] is row["validation_loss"] is row["validation_accuracy"] is None
        assert row["r2"] is row["validation_r2"] is None
        assert row["loss"] > 0
    assert "nan" not in (tmp_path / "csv").read_text().lower()
    assert "nan" not in (tmp_path / "jsonl").read_text().lower()


def test_a_number_that_is_not_finite(kind, tmp_path):
    path, trainer = tmp_path / "log", trainer_of(lr=1e200)
    with pytest.raises(DivergedError):
        fit(trainer, kind(path), iterations=100)
    assert all(row["loss"] is None or np.isfinite(row["loss"]) for row in rows(path))


@pytest.mark.parametrize("cuts", [(3, 3, 3), (2, 4, 3), (1, 1, 7), (8, 1)])
def test_fits_that_go_on_have_one_log(cuts, kind, tmp_path):
    """Each evaluation once, also that between two calls, which the second does not make again."""
    path, trainer = tmp_path / "log", trainer_of()
    for steps in cuts:
        fit(trainer, kind(path), iterations=steps)
    assert iterations(path) == [e.iteration for e in trainer.history.evaluations]
    assert rows(path)[-1]["iteration"] == 9


class Dies(Callback):
    """Ends the process, as far as one can in a test, where a log is longer than the last checkpoint."""

    every = 1

    def __init__(self, at):
        self.at = at

    def on_block(self, trainer):
        if trainer.iteration == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("every", [None, 2, 3, 4])
@pytest.mark.parametrize("half", ["", "1.0,", '{"epoch": 1.'])
def test_a_checkpoint_goes_on_in_the_log_of_a_process_that_died(every, half, kind, tmp_path):
    path, checkpoint, straight = tmp_path / "log", tmp_path / "c", tmp_path / "straight"
    with pytest.raises(KeyboardInterrupt):
        fit(trainer_of(), kind(path), Checkpoint(checkpoint, every=every), Dies(8), epochs=4)
    with path.open("a", encoding="utf-8") as file:
        file.write(half)
    trainer = Trainer.load(checkpoint)
    fit(trainer, kind(path), iterations=12 - trainer.iteration)
    fit(trainer_of(), kind(straight), epochs=4)
    found, wanted = ({row["iteration"]: row["loss"] for row in rows(p)} for p in (path, straight))
    assert iterations(path) == sorted(set(iterations(path)))
    assert {k: found[k] for k in wanted} == wanted
    assert set(found) - set(wanted) <= {trainer.iteration, every, 8 // (every or 3) * (every or 3)}


def test_a_log_that_went_further_than_its_checkpoint(kind, tmp_path):
    path, checkpoint, trainer = tmp_path / "log", tmp_path / "c", trainer_of()
    fit(trainer, kind(path), epochs=1)
    trainer.save(checkpoint)
    fit(trainer, kind(path), epochs=3)
    assert iterations(path) == [0, 3, 6, 9, 12]
    fit(Trainer.load(checkpoint), kind(path), epochs=1)
    assert iterations(path) == [0, 3, 6]


def test_a_new_training_does_not_take_the_place_of_an_old_log(kind, tmp_path):
    path, recorder = tmp_path / "log", Recorder()
    fit(trainer_of(), kind(path), epochs=1)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="a log of another training is there; give another path, or delete it"):
        fit(trainer_of(), kind(path), recorder, epochs=1)
    assert path.read_bytes() == before
    assert recorder.at("block") == []


@pytest.mark.parametrize("other", [{"lr": 0.2}, {"validation": True}, {"cuts": (2, 7)}], ids=str)
def test_a_training_that_goes_on_does_not_take_the_log_of_another(other, kind, tmp_path):
    """One with other losses, with validation data, or with an evaluation that this one does not have."""
    path, trainer, x_t = tmp_path / "log", trainer_of(lr=other.get("lr", 0.1)), data()
    for steps in other.get("cuts", (9,)):
        given = x_t if "validation" in other else None
        trainer.fit(*x_t, validation=given, iterations=steps, callbacks=[kind(path)], progress=False)
    before, resumed, recorder = path.read_bytes(), trainer_of(), Recorder()
    fit(resumed, epochs=2)
    with pytest.raises(FileExistsError, match="a log of another training is there; give another path, or delete it"):
        fit(resumed, kind(path), recorder, epochs=1)
    assert path.read_bytes() == before
    assert recorder.at("block") == []


def test_a_log_with_less_than_the_history_is_continued(kind, tmp_path):
    """As some calls of fit had no log; and what is not finite is the same in both."""
    path, trainer = tmp_path / "log", trainer_of()
    fit(trainer, kind(path), epochs=1)
    fit(trainer, epochs=1)
    fit(trainer, kind(path), epochs=1)
    assert iterations(path) == [0, 3, 9]
    first = trainer.history.evaluations[0]
    trainer.history.evaluations[0] = replace(first, train_loss=float("inf"))
    texts = path.read_text("utf-8").split(repr(first.train_loss))
    path.write_text(("null" if kind is JSONLinesLog else "").join(texts), "utf-8")
    fit(trainer, kind(path), epochs=1)
    assert [row["loss"] for row in rows(path)][:2] == [None, trainer.history.evaluations[1].train_loss]
    assert iterations(path) == [0, 3, 9, 12]


FOREIGN = {
    "text": b"Dear diary,\ntoday I trained a network.\n",
    "csv": b"a,b\n1,2\n",
    "json": b'{"a": 1}\n',
    "a list": b"[1, 2]\n",
    "a number": b"3\n",
    "one line without an end": b'{"iteration": 3}',
    "bytes": bytes(range(256)),
    "a step that is none": ",".join(COLUMNS).encode() + b"\n0.0,inf,,,,,,,,,\n",
    "half a log": ",".join(COLUMNS).encode() + b"\n0.0,0\nnot a row\n",
}


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("content", FOREIGN)
def test_a_foreign_file_is_left_alone(content, goes_on, kind, tmp_path):
    path, trainer = tmp_path / "log", trainer_of()
    path.write_bytes(FOREIGN[content])
    if goes_on:
        fit(trainer, epochs=1)
    with pytest.raises(ValueError, match=r"log is no log of a training \(.*\); give another path"):
        fit(trainer, kind(path), epochs=1)
    assert path.read_bytes() == FOREIGN[content]


def test_a_log_of_the_other_kind_is_foreign(tmp_path):
    for first, second in ((CSVLog, JSONLinesLog), (JSONLinesLog, CSVLog)):
        path, trainer = tmp_path / first.__name__, trainer_of()
        fit(trainer, first(path), epochs=1)
        with pytest.raises(ValueError, match="is no log of a training"):
            fit(trainer, second(path), epochs=1)


def test_an_empty_file_and_one_of_no_lines_are_begun(kind, tmp_path):
    """What a temporary file is, and what a training leaves that ended before its first evaluation."""
    path = tmp_path / "log"
    path.touch()
    with pytest.raises(RuntimeError, match="early"):
        fit(trainer_of(), kind(path), Recorder(begin=RuntimeError("early")), epochs=1)
    fit(trainer_of(), kind(path), epochs=1)
    assert iterations(path) == [0, 3]


def test_a_fit_that_ended_at_once_is_tried_again(kind, tmp_path):
    path, trainer = tmp_path / "log", trainer_of()
    with pytest.raises(RuntimeError, match="early"):
        fit(trainer, kind(path), Recorder(evaluation=RuntimeError("early")), epochs=1)
    fit(trainer, kind(path), epochs=1)
    assert iterations(path) == [0, 3]


def test_a_path_that_cannot_be_written(kind, tmp_path):
    trainer = trainer_of()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fit(trainer, kind(tmp_path / "nowhere" / "log"), epochs=1)
    with pytest.raises(OSError, match=str(tmp_path.name)):
        fit(trainer, kind(tmp_path), epochs=1)
    assert trainer.iteration == 0


@pytest.fixture
def disk(monkeypatch):
    """``disk.full = True`` and files that are open for appending take so many bytes more, and then none."""

    class Disk:
        full, room = False, 7

        def open(self, path, mode="r", *options, **more):
            file = opened(path, mode, *options, **more)
            if "a" in mode and self.full:
                left = [self.room]

                class Full(io.FileIO):
                    def write(self, data):
                        if not left[0]:
                            raise OSError(28, "No space left on device")
                        part = data[: left[0]]
                        left[0] -= len(part)
                        return super().write(part)

                file.close()
                return Full(str(path), "ab")
            return file

    opened, made = Path.open, Disk()
    monkeypatch.setattr(Path, "open", lambda *args, **more: made.open(*args, **more))
    return made


@pytest.mark.parametrize("room", [0, 7])
@pytest.mark.parametrize("again", [1, 3, None])
def test_a_full_disk_ends_no_training_and_costs_no_line(again, room, kind, disk, tmp_path):
    """One warning; what was not written comes when there is room again, or at the end, and half a line never stays."""
    path, straight, trainer = tmp_path / "log", tmp_path / "straight", trainer_of()
    disk.room = room

    class Fills(Callback):
        def on_evaluation(self, trainer, evaluation):
            disk.full = evaluation.epoch < again if again is not None else True
            rows(path) if path.read_bytes() else None

        def on_end(self, trainer):
            disk.full = False

    ends = Fills()
    with pytest.warns(UserWarning, match="log cannot be written now") as warned:
        fit(trainer, ends, kind(path), epochs=5)
    assert len(warned) == 1
    assert trainer.iteration == 15
    fit(trainer_of(), kind(straight), epochs=5)
    assert iterations(path) == iterations(straight) == [0, 3, 6, 9, 12, 15]
    assert [row["loss"] for row in rows(path)] == [row["loss"] for row in rows(straight)]


def test_lines_that_could_not_be_written_come_with_the_next_call(kind, disk, tmp_path):
    path, trainer = tmp_path / "log", trainer_of()
    log, fills = kind(path), Recorder()
    fills.on_begin = lambda trainer: setattr(disk, "full", True)
    with pytest.warns(UserWarning, match=r"\(No space left on device\); training goes on"):
        fit(trainer, log, fills, epochs=2)
    disk.full = False
    fit(trainer, log, epochs=2)
    assert iterations(path) == [0, 3, 6, 9, 12]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is full")  # noqa: PTH110
def test_a_disk_that_is_really_full(kind, tmp_path):
    """The log's place is taken by a device that takes nothing."""
    path, trainer = tmp_path / "log", trainer_of()

    class Replaces(Callback):
        def on_evaluation(self, trainer, evaluation):
            if evaluation.iteration == 3:
                path.unlink()
                path.symlink_to("/dev/full")

    with pytest.warns(UserWarning, match="No space left on device"):
        fit(trainer, Replaces(), kind(path), epochs=3)
    assert trainer.iteration == 9


def test_lines_are_in_the_file_when_they_are_told(kind, tmp_path):
    """A log is followed while training goes on."""
    path, seen = tmp_path / "log", []

    class Follow(Callback):
        def on_evaluation(self, trainer, evaluation):
            seen.append(iterations(path)[-1])

    fit(trainer_of(), kind(path), Follow(), epochs=2)
    assert seen == [0, 3, 6]
    assert os.listdir(tmp_path) == ["log"]  # noqa: PTH208  (nothing else was left)


def test_numbers_that_are_learned_have_their_metric_in_the_log(kind, tmp_path):
    x = np.linspace(-1, 1, 60)[:, None]
    trainer = Trainer(Sequential([Affine(1, 1)], MeanSquaredError(), seed=0, dtype="float64"), SGD(0.1), batch_size=30)
    history = trainer.fit(x, 2 * x, validation=(x, x), epochs=2, callbacks=[kind(tmp_path / "log")], progress=False)
    found = [(row["r2"], row["validation_r2"], row["accuracy"]) for row in rows(tmp_path / "log")]
    assert found == [(e.train_r2, e.validation_r2, None) for e in history.evaluations]
    again = Trainer(trainer.net, SGD(0.1), batch_size=30)
    with pytest.raises(FileExistsError, match="another training"):
        again.fit(x, x, epochs=1, callbacks=[kind(tmp_path / "log")], progress=False)
