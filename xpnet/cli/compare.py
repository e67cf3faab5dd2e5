"""``xpnet compare``: several runs in one picture and one table."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Any

import click

from xpnet import plotting
from xpnet.cli.common import PATH, errors_in_one_line
from xpnet.cli.output import tell
from xpnet.cli.results import write_each
from xpnet.plotting.figures import SUFFIXES
from xpnet.plotting.runs import RecordedRun, named_runs
from xpnet.streams import printable

#: What runs were told and is no property of what they learned.
UNTOLD = ("command", "checkpoint_every", "iterations", "epochs", "xpnet", "backend", "device", "compile")
#: The columns of results: what each is called, where it is in an evaluation, and its format.
RESULTS = (
    ("train loss", "train_loss", ".4g"),
    ("validation loss", "validation_loss", ".4g"),
    ("train accuracy", "train_accuracy", ".2%"),
    ("validation accuracy", "validation_accuracy", ".2%"),
    ("train R2", "train_r2", ".4f"),
    ("validation R2", "validation_r2", ".4f"),
)


@click.command(short_help="Compare runs in one picture and one table.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, default=Path("comparison.png"), show_default=True, help="The picture: PNG, SVG, PDF.")
@click.option("--overwrite", is_flag=True, help="Replace a picture that is there.")
@click.option("--no-plot", is_flag=True, help="Draw no picture.")
def compare(runs: tuple[Path, ...], out: Path, overwrite: bool, no_plot: bool) -> None:
    """Compare runs: folders that xpnet train left, or files that History.save wrote, each a RUN.

    The table has the settings in which they differ, and how each ended; the picture has their curves.
    """
    with errors_in_one_line():
        if not no_plot:
            _check_picture(out, overwrite)
        named = named_runs(list(runs))
        tell(_table(named))
        writers = {} if no_plot else {out.name: lambda path: plotting.save(plotting.compare(named), path)}
        made, failed = write_each(out.parent, writers, printable)
        if made:
            tell("\n".join(["", *made]))
    if failed:
        raise click.ClickException("; ".join(failed))


def _check_picture(out: Path, overwrite: bool) -> None:
    if out.suffix.lower() not in SUFFIXES:
        raise click.ClickException(f"--out {printable(out)}: a picture is written as one of: {', '.join(SUFFIXES)}")
    if out.exists() and not overwrite:
        raise click.ClickException(f"{printable(out)} is there already; give another --out, or --overwrite")


def _table(named: dict[str, RecordedRun]) -> str:
    """A row for each run: the settings in which they differ, and the results that one of them has."""
    from tabulate import tabulate

    every = list(named.values())
    keys = [key for key in dict.fromkeys(k for run in every for k in run.settings) if key not in UNTOLD]
    told = [key for key in keys if len({repr(run.settings.get(key)) for run in every}) > 1]
    results = [row for row in RESULTS if any(_last(run, row[1]) is not None for run in every)]
    headers = ["run", *told, "iterations", *(name for name, _, _ in results), "samples/s"]
    rows = [
        [
            printable(name),
            *(_written(run.settings.get(key)) for key in told),
            f"{len(run.losses):,}",
            *(_number(_last(run, where), form) for _, where, form in results),
            _number(run.samples_per_second, ",.0f"),
        ]
        for name, run in named.items()
    ]
    align = ["left", *["right"] * (len(headers) - 1)]
    table: str = tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align)
    return table


def _last(run: RecordedRun, name: str) -> float | None:
    """What the last evaluation has."""
    found: float | None = getattr(run.evaluations[-1], name) if run.evaluations else None
    return found


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or not isfinite(value) else f"{value:{form}}"


def _written(value: Any) -> str:
    if value is None:
        return "-"
    return printable(",".join(map(str, value)) if isinstance(value, list) else str(value))[:40]
