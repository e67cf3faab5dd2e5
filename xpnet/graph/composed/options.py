"""Options that NumPy has and the standard has not: ``where``, ``initial``, ``ddof``, ``out``, ``a_min``, places."""

from __future__ import annotations

from inspect import Parameter
from math import inf
from typing import Any

from xpnet._typing import Array
from xpnet.graph.operations import axes_of, widened
from xpnet.graph.recording import OLDER, Recording

#: Options that change nothing of what is computed here, where they have these values.
IDLE = {
    "out": (None,),
    "order": (None, "C", "K", "A"),
    "kind": (None, "quicksort", "mergesort", "heapsort", "stable"),
    "casting": ("same_kind", "safe", "unsafe"),
    "subok": (True, False),
    "mode": ("raise",),
    "where": (True,),
    "overwrite_input": (False,),
    "hermitian": (False,),
    "dtype": (None,),
    "shape": (None,),
    "like": (None,),
    "ndmin": (0,),
    "sparse": (False,),
    "copy": (True, None),
    "UPLO": ("L",),
}
RENAMED = {
    "ddof": "correction",
    "a_min": "min",
    "a_max": "max",
    "newshape": "shape",
    "rcond": "rtol",
    "reps": "repetitions",
}
#: The order of what follows the arrays, where NumPy has another one than the standard.
ORDER = {
    "clip": ("min", "max", "out"),
    "diff": ("n", "axis", "prepend", "append"),
    "var": ("axis", "dtype", "out", "correction", "keepdims"),
    "std": ("axis", "dtype", "out", "correction", "keepdims"),
    "mean": ("axis", "dtype", "out", "keepdims"),
    "sum": ("axis", "dtype", "out", "keepdims"),
    "prod": ("axis", "dtype", "out", "keepdims"),
    "max": ("axis", "out", "keepdims"),
    "min": ("axis", "out", "keepdims"),
    "any": ("axis", "out", "keepdims"),
    "all": ("axis", "out", "keepdims"),
    "argmax": ("axis", "out", "keepdims"),
    "argmin": ("axis", "out", "keepdims"),
    "repeat": ("axis",),
    "take": ("axis", "out", "mode"),
    "take_along_axis": ("axis",),
    "tensordot": ("axes",),
    "round": ("decimals", "out"),
    "linalg.qr": ("mode",),
    "linalg.svd": ("full_matrices", "compute_uv", "hermitian"),
    "sort": ("axis", "kind", "order"),
    "argsort": ("axis", "kind", "order"),
    "zeros_like": ("dtype", "order", "subok", "shape"),
    "ones_like": ("dtype", "order", "subok", "shape"),
    "linalg.pinv": ("rtol", "hermitian"),
}


def older(xp: Recording, name: str, inputs: Any, rest: tuple[Any, ...], options: dict[str, Any]) -> Array:
    """A function with arguments as NumPy has them.

    Raises:
        TypeError: one that is not known here, or would write into an array.
    """
    known, order = _known(xp, name), ORDER.get(name, ())
    if len(rest) > len(order):
        raise TypeError(_refusal(name, known, f"{len(rest)} of them"))
    options = dict(zip(order, rest, strict=False)) | {RENAMED.get(key, key): value for key, value in options.items()}
    for key in _by_place(xp, name)[len(inputs) :]:
        if key not in options:
            break
        inputs = (*inputs, options.pop(key))
    if options.get("out") is not None:
        raise TypeError(f"{name} would write into an array, which cannot be recorded; its result is a new one")
    extra = {key: value for key, value in options.items() if key not in known}
    for key, value in list(extra.items()):
        if key in IDLE and any(value is idle or (isinstance(value, str) and value == idle) for idle in IDLE[key]):
            del extra[key], options[key]
    if "dtype" in extra and name in ("mean", "var", "std"):
        inputs = (xp.astype(inputs[0], options.pop("dtype")), *inputs[1:])
        del extra["dtype"]
    if "decimals" in extra and name == "round":
        return _rounded(xp, inputs[0], options["decimals"])
    if extra.keys() & {"where", "initial"} and name in MASKED and not extra.keys() - {"where", "initial"}:
        return MASKED[name](xp, name, inputs[0], options)
    if extra:
        raise TypeError(_refusal(name, known, ", ".join(sorted(extra))))
    function = xp.named(name)
    return function(list(inputs), **options) if _takes_list(name) else function(*inputs, **options)


OLDER.append(older)


def _by_place(xp: Recording, name: str) -> list[str]:
    """The parameters that the standard has by their place alone."""
    parameters = xp.named(name).__signature__.parameters.values()  # type: ignore[attr-defined]
    return [p.name for p in parameters if p.kind is Parameter.POSITIONAL_ONLY]


def _takes_list(name: str) -> bool:
    return name in ("concat", "stack")


def _known(xp: Recording, name: str) -> tuple[str, ...]:
    return tuple(xp.named(name).__signature__.parameters)  # type: ignore[attr-defined]


def _refusal(name: str, known: tuple[str, ...], found: str) -> str:
    options = [key for key in known if key not in ("x", "x1", "x2", "arrays", "a", "obj", "condition")]
    listed = f"the options {', '.join(options)}" if options else "no options"
    return f"{name} is recorded with {listed}; got {found}"


def _rounded(xp: Recording, x: Array, places: int) -> Array:
    return xp.round(x) if not places else xp.round(x * 10.0**places) / 10.0**places


def _summed(xp: Recording, name: str, x: Array, options: dict[str, Any]) -> Array:
    """Of entries where a mask says so; with a number to begin with."""
    mask, initial = options.pop("where", True), options.pop("initial", None)
    nothing = {"sum": 0, "prod": 1, "any": 0, "all": 1, "max": -inf, "min": inf}[name]
    if mask is not True:
        if name in ("max", "min") and initial is not None:
            nothing = initial
        if name in ("any", "all"):
            x, nothing = x != 0, bool(nothing)
        x = xp.where(mask, x, nothing * xp.ones_like(x) if name not in ("any", "all") else xp.full_like(x, nothing))
    found = getattr(xp, name)(x, **options)
    if initial is None:
        return found
    if name in ("max", "min"):
        return (xp.maximum if name == "max" else xp.minimum)(found, xp.full_like(found, initial))
    return found + initial if name == "sum" else found * initial


def _averaged(xp: Recording, name: str, x: Array, options: dict[str, Any]) -> Array:
    mask, axis, keepdims = options["where"], options.get("axis"), options.get("keepdims", False)
    correction = options.get("correction", 0)
    dtype, x = x.dtype, widened(xp, x)
    inside = xp.broadcast_to(mask, x.shape)
    count = xp.sum(xp.astype(inside, x.dtype), axis=axis, keepdims=True)
    mean = xp.sum(xp.where(inside, x, xp.zeros_like(x)), axis=axis, keepdims=True) / count
    if name != "mean":
        apart = xp.where(inside, x - mean, xp.zeros_like(x))
        mean = xp.sum(apart * apart, axis=axis, keepdims=True) / (count - correction)
        mean = xp.sqrt(mean) if name == "std" else mean
    mean = xp.astype(mean, dtype)
    return mean if keepdims else xp.squeeze(mean, axis=axes_of(x, axis))


MASKED = {
    **dict.fromkeys(("sum", "prod", "max", "min", "any", "all"), _summed),
    **dict.fromkeys(("mean", "var", "std"), _averaged),
}
