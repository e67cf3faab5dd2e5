"""Many trainings at once: the same network with other numbers, in steps that all of them take together."""

from xpnet.sweeping.result import Sweep, SweepError, SweepInterrupted, Trial
from xpnet.sweeping.sweep import sweep

__all__ = ["Sweep", "SweepError", "SweepInterrupted", "Trial", "sweep"]
