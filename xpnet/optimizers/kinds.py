"""The optimizers and the transforms by name."""

from __future__ import annotations

from xpnet._typing import Transform
from xpnet.optimizers.adam import Adam, AdaMax, AdamW, NAdam, RAdam
from xpnet.optimizers.adaptive import AdaDelta, AdaGrad, RMSprop
from xpnet.optimizers.base import Optimizer
from xpnet.optimizers.loss_scaling import LossScaling
from xpnet.optimizers.momentum import SGD, Momentum, Nesterov
from xpnet.optimizers.signs import Ftrl, Lion
from xpnet.optimizers.transforms import Accumulate, ClipByNorm, ClipByValue, ScaleGradients, WeightDecay

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

#: The transforms by the name of their class.
TRANSFORMS: dict[str, type[Transform]] = {
    kind.__name__: kind for kind in (ClipByValue, ClipByNorm, WeightDecay, ScaleGradients, LossScaling, Accumulate)
}
