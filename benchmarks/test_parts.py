"""Forward and backward of each layer and each loss; on JAX compiled, as they are in a step."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.initializers import normal
from xpnet.layers import LAYERS, Container
from xpnet.models.load import LOSSES

#: Samples, units, and calls a round: where calls cost, and where arithmetic and memory do.
SIZES = {"100x50": (100, 50, 20), "1000x1000": (1000, 1000, 1)}
#: Layers of images: what they are made with, and the shape of a sample.
IMAGES = {
    "Conv1d": ((16, 32, 3), (16, 196)),
    "Conv2d": ((16, 32, 3), (16, 14, 14)),
    "MaxPool2d": ((2,), (16, 14, 14)),
    "AvgPool2d": ((2,), (16, 14, 14)),
    "GlobalAvgPool2d": ((), (16, 14, 14)),
    "Flatten": ((), (16, 14, 14)),
    "Reshape": (((16, 196),), (16, 14, 14)),
}
#: Layers that are no containers of others, and take samples of any kind.
ALONE = [
    name
    for name, kind in LAYERS.items()
    if not issubclass(kind, Container) and name != "Embedding" and name not in IMAGES
]
SCORES = {"100x10": (100, 10, 20), "10000x10": (10_000, 10, 5)}


def layer_case(name, samples, units):
    """The layer, and on the host its parameters, its input, and the gradient of its output."""
    rng = np.random.default_rng(0)
    sizes = {"Affine": (units, units), "BatchNorm": (units,), "LayerNorm": (units,), "Rescale": (0.5,)}.get(name, ())
    layer = LAYERS[name](*sizes)
    found = layer.init(rng, normal(0.1)) | layer.buffers() | layer.draws(rng, (samples, units))
    params = {key: a if a.dtype == bool else a.astype("float32") for key, a in found.items()}
    return layer, params, *rng.normal(size=(2, samples, units)).astype("float32")


def compare(backend, found, expected):
    """Arrays with arrays, whatever they are in."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list | tuple):
        for one, other in zip(found, expected, strict=True):
            compare(backend, one, other)
        return
    atol = 1e-4 * max(1.0, float(np.abs(expected).max()))  # of sums over samples and places, some of which cancel
    np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("size", SIZES)
def test_layer(size, way, name, benchmark, timed, backend):
    samples, units, calls = SIZES[size]
    layer, params, x, dy = layer_case(name, samples, units)
    y, residuals = layer.forward(params, x)
    expected = y if way == "forward" else layer.backward(params, residuals, dy)
    params = {key: backend.asarray(p) for key, p in params.items()}
    x, dy = backend.asarray(x), backend.asarray(dy)
    forward, backward = backend.jit(layer.forward), backend.jit(layer.backward)
    residuals = forward(params, x)[1]
    call = (lambda: forward(params, x)[0]) if way == "forward" else (lambda: backward(params, residuals, dy))
    compare(backend, call(), expected)
    benchmark.group = f"layers, {way}: {calls} x {size}"
    timed(call, calls=calls)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("way", ["forward", "forward and backward"])
def test_layer_of_images(way, name, benchmark, timed, backend):
    arguments, shape = IMAGES[name]
    layer, rng = LAYERS[name](*arguments), np.random.default_rng(0)
    params = {key: a.astype("float32") for key, a in layer.init(rng, normal(0.1)).items()}
    x = rng.normal(size=(100, *shape)).astype("float32")
    y, residuals = layer.forward(params, x)
    dy = rng.normal(size=y.shape).astype("float32")
    expected = y if way == "forward" else layer.backward(params, residuals, dy)

    def both(params, x, dy):
        return layer.backward(params, layer.forward(params, x)[1], dy)

    function = backend.jit(layer.predict if way == "forward" else both)
    given = [{key: backend.asarray(p) for key, p in params.items()}, backend.asarray(x)]
    given += [] if way == "forward" else [backend.asarray(dy)]
    compare(backend, function(*given), expected)
    benchmark.group = f"layers of images, {way}: 100 x {'x'.join(map(str, shape))}"
    timed(lambda: function(*given), calls=1)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("size", SCORES)
def test_loss(size, way, name, benchmark, timed, backend):
    samples, classes, calls = SCORES[size]
    rng = np.random.default_rng(0)
    loss, y = LOSSES[name](), rng.normal(size=(samples, classes)).astype("float32")
    labels = rng.integers(0, classes, samples)
    t = labels if name == "SoftmaxWithLoss" else np.eye(classes, dtype="float32")[labels]
    value, residuals = loss.forward(y, t)
    expected = value if way == "forward" else loss.backward(residuals)
    y, t = backend.asarray(y), backend.asarray(t)
    forward, backward = backend.jit(loss.forward), backend.jit(loss.backward)
    residuals = forward(y, t)[1]
    call = (lambda: forward(y, t)[0]) if way == "forward" else (lambda: backward(residuals))
    benchmark.group = f"losses, {way}: {calls} x {size}"
    compare(backend, call(), expected)
    timed(call, calls=calls)
