"""Training: one pure step, minibatches drawn on the host, and the loop that takes steps in blocks.

The loop hands the backend a block of minibatches and reads their losses back together, so a device is never waited
for in between. A loss that is not finite is therefore found after its block; the loop then goes back to the copy of
the state that it made before, and takes the good steps again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from xpnet._typing import Array, Optimizer, State
from xpnet.backend import describe, namespace
from xpnet.backends.base import Step
from xpnet.errors import DivergedError
from xpnet.history import Evaluation, History
from xpnet.interrupt import deferred_interrupt
from xpnet.minibatches import Minibatches
from xpnet.models import Sequential
from xpnet.validation import check_count, check_samples

#: A block grows until it takes this many seconds: long enough that nothing but steps costs time, short enough that
#: Ctrl-C and the progress bar answer at once.
BLOCK_SECONDS = 0.1
LONGEST_BLOCK = 256

Split = tuple[Array, Array]


def make_step(net: Sequential, optimizer: Optimizer) -> Step:
    """The training step ``step(state, x, t, rows) -> (state, loss)``: one update on the minibatch x[rows], t[rows].

    It is pure but for consuming ``state`` (``{"params": ..., "optimizer": ...}``), so it can be compiled.
    """

    def step(state: State, x: Array, t: Array, rows: Array) -> tuple[State, Array]:
        xp = namespace(x)
        batch = xp.take(x, rows, axis=0), xp.take(t, rows, axis=0)
        loss, grads = net.value_and_grad(state["params"], *batch)
        params, memory = optimizer.step(state["params"], grads, state["optimizer"])
        return {"params": params, "optimizer": memory}, loss

    return step


class Trainer:
    """Trains a network by minibatches.

    Args:
        net: the network; its parameters are replaced when :meth:`fit` ends, however it ends.
        optimizer: ``SGD(lr=0.1)``, for example.
        batch_size: samples a minibatch.
        seed: an int, None, or a ``numpy.random.Generator`` to go on drawing from. Minibatches are drawn on the host,
            so one seed gives the same ones on every backend.

    >>> import numpy as np
    >>> from xpnet import SGD, TwoLayerNet, Trainer
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2)).astype("float32")
    >>> t = (x[:, 0] * x[:, 1] > 0).astype("uint8")
    >>> net = TwoLayerNet(2, 20, 2, weight_init_std=0.5, seed=rng)
    >>> history = Trainer(net, SGD(lr=0.5), batch_size=20, seed=rng).fit(x, t, epochs=100)
    >>> history.iterations, bool(net.accuracy(x, t) > 0.9)
    (1000, True)
    """

    def __init__(
        self,
        net: Sequential,
        optimizer: Optimizer,
        *,
        batch_size: int = 100,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        if not isinstance(net, Sequential):
            raise TypeError(f"net is {describe(net)}, expected a network: TwoLayerNet(784, 50, 10), for example")
        if isinstance(optimizer, type) or not hasattr(optimizer, "step"):
            raise TypeError(f"optimizer is {optimizer!r}, expected an instance such as SGD(lr=0.1)")
        net.backend.check_trains()
        self.net, self.optimizer = net, optimizer
        self.batch_size = check_count(batch_size, "batch_size")
        self.rng = np.random.default_rng(seed)
        self.history = History()
        self._memory: State | None = None

    def fit(
        self,
        x: Array,
        t: Array,
        *,
        validation: Split | None = None,
        epochs: int | None = None,
        iterations: int | None = None,
        on_block: Callable[[History], None] | None = None,
        on_evaluation: Callable[[Evaluation], None] | None = None,
    ) -> History:
        """Train for so many epochs, or so many iterations; going on from where an earlier call ended.

        Args:
            x: samples (N, ...) of the network's backend, device and dtype.
            t: labels (N,) or one-hot (N, outputs).
            validation: samples and labels that are not trained on.
            epochs, iterations: one of the two.
            on_block: called with the history after each block of steps, about ten times a second.
            on_evaluation: called with the accuracies at the start, after each epoch and at the end.

        Returns:
            The history, which is also at ``self.history``, also when this raises.

        Raises:
            TypeError, ValueError: what :meth:`Sequential.gradient` raises for such data, before anything is done.
            DivergedError: a loss was not finite.
            KeyboardInterrupt: after Ctrl-C; the step it fell into was finished, and the network has its weights.
        """
        self.check(x, t, validation)
        batches = Minibatches(x.shape[0], self.batch_size, self.rng)
        total = _total(epochs, iterations, batches.per_epoch)
        loop = _Loop(self, x, t, validation, on_evaluation)
        # losses and weights are looked at below, so the libraries' own warnings would say it twice
        with np.errstate(over="ignore", invalid="ignore"), deferred_interrupt() as interrupted:
            try:
                loop.evaluate()
                size = 1
                while loop.taken < total and not interrupted():
                    seconds = loop.take(batches.block(min(size, total - loop.taken)))
                    size = _next_size(size, seconds)
                    if on_block is not None:
                        on_block(self.history)
                    if batches.epoch_ended or loop.taken == total:
                        loop.evaluate()
                if interrupted():
                    loop.evaluate()
            finally:
                self.net.params, self._memory = loop.state["params"], loop.state["optimizer"]
        return self.history

    def check(self, x: Array, t: Array, validation: Split | None = None) -> None:
        """Raise what :meth:`fit` would raise for this data, and do nothing else."""
        net = self.net
        pairs = [(x, t, ("x", "t"))]
        if validation is not None:
            pairs.append((*validation, ("validation x", "validation t")))
        for some_x, some_t, names in pairs:
            check_samples(
                some_x,
                some_t,
                backend=net.backend,
                dtype=net.dtype,
                outputs=net.outputs,
                loss=net.loss_layer,
                names=names,
            )
            net.forward(net.params, some_x[:1, ...])  # a wrong number of columns shows in the first layer
        if self.batch_size > x.shape[0]:
            raise ValueError(f"batch_size is {self.batch_size}, but there are only {x.shape[0]} samples")


@dataclass(frozen=True)
class _Snapshot:
    """The state after so many steps, and the minibatches of the steps that were taken from it."""

    iteration: int
    state: State
    block: np.ndarray


class _Loop:
    """One call of ``fit``: the state, and the ways to go on with it or back."""

    def __init__(
        self,
        trainer: Trainer,
        x: Array,
        t: Array,
        validation: Split | None,
        report: Callable[[Evaluation], None] | None,
    ) -> None:
        self.net, self.history, self.optimizer = trainer.net, trainer.history, trainer.optimizer
        self.x, self.t, self.validation, self.report = x, t, validation, report
        self.per_epoch = -(-x.shape[0] // trainer.batch_size)
        self.backend = self.net.backend
        self.step = self.backend.compile(make_step(self.net, self.optimizer))
        params = _copied(self.net.params)  # a step consumes its state, and the user may hold on to these
        memory = self.optimizer.init(params) if trainer._memory is None else _copied(trainer._memory)
        self.state: State = {"params": params, "optimizer": memory}
        self.taken = 0
        self.snapshots: list[_Snapshot] = []

    def take(self, block: np.ndarray) -> float:
        """Take a block of steps; returns the seconds it took."""
        # two of them: the first loss of this block may show that the last step of the one before was too much
        self.snapshots = [*self.snapshots[-1:], _Snapshot(self.history.iterations, _copied(self.state), block)]
        start = time.perf_counter()
        try:
            self.state, losses = self.backend.run(self.step, self.state, self.x, self.t, block)
        except BaseException:  # the state is consumed, and this may have happened in the middle of a step
            self.state = self.snapshots[-1].state
            raise
        seconds = time.perf_counter() - start
        finite = np.isfinite(losses)
        if not finite.all():
            bad = int(np.argmin(finite))
            iteration = self.history.iterations + bad
            self.history.losses += losses[: bad + 1].tolist()
            self._rewind(iteration, float(losses[bad]))
        self.taken += len(block)
        self.history.losses += losses.tolist()
        self.history.samples += block.size
        self.history.seconds += seconds
        return seconds

    def evaluate(self) -> None:
        """Add accuracies to the history and report them; go back if the last step left weights that are not finite."""
        iteration = self.history.iterations
        if not all(bool(namespace(p).all(namespace(p).isfinite(p))) for p in self.state["params"].values()):
            self._rewind(iteration, float("nan"))
        self._evaluate(iteration)

    def _evaluate(self, iteration: int) -> None:
        params = self.state["params"]
        if self.history.evaluations and self.history.evaluations[-1].iteration == iteration:
            return  # the same weights
        splits = [(self.x, self.t), self.validation]
        rates = [self.net.hit_rate(params, *s) if s is not None and self.net.classifies else None for s in splits]
        evaluation = Evaluation(iteration / self.per_epoch, iteration, *rates)
        self.history.evaluations.append(evaluation)
        if self.report is not None:
            self.report(evaluation)

    def _rewind(self, iteration: int, loss: float) -> NoReturn:
        """Go back to the last weights whose loss was finite, by taking the steps to them again, and raise."""
        good = max(iteration - 1, 0)
        origin = next((s for s in reversed(self.snapshots) if s.iteration <= good), None)
        if origin is not None:
            self.state = origin.state
            if good > origin.iteration:
                again = origin.block[: good - origin.iteration]
                self.state, _ = self.backend.run(self.step, self.state, self.x, self.t, again)
        self._evaluate(good)
        raise DivergedError(
            f"training diverged: the loss at iteration {iteration} is {loss}; the network keeps the last weights with "
            f"a finite loss. Try a smaller learning rate than {getattr(self.optimizer, 'lr', 'this one')}",
            iteration=iteration,
            loss=loss,
        )


def _total(epochs: int | None, iterations: int | None, per_epoch: int) -> int:
    if (epochs is None) == (iterations is None):
        raise ValueError(f"epochs is {epochs} and iterations is {iterations}; give one of them")
    if epochs is not None:
        return check_count(epochs, "epochs") * per_epoch
    return check_count(iterations, "iterations")


def _next_size(size: int, seconds: float) -> int:
    if seconds < BLOCK_SECONDS / 2:
        return min(2 * size, LONGEST_BLOCK)
    return max(size // 2, 1) if seconds > 2 * BLOCK_SECONDS else size


def _copied(tree: State) -> State:
    """The same dicts with copies of the arrays in them."""
    return {k: _copied(v) if isinstance(v, dict) else namespace(v).asarray(v, copy=True) for k, v in tree.items()}
