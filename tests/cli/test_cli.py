"""The command ``xpnet``: what it writes, what it says, what it refuses, and how it stops."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import xpnet
from xpnet import Trainer, TwoLayerNet, backend_names
from xpnet.backends.base import backend_class
from xpnet.optimizers import OPTIMIZERS

FILES = ["history.json", "training.png", "weights.safetensors"]
PNG = b"\x89PNG\r\n\x1a\n"


def environment():
    """As a user's: output is buffered; and on one core, so that tests side by side do not wait for each other."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONUNBUFFERED", "XPNET_BACKEND")}
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], env=environment(), capture_output=True, text=True, check=False)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def history_in(folder):
    return json.loads((folder / "history.json").read_text())


def weights_in(folder):
    return load_file(folder / "weights.safetensors")


def assert_refused(result, *words):
    """It failed with a message instead of a traceback."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (1, 2)
    assert [word for word in words if word not in result.output] == []


def test_train_writes_weights_history_and_picture(tmp_path, digits):
    out = tmp_path / "some" / "folder"
    done = python("-m", "xpnet", "train", "--iterations", "30", "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert names_in(out) == FILES
    assert all(str(out / name) in done.stdout for name in FILES)
    assert (out / "training.png").read_bytes().startswith(PNG)
    history = history_in(out)
    assert (len(history["losses"]), history["iterations"], history["samples"]) == (30, 30, 3000)
    assert (history["settings"]["seed"], history["settings"]["backend"]) == (0, "numpy")
    net = TwoLayerNet(784, 50, 10, backend="numpy")
    net.load(out / "weights.safetensors")
    accuracy = history["evaluations"][-1]["validation_accuracy"]
    assert accuracy == pytest.approx(net.accuracy(*digits[1]), abs=3e-4)  # a tie or two, on another number of cores
    assert f"validation accuracy {accuracy:.2%} after 30 iterations" in done.stdout


def test_quiet_is_one_line(command, tmp_path):
    result = command("train", "--iterations", 2, "--quiet", "--out", "out")
    assert result.exit_code == 0
    assert re.fullmatch(r"validation accuracy \d+\.\d+% after 2 iterations .*\n", result.output)
    assert names_in(tmp_path / "out") == FILES


def test_without_out_each_run_has_a_folder_of_its_own(command, tmp_path):
    for _ in range(3):
        result = command("train", "--iterations", 1, "--no-plot")
        assert (result.exit_code, "png" in result.output) == (0, False)
    folders = list((tmp_path / "xpnet-runs").iterdir())
    assert [names_in(folder) for folder in folders] == [["history.json", "weights.safetensors"]] * 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("hidden", "sizes"), [("7", [784, 7, 10]), ("20,10", [784, 20, 10, 10])])
def test_the_network_is_of_the_sizes_and_dtype_asked_for(hidden, sizes, dtype, command, tmp_path):
    options = "--hidden", hidden, "--dtype", dtype, "--no-plot"
    assert command("train", "--iterations", 1, *options, "--out", "out").exit_code == 0
    layers = range(1, len(sizes))
    expected = {f"W{i}": (sizes[i - 1], sizes[i]) for i in layers} | {f"b{i}": (sizes[i],) for i in layers}
    stored = weights_in(tmp_path / "out")
    assert {name: p.shape for name, p in stored.items()} == expected
    assert {p.dtype.name for p in stored.values()} == {dtype}


def test_help_says_what_each_command_does():
    """Also under python -OO, where docstrings are gone."""
    code = """
import click
from xpnet.cli import main
for command in (main, *main.commands.values()):
    print(command.get_help(click.Context(command)).splitlines()[2].split()[0])
"""
    for optimize in ((), ("-OO",)):
        done = python(*optimize, "-c", code)
        assert (done.returncode, done.stderr) == (0, "")
        words = "Neural Train Train Compare Tell Say Draw Write Check Show Compare Run"
        assert done.stdout.split() == words.split()


def test_epochs_are_passes_through_the_data(command, tmp_path):
    result = command("train", "--epochs", 2, "--batch-size", 128, "--out", "out", "--no-plot")
    assert result.exit_code == 0
    history = history_in(tmp_path / "out")
    assert (history["iterations"], history["samples"]) == (2 * 47, 12_000)  # 46 whole minibatches of 6,000, and a rest
    assert [e["epoch"] for e in history["evaluations"]] == [0, 1, 2]
    assert history["evaluations"][-1]["validation_accuracy"] > 0.5


def test_a_seed_decides_every_bit(command, tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert command("train", "--iterations", 20, "--no-plot", "--seed", seed, "--out", name).exit_code == 0
    a, b, c = ((tmp_path / name / "weights.safetensors").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--lr", "0"), ["learning rate", "0.0"]),
        (("--lr", "-1"), ["learning rate", "-1.0"]),
        (("--lr", "nan"), ["learning rate", "nan"]),
        (("--batch-size", "70000"), ["--batch-size is 70000", "samples"]),
        (("--hidden", "0"), ["--hidden", "expected 1 or more"]),
        (("--hidden", "abc"), ["--hidden", "'abc'"]),
        (("--hidden", "20,"), ["--hidden", "'20,'"]),
        (("--epochs", "1"), ["--epochs", "--iterations"]),
        (("--seed", "-1"), ["--seed"]),
        (("--dtype", "float16"), ["--dtype", "float32", "float64"]),
        (("--device", "moon"), ["no device 'moon'", "cpu"]),
        (("--backend", "abacus"), ["--backend", "abacus", *backend_names()]),
        (("--optimizer", "luck"), ["--optimizer", "luck", *OPTIMIZERS]),
        (("--backend", "dask"), ["forward passes only" if importlib.util.find_spec("dask") else "pip install"]),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_refused_and_leaves_nothing(options, words, command, tmp_path):
    assert_refused(command("train", "--iterations", 1, "--out", "out", *options), *words)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "out", "words"),
    [("file", out, [out, "cannot be written"]) for out in ("file", "file/below", "file/far/below")]
    + [(name, ".", [name, "--overwrite"]) for name in FILES],
)
def test_a_folder_that_cannot_be_used_is_found_out_before_training(name, out, words, command, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("it trained"))
    (tmp_path / name).write_text("precious")
    assert_refused(command("train", "--out", out), *words)
    assert names_in(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize("option", [(), ("--no-plot",)])
def test_overwrite_leaves_nothing_of_the_earlier_run(option, command, tmp_path):
    for name in [*FILES, "notes.txt"]:
        (tmp_path / name).write_text("earlier")
    assert command("train", "--iterations", 1, "--out", ".", "--overwrite", *option).exit_code == 0
    assert [name for name in names_in(tmp_path) if (tmp_path / name).read_bytes() == b"earlier"] == ["notes.txt"]
    assert history_in(tmp_path)["iterations"] == 1


def test_a_run_that_diverges_keeps_the_last_good_weights(command, tmp_path):
    result = command("train", "--iterations", 100, "--lr", "1e10", "--out", "out")
    assert_refused(result, "diverged", "smaller learning rate")
    bad = int(re.search(r"the loss at iteration (\d+) is", result.output)[1])
    history = history_in(tmp_path / "out")
    assert history["losses"][bad:] == [None]
    assert f"after {history['evaluations'][-1]['iteration']} iterations" in result.output  # whose accuracy it tells
    assert names_in(tmp_path / "out") == FILES
    assert all(np.isfinite(p).all() for p in weights_in(tmp_path / "out").values())
    assert (result.exit_code, bad >= 2) == (1, True)
    assert command("train", "--iterations", bad - 1, "--lr", "1e10", "--out", "good").exit_code == 0
    assert len({(tmp_path / name / "weights.safetensors").read_bytes() for name in ("out", "good")}) == 1


def test_without_matplotlib_it_trains_all_the_same(tmp_path):
    code = "import sys; sys.modules['matplotlib'] = None; from xpnet.cli import main; main()"
    done = python("-c", code, "train", "--iterations", "2", "--out", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert names_in(tmp_path) == ["history.json", "weights.safetensors"]
    assert 'pip install "xpnet[plot]"' in done.stdout


def test_the_environment_chooses_the_backend(command, tmp_path):
    result = command("train", "--iterations", 1, "--no-plot", "--out", "out", XPNET_BACKEND="strict")
    assert result.exit_code == 0
    assert history_in(tmp_path / "out")["settings"]["backend"] == "strict"
    result = command("train", "--iterations", 1, "--out", "no", XPNET_BACKEND="abacus")
    assert_refused(result, "XPNET_BACKEND", "abacus", *backend_names())
    assert names_in(tmp_path) == ["out"]


def test_backends_has_a_row_for_each():
    done = python("-m", "xpnet", "backends")
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("\n\n")[0]
    rows = [line for line in table.splitlines()[2:] if not line.startswith(" ")]
    assert tuple(row.split()[0] for row in rows) == backend_names()
    name, version, device, rate, usable = rows[0].split()
    assert (name, version, device, usable) == ("numpy", np.__version__, "cpu", "yes")
    assert float(rate.replace(",", "")) > 0
    for name, row in zip(backend_names(), rows, strict=True):
        missing = importlib.util.find_spec(backend_class(name).packages[0]) is None
        assert missing == ("not installed" in row)


def test_version():
    done = python("-m", "xpnet", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"xpnet, version {xpnet.__version__}\n", "")


@pytest.mark.skipif(os.name != "posix", reason="pipes close in another way elsewhere")
def test_a_reader_that_goes_away_does_not_cost_the_run(tmp_path):
    line = [sys.executable, "-m", "xpnet", "train", "--epochs", "2", "--out", str(tmp_path / "out")]
    with subprocess.Popen(line, env=environment(), stdout=-1, stderr=-1, text=True) as running:
        running.stdout.readline()
        running.stdout.close()
        running.wait()
    assert names_in(tmp_path / "out") == FILES
    assert history_in(tmp_path / "out")["iterations"] == 1200


def test_ctrl_c_while_saving_waits_for_the_files(command, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    save = TwoLayerNet.save

    def interrupted(self, path):
        os.kill(os.getpid(), signal.SIGINT)
        save(self, path)

    monkeypatch.setattr(TwoLayerNet, "save", interrupted)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = command("train", "--iterations", 1, "--out", "out")
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert names_in(tmp_path / "out") == FILES


def test_a_full_disk_costs_one_file_and_is_named(command, tmp_path, monkeypatch):
    def full(self, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(TwoLayerNet, "save", full)
    result = command("train", "--iterations", 1, "--out", "out")
    assert_refused(result, "No space left on device", "weights.safetensors")
    assert names_in(tmp_path / "out") == ["history.json", "training.png"]


def test_one_generator_goes_through_weights_and_minibatches(command, tmp_path, digits):
    assert command("train", "--iterations", 5, "--seed", 7, "--out", "out").exit_code == 0
    (x, t), _ = digits
    rng = np.random.default_rng(7)
    net = TwoLayerNet(784, 50, 10, seed=rng, backend="numpy")
    trainer = Trainer(net, xpnet.SGD(0.1), seed=rng)
    assert trainer.fit(x[:6000], t[:6000], iterations=5).losses == history_in(tmp_path / "out")["losses"]


def test_a_gpu_is_asked_for_with_a_backend_that_has_one(command):
    for name in ("train", "check"):
        assert_refused(command(name, "--device", "cuda"), "'cuda'", "--backend cupy or --backend torch")
