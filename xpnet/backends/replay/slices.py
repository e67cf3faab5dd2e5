"""Calls cut into calls on parts of the result, for a thread each: the bits are those of the whole.

Where a function computes each element by itself, exactly rounded, every cut is right. Others, products of matrices and
sums above all, are tried once on random numbers of the same shapes and strides: which kernel a library takes, and the
order of its sums, depend on nothing else. Where the parts have other bits than the whole they are not cut in that way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from xpnet.backends.replay.kernels import REDUCTIONS, kernel
from xpnet.backends.replay.memory import ALIGNMENT, aligned, resolved
from xpnet.backends.replay.program import Call, Ref

Find = Callable[[Any], Any]
#: A call on its parts: what each thread calls.
Cut = list[Call]

_EXACT = """
absolute add astype asarray abs bitwise_and bitwise_invert bitwise_or bitwise_xor concat copy divide equal greater
greater_equal invert less less_equal logical_and logical_not logical_or logical_xor maximum minimum multiply negative
not_equal positive reshape sign sqrt square stack subtract take where
"""
#: Functions that IEEE 754 rounds exactly, or that do not round: all kernels of NumPy's give the same bits.
EXACT = set(_EXACT.split())
#: Long axes are cut at multiples of these. Kernels of products take so many rows or columns at a time, and others at
#: the edges, which may round otherwise: of OpenBLAS's, those for AVX2 keep their bits where rows are cut at multiples
#: of 48, or columns at some of 64, and those for AVX-512 everywhere.
GRAINS = (48, 64)
#: How many numbers are drawn, which then repeat: a prime number, so that rows of most lengths differ.
DRAWN = 65_537
#: Elements that are compared at least.
ENOUGH = 200
#: Trials whose outcome is kept.
MOST_TRIED = 4096

_tried: dict[Any, bool] = {}


def bounds(length: int, number: int, grain: int) -> list[tuple[int, int]]:
    """Where an axis is cut into so many parts of about equal length, at multiples of the grain."""
    ends = [round(length * k / number / grain) * grain for k in range(number)] + [length]
    return list(pairwise(ends))


def ways(call: Call, find: Find, number: int) -> Iterator[Cut]:
    """The ways to cut a call into so many parts, the best first; ``find`` gives the array of a place."""
    if call.name == "reshape" and not call.options and find(call.out).flags.c_contiguous:
        x = call.operands[0]
        out = Ref(x.shape, call.out.dtype, base=call.out, view=lambda a: a.reshape(x.shape), how=f"reshape {x.shape}")
        call = Call("copy", (x,), out, elementwise=True)
    cut = _cutter(call)
    if cut is None or not call.out.size:
        return
    strides = find(call.out).strides
    axes = [axis for axis, length in enumerate(call.out.shape) if length >= number]
    if call.name == "matmul":
        axes.sort(key=lambda axis: (axis >= len(strides) - 2, -call.out.shape[axis]))
    else:
        axes.sort(key=lambda axis: -abs(strides[axis]))
    for axis in axes:
        length = call.out.shape[axis]
        for grain in [grain for grain in GRAINS if length >= grain * number] or [1]:
            parts = [cut(axis, start, stop) for start, stop in bounds(length, number, grain)]
            whole = [part for part in parts if part is not None]
            if len(whole) == number and _same_bits(call, whole, find, (axis, number, grain)):
                yield whole


def _cutter(call: Call) -> Callable[[int, int, int], Call | None] | None:
    """What gives the call on a part of an axis of its result, or None where it cannot be cut there."""
    if call.elementwise or call.name == "where":
        return partial(_broadcast, call)
    if call.name == "matmul" and all(isinstance(x, Ref) and len(x.shape) >= 2 for x in call.operands):
        return partial(_product, call)
    if call.name in ("concat", "stack") and isinstance(call.operands[0], list | tuple):
        return partial(_together, call)
    if call.name == "take" and _axis(call) == 0 and len(call.operands[1].shape) == 1:
        return partial(_taken, call)
    if call.name in REDUCTIONS:
        return partial(_reduced, call)
    return None


def _broadcast(call: Call, axis: int, start: int, stop: int) -> Call:
    from_behind = axis - len(call.out.shape)

    def cut(x: Any) -> Any:
        there = isinstance(x, Ref) and len(x.shape) >= -from_behind and x.shape[from_behind] > 1
        return sliced(x, from_behind, start, stop) if there else x

    return replace(call, operands=tuple(map(cut, call.operands)), out=cut(call.out))


def _product(call: Call, axis: int, start: int, stop: int) -> Call:
    from_behind, (a, b) = axis - len(call.out.shape), call.operands
    if from_behind != -1 and len(a.shape) >= -from_behind and a.shape[from_behind] > 1:
        a = sliced(a, from_behind, start, stop)
    if from_behind != -2 and len(b.shape) >= -from_behind and b.shape[from_behind] > 1:
        b = sliced(b, from_behind, start, stop)
    return replace(call, operands=(a, b), out=sliced(call.out, axis, start, stop))


def _together(call: Call, axis: int, start: int, stop: int) -> Call | None:
    along = call.operands[1] if len(call.operands) > 1 else call.options.get("axis", 0)
    if along is None:
        return None
    along %= len(call.out.shape)
    if axis == along:
        return None
    here = axis - 1 if call.name == "stack" and axis > along else axis
    arrays = [sliced(x, here, start, stop) for x in call.operands[0]]
    return replace(call, operands=(arrays, *call.operands[1:]), out=sliced(call.out, axis, start, stop))


def _taken(call: Call, axis: int, start: int, stop: int) -> Call | None:
    if axis:
        return None
    x, rows, *rest = call.operands
    return replace(call, operands=(x, sliced(rows, 0, start, stop), *rest), out=sliced(call.out, 0, start, stop))


def _reduced(call: Call, axis: int, start: int, stop: int) -> Call | None:
    x, over = call.operands[0], _axis(call)
    if over is None or not isinstance(x, Ref):
        return None
    gone = {each % len(x.shape) for each in (over if isinstance(over, tuple) else (over,))}
    kept = [each for each in range(len(x.shape)) if each not in gone]
    here = kept[axis] if len(call.out.shape) == len(kept) else axis
    if here in gone:
        return None
    return replace(
        call, operands=(sliced(x, here, start, stop), *call.operands[1:]), out=sliced(call.out, axis, start, stop)
    )


def _axis(call: Call) -> Any:
    place = 2 if call.name == "take" else 1
    return call.operands[place] if len(call.operands) > place else call.options.get("axis")


def sliced(ref: Ref, axis: int, start: int, stop: int) -> Ref:
    """A part of a place along an axis, which may count from behind."""
    axis %= len(ref.shape)
    key: Any = (slice(None),) * axis + (slice(start, stop), ...)
    shape = (*ref.shape[:axis], stop - start, *ref.shape[axis + 1 :])
    return Ref(shape, ref.dtype, base=ref, view=lambda a: a[key], how=f"part {axis} {start} {stop}")


def pieces(call: Call, find: Find, number: int, own: list[Ref]) -> Iterator[Cut]:
    """The stages of a written call, one after the other, each shared out to so many threads.

    ``own`` are the places that threads have for themselves.
    """
    operands = [find(x) for x in call.operands]
    for k, stage in enumerate(call.function(*operands, find(call.out), find(call.shared), **call.options)):
        ends = [len(stage) * i // number for i in range(number + 1)]
        yield [
            replace(call, function=partial(_some, call.function, k, i, j), own=mine)
            for (i, j), mine in zip(pairwise(ends), own, strict=True)
            if i < j
        ]


def _some(function: Callable[..., Any], stage: int, start: int, stop: int, *args: Any, **options: Any) -> Any:
    return [list(function(*args, **options))[stage][start:stop]]


def _same_bits(call: Call, parts: Cut, find: Find, how: tuple[int, ...]) -> bool:
    """Whether the parts leave what the whole call leaves, to the last bit."""
    if call.name in EXACT or call.out.dtype.kind in "biu":
        return True
    if call.out.dtype.kind != "f":
        return False  # a trial would write into the array itself
    read = [find(ref) for ref in call.read()]
    if any(np.may_share_memory(a, b) for i, a in enumerate(read) for b in [*read[:i], find(call.out)]):
        return False  # a matrix by itself, for example, for which there are kernels of their own
    form = (call.name, call.function, repr(call.options), how, *map(_form, (*read, find(call.out))))
    found = _tried.get(form)
    if found is None:
        rng = np.random.default_rng(0)  # few numbers may round alike
        found = all(_try(call, parts, find, rng) for _ in range(1 + ENOUGH // call.out.size))
        if len(_tried) > MOST_TRIED:
            _tried.clear()  # perhaps while another thread looks
        _tried[form] = found
    return found


def _form(array: np.ndarray) -> Any:
    return array.shape, array.strides, array.dtype.str, array.ctypes.data % ALIGNMENT


def _try(call: Call, parts: Cut, find: Find, rng: np.random.Generator) -> bool:
    arrays = {ref: _like(find(ref), rng) for ref in (*call.read(), call.out)}
    with np.errstate(all="ignore"):
        kernel(call, lambda x: resolved(x, arrays, np))()
        whole = arrays[call.out].copy()
        arrays[call.out][...] = 0
        for part in parts:
            kernel(part, lambda x: resolved(x, arrays, np))()
    return whole.tobytes() == arrays[call.out].tobytes()


def _like(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random numbers that lie as those of an array do; other kinds of arrays as they are."""
    if array.dtype.kind != "f":
        return array
    low, high = byte_bounds(array)
    count = (high - low) // array.itemsize
    drawn = np.resize(rng.standard_normal(min(count, DRAWN)).astype(array.dtype), count)
    memory = aligned(high - low + ALIGNMENT)[low % ALIGNMENT :][: high - low]
    memory[...] = drawn.view(np.uint8)
    start = array.ctypes.data - low
    return np.ndarray(array.shape, array.dtype, memory.data, start, array.strides)
