"""NumPy's convolutions in tiles: what the layer's own formula gives, in whatever way images lie, and recorded."""

from __future__ import annotations

import numpy as np
import pytest
from replaying import assert_same, compared

from xpnet import Sequential, get_backend
from xpnet.backends.base import Backend
from xpnet.layers import Affine, Conv2d, MaxPool2d, ReLU
from xpnet.optimizers import Adam

NUMPY = type(get_backend("numpy"))
#: Rounding of tiles in float32 in terms of that of plain sums: 3.3 on average, more where few sums are looked at.
TIMES = 8


def both(layer, params, x, dy, monkeypatch):
    """y, dx and the gradients of the parameters: in tiles, and by the formula in the standard's functions."""
    found = []
    for own in (NUMPY.convolution, Backend.convolution):
        monkeypatch.setattr(NUMPY, "convolution", staticmethod(own))
        y, residuals = layer.forward(params, x)
        dx, grads = layer.backward(params, residuals, dy)
        alone = layer.parameter_gradients(params, residuals, dy)
        assert all(np.array_equal(alone[name], g) for name, g in grads.items())
        found.append((y, dx, grads["W"], grads["b"]))
        monkeypatch.undo()
    return found


def drawn(rng, layer, shape, dtype="float64"):
    params = {"W": rng.normal(size=(layer.out_channels, layer.in_channels, 3, 3)), "b": rng.normal(size=8)}
    x, dy = rng.normal(size=shape), rng.normal(size=(shape[0], *layer.output_shape(shape[1:])))
    return {name: p.astype(dtype) for name, p in params.items()}, x.astype(dtype), dy.astype(dtype)


@pytest.mark.parametrize("padding", [0, 1, 2, (0, 2), (2, 1)])
@pytest.mark.parametrize("size", [(8, 8), (16, 5), (7, 12), (4, 3)])
def test_tiles_are_the_formula(padding, size, rng, monkeypatch):
    layer = Conv2d(9, 8, 3, padding=padding)
    for one, other in zip(*both(layer, *drawn(rng, layer, (8, 9, *size)), monkeypatch), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def test_tiles_are_taken_and_round_but_little_more_than_plain_sums(rng, monkeypatch):
    layer = Conv2d(32, 8, 3, padding=1)
    params, x, dy = drawn(rng, layer, (10, 32, 8, 8))
    exact = both(layer, params, x, dy, monkeypatch)[1]
    single = {name: p.astype("float32") for name, p in params.items()}
    rounded = both(layer, single, x.astype("float32"), dy.astype("float32"), monkeypatch)
    assert not np.array_equal(rounded[0][0], rounded[1][0])
    for tiles, plain, wanted in zip(rounded[0][:3], rounded[1][:3], exact[:3], strict=True):
        assert tiles.dtype == np.float32
        assert np.sqrt(np.mean((tiles - wanted) ** 2)) < TIMES * np.sqrt(np.mean((plain - wanted) ** 2))


def test_pixels_in_float32_meet_weights_in_float64_as_in_few_samples(rng):
    layer = Conv2d(9, 8, 3, padding=1)
    params, x, _ = drawn(rng, layer, (8, 9, 8, 8))
    x = x.astype("float32")
    many, few = layer.forward(params, x)[0], layer.forward(params, x[:2])[0]
    assert many.dtype == few.dtype == np.float64
    np.testing.assert_allclose(many[:2], few, rtol=1e-12, atol=1e-12)


def test_images_may_lie_in_any_way(rng):
    layer = Conv2d(8, 8, 3, padding=1)
    params, x, dy = drawn(rng, layer, (8, 8, 8, 8))

    def computed(x, dy):
        y, residuals = layer.forward(params, x)
        return y, *layer.backward(params, residuals, dy)[1].values(), layer.backward(params, residuals, dy)[0]

    wanted = computed(x, dy)
    for axis in range(4):
        apart = [np.repeat(a, 2, axis=axis)[(slice(None),) * axis + (slice(None, None, 2),)] for a in (x, dy)]
        turned = [np.flip(np.flip(a, axis).copy(), axis) for a in (x, dy)]
        innermost = [np.moveaxis(np.moveaxis(a, axis, -1).copy(), -1, axis) for a in (x, dy)]
        for given in (apart, turned, innermost):
            for one, other in zip(computed(*given), wanted, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    same = np.broadcast_to(x[:1, :1, :1, :1], x.shape)
    for one, other in zip(computed(same, dy), computed(same.copy(), dy), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_recorded_steps_are_the_steps(dtype, rng):
    layers = [Conv2d(1, 8, 3), ReLU(), Conv2d(8, 9, 3, padding=1), MaxPool2d(2), Conv2d(9, 8, 3, padding=2), ReLU()]
    net = Sequential([*layers, Affine(8 * 5 * 5, 3)], seed=1, dtype=dtype, backend="numpy")
    assert_same(compared(net, Adam(0.01), rng.random((30, 1, 8, 8)).astype(dtype), rng.integers(0, 3, 30)))
