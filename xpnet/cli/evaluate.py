"""``xpnet evaluate``: how well a network reads the digits of MNIST, and which it gets wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import click
import numpy as np

import xpnet
from xpnet import metrics, plotting
from xpnet.cli.common import PATH, digit_network, errors_in_one_line, mnist_digits, place_options, scores
from xpnet.cli.lock import only_one
from xpnet.cli.output import tell
from xpnet.cli.results import write_each
from xpnet.serialization import atomic
from xpnet.streams import printable

REPORT, MISTAKES, CONFUSION = "report.json", "mistakes.png", "confusion.png"
SPLITS = ("train", "test")


@click.command(short_help="Tell how well a network reads MNIST.")
@click.argument("weights", type=PATH)
@place_options
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Which digits.")
@click.option("--out", type=PATH, help="Folder for the results. [default: that of WEIGHTS]")
@click.option("--no-plot", is_flag=True, help="Draw no pictures.")
def evaluate(
    weights: Path, backend: str | None, device: str | None, split: str, out: Path | None, no_plot: bool
) -> None:
    """Tell how well a network that xpnet train saved as WEIGHTS reads MNIST, class by class.

    report.json, mistakes.png (the worst of them) and confusion.png are written to --out, over those of an earlier call.
    """
    with errors_in_one_line(), ExitStack() as held:
        net = digit_network(weights, backend, device)
        x, t = mnist_digits()[SPLITS.index(split)]
        where = f"{net.backend.name} ({net.backend.device_name})"
        tell(f"{printable(weights)}: {type(net).__name__} on {where}, {len(t)} {split} digits")
        y = scores(net, x)
        report = metrics.report(y, t)
        about = {"weights": str(weights), "split": split, "backend": net.backend.name, "xpnet": xpnet.__version__}
        writers: dict[str, Callable[[Path], Any]] = {
            REPORT: lambda path: atomic.write_bytes(path, json.dumps(about | report.to_dict(), indent=2).encode())
        }
        if not no_plot:
            writers[MISTAKES] = lambda path: _draw(path, plotting.mistakes(x, t, y))
            writers[CONFUSION] = lambda path: _draw(path, plotting.confusion(np.asarray(report.matrix)))
        folder = out or weights.parent
        with suppress(OSError):  # which is told of each file
            folder.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            held.enter_context(only_one(folder, "evaluate"))
        made, failed = write_each(folder, writers, printable, stale=list(writers)[1:])
        tell("\n".join([f"{report}\n\n{_matrix(report)}\n", *dict.fromkeys(made)]))
    if failed:
        raise click.ClickException("; ".join(failed))


def _matrix(report: metrics.Report) -> str:
    from tabulate import tabulate

    rows = [[c, *row] for c, row in enumerate(report.matrix)]
    headers = ["true", *(f"→ {c}" for c in range(len(rows)))]
    align = ["right"] * len(headers)
    table: str = tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align)
    return table


def _draw(path: Path, axes: Any) -> None:
    atomic.write_bytes(path, plotting.png(axes.figure))
