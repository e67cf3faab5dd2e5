"""Python numbers that are taken from a graph, by ``float(v)`` or ``math.sin(v)``, and come back without derivatives.

Nobody can see what becomes of a number: printing ``float(loss)`` is all right, ``x * math.sin(x)`` is not. So it is
noted, for the variables that values come in by, that a number was taken from what was computed from them; and for an
operation, that it computes with a number that does not stand in the source as it is, or with an array that may be made
of such. ``backward()`` warns where the second came after the first.

Numbers of other variables, and of results whose derivatives were found, are shown or decide what is done next, more
often than not: there the time says nothing. ``backward()`` warns where a number can be told to come from one: it is the
same object, or what a function of ``math`` makes of it, with more digits than anyone writes; or the number, or array,
has no name and is of the line that took one. Not seen is what was computed from it in other lines, as r is of
``s = float(x)``, ``r = 2 * s``.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from functools import cached_property
from math import prod
from types import CodeType, FrameType
from typing import Any, ClassVar, NamedTuple

from xpnet.graph.reverse import Ancestry
from xpnet.graph.wrapper import Wrapper, now
from xpnet.streams import warn

#: Functions between an operation and whoever asked for it.
_BETWEEN = {
    *("<lambda>", "__array_function__", "__array_ufunc__", "__float__", "constant", "function", "record"),
    *("asarray", "backward", "created", "draw", "from_dlpack", "full", "full_like", "linspace"),
}

#: How many numbers are remembered.
LATEST = 32
_FUNCTIONS = [f for f in vars(math).values() if callable(f)]


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
    source: Source | None  #: the number that they can be told to come from


class Source:
    """A number that was taken from a graph.

    Attributes:
        number: the object that ``float(v)`` returned.
        place: where that was.
        code, line: the same, to compare.
    """

    def __init__(self, number: float, frame: FrameType | None) -> None:
        self.number, self.place = number, _place(frame)
        self.code: CodeType | None = frame.f_code if frame else None
        self.line: int = frame.f_lineno if frame else 0

    def on_line_of(self, number: Any, frame: FrameType) -> bool:
        """Whether this was taken on the line that computes with a number which has no name."""
        if self.code is not frame.f_code or self.line != frame.f_lineno:
            return False
        return not any(value is number for names in (frame.f_locals, frame.f_globals) for value in list(names.values()))

    @cached_property
    def made(self) -> set[float]:
        """What functions of math make of the number."""
        found = set[float]()
        for f in _FUNCTIONS:
            try:
                y = f(self.number)
            except (TypeError, ValueError, OverflowError):
                continue
            if isinstance(y, float) and y != self.number:
                found.add(y)
        return found


class Seen:
    """Whether any number was taken yet, so that nothing else is looked at before."""

    any = False
    latest: ClassVar[deque[Source]] = deque(maxlen=LATEST)


#: Of a variable whose derivatives were found: its number is taken to be shown.
FINISHED = "finished"


def note_taken(v: Wrapper, number: float) -> None:
    """Note that this number was taken from v, where it may be missed: in what v was computed from."""
    Seen.any, since, frame = True, now(), _caller()
    Seen.latest.append(Source(number, frame))
    if v.operation is not None and v.note is FINISHED:
        return
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
    note = _computed(number, _caller())
    if note is not None and not (isinstance(v.note, Computed) and v.note.source):
        v.note = note


def _computed(number: Any, frame: FrameType | None) -> Computed | None:
    if frame is None or str(frame.f_globals.get("__name__")).startswith("xpnet."):
        return None
    known = (d for c in frame.f_code.co_consts for d in (c if isinstance(c, tuple) else (c,)))
    if any(number is c for c in known):
        return None
    latest = list(Seen.latest)
    many_digits = isinstance(number, float) and float(f"{number:.9g}") != number
    source = next((s for s in latest if number is s.number or (many_digits and number in s.made)), None)
    if source is None and latest and latest[-1].on_line_of(number, frame):
        source = latest[-1]
    return Computed(prod(getattr(number, "shape", ())), _place(frame), source)


def check_taken(y: Wrapper, seed: Any = None) -> None:
    """Warn where y was computed with a number, or has one for a seed, after one was taken from the same variables."""
    if not Seen.any:
        return
    of_seed = None if seed is None or isinstance(seed, int | Wrapper) else _computed(seed, _caller())
    if isinstance(seed, Wrapper) and isinstance(seed.note, Computed):
        of_seed = seed.note
    found, computed = list[Wrapper](), list[Wrapper]()
    for v in Ancestry(y, through_all=True).order:
        if isinstance(v.note, Taken):
            found.append(v)
        elif isinstance(v.note, Computed):
            computed.append(v)
    first = min((v.note for v in found), key=lambda note: note.since, default=None)
    most = max((v.note.numbers for v in found), default=0)
    later = [
        (first.place, v.note.place)
        for v in computed
        if first is not None and v.serial > first.since and v.note.numbers <= most
    ]
    notes = [*(v.note for v in computed), of_seed]
    later += [(note.source.place, note.place) for note in notes if note is not None and note.source is not None]
    if later:
        taken, used = later[-1]
        warn(
            f"a number was taken from a variable ({taken}), by float() or a function of math, and this was "
            f"computed with a number later ({used}). If the second came from the first, derivatives "
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
