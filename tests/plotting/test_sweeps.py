"""Pictures of sweeps: settings and results, and the courses of the best."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import Evaluation, plotting

pytest.importorskip("matplotlib")


def result(settings, accuracies, diverged=(), evaluations=3):
    """A sweep with these results, the best first."""
    trials = []
    for i, accuracy in enumerate(accuracies):
        steps = [Evaluation(k, 10 * k, 0.1, accuracy * k / (evaluations - 1), 1.0, 2.0) for k in range(evaluations)]
        history = SimpleNamespace(losses=[2.0, 1.0, 0.5 + i], evaluations=steps)
        own = {name: values[i] for name, values in settings.items()}
        at = 5 if i in diverged else None
        trials.append(SimpleNamespace(number=i, settings=own, diverged=at, history=history, last=steps[-1]))
    ranked = sorted(trials, key=lambda trial: -trial.last.validation_accuracy)
    return SimpleNamespace(trials=trials, ranked=ranked, criterion="validation_accuracy")


SETTINGS = {"lr": [0.001, 0.1, 1.0, 0.01], "decay": [0.0, 1e-8, 1e-4, 1e-2], "seed": [0, 1, 2, 3]}


def test_two_settings_are_axes_and_the_result_is_a_colour():
    ax = plotting.sweep_map(result(SETTINGS, [0.1, 0.9, 0.2, 0.5], diverged=(2,)))
    dots, crosses = ax.collections
    np.testing.assert_allclose(dots.get_offsets(), [(0.001, 0.0), (0.1, 1e-8), (0.01, 1e-2)])
    np.testing.assert_allclose(dots.get_array(), [0.1, 0.9, 0.5])
    np.testing.assert_allclose(crosses.get_offsets(), [(1.0, 1e-4)])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "symlog")  # there is a decay of 0
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("lr", "decay", "4 networks")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["diverged"]


def test_one_setting_has_the_result_over_it():
    ax = plotting.sweep_map(result(SETTINGS, [0.1, 0.9, 0.2, 0.5]), names=["seed"])
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [(0, 0.1), (1, 0.9), (2, 0.2), (3, 0.5)])
    assert (ax.get_xscale(), ax.get_ylabel()) == ("linear", "validation accuracy")
    assert all(float(tick).is_integer() for tick in ax.get_xticks())
    alone = plotting.sweep_map(result({"lr": [0.1, 0.2], "kind": ["a", "b"]}, [0.1, 0.9]))
    assert (alone.get_xlabel(), alone.get_xscale()) == ("lr", "linear")


@pytest.mark.parametrize("names", [["kind"], [], ["lr", "seed", "decay"], ["nothing"]])
def test_settings_that_are_no_axes_are_refused(names):
    settings = SETTINGS | {"kind": ["a", "b", "c", "d"]}
    with pytest.raises(ValueError, match="expected one or two settings that are numbers"):
        plotting.sweep_map(result(settings, [0.1] * 4), names=names)


def test_the_best_have_curves_with_their_settings():
    ax = plotting.best_curves(result(SETTINGS, [0.1, 0.9, 0.2, 0.5]), most=2)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [(0, 0), (10, 0.45), (20, 0.9)])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["lr 0.1, decay 1e-08, seed 1", "lr 0.01, decay 0.01, seed 3"]
    assert (ax.get_title(), ax.get_ylabel()) == ("The best 2", "validation accuracy")


def test_without_evaluations_in_between_the_curves_are_those_of_losses():
    ax = plotting.best_curves(result(SETTINGS, [0.1, 0.9, 0.2, 0.5], evaluations=2), most=1)
    assert (ax.get_title(), ax.get_ylabel()) == ("The best (dashed: validation)", "loss")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [2.0, 1.0, 1.5])


def test_the_figure_has_both_or_the_curves_alone():
    assert len(plotting.sweep_figure(result(SETTINGS, [0.1, 0.9, 0.2, 0.5])).axes) == 3  # with the bar of colours
    none = result(SETTINGS, [0.1, 0.9, 0.2, 0.5], diverged=range(4))
    assert len(plotting.sweep_figure(none).axes) == 2  # of which no colour is shown
    assert len(plotting.sweep_figure(result({"kind": ["a", "b"]}, [0.1, 0.2])).axes) == 1
