"""The command ``xpnet``: a file for each thing that it does."""

from __future__ import annotations

import click

import xpnet
from xpnet.cli.output import Commands, Program

#: Where each command is, below this folder.
PLACES = {
    "train": "train.train",
    "sweep": "sweep.sweep_command",
    "compare": "compare.compare",
    "evaluate": "evaluate.evaluate",
    "predict": "predict.predict",
    "draw": "draw.draw",
    "export": "export.export",
    "check": "check.check",
    "backends": "backends.backends",
    "bench": "bench.bench",
    "book": "book.book",
}


@click.group(
    cls=Program,
    commands=Commands(__name__, PLACES),
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Neural networks on any array: NumPy, CuPy, PyTorch, JAX.",
)
@click.version_option(xpnet.__version__, prog_name="xpnet")
def main() -> None:
    pass
