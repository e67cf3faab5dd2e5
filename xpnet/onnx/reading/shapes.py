"""What becomes of nodes that give samples another shape, or their axes another order."""

from __future__ import annotations

import numpy as np

from xpnet.layers import (
    Flatten,
)
from xpnet.onnx.reading.folding import SAMPLES, axes_of, new_shape, with_axes, without_axes
from xpnet.onnx.reading.graph import Node
from xpnet.onnx.reading.reader import Reader, reads
from xpnet.onnx.reading.values import Step, Value
from xpnet.serialization.config import shortened

#: The length of an axis that is not known, in shapes: like SAMPLES a prime that no length has.
UNKNOWN = 1_000_033


@reads("Shape")
def shape_of(read: Reader, node: Node) -> np.ndarray:
    value = read.value(node)
    whole = [read.graph.input.samples or SAMPLES, *(n or UNKNOWN for n in value.seen)]
    return np.asarray(whole[slice(node.attributes.get("start"), node.attributes.get("end"))], np.int64)


@reads("Transpose")
def transpose(read: Reader, node: Node) -> Value:
    value = read.value(node)
    rank = len(value.seen) + 1
    order = node.attributes.get("perm", list(range(rank))[::-1])
    if sorted(order) != list(range(rank)) or order[0] != 0:
        raise ValueError(f"it puts the axes in the order {order[:8]}, and the first of {rank} is that of samples")
    return value if order == sorted(order) else value.seen_as(value.entries().transpose([n - 1 for n in order[1:]]))


@reads("Flatten")
def flatten(read: Reader, node: Node) -> Value:
    value, axis = read.value(node), node.attributes.get("axis", 1)
    if axis % (len(value.seen) + 1) != 1 % (len(value.seen) + 1):
        raise ValueError(f"it joins the axes before axis {axis}, which are more than that of samples")
    if len(value.seen) == 1:
        return value
    if None in value.seen:  # what follows says how many entries there are
        return value.then(Step(node, Flatten()), (None,))
    return value.seen_as(value.entries().reshape(-1))


@reads("Reshape")
def reshape(read: Reader, node: Node) -> Value:
    value, given = read.value(node), read.constant(node, 1)
    wanted = node.attributes.get("shape") if given is None else [int(n) for n in given.reshape(-1)]
    if wanted is None:
        raise ValueError("its shape depends on more than the number of samples")
    samples = read.graph.input.samples or SAMPLES
    if None in value.seen and len(wanted) == 2 and wanted[0] in (0, -1, samples):  # rows, of how many is not known
        return value if len(value.seen) == 1 else value.then(Step(node, Flatten()), (None,))
    found = new_shape((samples, *value.entries().shape), wanted, bool(node.attributes.get("allowzero", 0)))
    if not found or found[0] != samples:
        raise ValueError(
            f"its shape is {shortened(tuple(wanted))}: the first axis is that of samples, which are of any number, and "
            "are not to be joined or split"
        )
    return value.seen_as(value.entries().reshape(found[1:]))


@reads("Squeeze", "Unsqueeze")
def squeeze(read: Reader, node: Node) -> Value:
    value, given = read.value(node), read.constant(node, 1)
    axes = axes_of([] if given is None else [given], node.attributes)
    samples = read.graph.input.samples or SAMPLES
    shape = (samples, *value.entries().shape)
    if axes is None:
        if samples == 1 or node.op == "Unsqueeze":
            raise ValueError("it does not say which axes")
        found = without_axes(shape, None)
    else:
        found = without_axes(shape, axes) if node.op == "Squeeze" else with_axes(shape, axes)
    if not found or found[0] != samples:
        raise ValueError("it moves the axis of samples")
    return value.seen_as(value.entries().reshape(found[1:]))
