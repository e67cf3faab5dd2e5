"""A program with memory: which calls share it, and the calls themselves.

Sharing buys 13 to 27 % of a step of Adam on a network 784-500-10, 2 to 5 % on 784-100-100-10, and nothing on networks
whose arrays fit the cache anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backends.replay.kernels import kernel
from xpnet.backends.replay.program import Call, Program, Ref, UnrecordableError

ALIGNMENT = 64
#: How many times its own size the memory may be that an array takes over.
SLACK = 2

Arrays = dict[Ref, np.ndarray]


class Plan:
    """What has to be called for a step, and the step's own memory.

    Attributes:
        loss: where the loss is after a step.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.memory = _allocated(program)
        self.loss: np.ndarray = _resolved(program.loss, dict(self.memory))

    def bound(self, given: dict[tuple[str, ...], np.ndarray]) -> list[Callable[[], Any]]:
        """The calls of a step on these arrays, which are read and written where they are."""
        arrays = self.memory | {ref: given[name] for name, ref in self.program.given.items()}
        return [kernel(call, lambda x: _resolved(x, arrays)) for call in self.program.calls]


def _resolved(x: Any, arrays: Arrays) -> Any:
    if isinstance(x, list | tuple):
        return type(x)(_resolved(each, arrays) for each in x)
    if not isinstance(x, Ref):
        return x
    if x not in arrays:
        if x.constant is not None:
            arrays[x] = x.constant
        else:
            if x.view is None:
                raise UnrecordableError("it reads memory that none of its calls writes")
            base = _resolved(x.base, arrays)
            arrays[x] = x.view(base)
            if x.size and not np.may_share_memory(arrays[x], base):
                raise UnrecordableError(f"a view of an array is a copy with another one: {x.how}")
    return arrays[x]


def _allocated(program: Program) -> Arrays:
    """Memory for each place of the step's own; what nobody needs any more is given to the next of its size."""
    calls = program.calls
    last = {root: i for i, call in enumerate(calls) for root in _roots(call)} | {program.loss.root: len(calls)}
    memory: Arrays = {}
    raw: dict[Ref, np.ndarray] = {}  # of places in use
    free: dict[int, list[np.ndarray]] = {}

    def release(i: int) -> None:
        for root in [root for root in _roots(calls[i]) if root in raw and last[root] == i]:
            free.setdefault(raw[root].nbytes, []).append(raw.pop(root))

    for i, call in enumerate(calls):
        for root in (call.out.root, *([call.scratch] if call.scratch is not None else [])):
            if not root.made or root in memory:
                continue
            if call.elementwise and not any(_apart(ref, root) for ref in call.read()):
                release(i)  # its operand may be overwritten, if nobody needs it later
            fitting = [size for size in free if root.nbytes <= size <= SLACK * root.nbytes and free[size]]
            raw[root] = free[min(fitting)].pop() if fitting else _empty(root.nbytes)
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
    scratch = [] if call.scratch is None else [call.scratch]
    return dict.fromkeys((call.out.root, *scratch, *(ref.root for ref in call.read())))


def _empty(nbytes: int) -> np.ndarray:
    """Bytes at an address that vector instructions like."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]
