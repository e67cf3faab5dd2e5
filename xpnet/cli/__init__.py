"""The command ``xpnet``: a file for each thing that it does."""

from __future__ import annotations

import click

import xpnet
from xpnet.cli import backends, bench, book, check, compare, draw, evaluate, export, predict, sweep, train
from xpnet.cli.output import Program


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Neural networks on any array: NumPy, CuPy, PyTorch, JAX.",
)
@click.version_option(xpnet.__version__, prog_name="xpnet")
def main() -> None:
    pass


COMMANDS = (
    *(train.train, sweep.sweep_command, compare.compare, evaluate.evaluate, predict.predict, draw.draw),
    *(export.export, check.check, backends.backends, bench.bench, book.book),
)
for command in COMMANDS:
    command.help = command.help or command.short_help  # of a docstring, python -OO leaves nothing
    main.add_command(command)
