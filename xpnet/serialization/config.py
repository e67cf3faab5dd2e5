"""Layers, losses, optimizers and schedules as plain data: their kind and their fields, to be made again from a file.

Only kinds that the caller names are made, and only from fields of the types that they declare, so a file cannot have
anything else done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from numbers import Integral, Real
from reprlib import Repr
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from xpnet.errors import CheckpointError

#: How many descriptions may stand inside one another: a schedule in a schedule in an optimizer is three, and a residual
#: block is two.
DEEPEST = 64
#: The same of lists and dicts in plain data.
DEEPEST_PLAIN = 50
#: Of an integer in plain data; Python does not read those of many thousand.
MOST_BITS = 1024
PLAIN = (str, int, float, bool, NoneType)


def kind_of(kind: type) -> str:
    """The name of a class, marked if it is not xpnet's: one of the same name may well do something else."""
    return kind.__name__ if kind.__module__.partition(".")[0] == "xpnet" else f"{kind.__name__} (not of xpnet)"


def to_config(part: Any) -> dict[str, Any]:
    """The kind of a dataclass and its fields, as JSON can hold them; of anything else, the kind alone.

    >>> from xpnet.layers import LeakyReLU
    >>> to_config(LeakyReLU(0.2))
    {'kind': 'LeakyReLU', 'slope': 0.2}
    """
    kind = {"kind": kind_of(type(part))}
    if not is_dataclass(part):
        return kind
    return kind | {f.name: _plain(getattr(part, f.name)) for f in fields(part) if f.init}


def _plain(value: Any) -> Any:
    """A number of any library as one of Python's, sequences as lists; what JSON cannot hold, as text."""
    if is_dataclass(value):
        return to_config(value)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else repr(value)


def check_plain(value: Any, where: str, depth: int = 0) -> None:
    """Raise unless JSON can hold a value and gives it back as it was; a tuple comes back as a list.

    Raises:
        TypeError: something in it is of another type; the message says where.
        ValueError: a number that is not finite or very large, or lists and dicts that stand too deep in one another.
    """
    if depth > DEEPEST_PLAIN:
        raise ValueError(f"{where:.200}... stands in more than {DEEPEST_PLAIN} others")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {shortened(key)}, expected text")
            check_plain(inner, f"{where}[{shortened(key, 40)}]", depth + 1)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            check_plain(inner, f"{where}[{i}]", depth + 1)
    elif not isinstance(value, PLAIN):
        raise TypeError(
            f"{where} is {shortened(value)}, which JSON cannot hold; expected text, a number of Python's, True, False, "
            "None, or lists and dicts of them"
        )
    elif isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{where} is {value}, expected a finite number; None may stand for what there is not")
    elif isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ValueError(f"{where} is an integer of {value.bit_length()} bits, expected at most {MOST_BITS}")


def from_config(description: Any, known: Mapping[str, type], *, depth: int = 0) -> Any:
    """What :func:`to_config` described.

    Args:
        description: a dict with a kind and fields.
        known: the classes that may be made, by name.
        depth: how many descriptions this one stands in.

    Raises:
        CheckpointError: another kind, a field that is missing, unknown or of another type, or a value that is refused.

    >>> from xpnet.layers import LeakyReLU
    >>> from_config({"kind": "LeakyReLU", "slope": 0.2}, {"LeakyReLU": LeakyReLU})
    LeakyReLU(0.2)
    """
    if not isinstance(description, dict) or not isinstance(description.get("kind"), str):
        raise CheckpointError(f"{shortened(description)} describes nothing: expected a kind and its fields")
    values = dict(description)
    name = values.pop("kind")
    if name not in known:
        raise CheckpointError(f"{shortened(name)} is not one of {', '.join(known)}")
    if depth > DEEPEST:
        raise CheckpointError(f"{name} stands in more than {DEEPEST} others")
    kind = known[name]
    hints = _hints(kind)
    if values.keys() != hints.keys():
        raise CheckpointError(f"{name} has the fields {sorted(hints)}, and not {shortened(sorted(values))}")
    given = {field: _value(value, hints[field], f"{name}.{field}", known, depth) for field, value in values.items()}
    try:
        return getattr(kind, "from_fields", kind)(**given)
    except (TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{name} cannot be made: {error}") from None


def _hints(kind: type) -> dict[str, Any]:
    """The types of the fields that a class is made from."""
    if not is_dataclass(kind):
        return {}
    try:
        hints = get_type_hints(kind)
    except NameError as error:  # a class made in a function, with types of that function
        raise CheckpointError(f"the types of the fields of {kind.__name__} cannot be told: {error}") from None
    return {f.name: hints[f.name] for f in fields(kind) if f.init}


def _value(value: Any, hint: Any, where: str, known: Mapping[str, type], depth: int) -> Any:
    """The value of a field, if it is of the type that the field declares."""
    allowed = _alternatives(hint)
    if isinstance(value, list):  # which may be one of several: int | tuple[int, int]
        hint = next((kind for kind in allowed if get_origin(kind) in (tuple, list)), hint)
    origin = get_origin(hint)
    if isinstance(value, dict):
        made = from_config(value, known, depth=depth + 1)
        if not any(_fits(made, kind) for kind in allowed):
            raise CheckpointError(f"{where} is {shortened(made)}, expected {_told(allowed)}")
        return made
    if isinstance(value, list) and origin in (tuple, list):
        inner = get_args(hint)[0] if get_args(hint) else Any
        return origin(_value(v, inner, where, known, depth) for v in value)
    kinds = tuple(kind for kind in allowed if kind in PLAIN)
    if float in kinds:
        kinds += (int,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise CheckpointError(f"{where} is {shortened(value)}, expected {_told(allowed)}")
    return value  # infinities too: it is for the class to say what it takes


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union; of any other, itself."""
    if hint is Any:
        return PLAIN
    return (hint,) if get_origin(hint) in (tuple, list) else get_args(hint) or (hint,)


def _fits(part: Any, kind: Any) -> bool:
    """Whether a part may stand where a class is declared; a protocol promises more than can be looked at."""
    return getattr(kind, "_is_protocol", False) or (isinstance(kind, type) and isinstance(part, kind))


def _told(kinds: tuple[Any, ...]) -> str:
    return " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)


def shortened(value: Any, most: int = 80) -> str:
    """``repr`` of a value that came from a file, of a length and a depth that fit into a message."""
    short = Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlong = 3, most, most, most
    text = short.repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
