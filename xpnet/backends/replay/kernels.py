"""How each recorded function is called when it has to leave its result in memory that is already there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np

from xpnet.backends.replay.program import HOST, THROUGH, WRITTEN, Call, in_order

Find = Callable[[Any], Any]
REDUCTIONS = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "all": np.logical_and,
    "any": np.logical_or,
}


def kernel(call: Call, find: Find) -> Callable[[], Any]:
    """The call as a function of nothing; ``find`` gives the array of a place."""
    operands, out = tuple(find(x) for x in call.operands), find(call.out)
    if call.name in ("copy", "astype", "asarray"):
        return partial(out.__setitem__, ..., operands[0])
    if call.name == WRITTEN:
        return one_by_one(
            list(in_order(call.function(*operands, out, find(call.shared), **call.options), find(call.own)))
        )
    if call.name == THROUGH:
        return lambda: call.function(np.ascontiguousarray(operands[0]), out)
    if call.name == HOST:
        made: Callable[[], None] = call.function(*operands)
        return made
    if call.name == "matmul":
        return partial(np.matmul, *operands, out)
    if call.name == "add_at":
        return partial(np.add.at, *operands)
    if call.elementwise:
        if call.function in (np.maximum, np.minimum):  # which want theirs by name
            return partial(call.function, *operands, out=out)
        return partial(call.function, *operands, out)
    if call.name in REDUCTIONS:
        return _reduction(call, operands, out)
    if call.name in SPECIAL:
        return SPECIAL[call.name](call, operands, out)
    return _any(call, operands, out)


def one_by_one(calls: list[Callable[[], Any]]) -> Callable[[], None]:
    """All of them, as one."""

    def run() -> None:
        for call in calls:
            call()

    return run


def _any(call: Call, operands: tuple[Any, ...], out: np.ndarray) -> Callable[[], Any]:
    function, options = call.function, call.options
    return lambda: np.copyto(out, function(*operands, **options))


def _axis(call: Call, operands: tuple[Any, ...]) -> Any:
    return operands[1] if len(operands) > 1 else call.options.get("axis")


def _reduction(call: Call, operands: tuple[Any, ...], out: np.ndarray) -> Callable[[], Any]:
    keepdims = bool(call.options.get("keepdims"))
    reduce = REDUCTIONS[call.name].reduce
    axis = _axis(call, operands)
    axis = tuple(range(operands[0].ndim)) if axis is None else axis
    return partial(reduce, operands[0], axis, out.dtype, out, keepdims)


def _mean(call: Call, operands: tuple[Any, ...], out: np.ndarray) -> Callable[[], Any]:
    if out.dtype.itemsize < 4:  # whose sum may be too large for it
        return _any(call, operands, out)
    total = _reduction(Call("sum", call.operands, call.out, call.options), operands, out)
    n = np.asarray(prod(operands[0].shape) / (prod(out.shape) or 1), out.dtype)

    def mean() -> None:
        total()
        np.divide(out, n, out=out)

    return mean


def _take(call: Call, operands: tuple[Any, ...], out: np.ndarray) -> Callable[[], Any]:
    x, indices = operands[:2]
    axis = operands[2] if len(operands) > 2 else call.options.get("axis")
    source, rows = (ref.root.given or ("",) for ref in call.operands[:2])
    if axis != 0 or call.operands[0].base is not None or (source[0], rows[0]) != ("data", "rows"):
        return _any(call, operands, out)
    return partial(x.take, indices, axis, out, "clip")  # in range they are: RecordedStep looks at all rows of a block


def _where(call: Call, operands: tuple[Any, ...], out: np.ndarray) -> Callable[[], Any]:
    """Several times as fast as NumPy's own where both are whole arrays that lie as the result does."""
    condition, yes, no = operands
    whole = all(isinstance(x, np.ndarray) and (x.shape, x.strides) == (out.shape, out.strides) for x in (yes, no))
    mask = isinstance(condition, np.ndarray) and condition.dtype == bool and condition.shape == out.shape
    if not (mask and whole and out.flags.c_contiguous and condition.flags.c_contiguous and yes.dtype == out.dtype):
        return _any(call, operands, out)

    def where() -> None:
        np.copyto(out, no)
        np.putmask(out, condition, yes)

    return where


def _together(call: Call, operands: tuple[Any, ...], out: np.ndarray) -> Callable[[], Any]:
    """``concat`` and ``stack``, written where they belong at once."""
    arrays = operands[0]
    axis = operands[1] if len(operands) > 1 else call.options.get("axis", 0)
    if axis is None or any(x.dtype != out.dtype for x in arrays):
        return _any(call, operands, out)
    return partial(np.concatenate if call.name == "concat" else np.stack, arrays, axis, out)


def _reshape(call: Call, operands: tuple[Any, ...], out: np.ndarray) -> Callable[[], Any]:
    x = operands[0]
    if not out.flags.c_contiguous or call.options:
        return _any(call, operands, out)
    return partial(np.copyto, out.reshape(x.shape), x)


SPECIAL = {"mean": _mean, "take": _take, "where": _where, "concat": _together, "stack": _together, "reshape": _reshape}
