"""How far layers reach that do not say so: found out by trying, and believed where they say it."""

import numpy as np
import pytest

from xpnet import Sequential, check_gradient, namespace
from xpnet.backends.dispatch import device
from xpnet.gradient.reach import reach
from xpnet.layers import Affine, Chain, Function, GraphLayer, Identity, Layer, ReLU, Residual
from xpnet.layers.activations import Activation


class Silent(Layer):
    """A layer that does not say how far its input reaches."""

    def backward(self, params, residuals, dy):
        raise NotImplementedError


def silent(function):
    """An instance of a new class of such layers, y = function(x)."""
    return type("Made", (Silent,), {"forward": lambda self, params, x: (function(namespace(x), x), None)})()


class Swish(Activation):
    def forward(self, params, x):
        s = 1 / (1 + namespace(x).exp(-x))
        return x * s, (x, s)

    def gradient(self, residuals, dy):
        x, s = residuals
        return dy * (s + x * s * (1 - s))


class Bent(GraphLayer):
    def apply(self, params, x):
        return namespace(x).tanh(x) * x


class Elementwise(GraphLayer):
    acts_on = "element"

    def apply(self, params, x):
        return x * x


class Mixing(Elementwise):
    """Another ``apply`` than what was said something of."""

    def apply(self, params, x):
        return x - namespace(x).mean(x, axis=0, keepdims=True)


class Scaled(Silent):
    def init(self, rng, weight_init):
        return {"g": rng.uniform(0.5, 2, 4)}

    def forward(self, params, x):
        return x * params["g"], None


class SaysBatch(Silent):
    acts_on = "batch"

    def forward(self, params, x):
        return 2 * x, None


ELEMENT = {
    "a square": silent(lambda xp, x: x * x),
    "a kink": silent(lambda xp, x: xp.where(x > 0, x, 0 * x)),
    "an activation": Swish(),
    "a graph": Bent(),
    "a function": Function(lambda x: namespace(x).sin(x)),
    "in a chain": Chain(Swish(), ReLU()),
    "in a residual": Residual(Swish()),
}
SAMPLE = {
    "a mean over units": silent(lambda xp, x: x - xp.mean(x, axis=-1, keepdims=True)),
    "a norm of samples": silent(lambda xp, x: x / xp.sqrt(1 + xp.sum(x * x, axis=-1, keepdims=True))),
    "a place of its own": silent(lambda xp, x: x * xp.arange(x.shape[-1], dtype=x.dtype, device=device(x))),
    "another width": silent(lambda xp, x: xp.concat([x, x * x], axis=-1)),
    "reversed": silent(lambda xp, x: xp.flip(x, axis=-1)),
    "with parameters": Scaled(),
}
BATCH = {
    "a mean over samples": silent(lambda xp, x: x - xp.mean(x, axis=0, keepdims=True)),
    "a mean of all": silent(lambda xp, x: x - xp.mean(x)),
    "the largest of all": silent(lambda xp, x: x / xp.max(xp.abs(x))),
    "running sums": silent(lambda xp, x: xp.cumulative_sum(x, axis=0)),
    "how many there are": silent(lambda xp, x: x / x.shape[0]),
    "says so": SaysBatch(),
    "a class with another forward": Mixing(),
    "another number of rows": silent(lambda xp, x: x[:2, ...]),
    "raises": silent(lambda xp, x: x / (x.shape == (5, 4)) if x.shape == (5, 4) else undefined),  # noqa: F821
}


def numbers(array, layer):
    params = {name: array(a) for name, a in layer.init(np.random.default_rng(0), None).items()}
    return params, array(np.random.default_rng(1).normal(size=(5, 4)))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        pytest.param(layer, kind, id=name)
        for kind, layers in (("element", ELEMENT), ("sample", SAMPLE))
        for name, layer in layers.items()
    ],
)
@pytest.mark.usefixtures("at_home")
def test_what_keeps_entries_or_samples_apart_is_found_out(layer, expected, array):
    assert reach(layer, *numbers(array, layer)) == expected


@pytest.mark.parametrize("layer", [pytest.param(layer, id=name) for name, layer in BATCH.items()])
def test_what_mixes_samples_is_found_out_or_believed(layer, array):
    assert reach(layer, *numbers(array, layer)) == "batch"


def test_what_layers_say_is_not_tried(array):
    said = type("Said", (Silent,), {"acts_on": "element", "forward": lambda *_: pytest.fail("it was tried")})()
    x = array(np.ones((5, 4)))
    assert reach(said, {}, x) == "element"
    assert [reach(layer, {}, x) for layer in (Identity(), Affine(4, 3), Elementwise())] == [
        "element",
        "sample",
        "element",
    ]


def test_integers_and_nan_are_not_compared(array):
    layer = silent(lambda xp, x: x * x)
    assert reach(layer, {}, array(np.arange(20).reshape(5, 4))) == "batch"
    assert reach(layer, {}, array(np.full((5, 4), np.nan))) == "batch"


@pytest.mark.parametrize("layer", [Swish(), Bent(), Scaled(), Mixing()], ids=repr)
def test_a_network_of_silent_layers_has_the_gradient_that_it_has_entry_by_entry(layer, training_backend, array):
    """The oracle is the same network whose layer says that it mixes samples, of which each entry is moved by itself."""

    class Slow(type(layer)):
        acts_on = "batch"

    rng = np.random.default_rng(2)
    x, t = array(rng.normal(size=(6, 5))), array(rng.integers(0, 3, 6))
    options = {"seed": 0, "dtype": "float64", "backend": training_backend}
    found = [
        Sequential([Affine(5, 4), each, Affine(4, 3)], **options).numerical_gradient(x, t) for each in (layer, Slow())
    ]
    for a, b in zip(*(map(training_backend.to_numpy, each.values()) for each in found), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


def test_a_network_with_a_silent_activation_is_checked_by_columns(monkeypatch):
    """A forward pass for each entry would be 2 times 39,760 of them."""
    calls = []
    original = Swish.forward
    monkeypatch.setattr(Swish, "forward", lambda self, params, x: calls.append(1) or original(self, params, x))
    rng = np.random.default_rng(0)
    net = Sequential([Affine(784, 50), Swish(), Affine(50, 10)], seed=0, backend="numpy")
    report = check_gradient(net, rng.normal(size=(3, 784)), rng.integers(0, 10, 3), progress=False)
    assert report.passed, str(report)
    assert len(calls) < 1000
