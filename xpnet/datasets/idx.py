"""IDX, the format of MNIST and its kin: two zero bytes, a data type, a number of dimensions, the sizes, the data.

The format is described at the end of LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import struct
import sys
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from xpnet.serialization import atomic

#: The third byte of a file -> the data type, big-endian as everything in the format.
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

#: As many as an array of NumPy can have.
MOST_DIMENSIONS = 64

_PIECE = 1 << 20
#: What zlib is told to expect: a gzip file, whose window is of the largest size.
GZIP = 16 + zlib.MAX_WBITS


def load_idx(path: atomic.PathLike) -> np.ndarray:
    """Read an IDX file, plain or compressed as its name says (``.gz``, ``.xz``).

    Args:
        path: the file.

    Returns:
        An array in the file's shape, and in its data type in the byte order of this machine.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not an IDX file, not a whole one, or one that says it holds more than there is memory for; the
            message says which field is wrong.
    """
    place = atomic.path_of(path)
    kind = place.suffix.lower()
    broken: tuple[type[Exception], ...] = (zlib.error, EOFError)
    with atomic.reading(place, "an IDX file") as (file, size):
        try:
            if kind == ".gz":
                return _read(_Unpacked(file), place, None)
            if kind == ".xz":
                import lzma  # later: the digits of the package are no .xz

                broken += (lzma.LZMAError,)
                with lzma.open(file) as unpacked:
                    return _read(unpacked, place, None)
            return _read(file, place, size)
        except broken as error:
            raise ValueError(
                f"{place}: its name says {kind[1:]}, but it cannot be decompressed as {kind[1:]}: {error}"
            ) from None
        except MemoryError:
            raise ValueError(f"{place}: it takes more than there is memory for here") from None


class _Unpacked:
    """A gzip file as it reads unpacked; the standard library's own class takes a third more time for it.

    zlib compares the check sum and the length at the end of each member, of which there may be several.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.member, self.packed = file, zlib.decompressobj(GZIP), b""

    def read(self, size: int) -> bytes:
        """So many bytes, or fewer at the end."""
        found = [piece := self._some(size)]
        while piece and (size := size - len(piece)):
            found.append(piece := self._some(size))
        return found[0] if len(found) == 1 else b"".join(found)

    def _some(self, most: int) -> bytes:
        """At most so many bytes, and none only at the end."""
        while True:
            if self.member.eof:
                self.packed = self.member.unused_data.lstrip(b"\0")  # zeros may fill up a block of a tape
                while not self.packed:
                    if not (more := self.file.read(_PIECE)):
                        return b""
                    self.packed = more.lstrip(b"\0")
                self.member = zlib.decompressobj(GZIP)
            self.packed = self.packed or self.file.read(_PIECE)
            if not self.packed:
                raise EOFError("the file ends before its data")
            found = self.member.decompress(self.packed, most)
            self.packed = self.member.unconsumed_tail
            if found:
                return found


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """So many bytes, or fewer at the end."""


def _read(file: _Readable, path: Path, size: int | None) -> np.ndarray:
    """Read from a file of so many bytes; of a compressed one nobody knows how many there will be."""
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
    expected = prod(shape) * dtype.itemsize
    complaint = f"{path}: data: sizes {shape} of {dtype.name} take {expected} bytes"
    if size is not None and size - 4 - 4 * ndim < expected:
        raise ValueError(f"{complaint}, the file has {size - 4 - 4 * ndim}: it is truncated")
    if expected > atomic.memory():
        raise ValueError(f"{complaint}, and this machine has a memory of {atomic.memory()}")
    data = _read_exactly(file, expected, complaint)
    try:
        a = np.frombuffer(data, dtype).reshape(shape)
    except ValueError as error:  # no data at all, for one size is 0, but other sizes are past counting
        raise ValueError(f"{path}: sizes: {shape}: {error}") from None
    if sys.byteorder == "little" and dtype.itemsize > 1:
        a.byteswap(inplace=True)
    return a.view(dtype.newbyteorder("="))


def _read_exactly(file: _Readable, expected: int, complaint: str) -> bytearray:
    """Read so many bytes and the end after them, in pieces: what the sizes claim is not believed, nor allocated."""
    found = bytearray()
    while piece := file.read(min(_PIECE, expected - len(found) + 1)):
        found += piece
        if len(found) > expected:
            raise ValueError(f"{complaint}, and the file goes on after them")
    if len(found) < expected:
        raise ValueError(f"{complaint}, the file has {len(found)}: it is truncated")
    return found
