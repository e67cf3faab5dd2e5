"""Schedules: the learning rate as a function of the number of steps taken so far.

A schedule is a frozen description, called with step numbers t = 0, 1, 2, ...: an array of any shape, or a number.

>>> import numpy as np
>>> schedule = Warmup(4, then=Step(0.8, every=2, factor=0.5))
>>> schedule(np.arange(8)), schedule(7)
(array([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.4, 0.4]), 0.4)
"""

from typing import TYPE_CHECKING

from xpnet._later import later

if TYPE_CHECKING:
    from xpnet.schedules.base import Schedule
    from xpnet.schedules.curves import Constant, Cosine, Exponential, Step, Warmup
    from xpnet.schedules.kinds import SCHEDULES
    from xpnet.schedules.plateau import ReduceOnPlateau
else:
    __getattr__, __dir__ = later(
        __name__,
        {
            "base": "Schedule",
            "curves": "Constant Cosine Exponential Step Warmup",
            "kinds": "SCHEDULES",
            "plateau": "ReduceOnPlateau",
        },
    )

__all__ = ["SCHEDULES", "Constant", "Cosine", "Exponential", "ReduceOnPlateau", "Schedule", "Step", "Warmup"]
