"""The book's stateful classes, so that its code can be typed as printed: ``forward``, ``backward``, ``.dW``, ``.db``.

Each is thin over the pure layer of the same name, and each optimizer over that of ``xpnet.optimizers``. They remember
what they were called with, which is easy to read and is why they are for learning: a compiled training step wants the
pure ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from xpnet import layers, losses, optimizers
from xpnet._typing import Array
from xpnet.backends.dispatch import (
    Backend,
    backend_of,
    check_same_backend,
    get_backend,
    namespace,
    on_its_device,
    quiet,
)
from xpnet.functions import softmax
from xpnet.hints import missing
from xpnet.optimizers import SGD, Momentum, Nesterov
from xpnet.validation import as_array

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "AddLayer",
    "Affine",
    "Momentum",
    "MulLayer",
    "Nesterov",
    "RMSprop",
    "Relu",
    "Sigmoid",
    "SoftmaxWithLoss",
    "simpleNet",
]


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
        self.x, self.y = x, y
        return x * y

    def backward(self, dout: Any) -> tuple[Any, Any]:
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
        return x + y

    def backward(self, dout: Any) -> tuple[Any, Any]:
        return dout * 1, dout * 1


class _Remembering:
    """A pure layer and the residuals of its last forward."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._residuals: Any = None

    def _recall(self) -> Any:
        if self._residuals is None:
            name = type(self).__name__
            raise RuntimeError(f"{name}: backward was called before forward, so there is nothing to go back through")
        return self._residuals[0]


class _Activation(_Remembering):
    def forward(self, x: Array) -> Array:
        y, residuals = self._layer.forward({}, x)
        self._residuals = (residuals,)
        return y

    def backward(self, dout: Array) -> Array:
        return self._layer.gradient(self._recall(), dout)


class Relu(_Activation):
    """max(x, 0).

    >>> layer = Relu()
    >>> layer.forward(np.asarray([[1.0, -0.5], [-2.0, 3.0]]))
    array([[1., 0.],
           [0., 3.]])
    >>> layer.backward(np.ones((2, 2)))
    array([[1., 0.],
           [0., 1.]])
    """

    def __init__(self) -> None:
        super().__init__(layers.ReLU())


class Sigmoid(_Activation):
    """1 / (1 + exp(-x)).

    >>> layer = Sigmoid()
    >>> layer.forward(np.asarray([0.0])), layer.backward(np.asarray([1.0]))
    (array([0.5]), array([0.25]))
    """

    def __init__(self) -> None:
        super().__init__(layers.Sigmoid())


class Affine(_Remembering):
    """y = x W + b, with x (N, I) or (N, ...), W (I, O), b (O,); ``backward`` leaves ``dW`` and ``db`` on the layer.

    It keeps the arrays it was given. ``params["W1"] -= lr * grad`` then reaches the layer where arrays change in
    place (NumPy, CuPy, PyTorch), and does not on JAX, where it makes a new array: set ``layer.W`` there.
    """

    def __init__(self, W: Array, b: Array) -> None:
        super().__init__(layers.Affine(*W.shape))
        self.W, self.b = W, b
        self.dW: Array = None
        self.db: Array = None

    def forward(self, x: Array) -> Array:
        y, residuals = self._layer.forward({"W": self.W, "b": self.b}, x)
        self._residuals = (residuals,)
        return y

    def backward(self, dout: Array) -> Array:
        dx, grads = self._layer.backward({"W": self.W, "b": self.b}, self._recall(), dout)
        self.dW, self.db = grads["W"], grads["b"]
        return dx


class SoftmaxWithLoss(_Remembering):
    """Softmax with cross-entropy; ``y`` are the probabilities, ``t`` the targets, ``loss`` the last result.

    >>> layer = SoftmaxWithLoss()
    >>> float(layer.forward(np.asarray([[0.3, 2.9, 4.0]]), np.asarray([2])).round(4))
    0.3057
    >>> layer.backward().round(4)
    array([[ 0.0182,  0.2452, -0.2634]])
    """

    def __init__(self) -> None:
        super().__init__(losses.SoftmaxWithLoss())
        self.loss: Array = None
        self.y: Array = None
        self.t: Array = None

    def forward(self, x: Array, t: Array) -> Array:
        """The loss of scores (N, C) or of those of one sample (C,); t as labels or one-hot, as arrays or lists."""
        backend = backend_of(x)
        t = as_array(t, backend, "t")
        rows, targets = _as_batch(x, t, backend)
        self._layer.check(tuple(rows.shape), targets)
        self.loss, residuals = self._layer.forward(rows, targets)
        self._residuals = (residuals, x.shape)
        self.y, self.t = softmax(x), t
        return self.loss

    def backward(self, dout: Any = 1) -> Array:
        dx = self._layer.backward(self._recall()) * dout
        return namespace(dx).reshape(dx, self._residuals[1])


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
        x, t = _as_batch(as_array(x, backend), as_array(t, backend, "t"), backend)
        scores = self.predict(x)
        losses.SoftmaxWithLoss().check(tuple(scores.shape), t)
        return x, *losses.SoftmaxWithLoss().forward(scores, t)


def _as_batch(x: Array, t: Any, backend: Backend) -> tuple[Array, Array]:
    """One sample (C,) with its target as a batch of one; a batch as it is.

    Raises:
        TypeError: one of them is no array, or they are of two libraries.
    """
    check_same_backend(x, "x", backend, "the layer")
    if x.ndim == 1:
        t = backend.asarray(int(t)) if isinstance(t, Integral) else t
        x, t = x[None, :], t[None, ...] if hasattr(t, "ndim") else t
    check_same_backend(t, "t", backend, "the layer")
    return x, t


@dataclass(frozen=True, repr=False)
class AdaGrad(optimizers.AdaGrad):
    """AdaGrad with the book's 1e-7 next to the root.

    >>> params, adagrad = {"W": np.asarray([1.0])}, AdaGrad(lr=0.5)
    >>> adagrad.update(params, {"W": np.asarray([5.0])})
    >>> params["W"].round(6)
    array([0.5])
    """

    eps: float = 1e-7


@dataclass(frozen=True, repr=False)
class RMSprop(optimizers.RMSprop):
    """RMSprop with the book's 1e-7 next to the root."""

    eps: float = 1e-7


@dataclass(frozen=True, repr=False)
class Adam(optimizers.Adam):
    """Adam with the book's 1e-7, next to the root of v as it is: the corrections are in the learning rate."""

    eps: float = 1e-7
    folded: bool = True


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
