"""Layers: frozen descriptions, each a pure forward and backward that fit one glance."""

from typing import TYPE_CHECKING

from xpnet._later import later

if TYPE_CHECKING:
    from xpnet.layers.activations import (
        ACTIVATIONS,
        ELU,
        GELU,
        Identity,
        LeakyReLU,
        ReLU,
        Sigmoid,
        SiLU,
        Softmax,
        Softplus,
        Swish,
        Tanh,
    )
    from xpnet.layers.affine import Affine
    from xpnet.layers.base import Container, Layer
    from xpnet.layers.batch_norm import BatchNorm
    from xpnet.layers.branches import Add, Concat, Parallel, Residual, TimeDistributed
    from xpnet.layers.chain import Chain
    from xpnet.layers.convolution import Conv1d, Conv2d
    from xpnet.layers.dropout import Dropout
    from xpnet.layers.embedding import Embedding, Rescale
    from xpnet.layers.function import Function, GraphLayer
    from xpnet.layers.kinds import LAYERS
    from xpnet.layers.layer_norm import LayerNorm
    from xpnet.layers.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
    from xpnet.layers.shapes import Flatten, Reshape
else:
    __getattr__, __dir__ = later(
        __name__,
        {
            "activations": "ELU GELU Identity LeakyReLU ReLU Sigmoid SiLU Softmax Softplus Swish Tanh ACTIVATIONS",
            "affine": "Affine",
            "base": "Container Layer",
            "batch_norm": "BatchNorm",
            "branches": "Add Concat Parallel Residual TimeDistributed",
            "chain": "Chain",
            "convolution": "Conv1d Conv2d",
            "dropout": "Dropout",
            "embedding": "Embedding Rescale",
            "function": "Function GraphLayer",
            "kinds": "LAYERS",
            "layer_norm": "LayerNorm",
            "pooling": "AvgPool2d GlobalAvgPool2d MaxPool2d",
            "shapes": "Flatten Reshape",
        },
    )

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "LAYERS",
    "Add",
    "Affine",
    "AvgPool2d",
    "BatchNorm",
    "Chain",
    "Concat",
    "Container",
    "Conv1d",
    "Conv2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "Function",
    "GlobalAvgPool2d",
    "GraphLayer",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2d",
    "Parallel",
    "ReLU",
    "Rescale",
    "Reshape",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Swish",
    "Tanh",
    "TimeDistributed",
]
