"""The names of the book (and of its code) where ours are others: an error says ours."""

from __future__ import annotations

import functools
import opcode
import sys
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

#: Which call does here what a name of the book does.
OURS = {
    "load_mnist": "xpnet.datasets.mnist(normalize=True, flatten=True, one_hot_label=False)",
    "step_function": "xpnet.functions.step",
    "identity_function": "xpnet.functions.identity",
    "sigmoid_grad": "xpnet.layers.Sigmoid().gradient(y, dy), of its output y",
    "relu_grad": "xpnet.layers.ReLU().gradient(y, dy), of its output y",
    "numerical_diff": "xpnet.numerical_gradient, which takes a number too",
    "numerical_gradient": "xpnet.numerical_gradient",
    "gradient_descent": "xpnet.gradient_descent",
    "Relu": "xpnet.layers.ReLU, and the one that remembers xpnet.book.Relu",
    "SoftmaxWithLoss": "xpnet.losses.SoftmaxWithLoss, and the one that remembers xpnet.book.SoftmaxWithLoss",
    "MulLayer": "xpnet.book.MulLayer",
    "AddLayer": "xpnet.book.AddLayer",
    "simpleNet": "xpnet.book.simpleNet",
    "BatchNormalization": "xpnet.layers.BatchNorm(n), and the one that remembers xpnet.book.BatchNormalization",
    "Convolution": "xpnet.layers.Conv2d(in_channels, out_channels, kernel_size), and the one that remembers "
    "xpnet.book.Convolution",
    "Pooling": "xpnet.layers.MaxPool2d(kernel_size), and the one that remembers xpnet.book.Pooling",
    "Dropout": "xpnet.layers.Dropout(share), and the one that remembers xpnet.book.Dropout",
    "TwoLayerNet": "xpnet.TwoLayerNet",
    "MultiLayerNet": "xpnet.MultiLayerNet",
    "MultiLayerNetExtend": "xpnet.MultiLayerNet(..., dropout=0.5), or xpnet.Sequential([...]) with BatchNorm layers",
    "Trainer": "xpnet.Trainer",
}


def missing(module: str, name: str) -> Exception:
    """What the ``__getattr__`` of a module raises for a name that it has not."""
    if name not in OURS:
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    return unknown(f"{module} has no {name}; the book's {name} is here {OURS[name]}", 3)


def unknown(text: str, depth: int = 2) -> Exception:
    """An error of a module's ``__getattr__``, called by it, or by what it called at this ``depth``.

    It is an ``ImportError`` in ``from module import name``, where Python would say another thing than an
    ``AttributeError`` does.
    """
    caller = sys._getframe(depth)
    asked = opcode.opname[caller.f_code.co_code[caller.f_lasti]] if caller.f_lasti >= 0 else ""
    return ImportError(text) if asked == "IMPORT_FROM" else AttributeError(text)


def book_arguments(**ours: str) -> Callable[[Callable[Given, Result]], Callable[Given, Result]]:
    """A decorator: arguments of these names, which are the book's, raise a ``TypeError`` that says what is ours."""

    def decorate(function: Callable[Given, Result]) -> Callable[Given, Result]:
        @functools.wraps(function)
        def checked(*args: Given.args, **options: Given.kwargs) -> Result:
            _check(function.__qualname__.removesuffix(".__init__"), options, ours)
            return function(*args, **options)

        return checked

    return decorate


def _check(called: str, options: Mapping[str, object], ours: Mapping[str, str]) -> None:
    if found := [f"the book's {name} is here {ours[name]}" for name in options if name in ours]:
        raise TypeError(f"{called}: {'; '.join(found)}")
