"""Python numbers that are taken from a graph, by ``float(v)`` or ``math.sin(v)``, and come back without derivatives.

Nobody can see what becomes of a number: printing ``float(loss)`` is all right, ``x * math.sin(x)`` is not. So it is
noted, for the variables that values come in by, that a number was taken from what was computed from them; and for an
operation, that it computes with a number that does not stand in the source as it is, or with an array that may be made
of such. ``backward()`` warns where the second came after the first.
"""

from __future__ import annotations

import sys
from math import prod
from types import FrameType
from typing import Any, NamedTuple

from xpnet.graph.reverse import Ancestry
from xpnet.graph.wrapper import Wrapper, now
from xpnet.streams import warn

#: Functions between an operation and whoever asked for it.
_BETWEEN = {"<lambda>", "__array_function__", "__array_ufunc__", "__float__", "clip", "constant", "function", "record"}


class Taken(NamedTuple):
    """That a number was taken from something that a variable leads to."""

    since: int  #: the serial number of the next node then
    of: int | None  #: what it was taken from, by its serial number; None if from several
    numbers: int  #: how many were taken
    place: str


class Computed(NamedTuple):
    """That something was computed with numbers whose origin nobody knows."""

    numbers: int  #: how many they are
    place: str


class Seen:
    """Whether any number was taken yet, so that nothing else is looked at before."""

    any = False


#: Of a variable whose derivatives were found: its number is taken to be shown.
FINISHED = "finished"


def note_taken(v: Wrapper) -> None:
    """Note that a number was taken from v, where it may be missed: in what v was computed from."""
    if v.operation is not None and v.note is FINISHED:
        return
    Seen.any, since, frame = True, now(), _caller()
    for leaf in Ancestry(v).order:
        if leaf.operation is None:
            before = leaf.note
            of = v.serial if before is None or before.of == v.serial else None
            numbers = 1 if before is None else before.numbers + 1
            leaf.note = before._replace(of=of, numbers=numbers) if before else Taken(since, of, 1, _place(frame))


def note_number(v: Wrapper, number: Any) -> None:
    """Note that v was computed with a number, or is one, unless that stands in the source, as 0.5 does in 0.5 * x.

    A small array is taken for one that was made of numbers, and ``check_taken`` compares with how many there were.
    """
    frame = _caller()
    if frame is None or str(frame.f_globals.get("__name__")).startswith("xpnet."):
        return
    known = (d for c in frame.f_code.co_consts for d in (c if isinstance(c, tuple) else (c,)))
    if not any(number is c for c in known):
        v.note = Computed(prod(getattr(number, "shape", ())), _place(frame))


def check_taken(y: Wrapper) -> None:
    """Warn where y was computed with a number after one was taken from the same variables."""
    if not Seen.any:
        return
    found, computed = list[Wrapper](), list[Wrapper]()
    for v in Ancestry(y, through_all=True).order:
        if isinstance(v.note, Taken):
            found.append(v)
        elif isinstance(v.note, Computed):
            computed.append(v)
    first = min((v.note for v in found), key=lambda note: note.since, default=None)
    most = max((v.note.numbers for v in found), default=0)
    later = [v for v in computed if first is not None and v.serial > first.since and v.note.numbers <= most]
    if first is not None and later:
        warn(
            f"a number was taken from a variable ({first.place}), by float() or a function of math, and this was "
            f"computed with a number later ({later[-1].note.place}). If the second came from the first, derivatives "
            f"lack that part: use functions of namespace(x), as in namespace(x).sin(x). If it did not, take the first "
            f"from the value: float(x.value)",
            stacklevel=3,
        )
    for v in found:
        if v.note.of == y.serial:
            v.note = None
    if y.operation is not None:
        y.note = FINISHED


def _caller() -> FrameType | None:
    """Who asked for an operation."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_name in _BETWEEN and _is_ours(frame):
        frame = frame.f_back
    return frame


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("xpnet.graph.")


def _place(frame: FrameType | None) -> str:
    return "somewhere" if frame is None else f"line {frame.f_lineno} of {frame.f_code.co_filename}"
