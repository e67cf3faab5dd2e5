"""A scene as a Mermaid flowchart, which GitHub, GitLab, Jupyter and many editors draw from its source."""

from __future__ import annotations

import re

from xpnet.graph.pictures.dot import counted, shown
from xpnet.graph.pictures.scene import Arrow, Node, Scene, one_line

_BRACKETS = {
    "input": ("(", ")"),
    "number": ("[", "]"),
    "operation": ("((", "))"),
    "group": ("[", "]"),
    "output": ("(", ")"),
}
#: What Mermaid, Markdown or HTML would take for more than a character: quotes, ``#35;``, ``<b>``, ``[a](b)``,
#: ``*emphasis*``, ``$$formula$$``, ``fa:icons``, ``%%{directives}%%``, ``\\n``, ...
_SPECIAL = re.compile(r"""["#&<>`'*_~|{}\[\]\\$:;%@^¶ﬂ]""")
#: A hyphen, a plus or a number that Markdown would take for the first of a list, and what it would for a heading rule.
_LIST = re.compile(r"^(\s*)(?:([-+=])|(\d+)([.)]))(?=\s|[-=]|$)")
_NAMES = {'"': "quot", "&": "amp", "<": "lt", ">": "gt"}


def mermaid(scene: Scene) -> str:
    """The scene as source for Mermaid, drawn from left to right: on each arrow its value over its derivative.

    In Markdown it stands in a block of three backticks and ``mermaid``. Nothing needs to be installed. Mermaid's own
    limits hold where it is drawn: 500 arrows and 50 000 characters, unless it is configured otherwise.
    """
    lines = ["flowchart LR", *map(_node, scene.nodes), *map(_arrow, counted(scene, set()))]
    numbers = [f"n{node.key}" for node in scene.nodes if node.kind == "number"]
    if numbers:
        lines += ["classDef number fill:none,stroke:none", f"class {','.join(numbers)} number"]
    return "\n    ".join(lines) + "\n"


def _node(node: Node) -> str:
    opening, closing = _BRACKETS[node.kind]
    lines = [shown(node), one_line(node.note)] if node.note else [shown(node)]
    return f'n{node.key}{opening}"{_lines(lines)}"{closing}'


def _arrow(arrow: Arrow) -> str:
    text = ""
    if arrow.forward or arrow.backward:
        texts = [arrow.forward, arrow.backward] if arrow.backward else [arrow.forward]
        text = f'|"{_lines(texts)}"|'
    return f"n{arrow.source} -->{text} n{arrow.target}"


def _lines(texts: list[str]) -> str:
    """The texts under each other; an empty one is kept as a space, so that a derivative stays in its place below."""
    return "<br/>".join(_escaped(one_line(text)) if text.strip() else "#nbsp;" for text in texts)


def _escaped(text: str) -> str:
    """Mermaid's entities, ``#quot;`` or by number ``#35;``, for all that would not be shown as it stands."""
    text = _SPECIAL.sub(lambda found: _entity(found[0]), text)
    return _LIST.sub(_unlisted, text)


def _unlisted(found: re.Match[str]) -> str:
    space, bullet, number, dot = found.groups(default="")
    return f"{space}{number}{_entity(bullet or dot)}"


def _entity(character: str) -> str:
    return f"#{_NAMES.get(character, ord(character))};"
