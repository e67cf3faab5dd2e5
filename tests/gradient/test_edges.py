"""Gradients where something is odd: a verdict that cannot be given, an f that mixes points, dtypes that do not fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from xpnet import (
    Sequential,
    TwoLayerNet,
    check_gradient,
    get_backend,
    gradient_descent,
    namespace,
    numerical_gradient,
    plotting,
    use_backend,
)
from xpnet.layers import Affine, ReLU, Sigmoid
from xpnet.losses import SumSquaredError


def rosenbrock(x):
    """As the book would write it, for one point."""
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def test_an_f_for_one_point_is_refused_stacks(training_backend, array):
    x = array([0.5, 0.7])
    np.testing.assert_allclose(training_backend.to_numpy(numerical_gradient(rosenbrock, x)), [-91, 90], rtol=1e-8)
    for batch in (2, 100) if training_backend.name != "strict" else ():  # there x[0] of a stack is an error already
        with pytest.raises(
            ValueError, match=r"another value when the other points in its stack change.*x\[\.\.\., 0\]"
        ):
            numerical_gradient(rosenbrock, x, batch=batch)


@dataclass(frozen=True)
class SteepSigmoid(Sigmoid):
    """Its gradient is three times too large."""

    def gradient(self, y, dy):
        return 3 * dy * y * (1 - y)


def test_what_is_below_rounding_is_not_said_to_pass(rng):
    layers = [Affine(20, 10), SteepSigmoid(), *(layer for _ in range(6) for layer in (Affine(10, 10), Sigmoid()))]
    net = Sequential([*layers, Affine(10, 3)], weight_init=0.01, seed=0, dtype="float64")
    report = check_gradient(net, rng.normal(size=(5, 20)), np.asarray([0, 1, 2, 0, 1]))
    verdicts = {row.name: row.verdict for row in report.rows}
    assert verdicts["W1"] == "below rounding error"
    assert verdicts["W8"] == "passed"
    unsure = sum(verdict == "below rounding error" for verdict in verdicts.values())
    assert f"of {unsure} of 16 rows nothing can be said" in str(report)


def test_a_step_that_rounds_all_away_verifies_nothing(rng):
    net = TwoLayerNet(20, 10, 3, 0.5, seed=0, dtype="float64")
    report = check_gradient(net, rng.normal(size=(5, 20)), np.asarray([0, 1, 2, 0, 1]), h=3e-15, tolerance=1e-9)
    assert not report.passed
    assert "NOT VERIFIED" in str(report)
    report = check_gradient(SumSquaredError(), rng.normal(size=(2, 3)), 1e10 * rng.normal(size=(2, 3)))
    assert not report.passed


def test_a_loss_near_zero_fails_nothing(rng):
    x = rng.random((5, 20))
    net = TwoLayerNet(20, 10, 3, 5.0, seed=0, dtype="float64")
    for mode in ("full", "directional"):
        report = check_gradient(net, x, net.predict(x).argmax(axis=1), mode=mode)
        assert "FAILED" not in str(report)


def test_zeros_everywhere(rng):
    net = TwoLayerNet(6, 5, 3, 0.5, seed=0, dtype="float64")
    report = check_gradient(net, np.zeros((4, 6)), np.asarray([0, 1, 2, 0]))
    assert {row.name: row.verdict for row in report.rows}["b1"] == "nothing to compare"
    assert report.passed, str(report)  # of the rest there is something to say
    report = check_gradient(ReLU(), np.zeros((2, 2)))
    assert not report.passed
    assert "NOT VERIFIED" in str(report)


@dataclass(frozen=True)
class BatchReLU(ReLU):
    """A forward of its own, which mixes samples."""

    def forward(self, params, x):
        y, _ = super().forward(params, x - namespace(x).mean(x, axis=0, keepdims=True))
        return y, y

    def gradient(self, y, dy):
        dx = dy * namespace(y).astype(y > 0, dy.dtype)
        return dx - namespace(dx).mean(dx, axis=0, keepdims=True)


def test_an_activation_that_replaces_forward_is_not_taken_for_elementwise(training_backend, array, rng):
    net = Sequential([Affine(4, 5), BatchReLU(), Affine(5, 3)], seed=1, dtype="float64", backend=training_backend)
    report = check_gradient(net, array(rng.normal(size=(6, 4))), array([0, 1, 2, 0, 1, 2]), tolerance=1e-5)
    assert not any(row.verdict == "FAILED" for row in report.rows), str(report)


def test_a_gradient_too_large_for_its_dtype(training_backend, array):
    x = array([1.0, 2.0], "float32")
    with pytest.raises(ValueError, match="the gradient is too large for float32"), np.errstate(over="ignore"):
        numerical_gradient(lambda x: namespace(x).sum(x * x) * 1e39, x)


@pytest.mark.parametrize("gradient", [lambda x: 2 * x[0], lambda x: x[None, :], lambda x: None])
def test_a_gradient_of_another_shape(gradient, training_backend, array):
    with pytest.raises(ValueError, match=r"gradient returned an? (array|value) .*expected \(2,\), the shape of x0"):
        gradient_descent(lambda x: namespace(x).sum(x * x), array([3.0, 1.0]), gradient=gradient, steps=2)


def test_descent_calls_f_with_one_dtype(training_backend, array):
    seen = set()

    def f(x):
        seen.add(str(x.dtype))
        return namespace(x).sum(x * x)

    found = gradient_descent(f, array([3.0, 1.0], "float32"), lr=0.1, steps=2)
    assert len(seen) == 1
    assert "float64" in seen.pop()
    assert found.x.dtype == array([1.0], "float32").dtype


def test_descent_of_what_is_constant_warns_once(training_backend, array):
    W = array([1.0, 2.0])
    with pytest.warns(UserWarning, match="same value at every point") as caught:
        gradient_descent(lambda _: namespace(W).sum(W), W, steps=5)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("value", [None, [1.0], 1j, "3"])
def test_descent_of_no_number(value, training_backend, array):
    with pytest.raises(TypeError, match="f returned"):
        gradient_descent(lambda _: value, array([1.0]))


def test_descent_with_a_class_for_optimizer(array):
    from xpnet import SGD

    with pytest.raises(TypeError, match=r"optimizer is .*SGD.*expected an instance"):
        gradient_descent(rosenbrock, array([1.0, 2.0]), optimizer=SGD)


def test_arrays_whose_library_records_gradients(backend):
    if backend.name != "torch":
        pytest.skip("it is torch that records")
    x = backend.asarray([1.0, 2.0]).requires_grad_()
    with pytest.raises(TypeError, match=r"requires_grad.*x\.detach\(\)"):
        numerical_gradient(lambda x: (x * x).sum(), x)


def test_complex_numbers(array):
    with pytest.raises(TypeError, match="x is complex128, expected real"):
        numerical_gradient(lambda x: x, array([1j], "complex128"))


def test_pictures_on_what_is_no_plane_axes(array):
    _, ax = plotting.new_figure(projection="3d")
    with pytest.raises(ValueError, match="3-D Axes"):
        plotting.contours(rosenbrock, ax)
    _, axes = plotting.new_figure(2)
    with pytest.raises(TypeError, match=r"ax is of type ndarray.*axes\[0, 0\]"):
        plotting.contours(rosenbrock, axes)


def test_a_whole_descent_can_be_drawn(array):
    found = gradient_descent(lambda x: x[0] ** 2 + x[1] ** 2, array([2.0, 1.0]), lr=0.1, steps=5)
    for paths in (found, {"SGD": found}):
        ax = plotting.descent_paths(lambda x: x[0] ** 2 + x[1] ** 2, paths)
        assert any(len(line.get_xdata()) == 6 for line in ax.lines)


@pytest.mark.parametrize("values", [[1.0, 1.0, 1 + 2e-16], [1e17, 1e17 + 16], [True, False, True]])
def test_histograms_of_what_hardly_varies(values):
    ax = plotting.activation_histograms({"Relu1": np.asarray(values)})
    assert len(ax.child_axes) == 1


def cube(x):
    return namespace(x).sum(x * x * x)


@pytest.mark.parametrize(
    ("point", "dtype"),
    [
        (2, "float64"),
        (2.0, "float64"),
        (np.float64(2), "float64"),
        (np.float32(2), "float32"),
        (np.float16(2), "float16"),
        (np.int8(2), "float64"),
        (np.asarray(2.0), "float64"),
    ],
)
def test_points_that_are_numbers(point, dtype):
    slope = numerical_gradient(cube, point)
    assert (slope.shape, slope.dtype) == ((), dtype)
    assert float(slope) == pytest.approx(12, rel=1e-8)
    found = gradient_descent(cube, point, lr=0.125, steps=1)
    assert (found.x.shape, found.path.shape, found.x.dtype) == ((), (2,), dtype)
    assert found.path.tolist() == pytest.approx([2, 0.5], rel=1e-7)


def test_numbers_become_arrays_of_the_backend_selected(training_backend):
    with use_backend(training_backend):
        slope = numerical_gradient(cube, 2.0)
        assert namespace(slope) is training_backend.xp
        assert namespace(gradient_descent(cube, 2, lr=0.125, steps=1).x) is training_backend.xp


@pytest.mark.parametrize(
    ("point", "error", "message"),
    [
        (True, TypeError, "is True, expected real floating-point numbers"),
        (2j, TypeError, "is 2j, expected real"),
        ([1.0], TypeError, r"of type list; make one first: numpy\.asarray"),
        (10**400, ValueError, "too large for float64"),
        (np.nan, ValueError, "has NaN"),
    ],
)
def test_points_that_are_none(point, error, message):
    for function in (numerical_gradient, gradient_descent):
        with pytest.raises(error, match=message):
            function(cube, point)


@pytest.mark.parametrize("odd", ["big-endian", "reversed", "read-only", "in columns"])
def test_points_that_lie_otherwise(odd, rng):
    host = rng.uniform(0.5, 1.5, (2, 3))
    x = {"big-endian": host.astype(">f8"), "reversed": host[::-1, ::-1], "in columns": np.asfortranarray(host)}.get(
        odd, host
    )
    x.setflags(write=False)
    for batch in (None, 4):
        slope = numerical_gradient(lambda x: (x**3).sum(axis=(-1, -2)), x, batch=batch)
        assert slope.dtype == x.dtype
        np.testing.assert_allclose(slope, 3 * x**2, rtol=1e-8)
    found = gradient_descent(cube, x, lr=0.1, steps=1)
    np.testing.assert_allclose(found.x, x - 0.3 * x**2, rtol=1e-7)


def test_what_f_computed_with_is_not_kept_by_its_library(backend):
    if backend.name != "torch":
        pytest.skip("it is torch that records")
    W = backend.asarray([1.0, 2.0]).requires_grad_()
    slope = numerical_gradient(lambda x: (x * x * W).sum(), backend.asarray([3.0, 4.0]))
    assert not slope.requires_grad
    assert slope.tolist() == pytest.approx([6, 16], rel=1e-8)
    for gradient in (None, lambda x: 2 * x * W):
        found = gradient_descent(lambda x: (x * x * W).sum(), slope, lr=0.125, steps=2, gradient=gradient)
        assert not found.path.requires_grad
        np.testing.assert_allclose(found.x.numpy(), [6 * 0.75**2, 4], rtol=1e-8)


def test_f_that_gives_a_number_of_numpy(training_backend, array):
    x = array([3.0, 4.0])
    slope = numerical_gradient(lambda x: np.float64(float(x[0]) ** 2 + float(x[1])), x)
    np.testing.assert_allclose(training_backend.to_numpy(slope), [6, 1], rtol=1e-8)


def test_gradients_that_are_no_real_arrays_of_the_library(training_backend, array):
    x = array([3.0, 1.0])
    other = get_backend("strict" if training_backend.name != "strict" else "numpy")
    with pytest.raises(TypeError, match=rf"gradient returned a {other.name} array.*{training_backend.name}"):
        gradient_descent(cube, x, gradient=lambda _: other.asarray(np.ones(2)), steps=1)
    with pytest.raises(TypeError, match="gradient returned complex128"):
        gradient_descent(cube, x, gradient=lambda x: array([1.0, 2.0], "complex128"), steps=1)
    path = gradient_descent(cube, array(2.0), lr=0.5, gradient=lambda x: np.float64(3), steps=1).path
    assert training_backend.to_numpy(path).tolist() == [2, 0.5]
