"""Images: what onnxruntime computes of files with convolutions and pools, the network read from them computes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_graphs import TensorProto, agree, kinds, learns, model, node, number, write

from xpnet.layers import Conv2d

RNG = np.random.default_rng(6)


def floats(*shape):
    return RNG.normal(size=shape).astype("float32")


B, V = floats(5), floats(5, 3)
K, F = floats(6, 2, 3, 3), floats(6)
CONVOLUTIONS = {
    "plain": ({}, K),
    "padding": ({"pads": [1, 2, 1, 2], "strides": [2, 1]}, K),
    "same, one apart": ({"auto_pad": "SAME_UPPER"}, K),
    "same, two apart": ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, K),
    "same, two apart, odd": ({"auto_pad": "SAME_LOWER", "strides": [3, 2]}, K),
    "valid": ({"auto_pad": "VALID", "dilations": [2, 1]}, K),
    "more on one side": ({"pads": [0, 1, 1, 2]}, K),
    "groups": ({"group": 2, "pads": [1, 1, 1, 1], "dilations": [2, 2]}, floats(6, 1, 3, 3)),
    "no biases": ({"kernel_shape": [3, 3]}, K),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("shape", [(2, 8, 7), (2, "H", "W")])
def test_convolutions(case, shape, path):
    attributes, kernels = CONVOLUTIONS[case]
    if "auto_pad" in attributes and "SAME" in attributes["auto_pad"] and "strides" in attributes and "H" in shape:
        pytest.skip("it depends on the size of images")
    inputs = "x K" if case == "no biases" else "x K F"
    nodes = [node("Conv", inputs, "1", **attributes), node("Relu", "1", "2"), node("GlobalAveragePool", "2", "3")]
    nodes += [node("Flatten", "3", "z"), node("MatMul", "z V", "y")]
    write(path, model(nodes, {"K": kernels, "F": F, "V": floats(6, 3)}, shape))
    net, said = agree(path, floats(3, 2, 8, 7))
    assert kinds(net) == "Conv2d ReLU GlobalAvgPool2d Affine"
    one_sided = case in ("more on one side", "same, two apart", "same, two apart, odd")
    assert ("pads more on one side" in said) == one_sided
    assert learns(net, floats(6, 2, 8, 7))


POOLS = {
    "MaxPool": [{}, {"strides": [2, 2]}, {"pads": [1, 1, 1, 1]}, {"auto_pad": "VALID", "ceil_mode": 1}],
    "AveragePool": [{}, {"strides": [2, 1]}, {"pads": [1, 1, 1, 1], "count_include_pad": 1}],
}


@pytest.mark.parametrize(("op", "attributes"), [(op, each) for op, several in POOLS.items() for each in several])
def test_pools(op, attributes, path):
    nodes = [
        node("Conv", "x K F", "1", pads=[1, 1, 1, 1]),
        node(op, "1", "2", kernel_shape=[2, 2], **attributes),
        node("Sigmoid", "2", "y"),
    ]
    write(path, model(nodes, {"K": K, "F": F}, (2, 8, 6)))
    net, _ = agree(path, floats(3, 2, 8, 6))
    assert kinds(net).endswith("Pool2d")


def test_a_separate_bias_and_normalization_are_taken_in_or_layers(path):
    nodes = [
        node("Pad", "x pads", "0"),
        node("Conv", "0 K", "1"),
        node("Add", "1 F", "2"),
        node("BatchNormalization", "2 s F3 m v", "3"),
        node("ReduceMean", "3", "4", axes=[-1, -2], keepdims=0),
        node("MatMul", "4 V", "y"),
    ]
    arrays = {"K": K, "F": F.reshape(6, 1, 1), "F3": F, "s": floats(6), "m": floats(6), "v": floats(6) ** 2}
    arrays |= {"pads": np.asarray([0, 0, 1, 2, 0, 0, 1, 2]), "V": floats(6, 2)}
    write(path, model(nodes, arrays, (2, 5, 6), opset=13))
    net, _ = agree(path, floats(3, 2, 5, 6))
    assert kinds(net) == "Conv2d BatchNorm GlobalAvgPool2d Affine"
    assert net.layers["Conv1"] == Conv2d(2, 6, 3, 1, (1, 2))


def channels_last(ops):
    """Nodes as tf2onnx writes them: images (N, H, W, C) are turned for what wants channels first, and turned back."""
    nodes, value = [], "x"
    for i, (op, inputs, attributes) in enumerate(ops):
        if op in ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "BatchNormalization"):
            nodes.append(node("Transpose", value, f"{i}in", perm=[0, 3, 1, 2]))
            nodes.append(node(op, f"{i}in {inputs}", f"{i}out", **attributes))
            nodes.append(node("Transpose", f"{i}out", f"{i}", perm=[0, 2, 3, 1]))
        else:
            nodes.append(node(op, f"{value} {inputs}", f"{i}", **attributes))
        value = str(i)
    return [*nodes, node("Identity", value, "y")]


def test_channels_last_as_keras_has_them(path):
    ops = [
        ("Mul", "through", {}),
        ("Conv", "K", {"auto_pad": "SAME_UPPER"}),
        ("Add", "F", {}),
        ("Relu", "", {}),
        ("BatchNormalization", "s F m v", {}),
        ("MaxPool", "", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Reshape", "rows", {}),
        ("MatMul", "V", {}),
        ("Add", "b", {}),
        ("Softmax", "", {"axis": -1}),
    ]
    arrays = {"through": number(1 / 255), "K": K, "F": F, "s": floats(6), "m": floats(6), "v": floats(6) ** 2}
    arrays |= {"rows": np.asarray([-1, 4 * 3 * 6]), "V": floats(72, 5), "b": B}
    write(path, model(channels_last(ops), arrays, (8, 6, 2)))
    net, said = agree(path, 100 * floats(3, 8, 6, 2))
    assert kinds(net) == "Rescale Conv2d ReLU BatchNorm MaxPool2d Affine"
    assert net.layers["Rescale1"].scale == 1 / 255
    assert "the file takes samples (N, H, W, C), and this network (N, C, H, W)" in said
    assert learns(net, floats(6, 2, 8, 6))


@pytest.mark.parametrize("op", ["GlobalAveragePool", "ReduceMean"])
def test_channels_last_with_branches_and_a_mean(op, path):
    nodes = [
        *channels_last([("Conv", "K F", {"auto_pad": "SAME_UPPER"}), ("Relu", "", {})])[:-1],
        node("Transpose", "1", "in", perm=[0, 3, 1, 2]),
        node("Conv", "in L F", "out", pads=[1, 1, 1, 1]),
        node("Transpose", "out", "2", perm=[0, 2, 3, 1]),
        node("Add", "1 2", "3"),
        node("Concat", "3 1", "4", axis=3),
    ]
    if op == "ReduceMean":
        nodes.append(node("ReduceMean", "4 axes", "5", keepdims=0))
    else:
        nodes += [node("Transpose", "4", "6", perm=[0, 3, 1, 2]), node(op, "6", "7"), node("Squeeze", "7 last", "5")]
    nodes.append(node("MatMul", "5 V", "y"))
    arrays = {"K": K, "L": floats(6, 6, 3, 3), "F": F, "V": floats(12, 4)}
    arrays |= {"axes": np.asarray([1, 2]), "last": np.asarray([2, 3])}
    write(path, model(nodes, arrays, (6, 5, 2)))
    net, _ = agree(path, floats(3, 6, 5, 2))
    assert kinds(net) == "Conv2d ReLU Concat GlobalAvgPool2d Affine"


@pytest.mark.parametrize("divides", [True, False])
def test_bytes(divides, path):
    behind = [node("Div", "f most", "z")] if divides else [node("Identity", "f", "z")]
    nodes = [node("Cast", "x", "f", to=TensorProto.FLOAT), *behind, node("MatMul", "z V", "y")]
    write(path, model(nodes, {"most": number(255), "V": V}, (5,), kind=TensorProto.UINT8))
    net, _ = agree(path, RNG.integers(0, 256, (4, 5), dtype="uint8"), rtol=1e-5)
    assert net.layers["Rescale1"].scale == (1 / 255 if divides else 1)
