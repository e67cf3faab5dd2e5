"""Calls as several simpler ones, which fuse with others.

CuPy's own function copies each of up to eight arrays that it puts together by itself as well; for more it moves their
addresses from the host, which a captured step cannot repeat. Ours clips by the maximum and the minimum of two.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backends.replay.program import Call, Program, Ref


def simpler(program: Program) -> Program:
    """The program with simpler calls for those that have such."""
    calls = []
    for call in program.calls:
        if call.name in ("concat", "stack"):
            calls += _parts(call)
        elif call.name == "clip":
            calls += _clipped(call)
        elif call.name == "reshape":
            calls.append(_copied(call))
        elif call.name == "matmul":
            calls += _of_one_dtype(call)
        else:
            calls.append(call)
    return Program(calls, program.given, program.loss)


def _parts(call: Call) -> list[Call]:
    arrays, *more = call.operands
    axis = more[0] if more else call.options.get("axis", 0)
    if axis is None:  # flattened first
        return [call]
    axis, found, start = axis % len(call.out.shape), [], 0
    for x in arrays:
        if call.name == "stack":
            key: tuple[slice | int, ...] = (slice(None),) * axis + (start,)
        else:
            key = (slice(None),) * axis + (slice(start, start + x.shape[axis]),)
        found.append(Call("copy", (x,), _part(call.out, x.shape, (*key, ...)), elementwise=True))
        start += 1 if call.name == "stack" else x.shape[axis]
    return found


def _part(whole: Ref, shape: tuple[int, ...], key: Any) -> Ref:
    return Ref(shape, whole.dtype, base=whole, view=lambda a: a[key], how=f"{key}")


def _copied(call: Call) -> Call:
    """Where NumPy cannot give a view: a copy, in the order of the rows of what is given."""
    x = call.operands[0]
    place = Ref(x.shape, call.out.dtype, base=call.out, view=lambda a: a.reshape(x.shape), how=f"as {x.shape}")
    return Call("copy", (x,), place, elementwise=True)


def _of_one_dtype(call: Call) -> list[Call]:
    """A product whose factors have its own dtype, as BLAS multiplies nothing else."""
    factors = [x if x.dtype == call.out.dtype else Ref(x.shape, call.out.dtype) for x in call.operands]
    pairs = zip(call.operands, factors, strict=True)
    copies = [Call("copy", (x,), factor, elementwise=True) for x, factor in pairs if factor is not x]
    return [*copies, Call("matmul", tuple(factors), call.out, call.options, call.function)]


def _clipped(call: Call) -> list[Call]:
    x, *limits = call.operands
    low, high = ({"min": None, "max": None} | dict(zip(("min", "max"), limits, strict=False)) | call.options).values()
    numbers = all(limit is None or isinstance(limit, int | float) for limit in (low, high))
    if x.dtype.kind != "f" or not numbers or low is high is None:
        return [call]
    found = []
    for limit, function in ((low, np.maximum), (high, np.minimum)):
        if limit is not None:
            out = call.out if function is np.minimum or high is None else Ref(call.out.shape, call.out.dtype)
            found.append(Call(function.__name__, (x, float(limit)), out, {}, function, elementwise=True))
            x = out
    return found
