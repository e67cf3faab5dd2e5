"""Layers: frozen descriptions, each a pure forward and backward that fit one glance."""

from xpnet.layers.activations import GELU, Identity, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from xpnet.layers.affine import Affine
from xpnet.layers.dropout import Dropout
from xpnet.layers.rescale import Rescale

#: The activations that have a name.
ACTIVATIONS = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "gelu": GELU,
    "identity": Identity,
}

#: Every layer, by the name of its class.
LAYERS = {
    kind.__name__: kind for kind in (Affine, Identity, ReLU, LeakyReLU, Sigmoid, Tanh, GELU, Softmax, Dropout, Rescale)
}

__all__ = [
    "ACTIVATIONS",
    "GELU",
    "LAYERS",
    "Affine",
    "Dropout",
    "Identity",
    "LeakyReLU",
    "ReLU",
    "Rescale",
    "Sigmoid",
    "Softmax",
    "Tanh",
]
