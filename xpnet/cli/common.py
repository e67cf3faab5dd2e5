"""What the commands have in common: options, a network made of them, the data, and errors told in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from xpnet.backends.dispatch import BackendUnavailableError, backend_names, dtype_name, get_backend
from xpnet.datasets import mnist
from xpnet.datasets.digit_images import ImagesUnavailableError
from xpnet.models import MultiLayerNet, Sequential, TwoLayerNet, load_network
from xpnet.models.network import CHUNK
from xpnet.streams import printable
from xpnet.validation import check_finite

PIXELS, CLASSES = 784, 10

#: The name of a file; that it cannot be read is for the command to say, which has other files, perhaps.
PATH = click.Path(path_type=Path, readable=False)

Split = tuple[np.ndarray, np.ndarray]


class Sizes(click.ParamType):  # type: ignore[type-arg]
    """One or several numbers of units: 50, or 100,50."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            sizes = tuple(int(size) for size in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a number of units, nor several with commas between: 50, or 100,50", param, ctx)
        if min(sizes) < 1:
            self.fail(f"{value!r}: a layer has 1 unit or more", param, ctx)
        return sizes


def place_options(command: Callable[..., None]) -> Callable[..., None]:
    """Where to compute."""
    choice = click.Choice(backend_names())
    device = click.option("--device", help="Its device, cuda for example. [default: the library's own]")
    return click.option("--backend", type=choice, help="Array library. [default: $XPNET_BACKEND, or numpy]")(
        device(command)
    )


def network_options(command: Callable[..., None]) -> Callable[..., None]:
    """Which network, and where."""
    for option in (
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is random."),
        click.option(
            "--hidden", type=Sizes(), default="50", show_default=True, help="Hidden units; 100,50 for two layers."
        ),
        place_options,
    ):
        command = option(command)
    return command


def mnist_digits() -> tuple[Split, Split]:
    """The digits that every command trains on, checks with or is judged by: those to train on, and those to test on."""
    return mnist()


def network(options: dict[str, Any], rng: np.random.Generator) -> Sequential:
    where = {"seed": rng, "dtype": options["dtype"], "backend": get_backend(options["backend"], options["device"])}
    sizes, dropout = options["hidden"], options.get("dropout", 0.0)
    if len(sizes) == 1 and not dropout:
        return TwoLayerNet(PIXELS, sizes[0], CLASSES, **where)
    spread: Any = 0.01 if len(sizes) == 1 else "auto"
    return MultiLayerNet(PIXELS, sizes, CLASSES, weight_init=spread, dropout=dropout, **where)


def digit_network(path: Path, backend: str | None, device: str | None) -> Sequential:
    """The network in a file, or an error if it is none that reads digits."""
    net = load_network(path, backend=backend, device=device)
    inputs = next((int(p.shape[0]) for p in net.params.values() if p.ndim == 2), None)
    (outputs,) = net.output_shape() or (None,)
    if (inputs, outputs) != (PIXELS, CLASSES):
        raise ValueError(
            f"{path} holds a network with {inputs} inputs and {outputs} outputs, expected {PIXELS} (pixels) "
            f"and {CLASSES} (digits), as xpnet train makes"
        )
    return net


def scores(net: Sequential, x: np.ndarray) -> np.ndarray:
    """What the network predicts for images (N, 784) of pixels 0 to 1, on the host."""
    parts = (x[start : start + CHUNK] for start in range(0, len(x), CHUNK))
    move, back, dtype = net.backend.asarray, net.backend.to_numpy, dtype_name(net.dtype)
    found = np.concatenate([back(net.predict(move(part, dtype))) for part in parts])
    check_finite(found, "what the network predicts")
    return found


def title(net: Sequential, options: dict[str, Any]) -> str:
    sizes = "-".join(map(str, [784, *options["hidden"], 10]))
    return f"{type(net).__name__} {sizes} on {net.backend.name} ({net.backend.device_name})"


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """What a user can mend is said without a traceback."""
    try:
        yield
    except BrokenPipeError:  # nobody reads on, head(1) for example: click ends without a word
        raise
    except (BackendUnavailableError, ImagesUnavailableError) as error:
        raise click.ClickException(str(error)) from error
    except (ValueError, TypeError, OSError, MemoryError, OverflowError) as error:
        raise click.ClickException(printable(error)) from error
