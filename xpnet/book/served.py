"""The book's modules ``common`` and ``dataset``, made of xpnet's and put where Python looks for imported modules."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Iterable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from xpnet.book import functions, gradient, images, layers, mnist, multi_layer_net, optimizer, trainer, util
from xpnet.book.numbers import use
from xpnet.hints import unknown

#: What each of the book's modules offers, and where it is from.
FUNCTIONS = (
    *("identity_function", "step_function", "sigmoid", "sigmoid_grad", "relu", "relu_grad", "softmax"),
    *("sum_squared_error", "cross_entropy_error", "softmax_loss"),
)
UTIL = ("smooth_curve", "shuffle_dataset", "conv_output_size", "im2col", "col2im")
GRADIENT = ("numerical_gradient", "numerical_gradient_2d")
LAYERS = ("Relu", "Sigmoid", "Dropout", "BatchNormalization")
OPTIMIZER = ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSprop", "Adam")
MNIST = ("load_mnist", "init_mnist", "train_num", "test_num", "img_dim", "img_size")
PACKAGES = ("common", "dataset")


class Served(ModuleType):
    """A module of the book; a name that it has not is told with those that it has."""

    def __init__(self, name: str, found: dict[str, Any]) -> None:
        super().__init__(name, f"The book's {name}, served by xpnet.")
        self.__dict__.update(found)
        if name in PACKAGES:
            self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or self.__name__ in PACKAGES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        offered = ", ".join(sorted(n for n in vars(self) if not n.startswith("_")))
        raise unknown(f"{self.__name__} has no {name}, and the book's has none; it has: {offered}")


def modules(namespace: Any) -> dict[str, Served]:
    """The book's modules by name; ``import *`` brings along what it does in the book, ``np`` too."""
    np_ = {"np": namespace}
    system = {"os": os, "sys": sys}
    offered = {
        "common": {},
        "common.functions": np_ | _named(functions, FUNCTIONS),
        "common.util": np_ | _named(util, UTIL),
        "common.gradient": np_ | _named(gradient, GRADIENT),
        "common.optimizer": np_ | _named(optimizer, OPTIMIZER),
        "dataset": {},
        "dataset.mnist": np_ | _named(mnist, MNIST),
    }
    offered["common.layers"] = (
        offered["common.functions"]
        | _named(layers, LAYERS)
        | {kind.__name__: _deferring(kind) for kind in (layers.Affine, images.Convolution)}
        | {"Pooling": images.Pooling}
        | _named(util, ("im2col", "col2im"))
        | {"SoftmaxWithLoss": layers.PrintedSoftmaxWithLoss}
    )
    offered["common.trainer"] = system | offered["common.optimizer"] | {"Trainer": trainer.Trainer}
    net = offered["common.layers"] | system | {"OrderedDict": OrderedDict}
    net |= {"numerical_gradient": gradient.numerical_gradient}
    for name, kind in (
        ("multi_layer_net", multi_layer_net.MultiLayerNet),
        ("multi_layer_net_extend", multi_layer_net.MultiLayerNetExtend),
    ):
        offered[f"common.{name}"] = net | {kind.__name__: kind}
    made = {name: Served(name, found) for name, found in offered.items()}
    for name, module in made.items():
        package, _, own = name.partition(".")
        if own:
            setattr(made[package], own, module)
    return made


def _named(module: ModuleType, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(module, name) for name in names}


@cache
def _deferring(kind: type) -> type:
    return type(kind.__name__, (kind,), {"defers": True, "__doc__": kind.__doc__, "__module__": "common.layers"})


class _Missing:
    """A finder that says which modules there are where one is asked for that the book has not."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        package = sys.modules.get(name.partition(".")[0])
        if isinstance(package, Served) and "." in name:
            offered = ", ".join(sorted(vars(package)[n].__name__ for n in vars(package) if not n.startswith("_")))
            raise ModuleNotFoundError(f"the book has no module {name}; it has: {offered}", name=name)


def install(namespace: Any = np, packages: Iterable[str] = PACKAGES) -> None:
    """Have ``import common`` and ``import dataset`` find the book's modules, served by xpnet, until :func:`uninstall`.

    Args:
        namespace: what the modules call ``np``, NumPy or one that is written like it (``cupy``): ``load_mnist``, new
            networks and random numbers are its arrays.
        packages: ``"common"``, ``"dataset"``, or both.

    Raises:
        ImportError: a module of one of these names was imported from elsewhere; the message says from where.

    >>> install()
    >>> from common.functions import softmax
    >>> uninstall()
    """
    for name in packages:
        here = sys.modules.get(name)
        if here is not None and not isinstance(here, Served):
            where = getattr(here, "__file__", None) or ", ".join(getattr(here, "__path__", ())) or "elsewhere"
            raise ImportError(
                f"{name!r} is imported already, from {where}; the book's {name} can be served in a new process, or "
                f"after del sys.modules[{name!r}] and all that begins with {name + '.'!r}"
            )
    uninstall()
    use(namespace)
    wanted = set(packages)
    sys.modules.update({name: m for name, m in modules(namespace).items() if name.partition(".")[0] in wanted})
    sys.meta_path.insert(0, _Missing)


def uninstall() -> None:
    """Take the book's modules away again; what was imported from them stays as it is."""
    use(np)
    for name in [name for name, module in sys.modules.items() if isinstance(module, Served)]:
        del sys.modules[name]
    if _Missing in sys.meta_path:
        sys.meta_path.remove(_Missing)
