"""``xpnet sweep``: many networks with settings drawn at random, trained together; a table, a picture, the best one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from math import log10
from pathlib import Path
from typing import Any

import click
import numpy as np

import xpnet
from xpnet import plotting
from xpnet.backends.base import DTYPES
from xpnet.cli.common import PATH, as_taken, errors_in_one_line, mnist_digits, network, network_options, title
from xpnet.cli.output import tell
from xpnet.cli.results import write_each
from xpnet.cli.run import AsCtrlC, output_folder
from xpnet.cli.words import warnings_in_one_line
from xpnet.optimizers import OPTIMIZERS, SGD, check_learning_rate
from xpnet.streams import printable
from xpnet.sweeping import Sweep, SweepError, SweepInterrupted, sweep
from xpnet.training import Trainer

WEIGHTS, RESULTS, PLOT = "best.safetensors", "sweep.json", "sweep.png"
#: The options that take a :class:`Range`.
DRAWN = ("lr", "weight_decay", "momentum")
#: What else is told of a sweep in its results, as ``xpnet train`` tells it of a run.
SETTINGS = (
    "networks",
    "iterations",
    "epochs",
    "batch_size",
    "optimizer",
    "seed",
    "seeds",
    "model",
    "hidden",
    "dropout",
    "dtype",
)
#: How many digits of those to train on are held out, by which networks are compared: nothing is chosen by test data.
HELD_OUT = 10_000
#: The exit status by which a shell is told of a Ctrl-C.
INTERRUPTED = 130
#: How many rows of the table are printed.
SHOWN = 10


class Range(click.ParamType):  # type: ignore[type-arg]
    """One number, several, or a range: 0.1, or 0.1,0.3, or 0.001:1, in which all powers of ten are alike."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            numbers = [float(number) for number in value.replace(":", ",").split(",")]
        except ValueError:
            numbers = []
        if not numbers or (":" in value and (len(numbers) != 2 or not 0 < numbers[0] < numbers[1] < float("inf"))):
            self.fail(f"{value!r} is no number, list or range: 0.1, or 0.1,0.3, or 0.001:1 (above 0)", param, ctx)
        return tuple(numbers), ":" in value


def drawn(form: tuple[tuple[float, ...], bool], count: int, rng: np.random.Generator) -> list[float]:
    """So many numbers out of a range, or of a list."""
    numbers, between = form
    if between:
        low, high = map(log10, numbers)
        return [10**power for power in rng.uniform(low, high, count).tolist()]
    return rng.choice(numbers, count).tolist() if len(numbers) > 1 else [*numbers] * count


@click.command("sweep", short_help="Train many networks at once, with settings drawn at random.")
@network_options
@click.option("--networks", type=click.IntRange(1), default=32, show_default=True, help="How many networks.")
@click.option(
    "--optimizer",
    type=click.Choice(list(OPTIMIZERS)),
    default="sgd",
    show_default=True,
    help="Rule by which gradients change the weights.",
)
@click.option("--lr", type=Range(), help="Learning rates: 0.001:1, for example. [default: a factor of ten about usual]")
@click.option("--weight-decay", type=Range(), help="Weight decays, as --lr. [default: that of the optimizer]")
@click.option("--momentum", type=Range(), help="Momenta, as --lr; of optimizers that have it.")
@click.option("--seeds", is_flag=True, help="Start each network from a seed of its own.")
@click.option("--iterations", type=click.IntRange(1), help="How many minibatches each learns from. [default: 1000]")
@click.option("--epochs", type=click.IntRange(1), help="The same in passes through the data.")
@click.option("--batch-size", type=click.IntRange(1), default=100, show_default=True, help="Samples in a minibatch.")
@click.option(
    "--dropout",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of hidden units left out in a step; of two-layer.",
)
@click.option("--threads", type=click.IntRange(1), help="Most threads to compute on, on a CPU. [default: one a core]")
@click.option(
    "--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="Precision to compute in."
)
@click.option("--out", type=PATH, help="Folder for the results. [default: xpnet-runs/DATE-TIME]")
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier sweep in --out.")
@click.option("--no-plot", is_flag=True, help="Draw no picture.")
@click.option("--quiet", is_flag=True, help="Print only the last lines.")
def sweep_command(**options: Any) -> None:
    """Train many networks on MNIST as one, each with its own settings, drawn at random, and keep the best.

    10,000 of the training digits are held out, and say which network is the best. The test digits are used once, for
    the accuracy of that one.
    """
    if options["epochs"] is not None and options["iterations"] is not None:
        raise click.UsageError("--epochs and --iterations say the same thing twice; give one of them")
    status, ended_by = 0, list[str]()
    with warnings_in_one_line(), errors_in_one_line():
        names = (WEIGHTS, RESULTS, *([] if options["no_plot"] else [PLOT]))
        (x, t), test = mnist_digits()
        make, settings = partial(_trainer, options), _settings(options)
        first = make(**{name: values[0] for name, values in settings.items()})
        _check_differ(options)
        move, dtype = first.net.backend.asarray, options["dtype"]
        held_out = min(HELD_OUT, len(x) // 6)
        order = np.random.default_rng(options["seed"]).permutation(len(x))
        parts = order[held_out:], order[:held_out]
        train, validation = ((move(as_taken(first.net, x[rows]), dtype), move(t[rows])) for rows in parts)
        iterations = options["iterations"] = None if options["epochs"] else options["iterations"] or 1000
        with output_folder(options["out"], names, overwrite=options["overwrite"], command="sweep") as folder:
            if not options["quiet"]:
                what = f"{options['networks']} of {title(first.net)}, {dtype}, {options['optimizer']}"
                length = f"{options['epochs']} epochs" if iterations is None else f"{iterations} iterations"
                tell(f"{what}, batch {options['batch_size']}, {length}")
            shown = {"epochs": options["epochs"], "iterations": iterations, "progress": not options["quiet"]}
            with AsCtrlC() as signals:
                try:
                    result = sweep(make, settings, *train, validation=validation, **shown)
                except SweepInterrupted as interrupt:
                    result, status = interrupt.result, signals.status or INTERRUPTED
                    taken = max(trial.trainer.iteration for trial in result)
                    click.echo(f"Interrupted after iteration {taken}; saving what there is.", err=True)
                except SweepError as error:  # a device that is lost, for example
                    result, ended_by = error.result, [f"{type(error.error).__name__}: {printable(error.error)}"]
                    taken = max(trial.trainer.iteration for trial in result)
                    click.echo(f"Ended by an error after iteration {taken}; saving what there is.", err=True)
            failed = ended_by + _report(result, test, folder, options)
    if failed:
        raise click.ClickException("; ".join(failed))
    if status:
        raise SystemExit(status)


def _report(result: Sweep, test: tuple[np.ndarray, np.ndarray], folder: Path, options: dict[str, Any]) -> list[str]:
    """Write the results, then tell them; returns what failed."""
    best = result.best
    writers: dict[str, Callable[[Path], Any]] = {
        WEIGHTS: best.network.save,
        RESULTS: partial(result.save, settings=_told(result, options)),
    }
    if not options["no_plot"]:
        writers[PLOT] = lambda path: plotting.save(plotting.sweep_figure(result), path)
    made, failed = write_each(folder, writers, printable, rescued=[WEIGHTS, RESULTS], stale=[PLOT])
    net = best.network
    x, t = as_taken(net, test[0]), test[1]
    accuracy = net.accuracy(net.backend.asarray(x, options["dtype"]), net.backend.asarray(t))
    if not options["quiet"]:
        tell(f"\n{result.table(SHOWN)}\n")
    told = ", ".join(f"{name} {value:.4g}" for name, value in best.settings.items())
    if best.diverged is not None:
        told += f", which diverged at iteration {best.diverged} as all did"
    rate = f"{len(result) / result.seconds:.1f} networks/s"
    tell(f"best: network {best.number}, {told}; test accuracy {accuracy:.2%} ({result.seconds:.1f} s, {rate})")
    if not options["quiet"]:
        tell("\n".join(made))
    return failed


def _told(result: Sweep, options: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, by which the sweep can be taken again."""
    backend = result.best.network.backend
    drawn_from = {name: options[name] and _form(*options[name]) for name in DRAWN}
    place = {"backend": backend.name, "device": backend.device_name}
    return {name: options[name] for name in SETTINGS} | drawn_from | place | {"xpnet": xpnet.__version__}


def _form(numbers: tuple[float, ...], between: bool) -> str:
    """What :class:`Range` reads as these."""
    return (":" if between else ",").join(map(str, numbers))


def _check_differ(options: dict[str, Any]) -> None:
    """Raise if all networks would be one."""
    drawn_from = [options[name] for name in DRAWN if options[name] is not None]
    if options["networks"] > 1 and not options["seeds"] and all(len(numbers) == 1 for numbers, _ in drawn_from):
        raise ValueError("all networks are alike; give a range such as --lr 0.001:1, or --seeds")


def _settings(options: dict[str, Any]) -> dict[str, list[Any]]:
    """What is drawn for each network."""
    count, rng, kind = options["networks"], np.random.default_rng(options["seed"]), OPTIMIZERS[options["optimizer"]]
    usual: Any = 0.1 if kind is SGD else next(f.default for f in fields(kind) if f.name == "lr")
    options["lr"] = options["lr"] or ((usual / 10, usual * 10), True)
    known = {f.name for f in fields(kind)}
    if options["momentum"] is not None and "momentum" not in known:
        raise ValueError(f"--momentum is for optimizers that have it; {options['optimizer']} has not")
    names = [name for name in DRAWN if options[name] is not None]
    settings: dict[str, list[Any]] = {name: drawn(options[name], count, rng) for name in names}
    for lr in settings["lr"]:
        check_learning_rate(lr)  # where an optimizer looks at it, it may be a schedule as well
    if options["seeds"]:
        settings["seed"] = list(range(options["seed"], options["seed"] + count))
    return settings


def _trainer(options: dict[str, Any], seed: int | None = None, **numbers: Any) -> Trainer:
    """A trainer with numbers of its own; minibatches are the same for all, which lets them share products."""
    start = options["seed"] if seed is None else seed
    net = network(options, np.random.default_rng(start))
    optimizer = OPTIMIZERS[options["optimizer"]](**numbers)
    about = {"batch_size": options["batch_size"], "threads": options["threads"]}
    return Trainer(net, optimizer, seed=options["seed"], **about)
