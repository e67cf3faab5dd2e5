"""What a picture of a graph shows: nodes, and arrows with the value going forward and the derivative coming back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

#: ``input``: a named variable or constant, where values come in; ``number``: an unnamed constant; ``operation``: one
#: function of the standard; ``group``: operations folded into one, such as a layer; ``output``: the end, drawn last.
Kind = Literal["input", "number", "operation", "group", "output"]

#: Operations that give the same whichever operand comes first; of others, operands are told apart.
EXCHANGEABLE = ("+", "*", "==", "!=", "maximum", "minimum", "and", "or")

_UNSHOWN = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


def one_line(text: str) -> str:
    """The text without what cannot be drawn: line breaks, other control characters and halves of characters."""
    return _UNSHOWN.sub(" ", text)


@dataclass(frozen=True)
class Node:
    """One thing that arrows go into and come out of."""

    key: int  #: unique in its scene
    kind: Kind
    label: str  #: one line: a name, a number, or the symbol of an operation
    note: str = ""  #: one more line, or nothing: of an input that is used more than once, the sum of its derivatives


@dataclass(frozen=True)
class Arrow:
    """A value on its way from one node to another, and the derivative that comes back the same way."""

    source: int  #: key of a node
    target: int  #: key of a node
    forward: str = ""  #: the text above the arrow, or nothing
    backward: str = ""  #: the text below the arrow, or nothing


@dataclass(frozen=True)
class Scene:
    """Nodes in topological order, sources before targets, the one output last; arrows by target, operands in order."""

    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
