"""What a backend does for gradients: assignment, rows added, calls in parallel, and the widest dtype it has."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from xpnet import get_backend
from xpnet.backends.dispatch import backend_of, namespace, widest_floating
from xpnet.backends.numpy import NumpyBackend


def test_put_and_add_rows(training_backend):
    b = training_backend
    x = b.asarray(np.arange(12.0).reshape(4, 3), copy=True)
    expected = np.arange(12.0).reshape(4, 3)
    x = b.put(x, (slice(0, 4, 2), 1), b.asarray([7.0, 8.0], "float64"))
    expected[::2, 1] = [7, 8]
    np.testing.assert_array_equal(b.to_numpy(x), expected)
    x = b.add_rows(x, b.asarray([3, 0]), b.asarray(np.full((2, 3), 0.5)))
    expected[[3, 0]] += 0.5
    np.testing.assert_array_equal(b.to_numpy(x), expected)


def test_the_backend_of_an_array(backend):
    x = backend.asarray([1.0, 2.0], "float32")
    assert backend_of(x) == backend
    with pytest.raises(TypeError, match="list"):
        backend_of([1.0])


def test_widest_floating(backend):
    x = backend.asarray([1.0], "float32")
    assert widest_floating(x) == namespace(x).float64


def test_jax_without_64_bits_has_no_float64(backend):
    if backend.name != "jax":
        return
    code = (
        "from xpnet import get_backend; from xpnet.backends.dispatch import widest_floating; "
        "x = get_backend('jax').asarray([1.0]); print(widest_floating(x))"
    )
    command, environment = [sys.executable, "-W", "error", "-c", code], {**os.environ, "JAX_ENABLE_X64": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "float32\n"


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_map_keeps_order_and_runs_as_many_at_a_time(workers, monkeypatch):
    monkeypatch.setattr(NumpyBackend, "workers", workers)
    meeting = threading.Barrier(workers, timeout=20)

    def call(i):
        meeting.wait()  # nobody goes on before all workers are here: fewer at a time would time out
        return i * i

    assert list(get_backend("numpy").map(call, range(4 * workers))) == [i * i for i in range(4 * workers)]


def test_map_passes_an_error_on_and_starts_nothing_more(monkeypatch):
    monkeypatch.setattr(NumpyBackend, "workers", 2)
    started = []

    def call(i):
        started.append(i)
        if i == 1:
            raise ZeroDivisionError
        return i

    with pytest.raises(ZeroDivisionError):
        list(get_backend("numpy").map(call, range(100)))
    assert len(started) < 10


def test_a_backend_for_forward_passes_says_so(backend):
    if backend.trains:
        backend.check_trains()
    else:
        with pytest.raises(ValueError, match=f"backend '{backend.name}' is for forward passes only; use another"):
            backend.check_trains()
