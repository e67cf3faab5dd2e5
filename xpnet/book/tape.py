"""Listening to the book's layers: which were called, with what, and what they returned, in the order of the calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from xpnet._typing import Array


class Call(NamedTuple):
    """A forward pass through one layer."""

    layer: Any
    x: Array
    y: Array


#: What the layers have returned, as long as it is there.
_returned: WeakValueDictionary[int, Any] = WeakValueDictionary()
_calls: ContextVar[list[Call] | None] = ContextVar("xpnet_book_calls", default=None)


def note(layer: Any, x: Array, y: Array) -> Array:
    """Tell whoever listens of a forward pass; y again."""
    calls = _calls.get()
    if calls is not None:
        calls.append(Call(layer, x, y))
    return returned(y)


def returned(y: Array) -> Array:
    """Remember y as something that a layer returned; y again."""
    if isinstance(y, np.ndarray):
        _returned[id(y)] = y
    return y


def is_first(x: Array) -> bool:
    """Whether an array of NumPy is none that a layer returned, so that the layer that takes it is a network's first."""
    return isinstance(x, np.ndarray) and _returned.get(id(x)) is not x


@contextmanager
def listening() -> Iterator[list[Call]]:
    """The calls that are made inside of the block."""
    calls: list[Call] = []
    token = _calls.set(calls)
    try:
        yield calls
    finally:
        _calls.reset(token)
