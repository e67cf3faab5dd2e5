"""A scene as Graphviz source, in which each arrow runs through a small table: its value, a rule, its derivative."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from itertools import count
from tempfile import TemporaryFile
from typing import Any

from xpnet.graph.pictures.folding import folded
from xpnet.graph.pictures.scene import EXCHANGEABLE, Arrow, Node, Scene, one_line
from xpnet.streams import warn

FORMS = ("svg", "png", "pdf")

#: Ink on white, and a blue that is told from it without red or green, in grey print, and at a contrast of 5.2 to 1.
INK, DERIVATIVE, LINE, PALE = "#1a1a1a", "#0072b2", "#555555", "#eef2f5"

_HEAD = f"""\
digraph {{
  graph [charset="UTF-8", rankdir=LR, nodesep=0.12, ranksep=0.28, pad=0.1, bgcolor=white, outputorder=edgesfirst]
  node [fontname="Helvetica,Arial,sans-serif", fontsize=13, fontcolor="{INK}", color="{LINE}", height=0.42]
  edge [color="{LINE}", arrowsize=0.7]
"""
_SHAPES = {
    "input": 'shape=box, style="rounded,filled", fillcolor=white, margin="0.12,0.05"',
    "number": 'shape=plaintext, fontsize=12, width=0, height=0, margin="0.05,0.03"',
    "group": f'shape=box, style=filled, fillcolor="{PALE}", margin="0.14,0.08"',
    "output": 'shape=box, style="rounded,filled", fillcolor=white, penwidth=1.6, margin="0.12,0.05"',
}
_CIRCLE, _ELLIPSE = 'shape=circle, margin="0,0"', 'shape=ellipse, margin="0.03,0.03"'
_SIGNS = {"*": "×", "/": "÷", "-": "−"}
_SIGN = re.compile(r"^[*/-]$|^[/-](?=[\d(])|(?<=[\d)])[/-]$")  # alone, before a number or behind one
_POWER, _RAISED = re.compile(r"^\*\*(\d)$"), "⁰¹²³⁴⁵⁶⁷⁸⁹"
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
#: An input with more uses than this is drawn at each of them.
MOST_LINES = 3
_STRAIGHT, _FIRST, _OTHER = 100, 4, 1
_OF_FONTS = re.compile(r"Fontconfig|\(.*\): (Pango|GLib|Fontconfig)")
_alone = threading.Lock()


class DrawingUnavailableError(ImportError):
    """pygraphviz is not installed, or cannot be imported."""


def shown(node: Node) -> str:
    """A node's label as pictures show it: of an operation, × for ``*``, ÷ for ``/``, − for ``-``, ( )² for ``**2``."""
    label = one_line(node.label)
    if node.kind != "operation":
        return label
    return _POWER.sub(lambda found: f"( ){_RAISED[int(found[1])]}", _SIGN.sub(lambda found: _SIGNS[found[0]], label))


def dot(scene: Scene, width: float | None = None) -> str:
    """The scene as source for Graphviz, drawn from left to right; in rows of about so many points.

    An arrow with texts is two edges with a node between them, so that Graphviz leaves room for the texts: a table whose
    rule continues the arrow, with the value above it and the derivative, in blue, below. Nothing needs to be installed.
    """
    scene = folded(_spread(scene), width)
    tree, (trunk, straight) = _tree(scene), _trunk(scene)
    lines = [_node(node, node.key in tree) for node in scene.nodes]
    kinds = {node.key: node.kind for node in scene.nodes}
    for place, arrow in enumerate(counted(scene, tree)):
        weight = _STRAIGHT if place in trunk else _FIRST if place in straight else _OTHER
        # To the middle, below the node: Graphviz takes a rounded box for one with corners, and would leave a gap there.
        clip = ", tailclip=false" if kinds[arrow.source] == "input" else ""
        lines += _arrow(f"a{place}", arrow, weight, clip)
    return _HEAD + "".join(f"  {line}\n" for line in lines) + "}\n"


def _spread(scene: Scene) -> Scene:
    """Inputs that are used many times drawn at each place of use, as long lines across everything else help nobody."""
    uses = Counter(arrow.source for arrow in scene.arrows)
    many = {node.key: node for node in scene.nodes if node.kind == "input" and uses[node.key] > MOST_LINES}
    free = count(max((node.key for node in scene.nodes), default=0) + 1)
    nodes, arrows = [node for node in scene.nodes if node.key not in many], list[Arrow]()
    for arrow in scene.arrows:
        if arrow.source in many:
            nodes.insert(0, replace(many[arrow.source], key=next(free)))
            arrow = replace(arrow, source=nodes[0].key)
        arrows.append(arrow)
    return Scene(tuple(nodes), tuple(arrows))


def counted(scene: Scene, in_order: set[int]) -> Iterator[Arrow]:
    """The arrows, with 1st, 2nd, ... on operands that cannot change places, but for nodes where they stand in order."""
    into: dict[int, list[Arrow]] = {}
    for arrow in scene.arrows:
        into.setdefault(arrow.target, []).append(arrow)
    nodes = {node.key: node for node in scene.nodes}
    seen: Counter[int] = Counter()
    for arrow in scene.arrows:
        seen[arrow.target] += 1
        node = nodes[arrow.target]
        alike = node.kind != "operation" or node.label in EXCHANGEABLE or len(into[node.key]) < 2
        n = seen[node.key]
        nth = f"{n}{_ENDINGS.get(n, 'th')} {arrow.forward}".rstrip()
        yield arrow if alike or node.key in in_order else replace(arrow, forward=nth)


def _node(node: Node, in_order: bool) -> str:
    label = shown(node)
    shape = _SHAPES.get(node.kind) or (_CIRCLE if len(label) <= 3 and not node.note else _ELLIPSE)
    written = _quoted(label)
    if node.note:
        note = f'<FONT POINT-SIZE="11" COLOR="{DERIVATIVE}">{_html(node.note)}</FONT>'
        written = f"<{_html(label)}<BR/>{note}>"
    return f"n{node.key} [{shape}{', ordering=in' if in_order else ''}, label={written}]"


def _arrow(name: str, arrow: Arrow, weight: int, clip: str) -> list[str]:
    source, target = f"n{arrow.source}", f"n{arrow.target}"
    if not arrow.forward and not arrow.backward:
        return [f"{source} -> {target} [weight={weight}{clip}]"]
    return [
        f"{name} [shape=plain, fontsize=12, label=<{_table(arrow)}>]",
        f"{source} -> {name}:w [arrowhead=none, weight={weight}{clip}]",
        # Heavier, hence shorter: the texts of a long way stand at its end, where the value is used.
        f"{name}:e -> {target} [weight={2 * weight}]",
    ]


def _table(arrow: Arrow) -> str:
    """Two rows of one height, also where one is empty, so that the rule is in the middle, where the lines arrive."""
    derivative = f'<FONT COLOR="{DERIVATIVE}">{_html(arrow.backward)}</FONT>'
    above, below = (f'<TR><TD HEIGHT="18">{cell}</TD></TR>' for cell in (_html(arrow.forward), derivative))
    look = f'BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2" COLOR="{LINE}"'
    return f"<TABLE {look}>{above}<HR/>{below}</TABLE>"


def _trunk(scene: Scene) -> tuple[set[int], set[int]]:
    """The places of the arrows that make the trunk, and of those that lead straight into each node.

    Straight on goes the operand that took the most operations, of several the first: in ``1 + 2 * x`` the product.
    """
    depth: dict[int, int] = {}
    straight: dict[int, int] = {}
    for place, arrow in enumerate(scene.arrows):  # sources are before targets
        deep = depth.get(arrow.source, 0) + 1
        if deep > depth.get(arrow.target, 0):
            depth[arrow.target], straight[arrow.target] = deep, place
    trunk: set[int] = set()
    sources = {arrow.source for arrow in scene.arrows}
    for end in (node.key for node in scene.nodes if node.key not in sources):  # the output, and where a row ends
        key = end
        while key in straight and straight[key] not in trunk:
            trunk.add(straight[key])
            key = scene.arrows[straight[key]].source
    return trunk, set(straight.values())


def _tree(scene: Scene) -> set[int]:
    """The nodes behind which nothing is used twice: there, operands can stand in their order without lines crossing."""
    uses = Counter(arrow.source for arrow in scene.arrows)
    into: dict[int, list[int]] = {node.key: [] for node in scene.nodes}
    for arrow in scene.arrows:
        into[arrow.target].append(arrow.source)
    found: set[int] = set()
    for node in scene.nodes:
        if all(key in found and uses[key] == 1 for key in into[node.key]):
            found.add(node.key)
    return found


def _quoted(text: str) -> str:
    """A string of the DOT language; an ampersand is escaped, as Graphviz reads ``&lt;`` in strings too."""
    return '"' + text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') + '"'


def _html(text: str) -> str:
    """Text of an HTML-like label; a backslash is escaped, as one with N would be replaced by the node's name."""
    return escape(one_line(text)).replace("\\", "\\\\") or " "


def render(source: str, form: str) -> bytes:
    """A picture of Graphviz source, drawn by the Graphviz that the package pygraphviz brings along.

    Args:
        source: from :func:`dot`, perhaps edited.
        form: ``"svg"``, ``"png"`` at 144 dots an inch, or ``"pdf"``. An SVG begins with ``<svg``, as notebooks want it,
            and is a whole file like that: its letters are UTF-8, which XML takes for granted. Its texts are texts, in
            the fonts of whoever looks at it. A PNG and a PDF have the letters of this machine's fonts, and boxes where
            no font has a letter, as happens to Japanese; a warning says so where fontconfig's ``fc-list`` can be asked.

    Raises:
        DrawingUnavailableError: pygraphviz is not installed, or lacks a library of the system; the message says what
            to install.
        ValueError: another form, or Graphviz reports an error; the message says which.
    """
    if form not in FORMS:
        raise ValueError(f"form is {form!r}, expected one of: {', '.join(FORMS)}")
    try:
        from pygraphviz import AGraph
    except ImportError as error:
        mend = 'pip install "xpnet[graph]"'
        if not isinstance(error, ModuleNotFoundError):  # it is there; containers often lack what it is linked with
            mend = "on Debian and Ubuntu, apt install libglib2.0-0 libxext6 libxrender1"
        raise DrawingUnavailableError(
            f"drawing a graph needs pygraphviz ({error}); {mend}; "
            "text, Graphviz source (dot) and Mermaid source need nothing installed"
        ) from error
    if form != "svg" and (letters := _without_font(source)):
        warn(
            f"no font on this machine has {letters!r}, and boxes are drawn for them; install one (Noto Sans CJK has "
            f"Japanese), or save an SVG, which is shown with the fonts of whoever looks at it",
            stacklevel=3,
        )
    picture, said = b"", list[str]()
    with _alone, _listening(said):  # Graphviz keeps global state, and so does the process its standard error
        try:
            graph = AGraph(string=source)
            graph.graph_attr["dpi"] = "144" if form == "png" else "72"
            graph.layout(prog="dot")
            _meet(graph)
            picture = graph.draw(format=form)
        except ValueError as error:  # also pygraphviz's DotError; the reason is in what was said
            said.append(f"pygraphviz: {error}")
    _judge(picture, said)
    return _bare(picture) if form == "svg" else picture


def _without_font(source: str) -> str:
    """The letters that no installed font has; none where nobody can be asked."""
    ask = shutil.which("fc-list")
    letters = sorted({letter for letter in source if not letter.isascii()})
    if ask is None or not letters or _has_font(ask, letters):
        return ""
    return "".join(letter for letter in letters if not _has_font(ask, [letter]))


def _has_font(ask: str, letters: list[str]) -> bool:
    """Whether one font has all of these; also if that cannot be found out."""
    pattern = f":charset={' '.join(f'{ord(letter):x}' for letter in letters)}"
    found = subprocess.run([ask, pattern, "family"], capture_output=True, check=False)
    return bool(found.stdout or found.returncode)


def _meet(graph: Any) -> None:
    """Make lines without a head reach the ports that :func:`dot` names: Graphviz stops up to a point short of them."""
    for edge in graph.edges():
        points = (edge.attr["pos"] or "").split()
        if not points:  # a failure, of which Graphviz tells by itself
            continue
        first = points[0].startswith(("s,", "e,"))  # where an arrowhead ends stands before the points
        if edge.attr["headport"] == "w" and not first:
            points[-1] = _side(edge[1], -1)
        if edge.attr["tailport"] == "e":
            points[first] = _side(edge[0], 1)
        edge.attr["pos"] = " ".join(points)


def _side(node: Any, sign: int) -> str:
    """The point at a node's western (-1) or eastern (1) side; one typographic point inside, so that no seam is seen."""
    x, y = map(float, node.attr["pos"].split(","))
    return f"{x + sign * (float(node.attr['width']) * 36 - 1):.3f},{y:.3f}"


@contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """Collect the lines written to file descriptor 2 meanwhile: Graphviz reports there, past Python."""
    try:
        own = os.dup(2)
    except OSError:  # a program without a standard error, such as one without a console
        yield
        return
    with TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(own, 2)
            os.close(own)
            file.seek(0)
            said[:0] = file.read().decode(errors="replace").splitlines()


def _judge(picture: bytes, said: list[str]) -> None:
    """Raise Graphviz's errors, pass on its warnings, and keep still about fonts and their configuration."""
    own = [line.strip() for line in said if line.strip() and not _OF_FONTS.match(line)]
    if not picture or any(line.startswith("Error") for line in own):
        raise ValueError(f"Graphviz cannot draw this source: {'; '.join(own) or 'it gave neither picture nor reason'}")
    if own:  # also what another thread may have written meanwhile, so that it is not lost
        warn(f"Graphviz: {'; '.join(own)}", RuntimeWarning, stacklevel=3)


def _bare(svg: bytes) -> bytes:
    """An SVG without a prologue, and without titles: names such as ``n3``, which browsers show under the pointer."""
    return re.sub(rb"<title>.*?</title>\n", b"", svg[svg.index(b"<svg") :])
