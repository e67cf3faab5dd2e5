"""The book "Deep Learning from Scratch", volume 1: its layers and optimizers, and its own programs, unedited.

``python -m xpnet.book SCRIPT.py`` runs a script of the book with its modules ``common`` and ``dataset`` served from
here, and :func:`install` serves them in a notebook or a program of one's own. The files of this folder have the names
of the book's modules: ``common.functions`` is ``functions.py``.
"""

from typing import Any

from xpnet.book.images import Convolution, Pooling
from xpnet.book.layers import Affine, BatchNormalization, Dropout, Relu, Sigmoid, SoftmaxWithLoss
from xpnet.book.optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop
from xpnet.book.pickles import load_pickle
from xpnet.book.served import install, uninstall
from xpnet.book.tutorial import AddLayer, MulLayer, simpleNet
from xpnet.hints import missing

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "AddLayer",
    "Affine",
    "BatchNormalization",
    "Convolution",
    "Dropout",
    "Momentum",
    "MulLayer",
    "Nesterov",
    "Pooling",
    "RMSprop",
    "Relu",
    "Sigmoid",
    "SoftmaxWithLoss",
    "install",
    "load_pickle",
    "simpleNet",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
