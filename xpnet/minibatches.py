"""Minibatches, drawn on the host: one seed gives the same ones on every backend."""

from __future__ import annotations

import numpy as np


class Minibatches:
    """Shuffled epochs without end: every sample once, then again in another order; the last batch may be shorter.

    >>> batches = Minibatches(5, 2, np.random.default_rng(0))
    >>> batches.block(10).shape, batches.block(10).shape, batches.epoch_ended
    ((2, 2), (1, 1), True)
    """

    def __init__(self, n: int, batch_size: int, rng: np.random.Generator) -> None:
        self.n, self.batch_size, self.rng = n, batch_size, rng
        self.order, self.position = np.arange(0), 0

    @property
    def per_epoch(self) -> int:
        """How many minibatches an epoch has."""
        return -(-self.n // self.batch_size)

    def block(self, most: int) -> np.ndarray:
        """The samples of the next minibatches, integers (K, B): at most so many, of one size, of one epoch."""
        if self.epoch_ended:
            self.order, self.position = self.rng.permutation(self.n), 0
        rest = self.order[self.position :]
        whole = min(most, rest.size // self.batch_size)
        rows = rest[: whole * self.batch_size].reshape(whole, -1) if whole else rest[None, :]
        self.position += rows.size
        return rows

    @property
    def epoch_ended(self) -> bool:
        return self.position == self.order.size
