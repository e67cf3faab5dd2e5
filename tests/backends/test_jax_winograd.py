"""JAX's convolutions on a CPU: those of XLA and of the standard's functions, by whatever way they are computed."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import SGD, Sequential, Trainer, get_backend
from xpnet.backends import jax_winograd
from xpnet.backends.base import Backend, Geometry
from xpnet.layers import Affine, Conv2d, MaxPool2d, ReLU

jax = pytest.importorskip("jax")
if jax.default_backend() != "cpu":
    pytest.skip("JAX's own convolutions are for everything but a CPU", allow_module_level=True)
JAX = type(get_backend("jax"))
#: Rounding of tiles in float32 in terms of that of plain sums: 3 to 4 on average, more where few sums are looked at.
TIMES = 8


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def theirs(x, W, padding):
    """XLA's convolution of images (H, W, N, C)."""
    around = [(p, p) for p in padding]
    return jax.lax.conv_general_dilated(x, W, (1, 1), around, dimension_numbers=("HWNC", "OIHW", "HWNC"))


@pytest.mark.parametrize(
    ("size", "padding"), [((8, 8), (0, 0)), ((5, 7), (1, 1)), ((3, 4), (2, 2)), ((9, 3), (0, 2)), ((6, 10), (2, 1))]
)
def test_tiles_are_plain_convolutions_and_so_are_their_gradients(size, padding, rng):
    x, W = jax.numpy.asarray(rng.normal(size=(*size, 2, 3))), jax.numpy.asarray(rng.normal(size=(4, 3, 3, 3)))
    dy = jax.numpy.asarray(rng.normal(size=(*(n + 2 * p - 2 for n, p in zip(size, padding, strict=True)), 2, 4)))

    @jax.jit
    def both(x, W, dy):
        y, back = jax.vjp(lambda x, W: theirs(x, W, padding), x, W)
        ours = jax_winograd.convolution(x, W, padding), *jax_winograd.gradients(x, W, dy, padding)
        return ours, (y, *back(dy))

    for one, other in zip(*both(x, W, dy), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def computed(layer, params, x, dy):
    y, residuals = layer.forward(params, x)
    dx, grads = layer.backward(params, residuals, dy)
    return y, dx, grads["W"], grads["b"]


def drawn(rng, layer, shape, dtype="float64"):
    k = layer.kernel_size
    params = {"W": rng.normal(size=(layer.out_channels, layer.in_channels, k, k)), "b": rng.normal(size=16)}
    x, dy = rng.normal(size=shape), rng.normal(size=(shape[0], *layer.output_shape(shape[1:])))
    return {name: jax.numpy.asarray(p, dtype) for name, p in params.items()}, *(
        jax.numpy.asarray(a, dtype) for a in (x, dy)
    )


LAYERS = [
    (Conv2d(16, 16, 3, padding=1), (8, 16, 8, 8)),
    (Conv2d(1, 16, 3, padding=1), (8, 1, 8, 7)),
    (Conv2d(1, 16, 5, stride=2, dilation=2, padding=3), (8, 1, 8, 9)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
def test_a_layer_has_the_numbers_of_its_formula(layer, shape, rng, monkeypatch):
    given = drawn(rng, layer, shape)
    ours = computed(layer, *given)
    monkeypatch.setattr(JAX, "convolution", staticmethod(Backend.convolution))
    for one, other in zip(ours, jax.jit(lambda *given: computed(layer, *given))(*given), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def test_tiles_round_but_little_more_than_plain_sums(rng, monkeypatch):
    layer = Conv2d(32, 16, 3, padding=1)
    given = drawn(rng, layer, (10, 32, 8, 8))
    assert jax_winograd.pays(given[1], given[0]["W"], Geometry((1, 1), (1, 1)))
    exact, single = computed(layer, *given), jax.tree.map(lambda a: a.astype("float32"), given)
    tiles = computed(layer, *single)
    monkeypatch.setattr(JAX, "convolution", staticmethod(Backend.convolution))
    plain = jax.jit(lambda *given: computed(layer, *given))(*single)
    assert not np.array_equal(tiles[0], plain[0])
    for ours, theirs, wanted in zip(tiles[:3], plain[:3], exact[:3], strict=True):
        assert ours.dtype == np.float32
        assert np.sqrt(np.mean((ours - wanted) ** 2)) < TIMES * np.sqrt(np.mean((theirs - wanted) ** 2))


def test_several_networks_are_mapped(rng):
    layer = Conv2d(16, 16, 3, padding=1)
    params, x, dy = drawn(rng, layer, (8, 16, 8, 8))
    several = jax.tree.map(lambda p: jax.numpy.stack([p, -p, 2 * p]), params)
    one_of_them = jax.jit(lambda params: computed(layer, params, x, dy))
    together = jax.vmap(one_of_them)(several)
    for k in range(3):
        alone = one_of_them(jax.tree.map(lambda p, k=k: p[k], several))
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one[k], other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_are_not_taken_to_points_where_they_would_lose_their_digits(dtype):
    x, W = jax.numpy.zeros((8, 16, 8, 8), dtype), jax.numpy.zeros((16, 16, 3, 3), dtype)
    assert not jax_winograd.pays(x, W, Geometry((1, 1), (1, 1)))


def test_blocks_of_compiled_steps_are_the_steps_of_numpy(rng):
    x, t = rng.random((48, 1, 8, 8)), rng.integers(0, 3, 48)
    losses = []
    for backend in ("numpy", "jax"):
        layers = [Conv2d(1, 16, 3), ReLU(), Conv2d(16, 16, 3, padding=2), MaxPool2d(2), Conv2d(16, 16, 3, padding=1)]
        net = Sequential([*layers, ReLU(), Affine(16 * 4 * 4, 3)], seed=1, dtype="float64", backend=backend)
        trainer = Trainer(net, SGD(0.1), batch_size=16, seed=0)
        trainer.fit(net.backend.asarray(x), net.backend.asarray(t), epochs=2, progress=False)
        losses.append(trainer.history.losses)
    np.testing.assert_allclose(*losses, rtol=1e-10)
