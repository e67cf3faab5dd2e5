"""What the book's chapters 4 and 5 begin with: layers that multiply and add, and a network of one matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet import losses
from xpnet._typing import Array
from xpnet.backends.dispatch import Backend, backend_of, get_backend, namespace, on_its_device, quiet
from xpnet.book.layers import as_batch
from xpnet.validation import as_array


class MulLayer:
    """z = x y; dx = dz y, dy = dz x.

    Two apples at 100 each:

    >>> layer = MulLayer()
    >>> layer.forward(100, 2), layer.backward(1)
    (200, (2, 100))
    """

    def __init__(self) -> None:
        self.x: Any = None
        self.y: Any = None

    def forward(self, x: Any, y: Any) -> Any:
        """x y; both are kept."""
        self.x, self.y = x, y
        return x * y

    def backward(self, dout: Any) -> tuple[Any, Any]:
        """The derivatives by x and y, from that by the product."""
        if self.x is None:
            raise RuntimeError("MulLayer: backward was called before forward, so there is nothing to go back through")
        return dout * self.y, dout * self.x


class AddLayer:
    """z = x + y; dx = dy = dz.

    >>> layer = AddLayer()
    >>> layer.forward(200, 450), layer.backward(1.1)
    (650, (1.1, 1.1))
    """

    def forward(self, x: Any, y: Any) -> Any:
        """x + y."""
        return x + y

    def backward(self, dout: Any) -> tuple[Any, Any]:
        """The derivatives by x and y, from that by the sum."""
        return dout * 1, dout * 1


class simpleNet:
    """The gradient tutorial's network: one matrix of weights W (2, 3), softmax and cross-entropy.

    Args:
        W: the weights; by default drawn from N(0, 1).
        seed: an int, None, or a ``numpy.random.Generator``.

    >>> net = simpleNet(np.asarray([[0.47355232, 0.9977393, 0.84668094], [0.85557411, 0.03563661, 0.69422093]]))
    >>> x, t = np.asarray([0.6, 0.9]), np.asarray([0, 0, 1])
    >>> net.predict(x).round(8)
    array([1.05414809, 0.63071653, 1.1328074 ])
    >>> float(net.loss(x, t).round(8))
    0.92806854
    """

    def __init__(self, W: Array = None, *, seed: int | np.random.Generator | None = None) -> None:
        self.W = get_backend().asarray(np.random.default_rng(seed).standard_normal((2, 3))) if W is None else W

    @property
    def backend(self) -> Backend:
        """Where the weights are."""
        return backend_of(self.W)

    @on_its_device
    @quiet
    def predict(self, x: Array) -> Array:
        """Scores of one sample (2,) or a batch (N, 2), an array or a list."""
        x = as_array(x, self.backend)
        return namespace(x).matmul(x, self.W)

    @on_its_device
    @quiet
    def loss(self, x: Array, t: Array) -> Array:
        """Cross-entropy of the softmax of the scores; t as labels or one-hot, for one sample or a batch."""
        return self._forward(x, t)[1]

    @on_its_device
    @quiet
    def gradient(self, x: Array, t: Array) -> Array:
        """dloss/dW in the shape of W: xᵀ (softmax(x W) - t) / N."""
        rows, _, residuals = self._forward(x, t)
        xp = namespace(rows)
        return xp.matmul(xp.matrix_transpose(rows), losses.SoftmaxWithLoss().backward(residuals))

    def _forward(self, x: Array, t: Array) -> tuple[Array, Array, Any]:
        backend = self.backend
        x, t = as_batch(as_array(x, backend), as_array(t, backend, "t"), backend)
        scores = self.predict(x)
        losses.SoftmaxWithLoss().check(tuple(scores.shape), t)
        return x, *losses.SoftmaxWithLoss().forward(scores, t)
