"""Text for people: standard output and error whatever stands in their place, and names of files made harmless."""

from __future__ import annotations

import io
import sys
import unicodedata
import warnings
from typing import Any

#: What is written where an encoding lacks a character: one letter where a table could be put out of line by two.
PLAIN = {"²": "^2", "³": "^3", "→": ">", "×": "x", "÷": "/", "−": "-", "–": "-", "…": "~", "≈": "~"}


def printable(text: object, keep: str = "") -> str:
    r"""The text, with what could move a terminal's cursor, colour it or hide in it written as an escape: ``\x1b``.

    These are control characters, line breaks among them, marks without a width, such as those that turn the direction
    of writing, and bytes of a file's name that are no text.
    """
    text = str(text)
    return text if text.isprintable() else "".join(c if c in keep else _shown(c) for c in text)


def _shown(c: str) -> str:
    seen = c.isprintable() or unicodedata.category(c) == "Zs"  # spaces, such as that of Japanese
    return c if seen else c.encode("unicode_escape").decode()


def fitting(text: str, encoding: str | None) -> str:
    """The text as an encoding has it: ``^2`` for ``²``, for example, and ``?`` where there is nothing like it."""
    if _fits(text, encoding):
        return text
    return "".join(c if _fits(c, encoding) else PLAIN.get(c, "?") for c in text)


def _fits(text: str, encoding: str | None) -> bool:
    try:
        text.encode(encoding or "ascii")
    except UnicodeError:
        return False
    except LookupError:  # nobody knows this encoding
        return text.isascii()
    return True


class Quiet(io.TextIOBase):
    """A stream that takes what is written, and never raises: what cannot be written goes nowhere.

    ``sys.stderr`` may be None (a program with windows), closed, detached, a file on a disk that is full, a pipe that
    nobody reads any more, in an encoding of its own, or an object that has ``write`` and nothing else; none of this is
    a reason to stop a training.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream; UTF-8 if it does not tell, as what takes text takes any."""
        found = self._asked("encoding")
        return found if isinstance(found, str) else "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    def write(self, text: str) -> int:
        try:
            if text:
                self.stream.write(fitting(text, self.encoding))
        except Exception as error:  # whatever an object in the place of a stream raises
            self.failed(error)
        return len(text)

    def flush(self) -> None:
        try:
            flush = getattr(self.stream, "flush", None)
            if flush is not None:
                flush()
        except Exception as error:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Called with what the stream raised."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        try:
            return bool(self.stream.isatty())
        except Exception:  # it has none, or is closed
            return False

    def fileno(self) -> int:
        """That of the stream.

        Raises:
            io.UnsupportedOperation: it has none.
        """
        try:
            return int(self.stream.fileno())
        except Exception:
            raise io.UnsupportedOperation("fileno") from None

    def _asked(self, name: str) -> Any:
        try:
            return getattr(self.stream, name, None)
        except Exception:  # a stream that is detached refuses to tell even its encoding
            return None


class _BarFile(Quiet):
    """What a bar is drawn on, known by tqdm for the stream that it is, so that the bar is hidden while others print."""

    known = False

    def __eq__(self, other: object) -> bool:
        return self.known and other is self.stream

    __hash__ = Quiet.__hash__


def bar(kind: Any, **options: Any) -> Any:
    """A progress bar of a class of tqdm on standard error, which draws nothing where nothing can be drawn."""
    file = _BarFile(sys.stderr)
    try:
        made = kind(file=file, dynamic_ncols=True, leave=False, **options)
    except Exception:  # tqdm compares the standard streams with its own, whatever these may be
        return kind(file=file, **options | {"disable": True})
    file.known = True  # not before: tqdm would flush both standard streams by itself, and these may be closed
    return made


def warn(message: str, category: type[Warning] = UserWarning, *, stacklevel: int) -> None:
    """``warnings.warn``, which raises where standard error is closed, and is no reason to stop a training either.

    Raises:
        Warning: the user has warnings of this category raised.
    """
    try:
        warnings.warn(message, category, stacklevel=stacklevel + 1)
    except Warning:
        raise
    except Exception:
        return
