"""What a recorded step is: calls in order, and the memory that they read and write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
        constant: the array, if it is the same in every step.
        folds: whether that array was made in the step, of nothing that the step is given.
        uniform: whether it is one number all over.
        given: the name of an argument of the step: ``("state", "params", "W1")``, for example.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    base: Ref | None = None
    view: View | None = None
    how: str = ""
    constant: np.ndarray | None = None
    folds: bool = False
    uniform: bool = False
    given: tuple[str, ...] | None = None

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

#: What a call is given: places, and numbers.
Operand = Any


@dataclass(eq=False)
class Call:
    """``name(*operands, **options)`` into ``out``, which is one of the operands if the call writes in place.

    Attributes:
        function: what computes it, where it is not known by its name alone.
        elementwise: whether each element of ``out`` depends only on those of the operands at its place.
    """

    name: str
    operands: tuple[Operand, ...]
    out: Ref
    options: dict[str, Any] = field(default_factory=dict)
    function: Callable[..., Any] | None = None
    elementwise: bool = False

    def read(self) -> Iterator[Ref]:
        """The places it reads."""
        for operand in self.operands:
            if isinstance(operand, Ref):
                yield operand
            elif isinstance(operand, list | tuple):
                yield from (each for each in operand if isinstance(each, Ref))


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

    def readers(self) -> dict[Ref, list[Call]]:
        """The calls that read memory, by its root."""
        found = {self.loss.root: [Call("loss", (self.loss,), self.loss)]}
        for call in self.calls:
            for ref in call.read():
                found.setdefault(ref.root, []).append(call)
        return found

    def writers(self) -> dict[Ref, list[Call]]:
        """The calls that write memory, by its root; the first one makes it, where it is the step's own."""
        found: dict[Ref, list[Call]] = {}
        for call in self.calls:
            found.setdefault(call.out.root, []).append(call)
        return found


def uniform(value: float, shape: tuple[int, ...], dtype: Any) -> Ref:
    """A constant of one number."""
    zero = value == 0 and not np.signbit(value)
    array = np.zeros(shape, dtype) if zero else np.full(shape, value, dtype)  # zeros take no memory until they are read
    return Ref(shape, array.dtype, constant=array, folds=True, uniform=True)
