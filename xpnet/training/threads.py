"""How many threads a training computes on: few where they would mostly wait for each other."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import numpy as np

from xpnet._typing import State
from xpnet.backends.base import Block, CompiledStep, Data
from xpnet.layers.base import shapes_of
from xpnet.layers.branches import Wrapped
from xpnet.layers.chain import Several
from xpnet.models import Sequential
from xpnet.models.summary import Line, lines


def largest_product(net: Sequential, shape: tuple[int, ...], samples: int) -> int:
    """About how many multiplications the largest product of matrices in a step takes, for samples of this shape."""
    return samples * max(map(_multiplications, lines(net.chain, shape, 0, "")), default=0)


def _multiplications(line: Line) -> int:
    """Those of the largest product in a layer, for one sample; layers in a container have lines of their own."""
    inner = line.layer
    while isinstance(inner, Wrapped):
        inner = inner.inner
    if isinstance(inner, Several) or inner.takes == "integers":
        return 0
    shapes = list(shapes_of(line.layer).values())
    largest = max((prod(shape) for shape in shapes if len(shape) > 1), default=0)
    units = max((shape[0] for shape in shapes if len(shape) == 1), default=0)
    # a layer with fewer biases than outputs takes the product at several places: time steps, or places of an image
    places = prod(line.behind) // units if units and line.behind is not None else 1
    return largest * max(places, 1)


def chosen_threads(net: Sequential, data: Data, batch_size: int, asked: int | None) -> int | None:
    """How many threads steps on this data take; None where it is not for us to say."""
    threads = net.backend.threads
    if threads is None:
        return None
    return threads.choose(largest_product(net, tuple(data["x"].shape[1:]), batch_size), asked)


def on_threads(net: Sequential, number: int | None) -> AbstractContextManager[Any]:
    """What is computed in the block takes no more threads than this."""
    threads = net.backend.threads
    return nullcontext() if threads is None else threads.limited(number)


class ThreadedStep(CompiledStep):
    """A step that computes on so many threads; between blocks there are as many as before."""

    def __init__(self, step: CompiledStep, net: Sequential, number: int | None) -> None:
        self.step, self.net, self.number = step, net, number

    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        with on_threads(self.net, self.number):
            return self.step.run(state, data, block)

    def release(self) -> None:
        self.step.release()
