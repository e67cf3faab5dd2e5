"""Small ONNX files written node by node, and a look at whether a network read from one computes the same."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

from xpnet import load_onnx
from xpnet.errors import CheckpointError, ConversionWarning
from xpnet.functions import sigmoid, softmax

onnx = pytest.importorskip("onnx", reason="onnx is not installed, which reads the files")
helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto
FLOAT = TensorProto.FLOAT


def number(value):
    return np.float32(value)


def node(op, inputs, output, name="", **attributes):
    """``node("Relu", "a", "b")``; several inputs have spaces between them."""
    domain = "ai.onnx.ml" if op in ("Scaler", "ZipMap") else ""
    inputs, outputs = (["" if each == "-" else each for each in names.split()] for names in (inputs, output))
    return helper.make_node(op, inputs, outputs, name or f"{op} for {outputs[0]}", domain=domain, **attributes)


def model(
    nodes, arrays, shape, *, opset=20, kind=TensorProto.FLOAT, outputs=("y",), samples="N", out=TensorProto.FLOAT
):
    """A model from x (N, *shape) to outputs, with arrays by name."""
    tensors = [
        a if isinstance(a, TensorProto) else numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()
    ]
    x = helper.make_tensor_value_info("x", kind, [samples, *shape])
    given = [helper.make_tensor_value_info(name, out, None) for name in outputs]
    graph = helper.make_graph(list(nodes), "g", [x], given, tensors)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def write(path, made):
    path.write_bytes(made.SerializeToString())
    return path


def loaded(path, **options):
    """The network in a file, and what was said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net = load_onnx(path, backend="numpy", **options)
    assert all(issubclass(each.category, ConversionWarning) for each in caught)
    return net, " ".join(str(each.message) for each in caught)


def refused(path, *messages):
    """See that a file is refused, by its name and with what these patterns say."""
    with pytest.raises(CheckpointError) as raised:
        load_onnx(path)
    assert str(path) in str(raised.value)
    for message in messages:
        assert raised.match(message)


def computed(path, x):
    """What onnxruntime computes of samples: the output of numbers."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed, which is the oracle")
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    results = session.run(None, {session.get_inputs()[0].name: x})
    return next(y for y in results if isinstance(y, np.ndarray) and y.dtype.kind == "f")


def agree(path, x, *, rtol=1e-4, atol=1e-5, **options):
    """The network in a file, once it is seen that it computes what onnxruntime does, and what was said of it."""
    net, said = loaded(path, **options)
    inside = x
    if order := re.search(r"takes samples \(N, [HWL, ]+C\), and this network", said):
        assert order
        inside = np.moveaxis(x, -1, 1)
    found, theirs = net.predict(inside), computed(path, x)
    if "functions.softmax" in said:
        found = softmax(found)
    if "(LogSoftmax)" in said:
        found = np.log(found)
    if "functions.sigmoid" in said:
        found = sigmoid(found)
    if found.shape[1:] == (1,) and theirs.shape[1:] == (2,):
        found = np.concatenate([1 - found, found], axis=1)
    np.testing.assert_allclose(found, theirs, rtol=rtol, atol=atol)
    return net, said


def kinds(net):
    """The layers of a network, in a line."""
    return " ".join(type(layer).__name__ for layer in net.layers.values())


def learns(net, x):
    """Whether some steps make the loss smaller: that of training, or where it is noisy that of predictions."""
    from xpnet import SGD, Trainer

    scores = net.predict(x)
    numbers = type(net.loss_layer).__name__ != "SoftmaxWithLoss"
    t = np.zeros_like(scores) if numbers else np.arange(len(x)) % scores.shape[-1]
    before = float(net.loss(x, t))
    history = Trainer(net, SGD(lr=0.02), batch_size=len(x), seed=0).fit(x, t, iterations=10)
    return history.losses[-1] < history.losses[0] or float(net.loss(x, t)) < before
