"""Convolutions: the same small matrix product at every place of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet._checks import check_count
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import Geometry, kind_of, namespace, quiet
from xpnet.initializers import zeros
from xpnet.layers.base import Layer, Shape
from xpnet.layers.images import check_fits, check_groups, check_images, windows_along
from xpnet.layers.windows import (
    check_pair,
    every,
    padded,
    pair,
    put_back,
    stacked_rows,
)


@dataclass(frozen=True, repr=False)
class Conv2d(Layer):
    """y[n, f, h, w] = b[f] + Σ_c Σ_i Σ_j W[f, c, i, j] x[n, c, s h + d i - p, s w + d j - p], x 0 outside of the image.

    x is (N, in_channels, H, W), y (N, out_channels, H', W') with H' = ⌊(H + 2 p - d (k - 1) - 1) / s⌋ + 1 for kernels
    of k rows, stride s, padding p and dilation d, and W' likewise; W is (out_channels, in_channels / groups, k, k) and
    b (out_channels,), as in PyTorch. With groups, channels fall into so many parts, each with filters of its own.

    It is computed as a matrix product for each row of y: W, with a row for each filter, times the windows of that row
    as columns, for all samples at once. Backward: dW is dy times the same windows, and dx a product of Wᵀ with windows
    of dy.

    Args:
        in_channels, out_channels: whole numbers of 1 or more, multiples of groups.
        kernel_size, stride, padding, dilation: a whole number, or two, for height and width; of 1 or more, padding 0.
        groups: a whole number of 1 or more.

    Raises:
        ValueError: a number out of range; images of other channels, or smaller than the kernel.

    >>> import numpy as np
    >>> layer = Conv2d(1, 1, 2)
    >>> layer.output_shape((1, 28, 28))
    (1, 27, 27)
    >>> x, params = np.arange(9.0).reshape(1, 1, 3, 3), {"W": np.ones((1, 1, 2, 2)), "b": np.zeros(1)}
    >>> layer.forward(params, x)[0][0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """

    label: ClassVar[str] = "Conv"
    acts_on: ClassVar[str] = "sample"

    in_channels: int
    out_channels: int
    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "groups"):
            object.__setattr__(self, name, check_count(getattr(self, name), f"Conv2d: {name}"))
        for name in ("kernel_size", "stride", "padding", "dilation"):
            least = 0 if name == "padding" else 1
            object.__setattr__(self, name, check_pair(getattr(self, name), f"Conv2d: {name}", least))
        check_groups(self)

    def init(self, rng: Any, weight_init: Any) -> dict[str, Any]:
        shape = (self.out_channels, self.in_channels // self.groups, *pair(self.kernel_size))
        return {"W": weight_init(rng, shape), "b": zeros(rng, (self.out_channels,))}

    def output_shape(self, shape: Shape) -> Shape:
        if shape is None:
            return None
        check_fits(self, shape, self.in_channels)
        return self.out_channels, *windows_along(self, shape)

    @quiet
    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        check_images(self, x, self.in_channels)
        xp, (_, out_w) = namespace(x), windows_along(self, x.shape[1:])
        own = kind_of(x).convolution(x, params["W"], params["b"], self._geometry)
        if own is not None:
            return own, (x, None)
        if self._in_rows:
            return self._forward_in_rows(params, x)
        columns = self._columns(x)
        y = xp.matmul(self._by_filters(params["W"]), columns)
        y += xp.reshape(params["b"], (self.groups, 1, -1, 1))
        return self._as_images(y, out_w, x.shape[0]), (columns, tuple(x.shape))

    @property
    def _in_rows(self) -> bool:
        """Whether it costs less to move the results of the columns of W than the columns of x."""
        (_, kw), (_, sw) = pair(self.kernel_size), pair(self.stride)
        return kw > 1 and sw == 1 and self.in_channels >= max(self.out_channels, 4 * self.groups)

    def _forward_in_rows(self, params: Params, x: Array) -> tuple[Array, Any]:
        """The product of x with each column of the kernels, and the sum of these, each moved to where it belongs."""
        xp, groups, (kh, kw) = namespace(x), self.groups, pair(self.kernel_size)
        (sh, _), (dh, dw), (ph, pw) = pair(self.stride), pair(self.dilation), pair(self.padding)
        n, c, _, w = x.shape
        out_h, out_w = windows_along(self, x.shape[1:])
        windows = stacked_rows(padded(self._as_rows(x), 1, ph, ph), [i * dh for i in range(kh)], sh, out_h)
        filters = self.out_channels // groups
        W = xp.reshape(params["W"], (groups, 1, filters, c // groups, kh, kw))
        W = xp.reshape(xp.permute_dims(W, (0, 1, 5, 2, 4, 3)), (groups, 1, kw * filters, -1))
        found = xp.reshape(xp.matmul(W, windows), (groups, out_h, kw, filters, w, n))
        y = put_back([found[:, :, j, ...] for j in range(kw)], [pw - j * dw for j in range(kw)], 1, out_w, 3, ours=True)
        y += xp.reshape(params["b"], (groups, 1, -1, 1, 1))
        y = xp.permute_dims(y, (4, 0, 2, 1, 3))
        return xp.reshape(y, (n, self.out_channels, out_h, out_w)), (windows, tuple(x.shape))

    @quiet
    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        columns, shape = residuals
        if shape is None:
            return self._own_gradients(params, columns, dy, True)
        rows = self._as_rows(dy)
        return self._input_gradient(params["W"], rows, shape), self._gradients(columns, rows, shape)

    @quiet
    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        columns, shape = residuals
        if shape is None:
            return self._own_gradients(params, columns, dy, False)[1]
        return self._gradients(columns, self._as_rows(dy), shape)

    @property
    def _geometry(self) -> Geometry:
        return Geometry(pair(self.stride), pair(self.padding), pair(self.dilation), self.groups)

    def _own_gradients(self, params: Params, x: Array, dy: Array, wanted: bool) -> tuple[Array, Params]:
        """Those of the library's own convolution."""
        dx, dW, db = kind_of(x).convolution_gradients(x, params["W"], dy, self._geometry, wanted)
        return dx, {"W": dW, "b": db}

    def _columns(self, x: Array) -> Array:
        """The windows of each row of y as columns: (G, H', kh kw C/G, W' N)."""
        xp, groups, (kh, kw) = namespace(x), self.groups, pair(self.kernel_size)
        (sh, sw), (dh, dw), (ph, pw) = pair(self.stride), pair(self.dilation), pair(self.padding)
        n, c, h, w = x.shape
        out_h, out_w = windows_along(self, x.shape[1:])
        rows = self._as_rows(x)
        rows = padded(xp.reshape(rows, (groups, h, c // groups, w, n)), 3, pw, pw)
        rows = padded(rows, 1, ph, ph)
        if kw > 1 or sw > 1:
            rows = xp.concat([every(rows, 3, j * dw, sw, out_w) for j in range(kw)], axis=2)
        rows = xp.reshape(rows, (groups, h + 2 * ph, kw * c // groups, out_w * n))
        return stacked_rows(rows, [i * dh for i in range(kh)], sh, out_h)

    def _by_filters(self, W: Array) -> Array:
        """W as matrices (G, 1, F/G, kh kw C/G)."""
        xp, (kh, kw) = namespace(W), pair(self.kernel_size)
        filters, channels = self.out_channels // self.groups, self.in_channels // self.groups
        W = xp.reshape(W, (self.groups, 1, filters, channels, kh, kw))
        return xp.reshape(xp.permute_dims(W, (0, 1, 2, 4, 5, 3)), (self.groups, 1, filters, kh * kw * channels))

    def _gradients(self, columns: Array, dy: Array, shape: tuple[int, ...]) -> Params:
        xp, (kh, kw) = namespace(dy), pair(self.kernel_size)
        filters, channels = self.out_channels // self.groups, self.in_channels // self.groups
        left = self._moved(dy, shape) if self._in_rows else dy
        dW = xp.sum(xp.matmul(left, xp.matrix_transpose(columns)), axis=1)
        if self._in_rows:
            dW = xp.permute_dims(xp.reshape(dW, (self.groups, kw, filters, kh, channels)), (0, 2, 4, 3, 1))
        else:
            dW = xp.permute_dims(xp.reshape(dW, (self.groups, filters, kh, kw, channels)), (0, 1, 4, 2, 3))
        return {
            "W": xp.reshape(dW, (self.out_channels, channels, kh, kw)),
            "b": xp.reshape(xp.sum(dy, axis=(1, 3)), (self.out_channels,)),
        }

    def _moved(self, dy: Array, shape: tuple[int, ...]) -> Array:
        """dy (G, H', F/G, W' N) as (G, H', kw F/G, W N): for each column of the kernels moved back under x."""
        xp, (n, _, _, w) = namespace(dy), shape
        (_, kw), (_, dw), (_, pw) = pair(self.kernel_size), pair(self.dilation), pair(self.padding)
        groups, out_h, filters, _ = dy.shape
        dy = xp.reshape(dy, (groups, out_h, filters, -1, n))
        before = max(0, (kw - 1) * dw - pw)
        dy = padded(dy, 3, before, max(0, pw + w - dy.shape[3]))
        moved = xp.concat([every(dy, 3, before + pw - j * dw, 1, w) for j in range(kw)], axis=2)
        return xp.reshape(moved, (groups, out_h, kw * filters, w * n))

    def _input_gradient(self, W: Array, dy: Array, shape: tuple[int, ...]) -> Array:
        """dx (N, C, H, W) from dy (G, H', F/G, W' N)."""
        xp, groups, (kh, kw) = namespace(dy), self.groups, pair(self.kernel_size)
        (sh, sw), (dh, dw), (ph, pw) = pair(self.stride), pair(self.dilation), pair(self.padding)
        n, c, h, w = shape
        channels, out_h, out_w = c // groups, dy.shape[1], dy.shape[3] // n
        W = xp.reshape(W, (groups, 1, self.out_channels // groups, channels, kh, kw))
        if sh == 1:  # a row of dx is a product with the kh rows of dy that it is in, the last of them first
            offsets = [ph - i * dh for i in reversed(range(kh))]
            before = max(0, -offsets[0])
            dy = padded(dy, 1, before, max(0, h + offsets[-1] - out_h))
            W = xp.permute_dims(xp.flip(W, axis=4), (0, 1, 5, 3, 4, 2))
            W = xp.reshape(W, (groups, 1, kw * channels, -1))
            found = xp.matmul(W, stacked_rows(dy, [o + before for o in offsets], 1, h))
            found = xp.reshape(found, (groups, h, kw, channels, out_w, n))
        else:
            W = xp.reshape(xp.permute_dims(W, (0, 1, 4, 5, 3, 2)), (groups, 1, kh * kw * channels, -1))
            found = xp.reshape(xp.matmul(W, dy), (groups, out_h, kh, kw, channels, out_w, n))
            parts = [found[:, :, i, ...] for i in range(kh)]
            found = put_back(parts, [i * dh - ph for i in range(kh)], sh, h, 1, ours=True)
        parts = [found[:, :, j, ...] for j in range(kw)]
        dx = put_back(parts, [j * dw - pw for j in range(kw)], sw, w, 3, ours=True)
        return xp.reshape(xp.permute_dims(dx, (4, 0, 2, 1, 3)), shape)

    def _as_rows(self, x: Array) -> Array:
        """x (N, C, H, W) as (G, H, C/G, W N), one run of memory."""
        n, c, h, w = x.shape
        xp, groups = namespace(x), self.groups
        x = xp.permute_dims(xp.reshape(x, (n, groups, c // groups, h, w)), (1, 3, 2, 4, 0))
        return xp.reshape(x, (groups, h, c // groups, w * n))

    def _as_images(self, y: Array, width: int, n: int) -> Array:
        """The way back."""
        xp, (groups, h, channels, _) = namespace(y), y.shape
        y = xp.permute_dims(xp.reshape(y, (groups, h, channels, width, n)), (4, 0, 2, 1, 3))
        return xp.reshape(y, (n, groups * channels, h, width))


@dataclass(frozen=True, repr=False)
class Conv1d(Layer):
    """y[n, f, l] = b[f] + Σ_c Σ_i W[f, c, i] x[n, c, s l + d i - p], x 0 outside: :class:`Conv2d` along one axis.

    x is (N, in_channels, L), y (N, out_channels, L'), W (out_channels, in_channels / groups, k), b (out_channels,).

    Args:
        in_channels, out_channels: whole numbers of 1 or more, multiples of groups.
        kernel_size, stride, padding, dilation, groups: whole numbers of 1 or more, padding 0.

    Raises:
        ValueError: a number out of range; sequences of other channels, or shorter than the kernel.

    >>> import numpy as np
    >>> params = {"W": np.ones((1, 1, 2)), "b": np.zeros(1)}
    >>> Conv1d(1, 1, 2).forward(params, np.arange(4.0).reshape(1, 1, 4))[0]
    array([[[1., 3., 5.]]])
    """

    label: ClassVar[str] = "Conv"
    acts_on: ClassVar[str] = "sample"

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
            least = 0 if name == "padding" else 1
            object.__setattr__(self, name, check_count(getattr(self, name), f"Conv1d: {name}", least))
        check_groups(self)

    @property
    def _flat(self) -> Conv2d:
        """The same of images of one row."""
        sizes = (self.kernel_size, self.stride, self.padding, self.dilation)
        kernel, stride, padding, dilation = ((0 if i == 2 else 1, size) for i, size in enumerate(sizes))
        return Conv2d(self.in_channels, self.out_channels, kernel, stride, padding, dilation, self.groups)

    def init(self, rng: Any, weight_init: Any) -> dict[str, Any]:
        shape = (self.out_channels, self.in_channels // self.groups, self.kernel_size)
        return {"W": weight_init(rng, shape), "b": zeros(rng, (self.out_channels,))}

    def output_shape(self, shape: Shape) -> Shape:
        if shape is None:
            return None
        self._check(shape, "a sample of shape")
        _, found = windows_along(self._flat, (shape[0], 1, shape[1]))
        return self.out_channels, found

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        if x.ndim != 3:
            advice = "; one channel is x[:, None]" if x.ndim == 2 and self.in_channels == 1 else ""
            raise ValueError(f"Conv: x has shape {tuple(x.shape)}, expected (N, {self.in_channels}, L){advice}")
        self._check(tuple(x.shape[1:]), "x has samples of shape")
        y, residuals = self._flat.forward(_with_rows(params), x[:, :, None, :])
        return y[:, :, 0, :], residuals

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        dx, grads = self._flat.backward(_with_rows(params), residuals, dy[:, :, None, :])
        return dx[:, :, 0, :], {"W": grads["W"][:, :, 0, :], "b": grads["b"]}

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        grads = self._flat.parameter_gradients(_with_rows(params), residuals, dy[:, :, None, :])
        return {"W": grads["W"][:, :, 0, :], "b": grads["b"]}

    def _check(self, shape: tuple[int, ...], what: str) -> None:
        if len(shape) != 2 or shape[0] != self.in_channels:
            advice = ""
            if len(shape) == 2 and shape[1] == self.in_channels:
                advice = "; its last axis looks like that of the channels: xp.permute_dims(x, (0, 2, 1))"
            raise ValueError(f"Conv: {what} {shape}, expected ({self.in_channels}, L){advice}")
        length, kernel = shape[1] + 2 * self.padding, self.dilation * (self.kernel_size - 1) + 1
        if kernel > length:
            raise ValueError(
                f"Conv: the kernel of {kernel} does not fit into a sequence of {length} with its padding; take longer "
                "sequences or a smaller kernel"
            )


def _with_rows(params: Params) -> Params:
    """W (F, C, k) as that of images of one row."""
    return {"W": params["W"][:, :, None, :], "b": params["b"]}
