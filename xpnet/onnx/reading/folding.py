"""What nodes make of constants alone: weights that are transposed, statistics that are multiplied out, shapes.

Where the number of samples is not fixed, shapes have :data:`SAMPLES` in its place: a prime that no length has.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

SAMPLES = 1_000_003
#: Numbers that a constant may have that is made of smaller ones.
MOST_NUMBERS = 2**24
#: The dtypes that values are cast to, by ONNX's numbers; those of more than 32 bits and bfloat16 as float32.
CASTS = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool"}
CASTS |= {10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 16: "float32"}

#: Of the arrays that a node reads and its attributes, what it makes.
Fold = Callable[[list[np.ndarray], dict[str, Any]], np.ndarray]


def axes_of(arrays: list[np.ndarray], attributes: dict[str, Any]) -> list[int] | None:
    """The axes that a node names, in an attribute as older versions of operators have it, or as its second input."""
    if "axes" in attributes:
        return [int(axis) for axis in attributes["axes"]]
    return [int(axis) for axis in arrays[0].reshape(-1)] if arrays else None


def new_shape(shape: tuple[int, ...], wanted: list[int], allowzero: bool = False) -> tuple[int, ...]:
    """The shape that a Reshape makes of this one.

    Raises:
        ValueError: it has another number of entries.
    """
    found = [shape[i] if n == 0 and not allowzero and i < len(shape) else n for i, n in enumerate(wanted)]
    if found.count(-1) == 1:
        known = prod(n for n in found if n != -1)
        found = [prod(shape) // known if n == -1 and known else n for n in found]
    if prod(found) != prod(shape) or min(found, default=1) < 0:
        raise ValueError(f"{_said(shape)} cannot have the shape {_said(tuple(wanted))}")
    return tuple(found)


def with_axes(shape: tuple[int, ...], axes: list[int]) -> tuple[int, ...]:
    """A shape with axes of length 1 in these places."""
    places, rest = _places(axes, len(shape) + len(axes)), list(shape)
    return tuple(1 if i in places else rest.pop(0) for i in range(len(shape) + len(axes)))


def without_axes(shape: tuple[int, ...], axes: list[int] | None) -> tuple[int, ...]:
    """A shape without these axes, which have length 1; without axes given, without all that have."""
    places = {i for i, n in enumerate(shape) if n == 1} if axes is None else _places(axes, len(shape))
    if any(shape[i] != 1 for i in places):
        raise ValueError(f"{_said(shape)} has no length 1 at {sorted(places)}")
    return tuple(n for i, n in enumerate(shape) if i not in places)


def _places(axes: list[int], rank: int) -> set[int]:
    if any(not -rank <= axis < rank for axis in axes) or len({axis % rank for axis in axes}) < len(axes):
        raise ValueError(f"it names the axes {axes[:8]}, and there are {rank}")
    return {axis % rank for axis in axes}


def _said(shape: tuple[int, ...]) -> str:
    return str(tuple("N" if n == SAMPLES else n for n in shape[:8])).replace("'", "")


def _elementwise(function: Callable[..., Any]) -> Fold:
    def fold(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
        if prod(shape) > max(MOST_NUMBERS, *(a.size for a in arrays)):
            raise ValueError(f"it makes an array of shape {shape} of smaller ones")
        return np.asarray(function(*arrays))

    return fold


def _divide(a: np.ndarray, b: np.ndarray) -> Any:
    if np.issubdtype(a.dtype, np.integer):
        if (b == 0).any():
            raise ValueError("it divides a whole number by 0")
        return np.trunc(a / b).astype(a.dtype)
    return a / b


def _reshape(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    wanted = [int(n) for n in arrays[1].reshape(-1)]
    return arrays[0].reshape(new_shape(arrays[0].shape, wanted, bool(attributes.get("allowzero", 0))))


def _filled(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    shape, value = tuple(int(n) for n in arrays[0].reshape(-1)), attributes.get("value")
    if min(shape, default=1) < 0 or prod(shape) > MOST_NUMBERS:
        raise ValueError(f"it makes an array of shape {shape[:8]}")
    return np.full(shape, 0.0 if value is None else value.reshape(-1)[0], "float32" if value is None else value.dtype)


def _slice(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    data, *rest = arrays
    if rest:
        starts, ends, *others = ([int(n) for n in a.reshape(-1)] for a in rest)
    else:
        starts, ends, others = (
            attributes["starts"],
            attributes["ends"],
            [attributes[k] for k in ("axes",) if k in attributes],
        )
    axes = others[0] if others else range(len(starts))
    steps = others[1] if len(others) > 1 else [1] * len(starts)
    cut = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(start, None if step < 0 and end < -data.shape[axis] else end, step)
    return data[tuple(cut)]


def _gather(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    if prod(arrays[1].shape) * arrays[0].size > MOST_NUMBERS:
        raise ValueError("it makes a large array of smaller ones")
    return np.take(arrays[0], arrays[1], axis=attributes.get("axis", 0))


def _concat(arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    return np.concatenate(arrays, axis=attributes["axis"])


FOLDS: dict[str, Fold] = {
    "Identity": lambda arrays, _: arrays[0],
    "Cast": lambda arrays, at: arrays[0].astype(CASTS[at["to"]]),
    "Transpose": lambda arrays, at: np.transpose(arrays[0], at.get("perm")),
    "Reshape": _reshape,
    "Squeeze": lambda arrays, at: arrays[0].reshape(without_axes(arrays[0].shape, axes_of(arrays[1:], at))),
    "Unsqueeze": lambda arrays, at: arrays[0].reshape(with_axes(arrays[0].shape, axes_of(arrays[1:], at) or [])),
    "Flatten": lambda arrays, at: arrays[0].reshape((prod(arrays[0].shape[: at.get("axis", 1)]), -1)),
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "ConstantOfShape": _filled,
    "Add": _elementwise(np.add),
    "Sub": _elementwise(np.subtract),
    "Mul": _elementwise(np.multiply),
    "Div": _elementwise(_divide),
    "Pow": _elementwise(np.power),
    "Sqrt": _elementwise(np.sqrt),
    "Neg": _elementwise(np.negative),
    "Reciprocal": _elementwise(np.reciprocal),
    "Shape": lambda arrays, _: np.asarray(arrays[0].shape, np.int64),
}


def fold(op: str, arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    """What a node makes of constants.

    Raises:
        ValueError: it cannot be computed of these, or is too large.
    """
    try:
        with np.errstate(all="ignore"):
            return FOLDS[op](arrays, attributes)
    except (TypeError, KeyError, IndexError, OverflowError, AttributeError) as error:
        raise ValueError(f"it cannot be computed: {type(error).__name__}: {error}") from None
