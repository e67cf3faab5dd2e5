"""What layers see of a minibatch that is shared out: sums and means over all of its rows, whoever has them.

Batch normalization is all that mixes samples. It asks here for its sums, which are those of its own rows where there is
one process, or where the library adds up over devices by itself, and are added up over the processes otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any, NamedTuple

from xpnet._typing import Array
from xpnet.backends.dispatch import kind_of, namespace
from xpnet.parallel.base import Parallel


class Shared(NamedTuple):
    """A minibatch of so many rows, of which some are here."""

    parallel: Parallel
    rows: int


_shared: ContextVar[Shared | None] = ContextVar("xpnet_shared_minibatch", default=None)


@contextmanager
def shared_minibatch(parallel: Parallel, rows: int) -> Iterator[None]:
    """What layers compute in this block is of this process' part of a minibatch of so many rows."""
    token = _shared.set(Shared(parallel, rows))
    try:
        yield
    finally:
        _shared.reset(token)


def totals(*parts: Array) -> tuple[Array, ...]:
    """Sums over own rows, all of one shape, as sums over the rows of the whole minibatch; in one message."""
    shared = _shared.get()
    if shared is None:
        return parts
    sums = added_up(shared.parallel, namespace(parts[0]).stack(parts))
    return tuple(sums[i, ...] for i in range(len(parts)))


def added_up(parallel: Parallel, x: Array) -> Array:
    """The sum over these processes of an array that each has, in its shape and dtype; also where a step is compiled."""
    return kind_of(x).on_host(parallel.all_reduce, x)


def count(x: Array, axes: tuple[int, ...]) -> int:
    """How many entries x (N, ...) has along these axes, 0 among them, with the rows that others have of it."""
    shared = _shared.get()
    rows: int = x.shape[0] if shared is None else shared.rows
    return rows * int(prod(x.shape[axis] for axis in axes if axis))


def mean(x: Array, axes: tuple[int, ...]) -> Any:
    """The mean of x (N, ...) over these axes, 0 among them, over the rows of the whole minibatch."""
    xp, shared = namespace(x), _shared.get()
    if shared is None:
        return xp.mean(x, axis=axes)
    return added_up(shared.parallel, xp.sum(x, axis=axes)) / count(x, axes)
