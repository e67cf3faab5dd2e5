"""Layers from a forward pass alone, against the same layers written by hand, ``jax.grad`` and torch's autograd."""

from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from oracles import assert_close, gradients

from xpnet import SGD, CompileWarning, Sequential, Trainer, check_gradient, load_network, namespace
from xpnet.graph import constant, grad
from xpnet.layers import Affine, BatchNorm, Chain, Dropout, Function, GraphLayer, Identity, Residual, Softmax, Tanh
from xpnet.testing import check_layer


@dataclass(frozen=True)
class Dense(GraphLayer):
    """What Affine is."""

    n_in: int
    n_out: int

    def init(self, rng, weight_init):
        return Affine(self.n_in, self.n_out).init(rng, weight_init)

    def apply(self, params, x):
        return namespace(x).matmul(x, params["W"]) + params["b"]


class BySoftmax(GraphLayer):
    """What Softmax is."""

    def apply(self, params, x):
        e = namespace(x).exp(x)
        return e / namespace(x).sum(e, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Normal(GraphLayer):
    """What BatchNorm predicts: with buffers."""

    features: int
    acts_on = "element"

    def init(self, rng, weight_init):
        return BatchNorm(self.features).init(rng, weight_init)

    def buffers(self):
        return BatchNorm(self.features).buffers()

    def apply(self, params, x):
        scale = namespace(x).sqrt(params["var"] + 1e-5)
        return params["gamma"] * ((x - params["mean"]) / scale) + params["beta"]


class Drop(GraphLayer):
    """What Dropout(0.5) is: with draws."""

    acts_on = "element"

    def draws(self, rng, shape):
        return Dropout(0.5).draws(rng, shape)

    def apply(self, params, x):
        return x * namespace(x).astype(params["mask"], x.dtype) / 0.5 if "mask" in params else x


class Nothing(GraphLayer):
    """It returns what it is given."""

    acts_on = "element"

    def apply(self, params, x):
        return x


@dataclass(frozen=True)
class Noise(GraphLayer):
    """Noise from N(0, 1) as loud as it learns to be, with a buffer that nothing changes."""

    features: int
    acts_on = "element"

    def init(self, rng, weight_init):
        return {"loud": weight_init(rng, (self.features,))}

    def buffers(self):
        return {"least": np.full(self.features, 0.25)}

    def draws(self, rng, shape):
        return {"noise": rng.normal(size=shape).astype("float32")}

    def apply(self, params, x):
        loud = namespace(x).tanh(params["loud"]) * params["loud"] + params["least"]
        return x + loud * namespace(x).astype(params["noise"], x.dtype) if "noise" in params else x * (1 + loud)


def bent(x, a, b):
    xp = namespace(x)
    return xp.tanh(a * x) + b * xp.where(x > 0, x, 0.1 * x)


SHAPES = {"a": (5,), "b": ()}
PAIRS = {
    "Affine": (Dense(5, 3), Affine(5, 3)),
    "Softmax": (BySoftmax(), Softmax()),
    "BatchNorm": (Normal(5), BatchNorm(5)),
    "Dropout": (Drop(), Dropout(0.5)),
    "Identity": (Nothing(), Identity()),
    "Chain": (Chain(Dense(5, 4), BySoftmax()), Chain(Affine(5, 4), Softmax())),
    "Residual": (Residual(Chain(Dense(5, 5), Drop())), Residual(Chain(Affine(5, 5), Dropout(0.5)))),
}


@pytest.mark.parametrize("name", PAIRS)
def test_it_is_the_layer_written_by_hand(name, training_backend, array, rng):
    b, (ours, by_hand) = training_backend, PAIRS[name]
    params = {key: rng.normal(size=np.shape(a)) for key, a in by_hand.init(rng, lambda rng, s: np.ones(s)).items()}
    drawn = by_hand.draws(np.random.default_rng(1), (4, 5))
    if "Residual" in name:
        assert list(drawn) == ["Dropout1.mask"]
        drawn = {"Drop1.mask": drawn["Dropout1.mask"], **drawn}
    params |= {key: 1 + np.asarray(a) for key, a in by_hand.buffers().items()} | drawn
    given, x = {key: array(a) for key, a in params.items()}, array(rng.normal(size=(4, 5)))
    y, residuals = by_hand.forward(given, x)
    dy = array(rng.normal(size=tuple(y.shape)))
    dx, grads = by_hand.backward(given, residuals, dy)
    y_ours, residuals = ours.forward(given, x)
    dx_ours, grads_ours = ours.backward(given, residuals, dy)
    for found, wanted in [(y_ours, y), (dx_ours, dx), *((grads_ours[key], g) for key, g in grads.items())]:
        np.testing.assert_allclose(b.to_numpy(found), b.to_numpy(wanted), rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(b.to_numpy(ours.predict(given, x)), b.to_numpy(y_ours))


def network(backend, **options):
    layers = [Affine(4, 5), Function(bent, SHAPES), Residual(Chain(Noise(5), Dense(5, 5))), BySoftmax(), Affine(5, 3)]
    return Sequential(layers, seed=0, weight_init=0.5, backend=backend, **{"dtype": "float64"} | options)


@pytest.mark.parametrize("mode", ["predicting", "training"])
def test_gradients_in_a_network(mode, training_backend, array, rng):
    b, net = training_backend, network(training_backend)
    x, t = array(rng.normal(size=(6, 4))), array(rng.integers(0, 3, 6))
    draws = net.draws(np.random.default_rng(0), (6, 4)) if mode == "training" else {}
    others = net.buffers | {name: array(a) for name, a in draws.items()}
    host = [b.to_numpy(p).copy() for p in net.params.values()]

    def loss(*values):
        return net.loss_layer.forward(net.forward(others | dict(zip(net.params, values, strict=True)), x), t)[0]

    wanted, tolerance = gradients(b, loss_of(net, others, x, t) if b.name == "jax" else loss, *host)
    found = net.training_value_and_grad(net.params | others, x, t)[1]
    for g, w in zip(found.values(), wanted, strict=True):
        assert_close(b.to_numpy(g), w, max(tolerance, 1e-8))


def loss_of(net, others, x, t):
    """As JAX compiles it."""
    import jax

    return jax.jit(
        lambda *values: net.loss_layer.forward(
            net.chain.train(others | dict(zip(net.params, values, strict=True)), x)[0], t
        )[0]
    )


def test_inside_of_compiled_functions(backend, array, rng):
    if backend.name != "jax":
        return
    import jax

    net = network(backend)
    x, t = array(rng.normal(size=(6, 4))), array(rng.integers(0, 3, 6))
    loss, grads = jax.jit(net.value_and_grad)(net.params, x, t)
    plain_loss, plain = net.value_and_grad(net.params, x, t)
    assert float(loss) == pytest.approx(float(plain_loss), rel=1e-12)
    for name, g in grads.items():
        np.testing.assert_allclose(g, plain[name], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_recorded_steps_of_numpy_are_the_steps(dtype, rng):
    losses = []
    for compiled in (False, True):
        net = network("numpy", dtype=dtype)
        trainer = Trainer(net, SGD(0.1), batch_size=6, seed=0, compile=compiled)
        x, t = np.random.default_rng(1).normal(size=(20, 4)), np.arange(20) % 3
        with warnings.catch_warnings():
            warnings.simplefilter("error", CompileWarning)
            trainer.fit(x, t, epochs=3, progress=False)
        losses.append((trainer.history.losses, {name: p.tobytes() for name, p in net.params.items()}))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("compiled", [False, None])
def test_steps_are_those_of_numpy(compiled, training_backend):
    """With draws and buffers of its own, eager and as the backend has it by default."""
    losses = []
    for place in (training_backend, "numpy"):
        net = network(place)
        x = net.backend.asarray(np.random.default_rng(1).normal(size=(20, 4)))
        trainer = Trainer(net, SGD(0.1), batch_size=6, seed=0, compile=compiled)
        trainer.fit(x, net.backend.asarray(np.arange(20) % 3), epochs=2, progress=False)
        losses.append(trainer.history.losses)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)


def test_gradients_of_gradients_go_through_it(training_backend, array, rng):
    """Of the squared gradient of a network, against ``jax.grad`` of ``jax.grad`` where it is JAX, else a difference."""
    b = training_backend
    layers = [Function(bent, {"a": (4,), "b": ()}), Dense(4, 5), BySoftmax(), Residual(Nothing()), Affine(5, 3)]
    net = Sequential(layers, seed=0, weight_init=0.5, dtype="float64", backend=b)
    x, t = array(rng.normal(size=(6, 4))), array(rng.integers(0, 3, 6))

    def squares(found):
        return sum(namespace(g).sum(g * g) for g in found.values())

    found = grad(lambda params: squares(net.value_and_grad(params, constant(x), t)[1]))(net.params)
    host = [b.to_numpy(p).copy() for p in net.params.values()]

    def total(*values):
        params = dict(zip(net.params, values, strict=True))
        if b.name == "jax":
            import jax

            return squares(jax.grad(lambda p: net.loss_layer.forward(net.chain.predict(p, x), t)[0])(params))
        return squares(net.value_and_grad(params, x, t)[1])

    if b.name == "torch":
        return  # its own autograd and the graph do not record the same arrays
    wanted, tolerance = gradients(b, total, *host)
    for g, w in zip(found.values(), wanted, strict=True):
        assert_close(b.to_numpy(g), w, max(tolerance, 1e-7))


def test_a_network_with_it_checks_its_gradients(training_backend, array, rng):
    net = network(training_backend)
    assert check_gradient(net, array(rng.normal(size=(6, 4))), array([0, 1, 2, 0, 1, 2]), mode="directional").passed


@pytest.mark.parametrize("layer", [Dense(5, 3), BySoftmax(), Normal(5), Drop(), Nothing(), Noise(5)], ids=repr)
def test_all_that_is_checked_of_a_layer(layer, backend):
    assert check_layer(layer, (4, 5), backends=[backend]) == []


def test_functions_are_values():
    one, other = Function(bent, SHAPES), Function(bent, dict(SHAPES))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Function(bent, {"a": (4,), "b": ()})
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one


def test_it_is_saved_by_its_parameters_and_loaded_into_a_network(backend, array, rng, tmp_path):
    net, x = network(backend), array(rng.normal(size=(3, 4)))
    net.save(tmp_path / "net")
    other = network(backend)
    other.params = {name: 0 * p for name, p in other.params.items()}
    other.load(tmp_path / "net")
    np.testing.assert_array_equal(backend.to_numpy(other.predict(x)), backend.to_numpy(net.predict(x)))
    with pytest.raises(ValueError, match=r"Function.* cannot be made|kinds"):
        load_network(tmp_path / "net", backend=backend)


def test_shapes_are_found_out_when_the_network_is_made():
    assert Dense(5, 3).output_shape((5,)) == (3,)
    assert Function(bent, SHAPES).output_shape((5,)) == (5,)
    with pytest.raises(ValueError, match=r"^Dense1: a sample of shape \(3,\) does not fit: .*; it comes from Affine1$"):
        Sequential([Affine(4, 3), Dense(5, 3)], backend="numpy")
    with pytest.raises(ValueError, match=r"^Residual1\.Dense1: a sample of shape \(3,\) does not fit"):
        Sequential([Affine(4, 3), Residual(Chain(Tanh(), Dense(5, 3)))], backend="numpy")


class Detached(GraphLayer):
    def apply(self, params, x):
        return np.ones(3)


def test_mistakes_are_told(array):
    with pytest.raises(TypeError, match="Function: function is 'tanh', expected a function"):
        Function("tanh")
    with pytest.raises(TypeError, match=r"Detached\.apply returned ndarray, which does not depend on x"):
        Detached().forward({}, array([1.0]))
