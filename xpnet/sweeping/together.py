"""Trainings that take their steps together: one state, with an axis of the networks, and one compiled step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet._typing import Array, Params, State
from xpnet.backends.base import Block, Data, PlainStep, Step
from xpnet.backends.dispatch import namespace, quiet
from xpnet.models.evaluation import judge, total_loss
from xpnet.stacked import Stacked, StackError, plain, stacked
from xpnet.stacked.array import moved, place
from xpnet.sweeping.merged import merged, merged_network
from xpnet.training import Trainer, make_step
from xpnet.training.step import copy_state


class Stack:
    """Networks that are trained together.

    Args:
        trainers: one for each network.
        data: all samples, which are the same for all.

    Attributes:
        state: the tree that a step consumes, its arrays those of all networks: (..., E, C).

    Raises:
        StackError: they differ in more than numbers, or do something that is not computed for several together.
    """

    def __init__(self, trainers: Sequence[Trainer], data: Data) -> None:
        first, self.count = trainers[0], len(trainers)
        self.net, self.backend, self.data = merged_network([t.net for t in trainers]), first.net.backend, data
        rate = getattr(first.optimizer, "lr", None)
        if hasattr(rate, "monitor"):
            raise StackError(
                f"{type(rate).__name__} follows the evaluations of one network, and networks that are "
                "trained together share a schedule; give another, Cosine for example, or one_by_one=True"
            )
        if halves := [f"{t.compute_dtype!r} in network {i}" for i, t in enumerate(trainers) if t.compute_dtype]:
            raise StackError(f"compute_dtype is {halves[0]}; one_by_one=True trains in mixed precision")
        optimizer = merged([t.optimizer for t in trainers], "optimizer")
        transforms = merged([t.transforms for t in trainers], "transforms")
        step = together(make_step(self.net, optimizer, transforms=transforms), self.count)
        self.step = self.backend.compile(step) if first.compiles else PlainStep(step, self.backend)
        self.state = joined([t.compose() for t in trainers])

    def run(self, block: Block) -> np.ndarray:
        """Take the steps of a block; returns losses (K, E)."""
        self.state, losses = self.step.run(self.state, self.data, block)
        return losses

    def copy(self) -> State:
        """A copy of the state."""
        return copy_state(self.backend, self.state)

    def one(self, state: State, number: int) -> State:
        """What one network has of a state."""
        return {
            name: self.one(value, number) if isinstance(value, dict) else self.backend.copy(_part(value, number))
            for name, value in state.items()
        }

    @quiet
    def finite(self) -> np.ndarray:
        """Which networks have weights and buffers that are all finite, (E,)."""
        found = np.ones(self.count, bool)
        for array in (*self.state["params"].values(), *self.state["buffers"].values()):
            x = stacked(array, self.count)
            found &= self._host(x.xp.all(x.xp.isfinite(x)))
        return found

    @quiet
    def evaluate(self, data: Data) -> tuple[np.ndarray, np.ndarray | None]:
        """Losses (E,) of samples, and accuracies (E,) or None where there are no classes; as ``net.evaluate``."""
        net, n, shape = self.net, data["x"].shape[0], tuple(data["x"].shape[1:])
        arrays = wrapped(self.state["params"] | self.state["buffers"], self.count)
        classes = net.classifies((n, *(net.output_shape(shape) or self._scores_shape(arrays, data))))
        judged, length = judge(net.forward, net.loss_layer, classes), max(1, net.chunk(shape) // self.count)
        parts = [slice(start, min(start + length, n)) for start in range(0, n, length)]
        found = [judged(arrays, *(stacked(a[rows, ...]) for a in data.values())) for rows in parts]
        names = set.intersection(*map(set, found))
        host = {name: np.stack([self._host(part[name]) for part in found], axis=1) for name in names}  # (E, parts)
        weights = host["weight"].tolist() if "weight" in host else [None] * self.count
        sizes = [rows.stop - rows.start for rows in parts]
        pairs = zip(host["loss"].tolist(), weights, strict=True)
        losses = np.asarray([total_loss(each, weight, sizes, net.loss_layer) for each, weight in pairs])
        named = "hits" in host and bool(np.all(host.get("named", True)))
        return losses, host["hits"].sum(axis=1) / host["seen"].sum(axis=1) if named else None

    def _scores_shape(self, arrays: Params, data: Data) -> tuple[int, ...]:
        return self.net.forward(arrays, stacked(data["x"][:1, ...])).shape[1:]  # type: ignore[no-any-return]

    def _host(self, x: Stacked) -> np.ndarray:
        return self.backend.to_numpy(plain(x, self.count))


def together(step: Step, count: int) -> Step:
    """A step of one network as that of ``count``, whose losses (E,) it returns.

    Rows (B,) are those of the minibatch of all, and rows (E, B) of each network's own; the draws go with them.
    """

    def of_all(state: State, data: Data, rows: Array, draws: Params) -> tuple[State, Array]:
        own = count if rows.ndim > 1 else None
        after, loss = step(wrapped(state, count), wrapped(data, None), stacked(rows, own), wrapped(draws, own))
        return _unwrapped(after, count), plain(loss, count)

    return of_all


def wrapped(tree: Any, count: int | None) -> Any:
    """Nested dicts with their arrays as those of so many networks."""
    return {k: wrapped(v, count) if isinstance(v, dict) else stacked(v, count) for k, v in tree.items()}


def _unwrapped(tree: Any, count: int) -> Any:
    return {k: _unwrapped(v, count) if isinstance(v, dict) else plain(v, count) for k, v in tree.items()}


def joined(trees: Sequence[Any]) -> Any:
    """One tree of arrays (..., E, C) from one of arrays (..., C) for each network."""
    first = trees[0]
    if any(tree.keys() != first.keys() for tree in trees):
        raise StackError("optimizers keep different arrays; one_by_one=True trains with any")
    found = {}
    for name, value in first.items():
        values = [tree[name] for tree in trees]
        found[name] = (
            joined(values) if isinstance(value, dict) else namespace(value).stack(values, axis=place(value.ndim))
        )
    return found


def _part(array: Array, number: int) -> Array:
    at = place(array.ndim - 1)
    return moved(array, at, 0)[number, ...]


def joined_blocks(blocks: Sequence[Block]) -> Block:
    """Minibatches of each network's own as those of a stack: rows (K, E, B), draws (K, ..., E, C) by name."""
    names = blocks[0].draws
    return Block(_beside([b.rows for b in blocks]), {name: _beside([b.draws[name] for b in blocks]) for name in names})


def _beside(arrays: list[np.ndarray]) -> np.ndarray:
    return np.stack(arrays, axis=place(arrays[0].ndim - 1) + 1)
