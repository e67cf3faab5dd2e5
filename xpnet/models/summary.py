"""The table of a network's layers: what each makes of a sample, and how many numbers it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from xpnet.layers.base import Container, Layer, Shape, shapes_of
from xpnet.layers.branches import Wrapped
from xpnet.layers.chain import Chain, Several

HEADERS = ("layer", "kind", "output", "parameters", "buffers", "draws", "slots")
#: The columns that are always shown; the others are where a layer has some.
ALWAYS = 4


@dataclass(frozen=True)
class Line:
    """A layer in its place: how deep it stands, the names of its parameters, and shapes of samples in and out."""

    depth: int
    name: str
    layer: Layer
    names: tuple[str, ...]
    before: Shape
    behind: Shape


def table(chain: Chain, shape: Shape, slots: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of :meth:`xpnet.Sequential.summary`; ``slots`` are an optimizer's, by the names of parameters."""
    from tabulate import tabulate  # later: networks are made without tables

    headers, rows = cells(chain, shape, slots)
    text: str = tabulate(
        rows,
        headers=headers,
        colalign=["left" if i < 3 else "right" for i in range(len(headers))],
        disable_numparse=True,
        preserve_whitespace=True,
    )
    return "\n".join([*(line.rstrip() for line in text.splitlines()), *note(rows, shape)])


def cells(
    chain: Chain, shape: Shape, slots: Mapping[str, Mapping[str, Any]]
) -> tuple[tuple[str, ...], list[list[Any]]]:
    """The headers of that table, and its rows."""
    rows, totals = [], [0] * (len(HEADERS) - 3)
    for line in lines(chain, shape, 0, ""):
        start = [2 * line.depth * " " + line.name, _kind(line.layer), _shown(line.behind)]
        counts: list[Any] = [""] * len(totals) if isinstance(line.layer, Container) else _counts(line, slots)
        rows.append([*start, *counts])
        totals = [total + (n if isinstance(n, int) else 0) for total, n in zip(totals, counts, strict=True)]
    rows.append(["total", "", _shown(chain.output_shape(shape)), *totals])
    columns = [i for i in range(len(HEADERS)) if i < ALWAYS or any(row[i] for row in rows)]
    return tuple(HEADERS[i] for i in columns), [[row[i] for i in columns] for row in rows]


def note(rows: list[list[Any]], shape: Shape) -> list[str]:
    """A line on what is not known in these rows, or none."""
    if all("?" not in row[2:] for row in rows):
        return []
    if shape is None:
        return ["?: not known without the shape of a sample; give it: summary((1, 28, 28)), for example"]
    return ["?: a layer does not say what shape it makes; give it a method output_shape(shape)"]


def lines(layer: Several, shape: Shape, depth: int, outer: str) -> Iterator[Line]:
    """The layers in a container with those in them; ``outer`` stands before the names of its arrays."""
    for part in layer.parts:
        behind = part.layer.output_shape(shape)
        yield Line(depth, part.name, part.layer, tuple(outer + name for name in part.shapes), shape, behind)
        inner, inside = part.layer, shape
        while isinstance(inner, Wrapped):
            inside = None if inside is None else inner.inner_shape(inside)
            inner = inner.inner
        if isinstance(inner, Several):
            yield from lines(inner, inside, depth + 1, f"{outer}{part.name}.")
        elif inner is not part.layer:
            names = tuple(outer + name for name in part.shapes)
            yield Line(depth + 1, inner.label, inner, names, inside, inner.output_shape(inside))
        shape = behind if isinstance(layer, Chain) else shape


def _counts(line: Line, slots: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """How many numbers a layer has: parameters, buffers, draws for one sample, slots."""
    layer, draws = line.layer, dict[str, Any]()
    if layer.is_random and line.before is not None:
        draws = layer.draws(np.random.default_rng(0), (1, *line.before))
    known = "?" if layer.is_random and line.before is None else sum(np.size(a) for a in draws.values())
    return [
        sum(map(prod, shapes_of(layer).values())),
        sum(np.size(a) for a in layer.buffers().values()),
        known,
        sum(prod(a.shape) for name in line.names for a in slots.get(name, {}).values()),
    ]


def _kind(layer: Layer) -> str:
    return type(layer).__name__ if isinstance(layer, Container) else f"{layer!r:.60}"


def _shown(shape: Shape) -> str:
    return "?" if shape is None else str(shape)
