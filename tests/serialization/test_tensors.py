"""Arrays in files: as they were, as the format's own library has them, in little memory, and refused with a reason."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc

import checkpoint_cases as cases
import checkpoint_damage as damage
import numpy as np
import pytest
import safetensors.numpy
from safetensors.numpy import load_file

from xpnet import SGD, CheckpointError, Trainer, TwoLayerNet, load_network
from xpnet.backends.dispatch import get_backend
from xpnet.serialization import tensors

DTYPES = ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "uint64", "complex64", "bool"]


def file_of(name, dtype, shape, data):
    entry = {name: {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}
    header = json.dumps(entry).encode()
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_come_back_as_they_were(dtype, tmp_path, rng):
    a = rng.integers(0, 2 if dtype == "bool" else 100, (3, 4, 5)).astype(dtype)
    arrays = {
        "plain": a,
        "fortran": np.asfortranarray(a),
        "transposed": a.T,
        "every second": a[::2, :, ::-2],
        "broadcast": np.broadcast_to(a[0], (6, 4, 5)),
        "empty": a[:0],
        "読み": a[0],
    }
    tensors.write_arrays(tmp_path / "arrays", arrays, {"about": "a test"})
    for found in (tensors.read_arrays(tmp_path / "arrays"), load_file(tmp_path / "arrays")):
        assert set(found) == set(arrays)
        for name, expected in arrays.items():
            assert (found[name].shape, found[name].dtype) == (expected.shape, expected.dtype), name
            np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i4", "<f4"])
def test_the_order_of_bytes_in_memory_is_not_kept(dtype, tmp_path):
    tensors.write_arrays(tmp_path / "arrays", {"a": np.array([[1, 2], [3, 4]], dtype)})
    for found in (tensors.read_arrays(tmp_path / "arrays"), load_file(tmp_path / "arrays")):
        assert found["a"].dtype == np.dtype(dtype).newbyteorder("=")
        assert found["a"].tolist() == [[1, 2], [3, 4]]


def test_an_array_without_dimensions_comes_back_without(tmp_path):
    tensors.write_arrays(tmp_path / "arrays", {"scale": np.array(1.5, "float32")})
    found = tensors.read_arrays(tmp_path / "arrays")["scale"]
    assert (found.shape, found.dtype, float(found)) == ((), "float32", 1.5)


def test_a_truncated_file_of_arrays_is_refused_by_name(tmp_path):
    path = tmp_path / "arrays"
    tensors.write_arrays(path, {"W": np.ones((2, 3)), "b": np.ones(3)}, {"about": "a test"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="safetensors") as raised:
            tensors.read_arrays(path)
        assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"PK\x03\x04" + bytes(100),
        b"{}" * 50,
        struct.pack("<Q", 2**62) + b"{}",
        file_of("a", "F32", [3], bytes(8)),
        file_of("a", "F8_E4M3", [2], bytes(2)),  # valid, but of a dtype that NumPy does not have
        file_of("a", "U8", [1] * 65, bytes(1)),  # valid, but of more dimensions than NumPy has
    ],
    ids=["png", "zip", "json", "huge header", "short data", "float8", "65 dimensions"],
)
def test_a_foreign_file_is_refused_by_name(content, tmp_path):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="foreign") as raised:
        tensors.read_arrays(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        tensors.read_arrays(tmp_path / "nothing-here")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS = {
    "a name twice": '{"a": %s, "a": %s}' % ((json.dumps(ENTRY),) * 2),
    "a number that is none": '{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 8]}}',
    "a gap": json.dumps({"a": ENTRY | {"data_offsets": [4, 12]}}),
    "an overlap": json.dumps({"a": ENTRY, "b": ENTRY}),
    "bytes behind": json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
    "a place before its end": json.dumps({"a": ENTRY | {"data_offsets": [8, 0]}}),
    "a fraction": json.dumps({"a": ENTRY | {"shape": [2.0]}}),
    "a truth for a size": json.dumps({"a": ENTRY | {"shape": [2, True]}}),
    "less than nothing": json.dumps({"a": ENTRY | {"shape": [-1, -2]}}),
    "an unknown dtype": json.dumps({"a": ENTRY | {"dtype": "F31"}}),
    "no dtype": json.dumps({"a": {"shape": [2], "data_offsets": [0, 8]}}),
    "three places": json.dumps({"a": ENTRY | {"data_offsets": [0, 4, 8]}}),
    "more than there is": json.dumps({"a": ENTRY | {"shape": [2**64 - 1] * 64}}),
    "a list": json.dumps([ENTRY]),
    "texts that are numbers": json.dumps({"__metadata__": {"a": 1}, "a": ENTRY}),
    "nested lists": "[" * 100_000,
    "half a byte": json.dumps({"a": {"dtype": "F4", "shape": [17], "data_offsets": [0, 8]}}),
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_cannot_be_is_refused(header, tmp_path):
    path, text = tmp_path / "file", HEADERS[header].encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(CheckpointError, match="cannot be read as safetensors") as raised:
        tensors.read_arrays(path)
    assert str(path) in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_truth_values_are_0_or_1(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(file_of("a", "BOOL", [3], b"\0\1\2"))
    with pytest.raises(CheckpointError, match="'a' has truth values that are neither 0 nor 1"):
        tensors.read_arrays(path)


def test_what_the_formats_library_reads_is_read_and_nothing_else(tmp_path, rng):
    """Files that are damaged at random, without a digest; but for truth values that are neither 0 nor 1."""
    path, read = tmp_path / "file", 0
    arrays = {"W": rng.normal(size=(2, 3)), "n": np.arange(4), "yes": rng.normal(size=5) > 0, "one": np.float32(2)}
    whole = safetensors.numpy.save({k: np.asarray(v) for k, v in arrays.items()}, {"about": "a test"})
    for _ in range(3000):
        data = damage.damaged(whole, rng)
        path.write_bytes(data)
        try:
            theirs = safetensors.numpy.load(data)
        except Exception:
            theirs = None
        try:
            ours = tensors.read_arrays(path)
        except CheckpointError:
            if theirs is not None:
                assert any(a.dtype == bool and (a.view("u1") > 1).any() for a in theirs.values())
            continue
        read += 1
        assert theirs is not None
        assert {k: (a.shape, a.dtype, a.tobytes()) for k, a in ours.items()} == {
            k: (a.shape, a.dtype, a.tobytes()) for k, a in theirs.items()
        }
    assert read > 30


@pytest.mark.parametrize("code", [*tensors.DTYPES, *tensors.OTHERS])
def test_a_network_says_which_dtype_its_weights_have(code, tmp_path):
    """Each that the format knows; NumPy has no bfloat16, and the message is the same."""
    net, path = TwoLayerNet(4, 3, 2, seed=0, backend="numpy"), tmp_path / "weights"
    name = tensors.DTYPES.get(code) or tensors.OTHERS[code][0]
    head, data = {}, b""
    for key, p in net.params.items():
        shape = p.shape if code[:2] not in ("F4", "F6") else (*p.shape[:-1], 4 * p.shape[-1])  # whole bytes
        bits = tensors.OTHERS[code][1] if code in tensors.OTHERS else 8 * np.dtype(name).itemsize
        end = len(data) + int(np.prod(shape)) * bits // 8
        head[key] = {"dtype": code, "shape": list(shape), "data_offsets": [len(data), end]}
        data = data.ljust(end, b"\0")
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    if code == "F32":
        net.load(path)
        assert not any(p.any() for p in net.params.values())
        return
    with pytest.raises(CheckpointError, match=f"W1 has dtype {name}, expected float32") as raised:
        net.load(path)
    assert str(path) in str(raised.value)
    if code[:2] not in ("F4", "F6"):
        same = "make the network with dtype='float64', or " if code == "F64" else ""
        assert str(raised.value).endswith(f". To use them, {same}save them as float32 in the program that wrote them")


def test_dtypes_have_the_names_that_torch_gives_them(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    for code, (name, _) in tensors.OTHERS.items():
        # it has two of the first in a byte, and not the next two; bfloat16 is read
        if code in ("F4", "F6_E2M3", "F6_E3M2", "BF16"):
            continue
        dtype = getattr(torch, name)
        try:
            save_file({"a": torch.zeros(3, dtype=torch.float32).to(dtype)}, tmp_path / code)
        except KeyError:  # a library that does not know all of them yet
            continue
        with pytest.raises(CheckpointError, match=f"'a' has dtype {name}, which NumPy does not have"):
            tensors.read_arrays(tmp_path / code)


def test_bfloat16_becomes_the_same_numbers_in_float32(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed, whose bfloat16 is the oracle")
    numbers = np.asarray([[0.0, -1.5, 3.140625], [2**-133, np.inf, np.nan]]).astype(ml_dtypes.bfloat16)
    (tmp_path / "arrays").write_bytes(file_of("a", "BF16", [2, 3], numbers.tobytes()))
    headers = []
    found = tensors.read_arrays(tmp_path / "arrays", lambda header, texts: headers.append(header))["a"]
    assert (found.dtype, headers) == ("float32", [{"a": ((2, 3), "bfloat16")}])
    np.testing.assert_array_equal(found, numbers.astype("float32"))


def with_dtype(data, code):
    """The same file, of which W1 has another dtype of as many bits."""
    arrays, about = damage.parts_of(data)
    sealed = damage.sealed(arrays, about)
    end = 8 + int.from_bytes(sealed[:8], "little")
    head = json.loads(sealed[8:end])
    head["W1"]["dtype"] = code
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + sealed[end:]


@pytest.mark.parametrize(("code", "name"), [("I32", "int32"), ("U32", "uint32")])
def test_every_reader_says_which_dtype_there_is(code, name, tmp_path):
    path = tmp_path / "file"
    for save, read in (
        (lambda t: t.net.save(path), lambda: load_network(path, backend="numpy")),
        (lambda t: t.save(path), lambda: Trainer.load(path, backend="numpy")),
        (lambda t: t.save(path), lambda: Trainer.load(path, net=cases.network("numpy"))),
    ):
        save(cases.trainer_of("adam", get_backend("numpy")))
        path.write_bytes(with_dtype(path.read_bytes(), code))
        with pytest.raises(CheckpointError, match=f"W1 has dtype {name}, expected float32") as raised:
            read()
        assert str(path) in str(raised.value)


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(tmp_path):
    """Whoever maps such a file ends with a signal."""
    path = tmp_path / "file"
    tensors.write_arrays(path, {"a": np.ones(100), "b": np.ones(2**20)})

    def shorten(name, array):
        os.truncate(path, 2**20)
        return array

    with pytest.raises(CheckpointError, match="became shorter while it was read") as raised:
        tensors.read_arrays(path, place=shorten)
    assert str(path) in str(raised.value)


def peak(function):
    """The most memory that NumPy and Python had at once while it was called, beyond what they had before."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_weights_are_read_and_written_without_copies_of_them(tmp_path):
    net = TwoLayerNet(2000, 1000, 10, seed=0, backend="numpy")
    trainer = Trainer(net, SGD(lr=0.1), batch_size=2, seed=0)
    size = sum(p.nbytes for p in net.params.values())
    assert peak(lambda: net.save(tmp_path / "weights")) < 0.1 * size
    assert peak(lambda: trainer.save(tmp_path / "checkpoint")) < 0.1 * size
    assert peak(lambda: net.load(tmp_path / "weights")) < 1.1 * size
    assert peak(lambda: net.load(tmp_path / "checkpoint")) < 1.1 * size


def test_what_is_read_belongs_to_the_network_alone(backend, tmp_path):
    """Nothing was copied, and yet no array shares its memory with another."""
    net = TwoLayerNet(300, 200, 10, seed=0, backend=backend)
    net.save(tmp_path / "weights")
    before = {name: backend.to_numpy(p).copy() for name, p in net.params.items()}
    first, second = (load_network(tmp_path / "weights", backend=backend) for _ in range(2))
    net.load(tmp_path / "weights")
    for other in (first, second, net):
        for name, p in other.params.items():
            np.testing.assert_array_equal(backend.to_numpy(p), before[name])
    for name in before:
        assert not np.shares_memory(backend.to_numpy(first.params[name]), backend.to_numpy(second.params[name]))


@pytest.mark.parametrize("dtype", ["longdouble", "complex128", "O", "U3", "datetime64[s]"])
def test_what_a_file_cannot_hold_is_refused_and_nothing_written(dtype, tmp_path):
    with pytest.raises(ValueError, match=r"a has dtype .*, and a file can hold: "):
        tensors.write_arrays(tmp_path / "file", {"a": np.zeros(2, dtype)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["__metadata__", "\ud800"])
def test_names_that_a_file_cannot_hold_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="cannot have the name"):
        tensors.write_arrays(tmp_path / "file", {name: np.zeros(2)})
    assert not list(tmp_path.iterdir())


def test_a_header_that_would_not_be_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "LONGEST_HEADER", 2**10)
    with pytest.raises(ValueError, match="expected at most 1024"):
        tensors.write_arrays(tmp_path / "file", {f"array {i}": np.zeros(1) for i in range(50)})
    assert not list(tmp_path.iterdir())
