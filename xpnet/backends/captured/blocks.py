"""A program for one step as one for any step of a block: a counter on the device says which it is.

The rows and draws of a whole block are moved to the device together. A step takes its own by the counter, counts, and
puts its loss among those of the block, so it is the same list of calls each time, and the host reads nothing.
"""

from __future__ import annotations

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
