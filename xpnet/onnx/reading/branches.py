"""What becomes of nodes at which branches meet."""

from __future__ import annotations

import numpy as np

from xpnet.onnx.reading.graph import Node
from xpnet.onnx.reading.reader import Reader, reads
from xpnet.onnx.reading.values import Step, Value, entries, together


@reads("Sum")
def total(read: Reader, node: Node) -> Value:
    values = [read.value(node, i) for i in range(len(node.inputs))]
    if len(values) == 1:
        return values[0]
    start, step = together(node, "sum", values, read.most_steps)
    return start.then(step, values[0].shape, values[0].view)


@reads("Concat")
def concat(read: Reader, node: Node) -> Value:
    values = [read.value(node, i) for i in range(len(node.inputs))]
    if len(values) == 1:
        return values[0]
    if (binary := _probabilities_of_two(node, values)) is not None:
        return binary
    rank = len(values[0].seen) + 1
    axis, orders = node.attributes["axis"] % rank, {value.order() for value in values}
    if len({(len(value.shape), value.shape[1:]) for value in values}) > 1:
        raise ValueError(f"it puts samples of the shapes {', '.join(str(value.seen) for value in values)} together")
    if len(orders) > 1 or axis == 0 or None in orders:
        raise ValueError("it puts samples together whose axes are in different orders, or along the axis of samples")
    order = orders.pop()
    assert order is not None
    if order[axis - 1] != 0:
        raise ValueError(f"it puts samples together along axis {axis}, and Concat does along channels or features")
    start, step = together(node, "concat", values, read.most_steps)
    lengths = [value.shape[0] for value in values]
    known = None if None in lengths else sum(n for n in lengths if n is not None)
    shape = (known, *values[0].shape[1:])
    made = start.then(step, shape)
    return made if order == tuple(range(len(shape))) else made.seen_as(entries(shape).transpose(order))


def _probabilities_of_two(node: Node, values: list[Value]) -> Value | None:
    """The value behind a node that puts 1 - p beside p, as classifiers of two classes have it at their end."""
    if node.attributes.get("axis") not in (1, -1) or len(values) != 2 or values[1].seen != (1,):
        return None
    step, last, before = values[0].step, values[1].step, values[0].before
    if step is None or last is None or before is None or before.step is not last or last.node.op != "Sigmoid":
        return None
    if step.function is None or not np.allclose(step.function(np.asarray([0.0, 0.25])), [1.0, 0.75]):
        return None
    return values[1].then(Step(node, kind="two"), (2,))
