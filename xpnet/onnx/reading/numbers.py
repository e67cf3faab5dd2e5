"""What becomes of nodes that act on each number by itself, and on one with a constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from xpnet.layers import (
    ELU,
    GELU,
    Conv1d,
    Conv2d,
    Dropout,
    LeakyReLU,
    Rescale,
    Softmax,
    Swish,
)
from xpnet.onnx.reading.formulas import (
    FUNCTIONS,
    OF_SEVERAL,
    WITH_NUMBERS,
    composed,
    function_of,
    plain,
)
from xpnet.onnx.reading.graph import Node
from xpnet.onnx.reading.reader import Reader, in_rows, ordered, reads
from xpnet.onnx.reading.values import Step, Value, put_in_order, same, together

#: How many formulas may stand inside one another.
DEEPEST_FORMULA = 8
#: How many steps a formula may have.
LARGEST_FORMULA = 40
#: ONNX's numbers of the floating-point dtypes.
FLOATING = (1, 10, 11, 16)


@reads("Identity")
def identity(read: Reader, node: Node) -> Value:
    return read.value(node)


@reads("Cast", "CastLike")
def cast(read: Reader, node: Node) -> Value:
    value, floating = read.value(node), node.op == "CastLike" or node.attributes.get("to") in FLOATING
    if not floating and not value.integers:
        raise ValueError("it makes whole numbers of others")
    return replace(value, integers=not floating) if value.integers else value


@reads("Dropout")
def dropout(read: Reader, node: Node) -> Value:
    value, given = read.value(node), read.constant(node, 1)
    rate = plain(node.attributes.get("ratio", 0.5) if given is None else given.reshape(-1)[0])
    return same(value, Step(node, Dropout(rate))) if 0 < rate < 1 else value


@reads(*FUNCTIONS, *WITH_NUMBERS)
def function_of_one(read: Reader, node: Node) -> Value:
    function, layer = function_of(node.op, node.attributes)
    return same(read.value(node), Step(node, layer, function=function))


@reads("Gelu")
def gelu(read: Reader, node: Node) -> Value:
    layer = GELU(exact=node.attributes.get("approximate", "none") != "tanh")
    return same(read.value(node), Step(node, layer))


@reads("Swish")
def swish(read: Reader, node: Node) -> Value:
    layer = Swish(plain(node.attributes.get("alpha", 1.0)))
    return same(read.value(node), Step(node, layer))


@reads("Selu")
def selu(read: Reader, node: Node) -> Value:
    alpha, gamma = node.attributes.get("alpha", 1.67326319), node.attributes.get("gamma", 1.05070102)
    value = read.value(node)
    return same(same(value, Step(node, ELU(plain(alpha)))), Step(node, Rescale(plain(gamma))))


@reads("PRelu")
def prelu(read: Reader, node: Node) -> Value:
    value, slope = read.value(node), read.weights(node, 1, "slope")
    if slope.size == 0 or (slope != slope.reshape(-1)[0]).any():
        raise ValueError("it has several slopes, and LeakyReLU has one")
    layer = LeakyReLU(plain(slope.reshape(-1)[0]))
    read.notes.append(f"the slope of {node.told} is fixed from here on")
    return same(value, Step(node, layer))


@reads("Clip")
def clip(read: Reader, node: Node) -> Value:
    value = read.value(node)
    given = [read.constant(node, i) for i in (1, 2)]
    least, most = (
        node.attributes.get(name, otherwise) if a is None else a.reshape(-1)[0]
        for a, name, otherwise in zip(given, ("min", "max"), (-np.inf, np.inf), strict=True)
    )
    return same(value, Step(node, function=lambda x: np.clip(x, least, most)))


@reads("Softmax", "LogSoftmax")
def softmax(read: Reader, node: Node) -> Value:
    value = read.value(node)
    rank, first = len(value.seen) + 1, read.graph.opset < 13
    axis = node.attributes.get("axis", 1 if first else -1) % rank
    if axis != rank - 1:
        raise ValueError(f"it is over axis {axis} of {rank}, and Softmax is over the last one")
    value = in_rows(value, node) if rank == 2 else ordered(value, node)
    return same(value, Step(node, Softmax() if node.op == "Softmax" else None))


@reads(*OF_SEVERAL)
def function_of_several(read: Reader, node: Node) -> Value:
    wanted = 3 if node.op == "Where" else 2
    if len(node.inputs) != wanted:
        raise ValueError(f"it has {len(node.inputs)} inputs, and those of {wanted} are read")
    constants = [read.constant(node, i) for i in range(wanted)]
    places = [i for i, a in enumerate(constants) if a is None]
    if wanted == 2 and len(places) == 1:
        constant = constants[1 - places[0]]
        assert constant is not None
        return _with_constant(read, node, places[0], constant)
    values = [read.value(node, i) for i in places]
    numbers = {i: _number(values[0], a) for i, a in enumerate(constants) if a is not None}
    kind = "sum" if node.op == "Add" else "formula"
    start, step = together(node, kind, values, read.most_steps)
    functional = all(each.function is not None for branch in step.branches for each in branch)
    if functional and step.depth < DEEPEST_FORMULA and step.size < LARGEST_FORMULA:
        combine, functions = OF_SEVERAL[node.op], [composed(branch) for branch in step.branches]

        def function(x: Any) -> Any:
            given = dict(zip(places, (f(x) for f in functions), strict=True)) | numbers
            return combine(*(given[i] for i in range(wanted)))

        step = replace(step, function=function)
    elif kind != "sum":
        raise ValueError("it combines values that are computed from samples; layers here do that in sums alone")
    return start.then(step, values[0].shape, values[0].view)


def _number(value: Value, constant: np.ndarray) -> float:
    """The one number that a constant is, wherever it meets a value.

    Raises:
        ValueError: it has several, or one that is NaN or infinite.
    """
    a = put_in_order(value, constant)
    if a.size == 0 or (a != a.reshape(-1)[0]).any() or not np.isfinite(a.reshape(-1)[0]):
        raise ValueError(f"its constant of shape {constant.shape} is not one finite number")
    return float(a.reshape(-1)[0])


def _with_constant(read: Reader, node: Node, i: int, constant: np.ndarray) -> Value:
    """What a node makes of its input number i, a value, and of a constant."""
    value = read.value(node, i)
    a = put_in_order(value, constant)
    if value.step is not None and "W" in value.step.arrays and read.alone(node, i):
        found = _into_weights(node, value, i, a)
        if found is not None:
            return found
    if a.size and (a != a.reshape(-1)[0]).any():
        return _scaled(read, node, i, _line(node, i, a))
    combine, number = OF_SEVERAL[node.op], _number(value, constant)
    factor = number != 0 and (node.op == "Mul" or (node.op == "Div" and i == 0))
    layer = Rescale(_scale(node.op, constant.dtype.type(number))) if factor else None
    function = partial(_first, combine, number) if i == 0 else partial(combine, number)
    return same(value, Step(node, layer, function=function))


def _first(combine: Callable[..., Any], number: float, x: Any) -> Any:
    return combine(x, number)


def _scale(op: str, number: Any) -> float:
    """A factor as one writes it; one through a whole number where it is that in single precision."""
    if op == "Div":
        return 1 / plain(number)
    through = round(1 / float(number)) if abs(number) < 1 else 0
    return 1 / through if through and np.float32(1 / through) == np.float32(number) else plain(number)


def _into_weights(node: Node, value: Value, i: int, a: np.ndarray) -> Value | None:
    """A value whose weights take in what a node does with a constant; None where they cannot."""
    step, before = value.step, value.before
    assert step is not None
    assert before is not None
    W, b = step.arrays["W"], step.arrays.get("b")
    channels = isinstance(step.layer, Conv1d | Conv2d)  # they are the first axis of a sample, and of W
    a = a if channels else np.moveaxis(a, -1, 0) if a.ndim else a
    if a.ndim and a.shape[1:] != (1,) * (a.ndim - 1):
        first = a[(slice(None), *(slice(0, 1),) * (a.ndim - 1))]
        if (a != first).any():
            return None
        a = first
    line = None if b is None else _line(node, i, np.broadcast_to(a.reshape(-1), b.shape).astype(b.dtype))
    if b is None or line is None:
        return None
    scale, shift = line
    W = W * (scale.reshape((-1, *(1,) * (W.ndim - 1))) if channels else scale)
    changed = Step(node, step.layer, {"W": W, "b": b * scale + shift})
    return before.then(changed, value.shape, value.view)


def _line(node: Node, i: int, a: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Scale and shift of what a node makes of its input number i and a constant; None where it is no line."""
    if not np.isfinite(a).all():
        raise ValueError("its constant has numbers that are NaN or infinite")
    match node.op, i:
        case "Add", _:
            return np.ones_like(a), a
        case "Sub", 0:
            return np.ones_like(a), -a
        case "Sub", _:
            return -np.ones_like(a), a
        case "Mul", _:
            return a, np.zeros_like(a)
        case "Div", 0:
            return 1 / a, np.zeros_like(a)
        case _:
            return None


def _scaled(read: Reader, node: Node, i: int, line: tuple[np.ndarray, np.ndarray] | None) -> Value:
    """A value whose entries are scaled and shifted, each by its own numbers: the next matrix takes them in."""
    value = read.value(node, i)
    if line is None or len(value.seen) != 1:
        raise ValueError(
            "its constant is not one number, and no layer with weights is right before it that could take it in, nor "
            "rows of numbers that go on to a product"
        )
    scale, shift = (a.reshape(-1) for a in line)
    value = in_rows(value, node)
    step = value.step
    if step is not None and step.kind == "scaled" and value.before is not None and read.alone(node, i):
        first, value = step.arrays, value.before
        scale, shift = scale * first["scale"], scale * first["shift"] + shift
    arrays = {"scale": scale, "shift": shift}
    return same(value, Step(node, arrays=arrays, kind="scaled"))


@reads("ai.onnx.ml.Scaler")
def scaler(read: Reader, node: Node) -> Value:
    value = read.value(node)
    offset, scale = (np.asarray(node.attributes[name], np.float32) for name in ("offset", "scale"))
    scale, offset = (put_in_order(value, a) for a in (scale, offset))
    return _scaled(read, node, 0, (scale, -offset * scale))
