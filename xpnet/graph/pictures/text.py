"""A scene drawn with characters: lanes run to the right, and what an operation takes besides comes up from below.

A lane follows one operand of each operation back to where it starts. First every node gets its columns, counted from
the start of its lane, and lanes that would be too wide are cut (:class:`_Plan`). Then lanes are written one below the
other, each as high up as there is room (:class:`_Figure`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice, product
from string import ascii_lowercase
from unicodedata import category, east_asian_width

from xpnet.graph.pictures.scene import EXCHANGEABLE, Arrow, Node, Scene

SHORTEST = len("---->")
CLEAR = 3  #: columns from the end of what stands under a lane to the next thing that comes from below, two of them free


def text(scene: Scene, width: int = 100) -> str:
    """The graph as lines of text, values above the arrows and derivatives below them.

    A computed value that is used more than once, or after which a lane is cut, gets a figure of its own that ends in a
    letter, and the letter stands where the value is used.

    Args:
        scene: what is drawn.
        width: how many columns a line may have. An arrow and its texts are never cut, so a line may still be longer.
    """
    plan = _Plan(scene, width)
    blocks = [_Figure(plan, key).lines() for key in (*plan.names, scene.nodes[-1].key)]
    blocks.append([f"derivatives of {node.label}: {node.note}" for node in scene.nodes if node.note])
    return "\n\n".join("\n".join(block) for block in blocks if block)


@dataclass(frozen=True)
class _Place:
    """Columns of a node, counted from the start of its lane."""

    left: int  #: its first
    end: int  #: the one after its last
    below: int = -CLEAR  #: the last that is taken under the lane up to here


class _Plan:
    """Which nodes have a figure of their own, and the columns of every node."""

    def __init__(self, scene: Scene, width: int) -> None:
        self.nodes = {node.key: node for node in scene.nodes}
        self.into: defaultdict[int, list[Arrow]] = defaultdict(list)  #: the one that the lane follows comes first
        self.out_of: defaultdict[int, list[Arrow]] = defaultdict(list)
        for arrow in scene.arrows:
            self.into[arrow.target].append(arrow)
            self.out_of[arrow.source].append(arrow)
        self.forward = any(arrow.forward for arrow in scene.arrows)
        self.backward = any(arrow.backward for arrow in scene.arrows)
        self.places: dict[int, _Place] = {}
        self.short: dict[int, int] = {}  #: of the lanes into a node that hold but a label: the columns, equal for all
        self.names: dict[int, str] = {}  #: the letters of the nodes that have a figure of their own
        self._name(width)

    def label(self, key: int) -> str:
        """What is written for an operand."""
        return f"({self.names[key]})" if key in self.names else _box(self.nodes[key])

    def starts(self, key: int) -> bool:
        """Whether an operand is where a lane starts."""
        return key in self.names or not self.into[key]

    def operand(self, key: int) -> _Place:
        return _Place(0, _columns(self.label(key))) if self.starts(key) else self.places[key]

    def span(self, arrow: Arrow) -> int:
        """How many columns the lane of an operand has, up to the vertical line that it leads into."""
        return self.short[arrow.target] if self.starts(arrow.source) else self._span(arrow)

    def stem(self, key: int) -> Arrow | None:
        """The one arrow from below, if its source can stand at the foot of the vertical line."""
        others = self.into[key][1:]
        return others[0] if len(others) == 1 and self.starts(others[0].source) else None

    def beside(self, stem: Arrow) -> list[str]:
        """The texts at the left of a vertical line: as many rows for each, so that all end in the same row."""
        return [stem.forward] * self.forward + [stem.backward] * self.backward or [""]

    def _span(self, arrow: Arrow) -> int:
        source = self.operand(arrow.source)
        return max(source.end + _length(arrow.forward, arrow.backward) + 2, source.below + CLEAR)

    def _name(self, width: int) -> None:
        letters = list(islice(_letters({node.label for node in self.nodes.values()}), len(self.nodes)))
        longest = letters[-1]  # holds the place of each letter until all are known, and come in the order of figures
        for key, node in self.nodes.items():
            if len(self.out_of[key]) > 1 and node.kind in ("operation", "group"):
                self.names[key] = longest
        for key in self.nodes:
            self._choose_trunk(key)
            self._measure(key)
            while wide := self._lanes_to_cut(key, self._end(key, f"({longest})") - width):
                self.names.update(dict.fromkeys(wide, longest))
                self._measure(key)
        self.names = dict(zip((key for key in self.nodes if key in self.names), letters, strict=False))
        for key in self.nodes:
            self._measure(key)

    def _choose_trunk(self, key: int) -> None:
        """Of the arrows into a node, put the first that comes from a lane in front, if they can change places."""
        node, arrows = self.nodes[key], self.into[key]
        if node.kind == "operation" and node.label not in EXCHANGEABLE:
            return
        trunk = next((i for i, arrow in enumerate(arrows) if not self.starts(arrow.source)), 0)
        if trunk:
            arrows.insert(0, arrows.pop(trunk))

    def _measure(self, key: int) -> None:
        size = _columns(_box(self.nodes[key]))
        self.short[key] = max((self._span(a) for a in self.into[key][1:] if self.starts(a.source)), default=0)
        middle = max(self._middles(key), default=size // 2)
        below = max((self.operand(arrow.source).below for arrow in self.into[key][:1]), default=-CLEAR)
        if len(self.into[key]) > 1:
            stem = self.stem(key)
            foot = _columns(self.label(stem.source)) if stem else 1
            below = middle - foot // 2 + foot - 1
        self.places[key] = _Place(middle - size // 2, middle - size // 2 + size, below)

    def _middles(self, key: int) -> list[int]:
        """Where the middle of a node may be at the earliest, for each operand that has a lane."""
        if not self.into[key]:
            return []
        trunk, *others = self.into[key]
        before, stem = self.operand(trunk.source), self.stem(key)
        along = before.end + _length(trunk.forward, trunk.backward) + 2 + _columns(_box(self.nodes[key])) // 2
        if stem:
            texts = max(_columns(beside) + 1 for beside in self.beside(stem))
            return [max(along, before.below + CLEAR + max(texts, _columns(self.label(stem.source)) // 2))]
        return [max(along, before.below + CLEAR if others else 0), *map(self.span, others)]

    def _lanes_to_cut(self, key: int, excess: int) -> list[int]:
        """The operands without whose lanes a node could stand so many columns farther left."""
        middles = self._middles(key) if excess > 0 else []
        farthest = max(middles, default=0) - excess
        pairs = zip(middles, self.into[key], strict=False)
        return [arrow.source for middle, arrow in pairs if middle > farthest and not self.starts(arrow.source)]

    def _end(self, key: int, letter: str) -> int:
        """How many columns the figure of a node has, if all that follows is the output or else a letter."""
        place, arrows = self.places[key], self.out_of[key]
        following = 0
        if len(arrows) == 1 and self.nodes[arrows[0].target].kind == "output":
            following = _length(arrows[0].forward, arrows[0].backward) + _columns(self.label(arrows[0].target)) + 2
        elif arrows:
            following = _length(arrows[0].forward) + _columns(letter) + 2
        return max(place.end + following, place.below + 1)


class _Figure:
    """The characters of one figure, and what is still to be drawn below them."""

    def __init__(self, plan: _Plan, root: int) -> None:
        self.plan = plan
        self.rows: defaultdict[int, dict[int, str]] = defaultdict(dict)
        self.lowest: defaultdict[int, int] = defaultdict(int)  #: of each column, the last row that is taken
        self.lanes: list[tuple[Arrow, int]] = []  #: still to be drawn, and in which column each ends; the last is next
        self._lane(root, 0, 1)
        if root in plan.names:
            value, first = plan.out_of[root][0].forward, plan.places[root].end + 1
            shaft = "-" * (_length(value) - 1) + ">"
            self._arrow(1, first, shaft, value, "")
            self._write(1, first + len(shaft) + 1, f"({plan.names[root]})")
        while self.lanes:
            self._lane_from_below(*self.lanes.pop())

    def lines(self) -> list[str]:
        found = [_line(self.rows[row]) for row in range(max(self.rows) + 1)]
        return found if found[0] else found[1:]

    def _lane(self, key: int, start: int, row: int) -> None:
        """Write the lane that ends in a node, from its right end to its left."""
        plan = self.plan
        self._write(row, start + plan.places[key].left, _box(plan.nodes[key]))
        arrows = plan.into[key]
        while arrows:
            arrow = arrows[0]
            source, target = plan.operand(arrow.source), plan.places[arrow.target]
            shaft = "-" * (target.left - source.end - 3) + ">"
            self._arrow(row, start + source.end + 1, shaft, arrow.forward, arrow.backward)
            self._write(row, start + source.left, plan.label(arrow.source))
            self._from_below(arrow.target, start + (target.left + target.end) // 2, row)
            arrows = [] if plan.starts(arrow.source) else plan.into[arrow.source]

    def _from_below(self, key: int, column: int, row: int) -> None:
        """Write the tip of the vertical line into a node, and its operand where that is but one label."""
        others = self.plan.into[key][1:]
        if not others:
            return
        self._write(row + 1, column, "^")
        stem = self.plan.stem(key)
        if stem is None:
            self.lanes += [(arrow, column) for arrow in reversed(others)]
            return
        for below, beside in enumerate(self.plan.beside(stem), row + 2):
            self._write(below, column - 1 - _columns(beside), beside)
            self._write(below, column, "|")
        label = self.plan.label(stem.source)
        self._write(below + 1, column - _columns(label) // 2, label)

    def _lane_from_below(self, arrow: Arrow, column: int) -> None:
        """Write a lane that ends in a vertical line, as high up as there is room."""
        plan, start = self.plan, column - self.plan.span(arrow)
        row = max(self.lowest[c] for c in range(start - 2, column + 1)) + 2 + plan.forward
        for above in range(self.lowest[column] + 1, row):
            self._write(above, column, "|")
        self._write(row, column, "+")
        first = start + plan.operand(arrow.source).end + 1
        self._arrow(row, first, "-" * (column - first), arrow.forward, arrow.backward)
        if plan.starts(arrow.source):
            self._write(row, start, plan.label(arrow.source))
        else:
            self._lane(arrow.source, start, row)

    def _arrow(self, row: int, column: int, shaft: str, above: str, below: str) -> None:
        self._write(row, column, shaft)
        self._write(row - 1, column + (len(shaft) - _columns(above)) // 2, above)
        self._write(row + 1, column + (len(shaft) - _columns(below)) // 2, below)

    def _write(self, row: int, column: int, words: str) -> None:
        for place, cell in enumerate(_cells(words), column):
            if place < 0 or place in self.rows[row]:
                raise RuntimeError(f"{words!r} has no room in row {row}, column {place}; this is a fault of the layout")
            self.rows[row][place] = cell
            self.lowest[place] = max(self.lowest[place], row)


def _box(node: Node) -> str:
    return f"[{node.label}]" if node.kind == "group" else f"({node.label})"


def _length(*texts: str) -> int:
    """Of an arrow with these texts."""
    return max(SHORTEST, *(_columns(words) + 2 for words in texts))


def _letters(taken: set[str]) -> Iterator[str]:
    """a, b, ..., z, aa, ab, ..., without those that are taken."""
    words = ("".join(letters) for size in count(1) for letters in product(ascii_lowercase, repeat=size))
    return (word for word in words if word not in taken)


def _cells(words: str) -> list[str]:
    """What stands in each column of a terminal: nothing in the second of a wide character, marks with their letter."""
    cells: list[str] = []
    for letter in words:
        if category(letter) not in ("Mn", "Me", "Cf"):
            cells += [letter, ""] if east_asian_width(letter) in "WF" else [letter]
        elif cells:
            cells[-1] += letter
        else:
            cells.append(f" {letter}")
    return cells


def _columns(words: str) -> int:
    return len(_cells(words))


def _line(row: dict[int, str]) -> str:
    return "".join(row.get(column, " ") for column in range(max(row, default=-1) + 1)).rstrip()
