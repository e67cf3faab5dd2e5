"""The sweep: networks of one architecture and other settings, trained together or one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.base import Data
from xpnet.errors import DivergedError
from xpnet.stacked import StackError
from xpnet.sweeping.course import Course
from xpnet.sweeping.result import Sweep, SweepError, SweepInterrupted, Trial
from xpnet.sweeping.settings import Setting, settings_of, trainers_of
from xpnet.training import Trainer
from xpnet.training.interrupt import deferred_interrupt
from xpnet.training.loop import Split
from xpnet.training.progress import Progress
from xpnet.training.trainer import _total

#: Of each network whose training has ended, by its number: at which step it diverged, or None.
Ended = dict[int, int | None]


def sweep(
    make: Callable[..., Trainer],
    settings: Mapping[str, Sequence[Any]],
    x: Array,
    t: Array,
    *,
    weight: Array | None = None,
    validation: Split | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    one_by_one: bool = False,
    progress: bool = True,
) -> Sweep:
    """Train many networks of one architecture at once, each with its own seed, learning rate, decay and so on.

    Each network comes out as ``make(**its settings).fit(x, t, ...)`` would leave it, but for rounding: weights,
    optimizer, minibatches and history. Their arrays stand beside each other, (..., E, C) for E arrays (..., C), so that
    one step trains all of them; on NumPy there is such a step for each core. They are fastest where all draw the same
    minibatches: give each Trainer the same whole number as its seed.

    Networks that are trained together have the same layers, batch size and kind of optimizer; numbers of their
    optimizers, schedules, transforms and layers that are no whole numbers may differ. Together they take E times the
    memory of one. It saves calls and narrow products, of which small dense networks are made; a step of convolutions
    takes up to three quarters longer together than one after the other on one core.

    Args:
        make: a function of the settings that returns a new Trainer, with a network of its own.
        settings: a list of values for each argument of ``make`` that is tried, all of one length:
            ``{"lr": [0.1, 0.3], "seed": [0, 1]}`` are two networks.
        x, t, weight, validation, epochs, iterations, progress: as in :meth:`xpnet.Trainer.fit`.
        one_by_one: whether to train one after the other, which any trainers can be.

    Returns:
        The trials in their order. ``result.best.network`` is the best network, ``print(result.table())`` shows all.

    Raises:
        TypeError: settings that ``make`` has no arguments for; networks that cannot be trained together, with the layer
            or the number in which they differ; what ``fit`` raises.
        ValueError: lists of different lengths, or none; what ``make`` and ``fit`` raise.
        MemoryError: there is not enough memory for all of them.
        SweepInterrupted: after Ctrl-C, a ``KeyboardInterrupt``; its ``result`` has what was trained until then.
        SweepError: another error when something had been trained already, which its ``result`` has.

    >>> import numpy as np
    >>> from xpnet import SGD, Trainer, TwoLayerNet, sweep
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2)).astype("float32")
    >>> t = (x[:, 0] * x[:, 1] > 0).astype("uint8")
    >>> def trainer(lr, seed):
    ...     net = TwoLayerNet(2, 20, 2, weight_init_std=0.5, seed=seed)
    ...     return Trainer(net, SGD(lr=lr), batch_size=20, seed=0)
    >>> result = sweep(trainer, {"lr": [0.001, 0.5, 0.01], "seed": [0, 1, 2]}, x, t, epochs=50, progress=False)
    >>> result.best.settings, bool(result.best.network.accuracy(x, t) > 0.9)
    ({'lr': 0.5, 'seed': 1}, True)
    """
    rows = settings_of(make, settings)
    trainers, start = trainers_of(make, rows), time.perf_counter()
    options: dict[str, Any] = {"weight": weight, "validation": validation}
    ended: Ended = {}
    try:
        if one_by_one:
            goal: dict[str, Any] = {"epochs": epochs, "iterations": iterations, "progress": progress}
            _one_by_one(trainers, (x, t), options | goal, ended)
        else:
            data, held_out = trainers[0]._admitted(x, t, weight, validation)
            steps = _total(epochs, iterations, -(-data["x"].shape[0] // trainers[0].batch_size))
            _together(trainers, data, held_out, steps, progress, ended)
    except KeyboardInterrupt:
        if not ended:
            raise
        raise SweepInterrupted(Sweep(_trials(rows, trainers, ended), time.perf_counter() - start)) from None
    except Exception as error:
        if not ended:
            raise
        result = Sweep(_trials(rows, trainers, ended), time.perf_counter() - start)
        raise SweepError(result, error, len(trainers)) from error
    return Sweep(_trials(rows, trainers, ended), time.perf_counter() - start)


def _together(
    trainers: Sequence[Trainer], data: Data, held_out: Data | None, steps: int, progress: bool, ended: Ended
) -> None:
    current, start = trainers[0].net.backend.current(), time.perf_counter()
    with current, _told_of_memory(trainers), np.errstate(all="ignore"), deferred_interrupt() as interrupted:
        course = Course(trainers, data, held_out, steps)
        any(trainer._warn_of_steps_for_nothing(stacklevel=5) for trainer in trainers)  # once
        try:
            _run(course, interrupted, progress)
        finally:
            if course.over:
                for i, trainer in enumerate(trainers):
                    ended[i] = course.diverged.get(i)
                    trainer.history.wall = (time.perf_counter() - start) / len(trainers)


def _run(course: Course, interrupted: Callable[[], bool], progress: bool) -> None:
    bar: Any = Progress()
    if progress:
        bar.on_begin(course)
    try:
        course.run(bar.on_block if progress else lambda _: None, interrupted)
    finally:
        bar.on_end(course)


def _one_by_one(trainers: Sequence[Trainer], data: tuple[Array, Array], options: dict[str, Any], ended: Ended) -> None:
    for i, trainer in enumerate(trainers):
        try:
            trainer.fit(*data, **options)
            ended[i] = None
        except DivergedError as error:
            ended[i] = error.iteration
        except KeyboardInterrupt:
            evaluations = trainer.history.evaluations
            if evaluations and evaluations[-1].iteration == trainer.iteration:  # a second one did not wait for it
                ended[i] = None
            raise


def _trials(rows: Sequence[Setting], trainers: Sequence[Trainer], ended: Ended) -> tuple[Trial, ...]:
    return tuple(Trial(i, rows[i], trainers[i], diverged) for i, diverged in ended.items())


@contextmanager
def _told_of_memory(trainers: Sequence[Trainer]) -> Iterator[None]:
    """Say of an error for want of memory how much the networks take."""
    try:
        yield
    except Exception as error:  # each library has its own, and some none but a text
        if isinstance(error, StackError) or not (isinstance(error, MemoryError) or "memory" in str(error).lower()):
            raise
        count, one = len(trainers), _megabytes(trainers[0])
        raise MemoryError(
            f"there is not enough memory for {count} networks together: about {count * one:,.0f} MB of weights, "
            f"gradients, optimizer and copies ({one:,.1f} MB each), and their activations; sweep fewer at a time, or "
            f"with one_by_one=True. It was: {str(error) or type(error).__name__}"
        ) from error


def _megabytes(trainer: Trainer) -> float:
    """What the state of one takes: itself, gradients, and the two copies that the loop goes back to."""

    def numbers(tree: Any) -> int:
        return sum(numbers(v) if isinstance(v, dict) else prod(v.shape) for v in tree.values())

    tree = trainer.compose()
    width = 8 if "64" in str(trainer.net.dtype) else 4
    return width * (3 * numbers(tree) + numbers(tree["params"])) / 1e6
