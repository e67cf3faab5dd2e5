"""What a step refuses: parameters, gradients and states that do not fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from numbers import Real
from types import ModuleType
from typing import Any

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import describe, dtype_name, name_of, namespace
from xpnet.validation import check_detached


def check_step(params: Params, grads: Params, slots: Mapping[str, dict[str, Array]], owner: Any) -> None:
    """Raise unless gradients and slots fit their parameters: otherwise arrays would be broadcast, and grow.

    Args:
        params, grads: arrays by name.
        slots: those of each parameter that has some, by name.
        owner: the optimizer, which knows the slots of a parameter and is named in messages.
    """
    for name, g in grads.items():
        if name not in params:
            raise ValueError(f"there is a gradient of {name!r}, and no such parameter; expected {list(params)}")
        w = params[name]
        if not alike(w, g):
            check_pair(name, w, g)
        own = slots.get(name)
        if own is None and owner.has_slots and owner.slots(w):
            raise ValueError(
                f"state has no slots of {name!r}; expected what {owner!r}.init(params) returned, or the step before"
            )
        for slot, array in (own or {}).items():
            if array.dtype != w.dtype or (array.shape != w.shape and array.shape != ()):
                check_slot(name, slot, array, w, owner)


def check_slot(name: str, slot: str, array: Array, w: Array, owner: Any) -> None:
    """Raise unless it is as it was made, which need not be as the parameter is."""
    made = owner.slots(w).get(slot)
    if made is None or made.shape != array.shape or made.dtype != array.dtype:
        raise ValueError(
            f"state: {slot!r} of {name!r} is {tuple(array.shape)} of {dtype_name(array.dtype)}, which does not fit "
            f"the parameter, {tuple(w.shape)} of {dtype_name(w.dtype)}; start with {owner!r}.init(params)"
        )


def alike(w: Array, g: Array) -> bool:
    """Whether a gradient is as its parameter, which is floating-point; most are, and this is seen at once."""
    if type(w) is not type(g) or getattr(w, "dtype", None) is None or w.dtype != g.dtype or w.shape != g.shape:
        return False
    recorded = getattr(w, "requires_grad", False) or getattr(g, "requires_grad", False)
    return not recorded and is_floating(namespace(w), w.dtype)


@cache
def is_floating(xp: ModuleType, dtype: Any) -> bool:
    return bool(xp.isdtype(dtype, "real floating"))


def check_pair(name: str, w: Array, g: Any) -> None:
    """Raise unless a gradient can be one of its parameter."""
    if not hasattr(w, "shape"):
        raise TypeError(f"params[{name!r}] is {describe(w)}, expected an array")
    check_detached(w, f"params[{name!r}]")
    check_detached(g, f"grads[{name!r}]")
    check_gradient_kind(name, w, g)
    shape = getattr(g, "shape", ())
    if shape != w.shape:
        raise ValueError(
            f"the gradient of {name!r} has shape {tuple(shape)}, expected {tuple(w.shape)}, the shape of the "
            "parameter; a gradient of a batch is summed over its samples"
        )
    check_dtypes(name, w, g)


def check_gradient_kind(name: str, w: Array, g: Any) -> None:
    """Raise ``TypeError`` unless a gradient is an array of the library of its parameter, or a number."""
    if not hasattr(g, "shape"):
        if isinstance(g, bool) or not isinstance(g, Real):
            raise TypeError(f"grads[{name!r}] is {describe(g)}, expected an array")
    elif name_of(g) != name_of(w) and name_of(w) is not None:
        raise TypeError(f"grads[{name!r}] is {describe(g)}, and its parameter {describe(w)}; both have to be of one")


def check_dtypes(name: str, w: Array, g: Array) -> None:
    """Raise unless a parameter is floating-point and its gradient real."""
    xp = namespace(w)
    if not xp.isdtype(w.dtype, "real floating"):
        raise ValueError(
            f"the parameter {name!r} is {dtype_name(w.dtype)}, and steps of an optimizer would be rounded away; "
            "expected floating-point: xp.astype(w, xp.float64)"
        )
    if getattr(g, "dtype", w.dtype) != w.dtype and xp.isdtype(g.dtype, "complex floating"):
        raise ValueError(f"the gradient of {name!r} is {dtype_name(g.dtype)}, expected {dtype_name(w.dtype)}")


def check_update(params: Params, grads: Params) -> None:
    """Raise unless both are dicts of arrays with the same names; see :meth:`Optimizer.update`."""
    for owner, arrays in (("params", params), ("grads", grads)):
        if not isinstance(arrays, Mapping):
            raise TypeError(f"{owner} is {describe(arrays)}, expected a dict of arrays by name")
        for name, array in arrays.items():
            if owner == "grads" and isinstance(array, float):
                continue  # what some libraries make of computations with 0-d arrays
            try:
                namespace(array)
            except TypeError as error:
                raise TypeError(f"{owner}[{name!r}]: {error}") from None
    missing, unknown = ([name for name in a if name not in b] for a, b in ((params, grads), (grads, params)))
    if missing or unknown:
        problems = [f"lacks {missing}"] * bool(missing) + [f"has {unknown}, which params has not"] * bool(unknown)
        raise ValueError(
            f"grads {' and '.join(problems)}; expected a gradient for each of {list(params)}. To leave some parameters "
            "as they are, use step(params, grads, state)"
        )
