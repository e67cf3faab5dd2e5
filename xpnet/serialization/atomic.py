"""Files that are there whole or not at all: written beside their place, synced, and renamed into it."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

#: What names a file: text, bytes as the operating system has them, or a ``pathlib.Path``.
PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]
#: The name of a file that is being written, or was when its process was killed.
LEAVING = re.compile(r"\.xpnet-\w{8}\.tmp")
#: Where a cgroup of Linux says how much memory its processes may have: version 2, and 1.
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def path_of(path: PathLike) -> Path:
    """What a user gave as a path, as a ``Path``; ``~`` is the home folder. Whether there is anything is not looked at.

    Raises:
        TypeError: it is no path.
        ValueError: it is empty, or no file can have this name.
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise TypeError(f"path is {path!r:.100}, expected text or a pathlib.Path") from None
    if not text:
        raise ValueError("path is empty, expected the name of a file: 'weights.safetensors', for example")
    if "\0" in text:
        raise ValueError(f"path is {text!r:.100}, and no file can have a null character in its name")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"path is {text!a:.100}, which cannot be written in {error.encoding}, the encoding of file names here"
        ) from None
    try:
        return Path(text).expanduser()
    except RuntimeError:  # there is no such user, and there may be a folder of that name
        return Path(text)


def file_path_of(path: PathLike) -> Path:
    """The same of the path of a file that is to be written, which does not end as that of a folder does."""
    place = path_of(path)
    if os.fsdecode(path).endswith(("/", os.sep)):
        raise IsADirectoryError(errno.EISDIR, "this names a folder; give the name of a file in it", str(place))
    return place


def write_bytes(path: PathLike, data: bytes) -> None:
    """Write a file; a crash at any moment leaves the old one or the new one.

    A process that is killed while it writes leaves a part under another name, ``.xpnet-????????.tmp``; the next write
    into that folder deletes what no process is writing any more. A file that is replaced passes its mode on, and a link
    goes on being one.

    Raises:
        TypeError, ValueError: this is no path; see :func:`path_of`.
        OSError: it cannot be written, or what has this name is no file; the message names it.
    """
    write_pieces(path, [data])


def write_pieces(path: PathLike, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file as :func:`write_bytes` does, one piece after another: they need not be in memory together."""
    place = _resolved(path)
    with _naming(place):
        before = _replaceable(place)
        _delete_leavings(place.parent)
        _replace(place, pieces, before)


def check_writable(path: PathLike, size: int = 0) -> None:
    """Raise what writing so many bytes would raise, as far as it can be known before, and leave nothing there.

    It makes a file in the folder and deletes it, since nothing else tells for sure whether one can be made: not modes,
    nor who asks, on a file system that is read-only.
    """
    place = _resolved(path)
    with _naming(place):
        before = _replaceable(place)
        handle, written = _temporary(place.parent, 0o600)
        try:
            if sys.platform != "win32":  # which deletes no file that is open
                written.unlink()
        finally:
            os.close(handle)  # from now on another process may take it for one that was left
        written.unlink(missing_ok=True)
        _check_owner(place, before)
        space = shutil.disk_usage(place.parent)
        if space.total and space.free < size:  # some file systems do not tell
            raise OSError(errno.ENOSPC, f"it takes {size} bytes, and the disk has room for {space.free}")


@contextmanager
def reading(path: PathLike, expected: str, error: type[ValueError] = ValueError) -> Iterator[tuple[BinaryIO, int]]:
    """A file to read, and how many bytes it has.

    Args:
        path: the file.
        expected: what it should have been, if it is no file.
        error: what is raised if it is no file, but a pipe or a folder, or more than the memory can hold.

    Raises:
        OSError: the file cannot be read; the message names it, also if that shows later.
    """
    place = path_of(path)
    with _naming(place):
        found = place.stat()
        if not stat.S_ISREG(found.st_mode):  # to open a pipe is to wait for who writes into it
            raise error(f"{place} is no file: expected {expected}")
        with place.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > memory():
                raise error(f"{place} has {size} bytes, and this machine {memory()} bytes of memory for it")
            yield file, size


def memory() -> int:
    """Bytes of memory of this machine, or of the container that this runs in; more where that is not told."""
    known = [sys.maxsize]
    with suppress(AttributeError, ValueError, OSError):
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in CGROUPS:
        with suppress(OSError, ValueError):  # "max" is no number
            known.append(int(Path(limit).read_bytes()))
    return min(known)


def _resolved(path: PathLike) -> Path:
    """Where a file is to be, behind links."""
    place = file_path_of(path)
    with _naming(place):
        return Path(os.path.realpath(place))  # unlike Path.resolve, it lets the next call tell of links in a circle


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of the operating system name this file, and not one that was there for a moment, or none."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename == str(path):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replaceable(path: Path) -> os.stat_result | None:
    """What is in the place of a file that is to be written; raise unless it is a file, or nothing in a folder."""
    try:
        found = path.stat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "there is no folder for this file") from None
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "this is a folder; give the name of a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "this is no file, and is not replaced by one")  # a device, for example
    return found


def _check_owner(path: Path, before: os.stat_result | None) -> None:
    """Raise if this is another user's file in a folder for all, /tmp for example, where it cannot be replaced."""
    if before is None or sys.platform == "win32":
        return
    folder = path.parent.stat()
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, before.st_uid, folder.st_uid):
        raise PermissionError(errno.EPERM, "this is another user's file")


def _replace(path: Path, pieces: Iterable[bytes | memoryview], before: os.stat_result | None) -> None:
    # the kernel takes the umask off the mode of a new file; asking for the umask would change it for other threads
    handle, written = _temporary(path.parent, 0o666 if before is None else 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            _pass_on_mode(file.fileno(), before)
            os.fsync(file.fileno())
            if sys.platform == "win32":
                file.close()  # which renames no file that is open
            written.replace(path)
    except BaseException:
        with suppress(OSError):  # what it leaves is deleted by the next write
            written.unlink()
        raise
    _sync(path.parent)


def _temporary(folder: Path, mode: int) -> tuple[int, Path]:
    """A new file in a folder, open and locked, so that others see that somebody is writing it."""
    while True:
        path = folder / f".xpnet-{secrets.token_hex(4)}.tmp"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        except FileExistsError:
            continue
        try:
            if sys.platform != "win32":
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(handle, fcntl.LOCK_EX)
            # before it was locked, another process may have taken it for one that was left, and deleted it
            if os.fstat(handle).st_nlink:
                return handle, path
        except BaseException:
            os.close(handle)
            with suppress(OSError):
                path.unlink()
            raise
        os.close(handle)


def _pass_on_mode(handle: int, before: os.stat_result | None) -> None:
    if before is None or sys.platform == "win32":
        return
    mode = stat.S_IMODE(before.st_mode) & 0o777
    if stat.S_IMODE(os.fstat(handle).st_mode) != mode:  # where all files have the same, it cannot be changed either
        os.fchmod(handle, mode)


def _sync(folder: Path) -> None:
    """Have the new name on the disk too; a file system that cannot do it keeps the old file or the new one as well."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
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
