"""What the commands have in common: options, a network made of them, the data, and errors told in one line."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import click
import numpy as np

from xpnet.backends.dispatch import Backend, BackendUnavailableError, backend_names, dtype_name, get_backend
from xpnet.cli.words import in_options
from xpnet.datasets import mnist
from xpnet.datasets.digit_images import ImagesUnavailableError
from xpnet.layers import Layer, Rescale
from xpnet.models import (
    DeepConvNet,
    MultiLayerNet,
    ResNet,
    Sequential,
    SimpleConvNet,
    TwoLayerNet,
    load_network,
)
from xpnet.parallel import ParallelError, ParallelUnavailableError
from xpnet.serialization.atomic import path_of
from xpnet.streams import printable
from xpnet.validation import check_finite

PIXELS, CLASSES, IMAGE = 784, 10, (1, 28, 28)

#: The networks that xpnet train knows by name, and the hidden units of each: two-layer has as many layers as told.
MODELS: dict[str, tuple[Callable[..., Sequential], int | None]] = {
    "two-layer": (TwoLayerNet, 50),
    "simple-convnet": (SimpleConvNet, 100),
    "deep-convnet": (DeepConvNet, 50),
    "resnet": (ResNet, None),
}

Split = tuple[np.ndarray, np.ndarray]


class PathName(click.Path):
    """The name of a file or folder, ``~`` being the home folder; what is there is for the command to look at."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        try:
            return path_of(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


PATH = PathName()


class Sizes(click.ParamType):  # type: ignore[type-arg]
    """One or several numbers, of units for example: 50, or 100,50."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            sizes = tuple(int(size) for size in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no whole number, nor several with commas between: 50, or 100,50", param, ctx)
        if min(sizes) < 1:
            self.fail(f"{value!r}: expected 1 or more", param, ctx)
        return sizes


class BackendName(click.Choice):  # type: ignore[type-arg]
    """The name of a backend; those of other packages are looked for when a name is given or asked for."""

    def __init__(self) -> None:
        self.case_sensitive = True

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        return backend_names()


def place_options(command: Callable[..., None]) -> Callable[..., None]:
    """Where to compute."""
    device = click.option(
        "--device",
        help="Where the library computes: cuda with --backend torch, for example. [default: the library's own choice]",
    )
    return click.option(
        "--backend", type=BackendName(), help="Array library to compute with. [default: $XPNET_BACKEND, or numpy]"
    )(device(command))


def network_options(command: Callable[..., None]) -> Callable[..., None]:
    """Which network, and where."""
    for option in (
        click.option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Of initial weights, minibatches and dropout: the same seed gives the same run.",
        ),
        click.option(
            "--hidden",
            type=Sizes(),
            help="Units of the hidden layer; 100,50 for two layers in two-layer; resnet has none. [default: 50; 100 in "
            "simple-convnet]",
        ),
        click.option(
            "--model", type=click.Choice(list(MODELS)), default="two-layer", show_default=True, help="Which network."
        ),
        place_options,
    ):
        command = option(command)
    return command


def place(backend: str | None, device: str | None) -> Backend:
    """Where to compute; an error says which options a GPU needs."""
    found = get_backend(backend)
    if found.name == "numpy" and device not in (None, *found.devices()):
        raise ValueError(
            f"backend 'numpy' has no device {device!r}, it computes on the cpu; for a GPU add --backend cupy or "
            "--backend torch"
        )
    return found if device is None else get_backend(backend, device)


def mnist_digits(*, as_bytes: bool = False) -> tuple[Split, Split]:
    """The digits that every command trains on, checks with or is judged by: those to train on, and those to test on."""
    return mnist(normalize=not as_bytes)


def on_bytes(net: Sequential) -> Sequential:
    """The same network, with the same arrays, for pixels 0 to 255, which need a quarter of the memory as bytes."""
    return _with_layers(net, [Rescale(1 / 255), *net.layers.values()])


def on_numbers(net: Sequential) -> Sequential:
    """The same network for pixels 0 to 1, if it is one of :func:`on_bytes`."""
    first, *rest = net.layers.values()
    return _with_layers(net, rest) if first == Rescale(1 / 255) else net


def _with_layers(net: Sequential, layers: Sequence[Layer]) -> Sequential:
    other = copy.copy(net)
    other.describe(layers, net.loss_layer, dtype_name(net.dtype), net.backend, None)
    return other


def network(options: dict[str, Any], rng: np.random.Generator) -> Sequential:
    """The network that the options ask for; what they leave open is written into them."""
    where = {"seed": rng, "dtype": options["dtype"], "backend": place(options["backend"], options["device"])}
    model, dropout = options["model"], options.get("dropout", 0.0)
    kind, usual = MODELS[model]
    sizes: tuple[int, ...] = options["hidden"] or (() if usual is None else (usual,))
    options["hidden"] = sizes
    if kind is TwoLayerNet:
        if len(sizes) == 1 and not dropout:
            return TwoLayerNet(PIXELS, sizes[0], CLASSES, **where)
        spread: Any = 0.01 if len(sizes) == 1 else "auto"
        return MultiLayerNet(PIXELS, sizes, CLASSES, weight_init=spread, dropout=dropout, **where)
    if dropout:
        raise ValueError(f"--dropout is for --model two-layer; {model} has what dropout it has")
    if len(sizes) > 1 or (usual is None and sizes):
        raise ValueError(f"--hidden is {sizes}; {model} has {'no' if usual is None else 'one layer of'} hidden units")
    return kind(IMAGE, **(where | ({"hidden_size": sizes[0]} if sizes else {})))


def sample_shape(net: Sequential) -> tuple[int, ...] | None:
    """A digit as the network takes it, a row of pixels or an image; None if it takes neither."""
    for shape in ((PIXELS,), IMAGE):
        try:
            if net.output_shape(shape) == (CLASSES,):
                return shape
        except ValueError:
            continue
    return None


def as_taken(net: Sequential, x: np.ndarray) -> np.ndarray:
    """Digits (N, 784) in the shape in which the network takes them."""
    return x.reshape(-1, *(sample_shape(net) or x.shape[1:]))


def digit_network(path: Path, backend: str | None, device: str | None) -> Sequential:
    """The network in a file, for pixels 0 to 1, or an error if it is none that reads digits."""
    net = on_numbers(load_network(path, backend=place(backend, device)))  # a checkpoint of xpnet train takes bytes
    if sample_shape(net) is None:
        raise ValueError(
            f"{path} holds a network that does not make {CLASSES} scores (digits) of {PIXELS} inputs or of images "
            f"{IMAGE}, as one of xpnet train does: {net!r:.200}"
        )
    return net


def scores(net: Sequential, x: np.ndarray) -> np.ndarray:
    """What the network predicts for images (N, 784) of pixels 0 to 1, on the host."""
    x = as_taken(net, x)
    length = net.chunk(x.shape[1:])
    parts = (x[start : start + length] for start in range(0, len(x), length))
    move, back, dtype = net.backend.asarray, net.backend.to_numpy, dtype_name(net.dtype)
    found = np.concatenate([back(net.predict(move(part, dtype))) for part in parts])
    check_finite(found, "what the network predicts")
    return found


def title(net: Sequential) -> str:
    """The network and where it is; its sizes where these are all that it is made of."""
    arrays = list(net.params.values())
    sizes = ""
    if not isinstance(net, (SimpleConvNet, DeepConvNet, ResNet)):
        matrices = [p.shape for p in arrays if p.ndim == 2]
        sizes = "-".join(str(n) for n in [*(rows for rows, _ in matrices), *(columns for _, columns in matrices[-1:])])
    sizes = sizes or f"{sum(prod(p.shape) for p in arrays):,} parameters"
    return f"{type(net).__name__} {sizes} on {net.backend.name} ({net.backend.device_name})"


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """What a user can mend is said without a traceback, in the words of the command line."""
    try:
        yield
    except BrokenPipeError:  # nobody reads on, head(1) for example: click ends without a word
        raise
    except (BackendUnavailableError, ImagesUnavailableError, ParallelUnavailableError, ParallelError) as error:
        raise click.ClickException(in_options(str(error))) from error
    except (ValueError, TypeError, OSError, MemoryError, OverflowError) as error:
        raise click.ClickException(in_options(printable(error))) from error
