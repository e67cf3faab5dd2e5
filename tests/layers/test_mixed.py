"""Layers in mixed precision: which numbers have 16 bits, and what is added up in float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from xpnet.backends.dispatch import namespace
from xpnet.layers import (
    GELU,
    Affine,
    AvgPool2d,
    BatchNorm,
    Chain,
    Concat,
    Conv2d,
    Dropout,
    Embedding,
    LayerNorm,
    MaxPool2d,
    ReLU,
    Residual,
    Tanh,
)
from xpnet.layers.base import Layer
from xpnet.layers.mixed import in_mixed_precision


def halves(backend):
    return [getattr(backend.xp, name) for name in backend.half_dtypes]


def arrays(backend, layer, rng):
    host = layer.init(rng, lambda rng, shape: 0.2 * rng.normal(size=shape)) | layer.buffers()
    return {name: backend.asarray(np.asarray(a, "float32"), copy=True) for name, a in host.items()}


def mixed(layer, half, backend):
    return in_mixed_precision(layer, half, emulated=backend.emulates_half)


LAYERS = {
    "Affine": (Affine(6, 3), (4, 6)),
    "Conv2d": (Conv2d(2, 3, 3, padding=1), (4, 2, 5, 5)),
    "BatchNorm": (BatchNorm(2), (4, 2, 5, 5)),
    "LayerNorm": (LayerNorm(6), (4, 6)),
    "GELU": (GELU(), (4, 6)),
    "Tanh": (Tanh(), (4, 6)),
    "ReLU": (ReLU(), (4, 6)),
    "AvgPool2d": (AvgPool2d(2), (4, 2, 6, 6)),
    "MaxPool2d": (MaxPool2d(2), (4, 2, 6, 6)),
    "Residual": (Residual(Chain(BatchNorm(2), Conv2d(2, 2, 3, padding=1), GELU())), (4, 2, 5, 5)),
    "Concat": (Concat(Affine(6, 3), Chain(Affine(6, 2), Tanh())), (4, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_hands_on_16_bits_and_gives_gradients_in_32(name, training_backend, rng):
    """And they are those of the layer itself, to the digits of the dtype."""
    (layer, shape), b = LAYERS[name], training_backend
    params, x = arrays(b, layer, rng), rng.normal(size=shape).astype("float32")
    for half in halves(b):
        other, rtol = mixed(layer, half, b), 4 * float(b.xp.finfo(half).eps)
        y, residuals, updates = layer.train(params, b.asarray(x, copy=True))
        dy = rng.normal(size=tuple(y.shape)).astype("float32")
        dx, grads = layer.backward(params, residuals, b.asarray(dy))
        found, kept, changed = other.train(params, b.xp.astype(b.asarray(x), half))
        back, slopes = other.backward(params, kept, b.xp.astype(b.asarray(dy), half))
        assert found.dtype == half
        assert back.dtype == half
        assert all(a.dtype == b.xp.float32 for a in (*slopes.values(), *changed.values()))
        assert list(slopes) == list(grads)
        assert list(changed) == list(updates)
        single = other.parameter_gradients(params, kept, b.xp.astype(b.asarray(dy), half))
        for ours, theirs in ((found, y), (back, dx), *((slopes[k], grads[k]) for k in grads)):
            scale = float(b.xp.max(b.xp.abs(theirs))) + 1e-3
            np.testing.assert_allclose(numbers(b, ours), numbers(b, theirs), rtol=0, atol=8 * rtol * scale)
        for k in grads:
            np.testing.assert_array_equal(numbers(b, single[k]), numbers(b, slopes[k]))


def numbers(backend, x):
    return backend.to_numpy(backend.xp.astype(x, backend.xp.float32))


def test_running_statistics_are_those_of_float32(training_backend, rng):
    """Means near 1,000 of numbers whose sum is more than float16 has."""
    layer, b = BatchNorm(3, momentum=1.0), training_backend
    x = (1000 + rng.normal(size=(256, 3))).astype("float32")
    for half in halves(b):
        given = b.xp.astype(b.asarray(x), half)
        exact = numbers(b, given).astype("float64")
        y, _, updates = mixed(layer, half, b).train(arrays(b, layer, rng), given)
        np.testing.assert_allclose(numbers(b, updates["mean"]), exact.mean(0), rtol=1e-5)
        np.testing.assert_allclose(numbers(b, updates["var"]), exact.var(0, ddof=1), rtol=1e-3)
        assert y.dtype == half


def test_gradients_of_a_row_that_comes_often_are_added_up_in_float32(training_backend, rng):
    """In bfloat16 a sum of ones ends at 256, and in float16 at 2,048."""
    layer, b = Embedding(2, 1), training_backend
    rows = b.asarray(np.zeros((5000, 1), "int32"))
    for half in halves(b):
        other = mixed(layer, half, b)
        y, residuals = other.forward(arrays(b, layer, rng), rows)
        ones = b.xp.astype(b.xp.ones_like(y), half)
        dx, grads = other.backward({}, residuals, ones)
        assert dx is None
        assert y.dtype == half
        np.testing.assert_array_equal(numbers(b, grads["W"]), [[5000.0], [0.0]])


@dataclass(frozen=True)
class Watched(Layer):
    """y = x W, and notes the dtypes that it is given."""

    in_single: bool = False

    @property
    def in_float32(self):
        return self.in_single

    def init(self, rng, weight_init):
        return {"W": weight_init(rng, (3, 3))}

    def forward(self, params, x):
        SEEN.append((params["W"].dtype, x.dtype))
        return namespace(x).matmul(x, params["W"]), x

    def backward(self, params, x, dy):
        SEEN.append((params["W"].dtype, dy.dtype))
        xp = namespace(dy)
        grads = {"W": xp.matmul(xp.matrix_transpose(x), dy)}
        return xp.matmul(dy, xp.matrix_transpose(params["W"])), grads


SEEN = []


@pytest.mark.parametrize("single", [False, True])
def test_a_layer_of_ones_own_gets_the_dtype_that_it_asks_for(single, training_backend, rng):
    layer, b = Watched(single), training_backend
    for half in halves(b):
        SEEN.clear()
        other = mixed(layer, half, b)
        x = b.asarray(rng.normal(size=(2, 3)).astype("float32"))
        y, residuals = other.forward(arrays(b, layer, rng), x)
        other.backward({}, residuals, y)
        wanted = b.xp.float32 if single or b.emulates_half else half
        assert len(SEEN) == 2
        assert all(seen == wanted for pair in SEEN for seen in pair)


def test_it_goes_by_the_names_of_the_layer_itself(backend):
    chain = Chain(Conv2d(1, 2, 3), BatchNorm(2), Residual(Chain(Affine(4, 4), Dropout(0.5))), Embedding(3, 2))
    other = in_mixed_precision(chain, backend.xp.float32)
    for ours, theirs in zip(other.parts, chain.parts, strict=True):
        assert (ours.name, ours.shapes, ours.outside, ours.buffers) == (
            (theirs.name, theirs.shapes, theirs.outside, theirs.buffers)
        )
        kinds = [(p.is_random, p.layer.takes, p.layer.acts_on, p.layer.keeps_channels) for p in (ours, theirs)]
        assert kinds[0] == kinds[1]
    draws = [
        c.draws(np.random.default_rng(0), (2, 1, 3, 3))
        for c in (Chain(Dropout(0.5)), in_mixed_precision(Chain(Dropout(0.5)), None))
    ]
    assert list(draws[0]) == list(draws[1])
    assert (draws[0]["Dropout1.mask"] == draws[1]["Dropout1.mask"]).all()
