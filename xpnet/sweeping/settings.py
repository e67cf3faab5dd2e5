"""What is tried: lists of settings by name, and the trainers that are made of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from xpnet.backends.dispatch import describe
from xpnet.training import Trainer

#: One value for each setting, by name.
Setting = dict[str, Any]


def settings_of(make: Callable[..., Trainer], settings: Any) -> list[Setting]:
    """The settings of each network, or an error that says what is wrong with the lists.

    Raises:
        TypeError: ``make`` or ``settings`` is of another kind, or ``make`` has no argument of a name.
        ValueError: there is no list, a list is empty, or lists are of different lengths.
    """
    if not callable(make) or isinstance(make, Trainer):
        raise TypeError(
            f"make is {describe(make)}, expected a function of the settings that returns a Trainer: "
            "lambda lr: Trainer(TwoLayerNet(784, 50, 10, seed=0), SGD(lr=lr), seed=0)"
        )
    if not isinstance(settings, Mapping):
        raise TypeError(f'settings is {describe(settings)}, expected lists by name: {{"lr": [0.1, 0.3]}}')
    lists = {str(name): _values(str(name), values) for name, values in settings.items()}
    _check_names(make, lists)
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) != 1:
        told = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(
            f"settings have different lengths ({told}); expected a value for each network in every list. Lists of all "
            f"combinations are {', '.join(lengths)} = zip(*itertools.product({', '.join(lengths)}))"
            if lengths
            else 'settings is empty, expected a list or more by name: {"lr": [0.1, 0.3]}'
        )
    if not next(iter(lengths.values())):
        raise ValueError(f"{next(iter(lists))} is empty, so that there is no network; expected one value or more")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _values(name: str, given: Any) -> list[Any]:
    """A list of Python's own numbers, texts or whatever is tried."""
    found = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(found, str | bytes) or not isinstance(found, Sequence):
        raise TypeError(
            f"settings[{name!r}] is {found!r:.80}, expected a list, a value for each network: [{found!r:.40}, ...]; "
            "what is the same for all stands in the function"
        )
    return [value.item() if hasattr(value, "item") else value for value in found]


def _check_names(make: Callable[..., Trainer], names: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # of some built-in functions nothing is known
        return
    try:
        signature.bind(**names)
    except TypeError as error:
        kinds = signature.parameters.values()
        known = [p.name for p in kinds if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        hint = ""
        unknown = next((name for name in names if name not in known), None)
        if unknown is not None and (close := get_close_matches(unknown, known, 1)):
            hint = f"; did you mean {close[0]!r}?"
        raise TypeError(f"settings do not fit make({', '.join(known)}): {error}{hint}") from None


def trainers_of(make: Callable[..., Trainer], rows: Sequence[Setting]) -> list[Trainer]:
    """A trainer for each row of settings, as ``make`` makes them, looked at.

    Raises:
        TypeError: something else comes out.
        ValueError: a trainer was trained before, is made twice, or draws from another one's random generator.
    """
    trainers: list[Trainer] = []
    for number, row in enumerate(rows):
        try:
            trainer = make(**row)
        except Exception as error:
            error.add_note(f"in network {number} of the sweep: {row}")
            raise
        if not isinstance(trainer, Trainer):
            raise TypeError(f"what make({_written(row)}) returned is {describe(trainer)}, expected a Trainer")
        if trainer.iteration:
            raise ValueError(
                f"make({_written(row)}) returned a trainer of {trainer.iteration} iterations; expected a new one each"
            )
        trainers.append(trainer)
    for what, parts in (
        ("one trainer", trainers),
        ("trainers of one network", [t.net for t in trainers]),
        ("trainers that draw from one random generator", [t.rng for t in trainers]),
    ):
        first = {id(part): i for i, part in reversed(list(enumerate(parts)))}
        twice = next((i for i, part in enumerate(parts) if first[id(part)] != i), None)
        if twice is not None:
            raise ValueError(
                f"make returned {what} for networks {first[id(parts[twice])]} and {twice}; expected that it makes a "
                "network, and a Trainer with a whole number as its seed, at each call"
            )
    return trainers


def _written(row: Setting) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in row.items())
