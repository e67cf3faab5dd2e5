"""The Trainer: a network, an optimizer, minibatches, and all that is needed to go on with them another day."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from xpnet._checks import check_count
from xpnet._typing import Array, Optimizer, Params, Transform
from xpnet.backends.base import Data
from xpnet.backends.dispatch import Backend, describe
from xpnet.errors import DivergedError
from xpnet.models import Sequential
from xpnet.parallel import Parallel
from xpnet.parallel.draws import OwnRows
from xpnet.streams import warn
from xpnet.training.callbacks import Callback, Callbacks, as_callback
from xpnet.training.compiled import Compiled, compiled
from xpnet.training.evaluator import Evaluator
from xpnet.training.every import Every, as_every
from xpnet.training.history import Evaluation, History
from xpnet.training.interrupt import deferred_interrupt
from xpnet.training.loop import Loop, Split
from xpnet.training.minibatches import Minibatches
from xpnet.training.progress import Progress
from xpnet.training.same import align, notes
from xpnet.training.shared import warn_of_mixing
from xpnet.training.shown import trainer_as_html, trainer_as_text
from xpnet.training.state import TrainingState
from xpnet.training.step import made_of, only_ours
from xpnet.training.threads import ThreadedStep


class Trainer(TrainingState):
    """Trains a network by minibatches.

    Args:
        net: the network; its parameters are those of the last step whenever you look, and when :meth:`fit` ends.
        optimizer: ``SGD(lr=0.1)``, for example; its learning rate may be one of ``xpnet.schedules``.
        transforms: what is done to the gradients before the optimizer's step, in their order: ``(ClipByNorm(1.0),)``,
            for example, of ``xpnet.optimizers``.
        batch_size: samples a minibatch.
        seed: an int, None, or a ``numpy.random.Generator`` to go on drawing from. Minibatches and the masks of dropout
            are drawn on the host, so one seed gives the same ones on every backend.
        sampling: ``"epochs"``, in which each sample comes once, in another order each time; ``"sequential"``, in the
            order of the data; or ``"replacement"``, as the book draws minibatches.
        compile: whether steps are compiled: the same but for rounding, and faster. A compiled step is written down at
            its first call, so layers, losses and optimizers have to be pure: whatever changes from step to step is in
            the parameters and the optimizer's state. By default steps are compiled if all parts are xpnet's, but not on
            PyTorch, where that would take half a minute. Ask for it for pure layers of your own, on JAX above all, and
            for PyTorch on CUDA, where a step becomes a CUDA graph at once. What was compiled is kept for the next call
            of :meth:`fit`.
        threads: the most threads to compute on, on a CPU. By default one where no layer of a step takes 50 million
            multiplications (25 million in compiled steps of NumPy), as threads would wait for each other there, above
            all beside other programs; else all that there are. A limit that you set by ``OMP_NUM_THREADS`` or
            ``threadpoolctl`` is kept, and outside of steps and evaluations there are as many as before. JAX has threads
            of its own.
        compute_dtype: ``"bfloat16"`` or ``"float16"`` for mixed precision: steps go forward and back in 16 bits, which
            GPUs do several times as fast. Parameters, the loss, gradients once they are there, optimizer and transforms
            stay float32, and so do the layers that say ``in_float32``, normalizations above all; evaluations and
            ``predict`` compute in float32. In float16 losses are scaled, by a first transform ``LossScaling()`` if
            there is none: steps whose gradients overflow are left out. PyTorch and JAX have both dtypes, CuPy float16,
            and NumPy only the rounding of float16. On a CPU they are for trying out, and slower than float32.
        tf32: whether GPUs multiply float32 in TF32, with three digits of each factor and several times as fast, while
            :meth:`fit` runs. By default it is as the library has it: JAX does, PyTorch in convolutions, CuPy if the
            environment variable ``CUPY_TF32`` is 1. The history says what it was. On a CPU it changes nothing.
        parallel: ``"mpi"`` in a program that ``mpiexec -n 4 python program.py`` starts: each process makes the same
            network from the same seed, is given the same data and takes its part of each minibatch; what comes of it is
            what one process would have made of it, to rounding, in all of them. Process 0 alone calls callbacks and
            shows progress. ``"jax"`` does the same with all devices of JAX, in this process and in those that
            ``jax.distributed`` joined with it. None trains in this process alone, on one device.

    Attributes:
        history: what came of it so far.
        iteration: how many steps led to the weights; after a ``DivergedError`` the history shows one or two more, until
            the next call of :meth:`fit`.
        stopped: why a callback ended the last call of :meth:`fit`, or None.
        optimizer_state: what the optimizer remembers; ``transform_states`` is the same of the transforms.
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

    _running = False
    _compiled: tuple[Any, Compiled] | None = None

    def fit(
        self,
        x: Array,
        t: Array,
        *,
        weight: Array | None = None,
        validation: Split | None = None,
        epochs: int | None = None,
        iterations: int | None = None,
        evaluate: str | Every = "epoch",
        callbacks: Sequence[Callback | Callable[[Evaluation], Any]] = (),
        progress: bool = True,
    ) -> History:
        """Train for so many epochs, or so many iterations; going on from where an earlier call ended.

        Two calls of 400 and 600 iterations on the same data do what one of 1,000 does, to the last bit: the second goes
        on in the middle of the epoch. Other data, of another number of samples, begins a new epoch.

        Args:
            x: samples (N, ...) of the network's backend and device. Floating-point numbers of another dtype are
                converted to the network's once, here, and lists, DataFrames and Series of numbers are made arrays;
                integers are refused, unless the network begins with a layer that takes them, ``Rescale(1 / 255)`` for
                images that stay uint8 on the device, for example.
            t: labels (N,) of any integer dtype, or one-hot (N, outputs).
            weight: of each sample (N,), 0 or more: how much its loss counts, in training and in the evaluations; R² is
                weighted too, and accuracies are shares of all samples, whatever their weights.
            validation: samples and labels that are not trained on, ``(x, t)`` or ``(x, t, weight)``.
            epochs, iterations: one of the two.
            evaluate: when to look at losses and accuracies of all these data: at the start, after each ``"epoch"`` and
                at the end; at the ``"end"`` alone; ``"never"``; or less often or of fewer samples, as one of
                ``xpnet.training``: ``Every(epochs=5)``, ``Every(steps=500)``, ``Every(train=10_000)``,
                ``Every(train="running")``. Steps are the same whatever it is.
            callbacks: ``xpnet.training.Callback``s, and functions to be called with each :class:`Evaluation`. ``print``
                is one.
            progress: whether to show a progress bar; where the output is no terminal and no notebook, a line every ten
                seconds.

        Returns:
            The history, which is also at ``self.history``, also when this raises.

        Raises:
            TypeError, ValueError: what :meth:`Sequential.gradient` raises for such data, before anything is done. An
                array x that was looked at in the last call is not looked through for NaN again: what was written into
                it since comes out as a loss that is not finite.
            DivergedError: a loss was not finite; or in float16, gradients were not, however small the loss scale.
            KeyboardInterrupt: after Ctrl-C; the step it fell into was finished, and the network has its weights.
        """
        begun, plan = time.perf_counter(), as_every(evaluate)
        with self.parallel.together():
            data, held_out = self._admitted(x, t, weight, validation)
            if self._running:
                raise RuntimeError("fit was called while it runs, by a callback perhaps; trainer.stop() ends it")
            if not isinstance(callbacks, Sequence):
                raise TypeError(f"callbacks is {callbacks!r}, expected a list of callbacks and functions: [print]")
            watchers = self._watchers([*map(as_callback, callbacks), *([Progress()] if progress else [])])
            self.evaluated = plan
            self._go_to(data["x"].shape[0])
            self.goal = self.iteration + _total(epochs, iterations, self.batches.per_epoch)
            self._check_same(data, held_out)
            self._warn_of_steps_for_nothing(stacklevel=3)
            if self.tf32 and self.net.backend.tf32 is None:
                warn(f"tf32=True changes nothing: {self.net.backend.device_name} has no TF32", stacklevel=2)
            # losses and weights are looked at in the loop, so the libraries' own warnings would say it twice
            with (
                self.net.backend.current(),
                self.net.backend.with_tf32(self.tf32),
                np.errstate(all="ignore"),
                deferred_interrupt() as interrupted,
                ExitStack() as ends,
            ):
                loop = self._loop(data, held_out, plan, self._draws(data), watchers, interrupted, begun)
                ends.callback(loop.tick)
                ends.callback(loop.step.release)
                ends.push(self._settled)
                ends.callback(setattr, self, "_running", False)
                ends.callback(watchers.end)
                self._running = True
                try:
                    loop.run()
                except (KeyboardInterrupt, SystemExit) as error:  # of a second Ctrl-C, in the middle of anything
                    self.parallel.abort(error)
                    raise
                if loop.was_interrupted and not interrupted():
                    raise KeyboardInterrupt  # another process received it
        return self.history

    def evaluate(self, x: Array, t: Array, *, weight: Array | None = None, validation: Split | None = None) -> None:
        """Add an evaluation of the weights of now to the history, as :meth:`fit` does after its last step.

        If there is one after as many steps already, it stays, and none is added; ``net.evaluate`` looks at other data.

        Raises:
            DivergedError: the weights are not finite.
        """
        backend = self.net.backend
        with self.parallel.together(), backend.current(), backend.with_tf32(self.tf32), np.errstate(all="ignore"):
            data, held_out = self._admitted(x, t, weight, validation)
            self._loop(data, held_out, Every(), None, Callbacks(self, ()), lambda: False).evaluate()

    def _watchers(self, callbacks: list[Callback]) -> Callbacks:
        """What is called in between: all in the first process, in the others what has to be heard everywhere."""
        return Callbacks(self, [each for each in callbacks if self.parallel.leads or each.everywhere])

    def _check_same(self, data: Data, held_out: Data | None) -> None:
        """Raise ``MismatchError`` unless all processes of this training are about to do the same."""
        if self.parallel.size > 1:
            if self.parallel.divides:
                warn_of_mixing(self.net, stacklevel=3)
            self.parallel.check_same(notes(self, data, held_out))

    def _settled(self, kind: type[BaseException] | None, *_: Any) -> None:
        """All processes leave with one state, unless one has failed."""
        if kind is None or issubclass(kind, DivergedError | KeyboardInterrupt):
            align(self)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint: all that is needed to go on as if nothing had happened, in one safetensors file.

        It has the parameters and buffers, the optimizer and the transforms with what they remember, the place in the
        permutation, the state of the random generator, and the history. It is synced before it takes the place of an
        older file of that name, so a crash at any moment leaves one of the two whole. Of several processes the first
        writes it, and the others do nothing here; any number of processes can go on with it.
        """
        if self.parallel.leads:
            from xpnet.training import checkpoint  # later: it knows every optimizer, layer and network

            checkpoint.save(self, path)

    def check_save(self, path: str | Path) -> None:
        """Raise what :meth:`save` would raise, as far as it can be known before, and leave nothing there."""
        from xpnet.training import checkpoint

        checkpoint.check(self, path)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        net: Sequential | None = None,
        optimizer: Optimizer | None = None,
        transforms: Sequence[Transform] | None = None,
        backend: str | Backend | None = None,
        device: Any = None,
        parallel: str | Parallel | None = None,
        compute_dtype: Any = None,
    ) -> Self:
        """The trainer that :meth:`save` wrote, on whatever backend.

        Args:
            path: the checkpoint.
            net: a network to put the parameters into, where it has layers of one's own; by default it is made again.
            optimizer: one to go on with, of the same kind: with another learning rate or schedule, for example. By
                default it is made again; one of one's own has to be given.
            transforms: those to go on with, of the same kinds in the same order, as with ``optimizer``.
            backend, device: where the network shall be made; see :func:`xpnet.get_backend`.
            parallel: as in :class:`Trainer`; the number of processes may be another one than before.
            compute_dtype: another than that of the file, ``"float32"`` where the backend has no other.

        Raises:
            OSError: the file cannot be read.
            CheckpointError: it is damaged, foreign, holds weights alone, or is of another network or optimizer; each
                difference is listed.
        """
        from xpnet.training import checkpoint

        return checkpoint.load(
            cls, path, net, optimizer, transforms, backend, device, parallel=parallel, compute_dtype=compute_dtype
        )

    def check(self, x: Array, t: Array, *, weight: Array | None = None, validation: Split | None = None) -> None:
        """Raise what :meth:`fit` would raise for this data, and do nothing else."""
        self._admitted(x, t, weight, validation)

    @property
    def compiles(self) -> bool:
        """Whether :meth:`fit` has its steps compiled."""
        if self.compile is not None:
            return self.compile
        return self.net.backend.compiles_by_default and only_ours(self.net, self.optimizer, self.transforms)

    def _warn_of_steps_for_nothing(self, stacklevel: int) -> bool:
        """Warn if the learning rate is 0 at the last step, and say whether."""
        if self.learning_rates(self.goal - 1, 1) != [0.0]:
            return False
        warn(
            f"the learning rate has come down to 0 before iteration {self.goal}, the last one of this training, so "
            f"steps until then change nothing: {self.optimizer!r}",
            stacklevel=stacklevel,
        )
        return True

    def __repr__(self) -> str:
        return trainer_as_text(self)

    def _repr_html_(self) -> str:
        return trainer_as_html(self)

    def __getstate__(self) -> dict[str, Any]:
        """A copy, made by a callback perhaps, is not running, and compiles anew."""
        return super().__getstate__() | {"_running": False, "_compiled": None}

    def _programs(self) -> Compiled:
        """The step and what goes with it, compiled at the first call, and again only if made of something else."""
        net = self.net
        rules, how = (self.optimizer, self.transforms), (self.compiles, self.parallel, self.compute_dtype)
        parts = made_of((net.layers, net.loss_layer, *rules, net.backend, *how))
        if self._compiled is None or self._compiled[0] != parts:
            self._compiled = parts, compiled(net, *rules, self.compiles, self.parallel, self.compute_dtype)
        return self._compiled[1]

    def _loop(
        self,
        data: Data,
        held_out: Data | None,
        plan: Every,
        draws: partial[Params] | None,
        callbacks: Callbacks,
        interrupted: Callable[[], bool],
        begun: float | None = None,
    ) -> Loop:
        """What takes steps and evaluates; the history says on how many threads steps multiply."""
        rows = -(-self.batch_size // self.parallel.size)
        programs, shape = self._programs(), (rows, *data["x"].shape[1:])
        number = self.net.threads_for(shape, self.threads, compiled=self.compiles)
        self.history.threads, self.history.tf32 = number, self.net.backend.tf32
        step = ThreadedStep(programs.step, self.net, number)
        evaluator = Evaluator(self.net, programs, data, held_out, plan, self.threads, self.parallel)
        return Loop(self, step, data, evaluator, draws, callbacks, interrupted, begun)

    def _admitted(self, x: Array, t: Array, weight: Array | None, validation: Split | None) -> tuple[Data, Data | None]:
        """The data as steps take it, made fit or refused."""
        data = self._samples((x, t, weight), "")
        if self.batch_size > data["x"].shape[0]:
            raise ValueError(f"batch_size is {self.batch_size}, but there are only {data['x'].shape[0]} samples")
        last = data["x"].shape[0] % self.batch_size if self.sampling != "replacement" else 0
        smallest = last or self.batch_size
        if smallest < self.parallel.size:
            raise ValueError(
                f"the {'last minibatch of an epoch' if last else 'minibatch'} has {smallest} of {data['x'].shape[0]} "
                f"samples, and {self.parallel.size} processes cannot share so few; choose another batch_size than "
                f"{self.batch_size}, or start fewer processes"
            )
        if self.net.buffers:
            self.net.check_training(data["x"][:smallest, ...])
        if validation is None:
            return data, None
        if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
            raise TypeError(
                f"validation is {describe(validation)}, expected samples and labels: validation=(x, t), or with "
                "weights (x, t, weight)"
            )
        return data, self._samples((*validation, None)[:3], "validation ")

    def _samples(self, given: Split, prefix: str) -> Data:
        """See :meth:`Sequential.as_samples`."""
        net, (x, t, weight) = self.net, given
        known = self._looked_at.get(prefix, _nothing)() is x
        arrays = net.as_samples(x, t, weight, (f"{prefix}x", f"{prefix}t", f"{prefix}weight"), finite=known)
        with suppress(TypeError):  # not all arrays can be referred to
            self._looked_at[prefix] = weakref.ref(x) if arrays[0] is x else _nothing
        with np.errstate(all="ignore"):  # it is shapes and dtypes that are looked at
            net.check_forward(net.own_arrays(), arrays[0][:1, ...])
        return dict(zip(("x", "t", "weight"), arrays, strict=False))

    def _draws(self, data: Data) -> partial[Params] | None:
        """What draws for one step, if the network is random."""
        return partial(_drawn, self.net, tuple(data["x"].shape[1:]), self.parallel) if self.net.is_random else None

    def _go_to(self, samples: int) -> None:
        """Where the last call ended, if there was one on as many samples; else at the start of an epoch."""
        if self.batches.n != samples:
            passed = self.batches.epoch
            self.batches = Minibatches(samples, self.batch_size, self.rng, self.sampling, passed=passed)
        self.stopped = None
        for series in (self.history.losses, self.history.learning_rates):
            del series[self.iteration :]  # of steps that led nowhere: training diverged, and went back


def _nothing() -> None:
    """A reference to nothing."""


def _drawn(
    net: Sequential, shape: tuple[int, ...], parallel: Parallel, rng: np.random.Generator, samples: int
) -> Params:
    """What the layers draw for so many samples of this shape; for own rows alone, where these can be drawn apart."""
    shared = parallel.size > 1 and parallel.divides
    source: Any = OwnRows(rng, parallel.mine(samples), samples) if shared else rng
    return net.draws(source, (samples, *shape))


def _total(epochs: int | None, iterations: int | None, per_epoch: int) -> int:
    if (epochs is None) == (iterations is None):
        raise ValueError(f"epochs is {epochs} and iterations is {iterations}; give one of them")
    if epochs is not None:
        return check_count(epochs, "epochs") * per_epoch
    return check_count(iterations, "iterations")
