"""A network in a file: its parameters by name, and its architecture in the metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import storage
from xpnet.backend import dtype_name
from xpnet.descriptions import described, kind_of, shortened
from xpnet.errors import CheckpointError

#: The text in the metadata under which xpnet keeps what it has to know, as JSON.
ABOUT = "xpnet"
FORMAT = 1
#: What stands before the names of arrays that are no parameters, in a checkpoint.
BESIDE = ("optimizer/", "training/")
#: Characters of JSON that a description may have, some hundred thousand layers; a larger one is not even parsed.
LONGEST = 2**22
#: How many differences are listed.
MOST = 1000


def save(net: Any, path: str | Path, arrays: dict[str, np.ndarray] | None = None, **about: Any) -> None:
    """Write the parameters of a network, what it is made of, and whatever else is given."""
    params = {name: net.backend.to_numpy(p) for name, p in net.params.items()}
    found = {name: (p.shape, p.dtype.name) for name, p in params.items()}
    expected = parameters_of(net.layers.values(), dtype_name(net.dtype))
    if found != expected:
        raise ValueError(
            f"the parameters of this network are not those of its layers, and could not be loaded: {found}, expected "
            f"{expected}"
        )
    text = json.dumps({"format": FORMAT, "network": network_description(net)} | about, default=repr)
    if len(text) > LONGEST:
        raise ValueError(
            f"the description of this network and its training has {len(text)} characters, expected at most "
            f"{LONGEST}; keep long notes in a file of their own"
        )
    storage.write_arrays(path, params | (arrays or {}), {ABOUT: text})


def load(net: Any, path: str | Path) -> dict[str, np.ndarray]:
    """The parameters of this network from a file of weights or a checkpoint, or an error and nothing."""
    expected = parameters_of(net.layers.values(), dtype_name(net.dtype))

    def check(header: storage.Header, metadata: dict[str, str]) -> None:
        if ABOUT in metadata:
            about(path, metadata)
        check_header(path, weights_in(header, metadata), expected, "this network")

    arrays = storage.read_arrays(path, check)
    return {name: arrays[name] for name in expected}


def network_description(net: Any) -> dict[str, Any]:
    """The architecture of a network as plain data."""
    return {
        "kind": kind_of(type(net)),
        "layers": [described(layer) for layer in net.layers.values()],
        "loss": described(net.loss_layer),
        "dtype": dtype_name(net.dtype),
    }


def parameters_of(layers: Any, dtype: str) -> storage.Header:
    """The shape and the dtype of each parameter of layers that know their place."""
    return {name: (tuple(shape), dtype) for layer in layers for name, shape in layer.shapes.items()}


def weights_in(header: storage.Header, metadata: dict[str, str]) -> storage.Header:
    """The parameters among what is in a file: all of it, but for what a checkpoint has beside them."""
    return {name: what for name, what in header.items() if ABOUT not in metadata or not name.startswith(BESIDE)}


def about(path: str | Path, metadata: dict[str, str]) -> dict[str, Any]:
    """What xpnet wrote of a file, as plain data."""
    if ABOUT not in metadata:
        raise CheckpointError(
            f"{path} says nothing of a network: weights that another program wrote, perhaps. Make the network they "
            "belong to, and call its load()"
        )
    if storage.DIGEST not in metadata:
        raise CheckpointError(f"{path} is damaged: its digest is missing; use another copy")
    if len(metadata[ABOUT]) > LONGEST:
        raise CheckpointError(
            f"{path} has a description of {len(metadata[ABOUT])} characters, expected at most {LONGEST}"
        )
    try:
        found = json.loads(metadata[ABOUT])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: its description is not JSON that can be read: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        number = found.get("format") if isinstance(found, dict) else found
        raise CheckpointError(f"{path} is of format {shortened(number)}, and this xpnet reads format {FORMAT}")
    return found


def check_header(path: str | Path, found: storage.Header, expected: storage.Header, owner: str) -> None:
    """Raise :class:`CheckpointError` unless a file has these arrays and no others; each difference is listed."""
    differences = [f"{name} is missing" for name in expected if name not in found]
    differences += [f"{_told(name)} is not expected" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        for what, theirs, ours in zip(("shape", "dtype"), found[name], expected[name], strict=True):
            if theirs != ours:
                differences.append(f"{name} has {what} {theirs}, expected {ours}")
    if differences:
        listed, more = sorted(differences)[:MOST], len(differences) - MOST
        listed += [f"and {more} differences more"] if more > 0 else []
        raise CheckpointError(f"{path} does not fit {owner}: {'; '.join(listed)}")


def _told(name: str) -> str:
    """A name from a file as it is, unless it would spoil the message."""
    return name if name.isprintable() and 0 < len(name) <= 80 else shortened(name)
