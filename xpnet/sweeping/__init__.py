"""Many trainings at once: the same network with other numbers, in steps that all of them take together."""

from xpnet.sweeping.result import Sweep, Trial
from xpnet.sweeping.sweep import sweep

__all__ = ["Sweep", "Trial", "sweep"]
