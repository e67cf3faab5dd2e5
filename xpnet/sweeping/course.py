"""The steps of all networks: blocks, evaluations, and the way back of a network that has diverged.

A network whose loss is not finite is taken out where its own training would have ended: it gets the last weights with a
finite loss, by taking the steps to them again, and its place among the others goes on without meaning. What is not
finite stays in its place, as no number of one network meets those of another.
"""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet._typing import State
from xpnet.backends.base import Block, Data
from xpnet.errors import DivergedError
from xpnet.models.network import CHUNK
from xpnet.stacked import StackError
from xpnet.sweeping.together import Stack, joined_blocks
from xpnet.training import Evaluation, History, Trainer
from xpnet.training.explained import explained, spread
from xpnet.training.loop import BLOCK_SECONDS, LONGEST_BLOCK
from xpnet.training.minibatches import Mark, Minibatches


@dataclass(frozen=True)
class _Snapshot:
    """The states of all stacks after so many steps, and the places in the minibatches."""

    iteration: int
    states: list[State]
    marks: list[Mark]


class Course:
    """One training of all networks.

    Args:
        trainers: of each network, at their start.
        data, validation: ``{"x", "t"}``, and ``"weight"`` where samples have one.
        goal: how many steps each takes.

    Attributes:
        diverged: at which step the loss of a network was not finite, by its number.
        over: whether the trainers have what was learned, which they also have after an error of a later step.
        history: for a progress bar: mean losses, and the samples of all networks.
    """

    def __init__(self, trainers: Sequence[Trainer], data: Data, validation: Data | None, goal: int) -> None:
        first = self.first = trainers[0]
        self.trainers, self.data, self.goal, self.iteration = trainers, data, goal, 0
        self.net, self.splits = first.net, {"train": data, "validation": validation}
        self.spreads = {name: None if split is None else spread(self.net, split) for name, split in self.splits.items()}
        samples = data["x"].shape[0]
        for trainer in trainers:
            trainer.batches = Minibatches(samples, trainer.batch_size, trainer.rng, trainer.sampling)
            trainer.goal = goal
        self.alike = _draw_alike(trainers)
        # others than the trainers', which stay where a network has diverged
        self.batches = [copy.deepcopy(t.batches) for t in (trainers[:1] if self.alike else trainers)]
        self.places = np.array_split(np.arange(len(trainers)), self._workers())
        self.stacks = [Stack([trainers[i] for i in place], data) for place in self.places]
        self.history, self.diverged, self.size = History(), dict[int, int](), 1
        self.losses, self.samples, self.evaluated = list[np.ndarray](), list[int](), -1
        self.snapshots: list[_Snapshot] = []
        self.over = False

    def run(self, watch: Callable[[Course], Any], interrupted: Callable[[], bool]) -> None:
        """Take all steps; ``watch`` is called after each block."""
        self.evaluate()
        try:
            while self.iteration < self.goal and len(self.diverged) < len(self.trainers) and not interrupted():
                self.take(min(self.size, self.goal - self.iteration))
                watch(self)
                if self.batches[0].epoch_ended or self.iteration == self.goal:
                    self.evaluate()
            if interrupted():
                self.evaluate()
        except Exception:
            if self.iteration:  # what was learned until then is kept
                with suppress(Exception):
                    self.evaluate()
                self._hand_all_back()
            raise
        self._hand_all_back()

    def _hand_all_back(self) -> None:
        for stack, place in zip(self.stacks, self.places, strict=True):
            for number, i in enumerate(place.tolist()):
                if i not in self.diverged:
                    self._hand_back(i, stack.one(stack.state, number), self.iteration, self.iteration)
        self.over = True

    def take(self, most: int) -> None:
        """Take a block of steps."""
        here = _Snapshot(self.iteration, [stack.copy() for stack in self.stacks], [b.mark() for b in self.batches])
        self.snapshots = [*self.snapshots[-1:], here]
        try:
            start, blocks = time.perf_counter(), self._blocks(most)
            found = self._on_all(Stack.run, blocks, self.first.batch_size)
        except Exception:  # some stacks may have taken the block, and some a part of it
            for stack, state in zip(self.stacks, here.states, strict=True):
                stack.state = state
            self._go_back(here.marks)
            raise
        seconds, losses = time.perf_counter() - start, np.concatenate(found, axis=1)
        self.losses.append(losses)
        self.samples += [blocks[0].rows.shape[-1]] * len(losses)
        self.iteration += len(losses)
        for i in np.flatnonzero(~np.isfinite(losses).all(axis=0)).tolist():
            self._take_out(i, here.iteration + int(np.argmin(np.isfinite(losses[:, i]))))
        shown = losses[-1][np.isfinite(losses[-1])]
        self.history.losses += [float(shown.mean()) if len(shown) else float("nan")]
        self.history.samples += blocks[0].rows.shape[-1] * losses.size
        self.history.seconds += seconds
        if seconds < BLOCK_SECONDS / 2:
            self.size = min(2 * self.size, LONGEST_BLOCK)
        elif seconds > 2 * BLOCK_SECONDS:
            self.size = max(self.size // 2, 1)

    def evaluate(self) -> None:
        """Add an evaluation to the history of each network that has not diverged."""
        if self.evaluated == self.iteration:
            return
        self.evaluated = self.iteration
        finite = np.concatenate([stack.finite() for stack in self.stacks])
        for i in np.flatnonzero(~finite).tolist():
            self._take_out(i, self.iteration)
        results = {name: self._judged(split) for name, split in self.splits.items()}
        ends = self.iteration > 0 and self.batches[0].epoch_ended
        for i, trainer in enumerate(self.trainers):
            if i not in self.diverged:
                values: Any = {
                    f"{name}_{k}": v for name in results for k, v in self._values(name, results[name], i).items()
                }
                found = Evaluation(self.batches[0].epoch, self.iteration, **values, ends_epoch=ends, regular=ends)
                if [e.iteration for e in trainer.history.evaluations[-1:]] != [self.iteration]:  # evaluated before
                    trainer.history.evaluations.append(found)

    def _judged(self, split: Data | None) -> list[tuple[np.ndarray, np.ndarray | None]] | None:
        if split is None:
            return None
        return self._on_all(
            Stack.evaluate, [split] * len(self.stacks), min(CHUNK // len(self.trainers), split["x"].shape[0])
        )

    def _values(self, name: str, found: Any, i: int) -> dict[str, float | None]:
        """Loss, accuracy and R² of one network, each None where there is none."""
        if found is None:
            return {"loss": None, "accuracy": None, "r2": None}
        losses = np.concatenate([losses for losses, _ in found])
        rates = None if found[0][1] is None else np.concatenate([rates for _, rates in found])
        loss = float(losses[i])
        if rates is not None:
            return {"loss": loss, "accuracy": float(rates[i]), "r2": None}
        return {"loss": loss, "accuracy": None, "r2": explained(loss, self.spreads[name])}

    def _blocks(self, most: int) -> list[Block]:
        """The next minibatches of each stack."""
        draws = [t._draws(self.data) for t in self.trainers]
        if self.alike:
            return [self.batches[0].block(most, draws[0])] * len(self.stacks)
        if draws[0] is not None:  # each network's own take as many times the memory
            most = max(1, most // len(self.trainers))
        each = [batches.block(most, drawn) for batches, drawn in zip(self.batches, draws, strict=True)]
        return [joined_blocks([each[i] for i in place]) for place in self.places]

    def _take_out(self, i: int, iteration: int) -> None:
        """End the training of a network whose loss at this step is not finite, as its own would end."""
        if i in self.diverged:
            return
        self.diverged[i] = iteration
        g = next(g for g, place in enumerate(self.places) if i in place)
        number, stack = int(np.flatnonzero(self.places[g] == i)[0]), self.stacks[g]
        if not self.snapshots:
            self._hand_back(i, stack.one(stack.state, number), 0, 0)
            self._evaluate_alone(self.trainers[i])
            return
        origin = next((s for s in reversed(self.snapshots) if s.iteration < iteration), self.snapshots[0])
        good, after, now = max(iteration - 1, origin.iteration), [b.mark() for b in self.batches], stack.state
        self._go_back(origin.marks)
        stack.state = origin.states[g]
        stack.state, taken = stack.copy(), origin.iteration
        try:
            while taken < good:
                block = self._blocks(good - taken)[g]
                with self.net.on_threads(self._threads(self.first.batch_size)):
                    stack.run(block)
                taken += len(block.rows)
            self._hand_back(i, stack.one(stack.state, number), good, iteration + 1)
            self._evaluate_alone(self.trainers[i])
        finally:
            stack.state = now
            self._go_back(after)

    def _go_back(self, marks: Sequence[Mark]) -> None:
        for batches, mark in zip(self.batches, marks, strict=True):
            batches.go_back(mark)

    def _hand_back(self, i: int, state: State, iteration: int, losses: int) -> None:
        """Have a trainer as if it had taken so many steps by itself, and seen so many losses."""
        trainer, mark = self.trainers[i], self.batches[0 if self.alike else i].mark()
        trainer.take_back(state)
        trainer.batches.go_back(mark)
        trainer.iteration = iteration
        history = trainer.history
        history.losses = [loss for block in self.losses for loss in block[:, i].tolist()][:losses]
        history.learning_rates = trainer.learning_rates(0, len(history.losses)) if history.losses else []
        history.evaluations = [e for e in history.evaluations if e.iteration <= iteration]
        history.samples = sum(self.samples[:iteration])
        history.seconds = self.history.seconds / len(self.trainers)
        history.threads = self._threads(self.first.batch_size)

    def _evaluate_alone(self, trainer: Trainer) -> None:
        """Add an evaluation of weights that the others are not at."""
        weight, held_out = self.data.get("weight"), self.splits["validation"]
        validation = None if held_out is None else tuple(held_out.values())
        with suppress(DivergedError):  # of weights that were not finite at the start
            trainer.evaluate(self.data["x"], self.data["t"], weight=weight, validation=validation)

    def _workers(self) -> int:
        """How many stacks take their steps at a time."""
        threads, backend = self.net.backend.threads, self.net.backend
        most = [backend.workers, len(self.trainers)]
        most += [threads.number or 1] if threads is not None else []
        most += [self.first.threads] if self.first.threads is not None else []
        return min(most)

    def _on_all(self, method: Callable[..., Any], given: Sequence[Any], samples: int) -> list[Any]:
        """A method of each stack, several at a time where there are several."""
        pairs = list(zip(self.stacks, given, strict=True))
        with self.net.on_threads(self._threads(samples)):
            return list((map if len(pairs) == 1 else self.net.backend.map)(lambda pair: method(*pair), pairs))

    def _threads(self, samples: int) -> int | None:
        """On how many threads each stack multiplies."""
        if len(self.stacks) > 1:
            return 1
        shape = samples * len(self.trainers), *self.data["x"].shape[1:]
        return self.net.threads_for(shape, self.first.threads)


def _draw_alike(trainers: Sequence[Trainer]) -> bool:
    """Whether all draw the same minibatches, and masks."""
    first = trainers[0]
    if any((t.batch_size, t.sampling) != (first.batch_size, first.sampling) for t in trainers):
        raise StackError(
            "trainers differ in batch_size or sampling; steps that are taken together have minibatches of one size. "
            "one_by_one=True trains any"
        )
    if first.net.is_random and any(t.net.chain != first.net.chain for t in trainers):
        return False
    return len({pickle.dumps(t.rng.bit_generator.state) for t in trainers}) == 1
