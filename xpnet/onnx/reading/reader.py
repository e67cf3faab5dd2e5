"""Values and constants by name while a graph is read, and the rule of each operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.layers import (
    Flatten,
    Reshape,
)
from xpnet.onnx.reading.graph import Graph, Node
from xpnet.onnx.reading.values import Step, Value, in_order
from xpnet.serialization.network import told

#: How many numbers may be computed, however few the file has, and more for each that it has.
ROOM, ROOM_FOR_EACH = 2**26, 16


class Reader:
    """Values and constants by name, as far as the graph has been read.

    Attributes:
        graph: what is read.
        values: values by name.
        constants: arrays by name.
        notes: what is other here than in the file.
        room: how many numbers may still be computed: more the more the file has.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.room = graph, ROOM
        self.values: dict[str, Value] = {}
        self.constants: dict[str, np.ndarray] = {}
        self.notes: list[str] = []

    def constant(self, node: Node, i: int) -> np.ndarray | None:
        """The array that is an input of a node; None where there is no such input or a value."""
        name = node.inputs[i] if i < len(node.inputs) else ""
        if name not in self.constants and name not in self.values and name:
            if name not in self.graph.shapes:
                raise ValueError(f"it reads {told(name)}, which is another output of a node than its first")
            self.constants[name] = self.graph.array(name)
            self.room += ROOM_FOR_EACH * self.constants[name].size
        return self.constants.get(name)

    def weights(self, node: Node, i: int, what: str) -> np.ndarray:
        """The array that an input of a node has to be.

        Raises:
            ValueError: it is no array of numbers, or has some that are NaN or infinite.
        """
        found = self.constant(node, i)
        if found is None:
            raise ValueError(
                f"its input {i + 1}, {what}, is no array in the file but computed from samples, or missing"
            )
        if not np.issubdtype(found.dtype, np.floating):
            raise ValueError(f"its input {i + 1}, {what}, is of dtype {found.dtype}")
        if not np.isfinite(found).all():
            bad = found.size - np.count_nonzero(np.isfinite(found))
            raise ValueError(f"its input {i + 1}, {what}, has {bad} of {found.size} numbers that are NaN or infinite")
        return found

    def value(self, node: Node, i: int = 0) -> Value:
        """The value that an input of a node has to be."""
        name = node.inputs[i] if i < len(node.inputs) else ""
        if name not in self.values:
            raise ValueError(f"its input {i + 1}, {told(name)}, does not depend on samples, as it has to here")
        return self.values[name]

    def keep(self, node: Node, made: Value | np.ndarray) -> None:
        """Take what a node makes under the name of its first output.

        Raises:
            ValueError: it has no such output, or all that was computed is more than a file of this size needs.
        """
        if not node.outputs[0]:
            raise ValueError("its first output has no name, and others are not read")
        kept: dict[str, Any] = self.values if isinstance(made, Value) else self.constants
        kept[node.outputs[0]] = made
        view = made.view if isinstance(made, Value) else made
        self.room -= 0 if view is None else view.size
        if self.room < 0:
            raise ValueError("samples or constants are too large to be moved so often")

    def alone(self, node: Node, i: int = 0) -> bool:
        """Whether no other node reads this input."""
        return self.graph.uses[node.inputs[i]] == 1

    @property
    def most_steps(self) -> int:
        """More steps than nodes can become, unless some are there twice."""
        return 2 * len(self.graph.nodes) + 2

    def ordered(self, node: Node, i: int = 0) -> Value:
        """The value that an input of a node has to be, of the shape that ONNX sees here as well."""
        return ordered(self.value(node, i), node)


def ordered(value: Value, node: Node) -> Value:
    """A value of the shape that ONNX sees: reshaped where it is another."""
    if value.view is None:
        return value
    if not in_order(value):
        raise ValueError(
            "the axes of its input are in another order than here, (N, H, W, C) for example, and only a product of "
            "matrices, an activation or a mean can follow on that"
        )
    seen = value.view.shape
    return value.then(Step(node, Flatten() if len(seen) == 1 else Reshape(seen)), seen)


def in_rows(value: Value, node: Node) -> Value:
    """A value that ONNX sees as rows, as rows here as well; its entries may be in another order."""
    if len(value.shape) == 1 or value.view is None:
        return value
    return value.then(Step(node, Flatten()), (value.view.size,)).seen_as(value.view)


#: What a node makes: a value, or a constant where it asks for a shape.
Rule = Callable[[Reader, Node], Value | np.ndarray]

RULES: dict[str, Rule] = {}


def reads(*ops: str) -> Callable[[Rule], Rule]:
    """Decorates what reads nodes of these operators."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, rule))
        return rule

    return register
