"""Pickles that are dicts of plain arrays, as the book keeps its weights in, read without doing what they say.

A pickle is a program. It may call what NumPy's arrays are pickled with, and nothing else; in these places stand
functions of our own, which take notes of a dtype, a shape and bytes. Arrays are made of the notes.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

#: Kinds of dtypes that hold plain numbers.
KINDS = "biufc"
ADVICE = (
    "only a dict of plain arrays is read, as a pickle may run whatever it likes. Weights are safer in another format: "
    "xpnet.serialization.tensors.write_arrays(path, params) writes safetensors"
)


def load_pickle(path: str | Path) -> dict[str, Any]:
    """The arrays by name in a pickle, NumPy's; a file of anything else is refused, and nothing in it executed.

    Raises:
        FileNotFoundError: there is no such file.
        pickle.UnpicklingError: it is no pickle, or not of a dict of arrays of numbers.

    >>> load_pickle("params.pkl")  # doctest: +SKIP
    {'W1': array([[...]]), ...}
    """
    with Path(path).open("rb") as file:
        return read(file)


def read(file: BinaryIO) -> dict[str, Any]:
    """The same of an open file."""
    name = getattr(file, "name", "this pickle")
    try:
        found = _plain(_Reader(file).load())
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(f"{name}: {error}; {ADVICE}") from None
    except Exception as error:  # whatever damaged bytes lead to
        raise pickle.UnpicklingError(f"{name}: it cannot be read: {error}; {ADVICE}") from error
    if not isinstance(found, dict) or not all(isinstance(k, str) and _is_array(v) for k, v in found.items()):
        raise pickle.UnpicklingError(f"{name}: it holds {_described(found)}; {ADVICE}")
    return found


class _DType:
    """Notes of a dtype."""

    def __init__(self, code: str, *_: Any) -> None:
        self.found = np.dtype(code if isinstance(code, str) and len(code) <= 3 else "O")
        if self.found.kind not in KINDS:
            raise pickle.UnpicklingError(f"it has an array of {code!r}, which are no plain numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.found = self.found.newbyteorder(state[1])


class _Notes:
    """Notes of an array."""

    found: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, data = state
        self.found = _array(data, dtype, shape, "F" if by_columns else "C").found


def _empty(*_: Any) -> _Notes:
    return _Notes()


def _array(data: Any, dtype: Any, shape: Any, order: str) -> _Notes:
    if not isinstance(dtype, _DType) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("it has an array of no plain numbers")
    if len(data) != prod(shape) * dtype.found.itemsize:
        raise pickle.UnpicklingError(f"it has an array of shape {shape} in {len(data)} bytes")
    notes = _Notes()
    notes.found = np.array(np.frombuffer(data, dtype.found).reshape(shape, order="F" if order == "F" else "C"))
    return notes


def _scalar(dtype: Any, data: bytes) -> _Notes:
    return _array(data, dtype, (), "C")


def _encoded(text: str, encoding: str) -> bytes:
    """Bytes, as pickles for Python 2 have them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it has bytes as {encoding!r:.40}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


#: What an array is pickled with, by module and name; NumPy renamed its modules, and Python one of its.
KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Notes,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encoded,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
    ("collections", "OrderedDict"): OrderedDict,
}
for _core in ("numpy.core", "numpy._core"):
    KNOWN |= {
        (f"{_core}.multiarray", "_reconstruct"): _empty,
        (f"{_core}.multiarray", "scalar"): _scalar,
        (f"{_core}.numeric", "_frombuffer"): _array,
    }


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which was not called") from None


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {key: _plain(value) for key, value in x.items()}
    return x.found if isinstance(x, _Notes) and hasattr(x, "found") else x


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray)


def _described(found: Any) -> str:
    if not isinstance(found, dict):
        return f"an object of type {type(found).__name__}"
    odd = next((k, v) for k, v in found.items() if not isinstance(k, str) or not _is_array(v))
    return f"{odd[0]!r:.40} of type {type(odd[1]).__name__}"


def loads(data: bytes) -> dict[str, Any]:
    """The same of bytes."""
    return read(io.BytesIO(data))
