"""``xpnet bench``: its table, its files, what it refuses, what it could not run, and how it stops."""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import sys
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from xpnet import throughput
from xpnet.backends.base import PlainStep
from xpnet.backends.cupy import CupyBackend
from xpnet.backends.dispatch import BackendUnavailableError
from xpnet.backends.strict import StrictBackend
from xpnet.cli import bench, scaling, wide
from xpnet.throughput import Blas, blas, comparison
from xpnet.throughput.processes import GroupError

PNG = b"\x89PNG\r\n\x1a\n"
TINY = ("--batch-sizes", "10,50,200", "--hidden", "3,7", "--seconds", "20", "--out", "out")


@pytest.fixture(autouse=True)
def small(monkeypatch, some_digits):
    """Less data, shorter blocks, and two libraries: NumPy and the one for tests."""
    (x, t), test = some_digits
    monkeypatch.setattr(bench, "mnist", lambda normalize: (((x * 255).round().astype(np.uint8), t), test))
    for name, value in (("BLOCK_SECONDS", 1e-3), ("PAUSE", 0), ("MOST_ROUNDS", 3)):
        monkeypatch.setattr(comparison, name, value)
    monkeypatch.setattr(throughput, "MEASURED", ("numpy", "strict"))
    monkeypatch.setattr(StrictBackend, "devices", classmethod(lambda cls: ("device1",)))


def result_in(folder):
    return json.loads((folder / "throughput.json").read_text())


def rows(output):
    """The cells of the lines of the table."""
    lines = output.partition("samples/s, medians\n")[2].splitlines()
    return [line.split() for line in lines[2:] if line[:8].strip().isdigit()]


def test_every_library_size_and_width_is_in_the_table_and_the_file(command, tmp_path):
    done = command("bench", *TINY)
    assert done.exit_code == 0, done.output
    result = result_in(tmp_path / "out")
    sizes = list(itertools.product((3, 7), (10, 50, 200)))
    table = rows(done.output)
    assert [(int(row[0]), int(row[1])) for row in table] == sizes
    found = {(c["hidden"], c["batch_size"], c["entrant"]): c for c in result["cells"]}
    assert set(found) == {(*pair, name) for pair in sizes for name in ("numpy cpu", "strict device1")}
    for row in table:
        cells = [found[int(row[0]), int(row[1]), name] for name in ("numpy cpu", "strict device1")]
        assert row[2:4] == [f"{c['samples_per_second']:,.0f}" for c in cells]
        assert row[4:] == max(cells, key=lambda c: c["samples_per_second"])["entrant"].split()
    for (_, batch, _), c in found.items():
        assert len(c["rounds"]) == 3
        assert c["seconds_per_step"] == pytest.approx(statistics.median(c["rounds"]) / c["steps_per_round"])
        assert c["samples_per_second"] == pytest.approx(batch / c["seconds_per_step"])
        assert c["warm_up_seconds"] > 0


def test_the_file_says_on_what_and_how_it_was_measured(command, tmp_path):
    assert command("bench", *TINY, "--backend", "numpy", "--seed", 5, "--dtype", "float64").exit_code == 0
    result = result_in(tmp_path / "out")
    assert result["machine"]["versions"] == {"numpy": np.__version__}
    assert result["machine"]["processor"]
    assert result["machine"]["threads"]["cores"] == throughput.cores()
    blas = throughput.numpy_blas()
    assert result["machine"]["numpy_blas"] == vars(blas)
    kept = {
        name: result["settings"][name] for name in ("seed", "dtype", "seconds", "hidden", "batch_sizes", "compiled")
    }
    sizes = {"hidden": [3, 7], "batch_sizes": [10, 50, 200]}
    assert kept == {"seed": 5, "dtype": "float64", "seconds": 20, "compiled": False} | sizes
    (entrant,) = result["entrants"]
    assert (entrant["name"], entrant["device"], entrant["compiled"]) == ("numpy cpu", "cpu", True)
    assert 0 < result["seconds"] < 100


def test_mixed_precision_is_measured_and_named(command, tmp_path):
    done = command("bench", *TINY, "--compute-dtype", "float16", "--tf32")
    assert done.exit_code == 0, done.output
    assert "numpy cpu; float32, computed in float16, about 20 s" in done.stderr
    assert "samples/s, medians, computed in float16\n" in done.output
    result = result_in(tmp_path / "out")
    assert (result["settings"]["compute_dtype"], result["settings"]["tf32"]) == ("float16", True)
    (entrant,) = result["entrants"]
    assert (entrant["name"], entrant["compute_dtype"], entrant["tf32"]) == ("numpy cpu", "float16", None)
    assert "strict device1" in result["not_run"]
    assert all("samples_per_second" in cell for cell in result["cells"]), result["cells"]
    refused = command("bench", *TINY, "--overwrite", "--compute-dtype", "float16", "--dtype", "float64")
    assert refused.exit_code == 1
    assert "--compute-dtype is for --dtype float32, and it is float64" in refused.stderr


def test_the_picture_is_drawn_unless_it_is_not_wanted(command, tmp_path):
    assert command("bench", *TINY).exit_code == 0
    assert (tmp_path / "out" / "throughput.png").read_bytes().startswith(PNG)
    done = command("bench", *TINY, "--overwrite", "--no-plot")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["throughput.json"]
    assert "throughput.png" not in done.output


def test_without_matplotlib_it_measures_all_the_same(command, tmp_path, monkeypatch):
    for name in ["matplotlib", *(name for name in sys.modules if name.startswith("matplotlib."))]:
        monkeypatch.setitem(sys.modules, name, None)
    done = command("bench", *TINY)
    assert done.exit_code == 0
    assert 'pip install "xpnet[plot]"' in done.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["throughput.json"]


def test_without_out_results_go_where_those_of_train_go(command, tmp_path):
    assert command("bench", *TINY[:-2], "--no-plot").exit_code == 0
    (folder,) = (tmp_path / "xpnet-runs").iterdir()
    assert [path.name for path in folder.iterdir()] == ["throughput.json"]


def test_earlier_results_are_not_overwritten_unasked(command, tmp_path, monkeypatch):
    assert command("bench", *TINY, "--no-plot").exit_code == 0
    before = (tmp_path / "out" / "throughput.json").read_bytes()
    monkeypatch.setattr(throughput.Comparison, "run", lambda self: pytest.fail("it measured"))
    done = command("bench", *TINY)
    assert (done.exit_code, "--overwrite" in done.output) == (1, True)
    assert (tmp_path / "out" / "throughput.json").read_bytes() == before


def test_quiet_prints_the_table_alone(command, monkeypatch):
    monkeypatch.setattr(bench, "STEADY", 1e9)
    done = command("bench", *TINY, "--quiet", "--backend", "numpy")
    assert done.output.startswith("samples/s, medians\n")
    assert len(done.output.splitlines()) == 3 + 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--batch-sizes", "70000"), ["70000", "6000 digits"]),
        (("--batch-sizes", "0"), ["--batch-sizes"]),
        (("--batch-sizes", "ten"), ["--batch-sizes", "'ten'"]),
        (("--hidden", "0"), ["--hidden"]),
        (("--seconds", "0"), ["--seconds"]),
        (("--backend", "dask"), ["--backend", "dask", "numpy", "torch", "jax", "cupy"]),
        (("--backend", "strict"), ["--backend", "strict"]),
        (("--batch-sizes", "10", "--device", "moon"), ["nothing can be measured", "no device 'moon'"]),
        (("--dtype", "float16"), ["--dtype", "float32"]),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_refused_and_leaves_nothing(options, words, command, tmp_path):
    done = command("bench", "--out", "out", *options)
    assert isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code in (1, 2)
    assert [word for word in words if word not in done.output] == [], done.output
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_run_is_told_with_the_reason(command, tmp_path, monkeypatch):
    def missing():
        raise BackendUnavailableError("backend 'cupy': there is no driver; install one")

    monkeypatch.setattr(CupyBackend, "library", missing)
    monkeypatch.setattr(throughput, "MEASURED", ("numpy", "cupy"))
    done = command("bench", *TINY)
    assert done.exit_code == 0
    assert "Not run:\n  cupy: backend 'cupy': there is no driver; install one\n" in done.output
    assert result_in(tmp_path / "out")["not_run"] == {"cupy": "backend 'cupy': there is no driver; install one"}


def test_the_wide_job_without_a_gpu_is_told(command, tmp_path, monkeypatch):
    monkeypatch.setattr(throughput, "FOR_GPUS", ("strict",))
    line = "784-4096-4096-10, batch 8192: not run: no GPU takes part; --wide measures it on CPUs"
    for device, told in (("cpu", True), ("device1", False)):
        monkeypatch.setattr(StrictBackend, "device_name", property(lambda self, name=device: name))
        done = command("bench", *TINY, "--no-plot", "--overwrite", "--hidden", "3", "--batch-sizes", "10")
        assert done.exit_code == 0
        assert (line in done.output) is told
    assert "there are 6000 digits to train on" in done.output  # of 8192
    assert "6000 digits" in result_in(tmp_path / "out")["wide"]["not_run"]
    assert line not in command("bench", *TINY, "--no-plot", "--overwrite", "--no-wide").output


def test_the_wide_job_is_compared_with_the_matrix_rate(command, tmp_path, monkeypatch):
    monkeypatch.setattr(throughput, "wide_job", lambda seed, **how: throughput.Job(5, 40, seed=seed, depth=2))
    monkeypatch.setattr(wide.throughput, "shares", partial(throughput.shares, rate=lambda backend: 1e-3))
    done = command("bench", *TINY, "--wide", "--no-plot", "--hidden", "3", "--batch-sizes", "10")
    assert done.exit_code == 0, done.output
    assert "784-5-5-10, batch 40, GFLOP/s of its matrix products, and of matrix products alone:\n  numpy" in done.output
    assert [line.split()[:2] for line in done.output.splitlines() if "5-5 " in line] == [["5-5", "40"]]
    result = result_in(tmp_path / "out")
    (cell,) = (c for c in result["cells"] if (c["depth"], c["entrant"]) == (2, "numpy cpu"))
    operations = throughput.Job(5, 40, depth=2).operations
    share = result["wide"]["rates"]["numpy cpu"]
    assert share["gflops"] == pytest.approx(operations / cell["seconds_per_step"] / 1e9)
    assert share["of_rate"] == pytest.approx(share["gflops"] / 1e-3)


def test_wrong_losses_get_no_time_and_are_told_once(command, tmp_path, monkeypatch):
    usual = PlainStep.run

    def run(self, *arguments):
        state, losses = usual(self, *arguments)
        return state, losses + (self.backend.name == "strict")

    monkeypatch.setattr(PlainStep, "run", run)
    done = command("bench", *TINY, "--batch-sizes", "10", "--hidden", "3")
    assert done.exit_code == 0
    assert [row[3] for row in rows(done.output)] == ["wrong"]
    assert "strict device1, hidden x batch 3 x 10: wrong: the first losses are" in done.output
    numpy, strict = sorted(result_in(tmp_path / "out")["cells"], key=lambda c: c["entrant"])
    assert ("rounds" in numpy, "rounds" in strict) == (True, False)
    assert strict["problem"].startswith("wrong")


def test_reasons_name_all_their_places(command, monkeypatch):
    usual = PlainStep.run

    def run(self, *arguments):
        if self.backend.name == "strict":
            raise MemoryError("no room")
        return usual(self, *arguments)

    monkeypatch.setattr(PlainStep, "run", run)
    done = command("bench", *TINY, "--no-plot")
    places = "3 x 10, 3 x 50, 3 x 200, 7 x 10, 7 x 50, 7 x 200"
    assert f"strict device1, hidden x batch {places}: failed: MemoryError: no room\n" in done.output


@pytest.mark.parametrize(("factor", "told"), [(1.4, False), (1.6, True)])
def test_a_busy_machine_is_told(factor, told, command, monkeypatch):
    spreads = property(lambda self: factor)
    monkeypatch.setattr(comparison.Measurement, "spread", spreads)
    done = command("bench", *TINY, "--no-plot", "--hidden", "3")
    assert ("Unsteady: in 6 of 6 measurements" in done.output) is told


def test_where_nothing_was_measured_the_status_says_so(command, tmp_path, monkeypatch):
    def run(self, *arguments):
        raise MemoryError("no room")

    monkeypatch.setattr(PlainStep, "run", run)
    done = command("bench", *TINY)
    assert (done.exit_code, "nothing was measured" in done.output) == (1, True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["throughput.json"]


@pytest.mark.parametrize(("core", "told"), [("Haswell", True), ("SkylakeX", False)])
def test_kernels_that_may_be_slow_are_told(core, told, command, monkeypatch):
    needed = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr(blas, "processor_flags", lambda: needed)
    monkeypatch.setattr(throughput, "numpy_blas", lambda: Blas("openblas", "0.3", core, 2))
    done = command("bench", *TINY, "--no-plot", "--hidden", "3", "--batch-sizes", "10")
    assert f"NumPy multiplies with openblas 0.3, kernels for {core}, 2 threads.\n" in done.output
    assert ("OPENBLAS_CORETYPE=SkylakeX xpnet train" in done.output) is told


def test_where_the_fastest_changes_is_told(command, tmp_path, monkeypatch):
    rates = {"numpy cpu": {10: 100.0, 1000: 100.0}, "strict device1": {10: 10.0, 1000: 1000.0}}
    monkeypatch.setattr(bench, "_rates", lambda comparison: {50: rates})
    done = command("bench", *TINY)
    text = "The fastest changes with 50 hidden units, over batch size: strict device1 from about 100\n"
    assert text in done.output


@pytest.mark.skipif(os.name != "posix", reason="a process cannot be sent Ctrl-C on its own elsewhere")
@pytest.mark.parametrize(("after", "complete"), [(1, 0), (25, 1)])
def test_ctrl_c_keeps_what_there_is(after, complete, command, tmp_path, monkeypatch, ctrl_c):
    calls, usual = itertools.count(1), PlainStep.run

    def run(self, *arguments):
        if self.backend.name == "strict" and next(calls) == after:
            os.kill(os.getpid(), signal.SIGINT)
        return usual(self, *arguments)

    monkeypatch.setattr(PlainStep, "run", run)
    done = command("bench", *TINY)
    assert done.exit_code == 130, done.output
    assert "rows were not begun" in done.output
    cells = result_in(tmp_path / "out")["cells"]
    assert len(cells) < 12
    assert sum(len(c["rounds"]) == 3 for c in cells) >= complete


class Answering:
    """A group of processes that takes so many seconds a step."""

    def __init__(self, seconds):
        self.seconds = seconds

    def ask(self, *, job, steps):
        if job["hidden"] == 7 and self.seconds < 0.01:
            raise GroupError("killed by signal 9")
        return {"seconds": self.seconds * steps, "processor": self.seconds * steps, "losses": [2.3] * steps}


@pytest.fixture
def groups(monkeypatch):
    """Of 1 and 2 processes that take 16 and 10 ms a step, 4 that take 8 and are killed in the wider job."""

    @contextmanager
    def begun(numbers, backend, device, threads):
        assert (numbers, backend.name, threads) == ([1, 2, 4], "numpy", 1)
        yield {1: Answering(0.016), 2: Answering(0.01), 4: Answering(0.008)}

    monkeypatch.setattr(scaling.processes, "groups", begun)
    monkeypatch.setattr(scaling, "_check_mpi", lambda: None)


def test_numbers_of_processes_are_compared(groups, command, tmp_path):
    done = command("bench", *TINY, "--processes", "4,1,2", "--batch-sizes", "50")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert [line for line in lines if line[:1] in (["3"], ["7"])] == [
        ["3", "50", "1", "16,000", "3,125", "1.00", "1.00"],
        ["3", "50", "2", "10,000", "5,000", "1.60", "0.80"],
        ["3", "50", "4", "8,000", "6,250", "2.00", "0.50"],
        ["7", "50", "1", "16,000", "3,125", "1.00", "1.00"],
        ["7", "50", "2", "10,000", "5,000", "1.60", "0.80"],
        ["7", "x", "50,", "4:", "killed", "by", "signal", "9"],
    ]
    assert (tmp_path / "out" / "processes.png").read_bytes().startswith(PNG)
    result = json.loads((tmp_path / "out" / "processes.json").read_text())
    assert result["settings"]["processes"] == [4, 1, 2]
    found = {(row["hidden"], row["processes"]): row for row in result["rows"]}
    assert found[3, 4]["efficiency"] == pytest.approx(0.5)
    assert found[3, 2]["seconds_per_step"] == pytest.approx(0.01)
    assert found[7, 4]["problem"] == "killed by signal 9"


@pytest.mark.skipif(os.name != "posix", reason="a process cannot be sent Ctrl-C on its own elsewhere")
def test_ctrl_c_keeps_what_is_known_of_processes(groups, command, tmp_path, monkeypatch, ctrl_c):
    calls, usual = itertools.count(1), Answering.ask

    def ask(self, **asked):
        if next(calls) == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return usual(self, **asked)

    monkeypatch.setattr(Answering, "ask", ask)
    done = command("bench", *TINY, "--processes", "1,2,4")
    assert done.exit_code == 130, done.output
    assert "of 6 jobs were not begun" in done.output
    assert json.loads((tmp_path / "out" / "processes.json").read_text())["rows"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--processes", "1,two"), ["--processes", "'1,two'"]),
        (("--processes", "0,1"), ["--processes", "'0,1'"]),
        (("--processes", "1,2", "--compile"), ["--compile and --processes"]),
        (("--processes", "1,2", "--wide"), ["--wide and --processes"]),
        (("--processes", "1,2", "--backend", "numpy", "--backend", "jax"), ["one --backend on one --device"]),
        (("--processes", "1", "--device", "moon"), ["no device 'moon'"]),
        (("--threads", "2"), ["--threads is for --processes"]),
    ],
    ids=" ".join,
)
def test_what_no_processes_can_do_is_refused(options, words, command, tmp_path):
    done = command("bench", "--out", "out", "--batch-sizes", "10", *options)
    assert isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code in (1, 2)
    assert [word for word in words if word not in done.output] == [], done.output
    assert list(tmp_path.iterdir()) == []


def test_processes_need_mpi4py(command, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling.importlib.util, "find_spec", lambda name: None)
    done = command("bench", "--out", "out", "--batch-sizes", "10", "--processes", "1,2")
    assert (done.exit_code, 'pip install "xpnet[mpi]"' in done.output) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told(command, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(bench.atomic, "write_bytes", full)
    done = command("bench", *TINY, "--no-plot")
    assert done.exit_code == 1
    assert "No space left on device" in done.output
    assert len(rows(done.output)) == 6
