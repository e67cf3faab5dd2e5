"""Which activation a formula is: exporters write several nodes for one, each its own; told by what they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from math import erf, expm1, log
from typing import Any

import numpy as np

from xpnet.layers import ELU, GELU, Identity, LeakyReLU, ReLU, Rescale, Sigmoid, Softplus, Swish, Tanh
from xpnet.layers.base import Layer
from xpnet.onnx.reading.values import Step

POINTS = np.concatenate([np.linspace(-8, 8, 65), [-1e-3, 1e-3, -0.7071, 0.7071]])
#: Constants of half precision are wrong by as much; the two kinds of GELU are 5e-4 apart.
CLOSE = 1.5e-4


def plain(number: Any) -> float:
    """A number of single precision as one writes it: 0.01, and not 0.009999999776482582."""
    return float(str(np.float32(number))) if np.isfinite(number) else float(number)


def recognized(function: Callable[[Any], Any]) -> Layer | None:
    """The layer that computes a function of each number by itself, or None."""
    try:
        with np.errstate(all="ignore"):
            wanted = np.asarray(function(POINTS), np.float64)
            if wanted.shape != POINTS.shape or not np.isfinite(wanted).all():
                return None
            layers = list(_candidates(lambda x: float(function(np.asarray([x]))[0])))
            apart = [np.max(np.abs(layer.predict({}, POINTS) - wanted) / (1 + np.abs(wanted))) for layer in layers]
    except (TypeError, ValueError, ArithmeticError):  # truth values, for example, that are no numbers
        return None
    best = min(range(len(layers)), key=apart.__getitem__)
    return layers[best] if apart[best] <= CLOSE else None


def _candidates(at: Callable[[float], float]) -> Iterator[Layer]:
    yield from (Identity(), ReLU(), Sigmoid(), Tanh(), Softplus(), GELU(exact=True), GELU())
    yield LeakyReLU(plain(-at(-1.0)))
    if at(1.0):
        yield Rescale(plain(at(1.0)))
    if at(-1.0) < 0:
        yield ELU(plain(at(-1.0) / expm1(-1.0)))
    if 0 < at(1.0) < 1:
        yield Swish(plain(-log(1 / at(1.0) - 1)))


#: What operators of one input do to each number.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Erf": np.vectorize(erf, otypes=[np.float64]),
    "Exp": np.exp,
    "Log": np.log,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Softplus": lambda x: np.logaddexp(x, 0),
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
}
#: The same of those that have numbers among their attributes.
WITH_NUMBERS: dict[str, Callable[..., Any]] = {
    "Celu": lambda x, alpha=1.0: np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(x / alpha)),
    "Elu": lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: np.clip(alpha * x + beta, 0, 1),
    "LeakyRelu": lambda x, alpha=0.01: np.where(x > 0, x, alpha * x),
}
#: The layers that operators of one input are.
LAYERS: dict[str, Callable[..., Layer]] = {
    "Elu": lambda alpha=1.0: ELU(plain(alpha)),
    "LeakyRelu": lambda alpha=0.01: LeakyReLU(plain(alpha)),
    "Relu": ReLU,
    "Sigmoid": Sigmoid,
    "Softplus": Softplus,
    "Tanh": Tanh,
}
#: What operators of several inputs do.
OF_SEVERAL: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Div": np.divide,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Pow": np.power,
    "Sub": np.subtract,
    "Where": np.where,
}


def function_of(op: str, attributes: dict[str, Any]) -> tuple[Callable[[Any], Any], Layer | None]:
    """What an operator of one input does to each number, and the layer that it is, if it is one."""
    layer = LAYERS.get(op, lambda **_: None)
    if op in FUNCTIONS:
        return FUNCTIONS[op], layer()
    given = {name: float(attributes[name]) for name in ("alpha", "beta") if name in attributes}
    return partial(WITH_NUMBERS[op], **given), layer(**given)


def composed(steps: tuple[Step, ...]) -> Callable[[Any], Any]:
    """What steps one after another do to each number by itself."""
    functions = [step.function for step in steps if step.function is not None]
    return lambda x: reduce(lambda y, f: f(y), functions, x)
