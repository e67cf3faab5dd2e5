"""JAX's pools of windows that lie side by side: in one loop over all of them, and one over dx."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from xpnet._typing import Array
from xpnet.backends.base import Pair
from xpnet.backends.jax_convolution import image_axes, on_cpu


def max_pool(x: Array, size: Pair) -> tuple[Array, Any]:
    """The largest entries of windows of x (N, C, H, W), and what :func:`gradient` needs."""
    jnp, axes = import_module("jax").numpy, image_axes()
    windows, before = _side_by_side(x.transpose(axes), size, axes.index(2)), (slice(None),) * (axes.index(2) + 1)
    y, place = windows[(*before, 0, slice(None), 0)], 0
    for k in range(1, size[0] * size[1]):
        each = windows[(*before, k // size[1], slice(None), k % size[1])]
        y, place = jnp.maximum(y, each), jnp.where(each > y, k, place)
    if on_cpu():
        # The product with the identity changes nothing, but its result is kept: else XLA finds the places anew for
        # each entry of dx. Whole numbers are exact in it.
        identity = jnp.eye(x.shape[1], dtype="float32")
        place = jnp.tensordot(jnp.astype(place, "float32"), identity, 1, precision="highest")
    return y.transpose(_back(axes)), (place, x.shape)


def gradient(kept: Any, dy: Array, size: Pair) -> Array:
    """dx: written with sums of shifted arrays it takes several times as long on a CPU."""
    jnp, axes, (place, shape) = import_module("jax").numpy, image_axes(), kept
    high = axes.index(2)  # where H lies, and W behind it
    place, dy = (jnp.expand_dims(each, (high + 1, high + 3)) for each in (place, dy.transpose(axes)))
    k = jnp.arange(size[0] * size[1]).reshape(size[0], 1, size[1], *[1] * (2 - high))
    dx = jnp.where(place == k, dy, 0)
    whole = [shape[axis] for axis in axes]
    covered = [length // each for length, each in zip(whole[high:], size, strict=False)]
    dx = dx.reshape(*whole[:high], covered[0] * size[0], covered[1] * size[1], *whole[high + 2 :])
    left_out = [(0, length - here) for length, here in zip(whole, dx.shape, strict=True)]
    return jnp.pad(dx, left_out).transpose(_back(axes))


def _side_by_side(x: Array, size: Pair, high: int) -> Array:
    """Windows of images, whose axes H and W stand at ``high`` and behind it: (..., H', kh, W', kw, ...)."""
    shape, lengths = [], []
    for each, length in zip(size, x.shape[high:], strict=False):
        shape += [length // each, each]
        lengths.append(slice(length // each * each))
    return x[(*[slice(None)] * high, *lengths)].reshape(*x.shape[:high], *shape, *x.shape[high + 2 :])


def _back(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(axes.index, range(4)))
