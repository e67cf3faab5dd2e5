"""The same calls where NumPy makes them faster: what they compute stays the same to the last bit.

What each of the two buys, in percent of the time of a step on one thread of a Zen 5; a step of the network 784-50-10 on
batches of 100, first with the kernels for AVX-512, then with those for AVX2, and of 784-100-100-10 with
sigmoids:

    _numbers         1.5, 2.5    2.7, 3.7
    _short_maxima    1.7, 2.7    1.1, 0.9
    both             3.7, 3.8    3.5, 3.6

Others were here and bought less: sums as products with ones (2 to 2.6 %), factors of a product moved to the smallest
matrix and multiplying in place of dividing (under 1 %; 2 to 3 % each where bytes are divided), sums of products as
products of vectors (nothing), and going over large arrays in blocks (with Adam it cost 3 to 5 %). All but the last
rounded otherwise than the step itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backends.replay.program import Call, Program, Ref

#: The largest of rows at most so long are found faster across than along.
SHORT = 64


def simplified(program: Program) -> Program:
    """The program with constants as arrays that suit NumPy, and the maxima of short rows found across."""
    _numbers(program)
    _short_maxima(program)
    return program


def _numbers(program: Program) -> None:
    """Numbers and arrays of one number become arrays without axes, in the dtype that they are computed in."""
    for call in program.calls:
        if not isinstance(call.function, np.ufunc) or not call.elementwise or call.function is np.power:
            continue  # powers by one number are computed otherwise than those by an array of it
        arrays = [ref for ref in call.read() if not uniform(ref)]
        if not arrays or np.broadcast_shapes(*(ref.shape for ref in arrays)) != call.out.shape:
            continue
        dtype = arrays[0].dtype
        if dtype.kind == "f" and all(ref.dtype == dtype for ref in call.read()):
            # maximum and minimum are several times faster with two whole arrays, which lie alike
            like = call.out if call.function in (np.maximum, np.minimum) else Ref((), dtype)
            call.operands = tuple(_number(x, like, dtype) for x in call.operands)


def _number(x: Any, like: Ref, dtype: np.dtype[Any]) -> Any:
    if isinstance(x, int | float):
        return _filled(x, like, dtype)
    return _filled(x.constant.flat[0], like, dtype) if uniform(x) else x


def _filled(value: float, like: Ref, dtype: np.dtype[Any]) -> Ref:
    zero = value == 0 and not np.signbit(value)
    size = like.size  # zeros take no memory until they are read
    flat = np.zeros(size, dtype) if zero else np.full(size, value, dtype)
    return Ref(like.shape, dtype, constant=Ref(like.shape, dtype, order=like.order).laid_out(flat), folds=True)


def uniform(x: Any) -> bool:
    """Whether it is a constant of the step's own, of one number."""
    if not isinstance(x, Ref) or x.constant is None or not x.folds or not x.size or x.dtype.kind != "f":
        return False
    first = x.constant.flat[0]
    return bool((x.constant == first).all() and (np.signbit(x.constant) == np.signbit(first)).all())


def _short_maxima(program: Program) -> None:
    """The largest of each short row, after the rows were copied side by side."""
    calls = []
    for call in program.calls:
        x = call.operands[0] if call.name == "max" else None
        axis = call.options.get("axis", call.operands[1] if len(call.operands) > 1 else None)
        if not isinstance(x, Ref) or axis not in (1, -1) or not _short(x):
            calls.append(call)
            continue
        across = Ref(x.shape[::-1], x.dtype)
        turned = Ref(across.shape, x.dtype, base=x, view=lambda a: a.T)
        out = call.out if len(call.out.shape) == 1 else _flat(call.out)
        calls += [Call("copy", (turned,), across), Call("max", (across,), out, {"axis": 0})]
    program.calls = calls


def _short(x: Ref) -> bool:
    """Whether it is a whole matrix of short rows of floating-point numbers, one after the other."""
    if x.base is not None or len(x.shape) != 2 or x.order != (0, 1) or x.dtype.kind != "f":
        return False
    rows, columns = x.shape
    return 0 < columns <= SHORT and rows >= columns


def _flat(ref: Ref) -> Ref:
    """The place without the axis that was reduced."""
    return Ref((ref.size,), ref.dtype, base=ref, view=lambda a: a.reshape(-1))
