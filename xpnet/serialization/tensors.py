"""Arrays by name in a file, as safetensors, with texts by name and a digest of everything beside them.

Such a file is eight bytes with the length of its header, little-endian; the header, JSON with the dtype, the shape and
the place of each array; and the arrays, little-endian, in C order, without gaps. The format's documentation:
https://huggingface.co/docs/safetensors

Its own library maps files into memory: one that shrinks meanwhile ends the process, and each array is there twice. Here
they are read and written one after another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from xpnet.errors import CheckpointError
from xpnet.serialization import atomic

#: What a file says it holds: shape and dtype by name.
Header = dict[str, tuple[tuple[int, ...], str]]
#: The dtypes that NumPy has, by the format's names.
DTYPES = {"BOOL": "bool", "C64": "complex64"}
DTYPES |= {f"{kind}{bits}": f"{name}{bits}" for kind, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)}
DTYPES |= {f"F{bits}": f"float{bits}" for bits in (16, 32, 64)}
#: Those that it has not, by the names that PyTorch and ml_dtypes give them, and their bits.
OTHERS = {
    "BF16": ("bfloat16", 16),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "F6_E2M3": ("float6_e2m3fn", 6),
    "F6_E3M2": ("float6_e3m2fn", 6),
    "F4": ("float4_e2m1fn", 4),
}
CODES = {name: code for code, name in DTYPES.items()}
DIGEST = "digest"
#: Bytes that a header may have, some hundred thousand arrays; a longer one is not even parsed, which would take many
#: times as much memory.
LONGEST_HEADER = 2**25
#: As many as an array of NumPy can have.
MOST_DIMENSIONS = 64


class _Entry(NamedTuple):
    """What the header says of an array, and where it begins in the file."""

    shape: tuple[int, ...]
    dtype: str
    start: int


def header_of(arrays: dict[str, np.ndarray]) -> Header:
    return {name: (a.shape, a.dtype.name) for name, a in arrays.items()}


def check_names(header: Header) -> None:
    """Raise ``ValueError`` unless arrays of these names and dtypes can be written."""
    for name, (_, dtype) in header.items():
        if dtype not in CODES:
            raise ValueError(f"{name} has dtype {dtype}, and a file can hold: {', '.join(sorted(CODES))}")
        if name == "__metadata__" or not _is_unicode(name):
            raise ValueError(f"an array cannot have the name {name!a} in a file")


def write_arrays(path: atomic.PathLike, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write arrays by name, with texts by name and a digest of everything beside them; the same bytes each time.

    Raises:
        ValueError: a dtype or a name that a file cannot hold, or more of them than a header has room for.
        OSError: see :func:`xpnet.serialization.atomic.write_bytes`.
    """
    check_names(header_of(arrays))
    texts = metadata or {}
    # the largest items first, as the format's library does, so that each array lies at a multiple of its items' size
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    head: dict[str, Any] = {"__metadata__": dict(sorted((texts | {DIGEST: _digest(arrays, texts)}).items()))}
    end = 0
    for name in order:
        a, start = arrays[name], end
        end += a.nbytes
        head[name] = {"dtype": CODES[a.dtype.name], "shape": list(a.shape), "data_offsets": [start, end]}
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST_HEADER:
        raise ValueError(f"the names of all arrays take {len(text)} bytes, expected at most {LONGEST_HEADER}")

    def pieces() -> Iterator[bytes | memoryview]:
        yield len(text).to_bytes(8, "little") + text
        for name in order:
            yield _memory_of(_in_order(arrays[name]))

    atomic.write_pieces(path, pieces())


def read_arrays(
    path: atomic.PathLike,
    check: Callable[[Header, dict[str, str]], None] | None = None,
    place: Callable[[str, np.ndarray], Any] | None = None,
) -> dict[str, Any]:
    """Read what :func:`write_arrays`, or another writer of safetensors, wrote.

    What is bfloat16 in a file, which NumPy does not have, becomes float32, in which it is the same number.

    Args:
        path: the file.
        check: called with the shapes and dtypes that the file says it holds and with its texts, before any array is
            made; raises :class:`CheckpointError` if they are not those that were expected.
        place: called with the name of each array and the array, which nobody else has, before the next one is read;
            what it returns takes the place of the array, on a device for example.

    Raises:
        OSError: the file cannot be read.
        CheckpointError: it is no safetensors file, a damaged one, one that is larger than the memory, one with dtypes
            that NumPy does not have, or one that ``check`` refuses.
    """
    expected = "weights or a checkpoint, as safetensors"
    try:
        with atomic.reading(path, expected, CheckpointError) as (file, size):
            where = atomic.path_of(path)
            try:
                entries, texts = _header(file, size)
            except (ValueError, RecursionError) as error:
                raise CheckpointError(f"{where} cannot be read as safetensors: {error}") from None
            if check is not None:
                check({name: (entry.shape, entry.dtype) for name, entry in entries.items()}, dict(texts))
            seal, found = texts.pop(DIGEST, None), {}
            digest = _Digest(texts)
            for name in sorted(entries):
                try:
                    a = _array(file, name, entries[name])
                except ValueError as error:
                    raise CheckpointError(f"{where} cannot be read as safetensors: {error}") from None
                digest.add(name, a)
                found[name] = a if place is None else place(name, a)
                del a  # the next one may need its memory
    except MemoryError:
        raise CheckpointError(f"{atomic.path_of(path)} holds more than there is memory for here") from None
    if seal is not None and seal != digest.text():
        raise CheckpointError(f"{where} is damaged: its contents do not agree with the digest in it; use another copy")
    return found


def _header(file: BinaryIO, size: int) -> tuple[dict[str, _Entry], dict[str, str]]:
    """Where each array of a file is, and its texts; ``ValueError`` unless all of it can be so."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise ValueError(f"it has {size} bytes, too few for its header")
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, expected at most {LONGEST_HEADER}")
    head = json.loads(file.read(length).decode(), object_pairs_hook=_without_twins, parse_constant=_no_number)
    if not isinstance(head, dict):
        raise ValueError(f"its header is a {type(head).__name__}, expected names and what they stand for")
    texts = head.pop("__metadata__", None) or {}
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("its metadata are not texts")
    found, end = {}, 0
    places = {name: _place(name, entry) for name, entry in head.items()}
    for name, (start, stop) in sorted(places.items(), key=lambda item: item[1]):
        entry = head[name]
        bits = prod(entry["shape"]) * _bits(entry["dtype"])
        if start != end or 8 * (stop - start) != bits:
            raise ValueError(
                f"{name!a:.100} lies from byte {start} to {stop}, expected {bits / 8:g} bytes from byte {end} on"
                if bits < 2**53
                else f"{name!a:.100} is larger than the file"
            )
        found[name] = _Entry(tuple(entry["shape"]), _name(entry["dtype"]), 8 + length + start)
        end = stop
    if end != size - 8 - length:
        raise ValueError(f"its arrays take {end} bytes, and it has {size - 8 - length} for them")
    return found, texts


def _place(name: str, entry: Any) -> tuple[int, int]:
    """From where to where an array lies, if its entry is of the right form."""
    try:
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        right = isinstance(dtype, str) and isinstance(shape, list) and 0 <= start <= stop < 2**63
        right = right and all(type(n) is int and 0 <= n < 2**64 for n in (*shape, start, stop))
    except (TypeError, KeyError, ValueError):
        right = False
    if not right:
        raise ValueError(f"what it says of {name!a:.100} is {entry!a:.100}, expected a dtype, a shape and a place")
    if dtype not in DTYPES and dtype not in OTHERS:
        raise ValueError(f"{name!a:.100} has dtype {dtype!a:.100}, which the format does not know")
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"{name!a:.100} has {len(shape)} dimensions, and NumPy at most {MOST_DIMENSIONS}")
    return start, stop


def _bits(dtype: str) -> int:
    return OTHERS[dtype][1] if dtype in OTHERS else 8 * np.dtype(DTYPES[dtype]).itemsize


def _name(dtype: str) -> str:
    return OTHERS[dtype][0] if dtype in OTHERS else DTYPES[dtype]


def _array(file: BinaryIO, name: str, entry: _Entry) -> np.ndarray:
    """One array of a file, in the byte order of this machine."""
    widened = entry.dtype == "bfloat16"
    if entry.dtype not in CODES and not widened:
        raise ValueError(f"{name!a:.100} has dtype {entry.dtype}, which NumPy does not have; save it as float32")
    a = np.empty(entry.shape, np.dtype("uint16" if widened else entry.dtype).newbyteorder("<"))
    memory, found = _memory_of(a), 0
    file.seek(entry.start)
    while found < len(memory):
        read = file.readinto(memory[found:])  # type: ignore[attr-defined]
        if not read:
            raise ValueError(f"it became shorter while it was read: {name!a:.100} is not all there")
        found += read
    if entry.dtype == "bool" and (a.view(np.uint8) > 1).any():
        raise ValueError(f"{name!a:.100} has truth values that are neither 0 nor 1")
    if widened:  # they are the upper half of a float32
        return (a.astype(np.uint32) << 16).view(np.float32)
    return a.astype(entry.dtype, copy=False)


def _in_order(a: np.ndarray) -> np.ndarray:
    """The array as it lies in a file: little-endian, in C order."""
    return np.asarray(a, a.dtype.newbyteorder("<"), order="C")


def _memory_of(a: np.ndarray) -> memoryview:
    return a.reshape(-1).view(np.uint8).data


class _Digest:
    """A digest of names, shapes, dtypes, values and texts; arrays are added in the order of their names."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.seen = hashlib.blake2b(repr(sorted(texts.items())).encode("utf-8", "surrogatepass"), digest_size=16)

    def add(self, name: str, a: np.ndarray) -> None:
        self.seen.update(repr((name, a.shape, a.dtype.name)).encode("utf-8", "surrogatepass"))
        self.seen.update(_memory_of(_in_order(a)))

    def text(self) -> str:
        return self.seen.hexdigest()


def _digest(arrays: dict[str, np.ndarray], texts: dict[str, str]) -> str:
    digest = _Digest(texts)
    for name in sorted(arrays):
        digest.add(name, arrays[name])
    return digest.text()


def _without_twins(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header has a name twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"its header has {text}, which is no JSON")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
