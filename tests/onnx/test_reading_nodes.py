"""Files as other writers write them, node by node: what onnxruntime computes, the network read from them computes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_graphs import TensorProto, agree, helper, kinds, learns, model, node, number, numpy_helper, write

from xpnet import layers

RNG = np.random.default_rng(5)


def floats(*shape, dtype="float32"):
    return RNG.normal(size=shape).astype(dtype)


W, B, V = floats(4, 5), floats(5), floats(5, 3)
#: What is in front of and behind what a case is about: x (N, 4) and scores (N, 3).
FIRST, LAST = node("Gemm", "x W b", "h", "first"), node("MatMul", "z V", "y", "last")
ARRAYS = {"W": W, "b": B, "V": V}


#: Nodes between h (N, 5) and z (N, 5), the arrays that they read, and the layers that come of them.
BETWEEN = {
    "nothing": ([node("Identity", "h", "z")], {}, ""),
    "relu": ([node("Relu", "h", "z")], {}, "ReLU"),
    "leaky relu": ([node("LeakyRelu", "h", "z", alpha=0.2)], {}, "LeakyReLU"),
    "clipped": ([node("Clip", "h zero", "z")], {"zero": number(0)}, "ReLU"),
    "largest of 0": ([node("Max", "h zero", "z")], {"zero": number(0)}, "ReLU"),
    "prelu": ([node("PRelu", "h slope", "z")], {"slope": np.full(5, 0.25, "float32")}, "LeakyReLU"),
    "elu": ([node("Elu", "h", "z", alpha=0.5)], {}, "ELU"),
    "celu": ([node("Celu", "h", "z")], {}, "ELU"),
    "selu": ([node("Selu", "h", "z")], {}, "ELU Rescale"),
    "softplus": ([node("Softplus", "h", "z")], {}, "Softplus"),
    "log of exp": (
        [node("Exp", "h", "1"), node("Add", "1 one", "2"), node("Log", "2", "z")],
        {"one": number(1)},
        "Softplus",
    ),
    "threshold": (
        [node("Greater", "h most", "1"), node("Softplus", "h", "2"), node("Where", "1 h 2", "z")],
        {"most": number(20)},
        "Softplus",
    ),
    "silu": ([node("Sigmoid", "h", "1"), node("Mul", "h 1", "z")], {}, "Swish"),
    "swish": (
        [node("Mul", "h beta", "0"), node("Sigmoid", "0", "1"), node("Mul", "1 h", "z")],
        {"beta": number(1.5)},
        "Swish",
    ),
    "gelu": ([node("Gelu", "h", "z")], {}, "GELU"),
    "gelu in parts": (
        [
            node("Div", "h root", "1"),
            node("Erf", "1", "2"),
            node("Add", "2 one", "3"),
            node("Mul", "h 3", "4"),
            node("Mul", "4 half", "z"),
        ],
        {"root": number(2**0.5), "one": number(1), "half": number(0.5)},
        "GELU",
    ),
    "tanh gelu in parts": (
        [
            node("Mul", "h half", "0"),
            node("Pow", "h three", "1"),
            node("Mul", "1 small", "2"),
            node("Add", "h 2", "3"),
            node("Mul", "3 root", "4"),
            node("Tanh", "4", "5"),
            node("Add", "5 one", "6"),
            node("Mul", "0 6", "z"),
        ],
        {
            n: number(a)
            for n, a in zip(["half", "three", "small", "root", "one"], [0.5, 3, 0.044715, 0.7978846, 1], strict=True)
        },
        "GELU",
    ),
    "dropout": ([node("Dropout", "h rate", "z")], {"rate": number(0.25)}, "Dropout"),
    "a factor of all": ([node("Mul", "h two", "z")], {"two": number(2)}, ""),
    "a scale": ([node("Mul", "h scale", "z")], {"scale": floats(5)}, ""),
    "a shift, twice": ([node("Add", "h b", "1"), node("Sub", "b 1", "z")], {}, ""),
    "batch normalization": (
        [node("BatchNormalization", "h s b m v", "z", epsilon=1e-3, momentum=0.8)],
        {"s": floats(5), "m": floats(5), "v": floats(5) ** 2},
        "BatchNorm",
    ),
    "batch normalization in parts, behind an activation": (
        [node("Relu", "h", "0"), node("Mul", "0 s", "1"), node("Sub", "1 b", "z")],
        {"s": floats(5)},
        "ReLU",
    ),
    "layer normalization": (
        [node("LayerNormalization", "h s b", "z", axis=-1, epsilon=1e-3)],
        {"s": floats(5)},
        "LayerNorm",
    ),
    "skip": (
        [node("Relu", "h", "1"), node("MatMul", "1 U", "2"), node("Add", "2 b", "3"), node("Add", "h 3", "z")],
        {"U": floats(5, 5)},
        "Residual",
    ),
    "skip in skip": (
        [
            node("Tanh", "h", "1"),
            node("MatMul", "1 U", "2"),
            node("Sigmoid", "2", "3"),
            node("Add", "3 2", "4"),
            node("Add", "4 h", "z"),
        ],
        {"U": floats(5, 5)},
        "Residual",
    ),
    "three branches": (
        [node("Gemm", "h U b", "1"), node("Gemm", "h T", "2"), node("Tanh", "2", "3"), node("Sum", "1 3 h", "z")],
        {"U": floats(5, 5), "T": floats(5, 5)},
        "Add",
    ),
    "features together": (
        [
            node("Gemm", "h U", "1"),
            node("Relu", "h", "2"),
            node("Concat", "1 2", "3", axis=-1),
            node("Gemm", "3 T", "z"),
        ],
        {"U": floats(5, 2), "T": floats(7, 5)},
        "Concat Affine",
    ),
    "to and fro": (
        [node("Unsqueeze", "h one", "1"), node("Transpose", "1", "2", perm=[0, 2, 1]), node("Squeeze", "2 two", "z")],
        {"one": np.asarray([1]), "two": np.asarray([2])},
        "",
    ),
    "a shape that depends on the number of samples": (
        [
            node("Shape", "h", "0"),
            node("Gather", "0 first", "1", axis=0),
            node("Unsqueeze", "1 axis", "2"),
            node("Concat", "2 rest", "3", axis=0),
            node("Reshape", "h 3", "z"),
        ],
        {"first": np.asarray(0), "axis": np.asarray([0]), "rest": np.asarray([-1])},
        "",
    ),
}


@pytest.mark.parametrize("case", BETWEEN)
def test_what_is_between_two_products(case, path):
    between, arrays, expected = BETWEEN[case]
    write(path, model([FIRST, *between, LAST], ARRAYS | arrays, (4,)))
    net, _ = agree(path, floats(7, 4))
    assert kinds(net) == " ".join(filter(None, ["Affine", expected, "Affine"]))
    assert net.loss_layer.__class__.__name__ == "SoftmaxWithLoss"
    assert learns(net, floats(8, 4))


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 15, 17, 22])
def test_versions_of_operators(opset, path):
    import onnxruntime

    if opset > 21 and tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 20):
        pytest.skip(f"onnxruntime {onnxruntime.__version__} does not know operators of version {opset}")
    nodes = [FIRST, node("Relu", "h", "z"), node("MatMul", "z V", "s"), node("Softmax", "s", "y", axis=1)]
    write(path, model(nodes, ARRAYS, (4,), opset=opset))
    net, said = agree(path, floats(3, 4))
    assert kinds(net) == "Affine ReLU Affine"
    assert "Softmax for y (Softmax) at its end is left to the loss: predict gives scores" in said


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.5, 2.0), (-1.5, 0.0)])
@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("b", [(5,), (1, 5), (1,), ()])
def test_gemm(alpha, beta, turned, b, path):
    given = node("Gemm", "x W b", "y", alpha=alpha, beta=beta, transB=turned)
    write(path, model([given], {"W": W.T if turned else W, "b": floats(*b)}, (4,)))
    net, _ = agree(path, floats(3, 4))
    assert list(net.params) == ["W1", "b1"]


def test_weights_that_are_computed(path):
    nodes = [
        node("Constant", "", "t", value=numpy_helper.from_array(W.T.copy())),
        node("Transpose", "t", "1"),
        node("Cast", "1", "2", to=TensorProto.FLOAT),
        node("Mul", "2 s", "3"),
        node("Identity", "3", "4"),
        node("Gemm", "x 4", "y"),
    ]
    write(path, model(nodes, {"s": floats(5)}, (4,)))
    net, _ = agree(path, floats(3, 4))
    assert kinds(net) == "Affine"


DTYPES = {"float16": 3e-2, "float64": 1e-12}


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("typed", [False, True])
def test_other_dtypes(name, typed, path):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(name))
    arrays = {"W": W.astype(name), "b": B.astype(name), "V": V.astype(name)}
    if typed:  # in a field of numbers, and not as bytes
        values = {n: a.view("uint16") if name == "float16" else a for n, a in arrays.items()}
        field = {"float16": "int32_data", "float64": "double_data"}[name]
        tensors = {n: TensorProto(name=n, data_type=kind, dims=a.shape) for n, a in arrays.items()}
        for n, tensor in tensors.items():
            getattr(tensor, field).extend(values[n].reshape(-1).tolist())
        arrays = tensors
    write(path, model([FIRST, node("Relu", "h", "z"), LAST], arrays, (4,), kind=kind, out=kind))
    net, said = agree(path, floats(3, 4, dtype=name), rtol=DTYPES[name], atol=DTYPES[name])
    assert net.params["W1"].dtype == ("float64" if name == "float64" else "float32")
    assert ("weights of float16 became float32" in said) == (name == "float16")


def test_bfloat16(path):
    a = helper.make_tensor("W", TensorProto.BFLOAT16, (2, 2), [1.0, -2.5, 3.140625, 0.0])
    nodes = [node("Cast", "W", "w", to=TensorProto.FLOAT), node("MatMul", "x w", "y")]
    write(path, model(nodes, {"W": a}, (2,)))
    net, _ = agree(path, floats(3, 2))
    np.testing.assert_array_equal(net.params["W1"], [[1.0, -2.5], [3.140625, 0.0]])


def test_rows_of_a_table(path):
    nodes = [
        node("Gather", "table x", "1"),
        node("MatMul", "1 W", "2"),
        node("Add", "2 b", "3"),
        node("Flatten", "3", "z"),
        node("MatMul", "z V", "y"),
    ]
    arrays = {"table": floats(9, 4), "W": W, "b": B, "V": floats(15, 3)}
    write(path, model(nodes, arrays, (3,), kind=TensorProto.INT64))
    net, _ = agree(path, RNG.integers(0, 9, (4, 3)))
    assert kinds(net) == "Embedding TimeDistributed Affine"


def test_a_classifier_of_two_has_one_score(path):
    nodes = [node("Gemm", "x W b", "s"), node("Sigmoid", "s", "p"), node("Sub", "one p", "q")]
    nodes += [node("Concat", "q p", "y", axis=1), node("ArgMax", "y", "label", axis=1)]
    made = model(nodes, {"W": W[:, :1], "b": B[:1], "one": number(1)}, (4,), outputs=("label", "y"))
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    net, said = agree(write(path, made), floats(6, 4))
    assert kinds(net) == "Affine"
    assert net.loss_layer.__class__.__name__ == "SigmoidWithLoss"
    assert "left out: label" in said


LOSSES = {
    ("Softmax", "SoftmaxWithLoss"): "Affine",
    ("Softmax", "MeanSquaredError"): "Affine Softmax",
    ("LogSoftmax", "SoftmaxWithLoss"): "Affine",
    ("Sigmoid", "SigmoidWithLoss"): "Affine",
    ("Sigmoid", "SumSquaredError"): "Affine Sigmoid",
}


@pytest.mark.parametrize(("end", "loss"), LOSSES)
def test_the_loss_says_what_of_the_end_is_a_layer(end, loss, path):
    from xpnet import losses

    write(path, model([node("MatMul", "x W", "s"), node(end, "s", "y")], {"W": W}, (4,)))
    net, said = agree(path, floats(6, 4), loss=getattr(losses, loss)())
    assert kinds(net) == LOSSES[end, loss]
    assert type(net.loss_layer).__name__ == loss
    assert bool(said) == (net.layers.keys() == {"Affine1"})


def test_one_score_is_a_number(path):
    write(path, model([node("MatMul", "x W", "y")], {"W": W[:, :1]}, (4,)))
    net, _ = agree(path, floats(6, 4))
    assert type(net.loss_layer).__name__ == "MeanSquaredError"


def test_a_file_for_so_many_samples_becomes_a_network_for_any(path):
    nodes = [node("Reshape", "x shape", "1"), node("Gemm", "1 W b", "y")]
    write(path, model(nodes, {"shape": np.asarray([3, 4]), "W": W, "b": B}, (2, 2), samples=3))
    net, _ = agree(path, floats(3, 2, 2))
    assert net.predict(floats(7, 2, 2)).shape == (7, 5)


def test_every_activation_here_is_told_from_all_others():
    from xpnet.onnx.reading.formulas import recognized

    for layer in (
        layers.ReLU(),
        layers.LeakyReLU(0.01),
        layers.Sigmoid(),
        layers.Tanh(),
        layers.GELU(),
        layers.GELU(exact=True),
        layers.Swish(),
        layers.Swish(1.7),
        layers.Softplus(),
        layers.ELU(),
        layers.ELU(0.3),
        layers.Rescale(0.2),
        layers.Identity(),
    ):
        assert recognized(lambda x, layer=layer: layer.predict({}, x)) == layer
    for function in (lambda x: x * x, lambda x: np.clip(x, 0, 6), np.sin, lambda x: x + 1, lambda x: x > 0, np.log):
        assert recognized(function) is None
