"""``xpnet book``: the scripts of "Deep Learning from Scratch", unedited."""

from __future__ import annotations

from pathlib import Path

import click

from xpnet.book.devices import device_of
from xpnet.book.run import errors_of, run
from xpnet.cli.common import PATH, errors_in_one_line
from xpnet.streams import printable

#: Options are the command's up to the script, and the script's from there on.
SETTINGS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(short_help='Run a script of "Deep Learning from Scratch".', context_settings=SETTINGS)
@click.argument("script", type=PATH)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--backend",
    type=click.Choice(["numpy", "cupy"]),
    default="numpy",
    show_default=True,
    help="What the script calls np: with cupy all of it runs on the GPU.",
)
@click.option("--own", is_flag=True, help="The book's own common and dataset go first where they are, to compare.")
def book(script: Path, arguments: tuple[str, ...], backend: str, own: bool) -> None:
    """Run a SCRIPT of the book "Deep Learning from Scratch", volume 1, as it is, with its ARGUMENTS.

    It runs from its folder. The modules common and dataset are served by xpnet, whose layers are faster, and which has
    the digits of MNIST. Figures are shown where there is a display; elsewhere they are saved beside the script, and the
    command says where. A pickle is read if it is a dict of arrays.
    """

    def tell(text: str) -> None:
        click.echo(printable(text), err=True)

    with errors_in_one_line(), errors_of(script):
        run(script, arguments, device=device_of(backend), own=own, tell=tell)
