"""Layers: one row each. Shapes, dtypes, gradients against the oracles, and inputs left as they were."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import assert_close, gradients

from xpnet.layers import ACTIVATIONS, GELU, Affine, Dropout, Identity, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from xpnet.layers.base import shapes_of

LAYERS = {
    "Affine": (Affine(5, 3), (4, 5), (4, 3)),
    "Affine of images": (Affine(24, 3), (4, 2, 3, 4), (4, 3)),
    "Affine of one sample": (Affine(5, 3), (1, 5), (1, 3)),
    "Affine with one output": (Affine(5, 1), (4, 5), (4, 1)),
    "ReLU": (ReLU(), (4, 5), (4, 5)),
    "ReLU of images": (ReLU(), (4, 2, 3), (4, 2, 3)),
    "LeakyReLU": (LeakyReLU(), (4, 5), (4, 5)),
    "LeakyReLU, slope 0.3": (LeakyReLU(0.3), (4, 5), (4, 5)),
    "Sigmoid": (Sigmoid(), (4, 5), (4, 5)),
    "Tanh": (Tanh(), (4, 5), (4, 5)),
    "GELU": (GELU(), (4, 5), (4, 5)),
    "Identity": (Identity(), (4, 5), (4, 5)),
    "Softmax": (Softmax(), (4, 5), (4, 5)),
    "Dropout, off": (Dropout(), (4, 5), (4, 5)),
}


@pytest.fixture(params=LAYERS)
def row(request, rng):
    layer, x_shape, y_shape = LAYERS[request.param]
    params = {name: rng.normal(size=shape) for name, shape in shapes_of(layer).items()}
    return layer, params, rng.normal(size=x_shape), rng.normal(size=y_shape)


def test_gradients(row, training_backend, array):
    layer, params, x, dy = row
    weights = training_backend.asarray(dy)

    def weighted_sum(x, *values):
        y, _ = layer.forward(dict(zip(params, values, strict=True)), x)
        return training_backend.xp.sum(y * weights)

    expected, tolerance = gradients(training_backend, weighted_sum, x, *params.values())
    moved = {name: array(p) for name, p in params.items()}
    _, residuals = layer.forward(moved, array(x))
    dx, grads = layer.backward(moved, residuals, array(dy))
    assert list(grads) == list(shapes_of(layer))
    for actual, wanted in zip((dx, *grads.values()), expected, strict=True):
        assert_close(training_backend.to_numpy(actual), wanted, tolerance)
    alone = layer.parameter_gradients(moved, residuals, array(dy))
    for name, g in grads.items():
        np.testing.assert_array_equal(training_backend.to_numpy(alone[name]), training_backend.to_numpy(g))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_in_is_dtype_out_and_inputs_are_left_alone(row, dtype, backend, array):
    layer, params, x, dy = row
    before = {**params, "x": x, "dy": dy}
    given = {name: array(value, dtype) for name, value in before.items()}
    y, residuals = layer.forward(given, given["x"])
    dx, grads = layer.backward(given, residuals, given["dy"])
    assert tuple(y.shape) == dy.shape
    assert tuple(dx.shape) == x.shape
    assert {name: tuple(g.shape) for name, g in grads.items()} == dict(shapes_of(layer))
    for out in (y, dx, *grads.values()):
        assert out.dtype == backend.dtype(dtype)
    for name, value in before.items():
        np.testing.assert_array_equal(backend.to_numpy(given[name]), value.astype(dtype), err_msg=name)


def test_layers_are_values():
    assert Affine(5, 3) == Affine(5, 3)
    assert shapes_of(Affine(5, 3)) == {"W": (5, 3), "b": (3,)}
    assert repr(Affine(784, 50)) == "Affine(784, 50)"
    with pytest.raises(AttributeError):
        Affine(5, 3).n_in = 4
    assert {name: kind() for name, kind in ACTIVATIONS.items()}["gelu"] == GELU()


def test_relu_has_no_gradient_at_zero(backend, array):
    _, residuals = ReLU().forward({}, array([[-1.0, 0.0, 2.0]]))
    assert backend.to_numpy(ReLU().gradient(residuals, array([[1.0, 1.0, 1.0]]))).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 28), "Affine: x has 28 columns, expected 784"),
        ((28, 28), r"28 columns, expected 784; flatten one sample with x\.reshape\(1, -1\)"),
        ((2, 3, 28), r"\(3, 28\) elements a sample, expected 784"),
        ((784,), r"x has shape \(784,\), expected \(N, 784\); one sample is x\.reshape\(1, -1\)"),
    ],
)
def test_wrong_number_of_columns(shape, message, array):
    layer = Affine(784, 2)
    with pytest.raises(ValueError, match=message):
        layer.forward({"W": array(np.zeros((784, 2))), "b": array(np.zeros(2))}, array(np.zeros(shape)))


@pytest.mark.parametrize("sizes", [(0, 3), (3, -1), (2.5, 3), ("5", 3), (True, 3)])
def test_wrong_sizes(sizes):
    with pytest.raises(ValueError, match="expected a whole number, 1 or more"):
        Affine(*sizes)


def test_layers_of_torch(backend, array, rng):
    """What torch.nn computes with the same weights."""
    if backend.name != "torch":
        return
    import torch

    x, W, b = rng.normal(size=(4, 5)), rng.normal(size=(5, 3)), rng.normal(size=3)
    y, _ = Affine(5, 3).forward({"W": array(W), "b": array(b)}, array(x))
    linear = torch.nn.functional.linear(array(x), array(W.T), array(b))
    torch.testing.assert_close(y, linear, rtol=1e-12, atol=1e-14)
    for layer, theirs in [
        (ReLU(), torch.nn.ReLU()),
        (LeakyReLU(0.2), torch.nn.LeakyReLU(0.2)),
        (Sigmoid(), torch.nn.Sigmoid()),
        (Tanh(), torch.nn.Tanh()),
        (GELU(), torch.nn.GELU(approximate="tanh")),
        (Softmax(), torch.nn.Softmax(dim=-1)),
    ]:
        torch.testing.assert_close(layer.forward({}, array(x))[0], theirs(array(x)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("dtype", "lowest"), [("float32", -80.0), ("float64", -700.0)])
def test_sigmoid_and_gelu_have_their_digits_below_zero(dtype, lowest, backend, array):
    """dx of Sigmoid is s (1 - s), and GELU is x sigmoid(2 u), both as small as e^x there."""
    x, tolerance = np.linspace(lowest, 0, 101).astype(dtype), 20 * np.finfo(dtype).eps
    wide = x.astype("longdouble")
    s = np.exp(wide) / (1 + np.exp(wide))
    _, residuals = Sigmoid().forward({}, array(x))
    slope = backend.to_numpy(Sigmoid().gradient(residuals, array(np.ones_like(x))))
    np.testing.assert_allclose(slope, (s * (1 - s)).astype(dtype), rtol=tolerance)
    x = np.linspace(-6 if dtype == "float32" else -12, 0, 101).astype(dtype)  # where the result is a normal number
    wide = x.astype("longdouble")
    double_u = 2 * np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)
    s = np.exp(double_u) / (1 + np.exp(double_u))
    y, residuals = GELU().forward({}, array(x))
    # an exponent of 2u is rounded to its own spacing, which exp passes on as so many times as much
    spread = tolerance * np.abs(double_u).max().astype("float64")
    np.testing.assert_allclose(backend.to_numpy(y), (wide * s).astype(dtype), rtol=spread)
    du = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * wide**2)
    slope = backend.to_numpy(GELU().gradient(residuals, array(np.ones_like(x))))
    np.testing.assert_allclose(slope, (s + 2 * wide * s * (1 - s) * du).astype(dtype), rtol=2 * spread)


@pytest.mark.parametrize("slope", [np.float64(0.2), np.float32(0.25), 1])
def test_numbers_of_numpy_in_a_field_leave_the_dtype(slope, array, backend):
    layer, x = LeakyReLU(slope), array([[-2.0, 3.0]], "float32")
    y, residuals = layer.forward({}, x)
    assert y.dtype == x.dtype == layer.gradient(residuals, x).dtype
    assert layer == LeakyReLU(float(slope))


@pytest.mark.parametrize("slope", [float("nan"), float("inf"), "0.1", True, None])
def test_slopes_that_are_no_numbers(slope):
    with pytest.raises(ValueError, match=r"LeakyReLU: slope is .*expected a finite number"):
        LeakyReLU(slope)
