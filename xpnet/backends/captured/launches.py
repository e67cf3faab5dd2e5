"""The calls of a program on arrays of a device: kernels, cuBLAS, and functions of CuPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

from xpnet.backends.captured.blas import Blas
from xpnet.backends.captured.blocks import PUT
from xpnet.backends.captured.groups import Fused
from xpnet.backends.captured.source import OPTIONS, PREAMBLE
from xpnet.backends.replay.program import WRITTEN, Call, Ref, UnrecordableError

Launch = Callable[[], Any]
Find = Callable[[Any], Any]
#: Reductions that leave their result in an array that is there.
REDUCTIONS = ("sum", "prod", "max", "min", "mean", "all", "any")


def launches(call: Call, find: Find, cupy: ModuleType, xp: ModuleType, blas: Callable[[], Blas]) -> list[Launch]:
    """What has to be called for one call of a program.

    Args:
        call: of the program.
        find: gives the array of a place.
        cupy: the library.
        xp: the standard's functions for it.
        blas: gives what multiplies.
    """
    operands, out = tuple(find(x) for x in call.operands), find(call.out)
    if isinstance(call, Fused):
        return [partial(_kernel(cupy, call), *operands, *map(find, call.outs))]
    if call.name == "matmul" and out.dtype.kind == "f":
        return blas().product(operands[0], operands[1], out)
    if call.name == PUT:
        counter, value = operands
        return [partial(out.__setitem__, counter, value)]
    if call.name == "take" and isinstance(call.operands[1], Ref):
        axis = operands[2] if len(operands) > 2 else call.options.get("axis")
        return [partial(cupy.take, *operands[:2], axis, out)]
    if call.name == "add_at":
        return [partial(cupy.add.at, *operands)]
    if call.name in REDUCTIONS and call.operands[0].dtype == out.dtype and out.dtype.kind in "fb":
        options = {"axis": operands[1]} if len(operands) > 1 else {}
        kept = {name: value for name, value in call.options.items() if name in ("axis", "keepdims")}
        return [partial(getattr(cupy, call.name), operands[0], **options, **kept, out=out)]
    return [partial(_any, _function(call, xp), operands, call.options, out)]


def _function(call: Call, xp: ModuleType) -> Callable[..., Any]:
    """The function of CuPy that a step of CuPy's own would call."""
    if call.name in ("copy", "asarray"):
        return lambda x, **_: x
    if call.name == "power":  # an operator, which is each library's own
        return call.function
    found = getattr(xp, call.name, None)
    if call.name == WRITTEN or found is None:
        raise UnrecordableError(f"CuPy has no function {call.name!r}")
    return found  # type: ignore[no-any-return]


def _any(function: Callable[..., Any], operands: tuple[Any, ...], options: dict[str, Any], out: Any) -> None:
    out[...] = function(*operands, **options)


def _kernel(cupy: ModuleType, call: Fused) -> Any:
    inputs, outputs = (
        ",".join(f"{x.dtype.name} {letter}{i}" for i, x in enumerate(each))
        for letter, each in (("x", call.operands), ("y", call.outs))
    )
    return compiled(cupy, inputs, outputs, call.source)


@lru_cache(4096)
def compiled(cupy: ModuleType, inputs: str, outputs: str, source: str) -> Any:
    """A kernel; CuPy compiles it when it is first launched, and keeps it on disk."""
    return cupy.ElementwiseKernel(
        inputs, outputs, source, "xpnet_fused", preamble=PREAMBLE, no_return=True, options=OPTIONS
    )
