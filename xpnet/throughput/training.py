"""One entrant training one network: blocks of steps, timed from minibatch numbers on the host to losses on the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from xpnet._typing import Array
from xpnet.initializers import normal
from xpnet.layers import Affine, Layer, ReLU, Rescale
from xpnet.models import Sequential
from xpnet.optimizers import SGD, Adam
from xpnet.optimizers.loss_scaling import with_loss_scaling
from xpnet.parallel import ALONE, Parallel
from xpnet.throughput.entrants import Entrant
from xpnet.training import LONGEST_BLOCK, init_state
from xpnet.training.minibatches import Minibatches
from xpnet.training.step import compiled_step

PIXELS, CLASSES, LEARNING_RATE = 784, 10, 0.1

Split = tuple[Array, Array]


@dataclass(frozen=True)
class Job:
    """Minibatches of ``batch_size`` images, uint8 (N, 784) and divided by 255, on a network of ``depth`` hidden layers.

    They are as wide as each other; with one it is the book's 784-hidden-10. The rule is SGD, or ``adam``;
    ``compute_dtype`` and ``tf32`` are those of :class:`xpnet.Trainer`.
    """

    hidden: int
    batch_size: int
    seed: int = 0
    dtype: str = "float32"
    depth: int = 1
    adam: bool = False
    compute_dtype: str | None = None
    tf32: bool | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer, inputs and outputs included."""
        return PIXELS, *[self.hidden] * self.depth, CLASSES

    @property
    def operations(self) -> int:
        """Additions and multiplications in the matrix products of a step, without the gradient of the images."""
        first, *rest = [n * m for n, m in pairwise(self.sizes)]
        return 2 * self.batch_size * (2 * first + 3 * sum(rest))


class Timed(NamedTuple):
    """Steps in a row: how long they took together, and the loss of each."""

    seconds: float
    losses: np.ndarray


class Training:
    """Of one seed: the same weights and the same minibatches for every entrant.

    Args:
        data: images and labels, on the entrant's backend.
        clock: in seconds.
        parallel: the processes that take part in each step; all of them make this Training.
    """

    def __init__(
        self, entrant: Entrant, job: Job, data: Split, clock: Callable[[], float], parallel: Parallel = ALONE
    ) -> None:
        self.backend, self.clock = entrant.backend, clock
        x, t = data
        self.data, optimizer = {"x": x, "t": t}, Adam() if job.adam else SGD(lr=LEARNING_RATE)
        affine = [Affine(*pair) for pair in pairwise(job.sizes)]
        hidden = [layer for each in affine[:-1] for layer in (each, ReLU())]
        layers: list[Layer] = [Rescale(1 / 255), *hidden, affine[-1]]
        net = Sequential(layers, weight_init=normal(0.01), seed=job.seed, dtype=job.dtype, backend=self.backend)
        transforms = with_loss_scaling((), job.compute_dtype)
        self.step = compiled_step(net, optimizer, transforms, parallel, job.compute_dtype, entrant.compiled)
        self.state, self.tf32 = init_state(net, optimizer, transforms), job.tf32
        # whole minibatches only: a shorter one would be of another shape, which some libraries compile
        whole = x.shape[0] // job.batch_size * job.batch_size
        self.batches = Minibatches(whole, job.batch_size, np.random.default_rng(job.seed))

    @property
    def longest(self) -> int:
        """The most steps that a block may have: what a Trainer takes at a time, and no epoch's end within."""
        return min(LONGEST_BLOCK, self.batches.per_epoch)

    def take(self, steps: int) -> Timed:
        """The next steps; what an epoch has left is passed over if it is not as many."""
        block = self.batches.block(steps)
        while len(block.rows) < steps:
            block = self.batches.block(steps)
        start = self.clock()
        with self.backend.with_tf32(self.tf32):
            self.state, losses = self.step.run(self.state, self.data, block)
            self.backend.synchronize()
        return Timed(self.clock() - start, losses)

    def weights(self) -> dict[str, np.ndarray]:
        """Copies on the host."""
        return {name: np.array(self.backend.to_numpy(p)) for name, p in self.state["params"].items()}
