"""Files that are there whole or not at all: written beside their place, synced, and renamed into it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file; a crash at any moment leaves the old one or the new one."""
    path = Path(path).resolve()  # through a link, so that it goes on being one
    try:
        _replace(path, data)
    except OSError as error:
        error.filename = str(path)  # and not the name that it would have had for a moment
        raise


def _replace(path: Path, data: bytes) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".xpnet-")
    written = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        written.chmod(mode)  # mkstemp makes a file that only its owner can read
        written.replace(path)
    except BaseException:
        written.unlink(missing_ok=True)
        raise


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> None:
    """Write arrays by name as safetensors, with texts by name beside them."""
    from safetensors.numpy import save

    # the format's library writes the memory of an array as it lies, so it has to lie in order
    write_bytes(path, save({name: np.asarray(a, order="C") for name, a in arrays.items()}, metadata))


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read what :func:`write_arrays` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no safetensors file, or a damaged one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = Path(path).read_bytes()
    try:
        arrays: dict[str, np.ndarray] = load(data)
    except (SafetensorError, KeyError, ValueError) as error:  # damaged; of a dtype or a shape that NumPy lacks
        raise ValueError(f"{path} cannot be read as safetensors: {type(error).__name__}: {error}") from None
    return arrays


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
