"""The schedules by the name of their class."""

from __future__ import annotations

from xpnet.schedules.base import Schedule
from xpnet.schedules.curves import Constant, Cosine, Exponential, Step, Warmup
from xpnet.schedules.plateau import ReduceOnPlateau

SCHEDULES: dict[str, type[Schedule]] = {
    kind.__name__: kind for kind in (Constant, Step, Exponential, Cosine, Warmup, ReduceOnPlateau)
}
