"""Commands, each a process of its own with so much time; whatever one does, the next one has its turn.

What a command printed goes to a file, so that no pipe fills up; what is left of one that is stopped is stopped with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds for what is interrupted to say what it knows, before it is killed.
GRACE = 15
#: Of what a command printed, the last so many characters are kept.
TAIL = 4000


@dataclass(frozen=True)
class Command:
    """What is run, and what the environment says beside what it said before."""

    name: str
    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """Commands with one purpose, one after the other, or all at the same time.

    Args:
        name, title: for files, and for readers.
        commands: what is done.
        most: seconds that it may take.
        least: it is not begun with fewer seconds left.
        together: whether the commands run at the same time, as what is not timed may.
    """

    name: str
    title: str
    commands: Sequence[Command]
    most: float
    least: float
    together: bool = False


@dataclass
class Outcome:
    """What came of a command.

    Attributes:
        status: of its exit; None if it was not begun.
        ended: why it did not end by itself, or was not begun; else nothing.
        tail: the end of what it printed, on both streams.
    """

    name: str
    words: list[str]
    status: int | None = None
    seconds: float = 0.0
    ended: str = ""
    tail: str = ""

    @property
    def failed(self) -> bool:
        """Whether it had its time and did not do what it was for."""
        return self.status != 0 and not self.ended.startswith(("left out", "stopped"))


def take(stage: Stage, left: float, folder: Path) -> list[Outcome]:
    """The outcomes of a stage, with ``left`` seconds of the whole budget left; ``folder`` is where commands run."""
    outcomes = [Outcome(c.name, list(c.words)) for c in stage.commands]
    if left < stage.least:
        for outcome in outcomes:
            outcome.ended = f"left out: {max(left, 0):.0f} s were left, and it takes {stage.least:g} at the least"
        return outcomes
    end = time.monotonic() + min(stage.most, left - GRACE)
    groups = [list(zip(stage.commands, outcomes, strict=True))]
    if not stage.together:
        groups = [[pair] for pair in groups[0]]
    for group in groups:
        _run(group, end, folder)
    return outcomes


def _run(group: list[tuple[Command, Outcome]], end: float, folder: Path) -> None:
    """Run these at the same time, until they end or their time is over."""
    with tempfile.TemporaryDirectory() as logs:
        running = []
        for number, (command, outcome) in enumerate(group):
            if end - time.monotonic() <= 0:
                outcome.ended = "left out: the time of its stage was over"
                continue
            log = Path(logs) / str(number)
            try:
                process = _begin(command, log, folder)
            except OSError as error:
                outcome.ended = f"could not be begun: {error}"
                continue
            running.append((process, outcome, log, time.monotonic()))
        for process, outcome, log, begun in running:
            try:
                process.wait(max(end - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                outcome.ended = f"stopped after {time.monotonic() - begun:.0f} s, when its time was over"
                _stop(process)
            except BaseException:
                for other, *_ in running:
                    _kill(other)
                raise
            _kill(process)  # what it may have left running
            outcome.status, outcome.seconds = process.returncode, round(time.monotonic() - begun, 1)
            outcome.tail = log.read_text(errors="replace")[-TAIL:]


def _begin(command: Command, log: Path, folder: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            list(command.words),
            cwd=folder,
            env=os.environ | command.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that all that it starts can be stopped with it
            preexec_fn=_heard,
        )


def _heard() -> None:
    """A shell has SIGINT ignored in the background, which a new process inherits; here it is heard."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # there may be nothing left of it
        os.killpg(process.pid, signal.SIGKILL)
