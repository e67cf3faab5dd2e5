"""The command ``xpnet``: train on MNIST, check gradients, and see which backends can be used here."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

import xpnet
from xpnet import plotting, storage
from xpnet.backend import backend_names, backend_status, get_backend
from xpnet.backends.base import DTYPES
from xpnet.datasets import mnist
from xpnet.errors import DivergedError
from xpnet.gradient import MODES, check_gradient
from xpnet.history import Evaluation, History
from xpnet.interrupt import deferred_interrupt
from xpnet.models import MultiLayerNet, Sequential, TwoLayerNet
from xpnet.optimizers import OPTIMIZERS
from xpnet.training import Split, Trainer

WEIGHTS, HISTORY, PLOT = "weights.safetensors", "history.json", "training.png"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(xpnet.__version__, prog_name="xpnet")
def main() -> None:
    """Neural networks on any array: NumPy, CuPy, PyTorch, JAX."""


class Sizes(click.ParamType):  # type: ignore[type-arg]
    """One or several numbers of units: 50, or 100,50."""

    name = "sizes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            sizes = tuple(int(size) for size in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a number of units, nor several with commas between: 50, or 100,50", param, ctx)
        if min(sizes) < 1:
            self.fail(f"{value!r}: a layer has 1 unit or more", param, ctx)
        return sizes


def network_options(command: Callable[..., None]) -> Callable[..., None]:
    """Which network, and where."""
    choice = click.Choice(backend_names())
    for option in (
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is random."),
        click.option(
            "--hidden", type=Sizes(), default="50", show_default=True, help="Hidden units; 100,50 for two layers."
        ),
        click.option("--device", help="Its device, cuda for example. [default: the library's own]"),
        click.option("--backend", type=choice, help="Array library. [default: $XPNET_BACKEND, or numpy]"),
    ):
        command = option(command)
    return command


@main.command()
@network_options
@click.option("--iterations", type=click.IntRange(1), help="Minibatches to train on. [default: 10000]")
@click.option("--epochs", type=click.IntRange(1), help="The same in passes through the data.")
@click.option("--batch-size", type=click.IntRange(1), default=100, show_default=True, help="Samples a minibatch.")
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="sgd", show_default=True, help="Update rule.")
@click.option("--lr", type=float, default=0.1, show_default=True, help="Learning rate.")
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="What it computes in.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the results. [default: xpnet-runs/DATE-TIME]")
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier run in --out.")
@click.option("--no-plot", is_flag=True, help="Draw no picture of the run.")
@click.option("--quiet", is_flag=True, help="Print only the last line.")
def train(**options: Any) -> None:
    """Train on MNIST: TwoLayerNet 784-50-10, softmax with cross-entropy, unless told otherwise.

    One hidden layer starts from N(0, 0.01²) as in the book, several from He's initializer.
    """
    with _errors_in_one_line():
        if options["epochs"] is None and options["iterations"] is None:
            options["iterations"] = 10_000
        elif options["epochs"] is not None and options["iterations"] is not None:
            raise click.UsageError("--epochs and --iterations say the same thing twice; give one of them")
        rng = np.random.default_rng(options["seed"])
        net = _network(options, rng)
        optimizer = OPTIMIZERS[options["optimizer"]](lr=options["lr"])
        trainer = Trainer(net, optimizer, batch_size=options["batch_size"], seed=rng)
        move, dtype = net.backend.asarray, options["dtype"]
        data = [(move(x, dtype), move(t)) for x, t in mnist()]
        trainer.check(*data[0], validation=data[1])
        folder = _output_folder(options["out"], options["overwrite"])
    status = _train(trainer, data, options)
    try:
        with deferred_interrupt():
            made, failed = _save(net, trainer.history, folder, options)
    except KeyboardInterrupt:  # it waited for the files
        status = 130
    _report(trainer.history, made, options)
    if failed:
        raise click.ClickException("; ".join(failed))
    if status:
        raise SystemExit(status)


@main.command()
@network_options
@click.option("--samples", type=click.IntRange(1, 60_000), default=3, show_default=True, help="Digits to check with.")
@click.option("--mode", type=click.Choice(MODES), default="full", show_default=True, help="All entries, or directions.")
@click.option("--h", type=float, help="The step. [default: eps^(1/3) max(1, |w|), 6.1e-6 or more]")
@click.option("--tolerance", type=float, help="Largest relative difference that passes. [default: 1e-6 in float64]")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights that xpnet train saved. [default: untrained]")
def check(**options: Any) -> None:
    """Check backpropagation against the numerical gradient, on digits of MNIST; the exit status is 1 if it fails.

    The network is the one that xpnet train starts from, and every parameter is checked, in float64 where there is one.
    """
    with _errors_in_one_line():
        net = _network(options | {"dtype": "float32"}, np.random.default_rng(options["seed"]))
        if options["weights"]:
            net.load(options["weights"])
        (x, t), _ = mnist()
        n, move = options["samples"], net.backend.asarray
        x, t = move(x[:n], "float32"), move(t[:n])
        click.echo(f"{_title(net, options)}, {n} digits, {options['weights'] or 'seed ' + str(options['seed'])}")
        start = time.perf_counter()
        report = check_gradient(net, x, t, mode=options["mode"], h=options["h"], tolerance=options["tolerance"])
    click.echo(f"{report}\n{time.perf_counter() - start:.2f} s")
    if not report.passed:
        raise SystemExit(1)


@main.command()
def backends() -> None:
    """Show every backend: its version, its devices, and why it cannot be used here."""
    from tabulate import tabulate

    rows = []
    for name in backend_names():
        s = backend_status(name)
        rows.append([name, s.version or "not installed", "\n".join(s.devices) or "-", s.problem or "yes"])
    headers = ["backend", "version", "devices", "can be used here"]
    click.echo(tabulate(rows, headers, tablefmt="simple", maxcolwidths=[None, None, None, 64], disable_numparse=True))


def _network(options: dict[str, Any], rng: np.random.Generator) -> Sequential:
    where = {"seed": rng, "dtype": options["dtype"], "backend": get_backend(options["backend"], options["device"])}
    sizes = options["hidden"]
    if len(sizes) == 1:
        return TwoLayerNet(784, sizes[0], 10, **where)
    return MultiLayerNet(784, sizes, 10, **where)


def _title(net: Sequential, options: dict[str, Any]) -> str:
    sizes = "-".join(map(str, [784, *options["hidden"], 10]))
    return f"{type(net).__name__} {sizes} on {net.backend.name} ({net.backend.device_name})"


def _output_folder(out: Path | None, overwrite: bool) -> Path:
    """Make the folder, and see that it can be written, before an hour of training goes into it."""
    folder = out or Path("xpnet-runs") / time.strftime("%Y%m%d-%H%M%S")
    n = 1
    while out is None and folder.exists():
        n += 1
        folder = folder.with_name(f"{time.strftime('%Y%m%d-%H%M%S')}-{n}")
    there = [name for name in (WEIGHTS, HISTORY, PLOT) if (folder / name).exists()]
    if there and not overwrite:
        raise click.ClickException(f"{folder} holds {', '.join(there)} already; give another --out, or --overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise click.ClickException(f"{folder} cannot be written: {error.strerror}; give another --out") from None
    return folder


def _train(trainer: Trainer, data: list[Split], options: dict[str, Any]) -> int:
    """Train, and say how it went; returns the exit status."""
    (x, t), test = data
    net, quiet = trainer.net, options["quiet"]
    length = f"{options['iterations']} iterations" if options["iterations"] else f"{options['epochs']} epochs"
    if not quiet:
        click.echo(
            f"{_title(net, options)}, {options['dtype']}, {trainer.optimizer}, batch {trainer.batch_size}, {length}, "
            f"seed {options['seed']}"
        )
    limit = {"iterations": options["iterations"], "epochs": options["epochs"]}
    per_epoch = -(-x.shape[0] // trainer.batch_size)
    progress = _Progress(options["iterations"] or options["epochs"] * per_epoch, trainer, quiet)
    try:
        with progress:
            trainer.fit(x, t, validation=test, on_block=progress.block, on_evaluation=progress.evaluation, **limit)
    except DivergedError as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    except KeyboardInterrupt:
        click.echo(f"Interrupted after iteration {trainer.history.iterations}; saving what there is.", err=True)
        return 130
    return 0


class _Progress:
    """A bar with loss and samples/s on a terminal, and a line an evaluation wherever the output goes."""

    def __init__(self, iterations: int, trainer: Trainer, quiet: bool) -> None:
        from tqdm import tqdm

        self.quiet, self.history, self.seen = quiet, trainer.history, 0
        # disable=None: no bar where the output is no terminal, a log file for example
        self.bar = tqdm(total=iterations, unit="it", disable=True if quiet else None, dynamic_ncols=True, leave=False)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def block(self, history: History) -> None:
        loss, rate = history.losses[-1], history.samples_per_second
        self.bar.set_postfix_str(f"loss {loss:.4f}, {rate:,.0f} samples/s", refresh=False)
        self.bar.update(history.iterations - self.bar.n)

    def evaluation(self, evaluation: Evaluation) -> None:
        if self.quiet:
            return
        new = self.history.losses[self.seen :]
        self.seen = len(self.history.losses)
        tail = f"  mean loss {sum(new) / len(new):.4f}  {self.history.samples_per_second:,.0f} samples/s" if new else ""
        with self.bar.external_write_mode():
            try:
                click.echo(f"{evaluation}{tail}")  # echo flushes, so a log file or a pipe has the line at once
            except BrokenPipeError:  # nobody reads on, which is no reason to lose the run
                self.quiet = True


def _save(net: Sequential, history: History, folder: Path, options: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Write weights, history and picture, each even if another fails; returns a line for each, and what failed."""
    settings = {k: v for k, v in options.items() if k not in ("out", "overwrite", "no_plot", "quiet")}
    settings |= {"backend": net.backend.name, "device": net.backend.device_name, "xpnet": xpnet.__version__}
    writers: dict[str, Callable[[Path], None]] = {
        WEIGHTS: net.save,
        HISTORY: lambda path: history.save(path, settings=settings),
        PLOT: lambda path: storage.write_bytes(path, plotting.png(plotting.training_curves(history))),
    }
    (folder / PLOT).unlink(missing_ok=True)  # with --overwrite there may be one of another run
    if options["no_plot"]:
        del writers[PLOT]
    made, failed = [], []
    for name, write in writers.items():
        try:
            write(folder / name)
            made.append(f"{Path(name).stem:8} {folder / name}")
        except plotting.PlottingUnavailableError as error:
            made.append(f"no plot: {error}")
        except OSError as error:
            failed.append(str(error))
    return made, failed


def _report(history: History, made: list[str], options: dict[str, Any]) -> None:
    rate = f"{history.seconds:.1f} s, {history.samples_per_second:,.0f} samples/s"
    last = history.evaluations[-1] if history.evaluations else None
    done = f"test accuracy {last.test:.2%} after {last.iteration} iterations" if last else "not evaluated"
    click.echo(f"{done} ({rate})")
    if not options["quiet"]:
        click.echo("\n".join(made))


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """What a user can mend is said without a traceback."""
    try:
        yield
    except (ValueError, TypeError, OSError, MemoryError, xpnet.BackendUnavailableError) as error:
        raise click.ClickException(str(error)) from error
