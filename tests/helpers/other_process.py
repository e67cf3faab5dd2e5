"""What tests have done in another process, which finds this module by its name."""

from __future__ import annotations

import numpy as np

from xpnet import SGD, Trainer, TwoLayerNet

X = np.random.default_rng(3).normal(size=(12, 4))
T = np.arange(12) % 3


def diverge():
    """What happens in a process of a pool."""
    net = TwoLayerNet(4, 5, 3, seed=0, backend="numpy")
    Trainer(net, SGD(lr=1e30), batch_size=4, seed=0).fit(X, T, epochs=3, progress=False)


def trained_on(trainer):
    trainer.fit(X, T, iterations=6, progress=False)
    return trainer


def updated(optimizer, steps=2):
    """Parameters after updates in the book's form."""
    params = {"w": np.asarray([1.0, -2.0])}
    for _ in range(steps):
        optimizer.update(params, {"w": np.asarray([0.5, 3.0])})
    return params["w"]


def returned(value):
    """A value as it arrived, and what is made of it there."""
    return value, repr(value), updated(value) if hasattr(value, "rule") else None
