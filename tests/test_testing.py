"""xpnet.testing: what is right passes, and each mistake is found and told in a sentence with numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from mistaken_layers import (
    Counting,
    Disagrees,
    Fails,
    Forgets,
    FreshDraws,
    FromNumPy,
    KeepsSomething,
    KeepsSomethingInAList,
    Misnamed,
    NoGradientOfX,
    OfTheBatch,
    PredictsOtherwise,
    Random,
    ReachesFurther,
    ReadsAValue,
    Square,
    Swish,
    TrainsWrong,
    Unequal,
    UnknownBuffer,
    Untyped,
    Widens,
    WritesIntoItsInput,
    WritesIntoResiduals,
    WritesIntoTheGradientBehindIt,
    WritesTheSameIntoItsInput,
    WrongGradient,
    WrongInOneEntry,
    WrongOutputShape,
)

from xpnet import SGD, Adam, get_backend, namespace
from xpnet.backends.numpy import NumpyBackend
from xpnet.layers import Affine, Chain, Embedding, Layer, Residual, Tanh
from xpnet.optimizers import OPTIMIZERS
from xpnet.schedules import Exponential, Warmup
from xpnet.testing import check_backend, check_layer, check_optimizer

FOUND = {
    WrongGradient: r"the gradient with respect to x is [-\d.e]+ at entry \[\d, \d\], and central differences of "
    r"forward give [-\d.e]+; 12 of 12 entries are wrong\. Look at backward",
    WrongInOneEntry: r"x is [-\d.e]+ at entry \[0, 2\], and central .* 1 of 12 entries are wrong",
    WritesIntoItsInput: r"forward changed the input x, which belongs to the caller: entry \[\d, \d\] was .* and is",
    WritesTheSameIntoItsInput: r"forward writes into an array that it was given",
    WritesIntoResiduals: "backward gives another gradient with respect to x .* it changes the residuals",
    WritesIntoTheGradientBehindIt: "backward changed dy, which belongs to the caller",
    KeepsSomething: r"forward changed self\.seen; a layer holds nothing but its description",
    KeepsSomethingInAList: r"forward changed KeepsSomethingInAList\.seen",
    WrongOutputShape: r"output_shape\(\(3,\)\) is \(4,\), and forward makes samples of shape \(3,\)",
    Widens: r"forward's output is float64 where everything given was float32.*numpy, in float32",
    ReachesFurther: r"acts_on is 'element', and moving entry \[0, 0\] of the input changes entry \[0, 1\]",
    OfTheBatch: r"acts_on is 'sample', and moving entry \[0, 0\] of the input changes entry \[1, 0\]",
    Random: "forward gives another output when it is called again with the same",
    Counting: "forward gives another output when it is called again with the same",
    ReadsAValue: "a training step of it cannot be compiled: .*asks for the value of an array",
    Misnamed: "a parameter is called 'my weight', expected a name such as 'W'",
    FreshDraws: "draws gives other values of 'noise' for the same rng",
    Unequal: "a copy by pickle is not equal to it",
    PredictsOtherwise: "predict's output is .*, and forward's",
    NoGradientOfX: "backward's dx is of type NoneType, expected an array",
    Fails: "forward raised KeyError: 'V'",
    Untyped: "load_network cannot make it again: .*factor is 0.5, expected int",
}


@pytest.mark.parametrize("kind", FOUND, ids=lambda kind: kind.__name__)
def test_a_layer_with_a_mistake_is_found(kind):
    with pytest.raises(AssertionError, match=FOUND[kind]) as raised:
        check_layer(kind(), (4, 3), backends=["numpy"])
    assert str(raised.value).startswith(f"{kind.__name__}(")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Forgets(3, 2), r"parameter_gradients returns gradients of \['W'\], expected one of each of \['W', 'b'\]"),
        (Disagrees(3, 2), r"parameter_gradients' 'b' is .*, and backward's"),
        (
            UnknownBuffer(3),
            r"train returns new values of \['count', 'mean', 'var'\], and the buffers are \['mean', 'var'",
        ),
        (TrainsWrong(3), "the gradient with respect to x is .* central differences of train give"),
        (Residual(WrongGradient()), "the gradient with respect to x is .* 12 of 12 entries are wrong"),
        (Chain(Affine(3, 3), KeepsSomething(), Affine(3, 2)), r"forward changed self\.layers\[1\]\.seen"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Layer) else "",
)
def test_mistakes_with_parameters_are_found(layer, message):
    with pytest.raises(AssertionError, match=message):
        check_layer(layer, (4, 3), backends=["numpy"])


def test_a_layer_for_one_library_alone_is_found():
    with pytest.raises(
        AssertionError, match=r"forward's output is a numpy array, expected .* 'strict'.*\(on strict, in float64\)"
    ):
        check_layer(FromNumPy(), (4, 3), backends=["strict"])


def test_right_layers_pass(backend):
    assert check_layer(Square(), (4, 3), backends=[backend]) == []
    assert check_layer(Swish(), (4, 2, 3), backends=[backend]) == []
    assert check_layer(Embedding(6, 2), (3, 4), integers=6, backends=[backend]) == []


def test_what_cannot_be_checked_is_said():
    @dataclass(frozen=True)
    class Outside(Square):
        """Its exponential is NumPy's own, which no graph sees."""

        def forward(self, params, x):
            e = np.exp(np.asarray(x))
            return x + e, e

        def backward(self, params, e, dy):
            return dy * (1 + e), {}

    (note,) = check_layer(Outside(), (4, 3), backends=["numpy"], without=["copies", "files", "steps"])[:1]
    assert note.startswith("the graph does not record forward: ")
    with pytest.raises(AssertionError, match=r"pickle failed with .*stand at the top of a module"):
        check_layer(Outside(), (4, 3), backends=["numpy"], without=["steps"])


def test_wrong_calls_are_no_findings():
    with pytest.raises(TypeError, match="is no layer"):
        check_layer(Affine, (4, 3))
    with pytest.raises(ValueError, match=r"x_shape is \(1, 3\), expected two samples or more"):
        check_layer(Square(), (1, 3))
    with pytest.raises(ValueError, match="without names gradient; known: acts_on, copies"):
        check_layer(Square(), (4, 3), without=["gradient"])
    with pytest.raises(ValueError, match="takes integers; say how many different ones: integers=10"):
        check_layer(Embedding(10, 2), (4,))
    with pytest.raises(TypeError, match=r"expected an instance such as SGD"):
        check_optimizer(SGD)
    with pytest.raises(ValueError, match="without names step; known: "):
        check_optimizer(SGD(0.1), without=["step"])


class Uphill(SGD):
    def rule(self, w, g, slots, lr, shared):
        w += lr * g
        return w


class WritesGradients(SGD):
    def step(self, params, grads, state):
        for g in grads.values():
            g *= 0.5
        return super().step(params, grads, state)


class CountsUnseen(SGD):
    steps: ClassVar[list] = []

    def step(self, params, grads, state):
        self.steps.append(1)
        return super().step(params, grads, state)


class CountsInAnInteger(SGD):
    def init(self, params):
        return {"count": 0}

    def step(self, params, grads, state):
        params, _ = super().step(params, grads, {})
        return params, {"count": state["count"] + 1}


class GrowsItsState(SGD):
    def step(self, params, grads, state):
        params, _ = super().step(params, grads, {})
        return params, {"last": dict(grads)}


class Narrows(SGD):
    def rule(self, w, g, slots, lr, shared):
        return namespace(w).astype(w - lr * g, namespace(w).float32)


class MovesAll(SGD):
    def step(self, params, grads, state):
        missing = {name: namespace(p).ones_like(p) for name, p in params.items() if name not in grads}
        return super().step(params, grads | missing, state)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Uphill, r"10 steps down a bowl move by [\d.e-]+ along its slope, expected downhill"),
        (WritesGradients, "step writes into an array that it was given"),
        (CountsUnseen, r"init or step changed CountsUnseen\.steps; .* is an array in the state"),
        (CountsInAnInteger, "the state holds 0, expected arrays"),
        (GrowsItsState, "after step 1 the state is .*, and before it was {}"),
        (Narrows, r"after a step 'W1' is \(3, 2\) of float32, and was \(3, 2\) of float64"),
        (MovesAll, "'b1' after a step without a gradient of it is"),
    ],
)
def test_an_optimizer_with_a_mistake_is_found(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_optimizer(kind(0.1), backends=["numpy"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_right_optimizers_pass(name):
    assert check_optimizer(OPTIMIZERS[name](), backends=["numpy"]) == []


def test_an_optimizer_passes_on_every_backend(training_backend):
    options = {"clip_norm": 1.0, "weight_decay": 0.01, "decoupled": True}
    assert check_optimizer(Adam(Warmup(3, Exponential(0.1, factor=0.9)), **options), backends=[training_backend]) == []


class Sharing(NumpyBackend):
    def _asarray(self, x, dtype, copy):
        return np.asarray(x, dtype)


class AddsOnce(NumpyBackend):
    @staticmethod
    def add_at(x, index, rows):
        x[index] += rows
        return x


class Unordered(NumpyBackend):
    def map(self, function, items):
        return map(function, reversed(list(items)))


class Elsewhere(NumpyBackend):
    @classmethod
    def devices(cls):
        return ("shelf",)


class Rounds(NumpyBackend):
    def _asarray(self, x, dtype, copy):
        return super()._asarray(np.round(x, 1) if getattr(x, "dtype", None) == "float64" else x, dtype, copy)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Sharing, r"asarray\(x, copy=True\) shares memory with x"),
        (AddsOnce, r"add_at\(x, \[3, 0, 3\], rows\), where a row comes twice, is .* at entry \[3, \d\], and it gives"),
        (Unordered, "map does not give the results in the order of the items"),
        (Elsewhere, "is not found by its name: .*has no device 'shelf'"),
        (Rounds, "the losses after a training of plain steps is .*, and on NumPy it is"),
    ],
)
def test_a_backend_with_a_mistake_is_found(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_backend(kind())


def test_right_backends_pass(backend):
    notes = check_backend(backend)
    assert notes == [] if backend.trains else notes[0].startswith("no steps were taken")


def test_names_do_for_backends():
    assert check_backend("strict") == []
    assert check_layer(Chain(Affine(3, 2), Tanh()), (4, 3), backends=["numpy", get_backend("strict", "device1")]) == []
