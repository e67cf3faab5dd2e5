"""``xpnet draw``: a page in the browser to draw a digit on, and what a network makes of it."""

from __future__ import annotations

import os
import signal
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.core import ParameterSource

from xpnet.backends.dispatch import Backend
from xpnet.cli.common import (
    PATH,
    as_taken,
    errors_in_one_line,
    mnist_digits,
    network,
    network_options,
    on_bytes,
    on_numbers,
    place,
    title,
)
from xpnet.cli.output import tell
from xpnet.cli.run import Signals
from xpnet.drawing import PageServer, Preparation, Samples
from xpnet.models import Sequential, load_network
from xpnet.optimizers import SGD, Adam
from xpnet.streams import printable
from xpnet.training import Every, Trainer

#: Where the page is if nobody says.
PORT = 8028

#: How long a network is trained where none is given: one of convolutions sees each digit twice, in a minute or so.
ITERATIONS, OF_CONVOLUTIONS = 10_000, 1200
LEARNING_RATE = 0.1
#: What is said of a network that is trained, and of none that is read.
OF_TRAINING = ("model", "hidden", "seed", "iterations")


@click.command(short_help="Draw a digit in the browser, and see what a network makes of it.")
@click.argument("weights", type=PATH, required=False)
@network_options
@click.option(
    "--iterations",
    type=click.IntRange(1),
    help=f"How many minibatches to train on. [default: {ITERATIONS}; {OF_CONVOLUTIONS} with convolutions]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Where the page is on this machine; the next one that is free, if it is taken. 0: any.",
)
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
@click.pass_context
def draw(context: click.Context, /, weights: Path | None, port: int, no_browser: bool, **options: Any) -> None:
    """Draw a digit in the browser, and see at once what a network makes of it.

    WEIGHTS is a network that xpnet train saved, or any other that takes pictures of 28 by 28 pixels. Without it --model
    is trained first, which takes seconds for two-layer, and a minute or so for others; the page says how far it is. The
    page is on this machine, for whoever knows its address, and asks no other. Ctrl-C ends it.
    """
    with errors_in_one_line():
        if weights is not None:
            _check_untold(context, weights)
            where = place(options["backend"], options["device"])
            preparation = Preparation(lambda _: _given(weights, where), title)
            preparation.make_now()
        else:
            rng = np.random.default_rng(options["seed"])
            net = on_bytes(network(options | {"dtype": "float32"}, rng))
            net.backend.check_trains()
            preparation = Preparation(lambda told: _trained(told, net, rng, options), title)
        server = PageServer(preparation, Samples(lambda: mnist_digits(as_bytes=True)[1]), port)
    with server, Signals() as signals:
        if port not in (0, server.port):
            tell(f"port {port} is taken; using {server.port}")
        tell(f"draw a digit at {server.address}\nCtrl-C ends this")
        if weights is None:
            preparation.start()
        if not no_browser:
            threading.Thread(target=_open, args=(server.address,), daemon=True).start()
        server.serve_until(lambda: signals.received)  # an exception could come up where Python ignores it
        preparation.end()
    if signals.received not in (None, signal.SIGINT):
        raise SystemExit(signals.status)
    if preparation.problem is not None:
        raise SystemExit(1)


def _open(address: str) -> None:
    """Open the browser, unless it is one of text: that would take the terminal, and show nothing."""
    with suppress(webbrowser.Error, OSError):
        browser = webbrowser.get()
        of_text = type(browser) is webbrowser.GenericBrowser or not getattr(browser, "background", True)
        if not of_text or "BROWSER" in os.environ:
            browser.open(address)


def _given(weights: Path, where: Backend) -> Sequential:
    """The network in a file, for pixels 0 to 1."""
    net = on_numbers(load_network(weights, backend=where))
    tell(f"{printable(weights)}: {title(net)}")
    return net


def _check_untold(context: click.Context, weights: Path) -> None:
    """Raise if a network that is read is told what it shall be."""
    told = [name for name in OF_TRAINING if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if told:
        options = ", ".join(f"--{name}" for name in told)
        raise click.UsageError(f"{options}: for a network that is trained first, and one is read from {weights}")


def _trained(told: Preparation, net: Sequential, rng: np.random.Generator, options: dict[str, Any]) -> Sequential:
    """The network as xpnet train trains it; how that goes is told here and on the page."""
    dense = options["model"] == "two-layer"
    iterations = options["iterations"] or (ITERATIONS if dense else OF_CONVOLUTIONS)
    tell(f"training {title(net)} on MNIST, {iterations} iterations")
    try:
        move = net.backend.asarray
        data = [(move(as_taken(net, x)), move(t)) for x, t in mnist_digits(as_bytes=True)]
        trainer = Trainer(net, SGD(lr=LEARNING_RATE) if dense else Adam(), seed=rng)
        history = trainer.fit(
            *data[0],
            validation=data[1],
            iterations=iterations,
            evaluate=Every(epochs=1, train="running"),
            callbacks=[told],
            progress=False,
        )
    except Exception as error:
        click.echo(f"Error: {printable(error)}", err=True)
        raise
    if not told.ended:
        accuracy = history.evaluations[-1].validation_accuracy
        tell(f"it reads {accuracy:.2%} of the test digits; xpnet train keeps such a network")
    return on_numbers(net)
