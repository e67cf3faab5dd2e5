"""What a run of ``xpnet train`` leaves behind: a folder, lines, files; and how it is stopped."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

import click

from xpnet import plotting, storage
from xpnet.training import Callback, Checkpoint, Evaluation, History, Trainer

WEIGHTS, HISTORY, PLOT, CHECKPOINT = "weights.safetensors", "history.json", "training.png", "checkpoint.safetensors"

#: A program that started this one may pass a Ctrl-C on that reached both: within this time it is the same one.
ECHO_SECONDS = 0.5


def output_folder(out: Path | None, overwrite: bool) -> Path:
    """Make the folder, and see that it can be written, before an hour of training goes into it."""
    folder = out or Path("xpnet-runs") / time.strftime("%Y%m%d-%H%M%S")
    n = 1
    while out is None and folder.exists():
        n += 1
        folder = folder.with_name(f"{time.strftime('%Y%m%d-%H%M%S')}-{n}")
    there = [name for name in (WEIGHTS, HISTORY, PLOT, CHECKPOINT) if (folder / name).exists()]
    if there and not overwrite:
        raise click.ClickException(f"{folder} holds {', '.join(there)} already; give another --out, or --overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise click.ClickException(f"{folder} cannot be written: {error.strerror}; give another --out") from None
    return folder


def checkpoint_in(path: Path) -> Path:
    """The checkpoint that --resume names: a file, or the folder of a run."""
    found = path / CHECKPOINT if path.is_dir() else path
    if not found.exists():
        why = f"{path} holds no {CHECKPOINT}" if path.is_dir() else f"there is no {path}"
        raise click.ClickException(f"{why}; a run writes one with --checkpoint-every, and when it is interrupted")
    return found


class Lines(Callback):
    """A line an evaluation, wherever the output goes."""

    def __init__(self, history: History) -> None:
        self.history, self.seen, self.read = history, history.iterations, True

    def on_evaluation(self, trainer: Any, evaluation: Evaluation) -> None:
        new = self.history.losses[self.seen :]
        self.seen = len(self.history.losses)
        tail = f"  mean loss {sum(new) / len(new):.4f}  {self.history.samples_per_second:,.0f} samples/s" if new else ""
        try:
            if self.read:
                click.echo(f"{evaluation}{tail}")  # echo flushes, so a log file or a pipe has the line at once
        except BrokenPipeError:  # nobody reads on, which is no reason to lose the run
            self.read = False


class CheckpointOrSay(Checkpoint):
    """A checkpoint that cannot be written is told, and training goes on: what was saved before is still there."""

    saved = False

    def on_block(self, trainer: Any) -> None:
        try:
            super().on_block(trainer)
            self.saved = self.saved or trainer.iteration % (self.every or 1) == 0
        except OSError as error:
            click.echo(f"no checkpoint at iteration {trainer.iteration}: {error}; training goes on", err=True)


class Signals(Callback):
    """Ctrl-C and SIGTERM end training after the block of steps that they fall into; a second one leaves at once."""

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
            for number in (signal.SIGINT, signal.SIGTERM):
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


def save(trainer: Trainer, folder: Path, *, plot: bool, checkpoint: bool, stale: bool) -> tuple[list[str], list[str]]:
    """Write what there is, each file even if another fails; returns a line for each, and what failed.

    ``stale`` says that a checkpoint in the folder is of a run that this one replaces; it goes when all else is written.
    """
    net, history = trainer.net, trainer.history
    writers: dict[str, Callable[[Path], None]] = {
        CHECKPOINT: trainer.save,
        WEIGHTS: net.save,
        HISTORY: lambda path: history.save(path, settings=trainer.notes),
        PLOT: lambda path: storage.write_bytes(path, plotting.png(plotting.training_curves(history))),
    }
    (folder / PLOT).unlink(missing_ok=True)  # there may be one of another run
    if not plot:
        del writers[PLOT]
    if not checkpoint:
        del writers[CHECKPOINT]
    made, failed = [], []
    for name, write in writers.items():
        try:
            write(folder / name)
            made.append(f"{Path(name).stem:10} {folder / name}")
        except plotting.PlottingUnavailableError as error:
            made.append(f"no plot: {error}")
        except OSError as error:
            failed.append(str(error))
    if stale and not failed:
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return made, failed
