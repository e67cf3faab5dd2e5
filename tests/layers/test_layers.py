"""Layers: one row each. Shapes, gradients against the oracles, and all that ``xpnet.testing`` checks of a layer."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import assert_close, gradients

from xpnet.layers import (
    ACTIVATIONS,
    ELU,
    GELU,
    LAYERS,
    Add,
    Affine,
    AvgPool2d,
    BatchNorm,
    Chain,
    Concat,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    Function,
    GlobalAvgPool2d,
    Identity,
    LayerNorm,
    LeakyReLU,
    MaxPool2d,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    TimeDistributed,
)
from xpnet.layers.base import Container, shapes_of
from xpnet.testing import check_layer


def cubed(x, a):
    return x + a * x * x * x


#: A layer, the shapes of an input and of its output. Integers that go into one are 0 to 6.
ROWS = {
    "Affine": (Affine(5, 3), (4, 5), (4, 3)),
    "Affine of images": (Affine(24, 3), (4, 2, 3, 4), (4, 3)),
    "Affine of one column": (Affine(1, 3), (4, 1), (4, 3)),
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
    "Dropout": (Dropout(), (4, 5), (4, 5)),
    "Rescale": (Rescale(1 / 255), (4, 5), (4, 5)),
    "BatchNorm": (BatchNorm(5), (4, 5), (4, 5)),
    "BatchNorm of sequences": (BatchNorm(3, momentum=0.3, eps=0.01), (4, 3, 5), (4, 3, 5)),
    "BatchNorm of images": (BatchNorm(2), (3, 2, 4, 3), (3, 2, 4, 3)),
    "LayerNorm": (LayerNorm(5), (4, 5), (4, 5)),
    "SiLU": (SiLU(), (4, 5), (4, 5)),
    "Softplus": (Softplus(), (4, 5), (4, 5)),
    "ELU": (ELU(), (4, 5), (4, 5)),
    "Conv2d": (Conv2d(2, 3, 3), (2, 2, 5, 4), (2, 3, 3, 2)),
    "Conv2d, all options": (
        Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        (2, 4, 5, 4),
        (2, 6, 3, 6),
    ),
    "Conv1d": (Conv1d(2, 3, 3, padding=1), (2, 2, 6), (2, 3, 6)),
    "MaxPool2d": (MaxPool2d(2), (2, 3, 4, 6), (2, 3, 2, 3)),
    "AvgPool2d": (AvgPool2d(2), (2, 3, 4, 6), (2, 3, 2, 3)),
    "GlobalAvgPool2d": (GlobalAvgPool2d(), (2, 3, 4, 5), (2, 3)),
    "Flatten": (Flatten(), (2, 3, 4), (2, 12)),
    "Reshape": (Reshape((2, 6)), (2, 3, 4), (2, 2, 6)),
    "Embedding": (Embedding(7, 3), (4,), (4, 3)),
    "Embedding of sequences": (Embedding(7, 3), (4, 2), (4, 2, 3)),
    "Function": (Function(cubed, {"a": (5,)}), (4, 5), (4, 5)),
    "Chain": (Chain(Affine(5, 4), Tanh(), Affine(4, 3)), (4, 5), (4, 3)),
    "Residual": (Residual(Chain(BatchNorm(5), Affine(5, 6), Tanh(), Affine(6, 5))), (4, 5), (4, 5)),
    "Residual, deep": (Residual(Chain(Residual(Chain(Affine(5, 5), Dropout(0.3))), Tanh())), (4, 5), (4, 5)),
    "TimeDistributed": (TimeDistributed(Chain(BatchNorm(5), Dropout(0.3), Affine(5, 3))), (4, 2, 5), (4, 2, 3)),
    "Add": (Add(Affine(5, 3), Chain(Affine(5, 4), Tanh(), Affine(4, 3))), (4, 5), (4, 3)),
    "Concat": (Concat(Affine(5, 3), Chain(Dropout(0.3), BatchNorm(5))), (4, 5), (4, 8)),
    "Concat of embeddings": (Concat(Embedding(7, 3), Embedding(7, 2)), (4,), (4, 5)),
}


@pytest.fixture(params=ROWS)
def row(request, rng):
    """A layer, its arrays by name, the parameters' first, an input and what comes back; variances are positive."""
    layer, x_shape, y_shape = ROWS[request.param]
    params = {name: rng.normal(size=shape) for name, shape in shapes_of(layer).items()}
    buffers = {name: 0.5 + rng.random(np.shape(a)) for name, a in layer.buffers().items()}
    x = rng.integers(0, 7, x_shape) if layer.takes == "integers" else rng.normal(size=x_shape)
    return layer, params, buffers | layer.draws(rng, x_shape), x, rng.normal(size=y_shape)


@pytest.mark.parametrize("mode", ["forward", "train"])
def test_gradients(mode, row, training_backend, array):
    layer, params, others, x, dy = row
    if mode == "train" and not layer.buffers() and not layer.is_random:
        return  # it is the same
    others = others if mode == "train" else {name: others[name] for name in layer.buffers()}
    weights = training_backend.asarray(dy)
    kept, fixed_x = {name: training_backend.asarray(a) for name, a in others.items()}, training_backend.asarray(x)
    inputs = [] if layer.takes == "integers" else [x]

    def weighted_sum(*values):
        x_given, values = (values[0], values[1:]) if inputs else (fixed_x, values)
        given = kept | dict(zip(params, values, strict=True))
        y = layer.train(given, x_given)[0] if mode == "train" else layer.predict(given, x_given)
        return training_backend.xp.sum(y * weights)

    expected, tolerance = gradients(training_backend, weighted_sum, *inputs, *params.values())
    moved = {name: array(a) for name, a in (params | others).items()}
    residuals = getattr(layer, mode)(moved, array(x))[1]
    dx, grads = layer.backward(moved, residuals, array(dy))
    assert grads.keys() == params.keys()
    for actual, wanted in zip([dx] * len(inputs) + [grads[name] for name in params], expected, strict=True):
        assert_close(training_backend.to_numpy(actual), wanted, max(tolerance, 1e-9))


def test_all_that_is_checked_of_a_layer(row, backend):
    """Purity, dtypes, inputs unchanged, the graph, the same on all backends and in compiled steps, files, copies."""
    layer, _, _, x, dy = row
    integers = 7 if layer.takes == "integers" else None
    notes = check_layer(layer, x.shape, integers=integers, backends=[backend])
    assert [note for note in notes if not note.startswith("load_network")] == []
    assert bool(notes) == isinstance(layer, Function)
    known = layer.output_shape(x.shape[1:])
    assert known == dy.shape[1:]


def test_every_layer_has_a_row():
    def kinds(layer):
        yield type(layer)
        for child in layer.children if isinstance(layer, Container) else ():
            yield from kinds(child)

    assert set(LAYERS.values()) <= {kind for layer, _, _ in ROWS.values() for kind in kinds(layer)}


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
