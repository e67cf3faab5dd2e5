"""``xpnet predict``: which digits are in images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from xpnet.cli.common import PATH, PIXELS, digit_network, errors_in_one_line, place_options, scores
from xpnet.datasets.digit_images import Digit, UnreadableImageError, read_digit
from xpnet.functions import softmax
from xpnet.streams import printable

#: Letters of a file's name, so that a line stays within 100.
NAME = 16


@click.command(short_help="Say which digits are in images.")
@click.argument("weights", type=PATH)
@click.argument("images", type=PATH, nargs=-1, required=True, metavar="IMAGE...")
@place_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Of what is printed.",
)
def predict(weights: Path, images: tuple[Path, ...], backend: str | None, device: str | None, form: str) -> None:
    """Say which digit is in each IMAGE, by a network that xpnet train saved as WEIGHTS.

    Each image holds one digit, of any size, dark on light or light on dark. The exit status is 1 if one cannot be read;
    the others are told of all the same. The columns 0 to 9 are probabilities.
    """
    with errors_in_one_line():
        net = digit_network(weights, backend, device)
        read = [(path, digit) for path in images if (digit := _read(path)) is not None]
        rows = []
        if read:
            x = np.stack([digit.pixels for _, digit in read]).reshape(-1, PIXELS).astype("float32") / 255
            probabilities = softmax(scores(net, x))
            rows = [_row(*pair, each) for pair, each in zip(read, probabilities.tolist(), strict=True)]
    if form == "json":
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        click.echo(_table(rows))
    if len(read) < len(images):
        raise SystemExit(1)


def _read(path: Path) -> Digit | None:
    try:
        return read_digit(path)
    except (OSError, UnreadableImageError) as error:
        click.echo(f"Error: {printable(error)}", err=True)
        return None


def _row(path: Path, digit: Digit, probabilities: list[float]) -> dict[str, Any]:
    found = max(range(len(probabilities)), key=probabilities.__getitem__)
    return {"image": str(path), "seen": digit.note, "digit": found, "probabilities": probabilities}


def _table(rows: list[dict[str, Any]]) -> str:
    from tabulate import tabulate

    lines = []
    for row in rows:
        name = printable(Path(row["image"]).name)
        short = name if len(name) <= NAME else f"…{name[1 - NAME :]}"
        lines.append([short, row["seen"].split(", ")[1], row["digit"], *(f"{p:.2f}" for p in row["probabilities"])])
    headers = ["image", "seen", "digit", *(str(c) for c in range(len(rows[0]["probabilities"])))]
    align = ["left", "left", *["right"] * (len(headers) - 2)]
    table: str = tabulate(lines, headers, tablefmt="simple", disable_numparse=True, colalign=align)
    return table
