"""Arrays in dicts, lists, tuples and dataclasses: the same build, with other leaves."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from xpnet.backends.dispatch import name_of
from xpnet.graph.wrapper import Wrapper


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same dicts, lists, tuples and dataclasses, with the function of each of their leaves; None stays None.

    Of a dataclass, what is no floating-point number, array, or one of these with such inside, is a setting and stays.
    """
    if isinstance(tree, dict):
        parts = {key: mapped(function, part) for key, part in tree.items()}
        return parts if type(tree) is dict else _like_dict(tree, parts)
    if isinstance(tree, list | tuple):
        found = [mapped(function, part) for part in tree]
        return type(tree)(*found) if hasattr(tree, "_fields") else type(tree)(found)
    if tree is None:
        return None
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        made = copy.copy(tree)
        for field in dataclasses.fields(tree):
            part = getattr(tree, field.name)
            if _has_numbers(part):
                object.__setattr__(made, field.name, mapped(lambda x: function(x) if _has_numbers(x) else x, part))
        return made
    return function(tree)


def _like_dict(tree: Any, parts: dict[Any, Any]) -> Any:
    made = copy.copy(tree)
    made.update(parts)
    return made


def _has_numbers(part: Any) -> bool:
    if isinstance(part, dict):
        return any(map(_has_numbers, part.values()))
    if isinstance(part, list | tuple):
        return any(map(_has_numbers, part))
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return any(_has_numbers(getattr(part, field.name)) for field in dataclasses.fields(part))
    if isinstance(part, float | complex | Wrapper):
        return True
    return name_of(part) is not None and "float" in str(part.dtype)


def leaves_of(tree: Any) -> list[Any]:
    """The leaves, in the order in which ``mapped`` meets them."""
    found: list[Any] = []
    mapped(found.append, tree)
    return found


def rebuilt(tree: Any, leaves: Iterator[Any]) -> Any:
    """The build of a tree with other leaves."""
    return mapped(lambda _: next(leaves), tree)
