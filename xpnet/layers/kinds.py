"""The layers that a file may describe."""

from __future__ import annotations

from xpnet.layers.activations import (
    ELU,
    GELU,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Softplus,
    Swish,
    Tanh,
)
from xpnet.layers.affine import Affine
from xpnet.layers.base import Layer
from xpnet.layers.batch_norm import BatchNorm
from xpnet.layers.branches import Add, Concat, Residual, TimeDistributed
from xpnet.layers.chain import Chain
from xpnet.layers.convolution import Conv1d, Conv2d
from xpnet.layers.dropout import Dropout
from xpnet.layers.embedding import Embedding, Rescale
from xpnet.layers.layer_norm import LayerNorm
from xpnet.layers.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from xpnet.layers.shapes import Flatten, Reshape

#: Every layer that a file may describe, by the name of its class.
LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind
    for kind in (
        Add,
        Affine,
        AvgPool2d,
        BatchNorm,
        Chain,
        Concat,
        Conv1d,
        Conv2d,
        Dropout,
        ELU,
        Embedding,
        Flatten,
        GELU,
        GlobalAvgPool2d,
        Identity,
        LayerNorm,
        LeakyReLU,
        MaxPool2d,
        ReLU,
        Rescale,
        Reshape,
        Residual,
        Sigmoid,
        Softmax,
        Softplus,
        Swish,
        Tanh,
        TimeDistributed,
    )
}
