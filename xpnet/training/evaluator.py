"""What evaluates a network in one call of ``fit``: its training data or some of them, and its validation data."""

from __future__ import annotations

from typing import Any

from xpnet._typing import Params
from xpnet.backends.base import Data
from xpnet.backends.dispatch import namespace
from xpnet.models import Sequential
from xpnet.models.evaluation import Judge, Parts, evaluate, parts_of
from xpnet.parallel import ALONE, Parallel
from xpnet.training.compiled import Compiled
from xpnet.training.every import Every
from xpnet.training.explained import explained, spread
from xpnet.training.history import Evaluation, History


class Evaluator:
    """Evaluations as a plan asks for them.

    Args:
        net: the network.
        programs: what is compiled.
        data, validation: ``{"x", "t"}``, and ``"weight"`` where samples have one.
        plan: when to evaluate, and what of the training data.
        threads: the most threads that somebody wants.
        parallel: the processes that evaluate a part of the samples each.
    """

    def __init__(
        self,
        net: Sequential,
        programs: Compiled,
        data: Data,
        validation: Data | None,
        plan: Every,
        threads: int | None,
        parallel: Parallel = ALONE,
    ) -> None:
        self.parallel = parallel
        self.net, self.programs, self.plan, self.threads = net, programs, plan, threads
        self.splits: dict[str, Data | None] = {"train": self._part(data), "validation": validation}
        self.ways: dict[str, tuple[Judge, Parts]] = {}
        self.spreads: dict[str, float | None] = {}

    def _part(self, data: Data) -> Data | None:
        """What is evaluated of the training data; None if nothing is."""
        if self.plan.train == "running" or not self.plan.at_end:
            return None
        rows = self.plan.rows(data["x"].shape[0])
        if rows is None:
            return data
        taken = self.net.backend.asarray(rows)
        return {name: namespace(samples).take(samples, taken, axis=0) for name, samples in data.items()}

    def found(self, arrays: Params, history: History, epoch: float, iteration: int, ends_epoch: bool) -> Evaluation:
        """The evaluation of parameters and buffers by name."""
        values = {key: value for name in self.splits for key, value in self._judged(name, arrays).items()}
        if self.plan.train == "running":
            values["train_loss"] = self._running(history, iteration)
        regular = iteration > 0 and self.plan.due(iteration, epoch, ends_epoch)
        missing: Any = dict.fromkeys(("train_accuracy", "validation_accuracy"))
        return Evaluation(epoch, iteration, **missing | values, ends_epoch=ends_epoch, regular=regular)

    def _judged(self, name: str, arrays: Params) -> dict[str, float | None]:
        """What there is to say of one of the splits, by the names of an evaluation."""
        split, net = self.splits[name], self.net
        if split is None:
            return {}
        if name not in self.ways:
            judged = self.programs.judge(net.classifies(net.scores_shape(split["x"])))
            self.ways[name] = judged, parts_of(net, split["x"], self.threads, self.parallel)
        judged, parts = self.ways[name]
        loss, rate = evaluate(judged, net, arrays, tuple(split.values()), parts, self.parallel)
        if rate is None and name not in self.spreads:
            self.spreads[name] = spread(net, split)
        r2 = None if rate is not None else explained(loss, self.spreads[name])
        return {f"{name}_loss": loss, f"{name}_accuracy": rate, f"{name}_r2": r2}

    @staticmethod
    def _running(history: History, iteration: int) -> float | None:
        """The mean loss of the minibatches since the last regular evaluation, so that a call that ended counts not."""
        before = (e.iteration for e in reversed(history.evaluations) if e.regular and e.iteration < iteration)
        start = next(before, 0)
        losses = history.losses[start:iteration]
        return sum(losses) / len(losses) if losses else None
