"""The callbacks that are there: when they stop training, when they save it, and what they tell."""

from __future__ import annotations

import numpy as np
import pytest
from recording import Recorder, data, fit, trainer_of, values_of

from xpnet import SGD, Sequential, Trainer
from xpnet.layers import Affine
from xpnet.losses import MeanSquaredError
from xpnet.schedules import ReduceOnPlateau, Step
from xpnet.schedules.plateau import LOWER_IS_BETTER
from xpnet.training import Callback, Checkpoint, EarlyStopping, Evaluation, LearningRateLog, StopOnDivergence
from xpnet.training.callbacks import better, watched
from xpnet.training.history import MONITORS, History


class Series(Callback):
    """Puts numbers of one's own in the place of what is watched, before those behind it look."""

    def __init__(self, values, field="train_loss"):
        self.values, self.field = list(values), field

    def on_evaluation(self, trainer, evaluation):
        made = evaluation.__dict__ | {self.field: self.values.pop(0) if evaluation.ends_epoch else 0.0}
        trainer.history.evaluations[-1] = Evaluation(**made)


@pytest.mark.parametrize(
    ("monitor", "field", "values", "min_delta", "epochs"),
    [
        ("loss", "train_loss", [3, 2, 2, 2.5, 1, 1, 1, 0], 0, 4),
        ("loss", "train_loss", [3, 2, 1.9, 1, 1, 0.95, 0], 0.1, 6),
        ("loss", "train_loss", [3, 2.9, 2.8, 2.7], 0.15, 0),
        ("loss", "train_loss", [float("nan"), 3, 4, 2, 5, 5, 1], 0, 6),
        ("loss", "train_loss", [float("nan"), float("nan"), float("nan"), 1], 0, 3),
        ("loss", "train_loss", [2, float("inf"), 1, 3, 3, 0], 0, 5),
        ("accuracy", "train_accuracy", [0.1, 0.2, 0.2, 0.2, 0.3], 0, 4),
        ("validation_accuracy", "validation_accuracy", [0.3, 0.2, 0.25, 0.9], 0, 3),
        ("validation_loss", "validation_loss", [1, 2, 0.5, 0.6, 0.7], 0, 5),
        ("validation_r2", "validation_r2", [-3, -0.5, -0.6, -0.4, -2, -1, 0.9], 0, 6),
    ],
)
def test_early_stopping(monitor, field, values, min_delta, epochs):
    """It stops at the second epoch in a row that is no better; 0 epochs stands for never."""
    trainer, stopping = trainer_of(), EarlyStopping(monitor, patience=2, min_delta=min_delta)
    x, t = data()
    callbacks = [Series(values, field), stopping]
    trainer.fit(x, t, validation=(x, t), epochs=len(values), callbacks=callbacks, progress=False)
    assert trainer.iteration == 3 * (epochs or len(values))
    assert (trainer.stopped is not None) == bool(epochs)
    if epochs:
        assert trainer.stopped.startswith(f"{monitor} was no better than ")
        assert trainer.stopped.endswith(" for 2 epochs")


@pytest.mark.parametrize("cut", [1, 3, 4, 6, 8])
def test_early_stopping_counts_over_a_cut(cut):
    """In a new object too, and though the cut falls into an epoch: the evaluation there counts for nothing."""
    series, trainer = Series([3, 2, 2.5, 2.5, 2.5, 1]), trainer_of()
    fit(trainer, series, EarlyStopping("loss", patience=2), iterations=cut)
    assert trainer.stopped is None
    fit(trainer, series, EarlyStopping("loss", patience=2), iterations=100)
    assert trainer.iteration == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "test_loss"}, "unknown monitor 'test_loss', expected one of: loss, accuracy, r2, validation_loss"),
        ({"monitor": ["loss"]}, r"unknown monitor \['loss'\], expected one of: loss, accuracy, r2, validation_loss"),
        ({"patience": 0}, "patience is 0, expected a whole number, 1 or more"),
        ({"min_delta": -0.1}, r"min_delta is -0\.1, expected a finite number, 0 or more, 0\.001 for example"),
        ({"min_delta": 10**400}, "min_delta is 1000000.*, expected a finite number"),
        ({"min_delta": float("nan")}, "min_delta is nan"),
    ],
)
def test_bad_early_stopping(options, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**options)


def test_what_is_better_is_said_in_one_place():
    """By the parts that know of the direction, and where the values are found."""
    assert list(MONITORS) == list(LOWER_IS_BETTER)
    for monitor, lower in LOWER_IS_BETTER.items():
        assert (better(monitor, 1.0, 2.0), better(monitor, 2.0, 1.0)) == (lower, not lower)
        plateau = ReduceOnPlateau(0.1, patience=0, monitor=monitor)
        assert (plateau.scale([1.0, 2.0]) < 1, plateau.scale([2.0, 1.0]) < 1) == (lower, not lower)


@pytest.mark.parametrize("watcher", [EarlyStopping, lambda monitor: Checkpoint("never", monitor=monitor)])
@pytest.mark.parametrize("monitor", ["validation_loss", "validation_accuracy", "accuracy", "validation_r2"])
def test_what_is_not_there_to_be_watched_is_said_before_the_first_step(watcher, monitor):
    net = Sequential([Affine(6, 1)], MeanSquaredError(), seed=0, dtype="float64")
    trainer, (x, _) = Trainer(net, SGD(0.1), batch_size=30), data()
    validation = (x, x[:, :1]) if monitor == "validation_accuracy" else None
    with pytest.raises(ValueError, match=f"there is no {monitor} to watch: it needs "):
        trainer.fit(x, x[:, :1], validation=validation, epochs=1, callbacks=[watcher(monitor)], progress=False)
    assert trainer.iteration == 0


def test_epochs_before_there_were_validation_data_are_left_out():
    trainer, (x, t) = trainer_of(), data()
    fit(trainer, epochs=2)
    stopping = EarlyStopping(patience=1)
    history = trainer.fit(x, t, validation=(x, t), epochs=2, callbacks=[stopping], progress=False)
    assert watched(history, "validation_loss") == [e.validation_loss for e in history.evaluations[-2:]]
    assert watched(History(), "loss") == []


def test_a_checkpoint_each_epoch(tmp_path, monkeypatch):
    saved, trainer = [], trainer_of()
    monkeypatch.setattr(trainer, "save", lambda path: saved.append((path, trainer.iteration)))
    fit(trainer, Checkpoint(tmp_path / "a"), iterations=8)
    assert saved == [(tmp_path / "a", 3), (tmp_path / "a", 6)]


def test_a_checkpoint_every_so_many_steps(tmp_path, monkeypatch):
    saved, trainer = [], trainer_of()
    monkeypatch.setattr(trainer, "save", lambda path: saved.append((path, trainer.iteration)))
    fit(trainer, Checkpoint(str(tmp_path / "a"), every=4), Recorder(every=1), iterations=9)
    assert saved == [(tmp_path / "a", 4), (tmp_path / "a", 8)]


@pytest.mark.parametrize(
    ("monitor", "field", "values", "best"),
    [
        ("loss", "train_loss", [3, 2, 2, 2.5, 1, float("nan")], [3, 6, 15]),
        ("accuracy", "train_accuracy", [0.1, 0.3, 0.3, 0.2, 0.4], [3, 6, 15]),
        ("loss", "train_loss", [float("nan"), 2, 3], [3, 6]),
        ("loss", "train_loss", [3, 1, 2, 1.5], [3, 6]),
    ],
)
def test_a_checkpoint_of_the_best(monitor, field, values, best, tmp_path, monkeypatch):
    """Also where training goes on with another object, after the second epoch and in the middle of one."""
    saved, trainer, series = [], trainer_of(), Series(values, field)
    monkeypatch.setattr(trainer, "save", lambda path: saved.append(trainer.iteration))
    for iterations in (6, 1, 3 * len(values) - 7):
        fit(trainer, series, Checkpoint(tmp_path / "best", monitor=monitor), iterations=iterations)
    assert saved == best


def test_a_checkpoint_holds_the_best_weights(training_backend, tmp_path):
    path, trainer = tmp_path / "best.safetensors", trainer_of(training_backend)
    recorder = Recorder()
    fit(trainer, Series([2.0, 1.0, 3.0]), Checkpoint(path, monitor="loss"), recorder, epochs=3)
    kept = Trainer.load(path, backend=training_backend)
    assert kept.iteration == 6
    best = recorder.weights[recorder.calls.index(("evaluation", 6))]
    for name, p in values_of(kept).items():
        np.testing.assert_array_equal(p, best[name])


def test_bad_checkpoints(tmp_path):
    with pytest.raises(ValueError, match="every and monitor are both given"):
        Checkpoint(tmp_path / "a", every=3, monitor="loss")
    with pytest.raises(ValueError, match="every is 0, expected a whole number"):
        Checkpoint(tmp_path / "a", every=0)
    with pytest.raises(ValueError, match="unknown monitor 'best'"):
        Checkpoint(tmp_path / "a", monitor="best")
    trainer = trainer_of()
    with pytest.raises(OSError, match="nowhere"):
        fit(trainer, Checkpoint(tmp_path / "nowhere" / "a"), epochs=2)
    assert trainer.iteration == 0


class Losses(Callback):
    """Puts losses of one's own in the place of those of the steps."""

    every = 1

    def __init__(self, values):
        self.values = values

    def on_block(self, trainer):
        trainer.history.losses[-1] = self.values[trainer.iteration - 1]


@pytest.mark.parametrize(
    ("losses", "factor", "end"),
    [
        ([2, 1, 19, 20, 21, 1], 10.0, 5),
        ([2, 1, 19, 20, 20, 1], 10.0, 6),
        ([2, 1, 3.5, 20, 20, 1], 1.5, 3),
        ([-2, -3, 19, 21, 1, 1], 10.0, 4),
    ],
)
def test_stop_on_divergence(losses, factor, end):
    trainer = trainer_of()
    fit(trainer, Losses(losses), StopOnDivergence(factor), iterations=6)
    assert trainer.iteration == end
    assert (trainer.stopped is None) == (end == 6)


def test_stop_on_divergence_in_a_training_that_goes_on():
    """It compares with the very first loss, and looks at new losses only."""
    trainer, stop = trainer_of(), StopOnDivergence(2)
    losses = Losses([2, 5, 1, 3, 4, 9])
    fit(trainer, losses, stop, iterations=6)
    assert (trainer.iteration, trainer.stopped) == (2, "a loss of 5 is more than 2 times the first, 2")
    fit(trainer, losses, stop, iterations=4)
    assert (trainer.iteration, trainer.stopped) == (6, "a loss of 9 is more than 2 times the first, 2")


@pytest.mark.parametrize("factor", [1, 0.5, 0, -3, float("nan"), float("inf"), "10", 10**400])
def test_bad_factors_of_divergence(factor):
    with pytest.raises(ValueError, match=r"factor is .*, expected a finite number, more than 1, 10 for example"):
        StopOnDivergence(factor)


def test_the_log_of_learning_rates():
    lines = []
    trainer = trainer_of(lr=Step(0.8, every=4, factor=0.5))
    fit(trainer, LearningRateLog(lines.append), Recorder(every=1), iterations=9)
    found = [(int(line.split()[1]), float(line.split()[-1])) for line in lines]
    assert found == [(0, 0.8), (3, 0.8), (4, 0.4), (6, 0.4), (8, 0.2), (9, 0.2)]


@pytest.mark.parametrize("write", [None, "rates.log", 3])
def test_a_log_of_learning_rates_writes_with_a_function(write):
    with pytest.raises(TypeError, match=r"write is .*, expected a function of a line of text, print for example"):
        LearningRateLog(write)


def test_the_log_of_learning_rates_prints(capsys):
    fit(trainer_of(), LearningRateLog(), epochs=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["iteration      0  learning rate 0.1", "iteration      3  learning rate 0.1"]


def test_the_log_of_learning_rates_says_the_same_only_once():
    """The rate changes at the end of an epoch, which is a block's end too."""
    lines = []
    fit(trainer_of(lr=Step(0.8, every=3, factor=0.5)), LearningRateLog(lines.append), iterations=6)
    assert [float(line.split()[-1]) for line in lines] == [0.8, 0.4, 0.2]
