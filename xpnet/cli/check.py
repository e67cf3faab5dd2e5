"""``xpnet check``: backpropagation against the numerical gradient."""

from __future__ import annotations

import time
from typing import Any

import click
import numpy as np

from xpnet.cli.common import PATH, as_taken, errors_in_one_line, mnist_digits, network, network_options, title
from xpnet.gradient import MODES, check_gradient
from xpnet.models import Sequential
from xpnet.streams import printable


@click.command(short_help="Check backpropagation against the numerical gradient.")
@network_options
@click.option("--samples", type=click.IntRange(1, 60_000), default=3, show_default=True, help="Digits to check with.")
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default="full",
    show_default=True,
    help="All entries, or random directions, which is faster.",
)
@click.option("--h", type=float, help="The step. [default: eps^(1/3) max(1, |w|), 6.1e-6 or more]")
@click.option("--tolerance", type=float, help="Largest relative difference that passes. [default: 1e-6 in float64]")
@click.option("--weights", type=PATH, help="Weights that xpnet train saved. [default: untrained]")
def check(**options: Any) -> None:
    """Check backpropagation against the numerical gradient, on digits of MNIST; the exit status is 1 if it fails.

    The network is the one that xpnet train starts from, and every parameter is checked, in float64 where there is one.
    Biases of networks with convolutions are drawn at random: with biases of 0, the pixels of 0 around a digit lead to
    where ReLU has no derivative.
    """
    with errors_in_one_line():
        rng = np.random.default_rng(options["seed"])
        net = network(options | {"dtype": "float32"}, rng)
        if options["weights"]:
            net.load(options["weights"])
        elif options["model"] != "two-layer":
            _move_off_kinks(net, rng)
        (x, t), _ = mnist_digits()
        n, move = options["samples"], net.backend.asarray
        x, t = move(as_taken(net, x[:n]), "float32"), move(t[:n])
        of = printable(options["weights"] or f"seed {options['seed']}")
        click.echo(f"{title(net)}, {n} digits, {of}")
        start = time.perf_counter()
        report = check_gradient(net, x, t, mode=options["mode"], h=options["h"], tolerance=options["tolerance"])
    click.echo(f"{report}\n{time.perf_counter() - start:.2f} s")
    if not report.passed:
        raise SystemExit(1)


def _move_off_kinks(net: Sequential, rng: np.random.Generator) -> None:
    biases = {name: p.shape for name, p in net.params.items() if name.rpartition(".")[2].startswith("b")}
    net.params |= net.from_host({name: rng.normal(0, 0.1, shape) for name, shape in biases.items()})
