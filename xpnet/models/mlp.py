"""Networks that have a name: the book's, and the same with any number of layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

from xpnet.hints import book_arguments
from xpnet.initializers import Initializer, normal
from xpnet.layers import ACTIVATIONS, Affine, Dropout, Layer, ReLU
from xpnet.models.network import Sequential


class TwoLayerNet(Sequential):
    """The book's network: Affine, ReLU, Affine, and softmax with cross-entropy; N(0, std²) weights, zero biases.

    Args:
        input_size, hidden_size, output_size: how many inputs, hidden units and classes.
        weight_init_std: the standard deviation of the initial weights.
        seed, dtype, backend, device: see :class:`Sequential`.

    >>> net = TwoLayerNet(784, 50, 10, seed=0)
    >>> {name: p.shape for name, p in net.params.items()}
    {'W1': (784, 50), 'b1': (50,), 'W2': (50, 10), 'b2': (10,)}
    >>> net.layers["Relu1"]
    ReLU()
    """

    def __init__(
        self, input_size: int, hidden_size: int, output_size: int, weight_init_std: float = 0.01, **options: Any
    ) -> None:
        layers: list[Layer] = [Affine(input_size, hidden_size), ReLU(), Affine(hidden_size, output_size)]
        super().__init__(layers, weight_init=normal(weight_init_std), **options)


class MultiLayerNet(Sequential):
    """Affine and an activation for each hidden size, then Affine, and softmax with cross-entropy.

    Args:
        input_size, output_size: how many inputs and classes.
        hidden_sizes: how many units in each hidden layer.
        activation: ``"relu"``, ``"leaky_relu"``, ``"sigmoid"``, ``"tanh"``, ``"gelu"`` or ``"identity"``.
        weight_init: ``"auto"``, by the activation (:class:`xpnet.initializers.Around`); or for all layers alike
            ``"he"`` (for ReLU and its kin), ``"xavier"`` (the book's, for sigmoid and tanh), ``"glorot"``,
            ``"glorot_uniform"``, ``"normal"``, ``"zeros"``, a standard deviation, or an initializer.
        dropout: the share of hidden units that is left out in each training step, behind each activation.
        seed, dtype, backend, device: see :class:`Sequential`.

    >>> list(MultiLayerNet(784, [100, 50], 10, activation="tanh", weight_init="xavier").layers)
    ['Affine1', 'Tanh1', 'Affine2', 'Tanh2', 'Affine3']
    """

    @book_arguments(
        hidden_size_list="hidden_sizes",
        weight_init_std="weight_init: 'auto', 'he', 'xavier' or a standard deviation",
        weight_decay_lambda="the optimizer's: SGD(lr=0.1, weight_decay=0.1)",
        use_batchnorm="a layer: Sequential([Affine(784, 50), BatchNorm(50), ReLU(), Affine(50, 10)])",
        use_dropout="dropout, the share of units that is left out: dropout=0.5",
        dropout_ration="dropout",
    )
    def __init__(
        self,
        input_size: int,
        hidden_sizes: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init: str | float | Initializer = "auto",
        *,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}; known: {', '.join(ACTIVATIONS)}")
        if isinstance(hidden_sizes, Integral):
            raise TypeError(f"hidden_sizes is {hidden_sizes}, expected a size for each layer: [{hidden_sizes}]")
        sizes, layers = [input_size, *hidden_sizes], list[Layer]()
        for n_in, n_out in pairwise(sizes):
            layers += [Affine(n_in, n_out), ACTIVATIONS[activation]()]
            layers += [Dropout(dropout)] if dropout else []
        super().__init__([*layers, Affine(sizes[-1], output_size)], weight_init=weight_init, **options)
