"""``xpnet evaluate``: how well a network reads the digits of MNIST, and which it gets wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

import xpnet
from xpnet import metrics, plotting, storage
from xpnet.cli.common import digit_network, errors_in_one_line, mnist_digits, place_options, scores

REPORT, MISTAKES, CONFUSION = "report.json", "mistakes.png", "confusion.png"
SPLITS = ("train", "test")


@click.command(short_help="Tell how well a network reads MNIST.")
@click.argument("weights", type=click.Path(path_type=Path))
@place_options
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Which digits.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the results. [default: that of WEIGHTS]")
@click.option("--no-plot", is_flag=True, help="Draw no pictures.")
def evaluate(
    weights: Path, backend: str | None, device: str | None, split: str, out: Path | None, no_plot: bool
) -> None:
    """Tell how well a network reads MNIST that xpnet train saved as WEIGHTS, class by class.

    report.json, mistakes.png (the worst of them) and confusion.png are written to --out, over those of an earlier call.
    """
    with errors_in_one_line():
        net = digit_network(weights, backend, device)
        x, t = mnist_digits()[SPLITS.index(split)]
        where = f"{net.backend.name} ({net.backend.device_name})"
        click.echo(f"{weights}: {type(net).__name__} on {where}, {len(t)} {split} digits")
        y = scores(net, x)
        report = metrics.report(y, t)
        click.echo(f"{report}\n\n{_matrix(report)}\n")
        folder = out or weights.parent
        folder.mkdir(parents=True, exist_ok=True)
        about = {"weights": str(weights), "split": split, "backend": net.backend.name, "xpnet": xpnet.__version__}
        storage.write_bytes(folder / REPORT, json.dumps(about | report.to_dict(), indent=2).encode())
        click.echo(folder / REPORT)
        if not no_plot:
            _draw(folder, x, t, y, report)


def _matrix(report: metrics.Report) -> str:
    from tabulate import tabulate

    rows = [[c, *row] for c, row in enumerate(report.matrix)]
    headers = ["true", *(f"→ {c}" for c in range(len(rows)))]
    align = ["right"] * len(headers)
    table: str = tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align)
    return table


def _draw(folder: Path, x: np.ndarray, t: np.ndarray, y: np.ndarray, report: metrics.Report) -> None:
    pictures: dict[str, Callable[[], Any]] = {
        MISTAKES: lambda: plotting.mistakes(x, t, y),
        CONFUSION: lambda: plotting.confusion(np.asarray(report.matrix)),
    }
    try:
        for name, draw in pictures.items():
            storage.write_bytes(folder / name, plotting.png(draw().figure))
            click.echo(folder / name)
    except plotting.PlottingUnavailableError as error:
        click.echo(f"no plot: {error}")
