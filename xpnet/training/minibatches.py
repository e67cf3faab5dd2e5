"""Minibatches, and what else is random in a step, drawn on the host: one seed gives the same ones on every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from xpnet.backends.base import Block

#: ``draws(rng, samples)``: what the layers of a network draw for one step on so many samples, by name.
Draws = Callable[[np.random.Generator, int], dict[str, np.ndarray]]

SAMPLING = ("epochs", "sequential", "replacement")
#: About how much memory the draws of one block take.
DRAW_BYTES = 2**26


class Mark(NamedTuple):
    """A place to go back to."""

    order: np.ndarray
    taken: int
    passed: float
    rng: Mapping[str, Any]


class Minibatches:
    """Minibatches of n samples, without end.

    With ``sampling="epochs"``, every sample once, then again in another order; the last batch of an epoch may be
    shorter. With ``"sequential"``, in the order of the data each time. With ``"replacement"``, each batch by itself, as
    the book draws them; an epoch is as many of them. So many
    epochs as ``passed`` says were there before, on other data perhaps.

    >>> batches = Minibatches(5, 2, np.random.default_rng(0))
    >>> batches.block(10).rows.shape, batches.block(10).rows.shape, batches.epoch_ended
    ((2, 2), (1, 1), True)
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        rng: np.random.Generator,
        sampling: str = "epochs",
        passed: float = 0.0,
    ) -> None:
        self.n, self.batch_size, self.rng, self.sampling = n, batch_size, rng, sampling
        self.order, self.taken, self.passed = np.arange(0), self.per_epoch, passed - 1

    @property
    def per_epoch(self) -> int:
        """How many minibatches an epoch has."""
        return -(-self.n // self.batch_size)

    @property
    def epoch_ended(self) -> bool:
        return self.taken == self.per_epoch

    @property
    def epoch(self) -> float:
        """How many passes through the data were made, ``passed`` of them by others before."""
        return self.passed + (self.taken / self.per_epoch if self.n else 1)

    def block(self, most: int, draws: Draws | None = None) -> Block:
        """The next minibatches, at most so many, of one size and one epoch; asking for fewer gives the same ones."""
        if self.epoch_ended:
            self.taken, self.passed = 0, self.passed + 1
            if self.sampling == "epochs":
                self.order = self.rng.permutation(self.n)
            elif self.sampling == "sequential":
                self.order = np.arange(self.n)
        size = self.batch_size
        whole = self.per_epoch if self.sampling == "replacement" else self.n // size
        count = max(min(most, whole - self.taken), 1)
        start, self.taken = self.taken * size, self.taken + count
        if draws is None:
            if self.sampling == "replacement":
                return Block(self.rng.integers(0, self.n, (count, size)), {})
            return Block(self.order[start : start + count * size].reshape(count, -1), {})
        return self._one_by_one(start, count, draws)

    def _one_by_one(self, start: int, count: int, draws: Draws) -> Block:
        """The same, with the draws of one step after those of the step before, however many steps there are."""
        rows, drawn, size, room = [], [], self.batch_size, DRAW_BYTES
        for k in range(count):
            here = slice(start + k * size, start + (k + 1) * size)
            row = self.rng.integers(0, self.n, size) if self.sampling == "replacement" else self.order[here]
            rows.append(row)
            drawn.append(draws(self.rng, len(row)))
            # as of the whole minibatch, so that processes with more rows of it and with fewer cut blocks alike
            room -= sum(len(row) * (a.nbytes // max(len(a), 1) if a.ndim else 1) for a in drawn[-1].values())
            if room <= 0:
                break
        self.taken += len(rows) - count
        return Block(np.stack(rows), {name: np.stack([one[name] for one in drawn]) for name in drawn[0]})

    def mark(self) -> Mark:
        return Mark(self.order, self.taken, self.passed, self.rng.bit_generator.state)

    def go_back(self, mark: Mark) -> None:
        """Be again where ``mark`` was made: the same minibatches follow."""
        self.order, self.taken, self.passed, self.rng.bit_generator.state = mark
