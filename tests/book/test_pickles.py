"""Pickles of arrays are read, and of anything else refused before they run."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from xpnet.book import load_pickle, pickles

ARRAYS = {
    "W1": np.arange(6.0).reshape(2, 3),
    "b1": np.asarray([1, 2], dtype=np.float32),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "half": np.asarray([0.5], dtype=np.float16),
    "swapped": np.asarray([1.0, 2.0], dtype=">f8"),
    "labels": np.asarray([[1], [2]], dtype=np.uint8),
    "flags": np.asarray([True, False]),
    "number": np.float64(2.5),
    "zero": np.zeros(()),
    "empty": np.zeros((0, 3)),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_a_dict_of_arrays_is_read_in_every_protocol(tmp_path, protocol, kind):
    path = tmp_path / "params.pkl"
    path.write_bytes(pickle.dumps(kind(ARRAYS), protocol))
    found = load_pickle(path)
    assert list(found) == list(ARRAYS)
    for name, a in ARRAYS.items():
        np.testing.assert_array_equal(found[name], a)
        assert (found[name].shape, found[name].dtype) == (a.shape, a.dtype)
        assert found[name].flags.writeable


def test_modules_that_numpy_has_renamed_are_known():
    now = pickle.dumps(ARRAYS, 0)
    for old in (now.replace(b"numpy._core", b"numpy.core"), now.replace(b"numpy.core", b"numpy._core")):
        np.testing.assert_array_equal(pickles.loads(old)["W1"], ARRAYS["W1"])


class RanError(Exception):
    pass


def run_me():
    raise RanError


class Evil:
    def __reduce__(self):
        return run_me, ()


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"W1": Evil()}, "it asks for .*run_me, which was not called"),
        ([np.ones(2)], "it holds an object of type list"),
        (np.ones(2), "it holds an object of type ndarray"),
        ({"W1": [1.0, 2.0]}, "it holds 'W1' of type list"),
        ({1: np.ones(2)}, "it holds 1 of type ndarray"),
        ({"W1": np.asarray([Evil(), None], dtype=object)}, "no plain numbers|which was not called"),
        ({"W1": np.asarray(["text"])}, "which are no plain numbers"),
        ({"W1": print}, "it asks for builtins.print"),
    ],
    ids=["a call", "a list", "an array", "a list by name", "a number as name", "objects", "texts", "a function"],
)
def test_what_is_no_dict_of_arrays_is_refused(held, words):
    with pytest.raises(pickle.UnpicklingError, match=words) as caught:
        pickles.loads(pickle.dumps(held))
    assert "write_arrays(path, params) writes safetensors" in str(caught.value)


@pytest.mark.parametrize(
    "code", [b"cposix\nsystem\n(S'true'\ntR.", b"cbuiltins\neval\n(S'1/0'\ntR.", b"", b"\x80\x04K"]
)
def test_bytes_that_call_or_are_cut_are_refused(tmp_path, code):
    path = tmp_path / "bad.pkl"
    path.write_bytes(code)
    with pytest.raises(pickle.UnpicklingError, match=r"bad\.pkl: .*; only a dict of plain arrays is read"):
        load_pickle(path)


def test_lengths_that_do_not_fit_are_refused():
    data = pickle.dumps({"W1": np.arange(6.0)}, 2)
    grown = data.replace(b"K\x06\x85", b"K\x07\x85")
    assert grown != data
    with pytest.raises(pickle.UnpicklingError, match=r"shape \(7,\) in 48 bytes"):
        pickles.loads(grown)
    with pytest.raises(FileNotFoundError):
        load_pickle("nowhere.pkl")
    assert pickles.read(io.BytesIO(pickle.dumps({}))) == {}
