"""What becomes of nodes that have weights, but for convolutions."""

from __future__ import annotations

import numpy as np

from xpnet.layers import (
    Affine,
    BatchNorm,
    Embedding,
    LayerNorm,
    TimeDistributed,
)
from xpnet.onnx.reading.formulas import plain
from xpnet.onnx.reading.graph import Node
from xpnet.onnx.reading.reader import Reader, in_rows, ordered, reads
from xpnet.onnx.reading.values import Step, Value, put_in_order, same

#: Arrays of statistics and factors, in the order in which a BatchNormalization reads them.
STATISTICS = ("gamma", "beta", "mean", "var")


@reads("Gemm")
def gemm(read: Reader, node: Node) -> Value:
    at = node.attributes
    if at.get("transA", 0):
        raise ValueError("transA is set, so that it multiplies across samples")
    W = read.weights(node, 1, "weights")
    if W.ndim != 2:
        raise ValueError(f"its weights have shape {W.shape}, expected two axes")
    W = W.T if at.get("transB", 0) else W
    if (alpha := at.get("alpha", 1.0)) != 1:
        W = W * W.dtype.type(alpha)
    value = _affine(read, node, W)
    if len(node.inputs) < 3 or not node.inputs[2]:
        return value
    b = read.weights(node, 2, "biases")
    b = b if (beta := at.get("beta", 1.0)) == 1 else b * b.dtype.type(beta)
    return _with_bias(value, put_in_order(value, b))


@reads("MatMul")
def matmul(read: Reader, node: Node) -> Value:
    value, W = read.value(node), read.weights(node, 1, "weights")
    if W.ndim != 2:
        raise ValueError(f"its weights have shape {W.shape}, expected two axes")
    if len(value.seen) == 1:
        return _affine(read, node, W)
    if len(value.seen) != 2:
        raise ValueError(f"it multiplies samples of shape {value.seen}, expected rows, or sequences of rows")
    value = ordered(value, node)
    layer = TimeDistributed(Affine(*W.shape))
    step = Step(node, layer, {"W": W, "b": np.zeros(W.shape[1], W.dtype)})
    return value.then(step, (value.shape[0], W.shape[1]))


def _affine(read: Reader, node: Node, W: np.ndarray) -> Value:
    """Rows times a matrix, whose rows are put in the order of the entries here, and take in how these are scaled."""
    value = read.value(node)
    if len(value.seen) != 1 or value.seen[0] not in (None, W.shape[0]):
        raise ValueError(f"its weights have shape {W.shape}, and samples {value.seen}")
    if value.view is not None:
        moved = np.empty_like(W)
        moved[value.view] = W
        W = moved
    b, step = np.zeros(W.shape[1], W.dtype), value.step
    if step is not None and step.kind == "scaled" and value.before is not None and read.alone(node):
        scale, shift = (np.broadcast_to(step.arrays[name], W.shape[:1]).astype(W.dtype) for name in ("scale", "shift"))
        W, b, value = scale[:, None] * W, shift @ W, value.before
    return value.then(Step(node, Affine(*W.shape), {"W": W, "b": b}), (W.shape[1],))


def _with_bias(value: Value, b: np.ndarray) -> Value:
    step, before = value.step, value.before
    assert step is not None
    assert before is not None
    arrays = {"W": step.arrays["W"], "b": (step.arrays["b"] + b).astype(step.arrays["b"].dtype)}
    return before.then(Step(step.node, step.layer, arrays), value.shape, value.view)


@reads("Gather")
def gather(read: Reader, node: Node) -> Value:
    table, value = read.constant(node, 0), read.value(node, 1)
    if table is None or table.ndim != 2 or node.attributes.get("axis", 0) != 0 or not value.integers:
        raise ValueError("it takes entries of samples; only rows of a table by integers are an Embedding")
    W = read.weights(node, 0, "the table")
    value = ordered(value, node)
    return value.then(Step(node, Embedding(*W.shape), {"W": W}), (*value.shape, W.shape[1]))


@reads("BatchNormalization")
def batch_normalization(read: Reader, node: Node) -> Value:
    at, value = node.attributes, read.value(node)
    if at.get("training_mode", 0):
        raise ValueError("it is in training mode; export the network as it predicts: model.eval() in PyTorch")
    found = [read.weights(node, i + 1, name) for i, name in enumerate(STATISTICS)]
    if len({a.shape for a in found}) > 1 or found[0].ndim != 1:
        raise ValueError(f"its arrays have the shapes {', '.join(str(a.shape) for a in found)}, expected one length")
    (n,) = found[0].shape
    if len(value.seen) == 1:
        value = in_rows(value, node)
        found = [put_in_order(value, a).reshape(-1) for a in found]
    else:
        value = ordered(value, node)
    if not value.seen or value.seen[0] not in (None, n):
        raise ValueError(f"its arrays have {n} numbers, and samples the shape {value.seen}")
    if (found[3] < 0).any():
        raise ValueError("it has negative variances")
    layer = BatchNorm(n, plain(1 - plain(at.get("momentum", 0.9))), plain(at.get("epsilon", 1e-5)))
    return same(value, Step(node, layer, dict(zip(STATISTICS, found, strict=True))))


@reads("LayerNormalization")
def layer_normalization(read: Reader, node: Node) -> Value:
    value, gamma = read.ordered(node), read.weights(node, 1, "scale")
    given = len(node.inputs) > 2 and node.inputs[2]
    beta = read.weights(node, 2, "biases") if given else np.zeros_like(gamma)
    rank = len(value.shape) + 1
    axis = node.attributes.get("axis", -1) % rank
    last = value.shape[axis - 1 :] if axis else ()
    if not last or None in last or gamma.shape != last or beta.shape != last:
        raise ValueError(f"it normalizes over the axes from {axis} on of samples {value.shape}, by {gamma.shape}")
    shape = gamma.shape if len(gamma.shape) > 1 else gamma.shape[0]
    layer = LayerNorm(shape, plain(node.attributes.get("epsilon", 1e-5)))
    return value.then(Step(node, layer, {"gamma": gamma, "beta": beta}), value.shape)
