"""What a notebook shows of the last value of each cell: by Jupyter, by IPython, or by the methods that both call."""

from __future__ import annotations

import ast
from base64 import b64decode, b64encode

import pytest

WAYS = ("methods", "IPython", "Jupyter")
#: What IPython asks an object for, as far as it matters here.
METHODS = {"text/html": "_repr_html_", "image/png": "_repr_png_", "image/svg+xml": "_repr_svg_"}


def shown(way: str, cells: list[str]) -> list[dict[str, str]]:
    """The outputs of cells by their MIME types; the test is skipped where this way is not installed."""
    return {"methods": _by_methods, "IPython": _by_ipython, "Jupyter": _by_jupyter}[way](cells)


def png(output: dict[str, str]) -> bytes:
    return b64decode(output["image/png"])


def _values(cells: list[str]) -> list[object]:
    """The last value of each cell, all run in one namespace."""
    names: dict[str, object] = {}
    found = []
    for cell in cells:
        *start, last = ast.parse(cell).body
        exec(compile(ast.Module(start, []), "cell", "exec"), names)
        assert isinstance(last, ast.Expr)
        found.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
    return found


def _by_methods(cells: list[str]) -> list[dict[str, str]]:
    outputs = []
    for value in _values(cells):
        bundle: dict[str, str] = {"text/plain": repr(value)}
        for kind, name in METHODS.items():
            data = getattr(value, name)() if hasattr(value, name) else None
            if data is not None:
                bundle[kind] = b64encode(data).decode() if isinstance(data, bytes) else data
        outputs.append(bundle)
    return outputs


def _by_ipython(cells: list[str]) -> list[dict[str, str]]:
    formatters = pytest.importorskip("IPython.core.formatters", reason="IPython is not installed")
    formatter = formatters.DisplayFormatter()
    outputs = []
    for value in _values(cells):
        bundle = formatter.format(value)[0]
        outputs.append({k: b64encode(v).decode() if isinstance(v, bytes) else v for k, v in bundle.items()})
    return outputs


def _by_jupyter(cells: list[str]) -> list[dict[str, str]]:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    results = [[o for o in cell.outputs if o.output_type == "execute_result"] for cell in notebook.cells]
    return [dict(found[-1].data) for found in results]
