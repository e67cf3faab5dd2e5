"""Blocks of 100 steps of the seed job, and inference; under pytest-benchmark.

pytest benchmarks --backend numpy
"""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import SGD, TwoLayerNet, make_step
from xpnet.datasets import mnist

STEPS = 100


@pytest.fixture(scope="session")
def data(backend):
    (x, t), _ = mnist()
    return backend.asarray(x), backend.asarray(t)


def test_training(benchmark, backend, data):
    net = TwoLayerNet(784, 50, 10, seed=0, backend=backend)
    step = backend.compile(make_step(net, SGD(lr=0.1)))
    rng = np.random.default_rng(0)
    state, losses = {"params": net.to(backend).params, "optimizer": {}}, []

    def block():
        nonlocal state
        state, found = backend.run(step, state, *data, rng.integers(0, 60_000, (STEPS, 100)))
        losses.extend(found)
        backend.synchronize()

    benchmark.extra_info["steps a round"] = STEPS
    benchmark.pedantic(block, rounds=20, warmup_rounds=2)
    assert losses[0] == pytest.approx(2.3, abs=0.1)
    assert np.mean(losses[-STEPS:]) < 0.4, "it learned"


def test_inference(benchmark, backend, data):
    net = TwoLayerNet(784, 50, 10, seed=0, backend=backend)
    x = data[0][:10_000, ...]

    def predict():
        y = net.predict(x)
        backend.synchronize()
        return y

    benchmark.extra_info["samples a round"] = 10_000
    scores = backend.to_numpy(benchmark.pedantic(predict, rounds=20, warmup_rounds=2))
    assert scores.shape == (10_000, 10)
    assert np.isfinite(scores).all()
