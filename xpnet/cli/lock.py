"""One process at a time in a folder of results; a process that is killed leaves nothing that would stop the next."""

from __future__ import annotations

import errno
import os
import platform
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from xpnet.streams import printable

#: As much as is read of what another process wrote of itself.
ABOUT = 200
#: Where Windows locks a byte, far from those that others shall read.
FAR = 2**20


@contextmanager
def only_one(folder: Path, command: str) -> Iterator[None]:
    """Hold a folder for one command; where folders cannot be locked, on some networks for example, that is said.

    The lock is one of the operating system on the file ``.xpnet-COMMAND.lock``, and goes with the process that has it,
    however that ends. The file says which process that is, and is deleted in the end.

    Raises:
        click.ClickException: another process has it.
    """
    path = folder / f".xpnet-{command}.lock"
    try:
        handle = _taken(path)
    except BlockingIOError:
        raise click.ClickException(
            f"{printable(folder)} is in use by another xpnet {command}: {_holder(path)}; wait for it, or give another "
            "folder"
        ) from None
    except OSError as error:
        click.echo(
            f"{printable(folder)} cannot be locked ({error.strerror}): see to it that no other xpnet {command} writes "
            "there at the same time",
            err=True,
        )
        yield
        return
    try:
        yield
    finally:
        if sys.platform == "win32":
            os.close(handle)  # which deletes no file that is open
            with suppress(OSError):
                path.unlink()
        else:
            with suppress(OSError):  # somebody has deleted the folder
                path.unlink()  # while it is locked, so that it is nobody else's
            os.close(handle)


def _taken(path: Path) -> int:
    """The lock's file, open, locked and with this process's number in it; ``OSError`` if that cannot be."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    while True:
        handle = os.open(path, flags, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, f"{path.name} is no file")
            _lock(handle)
            if sys.platform == "win32" or os.fstat(handle).st_nlink:  # nobody deleted it before it was locked
                with suppress(OSError):  # a disk that is full: others are not told who it is
                    os.ftruncate(handle, 0)
                    started = time.strftime("%Y-%m-%d %H:%M:%S")
                    os.write(handle, f"process {os.getpid()} on {platform.node()}, since {started}".encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int) -> None:
    """Lock an open file; ``BlockingIOError`` if another process has."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(*error.args) from None
        os.lseek(handle, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(path: Path) -> str:
    """What the process that has the lock wrote of itself."""
    with suppress(OSError), path.open("rb") as file:
        return printable(file.read(ABOUT).decode("utf-8", "replace")) or "it has not said which process"
    return "it cannot be read which process"
