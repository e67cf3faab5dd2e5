"""IDX, the format of MNIST and its kin: two zero bytes, a data type, a number of dimensions, the sizes, the data.

The format is described at the end of LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import lzma
import struct
import zlib
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

#: The third byte of a file -> the data type, big-endian as everything in the format.
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

#: As many as an array of NumPy can have.
MOST_DIMENSIONS = 64

_OPENERS: dict[str, Callable[..., BinaryIO]] = {".gz": gzip.open, ".xz": lzma.open}  # type: ignore[dict-item]
_PIECE = 1 << 20


def load_idx(path: str | Path) -> np.ndarray:
    """Read an IDX file, plain or compressed as its name says (``.gz``, ``.xz``).

    Returns:
        An array in the file's shape, and in its data type in the byte order of this machine.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is not an IDX file, or not a whole one; the message says which field is wrong.
    """
    path = Path(path)
    opener = _OPENERS.get(path.suffix, open)
    try:
        with opener(path, "rb") as file:
            return _read(file, path)
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        kind = path.suffix.removeprefix(".")
        raise ValueError(f"{path}: its name says {kind}, but it cannot be decompressed as {kind}: {error}") from None


def _read(file: BinaryIO, path: Path) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4:
        raise ValueError(f"{path}: magic number: the file has {len(magic)} bytes, an IDX file starts with 4")
    if magic[:2] != b"\0\0":
        hint = {b"\x1f\x8b": "; this is gzip: name it .gz", b"\xfd7": "; this is xz: name it .xz"}.get(magic[:2], "")
        raise ValueError(f"{path}: magic number: the first two bytes are {magic[:2].hex(' ')}, expected 00 00{hint}")
    if magic[2] not in DTYPES:
        known = ", ".join(f"{code:#04x}" for code in DTYPES)
        raise ValueError(f"{path}: data type: {magic[2]:#04x}, expected one of {known}")
    dtype, ndim = np.dtype(DTYPES[magic[2]]), magic[3]
    if not 1 <= ndim <= MOST_DIMENSIONS:
        raise ValueError(f"{path}: number of dimensions: {ndim}, expected 1 to {MOST_DIMENSIONS}")
    header = file.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise ValueError(f"{path}: sizes: {ndim} dimensions take {4 * ndim} bytes, the file has {len(header)} of them")
    shape = struct.unpack(f">{ndim}I", header)
    data = _read_exactly(file, prod(shape) * dtype.itemsize, f"{path}: data: sizes {shape} of {dtype.name} take")
    try:
        return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    except ValueError as error:  # no data at all, for one size is 0, but other sizes are past counting
        raise ValueError(f"{path}: sizes: {shape}: {error}") from None


def _read_exactly(file: BinaryIO, expected: int, complaint: str) -> bytes:
    """Read so many bytes and the end after them, in pieces: what the sizes claim is not believed, nor allocated."""
    pieces, found = [], 0
    while piece := file.read(min(_PIECE, expected - found + 1)):
        pieces.append(piece)
        found += len(piece)
        if found > expected:
            raise ValueError(f"{complaint} {expected} bytes, and the file goes on after them")
    if found < expected:
        raise ValueError(f"{complaint} {expected} bytes, the file has {found}: it is truncated")
    return b"".join(pieces)
