"""Signatures of what is recorded, as the standard (2024.12) writes them: for help, and to read options by."""

from __future__ import annotations

import ast
from functools import cache
from inspect import Parameter, Signature
from typing import Any

_REDUCTION = "x, /, *, axis=None, keepdims=False"
_SUM = "x, /, *, axis=None, dtype=None, keepdims=False"
_CUMULATIVE = "x, /, *, axis=None, dtype=None, include_initial=False"
_SORT = "x, /, *, axis=-1, descending=False, stable=True"
_FFT, _FFTN = "x, /, *, n=None, axis=-1, norm='backward'", "x, /, *, s=None, axes=None, norm='backward'"
_PAIR = "x1, x2, /"
_FILLED = "shape, *, dtype=None, device=None"

#: Of functions that make arrays of numbers.
CREATION = {
    **dict.fromkeys(("empty", "ones", "zeros"), _FILLED),
    **dict.fromkeys(("fft.fftfreq", "fft.rfftfreq"), "n, /, *, d=1.0, dtype=None, device=None"),
    "arange": "start, /, stop=None, step=1, *, dtype=None, device=None",
    "eye": "n_rows, n_cols=None, /, *, k=0, dtype=None, device=None",
}

#: Of functions that take more than arrays.
_WITH_OPTIONS = {
    **CREATION,
    **dict.fromkeys(("all", "any", "argmax", "argmin", "count_nonzero", "max", "mean", "min"), _REDUCTION),
    **dict.fromkeys(("prod", "sum"), _SUM),
    **dict.fromkeys(("cumulative_prod", "cumulative_sum"), _CUMULATIVE),
    **dict.fromkeys(("argsort", "sort"), _SORT),
    **dict.fromkeys(("fft.fft", "fft.ifft", "fft.rfft", "fft.irfft", "fft.hfft", "fft.ihfft"), _FFT),
    **dict.fromkeys(("fft.fftn", "fft.ifftn", "fft.rfftn", "fft.irfftn"), _FFTN),
    **dict.fromkeys(("concat", "stack"), "arrays, /, *, axis=0"),
    "astype": "x, dtype, /, *, copy=True, device=None",
    "broadcast_to": "x, /, shape",
    "expand_dims": "x, /, axis",
    "flip": "x, /, *, axis=None",
    "permute_dims": "x, /, axes",
    "repeat": "x, repeats, /, *, axis=None",
    "reshape": "x, /, shape, *, copy=None",
    "roll": "x, /, shift, *, axis=None",
    "searchsorted": "x1, x2, /, *, side='left', sorter=None",
    "squeeze": "x, /, axis",
    "take_along_axis": "x, indices, /, *, axis=-1",
    "tril": "x, /, *, k=0",
    "triu": "x, /, *, k=0",
    "vecdot": "x1, x2, /, *, axis=-1",
    "where": "condition, x1, x2, /",
    "linalg.cholesky": "x, /, *, upper=False",
    "linalg.matrix_rank": "x, /, *, rtol=None",
    "linalg.pinv": "x, /, *, rtol=None",
    "linalg.vector_norm": "x, /, *, axis=None, keepdims=False, ord=2",
}


@cache
def signature_of(name: str, operands: int = 1) -> Signature:
    """The signature of a recorded function, which takes so many arrays if nothing else is known of it."""
    text = _WITH_OPTIONS.get(name) or (_PAIR if operands == 2 else "x, /")
    return _parsed(text)


@cache
def parameters_of(name: str) -> tuple[str, ...]:
    """The names of its parameters, in order; none where they are arrays alone."""
    return tuple(_parsed(_WITH_OPTIONS[name]).parameters) if name in _WITH_OPTIONS else ()


def _parsed(text: str) -> Signature:
    parts, found = text.split(", "), list[Parameter]()
    kind: Any = Parameter.POSITIONAL_OR_KEYWORD
    for part in parts:
        if part == "/":
            found = [p.replace(kind=Parameter.POSITIONAL_ONLY) for p in found]
        elif part == "*":
            kind = Parameter.KEYWORD_ONLY
        else:
            name, equals, default = part.partition("=")
            found.append(Parameter(name, kind, default=ast.literal_eval(default) if equals else Parameter.empty))
    return Signature(found)
