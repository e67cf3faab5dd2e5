"""The graph of a file as it is written, and a layer's place in it, which is what a rule is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from xpnet.layers.base import Layer, Shape
from xpnet.layers.chain import Part, Several

#: The operators' version: the first with Gelu, which runtimes of early 2024 know.
OPSET = 20
#: The axis of samples in shapes.
BATCH = "N"


class ExportError(ValueError):
    """A network cannot be written as ONNX, or what was written does not agree with it; the message says why."""


class Graph:
    """Nodes and arrays of a file as they are written; each value has the name of the node that it comes from.

    Attributes:
        arrays: the network's parameters and buffers, by name.
        dtype: of the numbers in it, ``"float32"`` for example.
        nodes: in the order in which they are computed.
        initializers: the arrays that nodes read, by name.
        opset: the version of the operators; what is traced may need a later one.
        otherwise: the rule of layers that have none.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], dtype: str, taken: Iterable[str], otherwise: Rule) -> None:
        self.dtype, self.opset, self.otherwise = dtype, OPSET, otherwise
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.arrays = arrays
        self._taken = {*taken, *arrays}

    def node(self, op: str, inputs: Iterable[str], name: str, attributes: Mapping[str, Any]) -> str:
        """Append a node of one output; returns the name of both, which is this one or like it."""
        name = self.unused(name)
        self.nodes.append(helper.make_node(op, [*inputs], [name], name=name, **attributes))
        return name

    def array(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        """A parameter or buffer of the network by its name, perhaps as another shape."""
        if name not in self.initializers:
            a = self.arrays[name]
            self.initializers[name] = numpy_helper.from_array(a if shape is None else a.reshape(shape), name)
        return name

    def constant(self, name: str, value: Any, dtype: str) -> str:
        """An array that is no parameter; returns its name, which is this one or like it."""
        name = self.unused(name)
        with np.errstate(over="ignore"):
            a = np.asarray(value, dtype)
        if not np.isfinite(a).all():
            finite = np.isfinite(value).all()
            why = f"which is infinite in {dtype}; write a file of dtype='float32'" if finite else "which is no number"
            raise ExportError(f"{name} is {value}, {why}")
        self.initializers[name] = numpy_helper.from_array(a, name)
        return name

    def unused(self, name: str) -> str:
        """Return this name, or one like it that nothing has; from now on it is taken."""
        found, number = name, 1
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found

    def rename(self, value: str, name: str, first: int = 0) -> None:
        """Give a value another name, wherever it stands from node number ``first`` on."""
        self._taken.add(name)
        for node in self.nodes[first:]:
            for names in (node.input, node.output):
                for i, each in enumerate(names):
                    if each == value:
                        names[i] = name


@dataclass(frozen=True)
class Place:
    """Where a layer stands: what a rule makes its nodes with.

    Attributes:
        graph: all that is written.
        path: the layer's name, with those of the containers that it is in: ``Residual1.Affine2``.
        known: the shape of one sample of the layer's input; None where no layer before says it.
        outside: the name in the file of each of the layer's arrays.
        made: the values of the nodes that were made here.
    """

    graph: Graph
    path: str
    known: Shape
    outside: Mapping[str, str]
    made: set[str] = field(default_factory=set, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample of the input, without the batch axis.

        Raises:
            ExportError: it is not known.
        """
        if self.known is None:
            raise ExportError(
                f"{self.path}: the shape of its input is not known, as a layer before it does not say what it makes "
                "of a sample; give that layer a method output_shape(shape)"
            )
        return self.known

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output, and return the name of its value.

        Args:
            op: an operator of ONNX: ``"Mul"``. https://onnx.ai/onnx/operators/ has them.
            inputs: names of values, such as :meth:`array` and other nodes give.
            attributes: the operator's.
        """
        name = self.graph.node(op, inputs, f"{self.path}.{op}", attributes)
        self.made.add(name)
        return name

    def array(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        """Write a parameter or buffer, ``"W"``, perhaps in another shape, and return its name in the file."""
        if name not in self.outside:
            raise ExportError(f"{self.path} has no array {name!r}; it has {', '.join(self.outside) or 'none'}")
        return self.graph.array(self.outside[name], shape)

    def constant(self, name: str, value: Any, dtype: str | None = None) -> str:
        """Write numbers that are no parameters, and return their name; by default in the file's dtype."""
        return self.graph.constant(f"{self.path}.{name}", value, dtype or self.graph.dtype)

    def part(self, part: Part, x: str, shape: Shape) -> str:
        """Write a layer of a container that names its layers, as chains do, and return its output."""
        path = f"{self.path}.{part.name}" if self.path else part.name
        outside = {local: self.outside[name] for local, name in part.outside.items()}
        return write(Place(self.graph, path, shape, outside), part.layer, x)

    def inner(self, layer: Layer, x: str, shape: Shape) -> str:
        """Write the layer of a container of one, which hands on the names of its arrays, and return its output."""
        path = self.path if isinstance(layer, Several) else f"{self.path}.{layer.label}"
        return write(Place(self.graph, path, shape, self.outside), layer, x)


#: Writes the nodes of a layer: ``rule(place, layer, x)`` gets the name of the input and returns that of the output.
Rule = Callable[[Place, Any, str], str]
#: The rule of each kind of layer. That of a subclass may be another, so it is looked up by the class itself.
RULES: dict[type[Layer], Rule] = {}
Written = TypeVar("Written", bound=Rule)


def rule(*kinds: type[Layer]) -> Callable[[Written], Written]:
    """Decorates the function that writes layers of these classes; see :mod:`xpnet.onnx`."""

    def register(function: Written) -> Written:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


def write(place: Place, layer: Layer, x: str) -> str:
    """Write a layer by its rule, and return its output: its last node has the layer's name."""
    graph, first = place.graph, len(place.graph.nodes)
    y = RULES.get(type(layer), graph.otherwise)(place, layer, x)
    if not isinstance(y, str):
        raise ExportError(f"{place.path}: its rule returned {y!r:.100}, expected the name of a value")
    if y not in place.made:
        return y
    name = graph.unused(place.path)
    next(node for node in graph.nodes[first:] if y in node.output).name = name
    graph.rename(y, name, first)
    return name
