"""Gradient checks: what is right passes on every backend, what is wrong fails and is named, kinks are counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from oracles import ROUNDINGS, STEP

from xpnet import SGD, MultiLayerNet, Sequential, Trainer, TwoLayerNet, check_gradient, namespace
from xpnet.layers import (
    ACTIVATIONS,
    GELU,
    Affine,
    Conv2d,
    Identity,
    LeakyReLU,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from xpnet.layers.base import shapes_of
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss, SumSquaredError

MODES = ("full", "directional")
LAYERS = [GELU(), Affine(6, 4), Identity(), LeakyReLU(0.2), ReLU(), Sigmoid(), Softmax(), Tanh()]
LOSSES = [SoftmaxWithLoss(), SigmoidWithLoss(), SumSquaredError(), MeanSquaredError()]
modes = pytest.mark.parametrize("mode", MODES)


class ReluOfAll(ReLU):
    def gradient(self, y, dy):
        return dy


@dataclass(frozen=True)
class ReluSpoilt(ReLU):
    """Its gradient is ``value`` in one place."""

    value: float = np.inf
    place: int = 0

    def gradient(self, y, dy):
        xp = namespace(dy)
        here = xp.reshape(xp.arange(y.shape[0] * y.shape[1], device=y.device), y.shape) == self.place
        return xp.where(here, xp.full_like(dy, self.value), super().gradient(y, dy))


class AffineWithScaledBias(Affine):
    def parameter_gradients(self, params, x, dy):
        grads = super().parameter_gradients(params, x, dy)
        return grads | {"b": 1.01 * grads["b"]}


class AffineWrongInOnePlace(Affine):
    def parameter_gradients(self, params, x, dy):
        grads = super().parameter_gradients(params, x, dy)
        W = grads["W"]
        xp = namespace(W)
        wrong = xp.reshape(xp.arange(self.n_in * self.n_out, device=W.device), W.shape) == 2 * self.n_out + 1
        return grads | {"W": xp.where(wrong, W + 0.01, W)}


class AffineOfAnotherShape(Affine):
    def parameter_gradients(self, params, x, dy):
        grads = super().parameter_gradients(params, x, dy)
        return grads | {"b": grads["b"][None, :]}


class Mixing(Identity):
    acts_on = "batch"


class LossUphill(SoftmaxWithLoss):
    def backward(self, residuals):
        return -super().backward(residuals)


class LossNegative(SoftmaxWithLoss):
    def forward(self, y, t):
        value, residuals = super().forward(y, t)
        return -value, residuals


def network(backend, *layers, loss=None, dtype="float64"):
    layers = layers or (Affine(6, 5), Tanh(), Affine(5, 4))
    return Sequential(layers, loss, weight_init="xavier", seed=1, dtype=dtype, backend=backend)


def samples(array, rng, n=7):
    return array(rng.normal(size=(n, 6))), array(rng.integers(0, 4, n))


@modes
@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.usefixtures("at_home")
def test_right_layers(layer, mode, training_backend, array, rng):
    x = array(rng.normal(size=(5, 6)))
    report = check_gradient(layer, x, mode=mode)
    assert report.passed, str(report)
    assert (report.mode, report.dtype, report.h, report.kinks) == (mode, "float64", None, 0)
    if mode == "full":
        assert [(row.name, row.shape) for row in report.rows] == [("x", (5, 6)), *shapes_of(layer).items()]
        assert [row.compared for row in report.rows] == [30, 24, 4][: len(report.rows)]
        assert all(row.largest > 0.01 for row in report.rows)
        far = check_gradient(layer, x, h=2 * STEP * float(namespace(x).max(abs(x))))
        # of f, a sum of up to 30 products of either sign, the magnitudes come to about 20 where it is near 0
        assert_as_exact_as_can_be(report, far, terms=20)


def assert_as_exact_as_can_be(report, far, terms=1):
    """What differs is rounding, and what a step leaves out: four times as much with a step twice as long, as in far.

    Rounding is that of f, or, where f is a sum whose terms cancel, that of its terms, so many times as much.
    """
    for row, other in zip(report.rows, far.rows, strict=True):
        left_out = (other.max_error + ROUNDINGS * terms * other.noise) / 4
        assert row.mean_error <= row.max_error <= ROUNDINGS * terms * row.noise + left_out, str(report)
        assert left_out < 1e-8


@modes
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_right_losses(loss, mode, training_backend, array, rng):
    y, t = rng.normal(size=(5, 4)), rng.dirichlet(np.ones(4), 5)
    assert check_gradient(loss, array(y), array(t), mode=mode).passed
    report = check_gradient(loss, array(y, "float32"), array(t, "float32"), mode=mode)
    assert report.passed, str(report)
    assert report.dtype == "float64"


@modes
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.usefixtures("at_home")
def test_right_networks(name, dtype, mode, training_backend, array, rng):
    if training_backend.compiles_shapes and name != "relu":
        pytest.skip("each costs compilations, and relu stands for the others")
    net = MultiLayerNet(6, [5, 3], 4, name, "xavier", seed=1, dtype=dtype, backend=training_backend)
    x, t = array(rng.normal(size=(5, 6)), dtype), array([0, 1, 2, 3, 3])
    report = check_gradient(net, x, t, mode=mode, directions=3)
    assert report.passed, str(report)
    assert report.dtype == "float64"
    assert str(report).endswith(f"passed: {mode}, float64, the default step")
    if mode == "full":
        assert [(row.name, row.shape) for row in report.rows] == [(k, tuple(p.shape)) for k, p in net.params.items()]
        far = check_gradient(
            net, x, t, h=2 * STEP * max(1, *(float(namespace(p).max(abs(p))) for p in net.params.values()))
        )
        assert_as_exact_as_can_be(report, far)
        assert all(name in str(report) for name in net.params)
    else:
        assert [row.name for row in report.rows] == ["direction 1", "direction 2", "direction 3"]
        assert all(row.compared == 1 and row.relative < 1e-7 for row in report.rows)


@modes
@pytest.mark.parametrize("layer", [ReluOfAll(), *map(ReluSpoilt, (np.inf, -np.inf, np.nan, 1e300, -1e308))], ids=str)
def test_wrong_layers(layer, mode, training_backend, array, rng):
    report = check_gradient(layer, array(rng.normal(size=(5, 6))), mode=mode)
    assert not report.passed, str(report)
    net = network(training_backend, Affine(6, 5), layer, Affine(5, 4))
    report = check_gradient(net, *samples(array, rng), mode=mode)
    assert not report.passed, str(report)
    if mode == "full":
        assert [row.passed for row in report.rows] == [False, False, True, True]


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e300])
def test_a_wrong_gradient_is_named(value, training_backend, array, rng):
    report = check_gradient(ReluSpoilt(value, 7), array(rng.normal(size=(5, 6))))
    (row,) = report.rows
    assert (row.verdict, row.worst, row.compared) == ("FAILED", (1, 1), 30)
    np.testing.assert_allclose((row.largest, row.max_error, row.mean_error), (value, value, value / 30))
    assert row.relative == pytest.approx(value if value != 1e300 else 1, nan_ok=True)
    assert "[1, 1]" in str(report)


def test_a_kink_excuses_no_infinite_gradient(training_backend, array):
    x = array([[1.0, 0.0, -1.0]])
    for value in (0.0, 0.3, 1.0, 5.0):
        report = check_gradient(ReluSpoilt(value, 1), x)
        assert (report.passed, report.kinks, report.rows[0].compared) == (True, 1, 2)
        assert report.rows[0].largest < 3, "what is left out is no measure of the others"
    for value in (np.inf, np.nan):
        assert check_gradient(ReluSpoilt(value, 1), x).rows[0].verdict == "FAILED"


class Exploding(Identity):
    def forward(self, params, x):
        return x * 1e308 * 100, None


@modes
@pytest.mark.usefixtures("at_home")
def test_a_loss_that_is_not_finite(mode, training_backend, array, rng):
    """It has no gradient, and nothing is said about the one that backpropagation finds."""
    x, t = samples(array, rng)
    for subject, given in ((Exploding(), [x]), (network(training_backend, Affine(6, 4), Exploding()), [x, t])):
        with pytest.raises(ValueError, match="there is no gradient to be had"):
            check_gradient(subject, *given, mode=mode)
    with pytest.raises(ValueError, match="there is no gradient to be had"):  # finite here, and not where it is moved
        check_gradient(Exploding(), 0 * x, mode=mode, h=1e3)


@modes
def test_wrong_affine(mode, training_backend, array, rng):
    x, t = samples(array, rng)
    scaled = network(training_backend, Affine(6, 5), Tanh(), AffineWithScaledBias(5, 4))
    spoiled = network(training_backend, AffineWrongInOnePlace(6, 5), Tanh(), Affine(5, 4))
    reports = [check_gradient(net, x, t, mode=mode) for net in (scaled, spoiled)]
    assert not any(report.passed for report in reports)
    assert not check_gradient(AffineWrongInOnePlace(6, 5), x, mode=mode).passed
    if mode == "full":
        assert [row.name for row in reports[0].rows if not row.passed] == ["b2"]
        assert reports[0].rows[3].relative == pytest.approx(0.01 / 1.01, rel=1e-3)
        (row,) = (row for row in reports[1].rows if not row.passed)
        assert (row.name, row.worst) == ("W1", (2, 1))
        assert (row.max_error, row.mean_error) == pytest.approx((0.01, 0.01 / 30), rel=1e-4)
        assert [line.split()[0] for line in str(reports[1]).splitlines() if "FAILED" in line] == ["W1", "FAILED:"]
        assert "[2, 1]" in str(reports[1])
    with pytest.raises(ValueError, match=r"gradient of b2 has shape \(1, 4\), and b2 has \(4,\)"):
        check_gradient(network(training_backend, Affine(6, 5), AffineOfAnotherShape(5, 4)), x, t, mode=mode)


@modes
@pytest.mark.parametrize("loss", [LossUphill(), LossNegative()], ids=str)
def test_wrong_losses(loss, mode, training_backend, array, rng):
    x, t = samples(array, rng)
    assert not check_gradient(loss, array(rng.normal(size=(7, 4))), t, mode=mode).passed
    report = check_gradient(network(training_backend, loss=loss), x, t, mode=mode)
    assert not report.passed, str(report)


def on_kinks(h):
    """A network on NumPy, of which some units lie within h of the kink, and where moving an entry takes one across."""
    net = MultiLayerNet(6, [5, 4], 3, "relu", 1.0, seed=2, dtype="float64", backend="numpy")
    rng = np.random.default_rng(20160926)
    x, t = rng.choice([0.0, 0.5, 1.0, -1.0], size=(4, 6)), rng.integers(0, 3, 4)
    z = x @ net.params["W1"]
    net.params["b1"][:3] = -z[[0, 1, 2], [0, 1, 2]] + np.asarray([0.3, -0.3, 0.7]) * h
    out = np.maximum(z + net.params["b1"], 0) @ net.params["W2"]
    net.params["b2"][1] = -out[1, 1] + 0.4 * h

    def units(params):
        first = x @ params["W1"] + params["b1"]
        return np.concatenate([first > 0, np.maximum(first, 0) @ params["W2"] + params["b2"] > 0], axis=1)

    crossed = {}
    for name, p in net.params.items():
        crossed[name] = np.zeros(p.shape, bool)
        for i in np.ndindex(p.shape):
            ends = [net.params | {name: p.copy()} for _ in range(2)]
            ends[0][name][i] += h
            ends[1][name][i] -= h
            crossed[name][i] = (units(ends[0]) != units(ends[1])).any()
    return net, x, t, crossed


@pytest.mark.parametrize("whole", [False, True])
def test_kinks(whole, training_backend, array):
    h = 1e-4
    net, x, t, crossed = on_kinks(h)
    wanted = {name: int(c.sum()) for name, c in crossed.items()}
    assert wanted == {"W1": 14, "b1": 3, "W2": 1, "b2": 1, "W3": 0, "b3": 0}
    if whole:  # no short cut is taken in front of a layer that may mix samples
        net.layers["Mixing1"] = Mixing()
    report = check_gradient(net.to(training_backend), array(x), array(t), h=h)
    assert {row.name: row.kinks for row in report.rows} == wanted
    assert [row.compared + row.kinks for row in report.rows] == [c.size for c in crossed.values()]
    assert (report.passed, report.kinks, report.h) == (True, sum(wanted.values()), h)
    assert f"h = 0.0001; {report.kinks} that crossed a kink" in str(report)


def test_kinks_of_a_layer(training_backend, array):
    x = array([[0.5, -0.5, 5e-4, -5e-4, 0.0, 2e-3]])
    for layer in (ReLU(), LeakyReLU()):
        report = check_gradient(layer, x, h=1e-3)
        assert report.passed
        assert (report.rows[0].kinks, report.rows[0].compared) == (3, 3)
    report = check_gradient(ReLU(), array(np.zeros((2, 3))))
    assert (report.passed, report.rows[0].kinks, report.rows[0].compared) == (False, 6, 0)
    assert "nothing to compare" in str(report)


def test_ties_in_a_maximum(training_backend, array):
    """Where two entries of a window are equal, the maximum has no derivative; where they move together, it has one."""
    x = array([[[[1.0, 1.0, 2.0, 0.0], [0.0, 0.5, 1.0, 2.0 - 1e-7]]]])
    report = check_gradient(MaxPool2d(2), x, h=1e-5)
    assert report.passed, str(report)
    assert (report.rows[0].kinks, report.rows[0].compared) == (4, 4)  # both 1s of one window, 2 and nearly 2 of another
    flat = Sequential([Conv2d(1, 2, 3), MaxPool2d(2), Affine(8, 3)], seed=0, dtype="float64", backend=training_backend)
    report = check_gradient(flat, array(np.ones((2, 1, 6, 6))), array([0, 2]))  # all windows are equal whatever moves
    assert report.passed, str(report)
    assert report.kinks == 0


def test_directions_over_kinks(training_backend, array):
    x = array([[1.0, 1.0, 5e-4, 1.0]])
    report = check_gradient(ReLU(), x, mode="directional", h=1e-4, directions=5)
    assert (report.passed, len(report.rows), report.kinks) == (True, 5, 0)
    net, host, t, _ = on_kinks(1e-4)
    report = check_gradient(net.to(training_backend), array(host), array(t), mode="directional", h=1e-4, directions=4)
    assert report.passed, str(report)
    assert report.kinks > 0
    assert [row.compared for row in report.rows] == [1, 1, 1, 1]
    report = check_gradient(ReLU(), array(np.zeros((2, 3))), mode="directional")
    assert not report.passed
    assert not any(row.compared for row in report.rows)
    assert "nothing to compare" in str(report)


def test_units_that_are_off(training_backend, array):
    """A gradient that is zero, and should be, passes without a warning."""
    for mode in MODES:
        assert check_gradient(ReLU(), array([[-1.0, -2.0]]), mode=mode).passed


def test_trained_network_on_digits(digits, training_backend):
    (x, t), _ = digits
    b = training_backend
    if b.compiles_shapes:
        pytest.skip("it costs compilations, and a network of this size is checked in cli/test_check.py")
    net = TwoLayerNet(784, 50, 10, seed=0, backend="numpy")
    Trainer(net, SGD(lr=0.1), batch_size=100, seed=0).fit(x, t, iterations=600)
    for mode in MODES:
        report = check_gradient(net.to(b), b.asarray(x[:3]), b.asarray(t[:3]), mode=mode, h=1e-5, progress=False)
        assert report.passed, str(report)
        assert max(row.relative for row in report.rows) < 1e-8


REFUSED = {
    "mode": ("quick",),
    "tolerance": (0, -1e-6, np.nan, "1e-6", True),
    "h": (0, -1e-4, np.nan, "1e-4", True),
    "directions": (0, -1, 1.5, True),
}


@pytest.mark.parametrize("option", REFUSED)
def test_options_refused(option, training_backend, array, rng):
    x, t = samples(array, rng)
    for value in REFUSED[option]:
        with pytest.raises(ValueError, match=f"{option} is"):
            check_gradient(network(training_backend), x, t, **{"mode": "directional", option: value})
    with pytest.raises(TypeError, match="params are for a layer"):
        check_gradient(network(training_backend), x, t, params={})


@pytest.mark.usefixtures("at_home")
def test_subjects(training_backend, array, rng):
    x, t = samples(array, rng)
    for subject in (ReLU, SoftmaxWithLoss, TwoLayerNet, [ReLU()], 3, None, "net"):
        with pytest.raises(TypeError, match="it takes a network, a layer or a loss, an instance"):
            check_gradient(subject, x, t)
    for subject, targets in ((network(training_backend), None), (SoftmaxWithLoss(), None), (ReLU(), t)):
        with pytest.raises(TypeError, match="is checked with x"):
            check_gradient(subject, x, targets)
    W, b = (array(rng.normal(size=shape)) for shape in ((6, 4), (4,)))
    once, twice = (check_gradient(Affine(6, 4), x, params={"W": k * W, "b": b}) for k in (1, 2))
    assert [a.largest / b.largest for a, b in zip(twice.rows, once.rows, strict=True)] == pytest.approx([2, 1, 1])
    with pytest.raises(ValueError, match="params lack b"):
        check_gradient(Affine(6, 4), x, params={"W": W})
    with pytest.raises(TypeError, match=r"x is int64"):
        check_gradient(ReLU(), array([[1, 2]], "int64"))
    with pytest.raises(TypeError, match="weight is for a loss or a network; a layer is checked without"):
        check_gradient(ReLU(), x, weight=t)
    with pytest.raises(TypeError, match="training is for a layer or a network"):
        check_gradient(SoftmaxWithLoss(), x[:, :4], t, training=True)
    with pytest.raises(ValueError, match="y has shape"):
        check_gradient(SoftmaxWithLoss(), array([0.1, 0.2]), array(1))
