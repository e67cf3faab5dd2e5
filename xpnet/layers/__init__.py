"""Layers: frozen descriptions, each a pure forward and backward that fit one glance."""

from xpnet.layers.activations import GELU, Identity, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from xpnet.layers.affine import Affine

#: The activations that have a name.
ACTIVATIONS = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "gelu": GELU,
    "identity": Identity,
}

__all__ = ["ACTIVATIONS", "GELU", "Affine", "Identity", "LeakyReLU", "ReLU", "Sigmoid", "Softmax", "Tanh"]
