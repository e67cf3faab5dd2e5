"""``xpnet draw``: a page in the browser to draw a digit on, and what a network makes of it."""

from __future__ import annotations

import os
import signal
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path

import click
import numpy as np

from xpnet.backends.dispatch import Backend
from xpnet.cli.common import (
    CLASSES,
    PATH,
    PIXELS,
    errors_in_one_line,
    mnist_digits,
    on_bytes,
    on_numbers,
    place,
    place_options,
    title,
)
from xpnet.cli.output import tell
from xpnet.cli.run import Signals
from xpnet.drawing import PageServer, Preparation, Samples
from xpnet.models import Sequential, TwoLayerNet, load_network
from xpnet.optimizers import SGD
from xpnet.streams import printable
from xpnet.training import Trainer

#: Where the page is if nobody says.
PORT = 8028

#: The network that is trained where none is given, as xpnet train does it.
HIDDEN, ITERATIONS, LEARNING_RATE = 50, 10_000, 0.1


@click.command(short_help="Draw a digit in the browser, and see what a network makes of it.")
@click.argument("weights", type=PATH, required=False)
@place_options
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Where the page is on this machine; the next one that is free, if it is taken. 0: any.",
)
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
def draw(weights: Path | None, backend: str | None, device: str | None, port: int, no_browser: bool) -> None:
    """Draw a digit in the browser, and see at once what a network makes of it.

    WEIGHTS is a network that xpnet train saved, or any other that takes pictures of 28 by 28 pixels; without it one is
    trained first, which takes seconds. The page is on this machine, for whoever knows its address, and asks no other.
    Ctrl-C ends it.
    """
    with errors_in_one_line():
        where = place(backend, device)
        preparation = Preparation(
            lambda told: _trained(told, where) if weights is None else _given(weights, where), title
        )
        if weights is None:
            where.check_trains()
        else:
            preparation.make_now()
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


def _trained(told: Preparation, where: Backend) -> Sequential:
    """The book's network, as xpnet train trains it; how that goes is told here and on the page."""
    rng = np.random.default_rng(0)
    net = on_bytes(TwoLayerNet(PIXELS, HIDDEN, CLASSES, seed=rng, backend=where))
    tell(f"training {title(net)} on MNIST")
    try:
        data = [(net.backend.asarray(x), net.backend.asarray(t)) for x, t in mnist_digits(as_bytes=True)]
        trainer = Trainer(net, SGD(lr=LEARNING_RATE), seed=rng)
        history = trainer.fit(*data[0], validation=data[1], iterations=ITERATIONS, callbacks=[told], progress=False)
    except Exception as error:
        click.echo(f"Error: {printable(error)}", err=True)
        raise
    if not told.ended:
        accuracy = history.evaluations[-1].validation_accuracy
        tell(f"it reads {accuracy:.2%} of the test digits; xpnet train keeps such a network")
    return on_numbers(net)
