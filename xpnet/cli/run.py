"""What a run of ``xpnet train`` leaves behind: a folder, lines, files; and how it is stopped."""

from __future__ import annotations

import itertools
import json
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self

import click

from xpnet.cli.common import on_numbers
from xpnet.cli.lock import only_one
from xpnet.cli.output import tell
from xpnet.cli.results import remove, write_each
from xpnet.models import load_network
from xpnet.serialization import atomic
from xpnet.streams import printable
from xpnet.training import Callback, Checkpoint, Evaluation, History, Trainer

WEIGHTS, HISTORY, PLOT, CHECKPOINT = "weights.safetensors", "history.json", "training.png", "checkpoint.safetensors"
RESULTS = (WEIGHTS, HISTORY, PLOT, CHECKPOINT)

#: What a history has of the process that trained, and a run that is read again may have otherwise.
ELSEWHERE = ("threads", "wall")

#: Where a run leaves them that is not told where, each in a folder of its own.
RUNS = Path("xpnet-runs")

#: What ends a run; Windows has no SIGHUP, which a terminal sends that is closed, and SIGBREAK instead.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]

#: A program that started this one may pass a Ctrl-C on that reached both: within this time it is the same one.
ECHO_SECONDS = 0.5


@contextmanager
def output_folder(out: Path | None, names: Sequence[str], *, overwrite: bool, command: str) -> Iterator[Path]:
    """The folder for the results: made, seen to be writable before an hour of work goes into it, and for one process.

    Args:
        out: what was asked for, or None for a new one.
        names: what must not be there yet, unless it may be overwritten.
        overwrite: whether it may.
        command: what works in it.
    """
    if out is not None:
        _check_free(out, names, overwrite)
    with _said_of(out or RUNS, "give another --out"):
        folder = out or _new_folder()
        folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder, "give another --out")
    with only_one(folder, command):
        _check_free(folder, names, overwrite)  # another process may have been faster
        yield folder


def check_writable(folder: Path, advice: str) -> None:
    """Raise unless files can be made in a folder."""
    with _said_of(folder, advice), tempfile.TemporaryFile(dir=folder):
        pass


@contextmanager
def _said_of(folder: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.ClickException(f"{printable(folder)} cannot be written: {error.strerror}; {advice}") from None


def _new_folder() -> Path:
    """A new folder that has the time as its name."""
    now = time.strftime("%Y%m%d-%H%M%S")
    RUNS.mkdir(exist_ok=True)
    for n in itertools.count(1):
        folder = RUNS / (now if n == 1 else f"{now}-{n}")
        with suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


def _check_free(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise click.ClickException(
            f"{printable(folder)} holds {', '.join(there)} already; give another --out, or --overwrite"
        )


def checkpoint_in(path: Path) -> Path:
    """The checkpoint that --resume names: a file, or in the folder of a run."""
    return path / CHECKPOINT if path.is_dir() else path


def check_checkpoint(path: Path, given: Path) -> None:
    """Raise unless there is this checkpoint, found at what was given."""
    if not path.exists():
        here = printable(given)
        why = f"{here} holds no {CHECKPOINT}" if given.is_dir() else f"there is no {here}"
        raise click.ClickException(f"{why}; a run writes one with --checkpoint-every, and when it is interrupted")


def finished(folder: Path) -> int | None:
    """How many iterations a run took that is over and has left its results, or None if it is not known to be."""
    try:
        history = json.loads((folder / HISTORY).read_bytes())
        settings, nothing = history["settings"], {"iteration": history["iterations"], "epoch": -1}
        last = (history["evaluations"] or [nothing])[-1]
        over = last["iteration"] == settings["iterations"] or last["epoch"] == settings["epochs"]
        return int(last["iteration"]) if over and (folder / WEIGHTS).is_file() else None
    except (OSError, ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None


def is_written(trainer: Trainer, folder: Path, *, plot: bool) -> bool:
    """Whether the results in a folder are those of this training."""
    net = trainer.net
    try:
        params = load_network(folder / WEIGHTS, backend="numpy").params
        history = json.loads((folder / HISTORY).read_bytes())
        for name in ("settings", *ELSEWHERE):
            del history[name]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    here = {name: net.backend.to_numpy(p).tobytes() for name, p in net.params.items()}
    there = {name: p.tobytes() for name, p in params.items()}
    same = here == there and history == {k: v for k, v in trainer.history.to_dict().items() if k not in ELSEWHERE}
    return same and (not plot or (folder / PLOT).is_file())


class Lines(Callback):
    """A line an evaluation, wherever the output goes."""

    def __init__(self, history: History) -> None:
        self.history, self.seen = history, history.iterations

    def on_evaluation(self, trainer: Any, evaluation: Evaluation) -> None:
        new, self.seen = self.history.iterations > self.seen, self.history.iterations
        tail = f"  {self.history.samples_per_second:,.0f} samples/s" if new else ""
        tell(f"{evaluation}{tail}")  # which flushes, so a log file or a pipe has the line at once


class CheckpointOrSay(Checkpoint):
    """A checkpoint that cannot be written is told, and training goes on: what was saved before is still there."""

    saved = False

    def on_block(self, trainer: Any) -> None:
        try:
            super().on_block(trainer)
            self.saved = self.saved or trainer.iteration % (self.every or 1) == 0
        except (OSError, ValueError) as error:
            why = printable(error)
            click.echo(f"no checkpoint at iteration {trainer.iteration}: {why}; training goes on", err=True)


class Signals(Callback):
    """Ctrl-C, SIGTERM and a terminal that is closed end training after the block of steps; a second one at once."""

    everywhere = True

    def __init__(self) -> None:
        self.received: int | None = None
        self.at = 0.0
        self.before: dict[int, Any] = {}

    @property
    def status(self) -> int:
        """The exit status by which a shell is told of a signal."""
        return 128 + self.received if self.received else 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # others receive none
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # a shell has it ignored in the background
                    self.before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received and time.monotonic() - self.at > ECHO_SECONDS:
            raise SystemExit(128 + number)
        if not self.received:
            self.received, self.at = number, time.monotonic()

    def on_begin(self, trainer: Any) -> None:
        self.on_block(trainer)

    def on_block(self, trainer: Any) -> None:
        if self.received:
            trainer.stop("interrupted")


class AsCtrlC(Signals):
    """What else ends a run comes as a Ctrl-C, for what knows that one alone."""

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it may be ignored
            super().__enter__()
        if signal.SIGINT in self.before:  # it stays as it was
            signal.signal(signal.SIGINT, self.before.pop(signal.SIGINT))
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first = self.received is None
        super()._receive(number, frame)
        if first:
            signal.raise_signal(signal.SIGINT)


def save(trainer: Trainer, folder: Path, *, plot: bool, checkpoint: bool, stale: bool) -> tuple[list[str], list[str]]:
    """Write what there is, weights first; returns a line for each file, and what failed.

    ``stale`` says that a checkpoint in the folder is of a run that this one replaces; it goes when all else is written.
    """
    net, history = trainer.net, trainer.history
    writers: dict[str, Callable[[Path], Any]] = {WEIGHTS: on_numbers(net).save}
    if checkpoint:
        writers[CHECKPOINT] = trainer.save
    writers[HISTORY] = lambda path: history.save(path, settings=trainer.notes)
    if plot:
        from xpnet import plotting  # later: most of what a command waits for before it starts

        writers[PLOT] = lambda path: atomic.write_bytes(path, plotting.png(plotting.training_curves(history)))
    made, failed = write_each(
        folder,
        writers,
        lambda path: f"{path.stem:10} {printable(path)}",
        rescued=(WEIGHTS, CHECKPOINT),
        stale=[PLOT],  # there may be one of another run
    )
    if stale and not failed:
        failed = remove(folder / CHECKPOINT)
    return made, failed
