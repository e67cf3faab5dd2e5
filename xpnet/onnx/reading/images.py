"""What becomes of nodes that look at windows of images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.layers import (
    AvgPool2d,
    Conv1d,
    Conv2d,
    GlobalAvgPool2d,
    MaxPool2d,
)
from xpnet.layers.base import Layer
from xpnet.onnx.reading.folding import axes_of
from xpnet.onnx.reading.graph import Node
from xpnet.onnx.reading.reader import Reader, ordered, reads
from xpnet.onnx.reading.values import Lengths, Step, Value, entries


@reads("Pad")
def pad(read: Reader, node: Node) -> Value:
    value, given, filling = read.value(node), read.constant(node, 1), read.constant(node, 2)
    pads = node.attributes.get("pads") if given is None else [int(n) for n in given.reshape(-1)]
    order = value.order()
    if pads is None or order is None or len(node.inputs) > 3 or len(pads) != 2 * (len(value.seen) + 1):
        raise ValueError("where it pads depends on more than is read")
    number = node.attributes.get("value", 0.0) if filling is None else filling.reshape(-1)[0]
    rank = len(pads) // 2
    around = [(pads[i], pads[rank + i]) for i in range(rank)]
    if not any(pads):
        return value
    if node.attributes.get("mode", "constant") != "constant" or number != 0 or any(around[0]) or min(pads) < 0:
        raise ValueError("it pads with something else than zeros, or along the axis of samples")
    here = [around[order.index(i) + 1] for i in range(rank - 1)]
    if len(here) != 3 or any(here[0]):
        raise ValueError("it pads something else than rows and columns of images")
    (top, bottom), (left, right) = here[1:]
    step = Step(node, kind="pad", pads=(top, left, bottom, right))
    shape = tuple(None if n is None else n + sum(here[i]) for i, n in enumerate(value.shape))
    made = value.then(step, shape)
    return made if value.view is None else made.seen_as(entries(shape).transpose(order))


@reads("Conv")
def convolution(read: Reader, node: Node) -> Value:
    value, W, at = read.value(node), read.weights(node, 1, "weights"), node.attributes
    rank, extra, step = W.ndim - 2, tuple([0] * 4), value.step
    padded = step is not None and step.kind == "pad" and value.view is None and read.alone(node)
    if padded and rank == 2 and step is not None and value.before is not None:
        extra, value = step.pads, replace(value.before, view=None)
    value = ordered(value, node)
    if rank not in (1, 2) or len(value.shape) != rank + 1:
        raise ValueError(
            f"its weights have shape {W.shape}, and samples {value.shape}; images and sequences are convolved"
        )
    kernel = W.shape[2:]
    if tuple(at.get("kernel_shape", kernel)) != kernel:
        raise ValueError(f"its kernel is {at['kernel_shape']}, and its weights have shape {W.shape}")
    groups, strides, dilations = at.get("group", 1), _sizes(at, "strides", rank), _sizes(at, "dilations", rank)
    before, after = _pads(at, value.shape[1:], kernel, strides, dilations)
    before, after = ([n + extra[start + i] for i, n in enumerate(p)] for start, p in ((0, before), (2, after)))
    if before != after:
        W, padding = _even(W, before, after, dilations)
        read.notes.append(
            f"{node.told} pads more on one side; its kernel has rows or columns of zeros for it, which training moves"
        )
    else:
        padding = before
    channels = W.shape[1] * groups
    if value.shape[0] not in (None, channels):
        raise ValueError(f"its weights have shape {W.shape} in {groups} groups, and samples {value.shape}")
    b = read.weights(node, 2, "biases") if len(node.inputs) > 2 and node.inputs[2] else np.zeros(len(W), W.dtype)
    if b.shape != W.shape[:1]:
        raise ValueError(f"its weights have shape {W.shape} and its biases {b.shape}")
    kernel, stride, padding, dilation = (_one(n) for n in (W.shape[2:], strides, padding, dilations))
    kind: Any = Conv1d if rank == 1 else Conv2d
    layer = kind(channels, len(W), kernel, stride, padding, dilation, groups)
    return value.then(Step(node, layer, {"W": W, "b": b}), _shape(layer, value.shape, len(W)))


@reads("MaxPool", "AveragePool")
def pool(read: Reader, node: Node) -> Value:
    value, at = read.ordered(node), node.attributes
    kernel = at.get("kernel_shape", [])
    if len(kernel) != 2 or len(value.shape) != 3:
        raise ValueError(f"its windows are {kernel} and samples {value.shape}, and images (C, H, W) are pooled")
    strides, dilations = _sizes(at, "strides", 2), _sizes(at, "dilations", 2)
    if dilations != [1, 1] or at.get("storage_order", 0):
        raise ValueError("it has a dilation or a storage order")
    before, after = _pads(at, value.shape[1:], kernel, strides, dilations)
    if at.get("ceil_mode", 0):
        rest = [None if n is None else (n + b + a - k) % s
                for n, b, a, k, s in zip(value.shape[1:], before, after, kernel, strides, strict=True)]  # fmt: skip
        if rest != [0, 0]:
            raise ValueError("it rounds up how many windows there are (ceil_mode), and here that is rounded down")
    if before != after:
        raise ValueError(f"it pads by {before} before and {after} behind, and here both are alike")
    if node.op == "AveragePool" and any(before) and not at.get("count_include_pad", 0):
        raise ValueError("it does not count what it pads with (count_include_pad), and here that is counted")
    kind = MaxPool2d if node.op == "MaxPool" else AvgPool2d
    layer = kind(_one(kernel), _one(strides), _one(before))
    return value.then(Step(node, layer), _shape(layer, value.shape, value.shape[0]))


@reads("GlobalAveragePool", "ReduceMean")
def mean(read: Reader, node: Node) -> Value:
    value, given = read.value(node), read.constant(node, 1)
    order, axes = value.order(), axes_of([] if given is None else [given], node.attributes)
    if node.op == "GlobalAveragePool":
        axes = list(range(2, len(value.seen) + 1))
    rank = len(value.seen) + 1
    places = sorted(axis % rank for axis in axes or [])
    if rank != 4 or order is None or 0 in places or sorted(order[i - 1] for i in places) != [1, 2]:
        raise ValueError(
            f"it is over the axes {axes} of samples {value.seen}, and GlobalAvgPool2d is over rows and columns; a "
            "layer normalization is one node from opset 17 on"
        )
    made = value.then(Step(node, GlobalAvgPool2d()), value.shape[:1])
    if node.op == "ReduceMean" and not node.attributes.get("keepdims", 1):
        return made
    kept = [1 if i + 1 in places else -1 for i in range(3)]
    return made.seen_as(entries(made.shape).reshape(kept))


def _sizes(attributes: dict[str, Any], name: str, rank: int) -> list[int]:
    found = [int(n) for n in attributes.get(name, [1] * rank)]
    if len(found) != rank:
        raise ValueError(f"{name} is {found}, expected {rank} numbers")
    return found


def _one(sizes: Any) -> Any:
    """Two sizes as one where they are alike, and one of one."""
    sizes = tuple(int(n) for n in sizes)
    return sizes[0] if len(set(sizes)) == 1 else sizes


def _pads(
    attributes: dict[str, Any], lengths: Lengths, kernel: Any, strides: list[int], dilations: list[int]
) -> tuple[list[int], list[int]]:
    """How much is padded before and behind along each axis."""
    rank, kind = len(kernel), attributes.get("auto_pad", "NOTSET")
    if kind in ("NOTSET", ""):
        pads = [int(n) for n in attributes.get("pads", [0] * 2 * rank)]
        if len(pads) != 2 * rank or min(pads) < 0:
            raise ValueError(f"pads is {pads}, expected {2 * rank} numbers of 0 or more")
        return pads[:rank], pads[rank:]
    if kind == "VALID":
        return [0] * rank, [0] * rank
    if kind not in ("SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"auto_pad is {kind}, which is not read")
    before, after = [], []
    for n, k, s, d in zip(lengths, kernel, strides, dilations, strict=True):
        if n is None and s > 1:
            raise ValueError(f"auto_pad is {kind}, and the size of images is not known; export with images of one size")
        whole = d * (k - 1) + 1
        both = max(0, whole - s if n is None or n % s == 0 else whole - n % s)
        before.append(both // 2 if kind == "SAME_UPPER" else both - both // 2)
        after.append(both - before[-1])
    return before, after


def _even(W: np.ndarray, before: list[int], after: list[int], dilations: list[int]) -> tuple[np.ndarray, list[int]]:
    """Weights with zeros around them, and the padding, alike on both sides, with which they do the same."""
    padding = [max(pair) for pair in zip(before, after, strict=True)]
    around = []
    for p, b, a, d in zip(padding, before, after, dilations, strict=True):
        if (p - b) % d or (p - a) % d:
            raise ValueError(f"it pads by {before} before and {after} behind, and here both are alike")
        around.append(((p - b) // d, (p - a) // d))
    if sum(map(sum, around)) > sum(W.shape[2:]):
        raise ValueError(f"it pads by {before} before and {after} behind, and here both are alike")
    return np.pad(W, [(0, 0), (0, 0), *around]), padding


def _shape(layer: Layer, shape: Lengths, channels: int | None) -> Lengths:
    """The shape of a sample behind a layer, as far as it is known."""
    if None in shape:
        return (channels, *(None,) * (len(shape) - 1))
    return layer.output_shape(tuple(n for n in shape if n is not None)) or ()
