"""Files that are there whole or not at all: written beside their place, synced, and renamed into it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from xpnet.errors import CheckpointError

if sys.platform != "win32":
    import fcntl

#: What a file says it holds: shape and dtype by name.
Header = dict[str, tuple[tuple[int, ...], str]]
#: The dtypes that NumPy has, by the format's names.
DTYPES = {"BOOL": "bool", "C64": "complex64"}
DTYPES |= {f"{kind}{bits}": f"{name}{bits}" for kind, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)}
DTYPES |= {f"F{bits}": f"float{bits}" for bits in (16, 32, 64)}
DIGEST = "digest"
#: The name of a file that is being written, or was when its process was killed.
LEAVING = re.compile(r"\.xpnet-\w{8}\.tmp")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file; a crash at any moment leaves the old one or the new one.

    A process that is killed while it writes leaves a part under another name, ``.xpnet-????????.tmp``; the next write
    into that folder deletes what no process is writing any more.

    Raises:
        OSError: it cannot be written, or what has this name is no file; the message names it.
    """
    path = Path(path).resolve()  # through a link, so that it goes on being one
    try:
        if path.exists() and not path.is_file():
            raise OSError(22, "this is no file, and is not replaced by one")  # a device, for example
        _delete_leavings(path.parent)
        _replace(path, data)
    except OSError as error:
        error.filename = str(path)  # and not the name that it would have had for a moment
        raise


def _replace(path: Path, data: bytes) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    handle, written = _temporary(path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if sys.platform == "win32":
                file.close()  # which renames no file that is open
            written.chmod(mode)  # mkstemp makes a file that only its owner can read
            written.replace(path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise


def _temporary(folder: Path) -> tuple[int, Path]:
    """A new file in a folder, open and locked, so that others see that somebody is writing it."""
    while True:
        handle, name = tempfile.mkstemp(dir=folder, prefix=".xpnet-", suffix=".tmp")
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        # before it was locked, another process may have taken it for one that was left, and deleted it
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


def _delete_leavings(folder: Path) -> None:
    """Delete what killed processes left; not being able to is no harm."""
    with suppress(OSError):
        for left in folder.iterdir():
            if LEAVING.fullmatch(left.name) and left.is_file() and not left.is_symlink():
                with suppress(OSError):  # somebody writes it; or was faster; or it is another user's
                    _delete_unlocked(left)


def _delete_unlocked(path: Path) -> None:
    """Delete a file that no process has locked; ``OSError`` if one has."""
    if sys.platform == "win32":
        path.unlink()  # which no file allows that is open
        return
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(handle)


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write arrays by name as safetensors, with texts by name and a digest of everything beside them."""
    from safetensors.numpy import save

    # the format's library writes the memory of an array as it lies, so it has to lie in order, and in this machine's
    ordered = {name: np.asarray(a, a.dtype.newbyteorder("="), order="C") for name, a in arrays.items()}
    texts = metadata or {}
    write_bytes(path, _texts_in_order(save(ordered, texts | {DIGEST: _digest(ordered, texts)})))


def read_arrays(
    path: str | Path, check: Callable[[Header, dict[str, str]], None] | None = None
) -> dict[str, np.ndarray]:
    """Read what :func:`write_arrays`, or another writer of safetensors, wrote.

    Args:
        path: the file.
        check: called with the shapes and dtypes that the file says it holds and with its texts, before any array is
            made; raises :class:`CheckpointError` if they are not those that were expected.

    Raises:
        OSError: the file cannot be read.
        CheckpointError: it is no safetensors file, a damaged one, one that is larger than the memory, or one that
            ``check`` refuses.
    """
    from safetensors import safe_open

    _check_file(Path(path))
    with ExitStack() as stack, _memory_errors_of(path):
        with _errors_of(path):
            file = stack.enter_context(safe_open(path, framework="numpy"))
            metadata = file.metadata() or {}
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
            found = {name: (tuple(part.get_shape()), DTYPES[part.get_dtype()]) for name, part in parts.items()}
        if check is not None:
            check(found, metadata)
        with _errors_of(path):
            arrays = {name: file.get_tensor(name) for name in found}
        seal = metadata.pop(DIGEST, None)
        if seal is not None and seal != _digest(arrays, metadata):
            raise CheckpointError(
                f"{path} is damaged: its contents do not agree with the digest in it; use another copy"
            )
    return arrays


def _check_file(path: Path) -> None:
    """Raise unless this is a file of a size that can be read."""
    size = path.stat().st_size
    if not path.is_file():
        raise CheckpointError(f"{path} is no file: expected weights or a checkpoint, as safetensors")
    if size > _memory():
        raise CheckpointError(f"{path} has {size} bytes, and this machine a memory of {_memory()}")


@contextmanager
def _errors_of(path: str | Path) -> Iterator[None]:
    """What the format's library and NumPy say of a file: it is damaged, or of a dtype or a shape that NumPy lacks."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {type(error).__name__}: {error}") from None


@contextmanager
def _memory_errors_of(path: str | Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise CheckpointError(f"{path} holds more than there is memory for here") from None


def _texts_in_order(data: bytes) -> bytes:
    """The same file with its texts sorted: the format's library writes them in another order in each process."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def _digest(arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    """A digest of names, shapes, dtypes, values and texts, in whatever order the file has them."""
    seen = hashlib.blake2b(repr(sorted(metadata.items())).encode("utf-8", "surrogatepass"), digest_size=16)
    for name in sorted(arrays):
        a = np.asarray(arrays[name], order="C")
        seen.update(repr((name, a.shape, a.dtype.name)).encode("utf-8", "surrogatepass"))
        seen.update(a.reshape(-1).view(np.uint8).data)
    return seen.hexdigest()


def _memory() -> int:
    """Bytes of memory of this machine, or more where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
