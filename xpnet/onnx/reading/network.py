"""A network of xpnet's layers from the graph of an ONNX file, whoever wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xpnet import losses
from xpnet._typing import Loss
from xpnet.errors import CheckpointError
from xpnet.layers import Add, Chain, Concat, Identity, Rescale, Residual, TimeDistributed
from xpnet.layers.base import Layer
from xpnet.onnx.reading.files import model_in
from xpnet.onnx.reading.folding import FOLDS, fold
from xpnet.onnx.reading.formulas import composed, recognized
from xpnet.onnx.reading.graph import Graph, Node
from xpnet.onnx.reading.reader import RULES, Reader, ordered
from xpnet.onnx.reading.values import Step, Value, entries, way
from xpnet.serialization.network import told

#: As many steps as a formula of one activation may have one after another.
LONGEST = 12
#: How many formulas are looked at before a file is given up: each takes a millisecond.
MOST_TRIES = 2000
#: What stands between the samples and the first node that has an opinion on the order of axes.
NO_OPINION = {"Identity", "Cast", "Add", "Sub", "Mul", "Div", "Dropout"}


@dataclass(frozen=True)
class Found:
    """What a file holds.

    Attributes:
        layers: one after another.
        arrays: those of each layer by its own names, by the layer's id.
        loss: that of the end of the graph.
        dtype: that of the weights, as a network can have it.
        notes: what is other here than in the file.
    """

    layers: list[Layer]
    arrays: dict[int, dict[str, np.ndarray]]
    loss: Loss
    dtype: str
    notes: list[str]


def graph_in(path: Path) -> Graph:
    """The graph in a file.

    Raises:
        OSError: the file cannot be read, or one with arrays beside it.
        CheckpointError: it is no ONNX model, a damaged one, or one of several inputs or outputs.
    """
    try:
        return Graph(model_in(path), path.parent)
    except (ValueError, OverflowError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: {error}") from None


def found_in(graph: Graph, path: Path, loss: Loss | None = None) -> Found:
    """The layers that a graph is.

    Args:
        graph: of a file.
        path: the file, for messages.
        loss: what the network shall be trained with; by default what the end of the graph belongs to.

    Raises:
        OSError: a file beside it cannot be read.
        CheckpointError: something in it has no layer here; the message names it.
    """
    if unknown := [node for node in graph.nodes if node.op not in RULES and node.op not in FOLDS | CONSTANTS]:
        listed = ", ".join(dict.fromkeys(node.told for node in unknown[:20]))
        raise CheckpointError(
            f"{path} has nodes that no layer here computes: {listed}. Known are {', '.join(sorted(RULES))}"
        )
    reader = Reader(graph)
    try:
        reader.values[graph.input.name] = _samples(reader)
        for node in graph.nodes:
            _read(reader, node)
        return _assembled(reader, loss)
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{path}: {error or type(error).__name__}") from None


#: Where a node has its constant, by operator.
CONSTANTS = {"Constant": ("value", "value_float", "value_int", "value_floats", "value_ints")}
FLOAT = np.float32
#: What integers may go into.
TAKING_INTEGERS = {"Cast", "Flatten", "Gather", "Identity", "Reshape", "Shape", "Squeeze", "Transpose", "Unsqueeze"}


def _read(reader: Reader, node: Node) -> None:
    """Compute what a node makes, a constant or a value."""
    try:
        if node.op == "Constant":
            return reader.keep(node, _constant(node))
        arrays = [reader.constant(node, i) for i, name in enumerate(node.inputs) if name]
        if arrays and all(a is not None for a in arrays) and node.op in FOLDS:
            return reader.keep(node, fold(node.op, [a for a in arrays if a is not None], node.attributes))
        if node.op not in RULES:
            raise ValueError("it computes with samples, and only what it makes of constants is read")
        given = [reader.values[name] for name in node.inputs if name in reader.values]
        if node.op not in TAKING_INTEGERS and any(value.integers for value in given):
            raise ValueError("it computes with whole numbers, before they are made others (Cast)")
        return reader.keep(node, RULES[node.op](reader, node))
    except (ValueError, OverflowError, KeyError, TypeError, IndexError, AttributeError) as error:
        said = error if isinstance(error, ValueError) else f"it is not written as it has to be: {error!r:.200}"
        raise ValueError(f"{node.told}: {said}") from None


def _constant(node: Node) -> np.ndarray:
    """The value of a node that is one; numbers are float32 or int64, as ONNX has them."""
    for name in CONSTANTS["Constant"]:
        if (given := node.attributes.get(name)) is not None:
            return given if isinstance(given, np.ndarray) else np.asarray(given, FLOAT if "float" in name else np.int64)
    raise ValueError("its value is no number")


def _samples(reader: Reader) -> Value:
    """The samples: as ONNX has them, or with the axis of channels first where it is put there right away."""
    graph = reader.graph
    given, rank = graph.input, len(graph.input.shape)
    if rank not in (2, 3) or not _starts_with(graph, [0, rank, *range(1, rank)]):
        return Value(given.shape, integers=given.integers)
    shape = (given.shape[-1], *given.shape[:-1])
    theirs, ours = ("(N, H, W, C)", "(N, C, H, W)") if rank == 3 else ("(N, L, C)", "(N, C, L)")
    moved = (0, rank, *range(1, rank))
    reader.notes.append(f"the file takes samples {theirs}, and this network {ours}: xp.permute_dims(x, {moved})")
    return Value(shape, integers=given.integers).seen_as(entries(shape).transpose([*range(1, rank), 0]))


def _starts_with(graph: Graph, order: list[int]) -> bool:
    """Whether the axes of samples are put in this order before anything looks at them."""
    value = graph.input.name
    for node in graph.nodes:
        if value in node.inputs:
            if node.op == "Transpose":
                return list(node.attributes.get("perm", [])) == order
            if node.op not in NO_OPINION or graph.uses[value] > 1:
                return False
            value = node.outputs[0]
    return False


def _assembled(reader: Reader, loss: Loss | None) -> Found:
    """The layers on the way from the input to the output."""
    graph = reader.graph
    if graph.output not in reader.values:
        raise ValueError(f"its output {told(graph.output)} does not depend on samples")
    value = reader.values[graph.output]
    value, loss, ending = _without_end(value, loss)
    value = ordered(value, graph.nodes[-1])
    assembly = _Assembly()
    layers, arrays = assembly.layers(way(value)), assembly.arrays
    if not arrays:
        raise ValueError("it has no weights, so there is nothing to train")
    if graph.input.integers and Chain(*layers).takes == "floating":
        layers.insert(0, Rescale(1.0))  # which takes integers, and makes numbers of them
    dtypes = {str(a.dtype) for each in arrays.values() for a in each.values()}
    dtype = "float64" if "float64" in dtypes else "float32"
    notes = list(reader.notes)
    if ending:
        notes.append(ending)
    if others := sorted(dtypes - {dtype}):
        notes.append(f"weights of {' and '.join(others)} became {dtype}")
    if graph.left_out:
        notes.append(
            f"left out: {', '.join(told(name) for name in graph.left_out[:10])}, which is no output of numbers"
        )
    return Found(layers, arrays, loss, dtype, notes)


def _without_end(value: Value, loss: Loss | None) -> tuple[Value, Loss, str]:
    """The scores that probabilities are made of, their loss, and what was left out for it."""
    step, before = value.step, value.before
    if step is not None and step.kind == "two" and before is not None:
        value, step, before = before, before.step, before.before
    if step is not None and before is not None and value.view is None:
        given = f"{step.node.told} at its end is left to the loss: predict gives scores, "
        if step.node.op in ("Softmax", "LogSoftmax") and isinstance(loss, losses.SoftmaxWithLoss | None):
            return before, loss or losses.SoftmaxWithLoss(), given + "and xpnet.functions.softmax probabilities of them"
        if step.node.op == "Sigmoid" and isinstance(loss, losses.SigmoidWithLoss | None):
            return before, loss or losses.SigmoidWithLoss(), given + "and xpnet.functions.sigmoid probabilities of them"
    default = losses.MeanSquaredError() if value.seen == (1,) else losses.SoftmaxWithLoss()
    return value, default if loss is None else loss, ""


class _Assembly:
    """Layers from steps, and the arrays of each by the layer's id."""

    def __init__(self) -> None:
        self.arrays: dict[int, dict[str, np.ndarray]] = {}
        self.tries = 0

    def layers(self, steps: tuple[Step, ...]) -> list[Layer]:
        """The layers that steps are: activations of several nodes together, others one by one."""
        found, i = list[Layer](), 0
        while i < len(steps):
            number, layer = self._formula(steps[i : i + LONGEST])
            if layer is None:
                number, layer = 1, self._layer(steps[i])
            found += [] if isinstance(layer, Identity) else [layer]
            i += number
        return found

    def _formula(self, steps: tuple[Step, ...]) -> tuple[int, Layer | None]:
        """How many of these steps are one activation, and which."""
        count = next((i for i, step in enumerate(steps) if step.function is None), len(steps))
        for length in range(count, 0, -1):
            part = steps[:length]
            if any(step.layer is None for step in part):
                self.tries += 1
                if self.tries > MOST_TRIES:
                    raise ValueError("it has too many formulas of nodes that may be activations")
                layer = recognized(composed(part))
                if layer is not None:
                    return length, layer
        return 0, None

    def _layer(self, step: Step) -> Layer:
        """The layer that a step is by itself."""
        layer = step.layer
        if step.kind in ("sum", "concat"):
            inside = [self.layers(branch) for branch in step.branches]
            empty = [i for i, branch in enumerate(inside) if not branch]
            if step.kind == "sum" and len(inside) == 2 and len(empty) == 1:
                return Residual(_chained(inside[1 - empty[0]]))
            return (Add if step.kind == "sum" else Concat)(*(_chained(branch) for branch in inside))
        if layer is None:
            what = "activation" if step.function is not None else "layer"
            raise ValueError(f"{step.node.told}: with the nodes around it it is no {what} that is known here")
        if step.arrays:
            owner = layer.inner if isinstance(layer, TimeDistributed) else layer
            if id(owner) in self.arrays:
                raise ValueError(f"{step.node.told}: its weights would stand in two places, and layers share none")
            self.arrays[id(owner)] = step.arrays
        return layer


def _chained(layers: list[Layer]) -> Layer:
    """Layers as one."""
    if len(layers) == 1:
        return layers[0]
    return Chain(*layers) if layers else Identity()
