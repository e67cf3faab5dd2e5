"""How fast matrices are multiplied, and what NumPy multiplies them with."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet.backends.dispatch import get_backend
from xpnet.cli import backends
from xpnet.throughput import Blas, kernel_advice, matmul, matrix_rate, numpy_blas, rate_advice
from xpnet.throughput.blas import processor_flags

AVX2 = frozenset({"sse2", "avx", "avx2", "fma"})
AVX512 = AVX2 | {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
OPENBLAS = numpy_blas().core is not None


class Device:
    """A device by whose clock n³ multiplications and additions take 2 n³ / rate seconds, plus some for each wait."""

    def __init__(self, rate, wait):
        self.rate, self.wait, self.now, self.asked = rate, wait, 0.0, 0.0
        self.xp = SimpleNamespace(matmul=self.matmul)

    def asarray(self, x):
        assert x.dtype == np.float32
        return SimpleNamespace(shape=x.shape)

    def matmul(self, a, b):
        self.asked += 2 * a.shape[0] * a.shape[1] * b.shape[1] / self.rate
        return object()

    def current(self):
        return nullcontext()

    def synchronize(self):
        self.now, self.asked = self.now + self.asked + self.wait, 0.0


@pytest.mark.parametrize(("rate", "wait", "close"), [(2e10, 0, 1e-9), (1e11, 1e-4, 0.01), (5e13, 1e-4, 0.01)])
def test_the_rate_of_a_device_is_found_whatever_a_wait_costs(rate, wait, close):
    device = Device(rate, wait)
    assert matrix_rate(device, 0.15, lambda: device.now) == pytest.approx(rate / 1e9, rel=close)
    assert device.now < 1


def test_what_it_multiplies_is_of_the_size_it_says(monkeypatch):
    shapes = []
    monkeypatch.setattr(matmul, "_multiply", lambda backend, a, b, count: shapes.append((a.shape, b.shape)))
    ticks = iter(range(100))
    matrix_rate(get_backend("numpy"), 1, lambda: next(ticks))
    assert set(shapes) == {((1024, 1024), (1024, 1024))}


def test_a_rate_can_be_had_on_every_backend(training_backend):
    assert 0 < matrix_rate(training_backend, 0.001) < 1e6


@pytest.mark.skipif(not OPENBLAS, reason="NumPy has another BLAS than OpenBLAS here, or one that cannot be asked")
@pytest.mark.parametrize("threads", [1, 2])
def test_openblas_says_what_it_was_told(threads):
    if threads > (os.cpu_count() or 1):
        pytest.skip("there is one core here")
    code = "from xpnet.throughput import numpy_blas; b = numpy_blas(); print(b.core, b.threads)"
    told = os.environ | {"OPENBLAS_CORETYPE": "Sandybridge", "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, text=True, check=True)
    core, found = done.stdout.split()
    assert int(found) == threads
    assert "avx" not in processor_flags() or core == "Sandybridge"


def test_the_name_and_version_are_those_numpy_was_built_with():
    found, built = numpy_blas(), np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    assert (found.name, found.version) == (built["name"], built["version"])
    assert str(Blas("openblas", "0.3", "Zen", 2)) == "openblas 0.3, kernels for Zen, 2 threads"
    assert str(Blas("accelerate", "14", None, None)) == "accelerate 14"


@pytest.mark.parametrize(
    ("core", "flags", "try_"),
    [
        ("Haswell", AVX512, "SkylakeX"),
        ("Zen", AVX512, "SkylakeX"),
        ("Prescott", AVX512, "SkylakeX"),
        ("Prescott", AVX2, "Haswell"),
        ("Nehalem", frozenset({"avx"}), "Sandybridge"),
        ("SkylakeX", AVX512, None),
        ("Cooperlake", AVX512, None),
        ("SapphireRapids", AVX512, None),
        ("Haswell", AVX2, None),
        ("Zen", AVX2, None),
        ("Haswell", AVX512 - {"avx512vl"}, None),
        ("Haswell", frozenset(), None),
        ("NEOVERSEN1", AVX512, None),
        (None, AVX512, None),
    ],
)
def test_kernels_of_an_older_processor_are_told(core, flags, try_):
    blas = Blas("openblas", "0.3", core, 2)
    said = kernel_advice(blas, flags, {})
    assert (said is None) == (try_ is None)
    if said:
        assert f"picked kernels for {core}" in said
        assert said.endswith(f"OPENBLAS_CORETYPE={try_} xpnet train")
        assert kernel_advice(blas, flags, {"OPENBLAS_CORETYPE": core}) is None  # somebody wanted them


@pytest.mark.parametrize(("rate", "said"), [(128, True), (139, True), (141, False), (300, False)])
def test_a_rate_far_below_that_of_others_is_told(rate, said):
    text = rate_advice(Blas("openblas", "0.3", "Zen", 2), rate, {"jax cpu:0": 100, "torch cpu": 234}, 2, AVX512)
    assert (text is not None) is said
    if text:
        assert f"{rate} GFLOP/s and torch cpu at 234" in text
        assert "kernels are for Zen" in text
        assert text.endswith("OPENBLAS_CORETYPE=SkylakeX set")


def test_kernels_that_this_processor_cannot_run_are_not_named():
    text = rate_advice(Blas("openblas", "0.3", "Zen", 2), 50, {"torch cpu": 234}, 2, AVX2)
    assert "another build of NumPy" in text
    assert "OPENBLAS_CORETYPE" not in text
    assert text != rate_advice(Blas("openblas", "0.3", "Zen", 2), 50, {"torch cpu": 234}, 2, frozenset())


def test_threads_that_are_missing_are_the_first_suspect():
    text = rate_advice(Blas("openblas", "0.3", "Zen", 1), 50, {"torch cpu": 234}, 2)
    assert "on 1 of 2 cores" in text
    assert "another build" in rate_advice(Blas("mkl", "1", None, None), 50, {"torch cpu": 234}, 2)
    assert rate_advice(Blas("mkl", "1", None, None), 50, {}, 2) is None


def test_flags_are_read_from_what_linux_says(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert processor_flags(tmp_path / "cpuinfo") == {"fpu", "avx2", "fma"}
    assert processor_flags(tmp_path / "none") == frozenset()


def test_the_command_says_what_numpy_multiplies_with_and_compares_processors_only(command, monkeypatch):
    monkeypatch.setattr(backends, "PAUSE", 0)
    monkeypatch.setattr(backends, "backend_names", lambda: ("numpy", "strict"))
    monkeypatch.setattr(backends.throughput, "numpy_blas", lambda: Blas("openblas", "0.3", "Haswell", 64))
    monkeypatch.setattr(backends.throughput, "matrix_rate", lambda backend: 128.4)
    result = command("backends")
    assert result.exit_code == 0
    assert "128  " in result.output
    assert "NumPy multiplies with openblas 0.3, kernels for Haswell, 64 threads.\n" in result.output
    fast, gpu = {"numpy": {"cpu": 128}, "torch": {"cpu": 234}}, {"numpy": {"cpu": 128}, "cupy": {"cuda:0": 5e4}}
    assert "NumPy multiplies at 128" in backends._notes(fast)[-1]
    assert not any("multiplies at" in line for line in backends._notes(gpu))


def test_a_rate_that_seems_slow_is_measured_again(monkeypatch):
    later = iter([100.0, 200.0, 300.0])
    monkeypatch.setattr(backends, "PAUSE", 0)
    monkeypatch.setattr(backends.throughput, "matrix_rate", lambda backend: next(later))
    rates = {"numpy": {"cpu": 50.0}, "torch": {"cpu": 234.0, "cuda:0": 9e4}}
    backends._again(rates)
    assert rates["numpy"] == {"cpu": 200}
    backends._again(rates)
    assert next(later) == 300  # it is slow no more


def test_a_device_that_multiplies_nothing_is_told(command, monkeypatch):
    def full(backend):
        raise MemoryError("no room")

    monkeypatch.setattr(backends, "PAUSE", 0)
    monkeypatch.setattr(backends, "backend_names", lambda: ("numpy", "strict"))
    monkeypatch.setattr(backends.throughput, "matrix_rate", full)
    result = command("backends")
    assert result.exit_code == 0
    assert "numpy cpu multiplies no matrices: MemoryError: no room" in result.output
