"""Whether a file is what xpnet writes: then its description says all, dropout and names among it."""

from __future__ import annotations

from typing import Any

from xpnet.onnx.model import model_of
from xpnet.onnx.planning import planned
from xpnet.onnx.reading.graph import Graph


def is_written_here(graph: Graph, net: Any, options: dict[str, Any]) -> bool:
    """Whether a network is written as exactly the nodes, constants, inputs and outputs of a graph.

    Args:
        graph: of a file.
        net: the network that the file describes, with its arrays.
        options: those of the export, as the file has them.
    """
    try:
        written = model_of(planned(net, **options, classes=None, metadata=None)).graph
    except (TypeError, ValueError, ImportError):
        return False
    read, arrays = graph.model.graph, {*net.params, *net.buffers}

    def constants(of: Any) -> list[Any]:
        return sorted(t.SerializeToString() for t in of.initializer if t.name not in arrays)

    same = written.node == read.node and written.input == read.input and written.output == read.output
    return same and constants(written) == constants(read)
