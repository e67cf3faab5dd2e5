"""Values on their way through a graph: what they were before, and how ONNX sees what is here a sample.

A value knows the one it comes from, so that the values of a graph are a tree, however branches part and meet: where
they meet, all between is one step, from the value that they have in common. A chain of layers is the way back to the
input.

Axes may be in another order than here, (H, W, C) for (C, H, W). Nothing is moved for it: a value has a *view*, an array
of the shape that ONNX sees with the number of the entry here in each place. Transposes and reshapes are those of views,
and a layer gets its weights in the order of entries here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import prod
from typing import Any

import numpy as np

from xpnet.layers.base import Layer
from xpnet.onnx.reading.graph import Node

#: Lengths of axes of a sample, None where they are not known.
Lengths = tuple[int | None, ...]
#: Entries of a sample whose axes are in another order.
MOST_ENTRIES = 2**22
#: How many branches may stand inside one another.
DEEPEST = 50


@dataclass(frozen=True, eq=False)
class Step:
    """What happens between two values.

    Attributes:
        node: the node that does it; the last one, where several do.
        layer: what it is here; None where it may be a part of something, or is made of branches.
        arrays: the arrays of the layer.
        function: what it does to each number by itself; None where it is something else.
        kind: how branches come together, ``"sum"``, ``"concat"`` or ``"formula"``; ``"pad"``, ``"scaled"``; else empty.
        branches: the steps of each branch.
        pads: rows and columns of zeros before and behind.
    """

    node: Node
    layer: Layer | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    function: Callable[[Any], Any] | None = None
    kind: str = ""
    branches: tuple[tuple[Step, ...], ...] = ()
    pads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        inside = [step for branch in self.branches for step in branch]
        object.__setattr__(self, "size", 1 + sum(step.size for step in inside))
        object.__setattr__(self, "depth", 1 + max((step.depth for step in inside), default=0))
        if self.depth > DEEPEST:
            raise ValueError(f"branches stand in more than {DEEPEST} others")

    size: int = field(init=False)
    depth: int = field(init=False)


@dataclass(frozen=True, eq=False)
class Value:
    """A value that depends on the samples.

    Attributes:
        shape: of a sample as it is here.
        view: how ONNX sees it; None where that is the same.
        integers: whether it is the input of integers.
        before, step: the value that it comes from, and how; None of the input.
        length: how many steps there are from the input.
    """

    shape: Lengths
    view: np.ndarray | None = None
    integers: bool = False
    before: Value | None = None
    step: Step | None = None
    length: int = 0

    @property
    def seen(self) -> Lengths:
        """The shape that ONNX sees."""
        return self.shape if self.view is None else self.view.shape

    def then(self, step: Step, shape: Lengths, view: np.ndarray | None = None) -> Value:
        """What a step makes of it."""
        return Value(shape, view, False, self, step, self.length + 1)

    def seen_as(self, view: np.ndarray) -> Value:
        """The same entries as ONNX sees them from here on."""
        same = view.shape == self.shape and _in_order(view)
        return Value(self.shape, None if same else view, self.integers, self.before, self.step, self.length)

    def entries(self) -> np.ndarray:
        """The number of the entry here in each place that ONNX sees.

        Raises:
            ValueError: the lengths of the axes are not known.
        """
        return entries(self.shape) if self.view is None else self.view

    def order(self) -> tuple[int, ...] | None:
        """The axes here in the order in which ONNX sees them; None where they are split or joined."""
        if self.view is None:
            return tuple(range(len(self.shape)))
        here = entries(self.shape)
        for order in permutations(range(here.ndim)) if here.ndim < 4 else ():
            if self.view.shape == here.transpose(order).shape and (self.view == here.transpose(order)).all():
                return order
        return None


def entries(shape: Lengths) -> np.ndarray:
    """The numbers of the entries of a sample of this shape."""
    known = [n for n in shape if n is not None]
    if len(known) < len(shape):
        raise ValueError(
            "the lengths of all axes of its input have to be known for this; export with samples of a fixed size"
        )
    if prod(known) > MOST_ENTRIES:
        raise ValueError(f"a sample of shape {shape} has {prod(known)} entries")
    return np.arange(prod(known)).reshape(known)


def in_order(value: Value) -> bool:
    """Whether ONNX sees the entries in the order that they have here, perhaps in another shape."""
    return value.view is None or _in_order(value.view)


def _in_order(view: np.ndarray) -> bool:
    return bool((view.reshape(-1) == np.arange(view.size)).all())


def put_in_order(value: Value, a: np.ndarray) -> np.ndarray:
    """An array that ONNX spreads over samples, as it is spread over those here: axes of length 1 stand for all.

    Raises:
        ValueError: it has other lengths than a sample, or differs from sample to sample.
    """
    seen = value.seen
    if a.ndim > len(seen) + 1:
        raise ValueError(f"an array of shape {a.shape} meets samples of shape {seen}")
    full: np.ndarray = a.reshape((1,) * (len(seen) + 1 - a.ndim) + a.shape)
    if any(n not in (1, length) for n, length in zip(full.shape, (1, *seen), strict=True)):
        raise ValueError(f"an array of shape {a.shape} meets samples of shape {seen}")
    if value.view is None:
        return np.asarray(full[0])
    found = np.empty(value.view.size, a.dtype)
    found[value.view.reshape(-1)] = np.broadcast_to(full[0], value.view.shape).reshape(-1)
    in_place: np.ndarray = found.reshape([n or 1 for n in value.shape])
    return in_place


def way(value: Value, start: Value | None = None) -> tuple[Step, ...]:
    """The steps from a value, or the input, to this one."""
    found = []
    while (start is None or value.step is not start.step) and value.before is not None and value.step is not None:
        found.append(value.step)
        value = value.before
    return tuple(reversed(found))


def in_common(values: Sequence[Value]) -> Value:
    """The last value that all of these come from, however ONNX sees it in each branch: it has one step."""
    found = list(values)
    while any(value.step is not found[0].step for value in found):
        longest = max(range(len(found)), key=lambda i: found[i].length)
        before = found[longest].before
        if before is None:
            raise ValueError("branches come from different inputs")
        found[longest] = before
    return found[0]


def together(node: Node, kind: str, values: Sequence[Value], most: int) -> tuple[Value, Step]:
    """The value that branches start from, and the step that they are.

    Raises:
        ValueError: they are tangled, so that a part of them would be there more than once; or of sums the samples have
            different shapes, or axes in different orders.
    """
    start = in_common(values)
    if kind != "concat":
        _check_alike(values)
    step = Step(node, kind=kind, branches=tuple(way(value, start) for value in values))
    if step.size > most:
        raise ValueError("branches part and meet in a way that sums and concatenations of chains do not")
    return start, step


def _check_alike(values: Sequence[Value]) -> None:
    first, views = values[0], [value.view for value in values]
    if any(value.seen != first.seen or value.shape != first.shape for value in values):
        raise ValueError(f"it combines samples of the shapes {', '.join(str(value.seen) for value in values)}")
    if any((view is None) != (views[0] is None) for view in views) or any(
        not np.array_equal(view, views[0]) for view in views if view is not None and views[0] is not None
    ):
        raise ValueError("it combines samples whose axes are in different orders")


def same(value: Value, step: Step) -> Value:
    """What a step makes of a value whose shape it leaves."""
    return value.then(step, value.shape, value.view)
