"""MNIST as shipped, the IDX reader against files that are right, damaged and hostile, and no network anywhere."""

from __future__ import annotations

import ast
import gzip
import hashlib
import lzma
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

import xpnet
from xpnet.datasets import load_idx, mnist
from xpnet.datasets.mnist import FOLDER
from xpnet.serialization import atomic

#: Of the four files as their authors published them, decompressed.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
PACKERS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
CODES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
LARGEST = 2**32 - 1


def header(code, *sizes):
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, code, len(sizes), *sizes)


def idx(array, code=0x08):
    return header(code, *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


WHOLE = idx(np.arange(12, dtype="uint8").reshape(3, 4))


@pytest.fixture
def file(tmp_path):
    """``file(name, content)``: the path of such a file."""

    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.fixture
def folder(tmp_path):
    """``folder(suffix)``: four files in the layout of MNIST; two classes in test, ten in train."""

    def write(suffix="", n_labels=30):
        images = np.arange(30 * 6, dtype="uint8").reshape(30, 2, 3)
        labels = np.arange(30, dtype="uint8") % 10
        contents = images, labels[:n_labels], images[:4], labels[:4] % 2
        for name, content in zip(SHA256, contents, strict=True):
            (tmp_path / (name + suffix)).write_bytes(PACKERS[suffix](idx(content)))
        return tmp_path

    return write


@pytest.fixture(scope="module")
def decompressed(tmp_path_factory):
    """A folder with MNIST in plain files, which are read faster."""
    where = tmp_path_factory.mktemp("mnist")
    for name in SHA256:
        (where / name).write_bytes(gzip.decompress((FOLDER / f"{name}.gz").read_bytes()))
    return where


@pytest.mark.parametrize("name", SHA256)
def test_files_are_the_published_ones_byte_for_byte(name, decompressed):
    data = (decompressed / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256[name]
    assert f"| {name} | {len(data)} | {SHA256[name]} |" in (FOLDER / "README.md").read_text().splitlines()


def test_mnist_is_mnist(digits):
    (x_train, t_train), (_, t_test) = digits
    assert t_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert t_train[0] == 5
    assert np.bincount(t_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert x_train.mean(dtype="float64") == pytest.approx(0.1307, abs=5e-5)  # known from every tutorial


@pytest.mark.parametrize("one_hot_label", [False, True])
@pytest.mark.parametrize("flatten", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_mnist_options(normalize, flatten, one_hot_label, digits, decompressed):
    splits = mnist(normalize=normalize, flatten=flatten, one_hot_label=one_hot_label, folder=decompressed)
    for n, (x, t), (default_x, default_t) in zip((60_000, 10_000), splits, digits, strict=True):
        assert x.shape == ((n, 784) if flatten else (n, 1, 28, 28))
        assert x.dtype == ("float32" if normalize else "uint8")
        assert (x.min(), x.max()) == (0, 1 if normalize else 255)
        some = x[::50] if normalize else x[::50] / np.float32(255)
        np.testing.assert_array_equal(some.reshape(-1, 784), default_x[::50])
        assert t.shape == ((n, 10) if one_hot_label else (n,))
        assert t.dtype == ("float32" if one_hot_label else "uint8")
        expected = np.arange(10) == default_t[:, None] if one_hot_label else default_t
        np.testing.assert_array_equal(t, expected)


@pytest.mark.parametrize("suffix", PACKERS)
def test_mnist_from_a_folder(suffix, folder):
    (x_train, t_train), (x_test, t_test) = mnist(normalize=False, folder=str(folder(suffix)))
    assert x_train.tolist() == np.arange(180).reshape(30, 6).tolist()
    assert t_train.tolist() == [*range(10)] * 3
    assert (x_test.shape, t_test.tolist()) == ((4, 6), [0, 1, 0, 1])


def test_one_hot_labels_of_both_splits_have_the_same_classes(folder):
    (_, t_train), (_, t_test) = mnist(one_hot_label=True, folder=folder())
    assert (t_train.shape, t_test.shape) == ((30, 10), (4, 10))


def dotted(name):
    return name.replace("-idx", ".idx")


#: Where mirrors and archives leave a file: as 7-Zip and Kaggle name it, in capitals, in a folder.
PLACES = {
    "dots": dotted,
    "underscores": lambda name: name.replace("-idx", "_idx"),
    "capitals": str.upper,
    "folders": lambda name: f"{name}/{name}",
    "folders with dots inside": lambda name: f"{name}/{dotted(name)}",
    "folders with dots": lambda name: f"{dotted(name)}/{name}",
}


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("place", PLACES)
def test_mnist_finds_files_as_mirrors_name_them(place, suffix, folder, tmp_path):
    there = folder(suffix)
    for name in SHA256:
        found = (there / (name + suffix)).rename(there / "moved")
        path = there / (PLACES[place](name) + (suffix.upper() if place == "capitals" else suffix))
        path.parent.mkdir(exist_ok=True)
        found.rename(path)
    (x_train, t_train), (x_test, t_test) = mnist(normalize=False, folder=os.fsencode(there))
    assert x_train.tolist() == np.arange(180).reshape(30, 6).tolist()
    assert t_train.tolist() == [*range(10)] * 3
    assert (x_test.shape, t_test.tolist()) == ((4, 6), [0, 1, 0, 1])


def test_the_name_of_the_authors_and_the_plain_file_come_first(folder):
    there = folder()
    for name in SHA256:
        (there / dotted(name)).write_bytes(b"no IDX file")
        (there / f"{name}.gz").write_bytes(b"no IDX file")
        (there / f"{name}.d").mkdir()
    assert mnist(folder=there)[0][0].shape == (30, 6)


def test_mnist_says_what_is_in_the_folder_instead(tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "emnist-letters-train-images-idx3-ubyte.gz").touch()
    with pytest.raises(FileNotFoundError, match="no train-images-idx3-ubyte, nor one ending in") as raised:
        mnist(folder=tmp_path)
    assert "it has 'archive/', 'emnist-letters-train-images-idx3-ubyte.gz'" in str(raised.value)
    for i in range(100):
        (tmp_path / f"{i:03}").touch()
    with pytest.raises(FileNotFoundError, match="'011' and 90 more"):
        mnist(folder=tmp_path)


def test_mnist_says_that_there_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotADirectoryError, match=f"{tmp_path}/file"):
        mnist(folder=tmp_path / "file")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/nowhere"):
        mnist(folder=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="it has nothing"):
        mnist(folder=tmp_path / "empty")
    with pytest.raises(TypeError, match="path is 3, expected text"):
        mnist(folder=3)


@pytest.mark.parametrize("name", SHA256)
def test_mnist_names_the_missing_file(name, folder):
    where = folder(".gz")
    (where / f"{name}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=name) as raised:
        mnist(folder=where)
    assert str(where) in str(raised.value)


def test_mnist_refuses_fewer_labels_than_images(folder):
    where = folder(n_labels=29)
    with pytest.raises(ValueError, match=r"train images have shape \(30, 2, 3\) and labels \(29,\)") as raised:
        mnist(folder=where)
    assert str(where) in str(raised.value)


def test_mnist_refuses_images_in_place_of_labels(folder):
    where = folder()
    (where / "t10k-labels-idx1-ubyte").write_bytes((where / "t10k-images-idx3-ubyte").read_bytes())
    with pytest.raises(ValueError, match="t10k images have shape"):
        mnist(folder=where)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (2, 1, 3, 2), (0,), (0, 4)])
@pytest.mark.parametrize("code", CODES)
def test_load_idx(code, shape, suffix, file, rng):
    kind = np.dtype(CODES[code])
    limits = (-1e3, 1e3) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
    expected = rng.uniform(*limits, size=shape).astype(kind)
    found = load_idx(str(file(f"data{suffix}", PACKERS[suffix](idx(expected, code)))))
    assert found.dtype == kind  # which is in native byte order
    assert found.shape == shape
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"", "magic number"),
        (WHOLE[:3], "magic number"),
        (b"\0\1" + WHOLE[2:], "magic number"),
        (header(0x0A, 1) + b"x", "data type: 0x0a"),
        (header(0x08) + b"x", "dimensions: 0"),
        (WHOLE[:4], "sizes"),
        (WHOLE[:11], "sizes"),
        (WHOLE[:12], "data"),
        (WHOLE[:-1], "data"),
        (WHOLE + b"\0", "data"),
        (idx(np.zeros(2, "float64"), 0x0E)[:-1], "data"),
        (header(0x08, LARGEST, LARGEST) + b"x" * 100, "data"),
        (header(0x0E, *[LARGEST] * 255), "data"),
        (header(0x08, *[1] * 65) + b"x", "dimensions"),  # NumPy stops at 64
        (header(0x08, 0, LARGEST, LARGEST), "sizes"),  # of no elements, and yet too large for NumPy
    ],
)
def test_load_idx_names_the_file_and_the_wrong_field(content, field, suffix, file):
    path = file(f"data{suffix}", PACKERS[suffix](content))
    with pytest.raises(ValueError, match=field) as raised:
        load_idx(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize(("sizes", "n_bytes"), [((LARGEST, LARGEST), 1), ((1,), 1 << 26)])
def test_load_idx_allocates_neither_what_sizes_claim_nor_what_follows_the_data(sizes, n_bytes, suffix, file):
    path = file(f"data{suffix}", PACKERS[suffix](header(0x08, *sizes) + bytes(n_bytes)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="data: sizes"):
            load_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24  # xz takes half of it for itself
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", PACKERS)
def test_load_idx_refuses_more_than_there_is_memory_for_before_it_reads(suffix, file, monkeypatch):
    path = file(f"data{suffix}", PACKERS[suffix](header(0x08, 2**30, 2**10) + bytes(1000)))
    with pytest.raises(ValueError, match=r"data: sizes .* take 1099511627776 bytes, ") as raised:
        load_idx(path)
    assert str(path) in str(raised.value)
    monkeypatch.setattr(atomic, "memory", lambda: 10_000)
    with pytest.raises(ValueError, match=f"small{suffix}.* 10000"):
        load_idx(file(f"small{suffix}", PACKERS[suffix](header(0x08, 10_001) + bytes(10_001))))


@pytest.mark.parametrize("code", [0x08, 0x0D])
@pytest.mark.parametrize("suffix", PACKERS)
def test_load_idx_takes_little_more_memory_than_the_array(suffix, code, file):
    size = 1 << 25
    path = file(f"data{suffix}", PACKERS[suffix](header(code, size // np.dtype(CODES[code]).itemsize) + bytes(size)))
    tracemalloc.start()
    try:
        a = load_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 1.3 * size + (1 << 24)  # xz takes half of that for itself
    finally:
        tracemalloc.stop()
    assert a.nbytes == size
    assert a.flags.writeable


@pytest.mark.parametrize("kind", ["gz", "xz"])
def test_load_idx_goes_by_the_name(kind, file):
    packed = PACKERS[f".{kind}"](WHOLE)
    plain = file("plain", packed)
    with pytest.raises(ValueError, match=f"plain: magic number.*name it .{kind}"):
        load_idx(plain)
    for content in (WHOLE, PACKERS[".xz" if kind == "gz" else ".gz"](WHOLE)):
        mislabelled = file(f"mislabelled.{kind}", content)
        with pytest.raises(ValueError, match=f"mislabelled.{kind}: its name says {kind}"):
            load_idx(mislabelled)


@pytest.mark.parametrize("kind", ["gz", "xz"])
def test_load_idx_refuses_a_compressed_file_cut_off_anywhere(kind, file):
    packed = PACKERS[f".{kind}"](WHOLE)
    for length in range(len(packed)):
        with pytest.raises(ValueError, match=f"cut.{kind}"):
            load_idx(file(f"cut.{kind}", packed[:length]))


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(WHOLE[:5]) + gzip.compress(b"") + gzip.compress(WHOLE[5:]),
        gzip.compress(WHOLE) + bytes(3),
        gzip.compress(WHOLE[:9]) + bytes(2**20 + 7) + gzip.compress(WHOLE[9:]) + bytes(2**20 + 7),
    ],
    ids=["several members", "padded with zeros", "zeros between members and behind them"],
)
def test_load_idx_reads_what_gzip_reads(packed, file):
    assert gzip.decompress(packed) == WHOLE
    np.testing.assert_array_equal(load_idx(file("several.gz", packed)), load_idx(file("plain", WHOLE)))


@pytest.mark.parametrize("spoil", [lambda p: p + b"x", lambda p: p[:-8] + bytes(8), lambda p: p[:-4] + bytes(4)])
def test_load_idx_refuses_what_gzip_refuses(spoil, file):
    packed = spoil(gzip.compress(WHOLE))
    with pytest.raises((OSError, zlib.error)):
        gzip.decompress(packed)
    with pytest.raises(ValueError, match=r"spoilt.gz: its name says gz, but it cannot be decompressed"):
        load_idx(file("spoilt.gz", packed))


def test_load_idx_says_that_there_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        load_idx(tmp_path / "nothing-here.gz")


@pytest.mark.parametrize("suffix", PACKERS)
def test_load_idx_gives_an_array_or_a_value_error_whatever_the_file(suffix, file, rng):
    whole, refused = PACKERS[suffix](WHOLE), 0
    for _ in range(300):
        mutated = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(mutated)))
            mutated[at : at + int(rng.integers(3))] = rng.bytes(int(rng.integers(3)))
        path = file(f"mutated{suffix}", bytes(mutated))
        try:
            assert isinstance(load_idx(path), np.ndarray)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017  (an array is as good)
    assert refused > 100


def test_nothing_in_the_package_can_reach_a_network():
    networking = {"aiohttp", "ftplib", "http", "httpx", "requests", "smtplib", "socket", "ssl", "urllib", "urllib3"}
    listening = {"http", "http.server", "socket", "urllib.parse"}  # the page of xpnet draw, for this machine alone
    sources = list(Path(xpnet.__file__).parent.rglob("*.py"))
    assert len(sources) > 20
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules = [m for m in modules if source.parent.name != "drawing" or m not in listening]
            assert not networking.intersection(m.partition(".")[0] for m in modules), f"{source}: {modules}"


@pytest.mark.parametrize("labels", [np.zeros(3, "i1"), np.zeros(3, ">f4"), np.zeros((3, 1), "u1")])
def test_labels_that_are_none_are_refused(labels, tmp_path):
    codes = {"uint8": 0x08, "int8": 0x09, "float32": 0x0D}
    for part in ("train", "t10k"):
        for name, values in (("images-idx3", np.zeros((3, 2, 2), "u1")), ("labels-idx1", labels)):
            head = bytes([0, 0, codes[values.dtype.name], values.ndim]) + np.asarray(values.shape, ">u4").tobytes()
            (tmp_path / f"{part}-{name}-ubyte").write_bytes(head + values.tobytes())
    with pytest.raises(ValueError, match=rf"{tmp_path.name}: train .*labels"):
        mnist(folder=tmp_path)
