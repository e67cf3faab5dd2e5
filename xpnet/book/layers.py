"""The book's stateful layers, so that its code can be typed as printed: ``forward``, ``backward``, ``.dW``, ``.db``.

Each is thin over the pure layer of the same name. They remember what they were called with, which is easy to read and
is why they are for learning: a compiled training step wants the pure ones. Layers with parameters keep the arrays that
they are given: ``params["W1"] -= lr * grad`` then reaches the layer where arrays change in place (NumPy, CuPy,
PyTorch), and does not on JAX, where it makes a new array: set ``layer.W`` there.
"""

from __future__ import annotations

from functools import cache
from math import prod
from numbers import Integral
from typing import Any

import numpy as np

from xpnet import layers, losses
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import Backend, backend_of, check_same_backend, device, namespace, quiet
from xpnet.book import functions
from xpnet.book.later import Later, now
from xpnet.book.numbers import numbers
from xpnet.book.tape import is_first, note, returned
from xpnet.functions import cast, softmax
from xpnet.validation import as_array

#: What batch normalization adds to a variance.
EPS = 1e-6

#: More entries than this are those of a whole data set, of which no copy is kept.
LARGE = 2**22

affine = cache(layers.Affine)


class Remembering:
    """What its last forward pass left for the way back."""

    _residuals: Any = None

    def _recall(self) -> Any:
        if self._residuals is None:
            name = type(self).__name__
            raise RuntimeError(f"{name}: backward was called before forward, so there is nothing to go back through")
        return self._residuals[0]


class _Activation(Remembering):
    _layer: layers.Layer

    def forward(self, x: Array) -> Array:
        """The output, of x; what ``backward`` needs is kept."""
        y, residuals = self._layer.forward({}, x)
        self._residuals = (residuals,)
        return note(self, x, y)

    def backward(self, dout: Array) -> Array:
        """The derivative by x, from that by the output."""
        return self._layer.backward({}, self._recall(), now(dout))[0]

    def many(self, x: Array) -> Array:
        """Outputs of several inputs (K, N, ...) at once; nothing is kept."""
        return self._layer.predict({}, x)


class Relu(_Activation):
    """max(x, 0); after ``forward``, ``mask`` says where that is 0.

    >>> layer = Relu()
    >>> layer.forward(np.asarray([[1.0, -0.5], [-2.0, 3.0]]))
    array([[1., 0.],
           [0., 3.]])
    >>> layer.backward(np.ones((2, 2)))
    array([[1., 0.],
           [0., 1.]])
    """

    _layer = layers.ReLU()

    def forward(self, x: Array) -> Array:
        """The output, of x; what ``backward`` needs is kept."""
        y, _ = self._layer.forward({}, x)
        # y may be changed in place; it is kept all the same, as memory that is given back costs more to get again
        self._residuals = (y > 0, y)
        return note(self, x, y)

    def backward(self, dout: Array) -> Array:
        """The derivative by x, from that by the output."""
        dout = now(dout)
        return dout * namespace(dout).astype(self._recall(), dout.dtype)

    @property
    def mask(self) -> Array:
        """Where x was 0 or less, as the book keeps it; None before ``forward``."""
        return None if self._residuals is None else ~self._residuals[0]


class Sigmoid(_Activation):
    """1 / (1 + exp(-x)); after ``forward``, ``out`` is what it returned.

    >>> layer = Sigmoid()
    >>> layer.forward(np.asarray([0.0])), layer.backward(np.asarray([1.0]))
    (array([0.5]), array([0.25]))
    """

    _layer = layers.Sigmoid()

    @property
    def out(self) -> Array:
        """The output, as the book keeps it; None before ``forward``."""
        return None if self._residuals is None else self._residuals[0]


class Weighted(Remembering):
    """A layer with W and b; ``backward`` leaves ``dW`` and ``db`` on it."""

    #: Whether the gradient of a network's input, which scripts drop, is computed when somebody looks at it.
    defers = False

    def __init__(self, W: Array, b: Any) -> None:
        self.W, self.b = W, b
        self.dW: Array = None
        self.db: Array = None

    @property
    def _layer(self) -> layers.Layer:
        """The pure layer that fits W."""
        raise NotImplementedError

    @property
    def _params(self) -> Params:
        return {"W": self.W, "b": self.b}

    def _pass(self, x: Array, wide: Array) -> Array:
        y, residuals = self._layer.forward(self._params, wide)
        self._residuals = (residuals, is_first(x))
        return note(self, x, y)

    def backward(self, dout: Array) -> Array:
        """The derivative by x, from that by the output."""
        layer, residuals, dout = self._layer, self._recall(), now(dout)
        if self.defers and self._residuals[1]:
            self.learn(dout)
            params = self._params | {"W": self.W.copy()}  # which the next step changes in place
            dout = dout.copy(order="K")  # as the caller may
            return Later(lambda: layer.backward(params, residuals, dout)[0])
        dx, grads = layer.backward(self._params, residuals, dout)
        self.dW, self.db = grads["W"], grads["b"]
        return dx

    def learn(self, dout: Array) -> None:
        """``backward`` without what it returns."""
        grads = self._layer.parameter_gradients(self._params, self._recall(), dout)
        self.dW, self.db = grads["W"], grads["b"]


class Affine(Weighted):
    """y = x W + b, with x (N, I) or (N, ...), W (I, O), b (O,); ``backward`` leaves ``dW`` and ``db`` on the layer."""

    @property
    def _layer(self) -> layers.Layer:
        return affine(*self.W.shape)

    def forward(self, x: Array) -> Array:
        """The output, of x; what ``backward`` needs is kept."""
        few = prod(x.shape) <= LARGE
        return self._pass(x, as_wide(x, self.W) if few else x)

    def many(self, x: Array) -> Array:
        """Outputs of several inputs (K, N, ...) at once; nothing is kept."""
        return x.reshape(*x.shape[:2], -1) @ self.W + self.b


class SoftmaxWithLoss(Remembering):
    """Softmax with cross-entropy; ``y`` are the probabilities, ``t`` the targets, ``loss`` the last result.

    >>> layer = SoftmaxWithLoss()
    >>> float(layer.forward(np.asarray([[0.3, 2.9, 4.0]]), np.asarray([2])).round(4))
    0.3057
    >>> layer.backward().round(4)
    array([[ 0.0182,  0.2452, -0.2634]])
    """

    def __init__(self) -> None:
        self.loss: Array = None
        self.y: Array = None
        self.t: Array = None

    def forward(self, x: Array, t: Array) -> Array:
        """The loss of scores (N, C) or of those of one sample (C,); t as labels or one-hot, as arrays or lists."""
        backend = backend_of(x)
        t = as_array(t, backend, "t")
        rows, targets = as_batch(x, t, backend)
        losses.SoftmaxWithLoss().check(tuple(rows.shape), targets)
        self.loss, residuals = losses.SoftmaxWithLoss().forward(rows, targets)
        self._residuals = (residuals, x.shape)
        self.y, self.t = softmax(x), t
        return self.loss

    def backward(self, dout: Any = 1) -> Array:
        """The derivative by the scores."""
        dx = losses.SoftmaxWithLoss().backward(self._recall()) * dout
        return namespace(dx).reshape(dx, self._residuals[1])


class PrintedSoftmaxWithLoss(SoftmaxWithLoss):
    """The same with the loss that the book's scripts print, -log(y + 1e-7), which is 16.1 at most.

    Its ``backward`` is the book's too, the gradient of -log y. Labels may come in any shape, (N, 1) for example.
    """

    def forward(self, x: Array, t: Array) -> Array:
        """The output, of x; what ``backward`` needs is kept."""
        self.y, self.t = functions.softmax(x), functions.as_targets(t)
        labels = functions.labels_of(self.t, x.reshape(-1, x.shape[-1]))
        self._residuals = (labels,)
        self.loss = functions.cross_entropy_error(self.y, labels)
        return note(self, x, self.loss)

    def backward(self, dout: Any = 1) -> Array:
        """The derivative by x, from that by the output."""
        labels, y = self._recall(), self.y.reshape(-1, self.y.shape[-1])
        if getattr(self.t, "size", 1) == y.size:  # shares of classes too
            dx = y - self.t.reshape(y.shape)
        else:
            dx = y.copy()
            dx[numbers().arange(len(dx)), labels] -= 1
        return (dx * (dout / len(dx))).reshape(self.y.shape)

    def many(self, x: Array) -> Array:
        """The loss (K,) of each of K batches of scores (K, N, C)."""
        picked = functions.softmax(x)[:, numbers().arange(x.shape[1]), self._residuals[0]]
        return -np.log(picked + 1e-7).sum(axis=-1) / x.shape[1]


class Dropout:
    """A training step leaves out entries of x, each with this probability; predicting scales x by what else is left.

    So it is in the book: y = x mask, and y = x (1 - dropout_ratio). :class:`xpnet.layers.Dropout` scales while it
    trains, which has the same mean.

    >>> layer = Dropout(0.25)
    >>> layer.forward(np.ones((1, 2)), train_flg=False)
    array([[0.75, 0.75]])
    >>> x = np.ones((2, 3))
    >>> y = layer.forward(x)
    >>> bool((y == layer.mask).all()), bool((layer.backward(x) == y).all())
    (True, True)
    """

    def __init__(self, dropout_ratio: float = 0.5) -> None:
        self.dropout_ratio = dropout_ratio
        self.mask: Array = None

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        """The output, of x; what ``backward`` needs is kept."""
        if not train_flg:
            return returned(x * (1.0 - self.dropout_ratio))
        drawn = backend_of(x).asarray(numbers().random.rand(*x.shape))
        self.mask = namespace(x).astype(drawn > self.dropout_ratio, x.dtype)
        return returned(x * self.mask)

    def backward(self, dout: Array) -> Array:
        """The derivative by x, from that by the output."""
        if self.mask is None:
            raise RuntimeError("Dropout: backward was called before forward, so there is nothing to go back through")
        return now(dout) * self.mask


class BatchNormalization(Remembering):
    """y = gamma (x - mean) / √(variance + 1e-6) + beta, for each entry of a sample, over the minibatch.

    x is (N, D) or images (N, C, H, W), each of whose D = C H W entries has a mean of its own: that is what the book's
    code does. (Its text and :class:`xpnet.layers.BatchNorm` have one for each channel.) The running mean and variance
    start at 0 and follow those of the minibatches, the variance the biased one; predicting takes them. A minibatch may
    be of one sample, which becomes beta.

    Args:
        gamma, beta: (D,).
        momentum: what is left of the running mean and variance in each step.
        running_mean, running_var: (D,), to go on from; None starts at 0.

    >>> layer = BatchNormalization(np.ones(2), np.zeros(2))
    >>> layer.forward(np.asarray([[0.0, 1.0], [2.0, 5.0]])).round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> layer.running_mean.round(3), layer.running_var.round(3)
    (array([0.1, 0.3]), array([0.1, 0.4]))
    """

    def __init__(
        self,
        gamma: Array,
        beta: Array,
        momentum: float = 0.9,
        running_mean: Array = None,
        running_var: Array = None,
    ) -> None:
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.running_mean, self.running_var = running_mean, running_var
        self.dgamma: Array = None
        self.dbeta: Array = None

    @quiet
    def forward(self, x: Array, train_flg: bool = True) -> Array:
        """The output, of x; what ``backward`` needs is kept."""
        xp, shape = namespace(x), x.shape
        rows = xp.reshape(x, (shape[0], -1))
        if self.running_mean is None:
            self.running_mean = xp.zeros(rows.shape[1], dtype=rows.dtype, device=device(rows))
            self.running_var = xp.zeros_like(self.running_mean)
        mean = xp.mean(rows, axis=0) if train_flg else self.running_mean
        difference = rows - mean
        var = xp.mean(difference * difference, axis=0) if train_flg else self.running_var
        scale = xp.sqrt(var + EPS)
        normal = difference / scale
        y = xp.reshape(self.gamma * normal + self.beta, shape)
        if not train_flg:
            return returned(y)
        self._residuals = ((normal, scale, True), mean, var)
        self.settle(1)
        return note(self, x, y)

    def backward(self, dout: Array) -> Array:
        """The derivative by x, from that by the output."""
        residuals, dout = self._recall(), now(dout)
        dy = namespace(dout).reshape(dout, (dout.shape[0], -1))
        layer = layers.BatchNorm(tuple(dy.shape[1:]), eps=EPS)
        dx, grads = layer.backward({"gamma": self.gamma, "beta": self.beta}, residuals, dy)
        self.dgamma, self.dbeta = grads["gamma"], grads["beta"]
        return namespace(dx).reshape(dx, dout.shape)

    def many(self, x: Array) -> Array:
        """Outputs of several inputs (K, N, ...) at once; nothing is kept."""
        rows = x.reshape(*x.shape[:2], -1)
        difference = rows - np.mean(rows, axis=1, keepdims=True)
        var = np.mean(difference * difference, axis=1, keepdims=True)
        return (self.gamma * (difference / np.sqrt(var + EPS)) + self.beta).reshape(x.shape)

    @property
    def normal(self) -> Array:
        """Of the last training step, x with mean 0 and variance 1: (N, D)."""
        return self._recall()[0]

    def settle(self, passes: int) -> None:
        """Make of the running statistics what so many training steps with the last minibatch make of them."""
        kept, (_, mean, var) = self.momentum**passes, self._residuals
        self.running_mean = kept * self.running_mean + (1 - kept) * mean
        self.running_var = kept * self.running_var + (1 - kept) * var


def as_wide(x: Array, W: Array) -> Array:
    """x in the dtype that it has together with the weights: pixels in float32 meet weights in float64."""
    return x if x.dtype == W.dtype else cast(x, namespace(x).result_type(x, W))


def as_batch(x: Array, t: Any, backend: Backend) -> tuple[Array, Array]:
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
