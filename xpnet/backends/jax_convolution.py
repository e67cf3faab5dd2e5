"""JAX's convolutions: XLA's own, and on a CPU, where many of those are slow, others in their place.

Images are (N, C, H, W) by their axes. On a CPU they lie in memory as (H, W, N, C) from layer to layer: sums over all
but the channels, and products with them, find matrices where they lie, and so do products along H and W. XLA's own
convolutions are fast with samples first and channels last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from inspect import signature
from typing import Any

from xpnet._typing import Array
from xpnet.backends import jax_winograd
from xpnet.backends.base import Geometry

#: Images with channels last, which XLA's code for CPUs takes half the time for.
LAST = ("NHWC", "HWIO", "NHWC")
#: The axes of images in the order in which they lie: on a CPU, and elsewhere.
ROWS, SAMPLES = (2, 3, 0, 1), (0, 2, 3, 1)


def on_cpu() -> bool:
    return import_module("jax").default_backend() == "cpu"  # type: ignore[no-any-return]


def image_axes() -> tuple[int, ...]:
    """The axes of images (N, C, H, W) in the order in which they lie between convolutions."""
    return ROWS if on_cpu() else SAMPLES


def convolution(x: Array, W: Array, b: Array, geometry: Geometry) -> Array | None:
    """x (N, C, H, W) convolved with W (F, C / groups, kh, kw), and b (F,) added: (N, F, H', W').

    None where the layer's own way is as fast.
    """
    if _in_tiles(x, W, geometry):
        y = _images(_compiled(jax_winograd.convolution)(_rows(x), W, geometry.padding))
    elif _of_one_channel(x, W, geometry):
        y = _images(_compiled(_weighted_sum)(_rows(x), W, geometry))
    elif W.shape[1] == 1 and on_cpu():
        return None
    else:
        y = _convolve(x, W, geometry)
    return y + b[:, None, None]


def gradients(x: Array, W: Array, dy: Array, geometry: Geometry, wanted: bool) -> tuple[Array | None, Array, Array]:
    """dx, or None if it is not wanted, dW and db of :func:`convolution`."""
    jax, dx = import_module("jax"), None
    if _in_tiles(x, W, geometry):
        dx, dW = _compiled(jax_winograd.gradients)(_rows(x), W, _rows(dy), geometry.padding)
        dx = _images(dx) if wanted else None
    elif geometry.groups > 1:
        dW = jax.vjp(lambda W: _convolve(x, W, geometry), W)[1](dy)[0]
        dx = jax.vjp(lambda x: _convolve(x, W, geometry), x)[1](dy)[0] if wanted else None
    else:
        if _of_one_channel(x, W, geometry):
            dW = _compiled(_sums)(_rows(x), _rows(dy), W.shape, geometry)
        else:
            dW = _weight_gradient(x, W, dy, geometry)
        dx = _input_gradient(x, W, dy, geometry) if wanted else None
    return dx, dW, _bias_gradient(dy)


def _bias_gradient(dy: Array) -> Array:
    """The sum of all but the channels; on a CPU as a product, for which images lie as elsewhere, while a sum copies."""
    jax = import_module("jax")
    if not on_cpu() or dy.dtype.itemsize < 4:
        return dy.sum((0, 2, 3))
    dy = _rows(dy)
    return jax.lax.dot_general(jax.numpy.ones(dy.shape[:3], dy.dtype), dy, (((0, 1, 2), (0, 1, 2)), ((), ())))


def _in_tiles(x: Array, W: Array, geometry: Geometry) -> bool:
    return on_cpu() and jax_winograd.pays(x, W, geometry)


def _of_one_channel(x: Array, W: Array, geometry: Geometry) -> bool:
    return W.shape[1] == geometry.groups == 1 and W.dtype == x.dtype and x.dtype.itemsize >= 4 and on_cpu()


def _weighted_sum(x: Array, W: Array, geometry: Geometry) -> Array:
    """x (H, W, N, 1) convolved with W (F, 1, kh, kw): (H', W', N, F)."""
    dot_general = import_module("jax").lax.dot_general
    return dot_general(_moved(x, W.shape, geometry), W.reshape(W.shape[0], -1), (((0,), (1,)), ((), ())))


def _sums(x: Array, dy: Array, shape: tuple[int, ...], geometry: Geometry) -> Array:
    """dW of :func:`_weighted_sum`, of that shape."""
    dot_general, moved = import_module("jax").lax.dot_general, _moved(x, shape, geometry)
    found = dot_general(moved.reshape(len(moved), -1), dy.reshape(-1, shape[0]), (((1,), (0,)), ((), ())))
    return found.T.reshape(shape)


def _moved(x: Array, shape: tuple[int, ...], geometry: Geometry) -> Array:
    """What each place of a kernel meets of x (H, W, N, 1), W being of that shape: (kh kw, H', W', N)."""
    jnp, (*_, kh, kw) = import_module("jax").numpy, shape
    (sh, sw), (ph, pw), (dh, dw) = geometry.stride, geometry.padding, geometry.dilation
    x = jnp.pad(x[..., 0], ((ph, ph), (pw, pw), (0, 0)))
    high, wide = x.shape[0] - dh * (kh - 1), x.shape[1] - dw * (kw - 1)
    return jnp.stack(
        [x[i * dh : i * dh + high : sh, j * dw : j * dw + wide : sw] for i in range(kh) for j in range(kw)]
    )


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same as one program where it is called by itself; within another it is part of that."""
    static = [name for name in signature(function).parameters if name not in ("x", "W", "dy")]
    return import_module("jax").jit(function, static_argnames=static, inline=True)  # type: ignore[no-any-return]


def _rows(x: Array) -> Array:
    """Images as (H, W, N, C)."""
    return x.transpose(ROWS)


def _images(x: Array) -> Array:
    """The way back."""
    return x.transpose(2, 3, 0, 1)


def _convolve(x: Array, W: Array, geometry: Geometry) -> Array:
    lax = import_module("jax").lax
    padding = [(p, p) for p in geometry.padding]
    options = {"rhs_dilation": geometry.dilation, "feature_group_count": geometry.groups, "dimension_numbers": LAST}
    x, W = x.transpose(0, 2, 3, 1), W.transpose(2, 3, 1, 0)
    return lax.conv_general_dilated(x, W, geometry.stride, padding, **options).transpose(0, 3, 1, 2)


def _input_gradient(x: Array, W: Array, dy: Array, geometry: Geometry) -> Array:
    """As a convolution of dy, its entries a stride apart, with W turned round.

    It is what JAX derives itself, but for barriers: without them XLA on a CPU makes of it, in a loop, a convolution of
    another kind, which takes fifty times as long.
    """
    lax, jnp = import_module("jax").lax, import_module("jax").numpy
    padding = []
    for axis, (s, p, d) in enumerate(zip(geometry.stride, geometry.padding, geometry.dilation, strict=True), 2):
        reach = d * (W.shape[axis] - 1)
        padding.append((reach - p, x.shape[axis] - 1 - (dy.shape[axis] - 1) * s + p))
    turned = lax.optimization_barrier(jnp.flip(W, (2, 3)).transpose(2, 3, 0, 1))
    options = {"lhs_dilation": geometry.stride, "rhs_dilation": geometry.dilation, "dimension_numbers": LAST}
    dx = lax.conv_general_dilated(dy.transpose(0, 2, 3, 1), turned, (1, 1), padding, **options)
    return dx.transpose(0, 3, 1, 2)


def _weight_gradient(x: Array, W: Array, dy: Array, geometry: Geometry) -> Array:
    """As a convolution of x with dy, samples being its channels; see :func:`_input_gradient`.

    A kernel larger than the image would be the slow kind again, so then the padding comes first.
    """
    lax = import_module("jax").lax
    padding, small = [], False
    for axis, (s, p, d) in enumerate(zip(geometry.stride, geometry.padding, geometry.dilation, strict=True), 2):
        reach = d * (W.shape[axis] - 1) + (dy.shape[axis] - 1) * s + 1
        padding.append((p, reach - x.shape[axis] - p))
        small = small or dy.shape[axis] > x.shape[axis]
    x = x.transpose(1, 2, 3, 0)
    if small:
        x = lax.pad(x, x.dtype.type(0), [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)])
        padding = [(0, 0), (0, 0)]
    x, dy = lax.optimization_barrier((x, dy.transpose(2, 3, 0, 1)))
    options = {"rhs_dilation": geometry.stride, "dimension_numbers": LAST}
    dW = lax.conv_general_dilated(x, dy, geometry.dilation, padding, **options)
    return lax.optimization_barrier(dW).transpose(3, 0, 1, 2)
