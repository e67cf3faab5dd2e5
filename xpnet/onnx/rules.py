"""The rules of xpnet's layers: which nodes each becomes."""

from __future__ import annotations

from typing import Any

from xpnet.layers import (
    ELU,
    GELU,
    Add,
    Affine,
    AvgPool2d,
    BatchNorm,
    Chain,
    Concat,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
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
from xpnet.layers.windows import pair
from xpnet.onnx.writer import ExportError, Place, rule


@rule(Identity, Dropout)
def nothing(at: Place, layer: Any, x: str) -> str:
    return x


@rule(Chain)
def chain(at: Place, layer: Chain, x: str) -> str:
    shape = at.known
    for part in layer.parts:
        x, shape = at.part(part, x, shape), part.layer.output_shape(shape)
    return x


@rule(Affine)
def affine(at: Place, layer: Affine, x: str) -> str:
    rows = x if len(at.shape) == 1 else at.node("Flatten", x, axis=1)
    return at.node("Gemm", rows, at.array("W"), at.array("b"))


@rule(ReLU)
def relu(at: Place, layer: ReLU, x: str) -> str:
    return at.node("Relu", x)


@rule(Sigmoid, Tanh, Softplus)
def named_alike(at: Place, layer: Any, x: str) -> str:
    return at.node(type(layer).__name__, x)


@rule(LeakyReLU)
def leaky_relu(at: Place, layer: LeakyReLU, x: str) -> str:
    return at.node("LeakyRelu", x, alpha=layer.slope)


@rule(ELU)
def elu(at: Place, layer: ELU, x: str) -> str:
    return at.node("Elu", x, alpha=layer.alpha)


@rule(GELU)
def gelu(at: Place, layer: GELU, x: str) -> str:
    return at.node("Gelu", x, approximate="none" if layer.exact else "tanh")


@rule(Swish)
def swish(at: Place, layer: Swish, x: str) -> str:
    inside = x if layer.beta == 1 else at.node("Mul", x, at.constant("beta", layer.beta))
    return at.node("Mul", x, at.node("Sigmoid", inside))


@rule(Softmax)
def softmax(at: Place, layer: Softmax, x: str) -> str:
    return at.node("Softmax", x, axis=-1)


@rule(Rescale)
def rescale(at: Place, layer: Rescale, x: str) -> str:
    divisor = layer.divisor
    if divisor is not None:
        return at.node("Div", x, at.constant("divisor", divisor))
    return at.node("Mul", x, at.constant("scale", layer.scale))


@rule(Conv1d, Conv2d)
def convolution(at: Place, layer: Conv1d | Conv2d, x: str) -> str:
    W, b = at.array("W"), at.array("b")
    options = {"dilations": _sizes(layer, layer.dilation), "group": layer.groups}
    return at.node("Conv", x, W, b, **_window(layer), **options)


@rule(MaxPool2d)
def max_pool(at: Place, layer: MaxPool2d, x: str) -> str:
    return at.node("MaxPool", x, **_window(layer))


@rule(AvgPool2d)
def average_pool(at: Place, layer: AvgPool2d, x: str) -> str:
    return at.node("AveragePool", x, **_window(layer), count_include_pad=1)


@rule(GlobalAvgPool2d)
def global_average_pool(at: Place, layer: GlobalAvgPool2d, x: str) -> str:
    # GlobalAveragePool keeps two axes of length 1, and would need another node behind it
    return at.node("ReduceMean", x, at.constant("axes", [2, 3], "int64"), keepdims=0)


@rule(BatchNorm)
def batch_norm(at: Place, layer: BatchNorm, x: str) -> str:
    by_entry = isinstance(layer.features, tuple) and len(layer.features) > 1  # statistics of each entry: as rows
    rows = at.node("Flatten", x, axis=1) if by_entry else x
    arrays = (at.array(name, (-1,)) for name in ("gamma", "beta", "mean", "var"))
    y = at.node("BatchNormalization", rows, *arrays, epsilon=layer.eps)
    return _reshaped(at, y, at.shape) if by_entry else y


@rule(LayerNorm)
def layer_norm(at: Place, layer: LayerNorm, x: str) -> str:
    axis = -len(layer.shape) if isinstance(layer.shape, tuple) else -1
    return at.node("LayerNormalization", x, at.array("gamma"), at.array("beta"), axis=axis, epsilon=layer.eps)


@rule(Embedding)
def embedding(at: Place, layer: Embedding, x: str) -> str:
    return at.node("Gather", at.array("W"), x, axis=0)


@rule(Flatten)
def flatten(at: Place, layer: Flatten, x: str) -> str:
    return at.node("Flatten", x, axis=1)


@rule(Reshape)
def reshape(at: Place, layer: Reshape, x: str) -> str:
    return _reshaped(at, x, layer.shape)


@rule(Residual)
def residual(at: Place, layer: Residual, x: str) -> str:
    return at.node("Add", x, at.inner(layer.inner, x, at.known))


@rule(Add)
def add(at: Place, layer: Add, x: str) -> str:
    outputs = [at.part(part, x, at.known) for part in layer.parts]
    return outputs[0] if len(outputs) == 1 else at.node("Add" if len(outputs) == 2 else "Sum", *outputs)


@rule(Concat)
def concat(at: Place, layer: Concat, x: str) -> str:
    return at.node("Concat", *(at.part(part, x, at.known) for part in layer.parts), axis=1)


@rule(TimeDistributed)
def time_distributed(at: Place, layer: TimeDistributed, x: str) -> str:
    inner, (steps, *shape) = layer.inner, at.shape
    if isinstance(inner, Affine) and len(shape) == 1:  # a product of stacks is one of each step
        return at.node("Add", at.node("MatMul", x, at.array("W")), at.array("b"))
    behind = inner.output_shape(tuple(shape))
    if behind is None:
        raise ExportError(f"{at.path}: {inner!r:.100} does not say what shape it makes of a step of shape {(*shape,)}")
    joined = at.node("Reshape", x, at.constant("joined", [-1, *shape], "int64"))
    y = at.inner(inner, joined, tuple(shape))
    return at.node("Reshape", y, at.constant("apart", [-1, steps, *behind], "int64"))


def _reshaped(at: Place, x: str, shape: tuple[int, ...]) -> str:
    """x (N, ...) as (N, *shape); a 0 leaves the length, and so the name, of the batch axis as it is."""
    return at.node("Reshape", x, at.constant("shape", [0, *shape], "int64"))


def _sizes(layer: Any, size: int | tuple[int, int]) -> list[int]:
    """A size along each axis that a window slides along."""
    return [size] if isinstance(layer, Conv1d) and isinstance(size, int) else [*pair(size)]


def _window(layer: Any) -> dict[str, list[int]]:
    """What convolutions and pools say of their windows; ONNX has the padding before and behind."""
    padding = _sizes(layer, layer.padding)
    return {
        "kernel_shape": _sizes(layer, layer.kernel_size),
        "strides": _sizes(layer, layer.stride),
        "pads": [*padding, *padding],
    }
