"""Docstrings are written for ``help()``: what reStructuredText would read as markup, |x| and f(*args), is text."""

from __future__ import annotations

import re
from typing import Any

LITERAL = re.compile(r"(``.*?``)")
MARKUP = re.compile(r"\||(?<![\w*])\*{1,2}(?=\w)")


def escaped(found: re.Match[str]) -> str:
    return "".join(f"\\{mark}" for mark in found[0])


def as_text(app: Any, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Escape bars, and stars before a name, outside of ``literals`` and doctests."""
    example = False
    for i, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            parts = LITERAL.split(line)
            lines[i] = "".join(p if p.startswith("``") else MARKUP.sub(escaped, p) for p in parts)
