"""A network from an ONNX file: what xpnet wrote, and plain networks that others wrote."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet._typing import Loss
from xpnet.backends.dispatch import Backend, dtype_name
from xpnet.errors import CheckpointError, ConversionWarning
from xpnet.layers import Rescale
from xpnet.layers.leaves import leaves
from xpnet.models.load import described
from xpnet.models.network import Sequential
from xpnet.serialization import network as files
from xpnet.serialization.atomic import PathLike, path_of

if TYPE_CHECKING:
    from xpnet.onnx.reading import Graph

#: The name under which a file says how it was written, and what of it is needed.
EXPORT, OPTIONS = "xpnet_export", ("input_shape", "softmax", "uint8", "dtype")
CHANGED = (
    "it says what network xpnet wrote, and is not what this xpnet writes of it: it was changed, or is of another "
    "version; its nodes were read"
)


def load_onnx(
    path: PathLike,
    *,
    loss: Loss | None = None,
    backend: str | Backend | None = None,
    device: Any = None,
    kinds: Sequence[type] = (),
) -> Sequential:
    """The network that an ONNX file holds, of xpnet's layers: it predicts what the file computes, and can be trained.

    What :meth:`Sequential.export` wrote is the same network again, with its names, its dropout and its loss. Of other
    writers it reads networks of one input and one output that are chains, sums and concatenations of layers that xpnet
    has: those that ``torch.onnx.export``, tf2onnx (Keras), jax2onnx and skl2onnx (``MLPClassifier``) write of plain
    networks. Weights are those of the file; transposes between (N, H, W, C) and (N, C, H, W) are removed, and constants
    that scale and shift go into the weights beside them. Exporters put batch normalization into the convolutions before
    it where they can: PyTorch's older one leaves it there with ``do_constant_folding=False``. To see that both agree::

        session = onnxruntime.InferenceSession(path)
        scores = session.run(None, {session.get_inputs()[0].name: x})[0]
        np.abs(net.predict(x) - scores).max()

    Args:
        path: the file; arrays in files beside it are read if they are in its folder.
        loss: what the network is to be trained with. By default what xpnet wrote of it; or ``SoftmaxWithLoss()``,
            ``SigmoidWithLoss()`` if there is a sigmoid at the end, and ``MeanSquaredError()`` if there is one output
            without. The softmax or sigmoid that belongs to the loss is not among the layers.
        backend, device: where the network shall be; see :func:`xpnet.get_backend`.
        kinds: classes of layers and losses of one's own that are in a file of xpnet's.

    Raises:
        ImportError: the package onnx is not installed; the message says which install reads.
        OSError: the file cannot be read.
        CheckpointError: it is damaged or no ONNX file, has a node that no layer here computes (its name and operator
            are told), weights that are NaN or infinite, or arrays outside of its folder.

    Warns:
        ConversionWarning: what is other here than in the file, in one message: a softmax that was left to the loss, the
            order of the axes of samples, half precision that became float32, an output of labels that was left out.
    """
    from xpnet.onnx.reading import (  # later: it needs the package onnx, which not everybody has
        found_in,
        graph_in,
        is_written_here,
    )

    where = path_of(path)
    graph = graph_in(where)
    notes = list[str]()
    net = _own(where, graph, backend, device, kinds, notes) if files.ABOUT in graph.metadata else None
    if net is not None and not is_written_here(graph, net, _options(graph)):
        notes, net = [CHANGED], None
    if net is None:
        found = found_in(graph, where, loss)
        net, notes = object.__new__(Sequential), notes + found.notes
        try:
            net.describe(found.layers, found.loss, found.dtype, backend, device)
        except ValueError as error:
            raise CheckpointError(f"{where} has a network that cannot be made: {error}") from None
        places = {name: (leaf, local) for leaf in leaves(net.chain) for local, name in leaf.outside.items()}
        arrays = {name: found.arrays[id(leaf.layer)][local] for name, (leaf, local) in places.items()}
        net.take_arrays(net.from_host(_finite(where, arrays, dtype_name(net.dtype))))
    elif loss is not None:
        net.describe(net.chain.layers, loss, dtype_name(net.dtype), net.backend, None)
    if notes:
        warnings.warn(f"{where}: {'; '.join(notes)}", ConversionWarning, stacklevel=2)
    return net


def _own(
    path: Path, graph: Graph, backend: Any, device: Any, kinds: Sequence[type], notes: list[str]
) -> Sequential | None:
    """The network that xpnet describes in a file that it wrote; None if the file is not what it would write of it."""
    net = described(path, files.parsed(path, graph.metadata[files.ABOUT]), backend, device, kinds)
    expected = files.arrays_of(net.chain, dtype_name(net.dtype))
    sizes = {name: prod(shape) for name, shape in graph.shapes.items()}
    if any(sizes.get(name) != prod(shape) for name, (shape, _) in expected.items()):
        notes.append(CHANGED)
        return None
    try:
        arrays = {name: graph.array(name).reshape(shape) for name, (shape, _) in expected.items()}
    except (ValueError, OverflowError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    net.take_arrays(net.from_host(_finite(path, arrays, dtype_name(net.dtype))))
    options = _options(graph)
    if options["softmax"]:
        notes.append("the softmax at its end is left to the loss: predict gives scores")
    if options["uint8"] and not any(isinstance(layer, Rescale) for layer in net.layers.values()):
        notes.append("the file divides bytes by 255 first, which is left to you here: net.predict(x / 255)")
    others = {a.dtype.name for a in arrays.values()} - {dtype_name(net.dtype)}
    notes += [f"weights of {kind} became {dtype_name(net.dtype)}" for kind in sorted(others)]
    return net


def _options(graph: Graph) -> dict[str, Any]:
    """How the file was written, as far as that can be told."""
    try:
        found = json.loads(graph.metadata.get(EXPORT, ""))
    except (ValueError, RecursionError):
        found = None
    return {name: found.get(name) if isinstance(found, dict) else None for name in OPTIONS}


def _finite(path: Path, arrays: dict[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """Arrays, if all their numbers are finite in this dtype."""
    for name, a in arrays.items():
        with np.errstate(over="ignore"):
            bad = a.size - np.count_nonzero(np.isfinite(a.astype(dtype, copy=False)))
        if bad:
            raise CheckpointError(f"{path}: {name} has {bad} of {a.size} numbers that are NaN or infinite, in {dtype}")
    return arrays
