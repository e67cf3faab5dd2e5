"""What a training goes on with, and its one owner: arrays are handed out to steps here, and taken back."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import is_
from typing import Any

import numpy as np

from xpnet._checks import check_count, check_switch
from xpnet._typing import Array, Optimizer, State, Transform
from xpnet.backends.dispatch import describe
from xpnet.hints import book_arguments
from xpnet.models import Sequential
from xpnet.models.mixed import check_compute_dtype
from xpnet.optimizers.base import Optimizer as Base
from xpnet.optimizers.loss_scaling import LEAST_SCALE, scaling_state, with_loss_scaling
from xpnet.optimizers.transforms import Accumulate, check_transforms, init_transforms
from xpnet.parallel import Parallel, as_parallel
from xpnet.training.callbacks import check_evaluated, check_monitored
from xpnet.training.every import Every
from xpnet.training.history import History
from xpnet.training.minibatches import SAMPLING, Minibatches


class TrainingState:
    """A network, an optimizer, and all that changes as they train.

    The network owns parameters and buffers (``net.params``, ``net.buffers``); ``optimizer_state`` and
    ``transform_states`` are here. :meth:`compose` makes the tree of them that a step consumes, :meth:`take_back` puts
    what came of it in its place. Which arrays were handed out is remembered, so whatever somebody assigned meanwhile,
    a whole dict or one entry of it, is found by its identity, checked, and copied before a step consumes it.
    """

    @book_arguments(
        network="net",
        mini_batch_size="batch_size",
        optimizer_param="the optimizer's: optimizer=SGD(lr=0.01)",
        x_train="an argument of fit: trainer.fit(x, t, validation=(x_test, t_test), epochs=20)",
        epochs="an argument of fit: trainer.fit(x, t, epochs=20)",
        evaluate_sample_num_per_epoch="fit's: it evaluates all samples after each epoch",
    )
    def __init__(
        self,
        net: Sequential,
        optimizer: Optimizer,
        *,
        transforms: Sequence[Transform] = (),
        batch_size: int = 100,
        seed: int | np.random.Generator | None = None,
        sampling: str = "epochs",
        compile: bool | None = None,  # noqa: A002  (what array libraries call it)
        threads: int | None = None,
        parallel: str | Parallel | None = None,
        compute_dtype: Any = None,
        tf32: bool | None = None,
    ) -> None:
        if not isinstance(net, Sequential):
            raise TypeError(f"net is {describe(net)}, expected a network: TwoLayerNet(784, 50, 10), for example")
        if isinstance(optimizer, type) or not hasattr(optimizer, "step"):
            raise TypeError(f"optimizer is {optimizer!r}, expected an instance such as SGD(lr=0.1)")
        if sampling not in SAMPLING:
            raise ValueError(f"sampling is {sampling!r}, expected one of: {', '.join(SAMPLING)}")
        net.backend.check_trains()
        self.net, self.optimizer = net, optimizer
        self.compute_dtype = check_compute_dtype(net, compute_dtype)
        self.transforms = with_loss_scaling(check_transforms(transforms), self.compute_dtype)
        self.sampling, self.batch_size = sampling, check_count(batch_size, "batch_size")
        self.compile = None if compile is None else check_switch(compile, "compile")
        self.threads = None if threads is None else check_count(threads, "threads")
        self.tf32 = None if tf32 is None else check_switch(tf32, "tf32")
        self.parallel = as_parallel(parallel)
        self.parallel.admit(net.backend)
        self.rng = np.random.default_rng(seed)
        self.batches = Minibatches(0, self.batch_size, self.rng)
        self.history = History(compute_dtype=self.compute_dtype)
        self.iteration, self.goal = 0, 0
        self.evaluated = Every()
        self.stopped: str | None = None
        self.notes: dict[str, Any] = {}
        params = net.own_params()
        with net.backend.current():
            self.optimizer_state: State = optimizer.init(params)
            self.transform_states: State = init_transforms(self.transforms, params)
        self._handed: State = {}
        self._looked_at: dict[str, Any] = {}
        self._scaled: tuple[Array, float] | None = None

    def compose(self) -> State:
        """The tree that a step consumes: ``{"params", "buffers", "optimizer", "transforms"}``.

        Raises:
            TypeError, ValueError: somebody assigned what :meth:`Sequential.own_params` refuses.
        """
        if self.replaced():
            self.take_over()
        return self.tree()

    def take_over(self) -> None:
        """Go on with what somebody assigned: copies of it, in its place."""
        found = self._all() | {"params": self.net.own_params(), "buffers": self.net.own_buffers()}
        self.take_back(self._adopted(found, self._handed))

    def tree(self) -> State:
        """What :meth:`compose` returns, where nobody assigned anything."""
        self._write_scale()
        return self._all()

    def take_back(self, tree: State) -> None:
        """Put what a step returned where the network, callbacks and the user find it."""
        self.net.params, self.net.buffers = tree["params"], tree["buffers"]
        self.optimizer_state, self.transform_states = tree["optimizer"], tree["transforms"]
        self._handed = _dicts(tree)

    def forget(self) -> None:
        """From here on others may hold on to the arrays that were handed out: the next tree is made of copies."""
        self._handed, self._scaled = {}, None

    def replaced(self) -> bool:
        """Whether there are others now in the place of the arrays that were handed out."""
        return not _same_arrays(self._all(), self._handed)

    @property
    def scale(self) -> float:
        """The factor that a schedule which watches the history (``ReduceOnPlateau``) asks for now; 1 for others."""
        schedule: Any = getattr(self.optimizer, "lr", None)
        if not hasattr(schedule, "monitor"):
            return 1.0
        return float(schedule.scale(self.history.values(schedule.monitor)))

    def check_scale(self) -> None:
        """Raise ``ValueError`` if such a schedule misses what it watches: evaluations, or a value in the last one."""
        schedule: Any = getattr(self.optimizer, "lr", None)
        if hasattr(schedule, "monitor"):
            check_evaluated(self, f"the learning rate {schedule!r} watches evaluations")
            check_monitored(self.history, schedule.monitor)

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return self.learning_rates(self.iteration, 1)[0]

    def optimizer_steps(self, iterations: Any) -> Any:
        """How many steps the optimizer has taken after so many iterations.

        Fewer where gradients are accumulated, or where some were left out; which of a block is not known, so it may be
        off by as many within one.
        """
        remembered = scaling_state(self.transforms, self.transform_states)
        if remembered:
            iterations = np.maximum(iterations - int(remembered["skipped"]), 0)
        return iterations // prod(each.steps for each in self.transforms if isinstance(each, Accumulate))

    def learning_rates(self, start: int, count: int) -> list[float]:
        """Those of so many steps, from number ``start`` (0 is the first) on, if the epoch does not end in between."""
        if not hasattr(self.optimizer, "learning_rates"):
            return [float("nan")] * count
        lr: Any = getattr(self.optimizer, "lr", None)
        if type(lr) is float and getattr(type(self.optimizer), "learning_rates", None) is Base.learning_rates:
            return [lr] * count
        steps = self.optimizer_steps(np.arange(start, start + count))
        rates = self.optimizer.learning_rates(steps.astype(np.float64)) * self.scale
        low, high = float(rates.min()), float(rates.max())
        return [low] * count if low == high else rates.tolist()

    def failure(self, iteration: int, loss: float) -> str:
        """What went wrong with a loss that is not finite, from the state after the step."""
        scale = scaling_state(self.transforms, self.transform_states).get("scale")
        if scale is not None and float(scale) < LEAST_SCALE:
            return (
                f"gradients are not finite, however small the loss scale: it came down to {float(scale):.1g} at "
                f"iteration {iteration}"
            )
        return f"the loss at iteration {iteration} is {loss}"

    @property
    def other_dtype(self) -> str:
        """What else to try where numbers do not fit into the dtype."""
        return (
            ', or compute_dtype="bfloat16", whose range is that of float32' if self.compute_dtype == "float16" else ""
        )

    def stop(self, reason: str) -> None:
        """End the call of ``fit`` that is running, after this block of steps; for callbacks."""
        self.stopped = reason

    def __getstate__(self) -> dict[str, Any]:
        """A copy has arrays of its own, which nobody was handed."""
        return vars(self) | {"_handed": {}, "_scaled": None, "_looked_at": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        regained = self.net.backend.regained
        self.optimizer_state, self.transform_states = regained(self.optimizer_state), regained(self.transform_states)

    def _all(self) -> State:
        return {
            "params": self.net.params,
            "buffers": self.net.buffers,
            "optimizer": self.optimizer_state,
            "transforms": self.transform_states,
        }

    def _adopted(self, tree: State, known: State) -> State:
        """The arrays that are known by identity, and copies of the others."""
        return {
            name: self._adopted(value, known.get(name, {}))
            if isinstance(value, dict)
            else (value if value is known.get(name) else self.net.backend.copy(value))
            for name, value in tree.items()
        }

    def _write_scale(self) -> None:
        """Put the factor of the learning rate into the optimizer's state, if it is another one than is there."""
        array = self.optimizer_state.get("scale")
        if array is None or (self._scaled is not None and self._scaled[0] is array and self._scaled[1] == self.scale):
            return
        factor = self.scale
        array = self.net.backend.asarray(factor, array.dtype)
        self._scaled = array, factor
        self.optimizer_state["scale"] = self._handed["optimizer"]["scale"] = array


def _dicts(tree: State) -> State:
    """The same arrays in dicts of their own."""
    return {name: _dicts(value) if isinstance(value, dict) else value for name, value in tree.items()}


def _same_arrays(tree: State, other: State) -> bool:
    """Whether these are the same; quickly, as it is asked before each block of steps."""
    if tree.keys() != other.keys():
        return False
    if all(map(is_, tree.values(), map(other.__getitem__, tree))):
        return True
    for name, value in tree.items():
        known = other[name]
        both = isinstance(value, dict) and isinstance(known, dict)
        if value is not known and not (both and _same_arrays(value, known)):
            return False
    return True
