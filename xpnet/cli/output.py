"""Where the command writes: to whoever reads, in whatever encoding, as long as somebody does."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from xpnet.streams import Quiet, printable

#: Control characters that move no cursor but as they shall; a progress bar goes back to the start of its line.
KEPT = "\n\r\t"


class Output(Quiet):
    """A standard stream of the command: control characters are shown, and what its encoding lacks is replaced.

    The first error of writing is kept in ``lost``, and raised if the stream is asked to. From then on all that is
    written goes nowhere: a reader who has left does not come back.
    """

    def __init__(self, stream: Any, name: str, *, raises: bool) -> None:
        super().__init__(stream)
        self.name, self.raises = name, raises
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # by which click finds out that this is a stream of text
            raise TypeError(f"text is of type {type(text).__name__}, expected str")
        return super().write(printable(text, KEPT))

    def failed(self, error: Exception) -> None:
        if self.lost is not None or not isinstance(error, OSError):
            return
        self.lost = OSError(error.errno, error.strerror, self.name)
        with suppress(Exception):  # what is left in the buffer would fail once more when the process ends
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
        if self.raises:
            raise self.lost


@contextmanager
def standard_streams() -> Iterator[Output]:
    """Put such streams in the place of standard output and error; gives the first."""
    for number in range(3):  # one that is closed would be the number of the next file that is opened
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free
    before = sys.stdout, sys.stderr
    out, err = Output(before[0], "standard output", raises=True), Output(before[1], "standard error", raises=False)
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        sys.stdout, sys.stderr = before


class Commands(MutableMapping[str, click.Command]):
    """The commands of a program by name, each imported when it is first asked for.

    Args:
        package: where they are.
        places: module and name of each, below the package: ``{"sweep": "sweep.sweep_command"}``.
    """

    def __init__(self, package: str, places: Mapping[str, str]) -> None:
        self.package, self.places = package, dict(places)
        self.known: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self.known:
            module, _, attribute = self.places[name].rpartition(".")
            command: click.Command = getattr(import_module(f"{self.package}.{module}"), attribute)
            command.help = command.help or command.short_help  # of a docstring, python -OO leaves nothing
            self.known[name] = command
        return self.known[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self.known[name] = command
        self.places.setdefault(name, "")

    def __delitem__(self, name: str) -> None:
        del self.places[name]
        self.known.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class Program(click.Group):
    """Commands that print by :func:`standard_streams`."""

    def main(self, *args: Any, **options: Any) -> Any:
        with standard_streams() as out:
            try:
                return super().main(*args, **options)
            except OSError as error:
                if error is not out.lost:
                    raise
                click.echo(f"Error: {error}", err=True)
                raise SystemExit(1) from None


def tell(text: object) -> None:
    """Print what matters less than what is being done: nobody has to read it."""
    try:
        click.echo(text)
    except BrokenPipeError:
        return
    except OSError as error:
        click.echo(f"Warning: {error}; going on without", err=True)


def quoted(path: Path) -> str:
    """The name of a file as a shell reads it, also one with bytes that should not be printed."""
    if sys.platform == "win32":
        import subprocess  # later: one command of many needs it, on one system

        return subprocess.list2cmdline([str(path)])
    text = str(path)
    if text == printable(text):
        return shlex.quote(text)
    shown = (chr(b) if 32 <= b < 127 and b not in b"\\'" else f"\\x{b:02x}" for b in os.fsencode(text))
    return f"$'{''.join(shown)}'"
