"""Layers with one mistake each, and a right one that they are made of."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xpnet import namespace
from xpnet.layers import Affine, BatchNorm, GraphLayer, Layer


@dataclass(frozen=True)
class Square(Layer):
    """y = x²: right, and what the mistakes below are made in."""

    acts_on = "element"

    def forward(self, params, x):
        return x * x, x

    def backward(self, params, x, dy):
        return 2 * x * dy, {}


@dataclass(frozen=True)
class Swish(GraphLayer):
    acts_on = "element"

    def apply(self, params, x):
        return x / (1 + namespace(x).exp(-x))


class WrongGradient(Square):
    def backward(self, params, x, dy):
        return x * dy, {}


class WrongInOneEntry(Square):
    def backward(self, params, x, dy):
        dx = 2 * x * dy
        dx[0, 2] *= 1.001
        return dx, {}


class WritesIntoItsInput(Square):
    def forward(self, params, x):
        x *= x
        return x, x


class WritesTheSameIntoItsInput(Square):
    def forward(self, params, x):
        x += 0
        return x * x, x


class WritesIntoResiduals(Square):
    """Into one that is no argument, so that it shows in the second call alone."""

    def forward(self, params, x):
        return x * x, 2 * x

    def backward(self, params, twice, dy):
        twice *= dy
        return twice, {}


class WritesIntoTheGradientBehindIt(Square):
    def backward(self, params, x, dy):
        dy *= 2
        return x * dy, {}


class KeepsSomething(Square):
    def forward(self, params, x):
        object.__setattr__(self, "seen", x)
        return super().forward(params, x)


class KeepsSomethingInAList(Square):
    seen: ClassVar[list] = []

    def forward(self, params, x):
        self.seen.append(x.shape)
        return super().forward(params, x)


class WrongOutputShape(Square):
    def output_shape(self, shape):
        return shape and (shape[0] + 1,)


class Widens(Square):
    def forward(self, params, x):
        return x * x * np.asarray(1.0), x


class ReachesFurther(Square):
    """Each row less its first entry, said to be elementwise."""

    def forward(self, params, x):
        return x - x[:, :1], None

    def backward(self, params, residuals, dy):
        xp = namespace(dy)
        first = xp.sum(dy, axis=1, keepdims=True)
        return dy - xp.concat([first, xp.zeros_like(dy[:, 1:])], axis=1), {}


class OfTheBatch(Square):
    """Each column less its mean, said to act on samples."""

    acts_on = "sample"

    def forward(self, params, x):
        return x - namespace(x).mean(x, axis=0), None

    def backward(self, params, residuals, dy):
        return dy - namespace(dy).mean(dy, axis=0), {}

    def output_shape(self, shape):
        return shape


class Random(Square):
    def forward(self, params, x):
        return x * np.random.default_rng().random(), x


NUMBERS = itertools.count()


class Counting(Square):
    """Not a function of its arguments, and seen only by calling it twice."""

    def forward(self, params, x):
        return x * next(NUMBERS), x


class ReadsAValue(Square):
    def forward(self, params, x):
        return x * x if float(x[0, 0]) < 100 else x, x


class Forgets(Affine):
    def backward(self, params, residuals, dy):
        xp, (x, _) = namespace(dy), residuals
        grads = {"W": xp.matmul(xp.matrix_transpose(x), dy), "b": xp.sum(dy, axis=0)}
        return xp.matmul(dy, xp.matrix_transpose(params["W"])), grads

    def parameter_gradients(self, params, x, dy):
        return {"W": super().parameter_gradients(params, x, dy)["W"]}


class Disagrees(Affine):
    def backward(self, params, x, dy):
        dx, grads = super().backward(params, x, dy)
        return dx, grads | {"b": 2 * grads["b"]}


class Misnamed(Square):
    def init(self, rng, weight_init):
        return {"my weight": weight_init(rng, (3,))}

    def backward(self, params, x, dy):
        return 2 * x * dy, {"my weight": namespace(dy).zeros_like(params["my weight"])}


class UnknownBuffer(BatchNorm):
    def train(self, params, x):
        y, residuals, updates = super().train(params, x)
        return y, residuals, updates | {"count": updates["mean"]}


class TrainsWrong(BatchNorm):
    """Mean and variance taken for constants."""

    def backward(self, params, residuals, dy):
        return super().backward(params, (*residuals[:2], False), dy)


class FreshDraws(Square):
    def draws(self, rng, shape):
        return {"noise": np.random.default_rng().normal(size=shape)}


class Unequal(Square):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class FromNumPy(Square):
    def forward(self, params, x):
        return np.multiply(x, x), x


class PredictsOtherwise(Square):
    def predict(self, params, x):
        return x


class NoGradientOfX(Square):
    def backward(self, params, x, dy):
        return None, {}


class Fails(Square):
    def forward(self, params, x):
        raise KeyError("V")


@dataclass(frozen=True)
class Untyped(Square):
    """A field whose declared type is not that of its value."""

    factor: int = 0.5

    def forward(self, params, x):
        return self.factor * x * x, x

    def backward(self, params, x, dy):
        return 2 * self.factor * x * dy, {}
