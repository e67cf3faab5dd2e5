"""A program with memory: which calls share it, which go over their arrays block by block, and the calls themselves."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from xpnet.backends.replay.kernels import kernel
from xpnet.backends.replay.program import Call, Program, Ref, UnrecordableError

#: Elements of an array that are computed at a time, so that the next call finds them in the cache.
BLOCK = 2**15
ALIGNMENT = 64

Arrays = dict[Ref, np.ndarray]


class Plan:
    """What has to be called for a step, and the step's own memory.

    Attributes:
        loss: where the loss is after a step.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.parts = _grouped(program.calls)
        self.inside = _inside(self.parts, program)
        self.memory = _allocated(self.parts, self.inside, program.loss.root)
        self.loss: np.ndarray = _resolved(program.loss, dict(self.memory))

    def bound(self, given: dict[tuple[str, ...], np.ndarray]) -> list[Callable[[], Any]]:
        """The calls of a step on these arrays, which are read and written where they are."""
        arrays = self.memory | {ref: given[name] for name, ref in self.program.given.items()}
        calls: list[Callable[[], Any]] = []
        for part in self.parts:
            if len(part) > 1:
                calls += self._by_blocks(part, arrays)
            else:
                calls.append(kernel(part[0], lambda x: _resolved(x, arrays)))
        return calls

    def _by_blocks(self, group: list[Call], arrays: Arrays) -> list[Callable[[], Any]]:
        shape, rows = group[0].out.shape, _rows(group[0].out)
        calls: list[Callable[[], Any]] = []
        for start in range(0, shape[0], rows):
            here = slice(start, min(start + rows, shape[0]))
            first = slice(0, here.stop - start)

            def part(x: Any, here: slice = here, first: slice = first) -> Any:
                array = _resolved(x, arrays)
                if not isinstance(x, Ref) or len(x.shape) < len(shape) or x.shape[0] == 1:
                    return array  # it is spread over all rows
                return array[first if x in self.inside or x.uniform else here]

            calls += [kernel(call, part) for call in group]
        return calls


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


def _grouped(calls: list[Call]) -> list[list[Call]]:
    """Runs of elementwise calls on large arrays of one shape; what is small and in between goes before."""
    parts: list[list[Call]] = []
    group: list[Call] = []
    for call in calls:
        if _large(call) and _joins(call, group):
            group.append(call)
        elif group and not _large(call) and _independent(call, group):
            parts.append([call])
        else:
            parts += [group] if group else []
            group = [call] if _large(call) else []
            parts += [] if group else [[call]]
    return parts + ([group] if group else [])


def _large(call: Call) -> bool:
    return call.elementwise and call.out.size >= 2 * BLOCK and call.out.shape[0] > 1


def _joins(call: Call, group: list[Call]) -> bool:
    """Whether the call may be made block by block with these: what one of them writes, all see row by row."""
    if group and group[0].out.shape != call.out.shape:
        return False
    together = [*group, call]
    written = {other.out.root for other in together}
    seen: dict[Ref, Ref] = {}
    refs = (ref for other in together for ref in (*other.read(), other.out))
    return all(seen.setdefault(ref.root, ref) is ref for ref in refs if ref.root in written)


def _independent(call: Call, group: list[Call]) -> bool:
    """Whether the call may be made before the group as well as after it."""
    written = {other.out.root for other in group}
    read = {ref.root for other in group for ref in other.read()}
    return not (written & {ref.root for ref in call.read()} or call.out.root in written | read)


def _rows(ref: Ref) -> int:
    """How many rows a block of such an array has."""
    return min(ref.shape[0], max(1, BLOCK * ref.shape[0] // ref.size))


def _inside(parts: list[list[Call]], program: Program) -> set[Ref]:
    """Places that are written and read within one group only, so that memory for one block is enough."""
    where: dict[Ref, set[int]] = {program.loss.root: {-1}}
    for i, part in enumerate(parts):
        for call in part:
            for root in (call.out.root, *(ref.root for ref in call.read())):
                where.setdefault(root, set()).add(i)
    made = [call.out for part in parts if len(part) > 1 for call in part]
    return {ref for ref in made if ref.made and ref.base is None and len(where[ref]) == 1}


def _allocated(parts: list[list[Call]], inside: set[Ref], loss: Ref) -> Arrays:
    """Memory for each place of the step's own; what nobody needs any more is given to the next of its size."""
    memory: Arrays = {}
    _allocate(parts, {loss: len(parts)}, memory, lambda root: None if root in inside else root.shape)
    for part in (part for part in parts if len(part) > 1):  # what is inside of a group, by its calls
        _allocate([[call] for call in part], {}, memory, lambda root: (_rows(root), *root.shape[1:]))
    return memory


def _allocate(
    parts: list[list[Call]], last: dict[Ref, int], memory: Arrays, shape_of: Callable[[Ref], tuple[int, ...] | None]
) -> None:
    """Memory for what these write, where it has none yet and ``shape_of`` says how much."""
    for i, part in enumerate(parts):
        for root in _roots(part):
            last[root] = max(i, last.get(root, i))
    free: dict[int, list[np.ndarray]] = {}
    ours: set[Ref] = set()

    def release(i: int) -> None:
        for root in _roots(parts[i]) & ours:
            if last[root] == i:
                ours.remove(root)
                free.setdefault(memory[root].nbytes, []).append(memory[root].reshape(-1).view(np.uint8))

    for i, part in enumerate(parts):
        for root in (call.out.root for call in part):
            shape = shape_of(root)
            if shape is None or not root.made or root in memory:
                continue
            if len(part) == 1 and part[0].elementwise and all(ref.base is None for ref in part[0].read()):
                release(i)  # its operand may be overwritten, if nobody needs it later
            nbytes = prod(shape) * root.dtype.itemsize
            spare = free.get(nbytes)
            raw = spare.pop() if spare else _empty(nbytes)
            memory[root] = raw.view(root.dtype).reshape(shape)
            ours.add(root)
        release(i)


def _roots(part: list[Call]) -> set[Ref]:
    return {call.out.root for call in part} | {ref.root for call in part for ref in call.read()}


def _empty(nbytes: int) -> np.ndarray:
    """Bytes at an address that vector instructions like."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]
