"""Optimizers, in rising complexity: ``init(params) -> state``, ``step(params, grads, state) -> (params, state)``.

And what may stand between the gradients and an optimizer: ``init(params) -> state``, ``update(grads, state, params) ->
(grads, state)``.
"""

from typing import TYPE_CHECKING

from xpnet._later import later

if TYPE_CHECKING:
    from xpnet.optimizers.adam import Adam, AdaMax, AdamW, NAdam, RAdam
    from xpnet.optimizers.adaptive import AdaDelta, AdaGrad, RMSprop
    from xpnet.optimizers.base import Optimizer
    from xpnet.optimizers.kinds import OPTIMIZERS, TRANSFORMS
    from xpnet.optimizers.loss_scaling import LossScaling
    from xpnet.optimizers.momentum import SGD, Momentum, Nesterov
    from xpnet.optimizers.options import check_learning_rate
    from xpnet.optimizers.signs import Ftrl, Lion
    from xpnet.optimizers.transforms import Accumulate, ClipByNorm, ClipByValue, ScaleGradients, WeightDecay
else:
    __getattr__, __dir__ = later(
        __name__,
        {
            "adam": "Adam AdaMax AdamW NAdam RAdam",
            "adaptive": "AdaDelta AdaGrad RMSprop",
            "base": "Optimizer",
            "kinds": "OPTIMIZERS TRANSFORMS",
            "loss_scaling": "LossScaling",
            "momentum": "SGD Momentum Nesterov",
            "options": "check_learning_rate",
            "signs": "Ftrl Lion",
            "transforms": "Accumulate ClipByNorm ClipByValue ScaleGradients WeightDecay",
        },
    )

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "TRANSFORMS",
    "Accumulate",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "ClipByNorm",
    "ClipByValue",
    "Ftrl",
    "Lion",
    "LossScaling",
    "Momentum",
    "NAdam",
    "Nesterov",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "ScaleGradients",
    "WeightDecay",
    "check_learning_rate",
]
