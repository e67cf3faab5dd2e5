"""Calls that go entry by entry, written down in CUDA's C++.

Each call becomes a line: ``float v1 = float(v0 * x2);``. It is rounded as by CuPy's own kernel for the call:
what is computed is cast to the dtype that NumPy's rules give, and no product is contracted with a sum (``OPTIONS``). So
a fused kernel computes what its calls compute one by one, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.backends.replay.program import Call, Ref
from xpnet.backends.replay.rewrite import uniform

#: Without a multiplication and an addition in one, which rounds once where two calls round twice.
OPTIONS = ("--fmad=false",)

#: What a dtype is in CUDA's C++, by names of one word, of which those that are not C++'s own stand in ``PREAMBLE``.
TYPES = {
    "bool": "bool",
    "int8": "int8_x",
    "int16": "short",
    "int32": "int",
    "int64": "int64_x",
    "uint8": "uint8_x",
    "uint16": "uint16_x",
    "uint32": "uint32_x",
    "uint64": "uint64_x",
    "float16": "float16",
    "float32": "float",
    "float64": "double",
}
PREAMBLE = """
#if __has_include(<cupy/float16.cuh>)
#include <cupy/float16.cuh>
#endif
typedef signed char int8_x;
typedef long long int64_x;
typedef unsigned char uint8_x;
typedef unsigned short uint16_x;
typedef unsigned int uint32_x;
typedef unsigned long long uint64_x;
template <typename T> __device__ T larger(T a, T b) { return a != a || b != b ? a + b : max(a, b); }
template <typename T> __device__ T smaller(T a, T b) { return a != a || b != b ? a + b : min(a, b); }
template <typename T> __device__ T sign_of(T a) { return a != a ? a : T((a > 0) - (a < 0)); }
template <typename T> __device__ T pick(bool condition, T yes, T no) { return condition ? yes : no; }
"""

_ANY = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "negative": "-{0}",
    "logical_and": "bool({0}) & bool({1})",
    "logical_or": "bool({0}) | bool({1})",
    "logical_not": "{0} == 0",
}
_WHOLE = {"bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "bitwise_xor": "{0} ^ {1}"}
_FUNCTIONS = ("exp", "expm1", "log", "log1p", "sqrt", "tanh", "sin", "cos", "floor", "ceil", "isfinite", "isinf")
_FLOATING = {
    "divide": "{0} / {1}",
    "square": "{0} * {0}",
    "abs": "fabs({0})",
    "sign": "sign_of({0})",
    "maximum": "larger({0}, {1})",
    "minimum": "smaller({0}, {1})",
    "pow": "pow({0}, {1})",
    "isnan": "{0} != {0}",
} | {name: name + "({0})" for name in _FUNCTIONS}
_COPIES = ("astype", "asarray", "copy")


def writable_in_source(call: Call) -> bool:
    """Whether a call goes entry by entry, and is one that is known here."""
    if not call.out.size or call.options.keys() - {"copy"} or any(ref.dtype.name not in TYPES for ref in call.read()):
        return False
    if call.out.dtype.name not in TYPES:
        return False
    if call.name in _COPIES:
        return len(getattr(call.operands[0], "shape", ())) <= len(call.out.shape)
    if call.name == "where":
        return len(call.operands) == 3
    return call.elementwise and isinstance(call.function, np.ufunc) and _form(call) is not None


def _form(call: Call) -> str | None:
    kinds = {dtype.kind for dtype in _dtypes(call)}
    if kinds == {"f"}:
        return (_ANY | _FLOATING).get(call.name)
    if call.name == "bitwise_invert" and kinds <= set("biu"):
        return "{0} == 0" if kinds == {"b"} else "~{0}"
    return (_ANY | _WHOLE).get(call.name) if kinds <= set("biu") else None


def _dtypes(call: Call) -> list[np.dtype[Any]]:
    """The dtypes that its operands are computed in."""
    if call.name in _COPIES:
        return [x.dtype if isinstance(x, Ref) else call.out.dtype for x in call.operands[:1]]
    if call.name == "where":
        return [np.dtype(bool), call.out.dtype, call.out.dtype]
    return list(ufunc_dtypes(call.function, call.operands)[:-1])


def ufunc_dtypes(function: Any, operands: Sequence[Any]) -> tuple[np.dtype[Any], ...]:
    """The dtypes that NumPy computes in, and returns: those of arrays, where Python's numbers do as the others."""
    kinds = [getattr(x, "dtype", np.dtype(bool) if isinstance(x, bool) else type(x)) for x in operands]
    return function.resolve_dtypes((*kinds, None))  # type: ignore[no-any-return]


def kernel_source(calls: Sequence[Call], outs: Sequence[Ref]) -> tuple[str, tuple[Any, ...]]:
    """The calls line by line, and the ``outs`` at the end, when all is read: ``y0`` is the first.

    Returns:
        The lines, and what they read as ``x0`` and so on: places, and numbers in the dtype that they are computed in.
        Numbers do not stand in the lines, so that one kernel serves all learning rates.
    """
    names: dict[Any, str] = {}
    inputs: list[Any] = []
    lines = []

    def given(key: Any, x: Any) -> str:
        if key not in names:
            names[key] = f"x{len(inputs)}"
            inputs.append(x)
        return names[key]

    def operand(x: Any, dtype: np.dtype[Any]) -> str:
        if isinstance(x, Ref) and not uniform(x):
            name = given(x, x)
            return name if x.dtype == dtype and dtype != np.float16 else f"{TYPES[_wide(dtype).name]}({name})"
        number = dtype.type(x.constant.flat[0] if isinstance(x, Ref) and x.constant is not None else x)
        return given((dtype, number.tobytes()), _wide(dtype).type(number))

    for i, call in enumerate(calls):
        operands = [operand(x, dtype) for x, dtype in zip(call.operands, _dtypes(call), strict=False)]
        form = "{0}" if call.name in _COPIES else "pick({0}, {1}, {2})" if call.name == "where" else _form(call)
        assert form is not None
        kind = TYPES[call.out.dtype.name]
        lines.append(f"{kind} v{i} = {kind}({form.format(*operands)});")
        names[call.out] = f"v{i}"
    return "\n".join(lines + [f"y{n} = {names[ref]};" for n, ref in enumerate(outs)]), tuple(inputs)


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What to compute in: half precision is computed in single, and rounded."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype
