"""Backward passes written by hand against those of the graph: layers, losses, functions and whole networks."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import assert_close, central_difference

from xpnet import MultiLayerNet, Sequential, TwoLayerNet, functions
from xpnet.backends.dispatch import dtype_name, namespace
from xpnet.graph import constant, grad, value_and_grad, variable
from xpnet.layers import ACTIVATIONS, Affine, Dropout, LeakyReLU, Softmax, Tanh
from xpnet.layers.base import shapes_of
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss, SumSquaredError

LAYERS = {
    **{name: (kind(), (4, 5), (4, 5)) for name, kind in ACTIVATIONS.items()},
    "relu of images": (ACTIVATIONS["relu"](), (2, 3, 2, 2), (2, 3, 2, 2)),
    "leaky_relu, slope 0": (LeakyReLU(0.0), (4, 5), (4, 5)),
    "leaky_relu, slope 0.3": (LeakyReLU(0.3), (4, 5), (4, 5)),
    "leaky_relu, slope -1": (LeakyReLU(-1.0), (4, 5), (4, 5)),
    "softmax": (Softmax(), (4, 5), (4, 5)),
    "dropout, off": (Dropout(), (4, 5), (4, 5)),
    "affine": (Affine(5, 3), (4, 5), (4, 3)),
    "affine of images": (Affine(12, 3), (4, 3, 2, 2), (4, 3)),
}
LABELS = np.asarray([2, 0, 1, 2])
YES = np.asarray([[0.0, 1, 1], [1, 0, 0], [0, 0, 1], [0.25, 1, 0]])
LOSSES = {
    "softmax, labels": (SoftmaxWithLoss(), LABELS),
    "softmax, uint8 labels": (SoftmaxWithLoss(), LABELS.astype("uint8")),
    "softmax, one-hot": (SoftmaxWithLoss(), np.eye(3)[LABELS]),
    "softmax, one-hot integers": (SoftmaxWithLoss(), np.eye(3, dtype="int64")[LABELS]),
    "softmax, soft": (SoftmaxWithLoss(), np.asarray([[0.5, 0.25, 0.25]] * 4)),
    "sigmoid": (SigmoidWithLoss(), YES),
    "sum of squares": (SumSquaredError(), YES),
    "mean of squares": (MeanSquaredError(), YES),
}


def close(b, found, wanted, tolerance=1e-12):
    found, wanted = b.to_numpy(found), b.to_numpy(wanted)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    scale = np.abs(wanted).max()
    assert scale > 0
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, dtype, training_backend, array, rng):
    if training_backend.compiles_shapes and (dtype == "float32" or "," in name):
        pytest.skip("each costs compilations, and the other layers in float64 stand for these")
    layer, x_shape, y_shape = LAYERS[name]
    params = {key: array(rng.normal(size=shape), dtype) for key, shape in shapes_of(layer).items()}
    x, dy = array(rng.normal(size=x_shape), dtype), array(rng.normal(size=y_shape), dtype)

    def weighted(params, x):
        y, _ = layer.forward(params, x)
        return namespace(y).sum(y * dy)

    both = (0, 1) if params else (1,)
    *by_name, dx = grad(weighted, both)(params, x)
    wanted_dx, wanted = layer.backward(params, layer.forward(params, x)[1], dy)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    close(training_backend, dx, wanted_dx, tolerance)
    for key, g in wanted.items():
        close(training_backend, by_name[0][key], g, tolerance)


@pytest.mark.parametrize(
    ("name", "each"),
    [(name, each) for name, (_, t) in LOSSES.items() for each in (False, True) if not each or t.dtype == "float64"],
)
def test_losses(name, each, training_backend, array, rng):
    if each and training_backend.compiles_shapes:
        pytest.skip("each costs compilations, and the losses themselves stand for those of each sample")
    loss, t = LOSSES[name]
    y, target = array(rng.normal(size=(4, 3))), array(t)
    value, residuals = loss.forward(y, target)
    if not each:
        found_value, found = value_and_grad(lambda y: loss.forward(y, target)[0])(y)
        assert float(found_value) == float(value)
        constants = grad(lambda y: loss.forward(y, constant(target))[0])(y)
        np.testing.assert_array_equal(training_backend.to_numpy(found), training_backend.to_numpy(constants))
    else:
        count = t.shape[0] if loss.reduction == "mean" else 1
        found = grad(lambda y: namespace(y).sum(loss.per_sample(y, constant(target))) / count)(y)
    close(training_backend, found, loss.backward(residuals))


def sigmoid_slope(x):
    return np.exp(-x) / (1 + np.exp(-x)) ** 2


def softmax_of(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def cross_entropy_slope(y, t):
    return -t / (y + 1e-7) / y.shape[0]


def test_functions(training_backend, array, rng):
    """By the formulas of the book, and not by those of the package."""
    b, x, w = training_backend, rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    one_hot, p = np.eye(3)[LABELS], softmax_of(x)
    direct = {
        "identity": np.ones_like(x),
        "relu": (x > 0).astype("float64"),
        "sigmoid": sigmoid_slope(x),
    }
    for name, slope in direct.items():
        f = getattr(functions, name)
        close(b, grad(lambda x, f=f: namespace(x).sum(f(x) * array(w)))(array(x)), array(w * slope))
    found = grad(lambda x: namespace(x).sum(functions.softmax(x) * array(w)))(array(x))
    close(b, found, array(p * (w - (w * p).sum(axis=-1, keepdims=True))))
    found = grad(lambda x: namespace(x).sum(functions.softmax(x) * array(w[0])))(array(x[0]))
    close(b, found, array(p[0] * (w[0] - (w[0] * p[0]).sum())))
    step = grad(lambda x: namespace(x).sum(functions.step(x) * x))(array(x))
    close(b, step, array((x > 0).astype("float64")))
    close(b, grad(lambda x: functions.sum_squared_error(x, array(one_hot)))(array(x)), array(x - one_hot))
    close(b, grad(lambda t: functions.sum_squared_error(constant(array(x)), t))(array(w)), array(w - x))
    for t in (array(LABELS), array(one_hot), constant(array(LABELS)), constant(array(one_hot))):
        found = grad(lambda y, t=t: functions.cross_entropy_error(y, t))(array(p))
        close(b, found, array(cross_entropy_slope(p, one_hot)))
    found = grad(lambda y: functions.cross_entropy_error(y, 2))(array(p[1]))
    close(b, found, array(cross_entropy_slope(p[1:2], one_hot[:1])[0]))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["two layers", "three, tanh", "three, leaky_relu"])
def test_networks_on_digits(kind, dtype, training_backend, digits, array):
    if training_backend.compiles_shapes and (kind, dtype) != ("two layers", "float64"):
        pytest.skip("each costs compilations, and two layers in float64 stand for the others")
    (x, t), _ = digits
    x, t = array(x[:3], dtype), array(t[:3])
    options = {"seed": 1, "dtype": dtype, "backend": training_backend}
    if kind == "two layers":
        net = TwoLayerNet(784, 50, 10, 0.1, **options)
    else:
        net = MultiLayerNet(784, [20, 15], 10, activation=kind.partition(", ")[2], weight_init=0.1, **options)
    wanted = net.gradient(x, t)

    def loss(params, x, t):
        return net.loss_layer.forward(net.forward(params, x), t)[0]

    value, found = value_and_grad(loss)(net.params, constant(x), t)
    assert float(value) == pytest.approx(float(net.loss(x, t)), rel=1e-6)
    assert list(found) == list(wanted)
    tolerance = 1e-10 if dtype == "float64" else 1e-5
    for name, g in wanted.items():
        close(training_backend, found[name], g, tolerance)
        assert dtype_name(found[name].dtype) == dtype
    if kind == "two layers" and not training_backend.compiles_shapes:
        by_name = grad(loss)(net.params, constant(x), constant(t))
        close(training_backend, by_name["W1"], wanted["W1"], tolerance)
        dx = grad(loss, 1)(net.params, x, t)
        assert tuple(dx.shape) == (3, 784)


NETWORKS = {
    "softmax": (lambda **o: MultiLayerNet(6, [5], 4, activation="tanh", weight_init=0.5, **o), "labels"),
    "gelu": (lambda **o: MultiLayerNet(6, [5], 4, activation="gelu", weight_init=0.5, **o), "labels"),
    "squares": (
        lambda **o: Sequential(
            [Affine(6, 5), Tanh(), Affine(5, 4), Softmax()], SumSquaredError(), weight_init=0.5, **o
        ),
        "free",
    ),
    "sigmoid": (
        lambda **o: Sequential([Affine(6, 5), ACTIVATIONS["sigmoid"](), Affine(5, 4)], SigmoidWithLoss(), **o),
        "yes",
    ),
    "mean": (lambda **o: Sequential([Affine(6, 4), Softmax()], MeanSquaredError(), **o), "free"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_backward_passes_can_be_differentiated(name, training_backend, array, rng):
    """A product of the Hessian with a direction, through ``net.value_and_grad`` as it is written."""
    if training_backend.compiles_shapes and name != "squares":
        pytest.skip("each costs compilations, and the squares stand for the others")
    build, kind = NETWORKS[name]
    net = build(seed=2, dtype="float64", backend=training_backend)
    x = rng.normal(size=(7, 6))
    t = {"labels": rng.integers(0, 4, 7), "free": rng.normal(size=(7, 4)), "yes": rng.random((7, 4))}[kind]
    directions = {key: rng.normal(size=tuple(p.shape)) for key, p in net.params.items()}
    images, targets = constant(array(x)), array(t)

    def along(params, value_and_gradients):
        _, found = value_and_gradients(params)
        return sum(namespace(g).sum(g * array(directions[key])) for key, g in found.items())

    once = grad(lambda p: along(p, lambda p: net.value_and_grad(p, images, targets)))
    by_hand = training_backend.jit(once)(net.params)
    twice = grad(
        lambda p: along(p, value_and_grad(lambda p: net.loss_layer.forward(net.forward(p, images), targets)[0]))
    )
    by_graph = training_backend.jit(twice)(net.params)
    host = net.to("numpy")
    before = dict(host.params)
    ends, h = [], 1e-5
    for side in (h, -h):
        host.params = {key: p + side * directions[key] for key, p in before.items()}
        ends.append(host.gradient(x, t))
    for key in before:
        wanted = (ends[0][key] - ends[1][key]) / (2 * h)
        scale = np.abs(wanted).max()
        for found in (by_hand, by_graph):
            np.testing.assert_allclose(training_backend.to_numpy(found[key]), wanted, rtol=0, atol=1e-7 * scale)
        close(training_backend, by_hand[key], by_graph[key], 1e-10)


def test_a_layer_of_ones_own(training_backend, array, rng):
    """What nobody wrote a backward pass for."""
    x = rng.normal(size=(4, 3))

    def normalised(xp, x):
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        return centred / xp.sqrt(xp.var(x, axis=-1, keepdims=True) + 1e-5)

    found = grad(lambda x: namespace(x).sum(normalised(namespace(x), x) ** 3))(array(x))
    wanted = central_difference(lambda x: (normalised(np, x) ** 3).sum(), x)
    np.testing.assert_allclose(training_backend.to_numpy(found), wanted, rtol=0, atol=1e-7 * np.abs(wanted).max())


def test_inside_of_compiled_functions(training_backend, array):
    if training_backend.name != "jax":
        pytest.skip("it is jax.jit that compiles")
    import jax

    def f(x):
        xp = namespace(x)
        return xp.sum(xp.tanh(x) * x[0]) + xp.sum(x[1:] ** 2)

    x = array([1.0, 2.0, 3.0])
    slopes = jax.jit(grad(f))(x)
    np.testing.assert_allclose(slopes, jax.jit(jax.grad(f))(x), rtol=1e-12)
    second = jax.jit(jax.grad(lambda x: namespace(x).sum(grad(f)(x))))(x)  # one on top of the other
    np.testing.assert_allclose(second, jax.jit(jax.grad(lambda x: namespace(x).sum(jax.grad(f)(x))))(x), rtol=1e-12)


def test_other_arguments_are_constants_on_every_backend(training_backend, digits):
    (x, t), _ = digits
    net = TwoLayerNet(784, 5, 10, seed=0, dtype="float64", backend=training_backend)
    x, t = training_backend.asarray(x[:3], "float64"), training_backend.asarray(t[:3])
    found = grad(lambda params, x, t: net.loss_layer.forward(net.forward(params, x), t)[0])(net.params, x, t=t)
    for name, g in net.gradient(x, t).items():
        assert_close(training_backend.to_numpy(found[name]), training_backend.to_numpy(g), 1e-10)


def test_a_gradient_with_respect_to_an_argument_that_is_constant_outside(training_backend, array):
    """As in a penalty on the gradient of the input: d/dp Σ d/dz Σ p z² = 2 x."""
    p, x = array([1.0, 2.0]), array([3.0, 4.0])
    total = training_backend.xp.sum

    def by_grad(p, x):
        return namespace(p).sum(grad(lambda z: namespace(z).sum(z * p * z))(x))

    def by_backward(p, x):
        z = variable(x.value)
        namespace(p).sum(z * p * z).backward(record=True)
        return namespace(p).sum(z.grad)

    for penalty in (by_grad, by_backward):
        assert training_backend.to_numpy(grad(penalty)(p, x)).tolist() == [6, 8]
    assert float(total(grad(lambda z: namespace(z).sum(z * z))(constant(x)))) == 14
    with pytest.raises(TypeError, match="record=True"):
        grad(lambda p: (p * variable(array(2.0))).backward())(array(3.0))
