"""What is a place for a file, and what is none: said by who writes, before the first step, and by who reads."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from xpnet import SGD, Evaluation, History, Trainer, TwoLayerNet, load_network
from xpnet.datasets import load_idx
from xpnet.plotting.runs import read_run
from xpnet.serialization import atomic
from xpnet.training import Checkpoint, CSVLog


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def bits(params):
    return {name: np.asarray(p).tobytes() for name, p in params.items()}


class Named:
    """What names a file, as ``os.PathLike`` says, and is no ``pathlib.Path``."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


@pytest.mark.parametrize("name", ["a b c.safetensors", "重み 重み", "*?<>|:", "-rf", "%s{}", "~", ".hidden", "x" * 255])
@pytest.mark.parametrize("kind", [str, os.fsencode, lambda path: path, lambda path: Named(os.fsencode(path))])
def test_whatever_names_a_file_names_it(name, kind, tmp_path):
    if os.name != "posix" and set(name) & set("*?<>|:"):
        pytest.skip("these are names on POSIX")
    net, path = TwoLayerNet(3, 2, 2, seed=1, backend="numpy"), kind(tmp_path / name)
    trainer = Trainer(net, SGD(lr=0.1), batch_size=2, seed=0)
    x, t = np.eye(3, dtype="float32"), np.arange(3) % 2
    trainer.fit(x, t, iterations=2, callbacks=[Checkpoint(path)], progress=False)
    assert names_in(tmp_path) == [name]
    assert Trainer.load(path, backend="numpy").iteration == 2
    net.save(path)
    net.load(path)
    assert bits(load_network(path, backend="numpy").params) == bits(net.params)


@pytest.mark.skipif(os.name != "posix", reason="a home folder is set in another way elsewhere")
def test_a_tilde_stands_for_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    net = TwoLayerNet(3, 2, 2, seed=1, backend="numpy")
    net.save("~/weights")
    net.load("~/weights")
    assert Checkpoint("~/weights").path == CSVLog("~/weights").path == tmp_path / "weights"
    History([1.0], [Evaluation(0, 0, 0.1, None, 2.0, None)]).save("~/history.json")
    assert read_run("~").losses == [1.0]
    net.save("~no-such-user-here")
    assert names_in(tmp_path) == ["history.json", "weights", "~no-such-user-here"]


#: How files are written, and what a training does before its first step.
WRITERS = {
    "bytes": lambda path, trainer: atomic.write_bytes(path, b"new"),
    "check": lambda path, trainer: atomic.check_writable(path),
    "network": lambda path, trainer: trainer.net.save(path),
    "trainer": lambda path, trainer: trainer.save(path),
    "check of trainer": lambda path, trainer: trainer.check_save(path),
    "history": lambda path, trainer: trainer.history.save(path),
    "callback": lambda path, trainer: trainer.fit(
        np.eye(3, dtype="float32"), np.arange(3) % 2, epochs=3, callbacks=[Checkpoint(path)], progress=False
    ),
}


@pytest.fixture(params=WRITERS)
def refused(request):
    """``refused(path, error, message)``: the writer refuses the path, before any step is taken."""

    def attempt(path, error, message):
        trainer = Trainer(TwoLayerNet(3, 2, 2, seed=1, backend="numpy"), SGD(lr=0.1), batch_size=2, seed=0)
        with pytest.raises(error, match=message) as raised:
            WRITERS[request.param](path, trainer)
        assert trainer.iteration == 0
        assert not trainer.history.evaluations
        if isinstance(raised.value, OSError):
            assert os.fsdecode(path).rstrip("/") in str(raised.value)

    return attempt


def test_a_folder_is_no_place_for_a_file(refused, tmp_path):
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", IsADirectoryError, "this is a folder; give the name of a file in it")
    refused(f"{tmp_path}/folder", IsADirectoryError, "this is a folder")
    assert names_in(tmp_path) == ["folder"]
    assert names_in(tmp_path / "folder") == []


def test_a_name_that_ends_as_that_of_a_folder_is_no_files(refused, tmp_path):
    refused(f"{tmp_path}/new/", IsADirectoryError, "this names a folder")
    assert names_in(tmp_path) == []


def test_a_folder_that_is_missing_is_said(refused, tmp_path):
    refused(tmp_path / "nowhere" / "file", FileNotFoundError, "there is no folder for this file: ")
    assert names_in(tmp_path) == []


def test_a_file_is_no_folder(refused, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    refused(tmp_path / "file" / "inside", NotADirectoryError, "Not a directory")
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.skipif(os.name != "posix", reason="links and devices are others elsewhere")
def test_links_in_a_circle_and_devices_are_refused(refused, tmp_path):
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    refused(tmp_path / "one", OSError, "Too many levels of symbolic links")
    refused(tmp_path / "one" / "inside", OSError, "Too many levels of symbolic links|no folder for this file")
    refused("/dev/null", OSError, "this is no file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", OSError, "this is no file")
    assert names_in(tmp_path) == ["one", "pipe", "two"]


def test_a_name_that_is_too_long_is_refused(refused, tmp_path):
    refused(tmp_path / ("x" * 256), OSError, "File name too long")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_a_folder_in_which_no_file_can_be_made_is_found_out(number, refused, tmp_path, monkeypatch):
    """As on a file system that is read-only: modes do not tell, and the superuser is refused too."""
    (tmp_path / "file").write_bytes(b"old")

    def cannot(path, flags, *mode):
        if flags & os.O_CREAT:
            raise OSError(number, os.strerror(number), str(path))
        return made(path, flags, *mode)

    made = os.open
    monkeypatch.setattr(atomic.os, "open", cannot)
    refused(tmp_path / "file", OSError, os.strerror(number))
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_disk_that_is_too_small_is_found_out_before_the_first_step(tmp_path, monkeypatch):
    usage = atomic.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda folder: usage._replace(free=2**20))
    small, large = (
        Trainer(TwoLayerNet(n, 100, 2, backend="numpy"), SGD(lr=0.1), batch_size=2, seed=0) for n in (3, 3000)
    )
    small.check_save(tmp_path / "file")
    with pytest.raises(OSError, match=r"it takes 12[0-9]{5} bytes, and the disk has room for 1048576") as raised:
        large.check_save(tmp_path / "file")
    assert raised.value.errno == errno.ENOSPC
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda folder: usage._replace(total=0, free=0))
    large.check_save(tmp_path / "file")  # a file system that does not tell
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (3, TypeError, "path is 3, expected text or a pathlib.Path"),
        (None, TypeError, "path is None, expected text or a pathlib.Path"),
        (["a"], TypeError, r"path is \['a'\], expected text"),
        ("", ValueError, "path is empty, expected the name of a file"),
        (b"", ValueError, "path is empty"),
        ("a\0b", ValueError, r"path is 'a\\x00b', and no file can have a null character"),
        ("\ud800", ValueError, r"path is '\\ud800', which cannot be written in utf-8"),
    ],
)
def test_what_is_no_path_is_refused_by_who_writes_and_who_reads(path, error, message):
    trainer = Trainer(TwoLayerNet(3, 2, 2, seed=1, backend="numpy"), SGD(lr=0.1), batch_size=2, seed=0)
    readers = [trainer.net.load, load_network, Trainer.load, load_idx]
    for function in (*(lambda path, write=write: write(path, trainer) for write in WRITERS.values()), *readers):
        with pytest.raises(error, match=message):
            function(path)
    assert trainer.iteration == 0


@pytest.mark.skipif(os.name != "posix", reason="these are POSIX's")
@pytest.mark.parametrize("read", [load_network, Trainer.load, load_idx], ids=lambda read: read.__name__)
def test_who_reads_names_what_cannot_be_read(read, tmp_path, monkeypatch):
    (tmp_path / "one").symlink_to(tmp_path / "one")
    with pytest.raises(OSError, match=f"Too many levels of symbolic links: '{tmp_path}/one'"):
        read(tmp_path / "one")
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path}/nothing'"):
        read(tmp_path / "nothing")
    for path in (tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match=f"{path} is no file: expected "):
            read(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=f"{tmp_path}/pipe is no file: expected "):
        read(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=f"{tmp_path}/huge"):
        read(tmp_path / "huge")
    monkeypatch.setattr(atomic, "memory", lambda: 1000)
    TwoLayerNet(30, 20, 2, backend="numpy").save(tmp_path / "file")
    with pytest.raises(ValueError, match=r"file has \d+ bytes, and this machine 1000 bytes of memory"):
        read(tmp_path / "file")


def test_an_error_in_the_middle_of_reading_names_the_file(tmp_path):
    (tmp_path / "file").write_bytes(b"data")
    with pytest.raises(OSError, match=f"Input/output error: '{tmp_path}/file'"), atomic.reading(tmp_path / "file", ""):
        raise OSError(errno.EIO, "Input/output error")  # as read() says it, without a name
