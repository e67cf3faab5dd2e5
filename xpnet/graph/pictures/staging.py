"""From a graph to the scene that is drawn: which nodes there are, and what is written on the arrows."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from graphlib import TopologicalSorter
from math import isfinite, prod
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import dtype_name, namespace, widest_floating
from xpnet.graph.pictures.scene import Arrow, Kind, Node, Scene, one_line
from xpnet.graph.reverse import Ancestry, seed_for, sweep
from xpnet.graph.rules.elementwise import DIVIDE, POW, SUBTRACT
from xpnet.graph.rules.shapes import GET
from xpnet.graph.wrapper import NUMBERS, Group, Wrapper

#: Operations whose operands cannot change places: a number there, as in ``1 / x``, is part of the operation's symbol.
IN_SYMBOL = ((SUBTRACT, 0), (SUBTRACT, 1), (DIVIDE, 0), (DIVIDE, 1), (POW, 0), (POW, 1))

#: More than this nobody can read.
MOST_NODES = 1000


def scene_of(y: Wrapper, *, forward: bool, backward: bool, seed: Any, unfold: bool | Collection[str]) -> Scene:
    """The scene of all that y was computed from; see :func:`xpnet.graph.draw`."""
    return _Stage(y, seed, backward, unfold).scene(forward)


class _Stage:
    """Nodes and arrows as they are found, before their texts are written."""

    def __init__(self, y: Wrapper, seed: Any, backward: bool, unfold: bool | Collection[str]) -> None:
        self.y, self.unfold = y, unfold
        self.variables = Ancestry(y, through_all=True).order[::-1]
        names = {v.name for v in self.variables}
        self.unnamed = (name for i in itertools.count(1) if (name := f"v{i}") not in names)
        self.end = next(name for i in itertools.count(1) if (name := "y" if i == 1 else f"y{i}") not in names)
        self.keys: dict[Any, int] = {}
        self.nodes: dict[int, tuple[Kind, str]] = {}
        #: target key, operand, source key, value and who it is
        self.arrows: dict[Any, tuple[int, int, Array, Wrapper | None]] = {}
        self.derivatives: dict[Any, Array] = {}
        self.totals: dict[int, Array] = {}
        if not isinstance(unfold, bool):
            self._check_names(unfold)
        for v in self.variables:
            self._place(v)
        if len(self.nodes) > MOST_NODES:
            raise ValueError(
                f"this graph has {len(self.nodes):,} nodes, and a picture shows {MOST_NODES:,}; draw a part of it, or "
                f"record parts inside of `with xpnet.graph.group(name):`, which are drawn as one box"
            )
        if backward and y.differentiable:
            order = [v for v in reversed(self.variables) if v.differentiable]
            start = seed_for(y, seed)
            self.seed = start.value if isinstance(start, Wrapper) else start
            self.totals = sweep(order, {y.serial: self.seed}, again=False, on_arrow=self._came_back)

    def _check_names(self, names: Collection[str]) -> None:
        """Raise unless there is something to unfold for each name."""
        known = list(dict.fromkeys(v.group.name for v in self.variables if v.group is not None))
        wrong = [name for name in names if name not in known]
        if wrong:
            raise ValueError(f"unfold names {wrong[0]!r}, and the groups here are: {', '.join(known) or 'none'}")

    def _box(self, v: Wrapper) -> Group | None:
        """The group that v is drawn in, if it is drawn in one: what it computes, and the constants that it makes."""
        comes_in = v.operation is None and (v.name is not None or v.differentiable)
        if comes_in or v.group is None or self.unfold is True:
            return None
        return None if self.unfold and v.group.name in self.unfold else v.group

    def _key(self, thing: Any) -> int:
        return self.keys.setdefault(thing, len(self.keys))

    def _place(self, v: Wrapper) -> None:
        box = self._box(v)
        key = self._key(box or v.serial)
        if key not in self.nodes:
            self.nodes[key] = ("group", one_line(box.name)) if box else self._described(v)
        for i, x in enumerate(v.inputs):
            if isinstance(x, Wrapper):
                source = self._key(self._box(x) or x.serial)
                if source != key:
                    self.arrows.setdefault(self._way(v, i), (source, key, x.value, x))
            elif not box and not (isinstance(x, NUMBERS) and (v.operation, i) in IN_SYMBOL):
                source = self._key((v.serial, i))
                self.nodes[source] = ("number", summary(x))
                self.arrows[self._way(v, i)] = (source, key, x, None)

    def _way(self, v: Wrapper, i: int) -> Any:
        """What tells the arrow to operand i of v from others; into a box, all uses of a variable are one arrow."""
        box = self._box(v)
        return (v.serial, i) if box is None else (box, v.inputs[i].serial)

    def _described(self, v: Wrapper) -> tuple[Kind, str]:
        if v.operation is not None:
            return "operation", symbol(v)
        if v.name is None and not v.differentiable:
            return "number", summary(v.value)
        return "input", next(self.unnamed) if v.name is None else one_line(v.name)

    def _came_back(self, v: Wrapper, i: int, gradient: Array) -> None:
        way = self._way(v, i)
        self.derivatives[way] = self.derivatives[way] + gradient if way in self.derivatives else gradient

    def scene(self, forward: bool) -> Scene:
        arrows = []
        for way, (source, target, value, v) in self.arrows.items():
            above = "" if v is None or self.nodes[source][0] == "number" or not forward else summary(value)
            if above and v is not None and v.operation is not None and v.name is not None:
                above = f"{one_line(v.name)} = {above}"
            below = summary(self.derivatives[way], with_shape=False) if way in self.derivatives else ""
            arrows.append(Arrow(source, target, above, below))
        nodes = [Node(key, *self.nodes[key], note=self._note(key)) for key in self._order()]
        last, y = len(self.keys), self.y
        before = self._key(self._box(y) or y.serial)
        value = summary(y.value) if forward else ""
        start = summary(self.seed, with_shape=False) if self.totals else ""
        name = self.end if y.name is None or y.operation is None else one_line(y.name)
        return Scene((*nodes, Node(last, "output", name)), (*arrows, Arrow(before, last, value, start)))

    def _order(self) -> list[int]:
        """The keys, sources before targets, as far as possible in the order of recording."""
        sorter = TopologicalSorter({key: set[int]() for key in self.nodes})
        for source, target, _, _ in self.arrows.values():
            sorter.add(target, source)
        sorter.prepare()
        order = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            sorter.done(*ready)
            order += ready
        return order

    def _note(self, key: int) -> str:
        uses = [way for way, (source, _, _, _) in self.arrows.items() if source == key and way in self.derivatives]
        if self.nodes[key][0] != "input" or len(uses) < 2:
            return ""
        serial = next(v.serial for v in self.variables if self.keys.get(v.serial) == key)
        total = summary(self.totals[serial], with_shape=False)
        return f"sum {total}"


def symbol(v: Wrapper) -> str:
    """How the operation behind v is called in a picture."""
    operation = v.operation
    assert operation is not None
    for i, x in enumerate(v.inputs):
        if isinstance(x, NUMBERS) and (operation, i) in IN_SYMBOL:
            number = f"{x:g}" if isinstance(x, complex) or x >= 0 else f"({x:g})"
            return f"{operation.symbol}{number}" if i else f"{number}{operation.symbol}"
    if operation is GET:
        key = v.options["key"]
        return f"[{', '.join(map(_of_index, key if isinstance(key, tuple) else (key,)))}]"
    return operation.symbol or operation.name


def _of_index(part: Any) -> str:
    if not isinstance(part, slice):
        return "..." if part is ... else str(part)
    ends = [part.start, part.stop] + ([] if part.step is None else [part.step])
    return ":".join("" if end is None else str(end) for end in ends)


def summary(x: Any, *, with_shape: bool = True) -> str:
    """A number as it is, a short vector by its entries, and any other array by its shape and its Euclidean norm."""
    shape = tuple(getattr(x, "shape", ()))
    kind = dtype_name(x.dtype) if hasattr(x, "dtype") else ""
    if kind.startswith("complex") or isinstance(x, complex):
        if not shape:
            return f"{complex(x):.6g}"
        x = namespace(x).abs(x)
        return f"{shape} complex, norm {_norm(x):.3g}" if with_shape else f"complex, norm {_norm(x):.3g}"
    if not shape:
        return f"{float(x) + 0.0:.6g}" if kind != "bool" else str(bool(x))
    exact = kind == "bool" or "int" in kind
    if len(shape) == 1 and 0 < shape[0] <= 4:
        return (
            f"[{', '.join(str(int(e)) if exact else f'{float(e) + 0.0:.4g}' for e in (x[i] for i in range(shape[0])))}]"
        )
    norm = 0.0 if exact or not prod(shape) else _norm(x)
    what = f"norm {norm:.3g}" if norm else kind if exact else "zeros"
    return f"{shape} {what}" if with_shape else what


def _norm(x: Array) -> float:
    xp = namespace(x)
    wide = xp.astype(x, widest_floating(x))
    largest = float(xp.max(xp.abs(wide)))
    if not isfinite(largest) or not largest:
        return largest
    wide = wide / largest  # so that no square overflows
    return largest * float(xp.sqrt(xp.sum(wide * wide)))
