"""The arrays of a network under PyTorch's names and as PyTorch has them lie; and the way back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from xpnet.backends.dispatch import dtype_name, get_backend
from xpnet.errors import CheckpointError, ConversionWarning
from xpnet.interop.matching import COUNTER, NAMES, Match, Matching, layers_with_arrays, match, torch_name
from xpnet.interop.state import FLOATING, host, read, source, state_of
from xpnet.layers import Affine, BatchNorm
from xpnet.models.network import Sequential
from xpnet.serialization import tensors
from xpnet.serialization.atomic import PathLike
from xpnet.serialization.network import told


def from_torch(weights: Any, net: Sequential, *, names: Mapping[str, str] | None = None) -> dict[str, str]:
    """Take all weights from PyTorch into a network that has the same layers: all of them, or none and an error.

    A layer takes the first module that has its shapes and is not taken. Whether the two networks are the same is not in
    the weights: the order of modules of equal shapes, activations, eps, padding. See it with
    :func:`xpnet.interop.check_predictions`.

    Args:
        weights: a ``state_dict``, of arrays of any library; a ``torch.nn.Module``; or the path of a safetensors file,
            which is read without PyTorch. A pickle (``.pt``, ``.pth``, ``.bin``) is not opened:
            ``torch.load(path, weights_only=True)`` gives its ``state_dict``.
        net: of whatever backend; its arrays are replaced. A bias that a module does not have is zeros here.
        names: which module is which layer, where the order of layers and modules is not the same:
            ``{"Affine1": "fc1", "Residual1.Conv2": "block.conv2"}``. It may have some of them.

    Returns:
        Which module became which layer, as ``names`` has it.

    Raises:
        TypeError: no network, no weights, or a layer that PyTorch's names are not known of.
        ValueError: names has a layer or a module that there is not.
        OSError: the file cannot be read.
        CheckpointError: something does not fit (each array is listed, with its shape), is not finite, or is not
            floating-point; or the file is no safetensors file, or a damaged one.

    Warns:
        ConversionWarning: arrays of another dtype than the network's were converted to it.

    >>> import numpy as np
    >>> from xpnet import TwoLayerNet
    >>> net = TwoLayerNet(4, 5, 3)
    >>> state = {"0.weight": np.zeros((5, 4)), "0.bias": np.zeros(5), "2.weight": np.zeros((3, 6))}
    >>> from_torch(state, net)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    xpnet.errors.CheckpointError: the state_dict does not fit this network: 2.weight has shape (3, 6), ...
    """
    _check_network(net)
    made: list[Matching] = []
    where, dtype, others = source(weights), dtype_name(net.dtype), dict[str, str]()

    def check(shapes: dict[str, tuple[int, ...]], ordered: bool) -> list[str]:
        made.append(match(net, shapes, names, where, ordered=ordered))
        return [m.theirs for m in made[0].matches if m.theirs is not None]

    def place(name: str, found: str, array: np.ndarray) -> np.ndarray:
        if found != dtype:
            others[name] = found
        return _converted(f"{told(name)} of {where}", found, array, dtype)

    arrays = read(weights, check, place)
    (matching,) = made
    taken = net.from_host({m.name: _ours(m, arrays, net) for m in matching.matches})
    if others:
        kinds = ", ".join(sorted(set(others.values())))
        warnings.warn(
            f"{where}: {len(others)} of {len(arrays)} arrays are {kinds}; they became {dtype}, as the network's are",
            ConversionWarning,
            stacklevel=2,
        )
    net.take_arrays(taken)  # behind the warning, which may be an error to the caller
    return matching.modules


def to_torch(net: Sequential, like: Any = None) -> dict[str, Any]:
    """The weights of a network as a ``state_dict`` of PyTorch: tensors on the CPU, which share no memory with it.

    Args:
        net: of whatever backend.
        like: the ``torch.nn.Module`` that is to take them, or its ``state_dict``, for its names:
            ``module.load_state_dict(to_torch(net, module))``. By default arrays are named by the layers here:
            ``Affine1.weight``, as the modules of ``torch.nn.Sequential(OrderedDict(Affine1=..., Relu1=...))``.

    Raises:
        BackendUnavailableError: PyTorch is not installed.
        TypeError, CheckpointError: see :func:`from_torch`.
        ValueError: a module of ``like`` has no bias, and the layer here has one that is not zero.
    """
    backend = get_backend("torch", "cpu")
    return {name: backend.asarray(a, copy=True) for name, a in _state(net, like).items()}


def save_torch(net: Sequential, path: PathLike, like: Any = None) -> None:
    """Write :func:`to_torch` as a safetensors file, which ``safetensors.torch.load_file`` reads. It needs no PyTorch.

    The file is there whole or not at all.

    Raises:
        OSError: it cannot be written. For the others see :func:`to_torch`.
    """
    tensors.write_arrays(path, _state(net, like), {"format": "pt"})


def _state(net: Sequential, like: Any) -> dict[str, np.ndarray]:
    """The arrays of a network as PyTorch has them, on the host."""
    _check_network(net)
    ours = {name: net.backend.to_numpy(a) for name, a in net.own_arrays().items()}
    if like is None:
        return _under_own_names(net, ours)
    theirs = state_of(like)
    matching = match(net, {name: tuple(a.shape) for name, a in theirs.items()}, None, "the state_dict")
    lost = [m.name for m in matching.matches if m.theirs is None and np.any(ours[m.name] != m.absent)]
    if lost:
        raise ValueError(f"{', '.join(lost)} has no place in the state_dict, and is not zero (a gamma: not one)")
    found = {m.theirs: _turned(m, ours[m.name]) for m in matching.matches if m.theirs is not None}
    found |= {name: host(a) for name, a in theirs.items() if name.rpartition(".")[2] == COUNTER}
    return {name: found[name] for name in theirs}


def _under_own_names(net: Sequential, ours: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    for path, leaf in layers_with_arrays(net).items():
        for local, name in leaf.outside.items():
            transposed = isinstance(leaf.layer, Affine) and local == "W"
            found[torch_name(path, NAMES[type(leaf.layer)][local])] = _turned(Match(name, None, transposed), ours[name])
        if isinstance(leaf.layer, BatchNorm):
            found[torch_name(path, COUNTER)] = np.asarray(0)
    return found


def _turned(m: Match, array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.T) if m.transposed else array


def _ours(m: Match, arrays: Mapping[str, np.ndarray], net: Sequential) -> np.ndarray:
    if m.theirs is None:
        return np.full((net.params | net.buffers)[m.name].shape, m.absent)
    return arrays[m.theirs].T if m.transposed else arrays[m.theirs]


def _converted(name: str, found: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """A host array in the dtype of the network, if it is finite in it."""
    if found not in FLOATING:
        raise CheckpointError(f"{name} is {found}, expected one of {', '.join(FLOATING)}")
    with np.errstate(over="ignore"):
        array = array.astype(dtype, copy=False)
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise CheckpointError(f"{name} has {bad} of {array.size} values that are NaN or infinite, in {dtype}")
    return array


def _check_network(net: Any) -> None:
    if not isinstance(net, Sequential):
        raise TypeError(f"net is of type {type(net).__name__}, expected a network: from_torch(state_dict, net)")
