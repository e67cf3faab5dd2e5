"""A model from a file that nobody vouches for: how much is in it, and its arrays, before anything is made of it.

What is nested in a file takes two bytes and many times as much memory, so all messages are counted before protobuf
makes any. Arrays are as large as their bytes, also those in files beside this one, which have to be in its folder.
"""

from __future__ import annotations

import os
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, numpy_helper

from xpnet.errors import CheckpointError
from xpnet.serialization import atomic
from xpnet.serialization.network import told

EXPECTED = "an ONNX model"
#: Fields of messages that a file may have: a network of some thousand layers has a tenth of them.
MOST_FIELDS = 250_000
#: Bytes of memory that a field may take, when it is two bytes in a file.
FIELD_BYTES = 256
#: Beginnings of other files, and what they are.
OTHERS = {
    b"PK\x03\x04": "a zip archive, as torch.save and Keras write them",
    b"\x89HDF": "HDF5, as Keras writes it",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"{": "JSON",
}
#: The dtypes of arrays: their bits, and where their numbers are if they are not in raw_data.
DTYPES: dict[int, tuple[int, str]] = {
    TensorProto.FLOAT: (32, "float_data"),
    TensorProto.DOUBLE: (64, "double_data"),
    TensorProto.FLOAT16: (16, "int32_data"),
    TensorProto.BFLOAT16: (16, "int32_data"),
    TensorProto.BOOL: (8, "int32_data"),
    TensorProto.INT8: (8, "int32_data"),
    TensorProto.UINT8: (8, "int32_data"),
    TensorProto.INT16: (16, "int32_data"),
    TensorProto.UINT16: (16, "int32_data"),
    TensorProto.INT32: (32, "int32_data"),
    TensorProto.INT64: (64, "int64_data"),
    TensorProto.UINT32: (32, "uint64_data"),
    TensorProto.UINT64: (64, "uint64_data"),
}


def model_in(path: Path) -> ModelProto:
    """The model in a file.

    Raises:
        OSError: the file cannot be read.
        CheckpointError: it is no ONNX model, a damaged one, or one that takes more memory than there is.
    """
    try:
        with atomic.reading(path, EXPECTED, CheckpointError) as (file, _):
            data = file.read()
        _check_kind(path, data)
        check_size(data)
        model: ModelProto = ModelProto.FromString(data)
    except DecodeError:
        raise CheckpointError(f"{path} is {NO_MODEL}: it cannot be parsed") from None
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} is {NO_MODEL}: {error}") from None
    except MemoryError:
        raise CheckpointError(f"{path} holds more than there is memory for here") from None
    if not model.HasField("graph") or not model.opset_import:
        raise CheckpointError(f"{path} is {NO_MODEL}: it has no graph, or says of no version of operators")
    return model


NO_MODEL = "no ONNX model, or a damaged one"


def _check_kind(path: Path, data: bytes) -> None:
    length = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and length <= len(data) - 8:
        raise CheckpointError(f"{path} is no ONNX model: it looks like safetensors, which xpnet.load_network reads")
    for start, kind in OTHERS.items():
        if data.startswith(start):
            raise CheckpointError(f"{path} is no ONNX model: it looks like {kind}")


def check_size(data: bytes) -> None:
    """Raise ``ValueError`` unless a model is whole, and of no more fields than protobuf has memory for."""
    waiting: list[tuple[int, int, Any]] = [(0, len(data), ModelProto.DESCRIPTOR)]
    count, most = 0, min(MOST_FIELDS, max(10_000, (atomic.memory() - 10 * len(data)) // FIELD_BYTES))
    while waiting:
        at, stop, kind = waiting.pop()
        inside = _messages(kind)
        while at < stop:
            key, at = _number(data, at, stop)
            wire = key & 7
            if wire == 0:
                _, at = _number(data, at, stop)
            elif wire == 2:
                length, at = _number(data, at, stop)
                if key >> 3 in inside:
                    waiting.append((at, at + length, inside[key >> 3]))
                at += length
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                raise ValueError(f"byte {at} begins a field of a kind that there is not")
            if at > stop:
                raise ValueError("it ends in the middle of a field")
            count += 1
            if count > most:
                raise ValueError(f"it has more than {most} fields, nodes and what is in them")


@cache
def _messages(kind: Any) -> dict[int, Any]:
    """The kinds of the messages that stand in a message, by number."""
    return {field.number: field.message_type for field in kind.fields if field.message_type is not None}


def _number(data: bytes, at: int, stop: int) -> tuple[int, int]:
    """The number of variable length that begins here, and where it ends."""
    found = shift = 0
    while at < stop and shift < 70:
        byte = data[at]
        found |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return found, at
        shift += 7
    raise ValueError("it ends in the middle of a number" if at >= stop else f"byte {at} is in no number")


def text(found: Any) -> str:
    """A text of a model; protobuf gives bytes where it is not UTF-8."""
    return found if isinstance(found, str) else bytes(found).decode("utf-8", "replace")


def array_of(tensor: TensorProto, folder: Path) -> np.ndarray:
    """The array of a tensor; bfloat16 as float32.

    Args:
        tensor: of a model.
        folder: where the model's file is, and files of arrays beside it may be.

    Raises:
        ValueError: its numbers are not as many as its shape says, or are of a dtype that is not read.
        OSError: a file beside the model cannot be read.
    """
    name, shape = told(text(tensor.name)), tuple(tensor.dims)
    if tensor.data_type not in DTYPES:
        kinds = TensorProto.DataType
        known = tensor.data_type in kinds.values()
        kind = kinds.Name(tensor.data_type) if known else f"number {tensor.data_type}"
        raise ValueError(f"the array {name} has the dtype {kind}, which is not read")
    if any(n < 0 for n in shape) or len(shape) > 64:
        raise ValueError(f"the array {name} has the shape {shape[:8]}, which is none")
    bits, field = DTYPES[tensor.data_type]
    if tensor.data_location == TensorProto.EXTERNAL:
        data: Any = _beside(tensor, name, prod(shape) * bits // 8, folder)
        whole = TensorProto(data_type=tensor.data_type, dims=shape, raw_data=data)
    else:
        data, whole = (tensor.raw_data if tensor.HasField("raw_data") else getattr(tensor, field)), tensor
        found = len(data) * 8 if tensor.HasField("raw_data") else len(data) * bits
        if found != prod(shape) * bits:
            raise ValueError(
                f"the array {name} has {found // bits} numbers, and {prod(shape)} by its shape {shape[:8]}"
            )
    if tensor.data_type == TensorProto.BFLOAT16:  # of which onnx makes one thing or another, by its version
        halves = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data).astype(np.uint16)
        return (halves.astype(np.uint32) << 16).view(np.float32).reshape(shape)
    a: np.ndarray = numpy_helper.to_array(whole)
    return a


def _beside(tensor: TensorProto, name: str, size: int, folder: Path) -> bytes:
    """Bytes of an array in a file beside the model, if it is there and in its folder, behind links too."""
    entries = {text(entry.key): text(entry.value) for entry in tensor.external_data}
    location = entries.get("location", "")
    nameless = not location or "\0" in location or Path(location).is_absolute()
    where = Path(os.path.realpath(folder / ("" if nameless else location)))
    if nameless or not where.is_relative_to(os.path.realpath(folder)):
        raise ValueError(
            f"the array {name} is to be read from {told(location)}, which is not in the folder of the model"
        )
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(size)))
    except ValueError:
        raise ValueError(f"the array {name} has a place in {told(location)} that is no number") from None
    with atomic.reading(where, "arrays of an ONNX model") as (file, there):
        if length != size or offset < 0 or offset + size > there:
            raise ValueError(
                f"the array {name} has {size} bytes by its shape, and names {length} from byte {offset} on, of "
                f"{there} in {told(location)}"
            )
        file.seek(offset)
        data = file.read(size)
    if len(data) != size:
        raise ValueError(f"{told(location)} became shorter while it was read")
    return data
