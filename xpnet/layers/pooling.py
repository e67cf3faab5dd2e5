"""Pooling: each window of an image becomes its largest entry or its mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import inf
from typing import Any, ClassVar

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import Geometry, kind_of, namespace
from xpnet.layers.base import Layer, Shape
from xpnet.layers.images import check_fits, check_images, windows_along
from xpnet.layers.windows import back, check_pair, every, image_axes, padded, pair, put_back

#: Two entries are as large as each other if they differ by no more than so many spacings of the largest of all.
ROUNDING = 16


@dataclass(frozen=True, repr=False)
class Pooling(Layer):
    """A layer that makes one entry of each window, channel by channel: x (N, C, H, W) becomes y (N, C, H', W').

    H' = ⌊(H + 2 p - k) / s⌋ + 1 for windows of k rows, stride s and padding p, and W' likewise.
    """

    acts_on: ClassVar[str] = "sample"
    weight_gain: ClassVar[float | None] = None
    keeps_channels: ClassVar[bool] = True

    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0

    def __post_init__(self) -> None:
        kind = type(self).__name__
        object.__setattr__(self, "kernel_size", check_pair(self.kernel_size, f"{kind}: kernel_size", 1))
        stride = self.kernel_size if self.stride is None else check_pair(self.stride, f"{kind}: stride", 1)
        object.__setattr__(self, "stride", stride)
        object.__setattr__(self, "padding", check_pair(self.padding, f"{kind}: padding", 0))
        if any(2 * p > k for p, k in zip(pair(self.padding), pair(self.kernel_size), strict=True)):
            raise ValueError(
                f"{kind}: padding is {self.padding!r}, expected at most half of kernel_size, {self.kernel_size!r}: "
                "there would be windows of nothing but padding"
            )

    def output_shape(self, shape: Shape) -> Shape:
        if shape is None:
            return None
        check_fits(self, shape, None)
        return shape[0], *windows_along(self, shape)

    def _axes(self, axes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[tuple[int, int, int, int, int, int], ...]:
        """For W and then H of an image (C, H, W): where the axis lies, k, s, p, how long it is and becomes."""
        (kh, kw), (ph, pw) = pair(self.kernel_size), pair(self.padding)
        assert self.stride is not None
        (sh, sw), (_, h, w), (out_h, out_w) = pair(self.stride), shape, windows_along(self, shape)
        return (axes.index(3), kw, sw, pw, w, out_w), (axes.index(2), kh, sh, ph, h, out_h)

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        return self.gradient(residuals, dy), {}

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        return {}

    def gradient(self, residuals: Any, dy: Array) -> Array:
        """Return the gradient with respect to the input."""
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class MaxPool2d(Pooling):
    """The largest entry of each window, x (N, C, H, W) and y (N, C, H', W'), H' = ⌊(H + 2 p - k) / s⌋ + 1, W' likewise.

    dy goes to where that entry was, the first place of equal ones, row by row.

    Args:
        kernel_size: of the windows: a whole number of 1 or more, or two, for height and width.
        stride: how far they are apart, by default kernel_size, so that they lie side by side.
        padding: how many entries of -∞ there are around an image, at most half of kernel_size.

    Raises:
        ValueError: a number out of range; images that are smaller than a window.

    >>> import numpy as np
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> MaxPool2d(2).forward({}, x)[0][0, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """

    label: ClassVar[str] = "Pool"  # as in the book

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        check_images(self, x)
        own = kind_of(x).max_pool(x, pair(self.kernel_size), self._geometry)
        if own is not None:
            return own[0], (own[1], None, None)
        xp, axes, won = namespace(x), image_axes(x), []
        y = xp.permute_dims(x, axes)
        for axis, k, s, p, _, out in self._axes(axes, x.shape[1:]):  # first along the rows, as ties are found by rows
            y = padded(y, axis, p, p, -inf)
            y, later = _largest([every(y, axis, i, s, out) for i in range(k)])
            won.append(later)
        return xp.permute_dims(y, back(axes)), (won, axes, tuple(x.shape))

    def side(self, x: Array) -> Array:
        """Which entry of each window is the largest, or the first that is as large but for rounding."""
        check_images(self, x)
        xp, axes = namespace(x), image_axes(x)
        windows = [xp.permute_dims(x, axes)]
        for axis, k, s, p, _, out in self._axes(axes, x.shape[1:]):
            windows = [
                every(w, axis, i, s, out) for w in (padded(w, axis, p, p, -inf) for w in windows) for i in range(k)
            ]
        least = reduce(xp.maximum, windows) - ROUNDING * xp.finfo(x.dtype).eps * xp.max(xp.abs(x))
        first = xp.zeros_like(least, dtype=xp.int32)
        for i, w in reversed(list(enumerate(windows))):
            first = xp.where(w >= least, xp.full_like(first, i), first)
        return xp.permute_dims(first, back(axes))

    @property
    def _geometry(self) -> Geometry:
        assert self.stride is not None
        return Geometry(pair(self.stride), pair(self.padding))

    def gradient(self, residuals: Any, dy: Array) -> Array:
        won, axes, shape = residuals
        if shape is None:
            return kind_of(dy).max_pool_gradient(won, dy, pair(self.kernel_size), self._geometry)
        xp = namespace(dy)
        d = xp.permute_dims(dy, axes)
        for (axis, k, s, p, length, _), later in reversed(list(zip(self._axes(axes, shape[1:]), won, strict=True))):
            d = put_back(_shares(d, later), [i - p for i in range(k)], s, length, axis)
        return xp.permute_dims(d, back(axes))


def _largest(entries: Sequence[Array]) -> tuple[Array, list[Array]]:
    """The largest of several arrays entry by entry; and for each but the first, where it is larger than all before."""
    y, later = entries[0], []
    for each in entries[1:]:
        xp = namespace(y)
        later.append(each > y)
        y = xp.maximum(y, each)
    return y, later


def _shares(d: Array, later: list[Array]) -> list[Array]:
    """d shared out to the arrays that :func:`_largest` chose from."""
    shares = []
    for won in reversed(later):
        share = d * namespace(d).astype(won, d.dtype)
        shares.append(share)
        d = d - share
    return [d, *reversed(shares)]


@dataclass(frozen=True, repr=False)
class AvgPool2d(Pooling):
    """The mean of each window; zeros around an image count as entries, as in PyTorch.

    Args and errors are those of :class:`MaxPool2d`.

    >>> import numpy as np
    >>> x = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> AvgPool2d(2).forward({}, x)[0][0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """

    label: ClassVar[str] = "AvgPool"
    in_float32: ClassVar[bool] = True

    def forward(self, params: Params, x: Array) -> tuple[Array, tuple[int, ...]]:
        check_images(self, x)
        xp, axes, size = namespace(x), image_axes(x), 1
        y = xp.permute_dims(x, axes)
        for axis, k, s, p, _, out in self._axes(axes, x.shape[1:]):
            y = padded(y, axis, p, p)
            y, size = sum((every(y, axis, i, s, out) for i in range(1, k)), every(y, axis, 0, s, out)), size * k
        return xp.permute_dims(y / size, back(axes)), tuple(x.shape)

    def gradient(self, shape: tuple[int, ...], dy: Array) -> Array:
        xp, axes, (kh, kw) = namespace(dy), image_axes(dy), pair(self.kernel_size)
        d = xp.permute_dims(dy, axes) / (kh * kw)
        for axis, k, s, p, length, _ in reversed(self._axes(axes, shape[1:])):
            d = put_back([d] * k, [i - p for i in range(k)], s, length, axis)
        return xp.permute_dims(d, back(axes))


@dataclass(frozen=True, repr=False)
class GlobalAvgPool2d(Layer):
    """y[n, c] = the mean of x[n, c]: images (N, C, H, W) become (N, C), whatever their size.

    Lin, Chen, Yan, "Network in network" (2014), section 3.2.
    """

    label: ClassVar[str] = "GlobalAvgPool"
    in_float32: ClassVar[bool] = True
    acts_on: ClassVar[str] = "sample"
    weight_gain: ClassVar[float | None] = None

    def output_shape(self, shape: Shape) -> Shape:
        if shape is not None and len(shape) != 3:
            raise ValueError(f"GlobalAvgPool: a sample of shape {shape} does not fit, expected (C, H, W)")
        return None if shape is None else shape[:1]

    def forward(self, params: Params, x: Array) -> tuple[Array, tuple[int, ...]]:
        if x.ndim != 4:
            raise ValueError(f"GlobalAvgPool: x has shape {tuple(x.shape)}, expected images (N, C, H, W)")
        return namespace(x).mean(x, axis=(2, 3)), tuple(x.shape)

    def backward(self, params: Params, shape: tuple[int, ...], dy: Array) -> tuple[Array, Params]:
        spread = (dy / (shape[2] * shape[3]))[:, :, None, None]
        return namespace(dy).broadcast_to(spread, shape), {}

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        return {}
