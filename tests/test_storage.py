"""Files that are there whole or not at all: bytes, arrays, networks, histories."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from xpnet import Evaluation, History, MultiLayerNet, TwoLayerNet, storage, tensors

DTYPES = ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool"]


@pytest.fixture
def umask():
    """``umask(mask)`` until the test ends."""
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def refuse(error):
    def function(*arguments):
        raise error

    return function


def safetensors(name, dtype, shape, data):
    entry = {name: {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}
    header = json.dumps(entry).encode()
    return struct.pack("<Q", len(header)) + header + data


def bits(params):
    return {name: np.asarray(p).tobytes() for name, p in params.items()}


def test_write_bytes_writes_and_replaces(tmp_path):
    path = tmp_path / "file"
    for data in (b"first, which is longer", b"second", b""):
        storage.write_bytes(str(path), data)
        assert path.read_bytes() == data
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(function, error, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(storage.os, function, refuse(error))
    with pytest.raises(type(error)):
        storage.write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_a_failed_first_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.os, "fsync", refuse(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        storage.write_bytes(tmp_path / "file", b"new")
    assert names_in(tmp_path) == []


def test_a_file_is_synced_before_it_takes_its_place(tmp_path, monkeypatch):
    path, seen = tmp_path / "file", []
    path.write_bytes(b"old")
    fsync = os.fsync

    def watched(descriptor):
        seen.append((path.read_bytes(), os.fstat(descriptor).st_size))
        fsync(descriptor)

    monkeypatch.setattr(storage.os, "fsync", watched)
    storage.write_bytes(path, b"the new one")
    assert (b"old", len(b"the new one")) in seen


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_of_a_file_respects_the_umask(mask, mode, tmp_path, umask):
    umask(mask)
    storage.write_bytes(tmp_path / "file", b"data")
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode
    assert os.umask(mask) == mask  # it is as it was


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
        safetensors("a", "F32", [3], bytes(8)),
        safetensors("a", "BF16", [2], bytes(4)),  # valid, but of a dtype that NumPy does not have
        safetensors("a", "F8_E4M3", [2], bytes(2)),
        safetensors("a", "U8", [1] * 65, bytes(1)),  # valid, but of more dimensions than NumPy has
    ],
    ids=["png", "zip", "json", "huge header", "short data", "bfloat16", "float8", "65 dimensions"],
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_comes_back_as_it_was(dtype, backend, tmp_path):
    net = TwoLayerNet(5, 4, 3, seed=1, dtype=dtype, backend=backend)
    other = TwoLayerNet(5, 4, 3, seed=2, dtype=dtype, backend=backend)
    expected = {name: backend.to_numpy(p) for name, p in net.params.items()}
    net.save(tmp_path / "net.safetensors")
    other.load(str(tmp_path / "net.safetensors"))
    stored = load_file(tmp_path / "net.safetensors")
    assert list(other.params) == ["W1", "b1", "W2", "b2"]
    assert set(stored) == set(other.params)
    for name, value in expected.items():
        loaded = other.params[name]
        assert loaded.dtype == net.params[name].dtype
        np.testing.assert_array_equal(backend.to_numpy(loaded), value)
        np.testing.assert_array_equal(stored[name], value)
        assert stored[name].dtype == dtype
    x = backend.asarray(np.ones((2, 5), dtype))
    np.testing.assert_array_equal(backend.to_numpy(other.predict(x)), backend.to_numpy(net.predict(x)))


def test_a_network_saved_on_one_backend_loads_on_another(backend, tmp_path):
    net = TwoLayerNet(5, 4, 3, seed=1, backend="numpy")
    net.save(tmp_path / "net")
    other = TwoLayerNet(5, 4, 3, seed=2, backend=backend)
    other.load(tmp_path / "net")
    for name, p in net.params.items():
        np.testing.assert_array_equal(backend.to_numpy(other.params[name]), p)


@pytest.mark.parametrize(
    "other",
    [
        TwoLayerNet(5, 4, 2, seed=1, backend="numpy"),
        TwoLayerNet(4, 5, 3, seed=1, backend="numpy"),
        TwoLayerNet(5, 4, 3, seed=1, backend="numpy", dtype="float64"),
        MultiLayerNet(5, [4, 4], 3, seed=1, backend="numpy"),
    ],
    ids=["outputs", "sizes", "dtype", "layers"],
)
def test_parameters_of_another_network_are_refused_and_none_is_taken(other, tmp_path):
    net = TwoLayerNet(5, 4, 3, seed=0, backend="numpy")
    before, before_params = bits(net.params), dict(net.params)
    other.save(tmp_path / "other")
    with pytest.raises(ValueError, match="does not fit this network") as raised:
        net.load(tmp_path / "other")
    assert str(tmp_path / "other") in str(raised.value)
    theirs = {name: (tuple(p.shape), p.dtype.name) for name, p in other.params.items()}
    ours = {name: (tuple(p.shape), p.dtype.name) for name, p in before_params.items()}
    for name in theirs.keys() | ours.keys():  # each difference is listed, and nothing else
        assert (f"{name} " in str(raised.value)) == (theirs.get(name) != ours.get(name))
    assert bits(net.params) == before


def test_a_damaged_file_is_refused_and_the_network_keeps_its_parameters(tmp_path):
    net, path = TwoLayerNet(5, 4, 3, seed=0, backend="numpy"), tmp_path / "net"
    before = bits(net.params)
    TwoLayerNet(5, 4, 3, seed=1, backend="numpy").save(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="safetensors"):
        net.load(path)
    assert bits(net.params) == before


def test_a_history_is_strict_json_whatever_the_losses(tmp_path):
    evaluations = [Evaluation(0, 0, 0.1, None), Evaluation(1.5, 3, 0.9, 0.8)]
    history = History([2.5, float("inf"), float("-inf"), float("nan")], evaluations, samples=300, seconds=1.5)
    history.save(tmp_path / "history.json", settings={"lr": 0.1, "hidden": (20, 10)})
    text = (tmp_path / "history.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found == history.to_dict() | {"settings": {"lr": 0.1, "hidden": [20, 10]}}
    assert found["losses"] == [2.5, None, None, None]
    assert [found[k] for k in ("iterations", "samples", "seconds", "samples_per_second")] == [4, 300, 1.5, 200]
    none = {"train_loss": None, "test_loss": None, "ends_epoch": False}
    assert found["evaluations"][0] == {"epoch": 0, "iteration": 0, "train": 0.1, "test": None} | none
    assert found["evaluations"][1] == {"epoch": 1.5, "iteration": 3, "train": 0.9, "test": 0.8} | none


def test_an_empty_history_is_written_too(tmp_path):
    History().save(tmp_path / "history.json")
    found = json.loads((tmp_path / "history.json").read_text())
    assert (found["losses"], found["evaluations"], found["samples_per_second"]) == ([], [], 0)


def test_a_history_that_cannot_be_written_as_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "history.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="JSON"):
        History([1.0]).save(path, settings=float("nan"))
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["history.json"]


@pytest.mark.skipif(os.name != "posix", reason="links and modes are others elsewhere")
def test_a_link_stays_a_link_and_a_mode_stays_a_mode(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to(target)
    storage.write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="nowhere/weights"):
        storage.write_bytes(tmp_path / "nowhere" / "weights", b"")


def test_a_file_has_the_same_bytes_in_every_process(tmp_path):
    """Whatever the order in which a library keeps texts: a run with a seed is the same to the last bit."""
    code = "import sys, xpnet; xpnet.TwoLayerNet(3, 2, 2, seed=0, backend='numpy').save(sys.argv[1])"
    for name in "abcd":
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1
