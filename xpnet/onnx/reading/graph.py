"""The graph of a model as it is read: nodes in their order, one input, one output, each name once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, defs, helper

from xpnet.onnx.reading.files import array_of, text
from xpnet.serialization.config import shortened
from xpnet.serialization.network import told

#: The oldest version of operators that is read: later ones differ in what is written below, and not in what they mean.
OLDEST = 7
MOST_NODES = 10_000
FLOATING = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
INTEGERS = (TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8, TensorProto.INT8)
#: What leaves labels or lists of probabilities by name behind a classifier of scikit-learn.
LABELS = ("ai.onnx.ml.ZipMap",)


@dataclass(frozen=True)
class Node:
    """What one is, with all its attributes.

    Attributes:
        op: its operator, with the domain where that is not ONNX's own.
        name: its name, or its number.
        inputs, outputs: the names of values; an input that is left out is empty.
        attributes: by name; arrays as arrays.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    @property
    def told(self) -> str:
        return f"{told(self.name)} ({told(self.op)})"


@dataclass(frozen=True)
class Input:
    """What samples are: the lengths of their axes as far as they are known, and whether they are integers."""

    name: str
    samples: int | None
    shape: tuple[int | None, ...]
    integers: bool


class Graph:
    """All that is needed for the output of a model.

    Attributes:
        nodes: those that the output depends on, in their order.
        input, output: what samples are, and the name of what comes of them.
        uses: how often each value is read.
        left_out: the names of other outputs.
        opset: the version of the operators.

    Raises:
        ValueError: it has several inputs or outputs, something is there twice or not at all, or too much.
    """

    def __init__(self, model: ModelProto, folder: Path) -> None:
        self.model, self.folder, graph = model, folder, model.graph
        self.opset = _opset(model)
        self._tensors = {text(tensor.name): tensor for tensor in graph.initializer}
        if graph.sparse_initializer:
            raise ValueError("it has sparse arrays, which are not read")
        if len(self._tensors) < len(graph.initializer):
            raise ValueError("it has two arrays of one name")
        if len(graph.node) > MOST_NODES:
            raise ValueError(f"it has {len(graph.node)} nodes, and at most {MOST_NODES} are read")
        nodes = [_node(node, i, folder) for i, node in enumerate(graph.node)]
        _check_order(nodes, {*self._tensors, *(text(value.name) for value in graph.input)})
        self.output, self.left_out = _output(graph.output, nodes)
        self.nodes = _needed(nodes, self.output)
        self.uses = Counter(name for node in self.nodes for name in node.inputs) + Counter([self.output])
        self.input = _input([value for value in graph.input if text(value.name) not in self._tensors], self.uses)
        self.metadata = {text(entry.key): text(entry.value) for entry in model.metadata_props}

    def array(self, name: str) -> np.ndarray:
        """The array that is in the file under this name; see :func:`array_of`."""
        return array_of(self._tensors[name], self.folder)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Those of the arrays in the file."""
        return {name: tuple(tensor.dims) for name, tensor in self._tensors.items()}


def _opset(model: ModelProto) -> int:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    found, latest = versions.get("", versions.get("ai.onnx", 0)), defs.onnx_opset_version()
    if not OLDEST <= found <= latest:
        raise ValueError(f"its operators are of version {found}, and those from {OLDEST} to {latest} are read")
    return int(found)


def _node(node: NodeProto, number: int, folder: Path) -> Node:
    domain = "" if node.domain in ("", "ai.onnx") else f"{text(node.domain)}."
    op, name = domain + text(node.op_type), text(node.name) or f"number {number}"
    try:
        attributes = {text(attribute.name): _value(attribute, folder) for attribute in node.attribute}
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{told(name)} ({told(op)}): {error}") from None
    return Node(op, name, tuple(map(text, node.input)), tuple(map(text, node.output)), attributes)


def _value(attribute: AttributeProto, folder: Path) -> Any:
    """The value of an attribute; None for graphs and what else no operator has that is read."""
    if attribute.type == AttributeProto.TENSOR:
        return array_of(attribute.t, folder)
    if attribute.type == AttributeProto.STRING:
        return attribute.s.decode("utf-8", "replace")
    kinds = (AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.FLOATS, AttributeProto.INTS)
    value: Any = helper.get_attribute_value(attribute) if attribute.type in kinds else None
    return [*value] if attribute.type in (AttributeProto.FLOATS, AttributeProto.INTS) else value


def _check_order(nodes: list[Node], known: set[str]) -> None:
    """Raise ``ValueError`` unless each value is made once, and before it is read: then there is no circle."""
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise ValueError(f"{node.told} reads {told(name)}, which nothing before it makes")
        for name in filter(None, node.outputs):
            if name in known:
                raise ValueError(f"{node.told} makes {told(name)}, which is there already")
            known.add(name)


def _output(outputs: Any, nodes: list[Node]) -> tuple[str, list[str]]:
    """The name of the output, and those of others that are labels, which follow from the scores."""
    made = {name: node for node in nodes for name in node.outputs}
    found, left = list[str](), list[str]()
    for value in outputs:
        name = text(value.name)
        node = made.get(name)
        if node is not None and node.op in LABELS:
            found.append(node.inputs[0])
        elif len(outputs) > 1 and value.type.tensor_type.elem_type not in FLOATING:
            left.append(name)
        else:
            found.append(name)
    if len(found) != 1:
        names = ", ".join(told(name) for name in found[:10])
        raise ValueError(f"it has {len(found)} outputs of numbers ({names}), and a network here has one")
    if found[0] not in made:
        raise ValueError(f"no node makes its output {told(found[0])}")
    return found[0], left


def _needed(nodes: list[Node], output: str) -> list[Node]:
    wanted, found = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            wanted.update(filter(None, node.inputs))
            found.append(node)
    return found[::-1]


def _input(values: list[ValueInfoProto], uses: Counter[str]) -> Input:
    used = [value for value in values if uses[text(value.name)]]
    if len(used) != 1:
        names = ", ".join(told(text(value.name)) for value in used[:10])
        raise ValueError(f"it has {len(used)} inputs ({names}), and a network here has one")
    (value,), name = used, text(used[0].name)
    kind = value.type.tensor_type
    if kind.elem_type not in (*FLOATING, *INTEGERS):
        raise ValueError(f"its input {told(name)} is no tensor of numbers")
    if not kind.HasField("shape") or len(kind.shape.dim) < 1:
        raise ValueError(f"the shape of its input {told(name)} is not known, nor how many axes it has")
    lengths = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    lengths = [None if n in (0, -1) else n for n in lengths]  # as some writers say that it is not known
    if any(n is not None and not 0 < n < 2**31 for n in lengths):
        raise ValueError(f"its input {told(name)} has the shape {shortened(lengths)}")
    return Input(name, lengths[0], tuple(lengths[1:]), kind.elem_type in INTEGERS)
