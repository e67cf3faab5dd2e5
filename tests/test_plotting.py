"""Pictures: what is drawn, on which Axes, and that neither a screen nor pyplot is needed."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xpnet import Evaluation, History, plotting

CURVES = [plotting.loss_curve, plotting.accuracy_curve]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def history():
    """Of 250 losses, so that a stretch has two of them."""
    evaluations = [Evaluation(0, 0, 0.1, 0.12), Evaluation(1, 125, 0.8, 0.78), Evaluation(2, 250, 0.9, 0.88)]
    return History([2.5 - i / 125 for i in range(250)], evaluations, samples=25_000, seconds=1.0)


@pytest.fixture
def without_validation(history):
    history.evaluations = [Evaluation(e.epoch, e.iteration, e.train, None) for e in history.evaluations]
    return history


def named_lines(ax):
    return {line.get_label(): line for line in ax.lines}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_is_drawn_on_the_axes_given(curve, history):
    left, right = Figure().subplots(1, 2)
    assert curve(history, right) is right
    assert right.lines
    assert not left.lines


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_is_drawn_on_new_axes_if_none_are_given(curve, history):
    ax, another = curve(history), curve(history)
    assert isinstance(ax, Axes)
    assert ax.figure is not another.figure
    assert plotting.png(ax.figure).startswith(PNG)


@pytest.mark.parametrize(("curve", "x", "y"), [(CURVES[0], "iteration", "loss"), (CURVES[1], "epoch", "accuracy")])
def test_axes_are_labelled(curve, x, y, history):
    ax = curve(history)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == (x, y, y.capitalize())


def test_loss_curve_shows_every_loss_and_the_means(history):
    ax = plotting.loss_curve(history)
    lines = named_lines(ax)
    assert legend(ax) == list(lines) == ["minibatch", "mean of 2"]
    assert list(lines["minibatch"].get_ydata()) == history.losses
    middles, means = lines["mean of 2"].get_data()
    np.testing.assert_allclose(middles, np.arange(125) * 2 + 0.5)
    np.testing.assert_allclose(means, np.reshape(history.losses, (125, 2)).mean(axis=1))
    assert ax.get_yscale() == "log"


def test_loss_curve_of_a_last_stretch_that_is_shorter(history):
    history.losses = history.losses[:-1]
    middles, means = named_lines(plotting.loss_curve(history))["mean of 2"].get_data()
    assert (len(middles), middles[-1]) == (125, 248)
    assert means[-1] == history.losses[-1]


def test_accuracy_curve_shows_train_and_test(history):
    ax = plotting.accuracy_curve(history)
    lines = named_lines(ax)
    assert legend(ax) == list(lines) == ["train", "test"]
    assert [list(data) for data in lines["train"].get_data()] == [[0, 1, 2], [0.1, 0.8, 0.9]]
    assert [list(data) for data in lines["test"].get_data()] == [[0, 1, 2], [0.12, 0.78, 0.88]]
    low, high = ax.get_ylim()
    assert low == 0
    assert high > 1  # a line at 100 % is seen whole


def test_accuracy_curve_without_validation_data_shows_train_alone(without_validation):
    ax = plotting.accuracy_curve(without_validation)
    assert legend(ax) == list(named_lines(ax)) == ["train"]


def test_training_curves_is_a_figure_of_both(history):
    figure = plotting.training_curves(history)
    assert isinstance(figure, Figure)
    assert [ax.get_title() for ax in figure.axes] == ["Loss", "Accuracy"]
    assert len(figure.axes[0].lines) == len(figure.axes[1].lines) == 2
    assert plotting.png(figure).startswith(PNG)


@pytest.mark.parametrize(
    "losses",
    [[], [2.3], [2.3, float("nan")], [float("nan")], [2.3, float("inf")], [2.3, 1e38, float("nan")], [1.0, 0.0]],
    ids=str,
)
def test_whatever_a_run_left_behind_can_be_drawn(losses, without_validation):
    history = History(losses, without_validation.evaluations[:1])
    assert plotting.png(plotting.training_curves(history)).startswith(PNG)


def test_an_empty_history_can_be_drawn():
    assert plotting.png(plotting.training_curves(History())).startswith(PNG)


def test_drawing_leaves_the_history_as_it_was(history):
    before = history.to_dict()
    plotting.training_curves(history)
    assert history.to_dict() == before


def test_drawing_needs_no_display_and_opens_no_window():
    code = (
        "import sys; from xpnet import Evaluation, History, plotting; assert 'matplotlib' not in sys.modules; "
        "figure = plotting.training_curves(History([1.0], [Evaluation(0, 0, 0.1, None)])); "
        "sys.stdout.buffer.write(plotting.png(figure)); assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment["MPLBACKEND"] = "TkAgg"  # opens a window, or fails where there is none, as soon as it is used
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(PNG)


@pytest.mark.parametrize("function", [*CURVES, plotting.training_curves])
def test_without_matplotlib_the_error_names_the_extra(function, history, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(plotting.PlottingUnavailableError, match=r'pip install "xpnet\[plot\]"') as raised:
        function(history)
    assert isinstance(raised.value, ImportError)
