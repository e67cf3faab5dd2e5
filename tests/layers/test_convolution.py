"""Convolutions and pooling: PyTorch's numbers forward and back, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.layers import AvgPool2d, Conv1d, Conv2d, MaxPool2d
from xpnet.layers.base import shapes_of

torch = pytest.importorskip("torch", reason="torch is not installed, and it is its convolutions that are compared with")
oracle = torch.nn.functional

CONVOLUTIONS = [
    (Conv2d(1, 4, 3), (3, 1, 7, 6)),
    (Conv2d(3, 4, 3, padding=1), (2, 3, 5, 8)),
    (Conv2d(2, 3, 5, padding=2), (2, 2, 6, 5)),
    (Conv2d(2, 3, 1), (3, 2, 4, 5)),
    (Conv2d(2, 3, 1, stride=2), (3, 2, 4, 5)),
    (Conv2d(2, 3, 1, padding=1), (3, 2, 4, 5)),
    (Conv2d(2, 3, 2, padding=3), (2, 2, 4, 3)),
    (Conv2d(2, 3, 3, stride=2), (2, 2, 9, 8)),
    (Conv2d(2, 3, 3, stride=2, padding=1), (2, 2, 8, 9)),
    (Conv2d(2, 3, 3, stride=3), (2, 2, 8, 11)),
    (Conv2d(2, 3, 2, stride=3), (2, 2, 10, 9)),
    (Conv2d(2, 3, 4, stride=3, padding=2), (2, 2, 10, 9)),
    (Conv2d(2, 3, 3, dilation=2), (2, 2, 9, 7)),
    (Conv2d(2, 3, 3, dilation=2, padding=2), (2, 2, 6, 7)),
    (Conv2d(2, 3, 3, stride=2, dilation=3, padding=3), (2, 2, 9, 8)),
    (Conv2d(2, 3, (3, 1), stride=(1, 2), padding=(0, 1), dilation=(2, 1)), (2, 2, 9, 8)),
    (Conv2d(2, 3, (1, 4), stride=(2, 1), padding=(1, 3), dilation=(1, 2)), (2, 2, 5, 8)),
    (Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 5, 6)),
    (Conv2d(3, 6, 3, stride=2, padding=1, groups=3), (2, 3, 7, 6)),
    (Conv2d(4, 4, (2, 3), dilation=2, groups=4), (2, 4, 7, 8)),
    (Conv2d(2, 3, (5, 4)), (2, 2, 5, 4)),
    (Conv2d(1, 1, 3), (1, 1, 3, 3)),
    (Conv1d(2, 3, 3), (2, 2, 7)),
    (Conv1d(2, 4, 3, stride=2, padding=2, dilation=2, groups=2), (3, 2, 9)),
    (Conv1d(1, 2, 1), (3, 1, 1)),
]
POOLS = [
    (MaxPool2d(2), (2, 3, 6, 4)),
    (MaxPool2d(2), (2, 3, 7, 5)),
    (MaxPool2d(3, 2), (2, 3, 9, 8)),
    (MaxPool2d(3, 2, 1), (2, 3, 9, 8)),
    (MaxPool2d(2, 3), (2, 3, 9, 10)),
    (MaxPool2d((3, 1), (1, 2), (1, 0)), (2, 3, 5, 6)),
    (MaxPool2d(1), (2, 3, 5, 6)),
    (MaxPool2d(3, 1), (1, 1, 3, 3)),
    (MaxPool2d(4), (2, 2, 8, 9)),
    (AvgPool2d(2), (2, 3, 6, 4)),
    (AvgPool2d(2), (2, 3, 7, 5)),
    (AvgPool2d(3, 2, 1), (2, 3, 9, 8)),
    (AvgPool2d((2, 3), (3, 1)), (2, 3, 9, 8)),
    (AvgPool2d(1), (2, 3, 5, 6)),
]


def theirs(layer, x, params):
    """What PyTorch computes."""
    if isinstance(layer, Conv1d | Conv2d):
        function = oracle.conv1d if isinstance(layer, Conv1d) else oracle.conv2d
        return function(x, params["W"], params["b"], layer.stride, layer.padding, layer.dilation, layer.groups)
    function = oracle.max_pool2d if isinstance(layer, MaxPool2d) else oracle.avg_pool2d
    return function(x, layer.kernel_size, layer.stride, layer.padding)


def expected(layer, x, params, rng):
    """y, a dy, dx and the gradients of the parameters, by PyTorch, as arrays of NumPy."""
    x, params = torch.tensor(x, requires_grad=True), {k: torch.tensor(p, requires_grad=True) for k, p in params.items()}
    y = theirs(layer, x, params)
    dy = rng.normal(size=tuple(y.shape))
    y.backward(torch.tensor(dy))
    return y.detach().numpy(), dy, x.grad.numpy(), {name: p.grad.numpy() for name, p in params.items()}


def drawn(layer, rng):
    return {name: rng.normal(size=shape) for name, shape in shapes_of(layer).items()}


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS + POOLS, ids=str)
def test_as_pytorch(layer, shape, training_backend, array, rng):
    x, params = rng.normal(size=shape), drawn(layer, rng)
    y, dy, dx, grads = expected(layer, x, params, rng)
    ours = {name: array(p) for name, p in params.items()}
    host = training_backend.to_numpy
    found, residuals = layer.forward(ours, array(x))
    assert tuple(found.shape) == y.shape == (shape[0], *layer.output_shape(shape[1:]))
    np.testing.assert_allclose(host(found), y, rtol=1e-10, atol=1e-10)
    found_dx, found_grads = layer.backward(ours, residuals, array(dy))
    np.testing.assert_allclose(host(found_dx), dx, rtol=1e-10, atol=1e-10)
    assert list(found_grads) == list(grads)
    alone = layer.parameter_gradients(ours, residuals, array(dy))
    for name, g in grads.items():
        np.testing.assert_allclose(host(found_grads[name]), g, rtol=1e-10, atol=1e-10)
        np.testing.assert_array_equal(host(alone[name]), host(found_grads[name]))
        assert tuple(found_grads[name].shape) == g.shape


@pytest.mark.parametrize("seed", range(40))
def test_convolutions_of_any_kind_are_pytorchs(seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 4))
    k, s, p, d = (tuple(map(int, rng.integers(low, 4, 2))) for low in (1, 1, 0, 1))
    layer = Conv2d(groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 3)), k, s, p, d, groups)
    least = [max(1, dd * (kk - 1) + 1 - 2 * pp) for kk, pp, dd in zip(k, p, d, strict=True)]
    shape = (int(rng.integers(1, 4)), layer.in_channels, *(n + int(rng.integers(0, 6)) for n in least))
    x, params = rng.normal(size=shape), drawn(layer, rng)
    y, dy, dx, grads = expected(layer, x, params, rng)
    found, residuals = layer.forward(params, x)
    np.testing.assert_allclose(found, y, rtol=1e-10, atol=1e-10)
    found_dx, found_grads = layer.backward(params, residuals, dy)
    np.testing.assert_allclose(found_dx, dx, rtol=1e-10, atol=1e-10)
    for name, g in grads.items():
        np.testing.assert_allclose(found_grads[name], g, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_equal_entries_of_a_window_are_told_apart_as_pytorch_does(seed):
    """dy goes to the first of them, row by row."""
    rng = np.random.default_rng(seed)
    k, s = (tuple(map(int, rng.integers(1, 4, 2))) for _ in range(2))
    layer = MaxPool2d(k, s, tuple(int(rng.integers(0, kk // 2 + 1)) for kk in k))
    x = rng.integers(0, 3, (2, 2, 8, 9)).astype(float)
    y, dy, dx, _ = expected(layer, x, {}, rng)
    found, residuals = layer.forward({}, x)
    np.testing.assert_array_equal(found, y)
    np.testing.assert_allclose(layer.backward({}, residuals, dy)[0], dx, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "layer", [Conv2d(2, 3, 3, padding=1), Conv2d(2, 4, 3, 2, 1, groups=2), MaxPool2d(3, 2), AvgPool2d(2)]
)
def test_images_that_lie_otherwise_in_memory(layer, backend, array, rng):
    """A view with its axes in another order, and every second entry of a larger array."""
    x, params = rng.normal(size=(3, 2, 8, 7)), drawn(layer, rng)
    wanted = layer.forward(params, x)[0]
    ours, xp = {name: array(p) for name, p in params.items()}, backend.xp
    last = xp.permute_dims(array(np.ascontiguousarray(x.transpose(0, 2, 3, 1))), (0, 3, 1, 2))
    apart = array(np.repeat(x, 2, axis=3))[:, :, :, ::2]
    for given in (last, apart):
        np.testing.assert_allclose(backend.to_numpy(layer.forward(ours, given)[0]), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", [MaxPool2d(2), MaxPool2d((2, 3)), MaxPool2d(3, 2, 1)], ids=str)
def test_equal_entries_are_told_apart_on_every_backend(layer, training_backend, array, rng):
    x = rng.integers(0, 3, (3, 2, 7, 6)).astype("float64")
    y, dy, dx, _ = expected(layer, x, {}, rng)
    found, residuals = layer.forward({}, array(x))
    np.testing.assert_array_equal(training_backend.to_numpy(found), y)
    np.testing.assert_allclose(training_backend.to_numpy(layer.gradient(residuals, array(dy))), dx, rtol=1e-12)
