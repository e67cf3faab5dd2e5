"""MNIST, 60,000 digits to train on and 10,000 to test on, with the options of the book's loader."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from xpnet.backends.dispatch import get_backend
from xpnet.datasets.idx import load_idx
from xpnet.serialization import atomic

#: The four files, inside the package. Source and licence: README.md beside them.
FOLDER = Path(__file__).parent / "data"

SUFFIXES = ("", ".gz", ".xz")
#: How many names of a folder are told where none of them is the right one.
MOST_NAMED = 12

Split = tuple[np.ndarray, np.ndarray]


def mnist(
    normalize: bool = True, flatten: bool = True, one_hot_label: bool = False, *, folder: atomic.PathLike | None = None
) -> tuple[Split, Split]:
    """Return ``(x_train, t_train), (x_test, t_test)`` as NumPy arrays; shipped with the package, nothing is downloaded.

    Yann LeCun and Corinna Cortes hold the copyright of MNIST, which derives from NIST's Special Databases 1 and 3;
    it is under the Creative Commons licence Attribution-ShareAlike 3.0.

    Args:
        normalize: pixels as float32 from 0 to 1; otherwise as they are, uint8 from 0 to 255.
        flatten: images as rows (N, 784); otherwise as (N, 1, 28, 28).
        one_hot_label: labels as float32 rows (N, 10); otherwise uint8 (N,).
        folder: where to read the four files instead, plain, ``.gz`` or ``.xz``: Fashion-MNIST, for example. Their names
            may have a dot for a hyphen and capitals (``train-images.idx3-ubyte``), and each may be in a folder of its
            name, as some archives are unpacked.

    Raises:
        FileNotFoundError: there is no such folder, or a file is not in it; the message says what is.
        ValueError: a file is damaged, or images and labels are not equally many.

    >>> (x_train, t_train), (x_test, t_test) = mnist()
    >>> x_train.shape, x_train.dtype, t_train.shape, t_train.dtype
    ((60000, 784), dtype('float32'), (60000,), dtype('uint8'))
    >>> t_test[:8]
    array([7, 2, 1, 0, 4, 1, 4, 9], dtype=uint8)
    """
    where = FOLDER if folder is None else atomic.path_of(folder)
    each = partial(_split, where, normalize=normalize, flatten=flatten)
    # one is decompressed beside the other where there are two cores
    (x_train, t_train), (x_test, t_test) = get_backend("numpy").map(each, ("train", "t10k"))
    if one_hot_label:
        rows = np.eye(int(max(t_train.max(), t_test.max())) + 1, dtype=np.float32)
        t_train, t_test = rows[t_train], rows[t_test]
    return (x_train, t_train), (x_test, t_test)


def _split(folder: Path, part: str, normalize: bool, flatten: bool) -> Split:
    x = load_idx(_find(folder, f"{part}-images-idx3-ubyte"))
    t = load_idx(_find(folder, f"{part}-labels-idx1-ubyte"))
    if x.ndim != 3 or t.shape != x.shape[:1] or not x.size:
        raise ValueError(f"{folder}: {part} images have shape {x.shape} and labels {t.shape}; expected (N, H, W), (N,)")
    if t.dtype.kind != "u":
        raise ValueError(f"{folder}: {part} labels are {t.dtype}; expected unsigned bytes, data type 0x08")
    if normalize:
        x = np.divide(x, 255, dtype=np.float32)
    return (x.reshape(x.shape[0], -1) if flatten else x[:, None, :, :]), t


def _find(folder: Path, name: str) -> Path:
    """The file of this name, or one whose name is written in another way; plain ones first."""
    wanted = {name + suffix: suffix for suffix in SUFFIXES}
    for usual in wanted:
        if (path := folder / usual).is_file():
            return path
    found = sorted(folder.iterdir())
    fitting = [path for path in found if _plain(path) in wanted]
    # an archive of one file is often unpacked into a folder of its name
    fitting += [inside for path in fitting if path.is_dir() for inside in sorted(path.iterdir())]
    fitting = [path for path in fitting if _plain(path) in wanted and not path.is_dir()]
    if fitting:
        return min(fitting, key=lambda path: SUFFIXES.index(wanted[_plain(path)]))
    names = [repr(f"{path.name}/" if path.is_dir() else path.name) for path in found]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    raise FileNotFoundError(
        f"{folder} has no {name}, nor one ending in .gz or .xz, nor a folder of that name with it; it has "
        f"{', '.join(names[:MOST_NAMED]) or 'nothing'}{more}"
    )


def _plain(path: Path) -> str:
    """The name of a file as MNIST's authors would write it: ``train-images-idx3-ubyte``."""
    return re.sub(r"[._](?=idx)", "-", path.name.lower())
