"""``xpnet export``: a network as an ONNX file, for whatever runs those."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from xpnet.cli.common import CLASSES, PATH, errors_in_one_line, place, place_options, sample_shape
from xpnet.cli.output import tell
from xpnet.cli.run import HISTORY, WEIGHTS
from xpnet.models import load_network
from xpnet.serialization import network as files
from xpnet.serialization import tensors
from xpnet.streams import printable

#: What a checkpoint says of its training and a file for others may say too; the rest is for going on.
TOLD = ("optimizer", "transforms", "batch_size", "sampling", "iteration", "epoch", "notes")


class SampleShape(click.ParamType):  # type: ignore[type-arg]
    """The lengths of a sample's axes: 784, or 1,28,28, or 3,any,any."""

    name = "lengths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | None, ...]:
        try:
            shape = tuple(None if each.strip() == "any" else int(each) for each in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not the shape of a sample: 784, or 1,28,28, or 3,any,any", param, ctx)
        return shape


@click.command(short_help="Write a network as an ONNX file.")
@click.argument("weights", type=PATH)
@click.argument("out", type=PATH)
@place_options
@click.option("--shape", type=SampleShape(), help="Of a sample: 1,28,28, or 3,any,any. [default: as the network says]")
@click.option("--softmax", is_flag=True, help="End with a softmax: probabilities instead of scores.")
@click.option("--uint8", is_flag=True, help="Take bytes, 0 to 255, and divide them by 255.")
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32", "float64"]),
    help="Of weights and results. [default: the network's]",
)
@click.option("--classes", help="Names of the classes, with commas between. [default: 0 to 9 for digits]")
@click.option("--no-verify", is_flag=True, help="Do not compare with the network. [default: compare by onnxruntime]")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def export(
    weights: Path,
    out: Path,
    backend: str | None,
    device: str | None,
    shape: tuple[int | None, ...] | None,
    classes: str | None,
    no_verify: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    """Write the network in WEIGHTS, which xpnet train or net.save wrote, as the ONNX file OUT.

    The file is run by onnxruntime and compared with the network before it is written; one that does not agree is not.
    It needs the package onnx: pip install "xpnet[onnx]".
    """
    with errors_in_one_line():
        try:
            import xpnet.onnx
        except ImportError as error:
            raise click.ClickException(str(error)) from None
        if out.exists() and not overwrite:
            raise click.ClickException(f"{printable(out)} is there already; give another name, or --overwrite")
        net = load_network(weights, backend=place(backend, device))
        digit = sample_shape(net) if shape is None else None
        digits = [*map(str, range(CLASSES))] if digit else None
        trained = _training(weights)
        written = xpnet.onnx.export(
            net,
            out,
            input_shape=shape or digit,
            classes=digits if classes is None else [name.strip() for name in classes.split(",")],
            metadata={} if trained is None else {"training": json.dumps(trained)},
            verify=False if no_verify else None,
            **options,
        )
        tell(printable(written))


def _training(weights: Path) -> dict[str, Any] | None:
    """How a network was trained: what a checkpoint says, or the history that xpnet train left beside its weights."""
    texts: dict[str, str] = {}
    tensors.read_arrays(weights, lambda _, metadata: texts.update(metadata), lambda *_: None)
    training = files.about(weights, texts).get("training")
    if isinstance(training, dict):
        return {name: training[name] for name in TOLD if name in training}
    with suppress(OSError, ValueError, TypeError, KeyError, IndexError, RecursionError):
        if weights.name == WEIGHTS:
            history = json.loads((weights.parent / HISTORY).read_bytes())
            return {"settings": history["settings"], "result": history["evaluations"][-1]}
    return None
