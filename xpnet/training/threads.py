"""A training step on as many threads as its work deserves."""

from __future__ import annotations

import numpy as np

from xpnet._typing import State
from xpnet.backends.base import Block, CompiledStep, Data
from xpnet.models import Sequential


class ThreadedStep(CompiledStep):
    """A step on so many threads; between blocks there are as many as before."""

    def __init__(self, step: CompiledStep, net: Sequential, number: int | None) -> None:
        self.step, self.net, self.number = step, net, number

    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        with self.net.on_threads(self.number):
            return self.step.run(state, data, block)

    def release(self) -> None:
        self.step.release()
