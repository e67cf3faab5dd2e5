"""Fourier transforms, with their derivatives.

A transform is a product with a symmetric matrix, so its pullback is the same transform. Real input leaves the real
part of that; of a transform from half a spectrum, all frequencies but the first, and the last of an even number, count
twice.
"""

from __future__ import annotations

from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import device
from xpnet.graph.operations import add, cast

#: A norm that scales the one way, and the one that scales the other way.
DUAL = {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}


def _fitted(xp: Any, g: Array, x: Array, axis: int) -> Array:
    """g cut, or with zeros behind it, to be as long as x along an axis."""
    axis %= x.ndim
    n, before = x.shape[axis], [slice(None)] * axis
    if g.shape[axis] > n:
        return g[(*before, slice(0, n), ...)]
    if g.shape[axis] < n:
        shape = (*g.shape[:axis], n - g.shape[axis], *g.shape[axis + 1 :])
        return xp.concat([g, xp.library.zeros(shape, dtype=g.dtype, device=device(g))], axis=axis)
    return g


def _same(name: str) -> Any:
    """The pullback of a transform, which is that transform."""

    def pullback(
        xp: Any, g: Array, y: Array, x: Array, n: int | None = None, axis: int = -1, norm: Any = "backward"
    ) -> Array:
        g = cast(xp, g, y.dtype)
        return cast(xp, _fitted(xp, getattr(xp.fft, name)(g, axis=axis, norm=norm), x, axis), x.dtype)

    return pullback


def _same_of_axes(name: str) -> Any:
    def pullback(
        xp: Any, g: Array, y: Array, x: Array, s: Any = None, axes: Any = None, norm: Any = "backward"
    ) -> Array:
        axes = tuple(range(x.ndim - len(s), x.ndim) if axes is None and s is not None else axes or range(x.ndim))
        g = getattr(xp.fft, name)(cast(xp, g, y.dtype), axes=axes, norm=norm)
        for axis in axes:
            g = _fitted(xp, g, x, axis)
        return cast(xp, g, x.dtype)

    return pullback


def _half(xp: Any, g: Array, y: Array, x: Array, n: int | None = None, axis: int = -1, norm: Any = "backward") -> Array:
    n = x.shape[axis] if n is None else n
    return cast(xp, _fitted(xp, xp.fft.fft(cast(xp, g, y.dtype), n=n, axis=axis, norm=norm), x, axis), x.dtype)


def _from_half(
    xp: Any, g: Array, y: Array, x: Array, n: int | None = None, axis: int = -1, norm: Any = "backward"
) -> Array:
    n, axis = y.shape[axis], axis % x.ndim
    found = xp.conj(xp.fft.rfft(g, axis=axis, norm=DUAL[norm]))
    k = xp.library.arange(n // 2 + 1, device=device(g))
    once = (k == 0) | (2 * k == n)
    k = xp.library.reshape(once, tuple(-1 if i == axis else 1 for i in range(x.ndim)))
    found = xp.where(k, found, 2 * found)
    return cast(xp, _fitted(xp, found, x, axis), x.dtype)


add("fft.fft", _same("fft"))
add("fft.ifft", _same("ifft"))
add("fft.fftn", _same_of_axes("fftn"))
add("fft.ifftn", _same_of_axes("ifftn"))
add("fft.rfft", _half)
add("fft.irfft", _from_half)
