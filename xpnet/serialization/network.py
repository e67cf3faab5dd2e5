"""A network in a file: its parameters and buffers by name, and its architecture in the metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.base import DTYPES
from xpnet.backends.dispatch import dtype_name
from xpnet.errors import CheckpointError
from xpnet.serialization import tensors
from xpnet.serialization.atomic import PathLike, path_of
from xpnet.serialization.config import kind_of, shortened, to_config

#: The text in the metadata under which xpnet keeps what it has to know, as JSON.
ABOUT = "xpnet"
FORMAT = 1
#: What stands before the names of arrays that are no parameters, in a checkpoint.
BESIDE = ("optimizer/", "training/", "transforms/")
#: Characters of JSON that a description may have, some hundred thousand layers; a larger one is not even parsed.
LONGEST = 2**22
#: How many differences are listed.
MOST = 1000


def save(net: Any, path: PathLike) -> None:
    """Write the parameters of a network, and what it is made of."""
    write(net, path, text_about(net), {})


def write(net: Any, path: PathLike, text: str, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays of a network, a text that :func:`text_about` made, and arrays beside them."""
    own = {name: net.backend.to_numpy(p) for name, p in (net.params | net.buffers).items()}
    tensors.write_arrays(path, own | arrays, {ABOUT: text})


def load(net: Any, path: PathLike) -> dict[str, Array]:
    """Parameters and buffers of this network from a file of weights or a checkpoint; or an error and nothing."""
    where, expected = path_of(path), arrays_of(net.chain, dtype_name(net.dtype))

    def check(header: tensors.Header, metadata: dict[str, str]) -> None:
        if ABOUT in metadata:
            about(where, metadata)
        check_header(where, weights_in(header, metadata), expected, "this network")

    def place(name: str, array: np.ndarray) -> Array:
        return net.backend.asarray(array) if name in expected else None

    arrays = tensors.read_arrays(where, check, place)
    return {name: arrays[name] for name in expected}


def text_about(net: Any, **about: Any) -> str:
    """What is written of a network and its training; ``ValueError`` if it could not be read again."""
    found, expected = header_of(net), arrays_of(net.chain, dtype_name(net.dtype))
    if found != expected:
        raise ValueError(
            f"the arrays of this network are not those of its layers, and could not be loaded: {found}, expected "
            f"{expected}"
        )
    tensors.check_names(found)
    text = json.dumps({"format": FORMAT, "network": network_description(net)} | about, default=repr)
    if len(text) > LONGEST:
        raise ValueError(
            f"the description of this network and its training has {len(text)} characters, expected at most "
            f"{LONGEST}; keep long notes in a file of their own"
        )
    return text


def header_of(net: Any) -> tensors.Header:
    """The shape and the dtype of each parameter and buffer of a network."""
    return {name: (tuple(p.shape), dtype_name(p.dtype)) for name, p in (net.params | net.buffers).items()}


def network_description(net: Any) -> dict[str, Any]:
    """The architecture of a network as plain data."""
    return {
        "kind": kind_of(type(net)),
        "layers": [to_config(layer) for layer in net.layers.values()],
        "loss": to_config(net.loss_layer),
        "dtype": dtype_name(net.dtype),
        **({} if net.input_shape is None else {"input_shape": list(net.input_shape)}),
    }


def arrays_of(chain: Any, dtype: str) -> tensors.Header:
    """The shape and the dtype of each parameter and buffer of layers in a chain."""
    parameters = {name: shape for part in chain.parts for name, shape in part.shapes.items()}
    buffers = {name: shape for part in chain.parts for name, shape in part.buffers.items()}
    return {name: (tuple(shape), dtype) for name, shape in (parameters | buffers).items()}


def weights_in(header: tensors.Header, metadata: dict[str, str]) -> tensors.Header:
    """The network's arrays among what is in a file: all of it, but for what a checkpoint has beside them."""
    return {name: what for name, what in header.items() if ABOUT not in metadata or not name.startswith(BESIDE)}


def about(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """What xpnet wrote of a file, as plain data."""
    if ABOUT not in metadata:
        raise CheckpointError(
            f"{path} says nothing of a network: weights that another program wrote, perhaps. Make the network they "
            "belong to, and call its load()"
        )
    if tensors.DIGEST not in metadata:
        raise CheckpointError(f"{path} is damaged: its digest is missing; use another copy")
    return parsed(path, metadata[ABOUT])


def parsed(path: Path, text: str) -> dict[str, Any]:
    """What :func:`text_about` wrote, as plain data."""
    if len(text) > LONGEST:
        raise CheckpointError(f"{path} has a description of {len(text)} characters, expected at most {LONGEST}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: its description is not JSON that can be read: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        number = found.get("format") if isinstance(found, dict) else found
        raise CheckpointError(f"{path} is of format {shortened(number)}, and this xpnet reads format {FORMAT}")
    return found


def check_header(path: str | Path, found: tensors.Header, expected: tensors.Header, owner: str) -> None:
    """Raise :class:`CheckpointError` unless a file has these arrays and no others; each difference is listed."""
    differences = [f"{name} is missing" for name in expected if name not in found]
    differences += [f"{told(name)} is not expected" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        (shape, dtype), (our_shape, our_dtype) = found[name], expected[name]
        if shape != our_shape:
            differences.append(f"{name} has shape {shortened(shape)}, expected {shortened(our_shape)}")
        if dtype != our_dtype:
            differences.append(f"{name} has dtype {dtype}, expected {our_dtype}")
    if differences:
        listed, more = sorted(differences)[:MOST], len(differences) - MOST
        listed += [f"and {more} differences more"] if more > 0 else []
        raise CheckpointError(f"{path} does not fit {owner}: {'; '.join(listed)}{_advice(found, expected)}")


def _advice(found: tensors.Header, expected: tensors.Header) -> str:
    """What to do if all that is in a file is what was expected, but for its dtype."""
    shapes = [{name: shape for name, (shape, _) in header.items()} for header in (found, expected)]
    theirs, ours = ({dtype for _, dtype in header.values()} for header in (found, expected))
    if shapes[0] != shapes[1] or len(ours) > 1:
        return ""
    same = f"make the network with dtype={min(theirs)!r}, or " if len(theirs) == 1 and theirs <= {*DTYPES} else ""
    return f". To use them, {same}save them as {min(ours)} in the program that wrote them"


def told(name: str) -> str:
    """A name from a file as it is, unless it would spoil the message."""
    return name if name.isprintable() and 0 < len(name) <= 80 else shortened(name)
