"""A plan as a model of ONNX: the layers' nodes, and what is before and behind them."""

from __future__ import annotations

import sys
from itertools import zip_longest

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, shape_inference

from xpnet.onnx.planning import Plan
from xpnet.onnx.tracing import traced
from xpnet.onnx.writer import BATCH, ExportError, Graph, Place, write

#: The dtypes of inputs and outputs as ONNX numbers them.
KINDS = {
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
}
#: Bytes that a message of protobuf may have.
MOST_BYTES = 2**31 - 1


def model_of(plan: Plan) -> ModelProto:
    """The model, once onnx's own checker has seen it.

    Raises:
        ExportError: weights that are not finite, a layer that cannot be written, or more than a file can hold.
    """
    arrays, (x, y) = _arrays(plan), plan.names
    graph, *others = (_graph(plan, arrays, shape) for shape in plan.shapes)
    for other in others:
        _check_alike(graph, other)
    inputs = [helper.make_tensor_value_info(x, KINDS[plan.input], [BATCH, *plan.axes])]
    outputs = [helper.make_tensor_value_info(y, KINDS[plan.dtype], [BATCH, *plan.scores])]
    opset = helper.make_opsetid("", graph.opset)
    model = helper.make_model(
        helper.make_graph(graph.nodes, type(plan.net).__name__, inputs, outputs, [*graph.initializers.values()]),
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="xpnet",
        producer_version=sys.modules["xpnet"].__version__,  # an import would be one of what stands above
    )
    helper.set_model_props(model, plan.metadata)
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        why = " ".join(str(error).split())
        raise ExportError(f"onnx refuses what was written, a rule is wrong: {why:.500}") from error
    return model


def _arrays(plan: Plan) -> dict[str, np.ndarray]:
    """Parameters and buffers on the host, in the file's dtype."""
    found = {}
    for name, a in plan.net.own_arrays().items():
        host = plan.net.backend.to_numpy(a)
        if not np.isfinite(host).all():
            count = np.size(host) - np.count_nonzero(np.isfinite(host))
            raise ExportError(f"{name} has {count} numbers that are NaN or infinite, of which nothing can be predicted")
        with np.errstate(over="ignore"):
            found[name] = np.asarray(host, plan.dtype, order="C")
        if not np.isfinite(found[name]).all():
            raise ExportError(
                f"{name} has numbers up to {np.abs(host).max():.3g}, and {plan.dtype} none over "
                f"{np.finfo(plan.dtype).max:.3g}; dtype='float32' has room for them"
            )
    if (size := sum(a.nbytes for a in found.values())) > MOST_BYTES:
        raise ExportError(f"the weights take {size} bytes, and a file of ONNX holds {MOST_BYTES}; try dtype='float16'")
    return found


def _graph(plan: Plan, arrays: dict[str, np.ndarray], shape: tuple[int, ...]) -> Graph:
    """The nodes for samples of this shape."""
    graph, (x, y) = Graph(arrays, plan.dtype, plan.names, traced), plan.names
    value, before = x, Place(graph, x, shape, {})
    if plan.uint8:
        value = before.node("Cast", value, to=KINDS[plan.dtype])
    if plan.divides:
        value = before.node("Div", value, before.constant("divisor", 255))
    value = write(Place(graph, "", shape, {name: name for name in arrays}), plan.net.chain, value)
    if plan.softmax:
        value = graph.node("Softmax", [value], "Softmax", {"axis": -1})
    graph.rename(value, y)
    return graph


def _check_alike(graph: Graph, other: Graph) -> None:
    """Raise ``ExportError`` unless the same was written for samples of another shape."""
    constants = [[tensor for name, tensor in g.initializers.items() if name not in g.arrays] for g in (graph, other)]
    for one, two in zip_longest(graph.nodes + constants[0], other.nodes + constants[1]):
        if one != two:
            raise ExportError(
                f"{(one or two).name} depends on the length of samples, which cannot be any then; give numbers as "
                "input_shape"
            )
