"""One network, optimizer or loss that stands for several: equal but for numbers, which become one for each."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from xpnet._numbers import Numbers
from xpnet.backends.dispatch import dtype_name
from xpnet.layers.base import Container, Layer
from xpnet.layers.chain import Several
from xpnet.models import Sequential
from xpnet.stacked import StackError


def merged(parts: Sequence[Any], name: str) -> Any:
    """What is the same in all as it is, and floating-point numbers that differ as :class:`xpnet._numbers.Numbers`.

    Raises:
        StackError: they differ in something else; the message calls it by ``name`` and what is inside of it.
    """
    first = parts[0]
    kinds = {type(part) for part in parts}
    if kinds <= {int, float} and float in kinds:
        return first if len(set(parts)) == 1 else Numbers(parts)
    if len(kinds) > 1:
        raise _differ(name, parts)
    if isinstance(first, tuple | list):
        if len({len(part) for part in parts}) > 1:
            raise _differ(name, parts)
        return type(first)(merged(each, f"{name}[{i}]") for i, each in enumerate(zip(*parts, strict=True)))
    if isinstance(first, Container):
        children = [part.children for part in parts]
        if len({len(each) for each in children}) > 1:
            raise _differ(name, parts)
        inner = [f"{name}.{label}" for label in _labels(first)]
        return first.with_children(tuple(map(merged, zip(*children, strict=True), inner)))
    if is_dataclass(first):
        own = [f for f in fields(first) if f.init]
        values = {f.name: merged([getattr(part, f.name) for part in parts], f"{name}.{f.name}") for f in own}
        alike = all(values[f.name] is getattr(first, f.name) for f in own)
        return first if alike else kinds.pop()(**values)
    if all(_alike(part, first) for part in parts):
        return first
    if getattr(first, "__dict__", None) and all(_alike(vars(part), vars(first)) for part in parts):
        return first  # an object of a class of one's own
    raise _differ(name, parts)


def _alike(a: Any, b: Any) -> bool:
    try:
        return a is b or bool(a == b)
    except Exception:  # arrays are compared entry by entry, for example
        return False


def _labels(layer: Layer) -> list[str]:
    if isinstance(layer, Several):
        return [part.name for part in layer.parts]
    return [child.label for child in layer.children] if isinstance(layer, Container) else []


def merged_network(nets: Sequence[Sequential]) -> Sequential:
    """The network that stands for all; its own arrays are those of the first, and none of theirs.

    Raises:
        StackError: they are of different layers, losses, dtypes or backends.
    """
    for name, found in (("backend", [net.backend for net in nets]), ("dtype", [dtype_name(net.dtype) for net in nets])):
        if any(part != found[0] for part in found):
            raise _differ(name, found)
    whole = copy.copy(nets[0])
    whole.chain = merged([net.chain for net in nets], "net")
    whole.loss_layer = merged([net.loss_layer for net in nets], "loss")
    return whole


def _differ(name: str, parts: Sequence[Any]) -> StackError:
    number = next(i for i, part in enumerate(parts) if type(part) is not type(parts[0]) or not _alike(part, parts[0]))
    return StackError(
        f"{name} is {parts[0]!r:.100} in network 0 and {parts[number]!r:.100} in network {number}; networks that are "
        "trained together differ in floating-point numbers and seeds alone. one_by_one=True trains any"
    )
