"""Real processes, which mpiexec starts on this machine."""

import json
import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from xpnet import Trainer, load_network

PROGRAM = Path(__file__).with_name("program.py")
#: That of the MPI which mpi4py loads: beside Python, or else the system's.
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

pytestmark = pytest.mark.skipif(
    find_spec("mpi4py") is None or MPIEXEC is None,
    reason="mpi4py or mpiexec is missing: xpnet[mpi] has them",
)


def start(processes, *arguments, **variables):
    """The process of mpiexec that runs Python with these arguments in so many processes."""
    line = [MPIEXEC, "-n", str(processes), sys.executable, *map(str, arguments)]
    threads = {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    env = os.environ | threads | {name: str(value) for name, value in variables.items()}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(line, env=env, text=True, **pipes)


def ended(process):
    """Its status, and what it wrote."""
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def result(processes, *arguments):
    status, out, err = ended(start(processes, PROGRAM, *arguments))
    assert status == 0, f"{out}\n{err}"
    answer = json.loads(out.splitlines()[-1])
    assert answer["size"] == processes
    return answer["found"]


def check_alike(found, bound):
    for name, each in found.items():
        assert each["weights"] < bound, (name, each)
        assert max(each["losses"], each["loss"]) < bound, (name, each)
        assert each["slots"] < 10 * bound, (name, each)  # velocities are sums of gradients that nearly cancel
        assert each["accuracy"], (name, each)


@pytest.mark.parametrize("processes", [2, 4])
def test_every_optimizer_trains_as_in_one_process(processes):
    check_alike(result(processes, "alike", "numpy", 200 if processes == 2 else 6), 1e-12)


@pytest.mark.parametrize("processes", [2, 3])
def test_sums_are_exact_in_shared_memory_and_in_messages(processes):
    assert result(processes, "sums") == []


def test_processes_that_share_no_memory():
    check_alike(result(2, "messages"), 1e-12)


@pytest.mark.slow
def test_float32_after_a_thousand_steps():
    """Some other rules make more of rounding, Adadelta above all, between two runs of one process as well."""
    check_alike(result(2, "alike", "numpy", 1000, "float32", "sgd,momentum,nesterov,adagrad,adam,lion"), 1e-6)


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_steps_that_other_libraries_compile(backend):
    pytest.importorskip(backend)
    check_alike(result(2, "alike", backend, 20), 1e-12)


def test_processes_that_were_given_other_things_are_told_so_and_may_go_on():
    found = result(2, "mismatch")
    assert found["told"][0] == found["told"][1]
    parameters, layers = found["told"][0]
    assert "the parameters of the network differs on process 1 from process 0" in parameters
    assert "Dropout(0.1)" in layers
    assert found["after"]["weights"] < 1e-12


@pytest.mark.parametrize(("deed", "said"), [("kill", "Killed"), ("hang", "has waited 2 s for the others")])
def test_a_lost_process_ends_all_and_leaves_the_last_checkpoint_whole(tmp_path, deed, said):
    path, begun = tmp_path / "checkpoint", time.monotonic()
    status, out, err = ended(start(3, PROGRAM, "deed", deed, CHECKPOINT=path, XPNET_MPI_TIMEOUT=2))
    assert status != 0
    assert said in out + err
    assert time.monotonic() - begun < 30  # ten seconds, and what starting takes on a machine that is busy
    assert Trainer.load(path).iteration >= 40


def test_an_interrupt_of_one_process_stops_all_in_the_same_step(tmp_path):
    path = tmp_path / "checkpoint"
    status, out, err = ended(start(2, PROGRAM, "deed", "interrupt", CHECKPOINT=path))
    assert status == 0, err
    first, second = json.loads(out)["found"]["iterations"]
    assert first == second == Trainer.load(path).iteration


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("raised", "ValueError: there are no data on this machine"),
        ("broken", "MemoryError: there is no room for this layer"),
    ],
)
def test_an_exception_in_one_process_ends_all_with_its_message(check, said):
    status, _, err = ended(start(2, PROGRAM, check))
    assert status == 1
    assert err.count(said) == 1, err
    assert "process 1 of 2 failed, and ends all of them" in err


def test_the_command_trains_as_one_and_is_stopped_as_one(tmp_path):
    line = ("-m", "xpnet", "train", "--iterations", 30, "--no-plot", "--checkpoint-every", 20, "--out")
    status, out, err = ended(start(2, *line, tmp_path / "two"))
    assert (status, err) == (0, "")
    assert out.count("iteration     30") == 1
    alone = subprocess.run([sys.executable, *map(str, line), str(tmp_path / "one")], check=True, capture_output=True)
    assert alone.returncode == 0
    nets = [load_network(tmp_path / name / "weights.safetensors") for name in ("one", "two")]
    for name, a in nets[0].params.items():
        np.testing.assert_allclose(a, nets[1].params[name], rtol=1e-4, atol=1e-6)

    status, out, err = ended(start(2, *line, tmp_path / "two"))  # the folder is not empty
    assert (status, err.count("Error: ")) == (1, 1)

    status, out, err = ended(start(2, "-m", "xpnet", "train", "--resume", tmp_path / "two", "--iterations", 50))
    assert (status, err) == (0, "")
    assert "from iteration 30" in out


def test_one_process_trains_alone_and_says_so():
    code = "from xpnet.parallel import as_parallel; print(as_parallel('mpi').size)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "1\n"
    assert "trains alone, as this process was started by itself" in done.stderr


def test_another_mpiexec_is_told():
    code = "from xpnet.parallel import as_parallel; as_parallel('mpi')"
    env = os.environ | {"OMPI_COMM_WORLD_SIZE": "4"}
    done = subprocess.run([sys.executable, "-c", code], check=False, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "mpiexec has started 4 processes, but mpi4py's MPI" in done.stderr
    assert "sees 1 of them" in done.stderr
