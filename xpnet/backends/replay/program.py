"""What a recorded step is: calls in order, and the memory that they read and write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

#: How a view is made of the array under it.
View = Callable[[np.ndarray], np.ndarray]


class UnrecordableError(Exception):
    """The step does something that cannot be replayed; the message says what."""


@dataclass(eq=False)
class Ref:
    """A place for an array: one that the step is given, a constant, what a call returns, or a view of another place.

    Attributes:
        shape, dtype: of the array.
        base, view, how: for a view, what it is a view of, what makes it, and in words that can be compared.
        order: its axes as they lie in memory, those first whose elements are furthest apart; by default row by row.
        constant: the array, if it is the same in every step.
        folds: whether that array was made in the step, of nothing that the step is given.
        given: the name of an argument of the step: ``("state", "params", "W1")``, for example.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    base: Ref | None = None
    view: View | None = None
    how: str = ""
    order: tuple[int, ...] | None = None
    constant: np.ndarray | None = None
    folds: bool = False
    given: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.order is None:
            self.order = tuple(range(len(self.shape)))

    def laid_out(self, raw: Any) -> Any:
        """The array in these bytes, which are one of any library."""
        assert self.order is not None
        array = raw.view(self.dtype).reshape([self.shape[axis] for axis in self.order])
        back = tuple(map(self.order.index, range(len(self.order))))
        return array if self.order == tuple(range(len(back))) else array.transpose(back)

    @property
    def root(self) -> Ref:
        """The place whose memory this is."""
        ref = self
        while ref.base is not None:
            ref = ref.base
        return ref

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def made(self) -> bool:
        """Whether its memory is the step's own, to be given to it anew each time."""
        root = self.root
        return root.constant is None and root.given is None


#: How matrices are turned, in the words of ``Ref.how``.
TRANSPOSED = "transposed"

#: The name of a call whose function gives calls in turn, which write into ``out``.
WRITTEN = "written"

#: Calls of NumPy, in order.
Calls = Iterator[Callable[[], Any]]
#: Pieces of work that may be done at a time: each gives its calls, which need memory of their own.
Stage = list[Callable[[Any], Calls]]

#: The name of a call of a function of the host, which is told where its result goes.
THROUGH = "through"

#: The name of a call that ``function(read, written)`` returns, for arrays that it reads and arrays that it writes.
HOST = "host"

#: What a call is given: places, and numbers.
Operand = Any


def _by_name(*_: Any, **__: Any) -> Any:
    raise UnrecordableError("it makes a call that is not known by its name")


@dataclass(eq=False)
class Call:
    """``name(*operands, **options)`` into ``out``, which is one of the operands if the call writes in place.

    Attributes:
        function: what computes it, where it is not known by its name alone.
        elementwise: whether each element of ``out`` depends only on those of the operands at its place.
        shared, own: memory that it needs while it runs, and nobody reads; each piece of it has ``own`` for itself.
    """

    name: str
    operands: tuple[Operand, ...]
    out: Ref
    options: dict[str, Any] = field(default_factory=dict)
    function: Callable[..., Any] = _by_name
    elementwise: bool = False
    shared: Ref | None = None
    own: Ref | None = None

    def read(self) -> Iterator[Ref]:
        """The places it reads."""
        for operand in self.operands[:1] if self.name == HOST else self.operands:
            if isinstance(operand, Ref):
                yield operand
            elif isinstance(operand, list | tuple):
                yield from (each for each in operand if isinstance(each, Ref))

    def written(self) -> Iterator[Ref]:
        """The places it writes."""
        if self.name == HOST:
            yield from self.operands[1]
            return
        yield from (ref for ref in (self.out, self.shared, self.own) if ref is not None)


@dataclass
class Program:
    """Calls in order; ``loss`` is where they leave the loss, and the state is changed where it is."""

    calls: list[Call]
    given: dict[tuple[str, ...], Ref]
    loss: Ref

    def check_closed(self) -> None:
        """Raise unless each place that is read was given, is a constant, or was written by a call before.

        So does a place of which a part is written: the rest has to be there.
        """
        known = set(self.given.values())
        for call in [*self.calls, Call("loss", (self.loss,), self.loss)]:
            for ref in (*call.read(), *([call.out] if call.out.base is not None else [])):
                if ref.root not in known and ref.root.constant is None:
                    raise UnrecordableError("it uses an array of another step, that of another thread perhaps")
            known.add(call.out.root)


def in_order(stages: Iterable[Stage], own: Any) -> Calls:
    """All calls of all pieces, which take turns in the same memory."""
    for stage in stages:
        for piece in stage:
            yield from piece(own)


def order_of(array: np.ndarray) -> tuple[int, ...] | None:
    """The axes of an array as they lie in memory, one element after the other; None if elements lie apart."""
    axes = range(array.ndim)
    if array.flags.c_contiguous:
        return tuple(axes)
    order = tuple(sorted(axes, key=lambda axis: -array.strides[axis]))
    return order if array.transpose(order).flags.c_contiguous else None
