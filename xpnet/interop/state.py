"""Arrays by PyTorch's names, wherever they are: in a dict, in a module, in a safetensors file. No pickle is opened.

Shapes are looked at first, in a file's header before any array is made. A file is read without PyTorch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backends.dispatch import describe, dtype_name, get_backend, name_of
from xpnet.errors import CheckpointError
from xpnet.serialization import atomic, tensors
from xpnet.serialization.config import shortened
from xpnet.serialization.network import ABOUT

#: Takes the shapes by name, before any array is made, and whether they stand in the order of the modules, which files
#: do not keep; raises, or returns the names of the arrays that are wanted.
Check = Callable[[dict[str, tuple[int, ...]], bool], Iterable[str]]
#: Takes a name, the dtype in the source, and the values as an array of NumPy.
Place = Callable[[str, str, np.ndarray], Any]

FLOATING = ("float16", "bfloat16", "float32", "float64")
EXPECTED = "weights of PyTorch, as safetensors"
UNPICKLE = "state = torch.load(path, weights_only=True) reads it: give that"


def read(weights: Any, check: Check, place: Place) -> dict[str, Any]:
    """What :func:`place` makes of each array that is wanted, by PyTorch's name.

    Args:
        weights: a mapping from names to arrays of any library, what has a ``state_dict()``, or the path of a file.
        check, place: see :data:`Check` and :data:`Place`.

    Raises:
        TypeError: weights is none of these, or something in it is no array.
        OSError: a file cannot be read.
        CheckpointError: a file is no safetensors file, or is one of xpnet's own.
    """
    if isinstance(weights, str | bytes | os.PathLike):
        return _read_file(weights, check, place)
    state = state_of(weights)
    shapes = {name: tuple(a.shape) for name, a in state.items()}
    return {name: place(name, dtype_name(state[name].dtype), host(state[name])) for name in check(shapes, True)}


def source(weights: Any) -> str:
    """What weights are from, as messages name it."""
    return str(atomic.path_of(weights)) if isinstance(weights, str | bytes | os.PathLike) else "the state_dict"


def state_of(weights: Any) -> dict[str, Any]:
    """Arrays of any library by name, of a mapping or of what has a ``state_dict()``."""
    if not isinstance(weights, Mapping) and callable(getattr(weights, "state_dict", None)):
        weights = weights.state_dict()
    if not isinstance(weights, Mapping):
        raise TypeError(
            f"weights are {describe(weights)}, expected a state_dict, a torch.nn.Module, or the path of a safetensors "
            "file"
        )
    for name, value in weights.items():
        if not isinstance(name, str):
            raise TypeError(f"the state_dict has the name {shortened(name)}, expected text")
        if name_of(value) is None:
            advice = f"; if this is the state_dict, give weights[{name!r}]" if isinstance(value, Mapping) else ""
            raise TypeError(f"{shortened(name)} in the state_dict is {describe(value)}, expected an array{advice}")
    return dict(weights)


def host(array: Any) -> np.ndarray:
    """The values of an array of any library; bfloat16 becomes float32."""
    library = name_of(array)
    if library is None:
        raise TypeError(f"{describe(array)} is no array")
    return get_backend(library).to_numpy(array)


def _read_file(path: atomic.PathLike, check: Check, place: Place) -> dict[str, Any]:
    where = atomic.path_of(path)
    dtypes, wanted = dict[str, str](), set[str]()
    _check_kind(where)

    def look(header: tensors.Header, texts: dict[str, str]) -> None:
        if ABOUT in texts:
            raise CheckpointError(f"{where} is a file of xpnet's own: net.load(path) takes it")
        dtypes.update({name: dtype for name, (_, dtype) in header.items()})
        wanted.update(check({name: shape for name, (shape, _) in header.items()}, False))

    def keep(name: str, array: np.ndarray) -> Any:
        return place(name, dtypes[name], array) if name in wanted else None

    found = tensors.read_arrays(where, look, keep)
    return {name: found[name] for name in wanted}


def _check_kind(path: Path) -> None:
    """Raise ``CheckpointError`` if a file is of a kind that holds weights of PyTorch too, and say what to do."""
    with atomic.reading(path, EXPECTED, CheckpointError) as (file, _):
        start = file.read(8)
    pickled = start[:1] == b"\x80" and any(start[4:])  # a safetensors file has a length there, of at most four bytes
    if pickled or start.startswith(b"PK\x03\x04"):
        raise CheckpointError(
            f"{path} is a pickle, as torch.save writes, and is not opened: it may do anything when it is. {UNPICKLE}"
        )
    if path.name.endswith(".index.json"):
        raise CheckpointError(
            f"{path} says in which files the arrays are; safetensors.torch.load_file reads each of these: give all "
            "together, {**first, **second}"
        )
