"""Pictures wider than a page, in rows: what goes on in another row ends in a letter, and begins there with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, product
from math import ceil
from string import ascii_lowercase

from xpnet.graph.pictures.scene import Arrow, Node, Scene

#: As wide as a row may be, in points: a landscape page, or the column that a notebook and GitHub have.
PAGE = 800
#: How wide Graphviz draws things, in points: a letter of a text, a node at least, and what is around an arrow's text.
LETTER, NODE, AROUND = 6.8, 30.0, 48.0
#: Where values come in: drawn in each row that needs them.
SOURCES = ("input", "number")


def folded(scene: Scene, width: float | None) -> Scene:
    """The scene in rows that are about so wide; as it is if it is no wider, or if the width is None.

    An arrow from one row to another becomes two, with the same texts: one into a letter, ``(a)``, and one out of it.
    """
    rows = {} if width is None else _rows(scene, width)
    if len(set(rows.values())) < 2:
        return scene
    nodes = {node.key: node for node in scene.nodes}
    free, names = count(max(nodes) + 1), _names({node.label for node in scene.nodes})
    copies: dict[tuple[int, int], Node] = {}
    placed: dict[int, list[Node]] = {row: [] for row in range(max(rows.values()) + 1)}
    arrows: dict[int, list[Arrow]] = {row: [] for row in placed}
    ends: list[tuple[Node, Arrow, int]] = []
    for node in scene.nodes:
        if node.key not in rows:
            continue
        row = rows[node.key]
        for arrow in (arrow for arrow in scene.arrows if arrow.target == node.key):
            source = nodes[arrow.source]
            if source.key not in rows:  # a value that comes in here
                known = (source.key, row) in copies
                first = not any(key == source.key for key, _ in copies)
                own = copies.setdefault((source.key, row), source if first else replace(source, key=next(free)))
                placed[row] += [] if known else [own]
                arrow = replace(arrow, source=own.key)
            elif rows[source.key] < row:
                name = next(names)
                out, back = (Node(next(free), "number", name) for _ in range(2))
                ends.append((out, replace(arrow, target=out.key), rows[source.key]))
                placed[row].append(back)
                arrow = replace(arrow, source=back.key)
            arrows[row].append(arrow)
        placed[row].append(node)
    for out, arrow, row in ends:
        placed[row].append(out)
        arrows[row].append(arrow)
    order = reversed(placed)  # Graphviz draws what comes first at the bottom
    rows_of = [(placed[row], arrows[row]) for row in order]
    return Scene(tuple(n for each, _ in rows_of for n in each), tuple(a for _, each in rows_of for a in each))


def _rows(scene: Scene, width: float) -> dict[int, int]:
    """The row of each node but of those where values come in."""
    nodes = {node.key: node for node in scene.nodes}
    depth = dict[int, int]()
    for arrow in scene.arrows:  # sources are before targets
        depth[arrow.target] = max(depth.get(arrow.target, 0), depth.get(arrow.source, 0) + 1)
    last = scene.nodes[-1].key
    if depth.get(last, 0) > 1:
        depth[last] -= 1  # the output stays where its value is
    deepest = max(depth.values(), default=0)
    texts, widest = [0.0] * (deepest + 1), [0.0] * (deepest + 1)
    for arrow in scene.arrows:
        at = depth[arrow.target]
        texts[at] = max(texts[at], LETTER * max(len(arrow.forward), len(arrow.backward)))
        # where a value comes in stands one column before its use
        for key, column in ((arrow.target, at), (arrow.source, depth.get(arrow.source, at - 1))):
            widest[column] = max(widest[column], _width(nodes[key]))
    columns = [AROUND + text + node for text, node in zip(texts[1:], widest[1:], strict=True)]
    start = widest[0]
    whole = start + sum(columns)
    if whole <= width or not columns:
        return {}
    wanted = ceil(whole / width)
    # rows of about one length; a little longer where that saves a short last one
    limits = [min(whole / wanted * (1 + share / 20), width) for share in range(1, 21)]
    found = [_cut(columns, start, limit) for limit in limits]
    of = next((rows for rows in found if rows[-1] < wanted), found[-1])
    return {key: of[d] for key, d in depth.items() if nodes[key].kind not in SOURCES}


def _width(node: Node) -> float:
    """About how wide a node is drawn."""
    least = 2 * NODE if node.kind in ("input", "output") else NODE
    return max(least, NODE / 2 + LETTER * max(len(node.label), len(node.note)))


def _cut(columns: list[float], start: float, limit: float) -> list[int]:
    """The row of each depth, from 0 on, where rows are no longer than this, with a column in each at least."""
    row, taken, rows = 0, start, [0]
    for column in columns:
        if taken + column > limit and taken > start:
            row, taken = row + 1, start
        taken += column
        rows.append(row)
    return rows


def _names(used: set[str]) -> Iterator[str]:
    """``(a)``, ``(b)``, ..., ``(aa)``, without those that something is called."""
    for length in count(1):
        for letters in product(ascii_lowercase, repeat=length):
            if (name := "".join(letters)) not in used:
                yield f"({name})"
