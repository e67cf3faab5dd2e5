"""Layers: frozen descriptions, each a pure forward and backward that fit one glance."""

from typing import Any

from xpnet.hints import missing
from xpnet.layers.activations import GELU, Identity, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from xpnet.layers.affine import Affine
from xpnet.layers.base import Container, Layer
from xpnet.layers.batch_norm import BatchNorm
from xpnet.layers.branches import Add, Concat, Parallel, Residual, TimeDistributed
from xpnet.layers.chain import Chain
from xpnet.layers.dropout import Dropout
from xpnet.layers.embedding import Embedding, Rescale
from xpnet.layers.function import Function, GraphLayer

#: The activations that have a name.
ACTIVATIONS = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "gelu": GELU,
    "identity": Identity,
}

#: Every layer that a file may describe, by the name of its class.
LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        Add,
        Affine,
        BatchNorm,
        Chain,
        Concat,
        Dropout,
        Embedding,
        GELU,
        Identity,
        LeakyReLU,
        ReLU,
        Rescale,
        Residual,
        Sigmoid,
        Softmax,
        Tanh,
        TimeDistributed,
    )
}

__all__ = [
    "ACTIVATIONS",
    "GELU",
    "LAYERS",
    "Add",
    "Affine",
    "BatchNorm",
    "Chain",
    "Concat",
    "Container",
    "Dropout",
    "Embedding",
    "Function",
    "GraphLayer",
    "Identity",
    "Layer",
    "LeakyReLU",
    "Parallel",
    "ReLU",
    "Rescale",
    "Residual",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "TimeDistributed",
]


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
