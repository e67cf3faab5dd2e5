"""The rules: which nodes each layer becomes, and that they compute the same, as two implementations of ONNX see it."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from onnx_files import by_reference, by_runtime

from xpnet import Sequential
from xpnet.layers import (
    ELU,
    GELU,
    LAYERS,
    Add,
    Affine,
    AvgPool2d,
    BatchNorm,
    Chain,
    Concat,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    LayerNorm,
    LeakyReLU,
    MaxPool2d,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    Sigmoid,
    Softmax,
    Softplus,
    Swish,
    Tanh,
    TimeDistributed,
)

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

#: A layer, the shape of a sample, and the nodes that it becomes. Integers that go into one are 0 to 6.
ROWS = {
    "Affine": (Affine(5, 3), (5,), "Gemm"),
    "Affine of images": (Affine(24, 3), (2, 3, 4), "Flatten Gemm"),
    "ReLU": (ReLU(), (5,), "Relu"),
    "ReLU of images": (ReLU(), (2, 3, 4), "Relu"),
    "LeakyReLU": (LeakyReLU(0.3), (5,), "LeakyRelu"),
    "Sigmoid": (Sigmoid(), (5,), "Sigmoid"),
    "Tanh": (Tanh(), (5,), "Tanh"),
    "GELU": (GELU(), (5,), "Gelu"),
    "GELU, exact": (GELU(exact=True), (5,), "Gelu"),
    "Swish": (Swish(), (5,), "Sigmoid Mul"),
    "Swish, beta 1.5": (Swish(1.5), (5,), "Mul Sigmoid Mul"),
    "Softplus": (Softplus(), (5,), "Softplus"),
    "ELU": (ELU(1.3), (5,), "Elu"),
    "Softmax": (Softmax(), (5,), "Softmax"),
    "Softmax of sequences": (Softmax(), (2, 5), "Softmax"),
    "Identity": (Identity(), (5,), ""),
    "Dropout": (Dropout(), (5,), ""),
    "Rescale": (Rescale(1 / 255), (5,), "Div"),
    "Rescale, no whole divisor": (Rescale(0.3), (5,), "Mul"),
    "BatchNorm": (BatchNorm(5, eps=0.01), (5,), "BatchNormalization"),
    "BatchNorm of sequences": (BatchNorm(3), (3, 5), "BatchNormalization"),
    "BatchNorm of images": (BatchNorm(2), (2, 4, 3), "BatchNormalization"),
    "BatchNorm of entries": (BatchNorm((2, 4, 3)), (2, 4, 3), "Flatten BatchNormalization Reshape"),
    "BatchNorm of entries in rows": (BatchNorm((5,)), (5,), "BatchNormalization"),
    "LayerNorm": (LayerNorm(5, eps=0.01), (5,), "LayerNormalization"),
    "LayerNorm of two axes": (LayerNorm((4, 3)), (2, 4, 3), "LayerNormalization"),
    "Conv2d": (Conv2d(2, 3, 3), (2, 5, 4), "Conv"),
    "Conv2d, all options": (
        Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        (4, 5, 4),
        "Conv",
    ),
    "Conv1d": (Conv1d(2, 3, 3), (2, 6), "Conv"),
    "Conv1d, all options": (Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2), (4, 9), "Conv"),
    "MaxPool2d": (MaxPool2d(2), (3, 4, 6), "MaxPool"),
    "MaxPool2d, all options": (MaxPool2d((3, 2), (2, 1), (1, 0)), (3, 4, 6), "MaxPool"),
    "AvgPool2d": (AvgPool2d(2), (3, 4, 6), "AveragePool"),
    "AvgPool2d, all options": (AvgPool2d((3, 2), (2, 1), (1, 0)), (3, 4, 6), "AveragePool"),
    "GlobalAvgPool2d": (GlobalAvgPool2d(), (3, 4, 5), "ReduceMean"),
    "Flatten": (Flatten(), (3, 4), "Flatten"),
    "Reshape": (Reshape((2, 6)), (3, 4), "Reshape"),
    "Embedding": (Embedding(7, 3), (), "Gather"),
    "Embedding of sequences": (Embedding(7, 3), (2,), "Gather"),
    "Chain": (Chain(Affine(5, 4), Tanh(), Affine(4, 3)), (5,), "Gemm Tanh Gemm"),
    "Residual": (Residual(Chain(BatchNorm(5), Affine(5, 5))), (5,), "BatchNormalization Gemm Add"),
    "Residual of one": (Residual(Affine(5, 5)), (5,), "Gemm Add"),
    "Residual of nothing": (Residual(Dropout()), (5,), "Add"),
    "Residual, deep": (
        Residual(Chain(Residual(Chain(Affine(5, 5), ReLU())), Residual(Sigmoid()), Tanh())),
        (5,),
        "Gemm Relu Add Sigmoid Add Tanh Add",
    ),
    "TimeDistributed": (
        TimeDistributed(Chain(BatchNorm(5), Dropout(0.3), Affine(5, 3))),
        (2, 5),
        "Reshape BatchNormalization Gemm Reshape",
    ),
    "TimeDistributed of one": (TimeDistributed(Affine(5, 3)), (2, 5), "MatMul Add"),
    "TimeDistributed of images": (TimeDistributed(Affine(6, 3)), (2, 3, 2), "Reshape Flatten Gemm Reshape"),
    "TimeDistributed, a residual in it": (TimeDistributed(Residual(Tanh())), (2, 5), "Reshape Tanh Add Reshape"),
    "Add": (Add(Affine(5, 3), Chain(Affine(5, 4), Tanh(), Affine(4, 3))), (5,), "Gemm Gemm Tanh Gemm Add"),
    "Add of three": (Add(Affine(5, 5), Identity(), Tanh()), (5,), "Gemm Tanh Sum"),
    "Add of one": (Add(Affine(5, 3)), (5,), "Gemm"),
    "Concat": (Concat(Affine(5, 3), Chain(Dropout(0.3), BatchNorm(5))), (5,), "Gemm BatchNormalization Concat"),
    "Concat of images": (Concat(Conv2d(2, 3, 1), Identity()), (2, 4, 3), "Conv Concat"),
    "Concat of embeddings": (Concat(Embedding(7, 3), Embedding(7, 2)), (), "Gather Gather Concat"),
}
#: How far apart two implementations may be, as a share of the largest result. Activations are written in the dtype;
#: float16 has three digits, and onnx's reference implementation computes all of a normalization in it.
TOLERANCE = {"float16": 1e-2, "float32": 2e-6, "float64": 1e-7}


def network(name, dtype="float32"):
    """A network of a layer and an Affine behind it, with numbers about which nothing is special."""
    layer, shape, _ = ROWS[name]
    behind = [Flatten(), Affine(prod(layer.output_shape(shape)), 3)]
    net = Sequential([layer, *behind], seed=0, dtype=dtype, backend="numpy", weight_init=0.5)
    rng = np.random.default_rng(1)
    for arrays in (net.params, net.buffers):
        for key, a in arrays.items():
            arrays[key] = (a + 0.2 + rng.random(a.shape)).astype(dtype)
    return net


def samples(name, dtype, n, rng):
    layer, shape, _ = ROWS[name]
    return rng.integers(0, 7, (n, *shape)) if layer.takes == "integers" else rng.normal(size=(n, *shape)).astype(dtype)


def test_every_layer_has_a_rule_and_a_row():
    from xpnet.onnx import RULES

    assert {*LAYERS.values()} <= RULES.keys()
    assert {*LAYERS.values()} == {type(layer) for layer, _, _ in ROWS.values()}


#: What computes the files of each dtype: onnxruntime lacks operators in float64.
ORACLES = {"float16": [by_runtime], "float32": [by_runtime, by_reference], "float64": [by_reference]}


@pytest.mark.parametrize("dtype", ORACLES)
@pytest.mark.parametrize("name", ROWS)
def test_a_layer_becomes_these_nodes_and_they_compute_the_same(name, dtype, tmp_path, rng):
    net = network(name, "float64" if dtype == "float64" else "float32")
    path = tmp_path / "net.onnx"
    written = net.export(path, input_shape=ROWS[name][1], dtype=dtype, verify=dtype != "float64")
    assert " ".join(written.nodes[:-2]) == ROWS[name][2]
    for run in (oracle(path) for oracle in ORACLES[dtype]):
        for n in (1, 4):
            x = samples(name, dtype, n, rng)
            y, expected = run(x), net.predict(x if x.dtype == int else x.astype(net.dtype))
            assert (y.shape, y.dtype) == (expected.shape, dtype)
            assert np.abs(y - expected).max() <= TOLERANCE[dtype] * np.abs(expected).max()


@pytest.mark.parametrize("name", ROWS)
def test_shapes_inside_have_the_axis_of_samples_and_names_are_those_of_layers(name, tmp_path):
    net = network(name)
    model = onnx.load(net.export(tmp_path / "net.onnx", input_shape=ROWS[name][1], verify=False).path)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    assert len(values) == len(model.graph.node) + 1
    for value in values:
        first, *others = value.type.tensor_type.shape.dim
        assert all(axis.dim_value for axis in others)
        assert first.dim_param == "N" or "TimeDistributed" in name  # inside, samples and steps are one axis
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for key, a in (net.params | net.buffers).items():
        assert np.array_equal(arrays.pop(key), a.reshape(-1) if "entries" in name and a.ndim == 3 else a)
    assert model.graph.node[-2].name.startswith("Flatten")
    assert all("." in name for name in arrays)  # what is no parameter is named after its layer
