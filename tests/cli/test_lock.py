"""Who has a folder of results: one process at a time, and none that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xpnet import SGD, Trainer, TwoLayerNet
from xpnet.cli import lock, train

posix = pytest.mark.skipif(os.name != "posix", reason="there are no such signals and files elsewhere")
CHECKOUT = str(Path(lock.__file__).parents[2])


@pytest.fixture
def running(tmp_path):
    """A run that has a folder, as a process."""
    code = (
        "import sys, time; from pathlib import Path; from xpnet.cli.lock import only_one\n"
        "with only_one(Path(sys.argv[1]), 'train'):\n    print('held', flush=True); time.sleep(300)"
    )
    environment = os.environ | {"PYTHONPATH": CHECKOUT}
    line = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"held"
        yield process
        process.kill()


def test_a_folder_is_for_one_process_at_a_time(running, tmp_path, command, monkeypatch):
    before = {path.name for path in tmp_path.iterdir()}
    for call in (["--out", "."], ["--out", ".", "--overwrite"]):
        result = command("train", "--iterations", 2, *call)
        assert result.exit_code == 1
        assert f"is in use by another xpnet train: process {running.pid} on " in result.output
    assert {path.name for path in tmp_path.iterdir()} == before
    Trainer(TwoLayerNet(784, 5, 10), SGD(0.1), seed=0).save(tmp_path / "checkpoint.safetensors")
    monkeypatch.setattr(train, "mnist_digits", lambda **_: pytest.fail("it began"))
    assert "is in use by another xpnet train" in command("train", "--resume", ".").output


def test_a_process_that_was_killed_stops_nobody(running, tmp_path, command):
    running.send_signal(signal.SIGTERM if os.name != "posix" else signal.SIGKILL)
    running.wait()
    assert (tmp_path / ".xpnet-train.lock").exists()
    result = command("train", "--iterations", 2, "--out", ".", "--no-plot")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.json", "weights.safetensors"]


def test_other_commands_and_other_folders_do_not_wait(running, tmp_path, command):
    assert command("train", "--iterations", 1, "--no-plot", "--out", "other").exit_code == 0
    assert command("evaluate", "other/weights.safetensors", "--no-plot", "--out", ".").exit_code == 0


@posix
@pytest.mark.parametrize("how", ["link", "folder", "pipe", "no locks here", "nothing can be written"])
def test_a_folder_that_cannot_be_locked_is_told_and_used(how, tmp_path, capsys, monkeypatch):
    path = tmp_path / ".xpnet-train.lock"
    (tmp_path / "precious").write_text("precious")
    if how == "link":
        path.symlink_to(tmp_path / "precious")
    elif how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    else:
        error = OSError(95, "Operation not supported") if how == "no locks here" else OSError(30, "Read-only")
        monkeypatch.setattr(lock, "_lock", lambda handle: (_ for _ in ()).throw(error))
    with lock.only_one(tmp_path, "train"):
        said = capsys.readouterr().err
    assert "cannot be locked (" in said
    assert "see to it that no other xpnet train writes there" in said
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_run_without_a_folder_has_one_of_its_own_at_any_moment(command, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101-000000")
    for _ in range(3):
        assert command("train", "--iterations", 1, "--no-plot", "--quiet").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "xpnet-runs").iterdir())
    assert names == ["20260101-000000", "20260101-000000-2", "20260101-000000-3"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("xpnet-runs").write_text("a file")
    result = command("train", "--iterations", 1)
    assert (result.exit_code, "xpnet-runs cannot be written" in result.output) == (1, True)


@posix
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_terminal_that_is_closed_ends_a_run_as_ctrl_c_does(number, tmp_path):
    line = [sys.executable, "-m", "xpnet", "train", "--iterations", "1000000", "--no-plot", "--quiet", "--out", "out"]
    environment = os.environ | {"PYTHONPATH": CHECKOUT, "OPENBLAS_NUM_THREADS": "1"}
    before = signal.signal(number, signal.SIG_DFL)  # a child inherits what is ignored
    try:
        with subprocess.Popen(line, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=-1) as running:
            while not (tmp_path / "out" / ".xpnet-train.lock").exists():
                assert running.poll() is None
                time.sleep(0.01)
            running.send_signal(number)
            said = running.communicate()[1].decode()
    finally:
        signal.signal(number, before)
    assert running.returncode == 128 + number
    assert "go on with: xpnet train --resume out" in said
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["checkpoint.safetensors", "history.json", "weights.safetensors"]
