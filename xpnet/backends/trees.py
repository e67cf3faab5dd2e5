"""Nested dicts of arrays, as states are: their arrays in order, the same names with others, and what is where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xpnet._typing import Array


def leaves(tree: Any) -> list[Array]:
    """The arrays of nested dicts, in their order."""
    return [a for v in tree.values() for a in (leaves(v) if isinstance(v, dict) else [v])]


def rebuilt(tree: Any, arrays: Iterator[Array]) -> Any:
    """Nested dicts with the names of these and other arrays."""
    return {k: rebuilt(v, arrays) if isinstance(v, dict) else next(arrays) for k, v in tree.items()}


def names(tree: Any) -> Any:
    """What is where in nested dicts, to compare and to look up by."""
    if isinstance(tree, dict):
        return tuple((k, names(v)) for k, v in tree.items())
    return tuple(map(names, tree)) if isinstance(tree, tuple) else None


def check_alike(before: Any, after: Any) -> None:
    """Raise ``TypeError`` unless both have equal names, shapes and dtypes, so that one can take the other's memory."""
    pairs = zip(leaves(before), leaves(after), strict=True)
    if names(before) != names(after) or any((a.shape, a.dtype) != (b.shape, b.dtype) for a, b in pairs):
        raise TypeError("the state after a step has other names, shapes or dtypes than before")
