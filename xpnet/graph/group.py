"""Operations that belong together, such as those of a layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Group:
    """What operations have in common that a picture shows as one box."""

    name: str


#: The group that is being recorded.
current: ContextVar[Group | None] = ContextVar("xpnet_graph_group", default=None)


@contextmanager
def group(name: str) -> Iterator[None]:
    """What is recorded inside of such a ``with`` block is drawn as one box of this name.

    Of groups inside each other the outer one counts.

    Raises:
        TypeError: a name that is no text.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a group is {name!r:.80}, expected text, 'Affine1' for example")
    token = current.set(current.get() or Group(name))
    try:
        yield
    finally:
        current.reset(token)
