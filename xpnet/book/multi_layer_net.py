"""The book's networks of chapter 6: fully connected, with as many hidden layers as a list has numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import namespace
from xpnet.book.gradient import numerical_gradient
from xpnet.book.layers import Affine, BatchNormalization, Dropout, PrintedSoftmaxWithLoss, Relu, Sigmoid
from xpnet.book.numbers import numbers

ACTIVATIONS = {"sigmoid": Sigmoid, "relu": Relu}
#: The weights' standard deviation times √I, by the names that the book has for it.
GAINS = {"relu": sqrt(2), "he": sqrt(2), "sigmoid": 1.0, "xavier": 1.0}


class MultiLayerNetExtend:
    """Affine, batch normalization if wanted, activation, dropout if wanted, and again; softmax with cross-entropy.

    ``params`` are ``W1``, ``b1``, ``gamma1``, ``beta1``, ``W2``, ...; ``layers``, by their names, hold these arrays.

    Args:
        input_size, output_size: numbers of units.
        hidden_size_list: those of the hidden layers.
        activation: ``"relu"`` or ``"sigmoid"``.
        weight_init_std: the standard deviation of the first weights; or ``"relu"`` (``"he"``) for √(2 / I), or
            ``"sigmoid"`` (``"xavier"``) for √(1 / I). They are drawn from ``np.random``.
        weight_decay_lambda: times half the sum of all squared weights is in the loss.
        use_dropout, dropout_ration: whether to leave units out, and which share.
        use_batchnorm: whether to normalize.

    Raises:
        ValueError: an activation, or a word for weights, that is not among these.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0,
        use_dropout: bool = False,
        dropout_ration: float = 0.5,
        use_batchnorm: bool = False,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}, expected one of: {', '.join(ACTIVATIONS)}")
        self.input_size, self.hidden_size_list, self.output_size = input_size, hidden_size_list, output_size
        self.hidden_layer_num = len(hidden_size_list)
        self.weight_decay_lambda = weight_decay_lambda
        self.use_dropout, self.use_batchnorm = use_dropout, use_batchnorm
        self.params: dict[str, Array] = {}
        self._draw([input_size, *hidden_size_list, output_size], weight_init_std)
        self.layers: OrderedDict[str, Any] = OrderedDict()
        for k, units in enumerate(hidden_size_list, 1):
            self.layers[f"Affine{k}"] = Affine(self.params[f"W{k}"], self.params[f"b{k}"])
            if use_batchnorm:
                gamma, beta = numbers().ones(units), numbers().zeros(units)
                self.params |= {f"gamma{k}": gamma, f"beta{k}": beta}
                self.layers[f"BatchNorm{k}"] = BatchNormalization(gamma, beta)
            self.layers[f"Activation_function{k}"] = ACTIVATIONS[activation]()
            if use_dropout:
                self.layers[f"Dropout{k}"] = Dropout(dropout_ration)
        last = self.hidden_layer_num + 1
        self.layers[f"Affine{last}"] = Affine(self.params[f"W{last}"], self.params[f"b{last}"])
        self.last_layer = PrintedSoftmaxWithLoss()

    def _draw(self, sizes: list[int], spread: float | str) -> None:
        gain = GAINS.get(str(spread).lower())
        if gain is None and isinstance(spread, str):
            raise ValueError(f"weight_init_std is {spread!r}, expected a number or one of: {', '.join(GAINS)}")
        for k, (before, units) in enumerate(pairwise(sizes), 1):
            scale = spread if gain is None else gain / sqrt(before)
            self.params[f"W{k}"] = scale * numbers().random.randn(before, units)
            self.params[f"b{k}"] = numbers().zeros(units)

    def predict(self, x: Array, train_flg: bool = False) -> Array:
        """Scores (N, output_size)."""
        for layer in self.layers.values():
            x = layer.forward(x, train_flg) if isinstance(layer, BatchNormalization | Dropout) else layer.forward(x)
        return x

    def loss(self, x: Array, t: Array, train_flg: bool = False) -> Array:
        """Cross-entropy of the samples, and the weight decay."""
        return self.last_layer.forward(self.predict(x, train_flg), t) + self._decay()

    def _decay(self) -> Any:
        if not self.weight_decay_lambda:
            return 0.0
        weights = (p for name, p in self.params.items() if name.startswith("W"))
        return 0.5 * self.weight_decay_lambda * sum(namespace(W).sum(W * W) for W in weights)

    def accuracy(self, x: Array, t: Array) -> Array:
        """The share of samples whose largest score is that of their target; t as labels or one-hot."""
        y = self.predict(x, train_flg=False)
        xp = namespace(y)
        labels = t if t.ndim == 1 else xp.argmax(t, axis=1)
        return xp.sum(xp.argmax(y, axis=1) == labels) / float(x.shape[0])

    def numerical_gradient(self, x: Array, t: Array) -> dict[str, Array]:
        """The gradient by name from the loss alone, as in a training step: of the samples, and that of the decay."""

        def loss(_: Array) -> Array:
            return self.last_layer.forward(self.predict(x, train_flg=True), t)

        return {name: numerical_gradient(loss, self.params[name]) + self._slope(name) for name in self._names()}

    def gradient(self, x: Array, t: Array) -> dict[str, Array]:
        """The gradient by name, from backpropagation."""
        self.loss(x, t, train_flg=True)
        dout = self.last_layer.backward(1)
        first, *others = self.layers.values()
        for layer in reversed(others):
            dout = layer.backward(dout)
        first.learn(dout)
        owners = {"W": "Affine", "b": "Affine", "gamma": "BatchNorm", "beta": "BatchNorm"}
        grads = {}
        for name in self._names():
            kind = name.rstrip("0123456789")
            layer = self.layers[owners[kind] + name[len(kind) :]]
            grads[name] = getattr(layer, f"d{kind}") + self._slope(name)
        return grads

    def _names(self) -> Iterator[str]:
        """Of the parameters, layer by layer."""
        for k in range(1, self.hidden_layer_num + 2):
            yield from (name for name in (f"W{k}", f"b{k}", f"gamma{k}", f"beta{k}") if name in self.params)

    def _slope(self, name: str) -> Any:
        """That of the weight decay: of a square the numerical one is no other."""
        return self.weight_decay_lambda * self.params[name] if self.weight_decay_lambda and name[0] == "W" else 0.0


class MultiLayerNet(MultiLayerNetExtend):
    """Affine and activation, and again; softmax with cross-entropy.

    The arguments are the first ones of :class:`MultiLayerNetExtend`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0,
    ) -> None:
        super().__init__(input_size, hidden_size_list, output_size, activation, weight_init_std, weight_decay_lambda)
