"""Processes that ``jax.distributed`` joins train one network; each test starts two, which talk over the loopback."""

import json
import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec

import jax_processes
import numpy as np
import pytest

from xpnet import Trainer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed, and these are processes of its"),
]
SIZE = 2
#: A limit for what would wait for ever, on a busy machine too.
LIMIT = 300


@pytest.fixture
def start(tmp_path):
    """``start(mode)``: two processes with two devices each."""
    started = []

    def begun(mode):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        flags = "--xla_force_host_platform_device_count=2"
        environment = os.environ | {"XLA_FLAGS": flags, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
        for rank in range(SIZE):
            command = [sys.executable, jax_processes.__file__, mode, str(rank), str(SIZE), str(port), str(tmp_path)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            started.append(subprocess.Popen(command, env=environment, **pipes))
        return started

    yield begun
    for process in started:
        process.kill()
        process.communicate()


def test_processes_train_what_one_process_trains(start, tmp_path):
    outputs = [process.communicate(timeout=LIMIT) for process in start("train")]
    found = [json.loads((tmp_path / f"{rank}.json").read_text("utf-8")) for rank in range(SIZE)]
    assert found[0] == found[1]
    assert outputs[0][0].count("accuracy") > 1, "process 0 calls callbacks"
    assert "accuracy" not in outputs[1][0]
    assert not (tmp_path / "1.safetensors").exists(), "process 0 writes"

    alone = jax_processes.trainer(None, backend="numpy")
    samples, options = jax_processes.data(alone.net)
    alone.fit(*samples, **options, iterations=jax_processes.ITERATIONS, progress=False)
    np.testing.assert_allclose(found[0]["losses"], alone.history.losses, rtol=1e-12)
    for name, value in alone.net.params.items():
        if name != "b1":  # before a mean is taken off, where a bias has no effect
            np.testing.assert_allclose(found[0]["weights"][name], value, rtol=0, atol=1e-11 * abs(value).max())
    assert found[0]["accuracies"] == [e.train_accuracy for e in alone.history.evaluations]

    resumed = Trainer.load(tmp_path / "0.safetensors", backend="numpy")
    for trainer in (alone, resumed):
        trainer.fit(*samples, **options, iterations=10, progress=False)
    np.testing.assert_allclose(resumed.history.losses, alone.history.losses, rtol=1e-11)


def test_other_seeds_are_found_before_the_first_step(start):
    processes = start("seeds")
    for process in processes:
        _, error = process.communicate(timeout=LIMIT)
        assert process.returncode == 1
        assert "the seed of the trainer differs on process 1 from process 0" in error


@pytest.mark.parametrize("victim", range(SIZE))
def test_a_process_that_is_killed_ends_the_other(start, tmp_path, victim):
    processes = start("endless")
    until = time.monotonic() + LIMIT
    while not (tmp_path / "begun").exists() and time.monotonic() < until:
        time.sleep(0.1)
    processes[victim].kill()
    survivor = processes[1 - victim]
    _, error = survivor.communicate(timeout=LIMIT)
    assert survivor.returncode not in (0, None)
    # ours, or that of JAX, which ends those whose coordinator is gone by itself
    assert "another process has ended" in error or "another task died" in error
