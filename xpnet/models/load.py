"""A network made again from the description in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpnet import layers as all_layers
from xpnet import losses as all_losses
from xpnet._checks import check_count
from xpnet.backends.base import DTYPES
from xpnet.backends.dispatch import Backend, dtype_name, get_backend
from xpnet.errors import CheckpointError
from xpnet.models.convnets import DeepConvNet, ResNet, SimpleConvNet
from xpnet.models.mlp import MultiLayerNet, TwoLayerNet
from xpnet.models.network import Sequential
from xpnet.serialization import network as files
from xpnet.serialization import tensors
from xpnet.serialization.atomic import PathLike, path_of
from xpnet.serialization.config import from_config, kind_of, shortened

LOSSES = {
    kind.__name__: kind
    for kind in (
        all_losses.SoftmaxWithLoss,
        all_losses.SigmoidWithLoss,
        all_losses.SumSquaredError,
        all_losses.MeanSquaredError,
    )
}
#: Networks that are no more than their layers, and perhaps a name.
NETWORKS = {
    kind.__name__: kind for kind in (Sequential, TwoLayerNet, MultiLayerNet, SimpleConvNet, DeepConvNet, ResNet)
}


def load_network(
    path: PathLike, *, backend: str | Backend | None = None, device: Any = None, kinds: Sequence[type] = ()
) -> Sequential:
    """The network that a file of weights or a checkpoint holds, architecture and parameters.

    Args:
        path: what ``net.save`` or ``trainer.save`` wrote, on whatever backend.
        backend, device: where the network shall be; see :func:`xpnet.get_backend`.
        kinds: classes of layers and losses of one's own (dataclasses) that are in it.

    Raises:
        OSError: the file cannot be read.
        CheckpointError: it is damaged, foreign, or has a layer or loss of a kind that is not known here.

    >>> import tempfile
    >>> from xpnet import TwoLayerNet, load_network
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     TwoLayerNet(4, 3, 2, seed=0).save(f"{folder}/weights.safetensors")
    ...     load_network(f"{folder}/weights.safetensors", backend="numpy")  # doctest: +ELLIPSIS
    TwoLayerNet([Affine(4, 3), ReLU(), ...SoftmaxWithLoss(...) on numpy
    """
    where = path_of(path)
    made: list[Sequential] = []

    def check(header: tensors.Header, metadata: dict[str, str]) -> None:
        weights = files.weights_in(header, metadata)
        made.append(network_from(where, files.about(where, metadata), weights, backend, device, kinds))

    arrays = tensors.read_arrays(where, check, lambda _, array: made[0].backend.asarray(array))
    (net,) = made
    net.take_arrays(arrays)
    return net


def network_from(
    path: Path,
    about: dict[str, Any],
    weights: tensors.Header,
    backend: str | Backend | None,
    device: Any,
    kinds: Sequence[type] = (),
) -> Sequential:
    """The network of a description, still without its arrays, once it is seen that they are in the file."""
    net = described(path, about, backend, device, kinds)
    expected = files.arrays_of(net.chain, dtype_name(net.dtype))
    files.check_header(path, weights, expected, "the network that it describes")
    return net


def described(
    path: Path,
    about: dict[str, Any],
    backend: str | Backend | None,
    device: Any,
    kinds: Sequence[type] = (),
) -> Sequential:
    """The network of a description, without its arrays.

    Raises:
        CheckpointError: a layer or loss of a kind that is not known here, or what cannot be made.
    """
    own, place = {kind_of(kind): kind for kind in kinds}, get_backend(backend, device)
    description = about.get("network")
    try:
        if not isinstance(description, dict) or not isinstance(description.get("layers"), list):
            raise CheckpointError(f"its network is {shortened(description)}, expected layers and a loss")
        name = description.get("kind")
        if not isinstance(name, str) or name not in NETWORKS:
            raise CheckpointError(f"it is a {shortened(name)}; make one, and call its load(), or Trainer.load(net=...)")
        layers = [from_config(layer, all_layers.LAYERS | own) for layer in description["layers"]]
        loss, dtype = from_config(description.get("loss"), LOSSES | own), description.get("dtype")
        if not hasattr(loss, "classifies"):
            raise CheckpointError(f"its loss is {shortened(loss)}, which is none")
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise CheckpointError(f"its dtype is {shortened(dtype)}, expected one of {', '.join(DTYPES)}")
        net = object.__new__(NETWORKS[name])
        net.describe(layers, loss, dtype, place, None)
        net.input_shape = _input_shape(net, description.get("input_shape"))
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} has a network that cannot be made: {error}. Layers and losses of your own: kinds=[MyLayer]"
        ) from None
    return net


def _input_shape(net: Sequential, found: Any) -> tuple[int, ...] | None:
    """The shape of one sample that a description has, which not all have, if the layers take it."""
    if found is None:
        return None
    if not isinstance(found, list):
        raise CheckpointError(f"its input_shape is {shortened(found)}, expected the shape of a sample: [1, 28, 28]")
    shape = tuple(check_count(n, f"its input_shape[{i}]") for i, n in enumerate(found))
    net.output_shape(shape)
    return shape
