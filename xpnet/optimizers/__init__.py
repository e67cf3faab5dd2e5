"""Optimizers, in rising complexity: ``init(params) -> state``, ``step(params, grads, state) -> (params, state)``."""

from xpnet.optimizers.adam import Adam, AdaMax, AdamW, NAdam, RAdam
from xpnet.optimizers.adaptive import AdaDelta, AdaGrad, RMSprop
from xpnet.optimizers.base import Optimizer, check_learning_rate
from xpnet.optimizers.momentum import SGD, Momentum, Nesterov
from xpnet.optimizers.signs import Ftrl, Lion

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "Ftrl",
    "Lion",
    "Momentum",
    "NAdam",
    "Nesterov",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "check_learning_rate",
]

#: The optimizers by name; each takes its learning rate as ``lr``.
OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": AdaGrad,
    "adadelta": AdaDelta,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
    "adamax": AdaMax,
    "nadam": NAdam,
    "radam": RAdam,
    "lion": Lion,
    "ftrl": Ftrl,
}
