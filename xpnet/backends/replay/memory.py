"""Memory of a program: which calls share it, and the array of each place.

Sharing buys 13 to 27 % of a step of Adam on a network 784-500-10, 2 to 5 % on 784-100-100-10, and nothing on networks
whose arrays fit the cache anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backends.replay.program import Call, Program, Ref, UnrecordableError

ALIGNMENT = 64
#: How many times its own size the memory may be that an array takes over.
SLACK = 2
#: Arrays of so few bytes have memory of their own, so that threads need not wait for each other because of it.
SMALL = 2048

Arrays = dict[Ref, Any]


def resolved(x: Any, arrays: Arrays, library: Any) -> Any:
    """The array of a place, or arrays in the place of places; views are made of those that are there."""
    if isinstance(x, list | tuple):
        return type(x)(resolved(each, arrays, library) for each in x)
    if not isinstance(x, Ref):
        return x
    if x not in arrays:
        if x.constant is not None:
            arrays[x] = x.constant
        else:
            if x.view is None:
                raise UnrecordableError("it reads memory that none of its calls writes")
            base = resolved(x.base, arrays, library)
            arrays[x] = x.view(base)
            if x.size and not library.may_share_memory(arrays[x], base):
                raise UnrecordableError(f"a view of an array is a copy with another one: {x.how}")
    return arrays[x]


def allocated(program: Program, empty: Callable[[int], Any]) -> Arrays:
    """Memory for each place of the step's own; what nobody needs any more is given to the next of its size.

    ``empty`` gives so many bytes, as an array.
    """
    calls = program.calls
    last = {root: i for i, call in enumerate(calls) for root in _roots(call)} | {program.loss.root: len(calls)}
    memory: Arrays = {}
    raw: Arrays = {}  # of places in use
    free: dict[int, list[Any]] = {}

    def release(i: int) -> None:
        for root in [root for root in _roots(calls[i]) if root in raw and last[root] == i]:
            freed = raw.pop(root)
            if freed.nbytes > SMALL:
                free.setdefault(freed.nbytes, []).append(freed)

    for i, call in enumerate(calls):
        for root in dict.fromkeys(ref.root for ref in call.written()):
            if not root.made or root in memory:
                continue
            if call.elementwise and not any(_apart(ref, root) for ref in call.read()):
                release(i)  # its operand may be overwritten, if nobody needs it later
            fitting = [size for size in free if root.nbytes <= size <= SLACK * root.nbytes and free[size]]
            raw[root] = free[min(fitting)].pop() if fitting else empty(root.nbytes)
            memory[root] = root.laid_out(raw[root][: root.nbytes])
        release(i)
    return memory


def _apart(ref: Ref, out: Ref) -> bool:
    """Whether elements may lie elsewhere than those of ``out`` that are computed of them, if both had one memory.

    NumPy makes no copy of rows that it converts where they lie, so wider numbers would be written over the next ones.
    """
    if ref.base is not None or ref.dtype.itemsize != out.dtype.itemsize:
        return True
    return ref.nbytes == out.nbytes and (ref.shape, ref.order) != (out.shape, out.order)


def _roots(call: Call) -> dict[Ref, None]:
    """The memory that a call needs, in an order that is the same each time."""
    return dict.fromkeys(ref.root for ref in (*call.written(), *call.read()))


def aligned(nbytes: int) -> np.ndarray:
    """Bytes at an address that vector instructions like."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]
