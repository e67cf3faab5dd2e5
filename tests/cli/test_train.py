"""``xpnet train`` over a life with interruptions: checkpoints, signals, going on, and the options of training."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from checkpoint_damage import parts_of, sealed
from safetensors.numpy import load_file

from xpnet import Trainer, TwoLayerNet, load_network, schedules
from xpnet.cli import run
from xpnet.cli.rates import ScheduleForm, schedule
from xpnet.layers import Dropout
from xpnet.optimizers import OPTIMIZERS
from xpnet.training import loop

FILES = ["history.json", "weights.safetensors"]
ALL = ["checkpoint.safetensors", *FILES]


@pytest.fixture
def command(command, ctrl_c):
    """``command(*options)``: ``xpnet train`` without a picture; it leaves signals as it found them."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield lambda *options: command("train", *options, "--no-plot")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def weights_in(folder):
    return {name: p.tobytes() for name, p in load_file(folder / "weights.safetensors").items()}


def history_in(folder):
    return json.loads((folder / "history.json").read_text())


def assert_refused(result, *words):
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (1, 2)
    assert [word for word in words if word not in result.output] == []


def send_at(monkeypatch, iteration, *numbers):
    """Have signals arrive after the block in which this iteration is."""
    original, left = run.Signals.on_block, list(numbers)

    def on_block(self, trainer):
        while left and trainer.iteration >= iteration:
            self.at -= 10  # the last one was long ago
            os.kill(os.getpid(), left.pop(0))
        original(self, trainer)

    monkeypatch.setattr(run.Signals, "on_block", on_block)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_trains_and_checkpoints(optimizer, command, tmp_path):
    options = "--optimizer", optimizer, "--iterations", 3, "--checkpoint-every", 2, "--out", "out"
    result = command(*options)
    assert result.exit_code == 0, result.output
    assert names_in(tmp_path / "out") == ALL
    trainer = Trainer.load(tmp_path / "out" / "checkpoint.safetensors", backend="numpy")
    assert (type(trainer.optimizer), trainer.iteration) == (OPTIMIZERS[optimizer], 3)
    assert repr(trainer.optimizer) in result.output


def test_mixed_precision_is_trained_in_and_gone_on_with(command, tmp_path):
    options = "--compute-dtype", "float16", "--iterations", 20, "--out"
    assert command(*options, "straight").exit_code == 0
    done = command(*options, "cut", "--checkpoint-every", 10, "--no-tf32", "--iterations", 10)
    assert "float32, computed in float16, SGD" in done.output
    assert history_in(tmp_path / "cut")["compute_dtype"] == "float16"
    assert history_in(tmp_path / "cut")["tf32"] is None
    resumed = command("--resume", "cut", "--iterations", 20)
    assert resumed.exit_code == 0, resumed.output
    assert "computed in float16" in resumed.output
    assert weights_in(tmp_path / "cut") == weights_in(tmp_path / "straight")
    assert_refused(command("--resume", "cut", "--compute-dtype", "bfloat16"), "--compute-dtype cannot be changed")
    refused = command("--compute-dtype", "bfloat16", "--backend", "numpy", "--out", "other")
    assert_refused(refused, "backend 'numpy' does not train in bfloat16, it has float16")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_writes_a_checkpoint_and_says_how_to_go_on(number, status, command, tmp_path, monkeypatch):
    options = "--iterations", 400, "--optimizer", "adam", "--dropout", 0.2, "--schedule", "cosine", "--warmup", 20
    assert command(*options, "--out", "straight").exit_code == 0
    with monkeypatch.context() as patch:
        send_at(patch, 50, number)
        result = command(*options, "--out", "cut off")
    assert result.exit_code == status, result.output
    done = int(re.search(r"Interrupted after iteration (\d+)", result.output)[1])
    assert 50 <= done < 400
    assert "go on with: xpnet train --resume 'cut off'" in result.output
    assert names_in(tmp_path / "cut off") == ALL
    assert history_in(tmp_path / "cut off")["iterations"] == done
    again = command("--resume", "cut off")
    assert again.exit_code == 0, again.output
    assert f"from iteration {done}" in again.output
    assert weights_in(tmp_path / "cut off") == weights_in(tmp_path / "straight")
    straight, resumed = (history_in(tmp_path / name) for name in ("straight", "cut off"))
    assert [straight[k] for k in ("losses", "learning_rates")] == [resumed[k] for k in ("losses", "learning_rates")]
    differ = {k for k in straight["settings"] if straight["settings"][k] != resumed["settings"][k]}
    assert differ == set()
    assert names_in(tmp_path / "cut off") == ALL
    assert Trainer.load(tmp_path / "cut off" / "checkpoint.safetensors", backend="numpy").iteration == 400


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_second_signal_leaves_at_once(command, tmp_path, monkeypatch):
    send_at(monkeypatch, 10, signal.SIGINT, signal.SIGINT)
    result = command("--iterations", 100_000, "--out", "out")
    assert result.exit_code == 130
    assert names_in(tmp_path / "out") == []


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path):
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "xpnet", "train", "--no-plot", "--out"]
    options = ["--iterations", "1500", "--optimizer", "momentum", "--dropout", "0.1", "--seed", "3"]
    every = ["--checkpoint-every", "100"]
    subprocess.run([*line, str(tmp_path / "straight"), *options], env=environment, check=True, capture_output=True)
    with subprocess.Popen([*line, str(tmp_path / "cut"), *options, *every], env=environment, stdout=-1) as running:
        while not (tmp_path / "cut" / "checkpoint.safetensors").exists():
            assert running.poll() is None
        running.kill()
    assert set(names_in(tmp_path / "cut")) - {"checkpoint.safetensors"} <= {
        n for n in names_in(tmp_path / "cut") if n.startswith(".xpnet-")
    }
    again = [*line[:5], "--resume", str(tmp_path / "cut")]
    subprocess.run(again, env=environment, check=True, capture_output=True)
    assert weights_in(tmp_path / "cut") == weights_in(tmp_path / "straight")


def test_a_run_that_is_over_goes_on_if_it_shall_have_more(command, tmp_path):
    assert command("--iterations", 30, "--checkpoint-every", 30, "--out", "short").exit_code == 0
    assert command("--iterations", 50, "--out", "long").exit_code == 0
    assert_refused(command("--resume", "short", "--iterations", 20), "has taken 30 iterations, and was to have 20")
    assert command("--resume", "short/checkpoint.safetensors", "--iterations", 50).exit_code == 0
    assert weights_in(tmp_path / "short") == weights_in(tmp_path / "long")
    assert history_in(tmp_path / "short")["settings"]["iterations"] == 50


def test_a_run_that_is_over_says_so(command, tmp_path):
    """With a checkpoint and without; nothing is written then, even where nothing can be."""
    assert command("--iterations", 30, "--checkpoint-every", 10, "--out", "out").exit_code == 0
    assert command("--iterations", 30, "--out", "plain").exit_code == 0
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.glob("*/*")}
    for options in (("out",), ("out/checkpoint.safetensors",), ("out", "--iterations", 30), ("plain",)):
        result = command("--resume", *options)
        assert result.exit_code == 0, result.output
        assert "nothing is left to do; the run has taken its 30 iterations" in result.output
    assert "--iterations 60" in command("--resume", "out").output
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.glob("*/*")} == before
    for more in (("--iterations", 40), ("--epochs", 1)):
        assert_refused(command("--resume", "plain", *more), "holds no checkpoint.safetensors", "--checkpoint-every")


@pytest.mark.parametrize("lost", [["weights.safetensors"], ["history.json"], FILES, "stale"], ids=str)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_that_was_killed_after_its_last_checkpoint_is_finished(lost, optimizer, command, tmp_path, monkeypatch):
    """Weights and history are those of the run that was not killed, and a file of an earlier time does not stay."""
    options = "--iterations", 30, "--checkpoint-every", 15, "--optimizer", optimizer, "--schedule", "plateau"
    now = itertools.count()
    monkeypatch.setattr(loop.time, "perf_counter", lambda: float(next(now)))
    assert command(*options, "--out", "straight").exit_code == 0
    now = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(run, "save", lambda *_, **__: (_ for _ in ()).throw(SystemExit(9)))
        assert command(*options, "--out", "cut").exit_code == 9
    assert names_in(tmp_path / "cut") == ["checkpoint.safetensors"]
    if lost == "stale":
        assert command("--iterations", 7, "--out", "other").exit_code == 0
        for name in FILES:
            (tmp_path / "other" / name).rename(tmp_path / "cut" / name)
    result = command("--resume", "cut")
    assert result.exit_code == 0, result.output
    for name in lost if lost != "stale" else ():
        (tmp_path / "cut" / name).unlink()
        assert command("--resume", "cut").exit_code == 0
    assert names_in(tmp_path / "cut") == ALL
    assert weights_in(tmp_path / "cut") == weights_in(tmp_path / "straight")
    cut, straight = (history_in(tmp_path / name) for name in ("cut", "straight"))
    assert cut.pop("wall") > 0 < straight.pop("wall")
    assert cut == straight
    assert "nothing is left to do" in command("--resume", "cut").output


def noted(tmp_path, **notes):
    """The checkpoint of a run with other notes, which a Trainer might refuse to write."""
    path = tmp_path / "out" / "checkpoint.safetensors"
    arrays, about = parts_of(path.read_bytes())
    about["training"]["notes"] |= notes
    path.write_bytes(sealed(arrays, about))


@pytest.mark.parametrize(
    "notes",
    [
        {"dtype": "float64"},
        {"dtype": "object"},
        {"backend": "abacus"},
        {"iterations": -3},
        {"iterations": 10**400},
        {"iterations": True},
        {"iterations": None},
        {"epochs": 3},
        {"checkpoint_every": 0},
        {"dropout": float("nan")},
        {"dropout": float("inf")},
        {"seed": -1},
        {"command": "rm"},
        {"more": float("nan")},
        {"more": [float("inf")]},
    ],
    ids=str,
)
def test_notes_that_no_run_writes_are_refused_before_the_training(notes, command, tmp_path, monkeypatch):
    assert command("--iterations", 3, "--checkpoint-every", 3, "--out", "out").exit_code == 0
    noted(tmp_path, **notes)
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: pytest.fail("it trained"))
    result = command("--resume", "out")
    assert_refused(result, "checkpoint.safetensors")
    assert re.search(
        r"was not written by xpnet train|is damaged: its notes\[.*\] is (nan|inf|an integer)", result.output
    )


def test_what_goes_wrong_in_a_run_leaves_what_was_learned(command, tmp_path, monkeypatch):
    """A device that is lost, for example; and the run can go on."""
    original = run.Lines.on_evaluation

    def fails(self, trainer, evaluation):
        if trainer.iteration >= 60:
            raise RuntimeError("the device is lost")
        original(self, trainer, evaluation)

    with monkeypatch.context() as patch:
        patch.setattr(run.Lines, "on_evaluation", fails)
        result = command("--epochs", 2, "--out", "out")
    assert_refused(result, "RuntimeError: the device is lost", "go on with: xpnet train --resume out")
    assert names_in(tmp_path / "out") == ALL
    assert command("--resume", "out").exit_code == 0
    assert command("--epochs", 2, "--out", "straight").exit_code == 0
    assert weights_in(tmp_path / "out") == weights_in(tmp_path / "straight")


def test_what_goes_wrong_before_the_first_step_leaves_nothing(command, tmp_path, monkeypatch):
    def fails(self, *_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr(Trainer, "fit", fails)
    assert_refused(command("--iterations", 3, "--out", "out"), "no room")
    assert names_in(tmp_path / "out") == []


def test_a_run_goes_on_on_another_backend(command, tmp_path):
    assert command("--iterations", 30, "--checkpoint-every", 30, "--out", "out").exit_code == 0
    result = command("--resume", "out", "--iterations", 40, "--backend", "strict")
    assert result.exit_code == 0, result.output
    assert "on strict" in result.output
    assert history_in(tmp_path / "out")["settings"]["backend"] == "strict"
    assert "on strict" in command("--resume", "out", "--iterations", 42).output  # where it was last


def test_what_cannot_be_resumed_is_refused(command, tmp_path):
    assert command("--iterations", 3, "--checkpoint-every", 3, "--out", "out").exit_code == 0
    before = {name: (tmp_path / "out" / name).read_bytes() for name in ALL}
    for options, words in [
        (("out", "--lr", 1, "--hidden", 20), ["--lr", "--hidden", "cannot be changed", "--iterations"]),
        (("nowhere",), ["there is no nowhere", "--checkpoint-every"]),
        ((".",), ["holds no checkpoint.safetensors"]),
        (("out/weights.safetensors",), ["out/weights.safetensors", "weights alone"]),
        (("out/history.json",), ["out/history.json", "safetensors"]),
    ]:
        assert_refused(command("--resume", *options), *words)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in ALL} == before
    assert_refused(command("--iterations", 3, "--out", "out"), "checkpoint.safetensors", "--overwrite")


def test_a_checkpoint_that_cannot_be_written_does_not_cost_the_run(command, tmp_path, monkeypatch):
    save, calls = Trainer.save, []

    def full(self, path):
        calls.append(self.iteration)
        if self.iteration == 20:
            raise OSError(28, "No space left on device", str(path))
        save(self, path)

    monkeypatch.setattr(Trainer, "save", full)
    result = command("--iterations", 35, "--checkpoint-every", 10, "--out", "out")
    assert result.exit_code == 0
    assert calls == [10, 20, 30, 35]
    assert "no checkpoint at iteration 20: [Errno 28] No space left on device" in result.output
    assert Trainer.load(tmp_path / "out" / "checkpoint.safetensors", backend="numpy").iteration == 35


def test_a_run_that_diverges_keeps_its_last_checkpoint(command, tmp_path):
    """What was saved is not lost because the steps after it led nowhere."""
    options = "--iterations", 100, "--lr", "1e10", "--checkpoint-every", 1, "--out", "out"
    assert_refused(command(*options), "diverged")
    assert names_in(tmp_path / "out") == ALL
    Trainer.load(tmp_path / "out" / "checkpoint.safetensors", backend="numpy")


def test_a_checkpoint_of_a_run_that_is_replaced_goes_last(command, tmp_path, monkeypatch):
    assert command("--iterations", 3, "--checkpoint-every", 3, "--out", "out").exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(TwoLayerNet, "save", lambda self, path: (_ for _ in ()).throw(OSError(28, "full", str(path))))
        assert command("--iterations", 2, "--out", "out", "--overwrite").exit_code == 1
    assert Trainer.load(tmp_path / "out" / "checkpoint.safetensors", backend="numpy").iteration == 3
    assert command("--iterations", 2, "--out", "out", "--overwrite").exit_code == 0
    assert names_in(tmp_path / "out") == FILES


@pytest.mark.parametrize(("option", "compiles"), [((), True), (("--compile",), True), (("--no-compile",), False)])
def test_steps_are_compiled_unless_told_otherwise(option, compiles, command, monkeypatch):
    seen = []
    monkeypatch.setattr(Trainer, "fit", lambda trainer, *_, **__: seen.append(trainer.compiles))
    command("--iterations", 2, "--quiet", *option)
    assert seen == [compiles]


def test_dropout_stands_behind_each_activation(command, tmp_path):
    assert command("--iterations", 2, "--hidden", "20,10", "--dropout", 0.3, "--out", "out").exit_code == 0
    net = load_network(tmp_path / "out" / "weights.safetensors", backend="numpy")
    assert [type(layer).__name__ for layer in net.layers.values()] == [
        "Affine", "ReLU", "Dropout", "Affine", "ReLU", "Dropout", "Affine"
    ]  # fmt: skip
    assert [layer.rate for layer in net.layers.values() if isinstance(layer, Dropout)] == [0.3, 0.3]
    assert_refused(command("--dropout", 1, "--out", "no"), "--dropout is 1.0")
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("form", "made"),
    [
        (None, 0.1),
        ("constant", schedules.Constant(0.1)),
        ("step:30", schedules.Step(0.1, 30)),
        ("step:30:0.5", schedules.Step(0.1, 30, 0.5)),
        ("exponential:0.9", schedules.Exponential(0.1, 0.9)),
        ("exponential:0.9:100", schedules.Exponential(0.1, 0.9, 100)),
        ("cosine", schedules.Cosine(0.1, 1000)),
        ("cosine:0.01", schedules.Cosine(0.1, 1000, 0.01)),
        ("plateau", schedules.ReduceOnPlateau(0.1)),
        ("plateau:0.5:3", schedules.ReduceOnPlateau(0.1, 0.5, 3)),
    ],
    ids=str,
)
def test_forms_of_schedules(form, made):
    convert = ScheduleForm().convert
    assert schedule(None if form is None else convert(form, None, None), 0.1, 0, 1000) == made


def test_warmup_comes_before():
    form = ScheduleForm().convert("cosine", None, None)
    assert schedule(form, 0.1, 200, 1000) == schedules.Warmup(200, schedules.Cosine(0.1, 800))
    rate = schedule(None, 0.1, 10, 1000)
    np.testing.assert_allclose(rate(np.arange(12.0)), [*(0.01 * np.arange(1, 11)), 0.1, 0.1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--schedule", "steps:3"), ["unknown schedule 'steps'", "step:EVERY[:FACTOR]", "cosine"]),
        (("--schedule", "step"), ["'step'", "expected step:EVERY[:FACTOR]"]),
        (("--schedule", "step:3:0.1:7"), ["expected step:EVERY[:FACTOR]"]),
        (("--schedule", "cosine:a"), ["expected cosine[:FINAL]"]),
        (("--schedule", "step:2.5"), ["2.5"]),
        (("--schedule", "exponential:-1"), ["-1"]),
        (("--weight-decay", "-1"), ["--weight-decay is -1"]),
        (("--checkpoint-every", "0"), ["--checkpoint-every"]),
    ],
    ids=str,
)
def test_options_that_cannot_be(options, words, command, tmp_path):
    assert_refused(command("--iterations", 1, "--out", "out", *options), *words)
    assert names_in(tmp_path) == []
