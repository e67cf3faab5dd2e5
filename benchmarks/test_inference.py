"""Scores of many images, and of few."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import MultiLayerNet


@pytest.mark.parametrize("samples", [100, 10_000])
@pytest.mark.parametrize("hidden", [(50,), (500, 500)], ids=lambda sizes: "-".join(map(str, (784, *sizes, 10))))
def test_inference(hidden, samples, benchmark, timed, backend, reference, digits):
    net = MultiLayerNet(784, hidden, 10, seed=0, backend=reference)
    images = digits[0][:samples]
    there, x = net.to(backend), backend.asarray(images)
    np.testing.assert_allclose(backend.to_numpy(there.predict(x)), net.predict(images), rtol=1e-4, atol=1e-4)
    calls = 20 if samples == 100 else 1
    benchmark.group = f"inference: {calls} x {samples} images"
    benchmark.extra_info["samples a call"] = samples
    timed(lambda: there.predict(x), calls=calls)
