"""What the library says, in the words of the command line: options in the place of Python's arguments."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from xpnet.streams import printable

#: Arguments of the library that an option has another name for.
OTHERWISE = {"input_shape": "shape", "rate": "dropout", "path": "out"}
#: What is advised in Python, and what a command has for it.
ADVICE: dict[str, str | Callable[[re.Match[str]], str]] = {
    r"net\.to\(\) another, to torch or jax for example": "take another --backend, torch or jax for example",
    r"use another, and net\.to\(\) it\. .*": "take another --backend",
    r"make it with --backend jax, or net\.to\('jax'\)": "add --backend jax",
    r"give fit (--evaluate epoch), or evaluate=.* for fewer of them": r"give \1, or --evaluate epochs:5 for fewer",
    r"of your own: kinds=\[MyLayer\]": "of your own are read in Python, by load_network(path, kinds=[MyLayer])",
    "load_network reads it": "xpnet evaluate reads it",
    "the step h is": "--h is",
    ", or None for the default": "",
    r"--shape is \([^)]*\), None being any length": lambda found: found[0].replace("None", "any"),
    "or None for any length": "or any",
    "; make images of rows with Reshape or .*": "",
    "python program.py": "xpnet train",
}
VALUE = r"""True|False|'[^']*'|"[^"]*"|\([\d, ]*\)"""


def in_options(message: str) -> str:
    """A message with the options of the command that runs, ``--batch-size is 0``; without a command as it is.

    What stands in parentheses is left alone: it shows an object of Python as it is written there.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return message
    names = {p.name or "": _shown(p) for p in context.command.params}
    names |= {other: names[name] for other, name in OTHERWISE.items() if name in names}
    name = "|".join(map(re.escape, names))
    message = re.sub(rf"^(?:Dropout: )?({name})(?=\[\d+\] is | is | has )", lambda m: names[m[1]], message)
    message = re.sub(
        rf"\b({name})=({VALUE})",
        lambda m: m[0] if _is_inside(message, m.start()) else _typed(names[m[1]], m[2]),
        message,
    )
    for said, instead in ADVICE.items():
        message = re.sub(said, instead, message)
    return message


def _shown(parameter: click.Parameter) -> str:
    return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name


def _is_inside(text: str, place: int) -> bool:
    """Whether a place in a text is within parentheses."""
    return text.count("(", 0, place) > text.count(")", 0, place)


def _typed(option: str, value: str) -> str:
    """An option with its value as it is typed."""
    if value in ("True", "False"):
        return option if value == "True" else option.replace("--", "--no-", 1)
    return f"{option} {value.strip('()').replace(' ', '')}" if value[0] == "(" else f"{option} {value[1:-1]}"


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Warnings are told as errors are, without the place in a file."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, DeprecationWarning | PendingDeprecationWarning):  # a library's, for who wrote code
                others(message, category, *where, **more)
            else:
                click.echo(f"Warning: {in_options(printable(message))}", err=True)

        warnings.showwarning = show
        yield
