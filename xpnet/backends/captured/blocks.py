"""A program for one step as one for any step of a block: a counter on the device says which it is.

The rows and draws of a whole block are moved to the device together. A step takes its own by the counter, counts, and
puts its loss among those of the block, so it is the same list of calls each time, and the host reads nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backends.replay.program import Call, Program, Ref

#: The name of the call that puts its operands, a number and an array, into an array at this place.
PUT = "put"
COUNTER = ("counter",)
LOSSES = ("losses",)


def for_blocks(program: Program, steps: int) -> Program:
    """The program of a step as one of up to so many.

    It is given, besides the state and the data: ``("counter",)``, how many steps were taken, ``("losses",)``, where
    the loss of the first is at 1, and what steps take theirs of, ``("block", "rows")`` and ``("block", name)``.
    """
    counter = Ref((), np.dtype(np.int64), given=COUNTER)
    losses = Ref((steps + 1, *program.loss.shape), program.loss.dtype, given=LOSSES)
    given: dict[tuple[str, ...], Ref] = {COUNTER: counter, LOSSES: losses}
    taken = []
    for name, ref in program.given.items():
        if name[0] in ("state", "data"):
            given[name] = ref
            continue
        ref.given = None  # from now on it is written by the program
        whole = Ref((steps, *ref.shape), ref.dtype, given=("block", name[-1]))
        given["block", name[-1]] = whole
        taken.append(Call("take", (whole, counter), ref, {"axis": 0}, np.take))
    counted = Call("add", (counter, 1), counter, {}, np.add, elementwise=True)
    put = Call(PUT, (counter, program.loss), losses)
    return Program([*taken, *program.calls, counted, put], given, program.loss)


def in_parts(program: Program) -> Program:
    """The program with each array that is put together of others written part by part.

    CuPy's own function copies each by itself as well, up to eight of them; for more it moves their addresses from the
    host, which a captured step cannot repeat.
    """
    calls = []
    for call in program.calls:
        calls += _parts(call) if call.name in ("concat", "stack") else [call]
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
