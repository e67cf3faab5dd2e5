"""Files that are there whole or not at all: bytes, networks, histories."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import load_file

from xpnet import Evaluation, History, MultiLayerNet, TwoLayerNet
from xpnet.serialization import atomic


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


def bits(params):
    return {name: np.asarray(p).tobytes() for name, p in params.items()}


def test_write_bytes_writes_and_replaces(tmp_path):
    path = tmp_path / "file"
    for data in (b"first, which is longer", b"second", b""):
        atomic.write_bytes(str(path), data)
        assert path.read_bytes() == data
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(function, error, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(atomic.os, function, refuse(error))
    with pytest.raises(type(error)):
        atomic.write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_a_failed_first_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.os, "fsync", refuse(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        atomic.write_bytes(tmp_path / "file", b"new")
    assert names_in(tmp_path) == []


def test_a_file_is_synced_before_it_takes_its_place(tmp_path, monkeypatch):
    path, seen = tmp_path / "file", []
    path.write_bytes(b"old")
    fsync = os.fsync

    def watched(descriptor):
        seen.append((path.read_bytes(), os.fstat(descriptor).st_size))
        fsync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", watched)
    atomic.write_bytes(path, b"the new one")
    assert (b"old", len(b"the new one")) in seen


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_of_a_file_respects_the_umask(mask, mode, tmp_path, umask):
    umask(mask)
    atomic.write_bytes(tmp_path / "file", b"data")
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode
    assert os.umask(mask) == mask  # it is as it was


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
    both = zip(found["evaluations"], ((0, 0, 0.1, None), (1.5, 3, 0.9, 0.8)), strict=True)
    for evaluation, (epoch, iteration, train, validation) in both:
        wanted = {"epoch": epoch, "iteration": iteration, "train_accuracy": train, "validation_accuracy": validation}
        nothing = dict.fromkeys(("train_loss", "validation_loss", "train_r2", "validation_r2"))
        assert evaluation == wanted | nothing | {"ends_epoch": False, "regular": False}


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
    atomic.write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="nowhere/weights"):
        atomic.write_bytes(tmp_path / "nowhere" / "weights", b"")


def test_a_file_has_the_same_bytes_in_every_process(tmp_path):
    """Whatever the order in which a library keeps texts: a run with a seed is the same to the last bit."""
    code = "import sys, xpnet; xpnet.TwoLayerNet(3, 2, 2, seed=0, backend='numpy').save(sys.argv[1])"
    for name in "abcd":
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666, 0o640, 0o400, 0o755])
def test_a_file_that_is_replaced_passes_its_mode_on(mode, tmp_path, umask):
    umask(0o027)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_files_of_other_threads_keep_their_modes(tmp_path, umask, monkeypatch):
    """The umask is the process's: to ask for it is to change it for a moment."""
    umask(0o077)
    done, modes = threading.Event(), set()
    (tmp_path / "others").mkdir()

    def others():
        for i in itertools.count():
            path = tmp_path / "others" / str(i)
            path.touch()
            modes.add(path.stat().st_mode & 0o777)
            path.unlink()
            if done.is_set():
                return

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    asked = []
    monkeypatch.setattr(atomic.os, "umask", lambda mask: asked.append(mask) or 0)
    thread = threading.Thread(target=others)
    thread.start()
    try:
        for i in range(300):
            atomic.write_bytes(tmp_path / f"file{i % 3}", b"data")
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert modes == {0o600}
    assert not asked
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("file*")} == {0o600}


def test_threads_that_write_one_file_leave_one_of_them_whole(tmp_path):
    contents = [bytes([i]) * 10_000 for i in range(4)]

    def write(data):
        for _ in range(25):
            atomic.check_writable(tmp_path / "file", len(data))
            atomic.write_bytes(tmp_path / "file", data)
            assert (tmp_path / "file").read_bytes() in contents

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, contents))
    assert names_in(tmp_path) == ["file"]


def test_the_memory_of_a_container_is_what_there_is(tmp_path, monkeypatch):
    (tmp_path / "unlimited").write_bytes(b"max\n")
    monkeypatch.setattr(atomic, "CGROUPS", (tmp_path / "unlimited", tmp_path / "missing"))
    machine = atomic.memory()
    assert machine >= 2**28
    (tmp_path / "limited").write_bytes(b"1000000\n")
    monkeypatch.setattr(atomic, "CGROUPS", (tmp_path / "unlimited", tmp_path / "limited"))
    assert atomic.memory() == 1_000_000
