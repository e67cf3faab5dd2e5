"""History: what it counts, what it writes, and what it draws."""

from __future__ import annotations

import json

import numpy as np
import pytest
from recording import data, fit, trainer_of

from xpnet.plotting import training_curves
from xpnet.training import Evaluation, History
from xpnet.training.history import MONITORS


@pytest.fixture
def history(training_backend):
    """Seven steps in epochs of three."""
    trainer = trainer_of(training_backend)
    x, t = (training_backend.asarray(values) for values in data())
    return trainer.fit(x, t, validation=(x, t), iterations=7, progress=False)


def test_what_it_has(history):
    assert history.iterations == 7
    assert history.steps == [1, 2, 3, 4, 5, 6, 7]
    assert history.samples == 210
    assert history.learning_rates == [0.1] * 7
    assert history.seconds > 0
    assert history.samples_per_second == 210 / history.seconds
    assert {type(value) for value in history.losses + history.learning_rates} == {float}
    for e in history.evaluations:
        found = {monitor: type(getattr(e, name)) for monitor, name in MONITORS.items()}
        assert found == {monitor: type(None) if "r2" in monitor else float for monitor in MONITORS}
    assert [(e.epoch, e.ends_epoch) for e in history.evaluations] == [(0, False), (1, True), (2, True), (7 / 3, False)]


def test_a_file_has_all_of_it(history, tmp_path):
    path = tmp_path / "history.json"
    history.save(path, seed=1, note="größer", iterations="what is given never hides what is there")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found.pop("seed"), found.pop("note")) == (1, "größer")
    assert found == history.to_dict()
    assert found["losses"] == history.losses
    assert [Evaluation(**e) for e in found["evaluations"]] == history.evaluations
    history.save(str(path))
    assert json.loads(path.read_text(encoding="utf-8")) == history.to_dict()


def test_what_json_cannot_hold(tmp_path):
    history = History([1.0, float("nan")], [Evaluation(0.0, 0, None, None, float("inf"), None)], 0, 0.0, [0.1, np.nan])
    found = history.to_dict()
    assert (found["losses"], found["learning_rates"]) == ([1.0, None], [0.1, None])
    assert found["evaluations"][0]["train_loss"] is None
    assert found["samples_per_second"] == 0.0
    history.save(tmp_path / "a")
    with pytest.raises(ValueError, match="JSON"):
        history.save(tmp_path / "a", more=float("nan"))
    assert json.loads((tmp_path / "a").read_text()) == found, "the file that was there is left"


def test_an_empty_history():
    history = History()
    assert (history.iterations, history.steps, history.samples_per_second) == (0, [], 0.0)
    assert history.to_dict()["evaluations"] == []
    assert History().losses is not history.losses


@pytest.mark.parametrize(
    ("monitor", "value"), [("loss", 3.0), ("validation_loss", 4.0), ("accuracy", 0.1), ("r2", -1.5)]
)
def test_values_by_name(monitor, value):
    e = Evaluation(1.0, 3, 0.1, None, 3.0, 4.0, -1.5)
    assert e.value(monitor) == value
    assert e.value("validation_accuracy") is None
    with pytest.raises(
        ValueError, match=r"unknown monitor 'lost', expected one of: loss, accuracy, r2, validation_loss"
    ):
        e.value("lost")


def test_an_evaluation_as_a_line():
    both = "epoch     1  iteration    600  accuracy: train  90.00%  validation  85.00%"
    assert str(Evaluation(1.0, 600, 0.9, 0.85)) == both
    assert str(Evaluation(0.5, 300, 0.9, None)) == "epoch   0.5  iteration    300  accuracy: train  90.00%"
    assert str(Evaluation(0.5, 300, None, None)) == "epoch   0.5  iteration    300"
    with_loss = "epoch     1  iteration    600  loss: train  0.2500  validation 0.01235"
    assert str(Evaluation(1.0, 600, None, None, 0.25, 0.012345)) == with_loss
    assert str(Evaluation(1.0, 600, None, None, 0.25, 0.012345, 0.98, 0.97)) == (
        f"{with_loss}  R2: train  0.9800  validation  0.9700"
    )
    assert str(Evaluation(1.0, 600, 0.9, None, 0.25)) == (
        "epoch     1  iteration    600  loss: train  0.2500  accuracy: train  90.00%"
    )


def test_a_picture(history):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    figure = training_curves(history)
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    drawn = [np.asarray(line.get_ydata(), "float64").tolist() for line in lines]
    assert history.losses in drawn
    assert [e.validation_accuracy for e in history.evaluations] in drawn


def test_two_calls_have_one_history():
    trainer = trainer_of()
    first = fit(trainer, iterations=2)
    seconds = first.seconds
    assert fit(trainer, iterations=2) is first is trainer.history
    assert (first.iterations, first.samples) == (4, 120)
    assert first.seconds > seconds
