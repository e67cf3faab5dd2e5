"""The command ``xpnet``: a file for each thing that it does."""

from __future__ import annotations

import click

import xpnet
from xpnet.cli import backends, bench, check, evaluate, predict, train
from xpnet.cli.output import Program


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(xpnet.__version__, prog_name="xpnet")
def main() -> None:
    """Neural networks on any array: NumPy, CuPy, PyTorch, JAX."""


main.add_command(train.train)
main.add_command(evaluate.evaluate)
main.add_command(predict.predict)
main.add_command(check.check)
main.add_command(backends.backends)
main.add_command(bench.bench)
