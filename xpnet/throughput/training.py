"""One entrant training one network: blocks of steps, timed from minibatch numbers on the host to losses on the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xpnet._typing import Array, State
from xpnet.models import TwoLayerNet
from xpnet.optimizers import SGD
from xpnet.throughput.entrants import Entrant
from xpnet.training import LONGEST_BLOCK, make_step
from xpnet.training.minibatches import Minibatches

PIXELS, CLASSES, LEARNING_RATE = 784, 10, 0.1

Split = tuple[Array, Array]


@dataclass(frozen=True)
class Job:
    """Minibatches of ``batch_size`` images, uint8 (N, 784) and divided by 255, on TwoLayerNet 784-hidden-10."""

    hidden: int
    batch_size: int
    seed: int = 0
    dtype: str = "float32"

    @property
    def cost(self) -> int:
        """Grows as the arithmetic of a step does."""
        return self.hidden * self.batch_size


class Block(NamedTuple):
    """Steps in a row: how long they took together, and the loss of each."""

    seconds: float
    losses: np.ndarray


class Training:
    """Of one seed: the same weights and the same minibatches for every entrant.

    Args:
        data: images and labels, on the entrant's backend.
        clock: in seconds.
    """

    def __init__(self, entrant: Entrant, job: Job, data: Split, clock: Callable[[], float]) -> None:
        self.backend, self.clock = entrant.backend, clock
        (self.x, self.t), optimizer = data, SGD(lr=LEARNING_RATE)
        net = TwoLayerNet(PIXELS, job.hidden, CLASSES, seed=job.seed, dtype=job.dtype, backend=self.backend)
        step = make_step(net, optimizer, divide_x_by=255)
        self.step = self.backend.compile(step) if entrant.compiled else step
        self.state: State = {"params": net.params, "optimizer": optimizer.init(net.params)}
        # whole minibatches only: a shorter one would be of another shape, which some libraries compile
        whole = self.x.shape[0] // job.batch_size * job.batch_size
        self.batches = Minibatches(whole, job.batch_size, np.random.default_rng(job.seed))

    @property
    def longest(self) -> int:
        """The most steps that a block may have: what a Trainer takes at a time, and no epoch's end within."""
        return min(LONGEST_BLOCK, self.batches.per_epoch)

    def take(self, steps: int) -> Block:
        """The next steps; what an epoch has left is passed over if it is not as many."""
        rows = self.batches.block(steps).rows
        while len(rows) < steps:
            rows = self.batches.block(steps).rows
        start = self.clock()
        self.state, losses = self.backend.run(self.step, self.state, self.x, self.t, rows)
        self.backend.synchronize()
        return Block(self.clock() - start, losses)

    def weights(self) -> dict[str, np.ndarray]:
        """Copies on the host."""
        return {name: np.array(self.backend.to_numpy(p)) for name, p in self.state["params"].items()}
