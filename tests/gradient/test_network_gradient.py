"""The numerical gradient of networks: every kind against the oracles, and every short cut against the long way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import tqdm
from bad_inputs import BAD
from oracles import STEP, assert_close, gradients, noise

from xpnet import MultiLayerNet, Sequential, TwoLayerNet, namespace, numerical_gradient
from xpnet.backends.numpy import NumpyBackend
from xpnet.gradient import columns
from xpnet.layers import ACTIVATIONS, Affine, Identity, Layer, Sigmoid, Softmax, Tanh
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss, SumSquaredError


class Plain(Layer):
    """A layer that says nothing of how far its inputs reach, nor of its shapes."""

    def backward(self, params, residuals, dy):
        raise NotImplementedError("a numerical gradient goes forward")


class Centred(Plain):
    """y = x - mean of x over the batch, which mixes samples."""

    def forward(self, params, x):
        return x - namespace(x).mean(x, axis=0, keepdims=True), None


@dataclass(frozen=True)
class Scale(Plain):
    """y = x g, a factor for each unit."""

    n: int

    def init(self, rng, weight_init):
        return {"g": rng.uniform(0.5, 2, self.n)}

    def forward(self, params, x):
        return x * params["g"], None


class ScaleOfElements(Scale):
    acts_on = "element"  # which is right


class Folded(Plain):
    """(N, 2 k) in the shape (N, 2, k), so that a softmax behind it is over k."""

    acts_on = "sample"

    def forward(self, params, x):
        return namespace(x).reshape(x, (x.shape[0], 2, -1)), None


class Doubled(Affine):
    """y = 2 (x W + b)."""

    def forward(self, params, x):
        y, residuals = super().forward(params, x)
        return 2 * y, residuals


class Tripled(SoftmaxWithLoss):
    """Another ``forward``, with the ``per_sample`` and ``per_sample_difference`` of the loss that it is made from."""

    def forward(self, y, t):
        value, residuals = super().forward(y, t)
        return 3 * value, residuals


class Whole:
    """A loss that is no mean of its samples': the root of the mean square."""

    def forward(self, y, t):
        return namespace(y).sqrt(namespace(y).mean((y - t) ** 2)), None

    def backward(self, residuals):
        raise NotImplementedError("a numerical gradient goes forward")

    def check(self, y_shape, t, name="t"):
        pass


class OnlyPerSample(Whole):
    """Sums its samples' losses, and does not say which ``reduction`` it is."""

    def forward(self, y, t):
        return namespace(y).sum(self.per_sample(y, t)), None

    def per_sample(self, y, t):
        return namespace(y).sum((y - t) ** 4, axis=-1)


def layered(*layers, loss=None, **options):
    return lambda **common: Sequential(layers, loss, **({"weight_init": "xavier"} | options | common))


def two(std=0.5):
    return lambda **common: TwoLayerNet(6, 5, 4, std, **common)


def multi(hidden, activation="tanh", outputs=4):
    return lambda **common: MultiLayerNet(6, hidden, outputs, activation=activation, weight_init="xavier", **common)


#: A network by what is special about it, the shape of x, and what its targets are
NETWORKS = {
    "two layers": (two(), (7, 6), "labels"),
    "weights above 1": (two(2.0), (7, 6), "labels"),
    "one-hot": (two(), (7, 6), "one-hot"),
    "soft targets": (two(), (7, 6), "soft"),
    "3-D": (two(), (7, 2, 3), "labels"),
    "batch of 1": (two(), (1, 6), "labels"),
    "one sample": (two(), (6,), "labels"),
    "three hidden": (multi([5, 4, 3]), (7, 6), "labels"),
    "three hidden, relu": (multi([5, 4, 3], "relu"), (7, 6), "soft"),
    "wide outputs": (multi([3], outputs=16), (7, 6), "labels"),
    **{f"{name}, {h}": (multi(h, name), (7, 6), "labels") for name in ACTIVATIONS for h in ([5], [5, 3])},
    "affine alone": (layered(Affine(6, 4)), (7, 6), "labels"),
    "softmax layer": (layered(Affine(6, 5), Tanh(), Affine(5, 4), Softmax(), loss=SumSquaredError()), (7, 6), "free"),
    "softmax behind affine": (layered(Affine(6, 4), Softmax(), loss=SumSquaredError()), (7, 6), "free"),
    "softmax inside": (layered(Affine(6, 5), Softmax(), Affine(5, 4)), (7, 6), "labels"),
    "mean squared": (layered(Tanh(), Identity(), Affine(6, 4), loss=MeanSquaredError()), (7, 6), "free"),
    "sigmoid loss": (layered(Affine(6, 5), Sigmoid(), Affine(5, 4), loss=SigmoidWithLoss()), (7, 6), "soft"),
    "one output": (layered(Affine(6, 5), Tanh(), Affine(5, 1), loss=SigmoidWithLoss()), (7, 6), "soft"),
    "activation at the end": (layered(Affine(6, 4), Tanh(), loss=MeanSquaredError()), (7, 6), "free"),
    "affine on affine": (layered(Affine(6, 5), Affine(5, 4), Affine(4, 4)), (7, 6), "labels"),
    "mixed samples": (layered(Affine(6, 5), Centred(), Tanh(), Affine(5, 4)), (7, 6), "labels"),
    "mixed samples in front": (layered(Centred(), Affine(6, 5), Tanh(), Affine(5, 4)), (7, 6), "labels"),
    "parameters of its own": (layered(Affine(6, 5), Tanh(), Scale(5), Affine(5, 4)), (7, 6), "labels"),
    "scaled first": (layered(Scale(6), Affine(6, 4)), (7, 6), "labels"),
    "scaled elements": (layered(Affine(6, 7), ScaleOfElements(7), Tanh(), Affine(7, 4)), (7, 6), "labels"),
    "folded": (layered(Affine(6, 6), Folded(), Softmax(), Affine(6, 4)), (7, 6), "labels"),
    "another affine first": (layered(Doubled(6, 5), Tanh(), Affine(5, 4)), (7, 6), "labels"),
    "another affine last": (layered(Affine(6, 5), Tanh(), Doubled(5, 4)), (7, 6), "labels"),
    "another forward of a loss": (layered(Affine(6, 5), Tanh(), Affine(5, 4), loss=Tripled()), (7, 6), "labels"),
    "loss without per_sample": (layered(Affine(6, 5), Tanh(), Affine(5, 4), loss=Whole()), (7, 6), "free"),
    "loss without reduction": (layered(Affine(6, 4), loss=OnlyPerSample()), (7, 6), "free"),
}


def made(case, rng, **common):
    """A network and its samples, on the host."""
    build, shape, kind = NETWORKS[case]
    net = build(**({"seed": 3, "dtype": "float64"} | common))
    n = () if len(shape) == 1 else shape[:1]
    outputs = net.forward(net.params, net.backend.asarray(np.zeros((1, *shape[len(n) :])))).shape[-1]
    t = {
        "labels": rng.integers(0, outputs, n),
        "one-hot": np.eye(outputs)[rng.integers(0, outputs, n)],
        "soft": rng.dirichlet(np.ones(outputs), n) if outputs > 1 else rng.uniform(size=(*n, 1)),
        "free": rng.normal(size=(*n, outputs)),
    }[kind]
    return net, rng.normal(size=shape), t


def along(net, x, t):
    """The loss as a function of arrays, one for each parameter; nothing of xpnet.gradient."""
    x, t = net.as_batch(x, t)
    return lambda *values: net.loss_layer.forward(net.forward(dict(zip(net.params, values, strict=True)), x), t)[0]


def loop(net, x, t, h):
    """Central differences with one step for all, one entry at a time, for NumPy."""
    f, found = along(net, x, t), {}
    for name, p in net.params.items():
        found[name] = np.zeros(p.shape)
        for i in np.ndindex(p.shape):
            above, below = p.copy(), p.copy()
            above[i], below[i] = p[i] + h, p[i] - h
            upper, lower = (f(*(net.params | {name: moved}).values()) for moved in (above, below))
            found[name][i] = (upper - lower) / (2 * h)
    return found


def truncation(net, x, t):
    """What central differences with the default step leave out, by name: a third of what twice the step changes."""
    step = STEP * max(1, *(np.abs(p).max() for p in net.params.values()))
    near, far = loop(net, x, t, step), loop(net, x, t, 2 * step)
    error = noise(net.loss(x, t), step)
    return {name: (np.abs(far[name] - near[name]).max() + error) / 3 for name in near}


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.usefixtures("at_home")
def test_networks(case, training_backend, array, rng):
    reference, x, t = made(case, rng, backend="numpy")
    net = reference.to(training_backend)
    host = {name: training_backend.to_numpy(p).copy() for name, p in net.params.items()}
    net.params = {name: array(p) for name, p in host.items()}  # locked, where they can be
    f = along(net, array(x), array(t))
    found = {name: training_backend.to_numpy(g) for name, g in net.numerical_gradient(array(x), array(t)).items()}
    expected, tolerance = gradients(training_backend, f, *host.values())
    rounding = noise(f(*net.params.values()), STEP)
    left_out = truncation(reference, x, t)
    for name, wanted in zip(host, expected, strict=True):
        np.testing.assert_array_equal(training_backend.to_numpy(net.params[name]), host[name])
        if (case, name) == ("mixed samples", "b1"):  # the mean that is taken off takes it along
            np.testing.assert_allclose(found[name], 0, rtol=0, atol=rounding)
            continue
        scale = np.abs(wanted).max()
        assert_close(found[name], wanted, tolerance + (rounding + left_out[name]) / scale)
        if training_backend.name != "jax":  # each call costs there, and its oracle is exact
            one = numerical_gradient(lambda p, name=name: f(*(net.params | {name: p}).values()), net.params[name])
            assert_close(found[name], training_backend.to_numpy(one), 2 * rounding / scale)  # that of both
    assert list(found) == list(host)


@pytest.mark.parametrize("h", [1e-3, 0.1, 3.0, 100.0])
@pytest.mark.parametrize("case", ["two layers", "leaky_relu, [5, 3]", "softmax layer", "sigmoid loss", "soft targets"])
def test_explicit_step(case, h, training_backend, array, rng):
    if training_backend.name == "jax" and h < 100:  # each network is compiled there, for seconds
        pytest.skip("each network is compiled, for seconds, and the longest step stands for the others")
    reference, x, t = made(case, rng, backend="numpy")
    net = reference.to(training_backend)
    found = net.numerical_gradient(array(x), array(t), h=h)
    for name, wanted in loop(reference, x, t, h).items():
        scale = np.abs(wanted).max()
        rounding = noise(float(reference.loss(x, t)) + 2 * h * scale, h)  # f is about as large as that in x ± h
        assert_close(training_backend.to_numpy(found[name]), wanted, 2 * rounding / scale)


@pytest.mark.parametrize("max_bytes", [1, 100, 3_000, 10_000, None])
@pytest.mark.parametrize("std", [0.5, 2.0])
@pytest.mark.parametrize("kind", ["sparse", "zeros", "dense"])
def test_blocks(kind, std, max_bytes, training_backend, array, rng):
    """However the work is cut, and whatever can be left out: pixels that are off, values that come twice."""
    if training_backend.name == "jax" and (std, max_bytes) != ((2.0, None) if kind == "dense" else (0.5, 100)):
        pytest.skip("every cut is compiled, for seconds, and these three stand for the others")
    n = 3 if training_backend.name == "jax" or kind == "zeros" else 12
    x = rng.normal(size=(n, 6)) if kind == "dense" else rng.choice([0, 0, 0.25, 0.25, 1, -0.5], (n, 6))
    t = rng.integers(0, 4, n)
    if kind != "dense":
        x[:, 2], x[: n if kind == "zeros" else 1] = 0, 0
    reference = MultiLayerNet(6, [5, 4], 4, "leaky_relu", std, seed=1, dtype="float64", backend="numpy")
    for p in reference.params.values():
        p += 0.01 * rng.normal(size=p.shape)  # biases off the kink at zero
    found = reference.to(training_backend).numerical_gradient(array(x), array(t), max_bytes=max_bytes)
    far = loop(reference, x, t, 1e-6)
    for name, wanted in reference.value_and_grad(reference.params, x, t)[1].items():
        np.testing.assert_allclose(far[name], wanted, rtol=0, atol=1e-6)
        np.testing.assert_allclose(training_backend.to_numpy(found[name]), wanted, rtol=0, atol=1e-8)


def test_threads(rng, monkeypatch):
    monkeypatch.setattr(columns, "WORTH_A_THREAD", 0)
    for case in ("three hidden, relu", "weights above 1", "softmax layer"):
        net, x, t = made(case, rng, backend="numpy")
        expected, results, rounding = loop(net, x, t, 1e-6), [], noise(net.loss(x, t), STEP)
        for workers in (1, 2, 5):
            monkeypatch.setattr(NumpyBackend, "workers", workers)
            results.append([net.numerical_gradient(x, t, max_bytes=max_bytes) for max_bytes in (2_000, None)])
        for name, wanted in expected.items():
            for found in results:
                assert_close(found[0][name], wanted, 1e-6)
                for ours, first in zip(found, results[0], strict=True):
                    np.testing.assert_allclose(ours[name], first[name], rtol=0, atol=2 * rounding)


def test_float32(training_backend, array, rng):
    reference, x, t = made("gelu, [5, 3]", rng, backend="numpy", dtype="float32")
    net = reference.to(training_backend)
    found = net.numerical_gradient(array(x, "float32"), array(t))
    reference.params = {name: p.astype("float64") for name, p in reference.params.items()}
    reference.dtype = np.dtype("float64")
    for name, wanted in loop(reference, x.astype("float32").astype("float64"), t, 1e-6).items():
        assert found[name].dtype == net.params[name].dtype == net.dtype
        assert_close(training_backend.to_numpy(found[name]), wanted, 1e-6)


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, training_backend, array):
    x, t, error, message = BAD[case]
    net = TwoLayerNet(6, 5, 4, seed=0, dtype="float64", backend=training_backend)
    with pytest.raises(error, match=message):
        net.numerical_gradient(array(x), array(t))


def test_options_refused(training_backend, array, rng):
    net, x, t = made("two layers", rng, backend=training_backend)
    for h in (0, -1e-4, np.nan, "small", True):
        with pytest.raises(ValueError, match="step h is"):
            net.numerical_gradient(array(x), array(t), h=h)
    with pytest.raises(ValueError, match=r"1e-17 is too small: entry .* of W1"):
        net.numerical_gradient(array(x), array(t), h=1e-17)
    for max_bytes in (0, -1, 2.5, True, "all"):
        with pytest.raises(ValueError, match="max_bytes is"):
            net.numerical_gradient(array(x), array(t), max_bytes=max_bytes)


def test_no_progress_bar(training_backend, array, rng, capsys, monkeypatch):
    monkeypatch.setattr(tqdm, "tqdm", lambda bar=tqdm.tqdm, **options: bar(**options | {"delay": 0}))
    net, x, t = made("two layers", rng, backend=training_backend)
    net.numerical_gradient(array(x), array(t), progress=False)
    assert capsys.readouterr().err == ""
    net.numerical_gradient(array(x), array(t))
    assert "samples/s" in capsys.readouterr().err
