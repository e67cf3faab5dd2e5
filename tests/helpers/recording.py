"""A small training for tests of what happens beside it, and a callback that remembers every call."""

from __future__ import annotations

import numpy as np

from xpnet import SGD, Trainer, TwoLayerNet
from xpnet.training import Callback


def data(samples=90):
    rng = np.random.default_rng(3)
    return rng.normal(size=(samples, 6)), rng.integers(0, 4, samples)


def trainer_of(backend="numpy", lr=0.1):
    """Three batches of 30 an epoch."""
    net = TwoLayerNet(6, 5, 4, weight_init_std=0.5, seed=0, dtype="float64", backend=backend)
    return Trainer(net, SGD(lr), batch_size=30, seed=1)


def fit(trainer, *callbacks, **options):
    x, t = (trainer.net.backend.asarray(values) for values in data())
    return trainer.fit(x, t, callbacks=callbacks, progress=False, **options)


def values_of(trainer):
    return {name: trainer.net.backend.to_numpy(p).copy() for name, p in trainer.net.params.items()}


class Recorder(Callback):
    """All calls, with the iteration; what is in ``raises`` is raised there."""

    def __init__(self, every=None, **raises):
        self.every, self.raises, self.calls, self.weights = every, raises, [], []

    def note(self, name, trainer):
        self.calls.append((name, trainer.iteration))
        self.weights.append(values_of(trainer))
        if name in self.raises:
            raise self.raises[name]

    def on_begin(self, trainer):
        self.note("begin", trainer)

    def on_block(self, trainer):
        assert len(trainer.history.losses) == trainer.iteration
        self.note("block", trainer)

    def on_evaluation(self, trainer, evaluation):
        assert trainer.history.evaluations[-1].iteration == evaluation.iteration == trainer.iteration
        self.note("evaluation", trainer)

    def on_end(self, trainer):
        self.note("end", trainer)

    def at(self, name):
        return [iteration for called, iteration in self.calls if called == name]
