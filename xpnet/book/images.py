"""The book's layers of images, Convolution and Pooling, over xpnet's, which are many times as fast."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from xpnet import layers
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import backend_of, device, namespace
from xpnet.book.later import now
from xpnet.book.layers import Remembering, Weighted, as_wide
from xpnet.book.tape import note

conv2d, max_pool2d = cache(layers.Conv2d), cache(layers.MaxPool2d)


class Convolution(Weighted):
    """Images (N, C, H, W) convolved with W (F, C, FH, FW), plus b: (N, F, H', W').

    ``backward`` leaves ``dW`` and ``db`` on the layer, which keeps the arrays that it was given. Images of another
    library than the weights', a picture that was read from a file for example, are moved to the weights'.

    Args:
        W: filters.
        b: (F,), or a number, 0 for example.
        stride: how far windows are apart.
        pad: how many zeros there are around an image.

    >>> import numpy as np
    >>> layer = Convolution(np.ones((1, 1, 2, 2)), 0)
    >>> layer.forward(np.arange(9.0).reshape(1, 1, 3, 3))[0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """

    def __init__(self, W: Array, b: Any, stride: int = 1, pad: int = 0) -> None:
        super().__init__(W, b)
        self.stride, self.pad = stride, pad

    def forward(self, x: Array) -> Array:
        """The output, of images x (N, C, H, W); what ``backward`` needs is kept."""
        wide = as_wide(backend_of(self.W).asarray(x), self.W)
        # the way back may need the images, which a script may change in place meanwhile
        return self._pass(x, x.copy(order="K") if wide is x and isinstance(x, np.ndarray) else wide)

    def many(self, x: Array) -> Array:
        """Outputs of several batches of images (K, N, C, H, W) at once; nothing is kept."""
        return _apart(lambda images: self._layer.predict(self._params, images), x)

    @property
    def _layer(self) -> layers.Layer:
        filters, channels, *size = self.W.shape
        return conv2d(channels, filters, tuple(size), self.stride, self.pad)

    @property
    def _params(self) -> Params:
        b = self.b
        if getattr(b, "shape", ()) == ():
            b = namespace(self.W).full(self.W.shape[:1], b, dtype=self.W.dtype, device=device(self.W))
        return {"W": self.W, "b": b}


class Pooling(Remembering):
    """The largest entry of each window of images (N, C, H, W): (N, C, H', W').

    Args:
        pool_h, pool_w: height and width of the windows.
        stride: how far they are apart.
        pad: how many entries of -∞ there are around an image, at most half of the window.

    >>> import numpy as np
    >>> layer = Pooling(2, 2, stride=2)
    >>> layer.forward(np.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """

    def __init__(self, pool_h: int, pool_w: int, stride: int = 1, pad: int = 0) -> None:
        self.pool_h, self.pool_w, self.stride, self.pad = pool_h, pool_w, stride, pad

    def forward(self, x: Array) -> Array:
        """The output, of images x (N, C, H, W); what ``backward`` needs is kept."""
        y, residuals = self._layer.forward({}, x)
        self._residuals = (residuals,)
        return note(self, x, y)

    def backward(self, dout: Array) -> Array:
        """The derivative by x, from that by the output."""
        return self._layer.gradient(self._recall(), now(dout))

    def many(self, x: Array) -> Array:
        """Outputs of several batches of images (K, N, C, H, W) at once; nothing is kept."""
        return _apart(lambda images: self._layer.predict({}, images), x)

    @property
    def _layer(self) -> layers.MaxPool2d:
        return max_pool2d((self.pool_h, self.pool_w), self.stride, self.pad)


def _apart(function: Any, x: Array) -> Array:
    """A function of images, of a stack (K, N, C, H, W) of batches of them."""
    y = function(x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])
