"""A network and options as a model of ONNX: what is before and behind its layers, and what a file says of itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper

from xpnet.backends.dispatch import dtype_name
from xpnet.layers import Flatten, Identity, Rescale, Reshape, Softmax
from xpnet.layers.chain import first_leaves
from xpnet.losses import SoftmaxWithLoss
from xpnet.onnx.writer import ExportError, Graph, Place, write
from xpnet.serialization import network as files

#: The axis of samples in shapes.
BATCH = "N"
#: The dtypes that weights can be written in.
DTYPES = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
INPUTS = DTYPES | {"int64": TensorProto.INT64, "uint8": TensorProto.UINT8}
#: Bytes that a message of protobuf may have.
MOST_BYTES = 2**31 - 1
#: The names under which a file says what it holds.
EXPORT, CLASSES = "xpnet_export", "classes"


@dataclass(frozen=True)
class Plan:
    """What is to be written, checked.

    Attributes:
        dtype: of the weights.
        input: of the samples.
        shape: of one sample.
        scores: the shape of what comes of it.
        softmax: whether probabilities come of it.
        uint8: whether samples are bytes, which are divided by 255.
    """

    net: Any
    dtype: str
    input: str
    shape: tuple[int, ...]
    scores: tuple[int, ...]
    softmax: bool
    uint8: bool

    @property
    def names(self) -> tuple[str, str]:
        """Those of the input and of the output."""
        return "x", "probabilities" if self.softmax else "scores"

    @property
    def divides(self) -> bool:
        """Whether bytes are divided by 255 before the first layer: not if that is what rescales them."""
        seen = self.net.chain.layers
        first = next((layer for layer in seen if not isinstance(layer, Flatten | Identity | Reshape)), None)
        return self.uint8 and not isinstance(first, Rescale)


def planned(net: Any, input_shape: Sequence[int] | None, softmax: bool, uint8: bool, dtype: Any) -> Plan:
    """The plan of options as a user gave them, or an error."""
    wanted = dtype_name(net.dtype) if dtype is None else np.dtype(dtype).name
    if wanted not in DTYPES:
        raise ExportError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    if softmax and isinstance(net.chain.layers[-1], Softmax):
        raise ExportError("softmax=True, and the last layer is a Softmax already; leave softmax=True out")
    if softmax and not isinstance(net.loss_layer, SoftmaxWithLoss):
        kind = type(net.loss_layer).__name__
        raise ExportError(
            f"softmax=True is for a network that was trained with it, and the loss is {kind}; leave it out"
        )
    if uint8 and net.chain.takes == "integers":
        raise ExportError("uint8=True is for images, and this network takes integers; leave it out")
    shape = shape_of_sample(net) if input_shape is None else tuple(input_shape)
    net.output_shape(shape)
    scores = net.scores_shape(net.backend.asarray(np.zeros((1, *shape), kind_of_sample(net))))[1:]
    taken = "uint8" if uint8 else "int64" if net.chain.takes == "integers" else wanted
    return Plan(net, wanted, taken, shape, tuple(scores), softmax, uint8)


def kind_of_sample(net: Any) -> str:
    return "int64" if net.chain.takes == "integers" else dtype_name(net.dtype)


def shape_of_sample(net: Any) -> tuple[int, ...]:
    """The shape of a sample, where the layers say it."""
    for _, layer in first_leaves(net.chain):
        for name in ("n_in", "in_features"):
            if hasattr(layer, name):
                return (getattr(layer, name),)
    raise ExportError("the shape of a sample is not known; give input_shape=(1, 28, 28), for example")


def model_of(plan: Plan, classes: Sequence[str] | None, metadata: Mapping[str, str]) -> ModelProto:
    """The network as a model that the checker of onnx has seen."""
    net, (x, y) = plan.net, plan.names
    graph = Graph(arrays_of(plan), plan.dtype, plan.names)
    value = _before(graph, plan, x)
    value = write(Place(graph, "", plan.shape, {name: name for name in _arrays(net)}), net.chain, value)
    if plan.softmax:
        value = graph.node("Softmax", [value], "Softmax", {"axis": -1})
    graph.rename(value, y)
    inputs = [helper.make_tensor_value_info(x, INPUTS[plan.input], [BATCH, *plan.shape])]
    outputs = [helper.make_tensor_value_info(y, DTYPES[plan.dtype], [BATCH, *plan.scores])]
    made = helper.make_graph(graph.nodes, type(net).__name__, inputs, outputs, [*graph.initializers.values()])
    opset = helper.make_opsetid("", graph.opset)
    model = helper.make_model(
        made,
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="xpnet",
        producer_version=sys.modules["xpnet"].__version__,
    )
    helper.set_model_props(model, _said(plan, classes, metadata))
    if model.ByteSize() > MOST_BYTES:
        raise ExportError(f"the file would have {model.ByteSize()} bytes, and a file of ONNX has at most {MOST_BYTES}")
    checker.check_model(model, full_check=True)
    return model


def arrays_of(plan: Plan) -> dict[str, np.ndarray]:
    """Parameters and buffers on the host, in the file's dtype; an error if a number is not finite."""
    found = {}
    for name, a in _arrays(plan.net).items():
        host = plan.net.backend.to_numpy(a)
        if not np.isfinite(host).all():
            raise ExportError(f"{name} has {int((~np.isfinite(host)).sum())} values that are NaN or infinite")
        with np.errstate(over="ignore"):
            found[name] = np.ascontiguousarray(host.astype(plan.dtype)).reshape(host.shape)
        if not np.isfinite(found[name]).all():
            raise ExportError(
                f"{name} has values up to {np.abs(host).max():g}, and {plan.dtype} none over "
                f"{np.finfo(plan.dtype).max:g}; write the file in another dtype: dtype='float32'"
            )
    return found


def _arrays(net: Any) -> dict[str, Any]:
    found: dict[str, Any] = net.own_arrays()
    return found


def _before(graph: Graph, plan: Plan, x: str) -> str:
    """What stands before the first layer."""
    place = Place(graph, x, plan.shape, {})
    if plan.uint8:
        x = place.node("Cast", x, to=DTYPES[plan.dtype])
    if plan.divides:
        x = place.node("Div", x, place.constant("divisor", 255))
    return x


def _said(plan: Plan, classes: Sequence[str] | None, metadata: Mapping[str, str]) -> dict[str, str]:
    """What the file says of itself."""
    options = {"input_shape": [*plan.shape], "dtype": plan.dtype, "softmax": plan.softmax, "uint8": plan.uint8}
    said = {files.ABOUT: files.text_about(plan.net), EXPORT: json.dumps(options)}
    if classes is not None:
        said[CLASSES] = json.dumps([*classes], ensure_ascii=False)
    return said | dict(metadata)
