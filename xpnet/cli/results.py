"""Files of results, each written for itself: what goes wrong with one does not cost the others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from xpnet.streams import printable

Writers = Mapping[str, Callable[[Path], Any]]


def write_each(
    folder: Path,
    writers: Writers,
    line: Callable[[Path], str],
    *,
    rescued: Iterable[str] = (),
    stale: Iterable[str] = (),
) -> tuple[list[str], list[str]]:
    """Write files into a folder; returns a line for each, and what failed.

    Args:
        folder: where they go; made again if somebody has deleted it.
        writers: what writes a file of each name, in this order.
        line: what is said of a file that was written.
        rescued: what cannot be made again, and goes into a folder for temporary files if it cannot be written here.
        stale: files that are of an earlier time if they are not written now, and are deleted.
    """
    from xpnet.plotting import PlottingUnavailableError  # later: before there is a result it need not be there

    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    made, failed, written = [], [], set()
    for name, write in writers.items():
        try:
            write(folder / name)
            made.append(line(folder / name))
            written.add(name)
        except PlottingUnavailableError as error:
            made.append(f"no plot: {error}")
        except Exception as error:  # whatever it is, the others shall be written
            failed.append(_told(name, error) + (_rescue(name, write) if name in rescued else ""))
    return made, failed + [why for name in stale if name not in written for why in remove(folder / name)]


def remove(path: Path) -> list[str]:
    """Delete a file that is there; returns why it cannot be. What is no file was never a result."""
    try:
        if not path.is_dir():
            path.unlink(missing_ok=True)
    except OSError as error:
        return [_told(path.name, error)]
    return []


def _told(name: str, error: Exception) -> str:
    named = isinstance(error, OSError) and error.filename
    return printable(error if named else f"{name}: {type(error).__name__}: {error}")


def _rescue(name: str, write: Callable[[Path], Any]) -> str:
    """Write a file into a folder for temporary ones; says where."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="xpnet-"))
    except OSError:
        return ""
    try:
        write(folder / name)
    except Exception:  # the first error is told
        with suppress(OSError):
            folder.rmdir()
        return ""
    return f" (it is in {printable(folder / name)} instead)"
