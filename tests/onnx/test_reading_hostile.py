"""Files that are damaged or hostile: a plain error, soon, and without the memory that they ask for."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from onnx_graphs import TensorProto, agree, loaded, model, node, numpy_helper, refused, write

from xpnet import TwoLayerNet, load_onnx
from xpnet.errors import CheckpointError

W = np.ones((4, 5), "float32")


def lengthy(number):
    """A number of variable length, as protobuf has it."""
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def message(field, content):
    return lengthy(field << 3 | 2) + lengthy(len(content)) + content


OPSET = message(8, lengthy(2 << 3) + lengthy(20))


@pytest.mark.parametrize("what", ["nodes", "attributes", "graphs in graphs", "axes"])
def test_a_small_file_that_would_take_much_memory(what, path):
    """Two bytes of a file can be hundreds in memory: they are counted first."""
    many = 260_000
    if what == "graphs in graphs":
        content = b""
        for _ in range(5000):
            content = message(1, message(5, message(6, content)))
    else:
        content = {
            "nodes": message(1, b"") * many,
            "attributes": message(1, message(5, b"") * many),
            "axes": message(5, (lengthy(1 << 3) + b"\1") * many),
        }[what]
    path.write_bytes(message(7, content) + OPSET)
    refused(path, "more than 250000 fields|cannot be parsed|no ONNX model")


def test_as_many_nodes_as_no_network_has(path):
    nodes = [node("Relu", "x" if i == 0 else f"h{i}", f"h{i + 1}") for i in range(10_001)]
    refused(write(path, model(nodes, {}, (4,), outputs=("h10001",))), "10001 nodes, and at most 10000 are read")


def test_sums_that_double(path):
    """A chain of sums whose parts are there more and more often, if one writes them down."""
    nodes = [node("MatMul", "x U", "h0"), node("Tanh", "h0", "h1")]
    nodes += [node("Tanh", f"h{i}", f"t{i}") for i in range(1, 60)]
    nodes += [node("Add", f"t{i} h{i - 1}", f"h{i + 1}") for i in range(1, 60)]
    order = sorted(nodes, key=lambda n: (int(n.output[0][1:]) - (n.output[0][0] == "h") / 2, n.output[0]))
    refused(
        write(path, model(order, {"U": np.ones((4, 4), "float32")}, (4,), outputs=("h60",))),
        "part and meet|in two pl|more than",
    )


def test_arithmetic_of_whole_numbers(path):
    nodes = [node("Div", "x two", "h"), node("Cast", "h", "f", to=TensorProto.FLOAT), node("MatMul", "f W", "y")]
    made = model(nodes, {"W": W, "two": np.asarray(2)}, (4,), kind=TensorProto.INT64)
    refused(write(path, made), r"Div for h \(Div\): it computes with whole numbers")


def test_many_formulas(path):
    nodes, value = [node("MatMul", "x W", "h")], "h"
    for i in range(9000):
        nodes.append(node("Clip" if i % 2 else "Mul", f"{value} two", f"t{i}"))
        value = f"t{i}"
    made = model(nodes, {"W": W, "two": np.float32(2)}, (4,), outputs=(value,))
    refused(write(path, made), "(too many formulas|no activation)")


def test_large_samples_that_are_moved_often(path):
    nodes, value = [], "x"
    for i in range(3000):
        nodes.append(node("Transpose", value, f"t{i}", perm=[0, 2, 1]))
        value = f"t{i}"
    nodes += [node("Flatten", value, "h"), node("Relu", "h", "y")]
    refused(write(path, model(nodes, {}, (1500, 2000))), "too large to be moved so often")
    refused(write(path, model(nodes, {}, (2**30, 2**30))), r"a sample of shape \(1073741824, 1073741824\)")


def test_branches_in_branches(path):
    value, nodes = "x", []
    for i in range(400):
        nodes.append(node("Tanh", value, f"t{i}"))
        value = f"t{i}"
    for i in reversed(range(400)):
        nodes.append(node("Add", f"{value} {f't{i - 1}' if i else 'x'}", f"a{i}"))
        value = f"a{i}"
    refused(
        write(path, model([*nodes, node("MatMul", f"{value} W", "y")], {"W": W}, (4,))),
        "in more than 50 others",
    )


ARRAYS_THAT_ARE_NONE = {
    "too few bytes": ({"raw_data": bytes(12)}, r"the array W has 3 numbers, and 20 by its shape \(4, 5\)"),
    "too few numbers": ({"float_data": [1.0] * 3}, "has 3 numbers, and 20"),
    "a huge shape": ({"dims": [2**40, 2**40], "raw_data": bytes(80)}, "has 20 numbers, and 1208925819614629174706176"),
    "a negative length": ({"dims": [-1, 5], "raw_data": bytes(80)}, "which is none"),
    "no length": ({"dims": [0, 5], "raw_data": b""}, "weights have shape"),
    "texts": ({"data_type": TensorProto.STRING, "string_data": [b"a"] * 20}, "the dtype STRING, which is not read"),
    "a dtype of tomorrow": ({"data_type": 99, "raw_data": bytes(80)}, "the dtype number 99"),
    "integers": ({"data_type": TensorProto.INT64, "int64_data": [1] * 20}, "is of dtype int64"),
}


@pytest.mark.parametrize("case", ARRAYS_THAT_ARE_NONE)
def test_arrays_that_are_none(case, path):
    fields, message = ARRAYS_THAT_ARE_NONE[case]
    tensor = TensorProto(**({"name": "W", "data_type": TensorProto.FLOAT, "dims": [4, 5]} | fields))
    refused(write(path, model([node("MatMul", "x W", "y")], {"W": tensor}, (4,))), message)


def outside(location, **entries):
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[4, 5], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return model([node("MatMul", "x W", "y")], {"W": tensor}, (4,))


def test_arrays_beside_the_file(path):
    data = np.arange(20.0, dtype="float32")
    (path.parent / "deep").mkdir()
    (path.parent / "deep" / "weights.bin").write_bytes(b"12345678" + data.tobytes())
    write(path, outside("deep/weights.bin", offset=8, length=80))
    net, _ = agree(path, np.ones((2, 4), "float32"))
    np.testing.assert_array_equal(net.params["W1"], data.reshape(4, 5))


@pytest.mark.parametrize("kind", ["above", "absolute", "link", "link to a folder", "null", "empty", "itself"])
def test_arrays_outside_of_the_folder(kind, path, tmp_path_factory):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_bytes(bytes(80))
    location = {
        "above": os.path.relpath(secret, path.parent),
        "absolute": str(secret),
        "null": "sec\0ret",
        "empty": "",
        "itself": ".",
    }.get(kind, "link")
    if kind.startswith("link"):
        if sys.platform == "win32":
            pytest.skip("links need a right there that few have")
        (path.parent / "link").symlink_to(secret if kind == "link" else secret.parent)
        location = "link" if kind == "link" else "link/secret"
    write(path, outside(location))
    refused(path, "which is not in the folder of the model" if kind != "itself" else "is no file|not in the folder")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": 8}, "has 80 bytes by its shape, and names 80 from byte 8 on"),
        ({"length": 12}, "names 12 from"),
        ({"offset": -8}, "from byte -8"),
        ({"offset": 2**62}, "from byte"),
        ({"offset": "here"}, "that is no number"),
        ({"length": "9" * 5000}, "that is no number"),
    ],
)
def test_places_that_are_none(entries, message, path):
    (path.parent / "weights.bin").write_bytes(bytes(80))
    refused(write(path, outside("weights.bin", **entries)), message)


def test_a_file_beside_that_is_missing(path):
    write(path, outside("weights.bin"))
    with pytest.raises(FileNotFoundError, match=r"weights\.bin"):
        load_onnx(path)


def test_a_pipe_beside_is_not_waited_for(path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no pipes with names")
    os.mkfifo(path.parent / "weights.bin")
    write(path, outside("weights.bin"))
    refused(path, "is no file")


def test_a_truncated_file(path):
    whole = model([node("MatMul", "x W", "h"), node("Relu", "h", "y")], {"W": W}, (4,)).SerializeToString()
    path.write_bytes(whole)
    loaded(path)
    for length in range(0, len(whole) - 30, 7):  # the versions of operators are at the end, that of ONNX's first
        path.write_bytes(whole[:length])
        refused(path)


def damaged(whole, rng):
    """The same bytes, but for some."""
    found = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(found)))
        match rng.integers(4):
            case 0:
                found[place] ^= 1 << int(rng.integers(8))
            case 1:
                found[place] = int(rng.choice([0, 1, 127, 128, 255]))
            case 2:
                found[place:place] = rng.bytes(int(rng.integers(1, 9)))
            case _:
                del found[place : place + int(rng.integers(1, 9))]
    return bytes(found)


def test_damage_anywhere_is_an_error_or_a_network(path):
    """Nothing else comes of it: no other error, and no end of the process."""
    nodes = [
        node("Conv", "x K", "1", auto_pad="SAME_UPPER", strides=[2, 1]),
        node("Relu", "1", "2"),
        node("Add", "1 2", "3"),
        node("MaxPool", "3", "4", kernel_shape=[2, 2]),
        node("Transpose", "4", "5", perm=[0, 2, 3, 1]),
        node("Reshape", "5 rows", "6"),
        node("Dropout", "6", "7"),
        node("MatMul", "7 V", "8"),
        node("Erf", "8", "9"),
        node("Mul", "8 9", "10"),
        node("Constant", "", "two", value=numpy_helper.from_array(np.float32(2))),
        node("Pow", "10 two", "11"),
        node("Softmax", "11", "y"),
    ]
    arrays = {"K": np.ones((2, 1, 3, 3), "float32"), "V": np.ones((12, 3), "float32"), "rows": np.asarray([0, -1])}
    whole = model(nodes, arrays, (1, 4, 4)).SerializeToString()
    (path.parent / "own.onnx").touch()
    TwoLayerNet(4, 3, 2, backend="numpy").export(path.parent / "own.onnx", verify=False)
    own = (path.parent / "own.onnx").read_bytes()
    rng, counts = np.random.default_rng(0), {True: 0, False: 0}
    for i in range(400):
        path.write_bytes(damaged(own if i % 2 else whole, rng))
        try:
            loaded(path)
        except CheckpointError:
            counts[False] += 1
        else:
            counts[True] += 1
    assert counts[False] > 100
