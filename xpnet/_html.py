"""What a notebook shows of an object: tables, pictures and text as HTML, with everything escaped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence


def table(headers: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table; spaces at the start of a cell are kept, as they show what is inside what.

    >>> table(["layer", "n"], [["Relu1", 0]])
    '<table><thead><tr><th>layer</th><th>n</th></tr></thead><tbody><tr><td>Relu1</td><td>0</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(str(header))}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text(written: object) -> str:
    """Text as it is, in letters of one width.

    >>> text("a < b")
    '<pre>a &lt; b</pre>'
    """
    return f"<pre>{escape(str(written))}</pre>"


def picture(png: bytes, description: str) -> str:
    """A picture inside the page, no wider than it."""
    data = b64encode(png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(description)}" style="max-width: 100%">'


def _cell(cell: object) -> str:
    written = str(cell)
    inner = written.lstrip(" ")
    return "&nbsp;" * (len(written) - len(inner)) + escape(inner)


def escape(written: str) -> str:
    """Text in which nothing is markup."""
    import html  # later: it takes a millisecond, for a table of all entities

    return html.escape(written)
