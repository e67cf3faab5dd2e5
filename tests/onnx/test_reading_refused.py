"""Files that are not read: what is not known is named, and what is damaged or hostile is a plain error, and soon."""

from __future__ import annotations

import os

import numpy as np
import pytest
from onnx_graphs import TensorProto, helper, loaded, model, node, refused, write

from xpnet import TwoLayerNet, load_onnx

W, V = np.ones((4, 5), "float32"), np.ones((5, 3), "float32")
ARRAYS = {"W": W, "V": V, "b": np.ones(5, "float32"), "K": np.ones((2, 1, 3, 3), "float32"), "axes": np.asarray([1])}


#: Nodes between x (N, 4) and y, and what is said of them.
UNKNOWN = {
    "an operator": (
        [node("MatMul", "x W", "h"), node("Sin", "h", "y", "wave")],
        r"wave \(Sin\). Known are Abs, Add, .*Conv",
    ),
    "several operators": (
        [node("Sin", "x", "h"), node("Cos", "h", "y")],
        r"Sin for h \(Sin\), Cos for y \(Cos\)",
    ),
    "control flow": ([node("If", "x", "y")], r"If for y \(If\)"),
    "another domain": ([node("Scaler", "x", "h"), node("ZipMap", "h", "y")], r"offset"),
    "a formula": (
        [node("MatMul", "x W", "h"), node("Exp", "h", "y")],
        r"Exp for y \(Exp\): .* no activation that is known",
    ),
    "a product of values": (
        [node("MatMul", "x W", "h"), node("MatMul", "x W", "g"), node("Mul", "h g", "y")],
        r"Mul for y \(Mul\): it combines values that are computed from samples",
    ),
    "computed weights": (
        [node("MatMul", "x W", "h"), node("MatMul", "x h", "y")],
        r"MatMul for y \(MatMul\): its input 2, weights, is no array in the file",
    ),
    "weights before": ([node("MatMul", "V x", "y")], "its input 1, V, does not depend on samples"),
    "of another size": ([node("MatMul", "x V", "y")], r"weights have shape \(5, 3\), and samples \(4,\)"),
    "across samples": ([node("Gemm", "x W b", "y", transA=1)], "transA is set"),
    "over samples": ([node("Concat", "x x", "h", axis=0), node("MatMul", "h W", "y")], "along the axis of samples"),
    "another axis first": (
        [node("Transpose", "x", "h", perm=[1, 0]), node("MatMul", "h W", "y")],
        "the first of 2 is that of samp",
    ),
    "samples joined": (
        [node("MatMul", "x W", "h"), node("Reshape", "h all", "y")],
        "are not to be joined or split",
    ),
    "images of rows": ([node("Conv", "x K", "y")], r"images and sequences are convolved"),
    "a mean of features": (
        [node("MatMul", "x W", "h"), node("ReduceMean", "h axes", "y")],
        "GlobalAvgPool2d is over rows and",
    ),
    "a second output": ([node("Dropout", "x", "h mask"), node("MatMul", "mask W", "y")], "mask"),
    "shared weights": (
        [node("MatMul", "x U", "h"), node("Add", "h x", "g"), node("Tanh", "g", "f"), node("Add", "f h", "y")],
        "(in two places|part and meet)",
    ),
    "no weights": ([node("Relu", "x", "y")], "it has no weights"),
    "no samples": ([node("MatMul", "W V", "y")], "0 inputs"),
    "a circle": (
        [node("Add", "x y", "h"), node("Relu", "h", "y")],
        r"Add for h \(Add\) reads y, which nothing before it makes",
    ),
    "from nowhere": ([node("Add", "x z", "y")], "reads z, which nothing before it makes"),
    "made twice": ([node("Relu", "x", "y"), node("Tanh", "x", "y")], "makes y, which is there already"),
    "no output": ([node("Relu", "x", "h")], "no node makes its output y"),
    "padding": (
        [node("Reshape", "x image", "h"), node("MaxPool", "h", "y", kernel_shape=[2, 2], pads=[0, 0, 1, 1])],
        "both are alike",
    ),
    "rounded up": (
        [node("Reshape", "x image", "h"), node("MaxPool", "h", "y", kernel_shape=[1, 1], strides=[2, 2], ceil_mode=1)],
        "ceil_mode",
    ),
    "whole numbers": (
        [node("Cast", "x", "i", to=TensorProto.INT64), node("MatMul", "i W", "y")],
        "makes whole numbers of others",
    ),
    "shapes that do not go together": (
        [
            node("Reshape", "x image", "h"),
            node("MaxPool", "h", "g", kernel_shape=[2, 1]),
            node("Concat", "h g", "y", axis=1),
        ],
        r"of the shapes \(1, 2, 2\), \(1, 1, 2\) together",
    ),
    "in training": (
        [node("MatMul", "x W", "h"), node("BatchNormalization", "h b b b b", "y", training_mode=1)],
        r"training mode; export the network as it predicts: model.eval\(\)",
    ),
    "attributes that are none": ([node("Gemm", "x W", "y", alpha="many")], r"Gemm for y \(Gemm\): .*"),
    "text for a number": ([node("Concat", "x x", "y", axis="one")], "not written as it has to be"),
    "a large constant": (
        [node("ConstantOfShape", "size", "c"), node("MatMul", "x c", "y")],
        "makes an array of shape",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_is_not_known_is_named(case, path):
    nodes, message = UNKNOWN[case]
    arrays = ARRAYS | {"U": np.ones((4, 4), "float32"), "all": np.asarray([-1]), "image": np.asarray([-1, 1, 2, 2])}
    arrays["size"] = np.asarray([2**40, 2])
    refused(write(path, model(nodes, arrays, (4,))), message)


def test_several_inputs_and_outputs(path):
    made = model([node("MatMul", "x W", "y"), node("Tanh", "y", "z")], ARRAYS, (4,), outputs=("y", "z"))
    refused(write(path, made), r"2 outputs of numbers \(y, z\), and a network here has one")
    made = model([node("Add", "x u", "h"), node("MatMul", "h W", "y")], ARRAYS, (4,))
    made.graph.input.append(helper.make_tensor_value_info("u", TensorProto.FLOAT, ["N", 4]))
    refused(write(path, made), r"2 inputs \(x, u\)")
    made = model([node("MatMul", "x W", "y")], ARRAYS, (4,))
    made.graph.input[0].type.tensor_type.ClearField("shape")
    refused(write(path, made), "the shape of its input x is not known")
    made = model([node("MatMul", "x W", "y")], ARRAYS, (4,))
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -7
    refused(write(path, made), r"its input x has the shape \[None, -7\]")


@pytest.mark.parametrize("opset", [0, 6, 1000])
def test_versions_of_operators_that_are_not_read(opset, path):
    made = model([node("MatMul", "x W", "y")], ARRAYS, (4,))
    made.opset_import[0].version = opset
    refused(write(path, made), rf"its operators are of version {opset}, and those from 7 to")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_weights_that_are_no_numbers(value, path):
    weights = W.astype("float64")
    weights[1, 2] = value
    made = model([node("MatMul", "x W", "y")], {"W": weights.astype("float32") if value == np.inf else weights}, (4,))
    if value == 1e300:  # a number in this dtype
        loaded(write(path, made))
    else:
        refused(write(path, made), "W has 1 of 20 numbers that are NaN or infinite|its input 2, weights, has 1 of 20")


def test_other_files(path):
    TwoLayerNet(4, 3, 2, backend="numpy").save(path)
    refused(path, "it looks like safetensors, which xpnet.load_network reads")
    for content, message in (
        (b"PK\x03\x04" + bytes(50), "a zip archive, as torch.save and Keras"),
        (b"\x80\x04\x95" + bytes(50), "a pickle"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
        (b'{"a": 1}', "JSON"),
        (b"", "it has no graph"),
        (b"a text, and not a network", "no ONNX model, or a damaged one"),
        (os.urandom(500), "no ONNX model, or a damaged one"),
        (helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString(), "it has 0 outputs"),
    ):
        path.write_bytes(content)
        refused(path, message)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"net\.onnx"):
        load_onnx(path)
    path.mkdir()
    refused(path, "is no file")
