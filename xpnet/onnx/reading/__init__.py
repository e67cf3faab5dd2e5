"""ONNX files as networks: whoever wrote them, as far as their nodes are layers here."""

from xpnet.onnx.reading import branches, images, numbers, shapes, weights  # noqa: F401  (they register their rules)
from xpnet.onnx.reading.graph import Graph
from xpnet.onnx.reading.network import Found, found_in, graph_in
from xpnet.onnx.reading.own import is_written_here

__all__ = ["Found", "Graph", "found_in", "graph_in", "is_written_here"]
