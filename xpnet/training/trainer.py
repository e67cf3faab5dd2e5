"""The Trainer: a network, an optimizer, minibatches, and all that is needed to go on with them another day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from xpnet._checks import check_count, check_positive, check_switch
from xpnet._typing import Array, Optimizer
from xpnet.backends.dispatch import Backend, describe
from xpnet.models import Sequential
from xpnet.streams import warn
from xpnet.training import checkpoint
from xpnet.training.callbacks import Callback, as_callback, watched
from xpnet.training.history import Evaluation, History
from xpnet.training.interrupt import deferred_interrupt
from xpnet.training.loop import Loop, Split
from xpnet.training.minibatches import SAMPLING, Minibatches
from xpnet.training.progress import Progress
from xpnet.training.step import only_ours


class Trainer:
    """Trains a network by minibatches.

    Args:
        net: the network; its parameters are those of the last step whenever you look, and when :meth:`fit` ends.
        optimizer: ``SGD(lr=0.1)``, for example; its learning rate may be one of ``xpnet.schedules``.
        batch_size: samples a minibatch.
        seed: an int, None, or a ``numpy.random.Generator`` to go on drawing from. Minibatches and the masks of dropout
            are drawn on the host, so one seed gives the same ones on every backend.
        sampling: ``"epochs"``, in which each sample comes once, or ``"replacement"``, as the book draws minibatches.
        divide_x_by: 255 for images that stay uint8 on the device: each minibatch is turned into the network's dtype
            and divided by this. By default x has to be of that dtype already.
        compile: whether steps are compiled: the same but for rounding, and faster. A compiled step is written down at
            its first call, so layers, losses and optimizers have to be pure: whatever changes from step to step is in
            the parameters and the optimizer's state. By default steps are compiled if all parts are xpnet's, but not on
            PyTorch, where that would take half a minute. Ask for it for pure layers of your own, on JAX above all.

    Attributes:
        history: what came of it so far.
        iteration: how many steps led to the weights; after a ``DivergedError`` the history shows one or two more, until
            the next call of :meth:`fit`.
        stopped: why a callback ended the last call of :meth:`fit`, or None.
        notes: a dict of anything that JSON can hold, to be kept in checkpoints.

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
        sampling: str = "epochs",
        divide_x_by: float | None = None,
        compile: bool | None = None,  # noqa: A002  (what array libraries call it)
    ) -> None:
        if not isinstance(net, Sequential):
            raise TypeError(f"net is {describe(net)}, expected a network: TwoLayerNet(784, 50, 10), for example")
        if isinstance(optimizer, type) or not hasattr(optimizer, "step"):
            raise TypeError(f"optimizer is {optimizer!r}, expected an instance such as SGD(lr=0.1)")
        if sampling not in SAMPLING:
            raise ValueError(f"sampling is {sampling!r}, expected one of: {', '.join(SAMPLING)}")
        net.backend.check_trains()
        self.net, self.optimizer, self.sampling = net, optimizer, sampling
        self.batch_size = check_count(batch_size, "batch_size")
        self.divide_x_by = None if divide_x_by is None else check_positive(divide_x_by, "divide_x_by", "255 for uint8")
        self.compile = None if compile is None else check_switch(compile, "compile")
        self.rng = np.random.default_rng(seed)
        self.history = History()
        self.iteration, self.goal, self.scale = 0, 0, 1.0
        self.stopped: str | None = None
        self.notes: dict[str, Any] = {}
        self.memory = optimizer.init(net.own_params())
        self.batches = Minibatches(0, self.batch_size, self.rng)
        self._running = False

    def fit(
        self,
        x: Array,
        t: Array,
        *,
        validation: Split | None = None,
        epochs: int | None = None,
        iterations: int | None = None,
        callbacks: Sequence[Callback | Callable[[Evaluation], Any]] = (),
        progress: bool = True,
    ) -> History:
        """Train for so many epochs, or so many iterations; going on from where an earlier call ended.

        Two calls of 400 and 600 iterations on the same data do what one of 1,000 does, to the last bit: the second goes
        on in the middle of the epoch. Other data, of another number of samples, begins a new epoch.

        Args:
            x: samples (N, ...) of the network's backend and device. Floating-point numbers of another dtype are
                converted to the network's once, here, and lists, DataFrames and Series of numbers are made arrays;
                integers are refused, but see ``divide_x_by``.
            t: labels (N,) of any integer dtype, or one-hot (N, outputs).
            validation: samples and labels that are not trained on.
            epochs, iterations: one of the two.
            callbacks: ``xpnet.training.Callback``s, and functions to be called with each :class:`Evaluation`: at the
                start, after each epoch and at the end. ``print`` is one.
            progress: whether to show a progress bar; where the output is no terminal and no notebook, a line every ten
                seconds.

        Returns:
            The history, which is also at ``self.history``, also when this raises.

        Raises:
            TypeError, ValueError: what :meth:`Sequential.gradient` raises for such data, before anything is done.
            DivergedError: a loss was not finite.
            KeyboardInterrupt: after Ctrl-C; the step it fell into was finished, and the network has its weights.
        """
        x, t, validation = self._admitted(x, t, validation)
        if self._running:
            raise RuntimeError("fit was called while it runs, by a callback perhaps; trainer.stop() ends it")
        if not isinstance(callbacks, Sequence):
            raise TypeError(f"callbacks is {callbacks!r}, expected a list of callbacks and functions: [print]")
        watchers: list[Callback] = [as_callback(given) for given in callbacks]
        if progress:
            watchers.append(Progress())
        self._prepare(x)
        self.goal = self.iteration + _total(epochs, iterations, self.batches.per_epoch)
        if self.learning_rates(self.goal - 1, 1) == [0.0]:
            warn(
                f"the learning rate has come down to 0 before iteration {self.goal}, the last one of this training, so "
                f"steps until then change nothing: {self.optimizer!r}",
                stacklevel=2,
            )
        # losses and weights are looked at in the loop, so the libraries' own warnings would say it twice
        with (
            np.errstate(all="ignore"),
            deferred_interrupt() as interrupted,
            ExitStack() as ends,
        ):
            loop = Loop(self, x, t, validation, watchers, interrupted)
            for watcher in reversed(watchers):
                ends.callback(watcher.on_end, self)
            self._running = True
            ends.callback(setattr, self, "_running", False)
            loop.run()
        return self.history

    def stop(self, reason: str) -> None:
        """End the call of :meth:`fit` that is running, after this block of steps; for callbacks."""
        self.stopped = reason

    def save(self, path: str | Path) -> None:
        """Write a checkpoint: all that is needed to go on as if nothing had happened, in one safetensors file.

        It has the parameters, the optimizer and what it remembers, the place in the permutation, the state of the
        random generator, and the history. It is synced before it takes the place of an older file of that name, so
        a crash at any moment leaves one of the two whole.
        """
        checkpoint.save(self, path)

    def check_save(self, path: str | Path) -> None:
        """Raise what :meth:`save` would raise, as far as it can be known before, and leave nothing there."""
        checkpoint.check(self, path)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        net: Sequential | None = None,
        optimizer: Optimizer | None = None,
        backend: str | Backend | None = None,
        device: Any = None,
    ) -> Self:
        """The trainer that :meth:`save` wrote, on whatever backend.

        Args:
            path: the checkpoint.
            net: a network to put the parameters into, where it has layers of one's own; by default it is made again.
            optimizer: one to go on with, of the same kind: with another learning rate or schedule, for example. By
                default it is made again; one of one's own has to be given.
            backend, device: where the network shall be made; see :func:`xpnet.get_backend`.

        Raises:
            OSError: the file cannot be read.
            CheckpointError: it is damaged, foreign, holds weights alone, or is of another network or optimizer; each
                difference is listed.
        """
        trainer: Self = checkpoint.load(cls, path, net, optimizer, backend, device)
        return trainer

    def check(self, x: Array, t: Array, validation: Split | None = None) -> None:
        """Raise what :meth:`fit` would raise for this data, and do nothing else."""
        self._admitted(x, t, validation)

    def _admitted(self, x: Array, t: Array, validation: Split | None) -> tuple[Array, Array, Split | None]:
        """The data as steps take it; see :func:`xpnet.validation.as_samples`."""
        net = self.net
        pairs = [(x, t, ("x", "t"))]
        if validation is not None:
            if not isinstance(validation, tuple | list) or len(validation) != 2:
                raise TypeError(f"validation is {describe(validation)}, expected samples and labels: validation=(x, t)")
            pairs.append((*validation, ("validation x", "validation t")))
        params, found = net.own_arrays(), []
        for some_x, some_t, names in pairs:
            admitted = net.as_samples(some_x, some_t, None, (*names, "weight"))
            found.append(admitted)
            with np.errstate(all="ignore"):  # it is shapes and dtypes that are looked at
                net.check_forward(params, admitted[0][:1, ...])
        (x, t), *rest = found
        if self.batch_size > x.shape[0]:
            raise ValueError(f"batch_size is {self.batch_size}, but there are only {x.shape[0]} samples")
        return x, t, rest[0] if rest else None

    @property
    def compiles(self) -> bool:
        """Whether :meth:`fit` has its steps compiled."""
        if self.compile is not None:
            return self.compile
        return self.net.backend.compiles_by_default and only_ours(self.net, self.optimizer)

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return self.learning_rates(self.iteration, 1)[0]

    def learning_rates(self, start: int, count: int) -> list[float]:
        """Those of so many steps, from number ``start`` (0 is the first) on, if the epoch does not end in between."""
        if not hasattr(self.optimizer, "learning_rates"):
            return [float("nan")] * count
        rates = self.optimizer.learning_rates(np.arange(start, start + count, dtype=np.float64)) * self.scale
        low, high = float(rates.min()), float(rates.max())
        return [low] * count if low == high else rates.tolist()

    def rescale(self) -> float | None:
        """The factor that a schedule which watches the history asks for now; None if there is no such schedule."""
        schedule: Any = getattr(self.optimizer, "lr", None)
        if not hasattr(schedule, "monitor"):
            return None
        self.scale = float(schedule.scale(watched(self.history, schedule.monitor)))
        return self.scale

    def __getstate__(self) -> dict[str, Any]:
        """A copy, made by a callback perhaps, is not running."""
        return vars(self) | {"_running": False}

    def _prepare(self, x: Array) -> None:
        """Where the last call ended, if there was one on as many samples; else at the start of an epoch."""
        if self.batches.n != x.shape[0]:
            passed = self.batches.epoch
            self.batches = Minibatches(x.shape[0], self.batch_size, self.rng, self.sampling, passed=passed)
        shape = tuple(x.shape[1:])
        self.batches.masks = partial(_draw, self.net, shape) if self.net.is_random else None
        self.stopped = None
        for series in (self.history.losses, self.history.learning_rates):
            del series[self.iteration :]  # of steps that led nowhere: training diverged, and went back


def _draw(net: Any, shape: tuple[int, ...], rng: np.random.Generator, samples: int) -> dict[str, np.ndarray]:
    return net.draws(rng, (samples, *shape))  # type: ignore[no-any-return]


def _total(epochs: int | None, iterations: int | None, per_epoch: int) -> int:
    if (epochs is None) == (iterations is None):
        raise ValueError(f"epochs is {epochs} and iterations is {iterations}; give one of them")
    if epochs is not None:
        return check_count(epochs, "epochs") * per_epoch
    return check_count(iterations, "iterations")
