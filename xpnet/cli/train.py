"""``xpnet train``: weights, history and a picture in a folder; and going on with a run that was interrupted."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any

import click
import numpy as np

import xpnet
from xpnet.backends.base import DTYPES, HALF_DTYPES
from xpnet.backends.dispatch import backend_names, dtype_name
from xpnet.cli import run
from xpnet.cli.common import (
    PATH,
    as_taken,
    errors_in_one_line,
    mnist_digits,
    network,
    network_options,
    on_bytes,
    place,
    title,
)
from xpnet.cli.evaluations import FORMS, EvaluateForm, every
from xpnet.cli.lock import only_one
from xpnet.cli.output import quoted, tell
from xpnet.cli.processes import processes
from xpnet.cli.rates import FORMS as RATES
from xpnet.cli.rates import ScheduleForm, schedule
from xpnet.cli.words import warnings_in_one_line
from xpnet.errors import CheckpointError, DivergedError
from xpnet.optimizers import OPTIMIZERS, SGD, check_learning_rate
from xpnet.parallel import Parallel
from xpnet.parallel.base import NAMES as PARALLEL
from xpnet.parallel.devices import own_device
from xpnet.streams import printable
from xpnet.training import Callback, Split, Trainer

#: What a run that goes on may be told anew; the rest is in its checkpoint.
ANEW = (
    *("iterations", "epochs", "backend", "device", "checkpoint_every", "threads", "parallel", "evaluate"),
    *("no_plot", "quiet", "resume"),
)

#: More iterations than this are counted by no float.
MOST = 2**53

#: What the checkpoint of a run says of it, for one that goes on.
NOTES: dict[str, Any] = {
    "command": str,
    "backend": str,
    "dtype": str,
    "compute_dtype": (str, NoneType),
    "iterations": (int, NoneType),
    "epochs": (int, NoneType),
    "checkpoint_every": (int, NoneType),
    "evaluate": (str, NoneType),
    "dropout": float,
    "seed": int,
}


@click.command(short_help="Train a network on MNIST, or go on with a run.")
@network_options
@click.option("--iterations", type=click.IntRange(1), help="How many minibatches to train on, in all. [default: 10000]")
@click.option(
    "--epochs", type=click.IntRange(1), help="How long to train, in passes through the data, instead of --iterations."
)
@click.option("--batch-size", type=click.IntRange(1), default=100, show_default=True, help="Samples in a minibatch.")
@click.option(
    "--optimizer",
    type=click.Choice(list(OPTIMIZERS)),
    help="Rule by which gradients change the weights. [default: sgd for two-layer, else adam]",
)
@click.option("--lr", type=float, help="Learning rate. [default: 0.1 for sgd, else that of the optimizer's class]")
@click.option("--schedule", type=ScheduleForm(), help=f"How the learning rate changes: {', '.join(RATES.values())}.")
@click.option(
    "--warmup",
    type=click.IntRange(0),
    default=0,
    help="Steps in which the learning rate rises to its full value at the start.",
)
@click.option(
    "--weight-decay",
    type=float,
    help="How strongly weights are pulled to 0; decoupled from the gradients in adamw and lion. [default: 0.01 for "
    "adamw, else 0]",
)
@click.option(
    "--dropout",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of hidden units that is left out at random in each step; of two-layer.",
)
@click.option(
    "--compile/--no-compile",
    default=None,
    help="Compile training steps: the same numbers but for rounding, and faster. [default: yes; no on PyTorch, where "
    "compiling takes half a minute]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="Most threads to multiply on, on a CPU. [default: 1 for small products, else one a core]",
)
@click.option(
    "--parallel",
    type=click.Choice(list(PARALLEL)),
    help="How processes that train together speak with each other. [default: mpi where mpiexec starts more than one]",
)
@click.option(
    "--evaluate",
    type=EvaluateForm(),
    help=f"When to look at losses and accuracies of all data: {', '.join(FORMS)}. TRAIN, what to look at of the "
    "training data, is all, a number of samples, or running, the mean loss of the minibatches. [default: epoch]",
)
@click.option(
    "--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="Precision to compute in."
)
@click.option(
    "--compute-dtype",
    type=click.Choice(HALF_DTYPES),
    help="Train in mixed precision: steps go forward and back in 16 bits, weights stay float32.",
)
@click.option(
    "--tf32/--no-tf32", default=None, help="Multiply float32 in TF32 on a GPU, or not. [default: as the library has it]"
)
@click.option("--out", type=PATH, help="Folder for the results. [default: xpnet-runs/DATE-TIME]")
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier run in --out.")
@click.option("--checkpoint-every", type=click.IntRange(1), help="Write a checkpoint each time after so many steps.")
@click.option("--resume", type=PATH, help="Go on with a run: its folder, or its checkpoint.")
@click.option("--no-plot", is_flag=True, help="Draw no picture of the run.")
@click.option("--quiet", is_flag=True, help="Print only the last line.")
@click.pass_context
@warnings_in_one_line()
def train(context: click.Context, /, **options: Any) -> None:
    """Train on MNIST: TwoLayerNet 784-50-10, softmax with cross-entropy, unless told otherwise.

    The other models are the book's SimpleConvNet and DeepConvNet, and a ResNet of two convolutions and three blocks.

    One hidden layer starts from N(0, 0.01²) as in the book, several from Glorot's initializer, with He's factor between
    two ReLUs. Ctrl-C ends the run, keeps what there is, and says how to go on; another Ctrl-C leaves at once.

    mpiexec -n 4 xpnet train trains in four processes, each on its part of every minibatch: the same training.
    """
    with run.Signals() as signals, processes(options["parallel"]) as parallel, ExitStack() as held:
        with errors_in_one_line():
            begun = _begin(context, options, held, parallel)
        if begun is None:
            return
        trainer, data, goal, folder = begun
        every, resumed, start = trainer.notes["checkpoint_every"], options["resume"] is not None, trainer.iteration
        saving = run.CheckpointOrSay(folder / run.CHECKPOINT, every=every) if every else None
        status, problem = _train(trainer, data, goal, signals, saving, options["quiet"])
        if problem is not None and trainer.iteration == start:
            with errors_in_one_line():
                raise problem
        interrupted, failed = status > 128 or problem is not None, list[str]()
        if parallel.leads:
            checkpoint = interrupted or (status == 0 and (saving is not None or resumed))
            stale = not (checkpoint or resumed or (saving is not None and saving.saved))
            made, failed = run.save(trainer, folder, plot=not options["no_plot"], checkpoint=checkpoint, stale=stale)
            _report(trainer, made, options)
            if interrupted and (folder / run.CHECKPOINT).is_file():
                click.echo(f"go on with: xpnet train --resume {quoted(folder)}", err=True)
    if problem is not None:
        failed.insert(0, f"{type(problem).__name__}: {printable(problem)}")
    if failed:
        raise click.ClickException("; ".join(failed)) from problem
    if status or signals.status:
        raise SystemExit(status or signals.status)


def _begin(
    context: click.Context, options: dict[str, Any], held: ExitStack, parallel: Parallel
) -> tuple[Trainer, list[Split], int, Path] | None:
    """A trainer, its data, its goal and the folder for the results, held for this process; None if all is done."""
    if options["epochs"] is not None and options["iterations"] is not None:
        raise click.UsageError("--epochs and --iterations say the same thing twice; give one of them")
    resumed = options["resume"] is not None
    if resumed:
        _check_told_anew(context, options)
        path = run.checkpoint_in(options["resume"])
        folder = path.parent
        if not path.exists() and _is_over(folder, options):
            return None
        run.check_checkpoint(path, options["resume"])
        if parallel.leads:
            held.enter_context(only_one(folder, "train"))  # before it is read, as another process may replace it
    digits = mnist_digits(as_bytes=True)
    trainer = _resumed(path, options, parallel) if resumed else _new(options, digits[0][0].shape[0], parallel)
    move = trainer.net.backend.asarray
    data = [(move(as_taken(trainer.net, x)), move(t)) for x, t in digits]
    trainer.check(*data[0], validation=data[1])
    goal = _goal(trainer, data[0])
    if goal == trainer.iteration:
        if every(trainer.notes["evaluate"] or "epoch").at_end:
            _evaluate(trainer, data)
        if parallel.leads and run.is_written(trainer, folder, plot=not options["no_plot"]):
            _say_over(folder, goal, f"to train on, say how many it shall have in all: --iterations {2 * goal}")
            return None
    if not parallel.leads:
        return trainer, data, goal, Path()
    if resumed:
        run.check_writable(folder, "copy the run into a folder that can be")
    else:
        where = run.output_folder(options["out"], run.RESULTS, overwrite=options["overwrite"], command="train")
        folder = held.enter_context(where)
    if trainer.notes["checkpoint_every"]:
        trainer.check_save(folder / run.CHECKPOINT)
    return trainer, data, goal, folder


def _is_over(folder: Path, options: dict[str, Any]) -> bool:
    """Whether a run without a checkpoint has taken all that it was to take, which is then said."""
    taken = run.finished(folder)
    if taken is None or options["epochs"] is not None or options["iterations"] not in (None, taken):
        return False
    _say_over(folder, taken, "to be trained on it would need a checkpoint, as a run with --checkpoint-every writes")
    return True


def _say_over(folder: Path, taken: int, more: str) -> None:
    tell(f"{printable(folder)}: nothing is left to do; the run has taken its {taken} iterations, and {more}")


def _evaluate(trainer: Trainer, data: list[Split]) -> None:
    """What a run does after its last step, and one that was killed then has not done."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            trainer.evaluate(*data[0], validation=data[1])
    except DivergedError as error:
        raise ValueError(str(error)) from None


def _new(options: dict[str, Any], samples: int, parallel: Parallel) -> Trainer:
    """A trainer at its start, as the options want it."""
    if options["iterations"] is None and options["epochs"] is None:
        options["iterations"] = 10_000
    rng = np.random.default_rng(options["seed"])
    net = on_bytes(network(options, rng))
    if (here := own_device(net.backend, options["device"], parallel)) != net.backend:
        net = net.to(here)
    options["optimizer"] = options["optimizer"] or ("sgd" if options["model"] == "two-layer" else "adam")
    kind = OPTIMIZERS[options["optimizer"]]
    usual: Any = 0.1 if kind is SGD else next(field.default for field in fields(kind) if field.name == "lr")
    lr = check_learning_rate(usual if options["lr"] is None else options["lr"])
    steps = options["iterations"] or options["epochs"] * -(-samples // options["batch_size"])
    decay = {} if options["weight_decay"] is None else {"weight_decay": options["weight_decay"]}
    optimizer = kind(lr=schedule(options["schedule"], lr, options["warmup"], steps), **decay)
    about = {"batch_size": options["batch_size"], "compile": options["compile"], "threads": options["threads"]}
    about |= {name: options[name] for name in ("compute_dtype", "tf32")}
    trainer = Trainer(net, optimizer, seed=rng, parallel=parallel, **about)
    elsewhere = ("out", "overwrite", "no_plot", "quiet", "resume", "threads", "parallel")
    settings = {k: v for k, v in options.items() if k not in elsewhere}
    trainer.notes = settings | {"lr": lr, "weight_decay": optimizer.weight_decay}
    _note_place(trainer)
    return trainer


def _check_told_anew(context: click.Context, options: dict[str, Any]) -> None:
    """Raise if a run that goes on is told what is in its checkpoint."""
    given = [k for k in options if context.get_parameter_source(k) is click.core.ParameterSource.COMMANDLINE]
    refused = [f"--{name.replace('_', '-')}" for name in given if name not in ANEW]
    if refused:
        allowed = ", ".join(f"--{name.replace('_', '-')}" for name in ANEW[:-1])
        raise click.UsageError(f"{', '.join(refused)} cannot be changed in a run that goes on; what can: {allowed}")


def _resumed(path: Path, options: dict[str, Any], parallel: Parallel) -> Trainer:
    """The trainer of a checkpoint, with what may be told anew."""
    trainer = Trainer.load(path, backend="numpy", parallel=parallel, compute_dtype="float32")
    if not _are_of_train(trainer.notes, dtype_name(trainer.net.dtype)):
        raise CheckpointError(f"{path} was not written by xpnet train; go on with it in Python, by Trainer.load")
    where = options["backend"] or trainer.notes["backend"], options["device"]
    if where != ("numpy", None) or trainer.notes.get("compute_dtype"):
        here = own_device(place(*where), options["device"], parallel)
        trainer = Trainer.load(path, backend=here, parallel=parallel)
    anew = {
        name: options[name]
        for name in ("iterations", "epochs", "checkpoint_every", "evaluate")
        if options[name] is not None
    }
    if "iterations" in anew or "epochs" in anew:
        anew = {"iterations": None, "epochs": None} | anew
    trainer.notes |= anew
    trainer.threads = options["threads"]
    _note_place(trainer)
    return trainer


def _are_of_train(notes: dict[str, Any], dtype: str) -> bool:
    """Whether notes are such as this command writes, so that nothing in them fails after the training."""
    if not all(isinstance(notes.get(k), kinds) and notes[k] is not True for k, kinds in NOTES.items()):
        return False
    counts = [notes[k] for k in ("iterations", "epochs", "checkpoint_every") if notes[k] is not None]
    try:
        every(notes["evaluate"] or "epoch")
        json.dumps(notes, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return (
        (notes["command"], notes["dtype"]) == ("train", dtype)
        and notes["backend"] in backend_names()
        and notes.get("compute_dtype") in (None, *HALF_DTYPES)
        and (notes["iterations"] is None) != (notes["epochs"] is None)
        and all(0 < count <= MOST for count in counts)
        and 0 <= notes["dropout"] < 1
        and notes["seed"] >= 0
    )


def _note_place(trainer: Trainer) -> None:
    backend = trainer.net.backend
    trainer.notes |= {"backend": backend.name, "device": backend.device_name, "xpnet": xpnet.__version__}
    trainer.notes |= {"command": "train"}


def _goal(trainer: Trainer, data: Split) -> int:
    """How many iterations the run shall have in all."""
    notes = trainer.notes
    goal: int = notes["iterations"] or notes["epochs"] * -(-data[0].shape[0] // trainer.batch_size)
    if goal < trainer.iteration:
        raise ValueError(
            f"the run has taken {trainer.iteration} iterations, and was to have {goal}; to train on, say how many it "
            f"shall have in all: --iterations {2 * trainer.iteration}"
        )
    if goal > MOST:
        raise ValueError(f"a run of more than {MOST} iterations comes to no end; give fewer")
    return goal


def _train(
    trainer: Trainer, data: list[Split], goal: int, signals: run.Signals, saving: Callback | None, quiet: bool
) -> tuple[int, Exception | None]:
    """Train, and say how it went; returns the exit status, and what went wrong in an unforeseen way."""
    (x, t), test = data
    callbacks: list[Callback] = [signals]
    if not quiet:
        tell(_title(trainer, goal))
        callbacks.append(run.Lines(trainer.history))
    if saving is not None:
        callbacks.append(saving)
    if goal == trainer.iteration:
        return 0, None
    try:
        steps = goal - trainer.iteration
        how: dict[str, Any] = {"iterations": steps, "evaluate": every(trainer.notes["evaluate"] or "epoch")}
        trainer.fit(x, t, validation=test, callbacks=callbacks, progress=not quiet, **how)
    except DivergedError as error:
        click.echo(f"Error: {error}", err=True)
        return 1, None
    except KeyboardInterrupt:
        return _interrupted(trainer, 130), None
    except Exception as error:  # a device that is lost, for example: what was learned until then is kept
        return 1, error
    if (signals.received or trainer.stopped) and trainer.iteration < goal:  # another process may have received it
        return _interrupted(trainer, signals.status or 130), None
    return 0, None


def _interrupted(trainer: Trainer, status: int) -> int:
    click.echo(f"Interrupted after iteration {trainer.iteration}; saving what there is.", err=True)
    return status


def _title(trainer: Trainer, goal: int) -> str:
    notes = trainer.notes
    parts = [title(trainer.net), notes["dtype"]]
    parts += [f"computed in {trainer.compute_dtype}"] if trainer.compute_dtype else []
    parts += [f"dropout {notes['dropout']}"] if notes["dropout"] else []
    parts += [str(trainer.optimizer), f"batch {trainer.batch_size}"]
    parts += [f"{notes['epochs']} epochs" if notes["epochs"] else f"{goal} iterations", f"seed {notes['seed']}"]
    return ", ".join(parts) + (f", from iteration {trainer.iteration}" if trainer.iteration else "")


def _report(trainer: Trainer, made: list[str], options: dict[str, Any]) -> None:
    history = trainer.history
    rate = history.times
    rate += ", TF32" if history.tf32 is True else f", TF32 in {history.tf32}" if history.tf32 else ""
    rate += f", {history.threads} thread{'s' if history.threads > 1 else ''}" if history.threads else ""
    last = history.evaluations[-1] if history.evaluations else None
    done = (
        f"validation accuracy {last.validation_accuracy:.2%} after {last.iteration} iterations"
        if last
        else "not evaluated"
    )
    tell(f"{done} ({rate})")
    if not options["quiet"]:
        tell("\n".join(made))
