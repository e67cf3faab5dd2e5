"""The numerical gradient of a small network: two evaluations of the loss for each of its parameters."""

from __future__ import annotations

import numpy as np

from xpnet import TwoLayerNet
from xpnet.backends.dispatch import widest_floating


def test_numerical_gradient(benchmark, timed, backend, reference):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(10, 64)).astype("float32"), rng.integers(0, 10, 10)
    net = TwoLayerNet(64, 20, 10, weight_init_std=0.1, seed=0, backend=reference)
    there, data = net.to(backend), [backend.asarray(a) for a in (x, t)]
    found = there.numerical_gradient(*data)
    atol = 1e-6 if widest_floating(data[0]) == backend.xp.float64 else 1e-2
    for name, expected in net.numerical_gradient(x, t).items():
        np.testing.assert_allclose(backend.to_numpy(found[name]), expected, rtol=0, atol=atol)
    benchmark.group = f"numerical gradient of {sum(p.size for p in net.params.values())} parameters"
    benchmark.extra_info["computed in"] = "float64" if atol == 1e-6 else "float32"
    timed(lambda: there.numerical_gradient(*data), rounds=10)
