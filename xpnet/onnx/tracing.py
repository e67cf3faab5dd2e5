"""A layer without a rule: what it computes is recorded by ndonnx, a namespace whose arrays become nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from onnx import GraphProto, ModelProto, NodeProto

from xpnet.layers.base import Layer
from xpnet.onnx.writer import BATCH, ExportError, Place


def traced(at: Place, layer: Layer, x: str) -> str:
    """Write what ``layer.predict`` does with arrays of ndonnx, and return the output.

    Raises:
        ExportError: ndonnx is not there, or the layer does something that it cannot record.
    """
    kind = type(layer).__name__
    todo = f"write a rule for it: @xpnet.onnx.rule({kind}), as help(xpnet.onnx) shows"
    try:
        import ndonnx
    except ImportError:
        raise ExportError(f"{at.path}: {kind} has no rule; {todo}, or pip install ndonnx to have it traced") from None
    try:
        model, y = _recorded(ndonnx, at, layer, x)
    except ExportError:
        raise
    except Exception as error:  # whatever a layer of somebody's own and ndonnx do not get along with
        raise ExportError(f"{at.path}: {kind} has no rule, and tracing it fails: {error!s:.300}; {todo}") from error
    at.graph.opset = max(at.graph.opset, *(each.version for each in model.opset_import if not each.domain))
    at.graph.nodes += _within(model.graph, at.path, y)
    return y


def _recorded(ndonnx: Any, at: Place, layer: Layer, x: str) -> tuple[ModelProto, str]:
    """A model of the layer alone, whose inputs have the names that they have in the file; and that of its output."""
    dtype = getattr(ndonnx, at.graph.dtype)
    given = {x: ndonnx.argument(shape=(BATCH, *at.shape), dtype=ndonnx.int64 if layer.takes == "integers" else dtype)}
    params = {}
    for local in at.outside:
        name = at.array(local)
        shape = tuple(at.graph.initializers[name].dims)
        given[name] = params[local] = ndonnx.argument(shape=shape, dtype=dtype)
    y = layer.predict(params, given[x])
    name = at.graph.unused(at.path)
    return ndonnx.build(given, {name: y}), name


def _within(graph: GraphProto, path: str, y: str) -> list[NodeProto]:
    """The nodes of a model of its own, with names that no other layer has but for its inputs and its output."""
    names = {"": "", y: y} | {value.name: value.name for value in graph.input}
    nodes = [*graph.node]
    if nodes[-1].op_type == "Identity" and [*nodes[-1].output] == [y] and nodes[-1].input[0] not in names:
        names[nodes.pop().input[0]] = y  # what it passes on can have the name itself
    _rename(nodes, lambda name: names.get(name, f"{path}.{name}"))
    return nodes


def _rename(nodes: Iterable[NodeProto], renamed: Callable[[str], str]) -> None:
    for node in nodes:
        node.name = renamed(node.name)
        node.input[:], node.output[:] = map(renamed, node.input), map(renamed, node.output)
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                for value in (*inner.input, *inner.output, *inner.initializer, *inner.value_info):
                    value.name = renamed(value.name)
                _rename(inner.node, renamed)
