"""Pictures of trainings and of networks: what is drawn, on which Axes, and that no screen or pyplot is needed."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from xpnet import Evaluation, History, MultiLayerNet, plotting

CURVES = [plotting.loss_curve, plotting.accuracy_curve]
SQUARES = np.arange(6 * 16).reshape(6, 16) / 95
LABELS = np.array([3, 1, 4, 1, 5, 9])
PREDICTED = np.array([3, 1, 9, 1, 5, 8])
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def history():
    """Of 250 losses, so that a stretch has two of them."""
    evaluations = [Evaluation(0, 0, 0.1, 0.12), Evaluation(1, 125, 0.8, 0.78), Evaluation(2, 250, 0.9, 0.88)]
    return History([2.5 - i / 125 for i in range(250)], evaluations, samples=25_000, seconds=1.0)


@pytest.fixture
def without_validation(history):
    history.evaluations = [Evaluation(e.epoch, e.iteration, e.train_accuracy, None) for e in history.evaluations]
    return history


def named_lines(ax):
    return {line.get_label(): line for line in ax.lines}


def texts(ax):
    return [text.get_text() for text in ax.texts]


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
    assert legend(ax) == list(lines) == ["train", "validation"]
    assert [list(data) for data in lines["train"].get_data()] == [[0, 1, 2], [0.1, 0.8, 0.9]]
    assert [list(data) for data in lines["validation"].get_data()] == [[0, 1, 2], [0.12, 0.78, 0.88]]
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


def test_a_matplotlib_that_cannot_be_imported_is_told(monkeypatch):
    """It asks for a home for its settings, for example, and a user of a container may have none."""

    class Homeless(types.ModuleType):
        def __getattr__(self, name):
            raise RuntimeError("Could not determine home directory.")

    monkeypatch.setitem(sys.modules, "matplotlib.figure", Homeless("matplotlib.figure"))
    with pytest.raises(
        plotting.PlottingUnavailableError, match=r"cannot be imported: RuntimeError: Could not determine"
    ):
        plotting.new_figure()


@pytest.mark.parametrize("function", [*CURVES, plotting.training_curves])
def test_without_matplotlib_the_error_names_the_extra(function, history, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(plotting.PlottingUnavailableError, match=r'pip install "xpnet\[plot\]"') as raised:
        function(history)
    assert isinstance(raised.value, ImportError)


@pytest.mark.parametrize("shape", [(6, 16), (6, 4, 4)])
def test_digits_that_are_misclassified_come_first_and_in_another_colour(shape, array):
    ax = plotting.digits(array(SQUARES.reshape(shape)), array(LABELS), array(PREDICTED), count=5)
    assert texts(ax) == ["4 → 9", "9 → 8", "3", "1", "1"]
    for image, i in zip(ax.images, [2, 5, 0, 1, 3], strict=True):
        np.testing.assert_array_equal(image.get_array(), SQUARES[i].reshape(4, 4))
    colours = [to_rgba(text.get_color()) for text in ax.texts]
    assert len(set(colours[:2])) == len(set(colours[2:])) == 1
    assert colours[0] != colours[2]
    assert ax.get_title() == "2 of 6 misclassified"


def test_digits_without_predictions_stay_in_order():
    ax = plotting.digits(SQUARES, LABELS)
    assert texts(ax) == ["3", "1", "4", "1", "5", "9"]
    assert {image.get_clim() for image in ax.images} == {(0, 1)}


@pytest.mark.parametrize("count", [1, 7, 25, 100])
@pytest.mark.parametrize("given", [False, True])
def test_labels_of_digits_overlap_nothing(count, given):
    t = np.full(100, 8)
    ax = plotting.digits(np.zeros((100, 4)), t, t - 1, plotting.new_figure(2)[1][0] if given else None, count=count)
    ax.figure.draw_without_rendering()
    boxes = [artist.get_window_extent() for artist in (*ax.texts, *ax.images, ax.title)]
    assert len(boxes) == 2 * count + 1
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SQUARES[:, :15], LABELS), r"images has shape \(6, 15\), expected \(N, 784\)"),
        ((SQUARES[0], LABELS), r"images has shape \(16,\)"),
        ((SQUARES[:0], LABELS[:0]), "N at least 1"),
        ((SQUARES, LABELS[:5]), r"t has shape \(5,\), expected the label of each of 6 images"),
        ((SQUARES, LABELS, np.eye(6)), r"predicted has shape \(6, 6\).*argmax"),
        ((SQUARES, LABELS / 2), "t has labels of dtype float64, expected integers"),
    ],
)
def test_digits_of_another_shape_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        plotting.digits(*arguments)


def test_activations_are_the_outputs_of_each_layer(backend, rng):
    net = MultiLayerNet(4, [3], 2, seed=0, dtype="float64", backend=backend)
    x = rng.normal(size=(5, 4))
    found = plotting.activations(net, backend.asarray(x))
    assert list(found) == list(net.layers) == ["Affine1", "Relu1", "Affine2"]
    W1, b1, W2, b2 = (backend.to_numpy(net.params[name]) for name in ("W1", "b1", "W2", "b2"))
    hidden = x @ W1 + b1
    outputs = [hidden, np.maximum(hidden, 0), np.maximum(hidden, 0) @ W2 + b2]
    for y, expected in zip(found.values(), outputs, strict=True):
        np.testing.assert_allclose(backend.to_numpy(y), expected, rtol=1e-10)
    (row,) = backend.to_numpy(plotting.activations(net, backend.asarray(x[0]))["Affine2"])
    np.testing.assert_allclose(row, outputs[-1][0], rtol=1e-10)
    assert plotting.activations(net, backend.asarray(x, "float32"))["Affine2"].dtype == net.dtype
    with pytest.raises(TypeError, match=r"expected a network: activations\(net, x\)"):
        plotting.activations({}, x)


def test_histograms_count_as_numpy_does(array, rng):
    values = {"Affine1": rng.normal(size=(20, 3)), "Relu1": rng.uniform(size=7), "Affine2": np.zeros((2, 2, 2))}
    ax = plotting.activation_histograms({name: array(v) for name, v in values.items()}, bins=10)
    assert [panel.get_title() for panel in ax.child_axes] == list(values)
    assert len({panel.get_ylim() for panel in ax.child_axes}) == 1
    assert ax.child_axes[0].get_ylim()[1] > 8
    for panel, v in zip(ax.child_axes, values.values(), strict=True):
        counts, edges = np.histogram(v, 10)
        data = panel.patches[0].get_data()
        np.testing.assert_array_equal(data.values, counts)
        np.testing.assert_allclose(data.edges, edges)
        assert panel.get_xlabel()


def test_histograms_leave_out_what_is_not_finite_and_say_so():
    ax = plotting.activation_histograms({"Affine1": np.array([1.0, np.nan, 2.0, np.inf])}, bins=[0, 1.5, 3])
    assert list(ax.child_axes[0].patches[0].get_data().values) == [1, 1]
    assert ax.child_axes[0].get_title() == "Affine1\n(2 not finite)"
    with pytest.raises(ValueError, match="Affine1 has 2 values and none of them is finite"):
        plotting.activation_histograms({"Affine1": np.array([np.nan, np.inf])})
    with pytest.raises(ValueError, match="activations is empty"):
        plotting.activation_histograms({})
    with pytest.raises(TypeError, match=r"make one with activations\(net, x\)"):
        plotting.activation_histograms(MultiLayerNet(4, [3], 2))
