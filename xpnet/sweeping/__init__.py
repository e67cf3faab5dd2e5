"""Many trainings at once: the same network with other numbers, in steps that all of them take together."""

from xpnet.sweeping.result import Sweep, SweepInterrupted, Trial
from xpnet.sweeping.sweep import sweep

__all__ = ["Sweep", "SweepInterrupted", "Trial", "sweep"]
