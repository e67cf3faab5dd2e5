"""What has to be the same in all processes of a training: compared before the first step, and kept the same."""

from __future__ import annotations

import hashlib
import importlib
import re
from typing import Any

import numpy as np

from xpnet._typing import Array, State
from xpnet.backends.base import Data
from xpnet.backends.dispatch import backend_of, dtype_name
from xpnet.training.state import TrainingState


def notes(training: TrainingState, data: Data, held_out: Data | None) -> dict[str, str]:
    """Versions, options, seed, network, arrays and data by what messages call them; digests of what is long.

    What shows itself by its address in memory, a function or a loss of the user's own for example, does so without it.
    """
    net, batches = training.net, training.batches
    versions = {
        f"the version of {name}": str(getattr(importlib.import_module(name), "__version__", "unknown"))
        for name in ("xpnet", "numpy", net.backend.packages[0])
    }
    found = versions | {
        "the backend": net.backend.name,
        "the network": f"{net.chain!r}, {net.loss_layer!r}, {dtype_name(net.dtype)}",
        "the optimizer": repr(training.optimizer),
        "transforms": repr(training.transforms),
        "batch_size": str(training.batch_size),
        "sampling": training.sampling,
        "compile": str(training.compile),
        "compute_dtype": str(training.compute_dtype),
        "tf32": str(training.tf32),
        "evaluate": repr(training.evaluated),
        "the number of iterations": f"{training.iteration} to {training.goal}",
        "the seed of the trainer": digest_of(_text(_known(training.rng.bit_generator.state))),
        "the place in the minibatches": digest({"order": batches.order, "at": np.asarray([batches.taken, batches.n])}),
        "the parameters of the network": digest(net.params),
        "the buffers of the network": digest(net.buffers),
        "what the optimizer remembers": digest(training.optimizer_state),
        "what the transforms remember": digest(training.transform_states),
    }
    for prefix, split in (("", data), ("validation ", held_out or {})):
        found |= {f"{prefix}{name}": digest({name: array}) for name, array in split.items()}
    return {what: re.sub(r" at 0x[0-9A-Fa-f]+", "", text) for what, text in found.items()}


def digest(tree: dict[str, Any]) -> str:
    """A digest of the names, shapes, dtypes and values of arrays in nested dicts."""
    found = hashlib.blake2b(digest_size=16)
    _add(found, tree)
    return f"#{found.hexdigest()}"


def digest_of(text: str) -> str:
    """A digest of a text that nobody wants to read."""
    return f"#{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


def _add(found: Any, tree: dict[str, Any]) -> None:
    for name, value in sorted(tree.items()):
        if isinstance(value, dict):
            found.update(f"{name}/".encode())
            _add(found, value)
            continue
        host = value if isinstance(value, np.ndarray) else backend_of(value).to_numpy(value)
        found.update(f"{name} {host.shape} {host.dtype.str} ".encode())
        found.update(np.ascontiguousarray(host).reshape(-1).view(np.uint8))


def _known(state: Any) -> Any:
    """The state of a generator without the half of a word that it does not keep."""
    return state if state.get("has_uint32", 1) else state | {"uinteger": 0}


def _text(state: Any) -> str:
    """The state of a generator, whose numbers may be arrays."""
    if isinstance(state, dict):
        return str({name: _text(value) for name, value in sorted(state.items())})
    return str(state.tolist() if isinstance(state, np.ndarray) else state)


def broadcast(training: TrainingState) -> None:
    """Give all processes the state that process 0 has."""
    parallel, backend = training.parallel, training.net.backend

    def sent(tree: State) -> State:
        found = {
            name: sent(tree[name]) if isinstance(tree[name], dict) else received(tree[name]) for name in sorted(tree)
        }
        return {name: found[name] for name in tree}  # whose order need not be that of the others

    def received(array: Array) -> Array:
        host = parallel.broadcast(backend.to_numpy(array))
        return array if parallel.leads else backend.asarray(host, dtype_name(array.dtype), copy=True)

    if parallel.size > 1:
        training.take_back(sent(training.tree()))


def align(training: TrainingState) -> None:
    """Have all processes end with one state.

    Callbacks of process 0 may have assigned some, and machines that are not alike may round otherwise.
    """
    if training.parallel.size > 1 and len(set(training.parallel.gather(digest(training.compose())))) > 1:
        broadcast(training)
