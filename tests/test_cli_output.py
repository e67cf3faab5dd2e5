"""What the command prints, and to whom: any encoding, a full disk, nobody; and the results that are there all the same."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xpnet import SGD, MultiLayerNet, Trainer, TwoLayerNet, plotting, storage
from xpnet.cli import bench, check, lock, output, predict, train
from xpnet.cli.results import write_each

COMMANDS = ("train", "evaluate", "predict", "check", "backends", "bench")
ENCODINGS = ("cp932", "cp1252", "cp437", "ascii")
posix = pytest.mark.skipif(os.name != "posix", reason="pipes and descriptors are closed in another way elsewhere")

#: A name that would colour a terminal, begin a line of its own, turn the direction of writing; and is not UTF-8.
NASTY = os.fsdecode(b"a\x1b[31m\nError: b\xe2\x80\xae\xff\xc2\xb2")
SHOWN = r"a\x1b[31m\nError: b\u202e\udcff"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    """Weights, an image, and the same under a nasty name."""
    made = tmp_path_factory.mktemp("output")
    net = TwoLayerNet(784, 5, 10, seed=0, backend="numpy")
    Image.fromarray(np.rint(digits[1][0][0].reshape(28, 28) * 255).astype("uint8")).save(made / "a.png")
    net.save(made / "w.safetensors")
    if os.name == "posix":
        (made / NASTY).mkdir()
        net.save(made / NASTY / f"{NASTY}.safetensors")
        (made / NASTY / f"{NASTY}.png").write_bytes((made / "a.png").read_bytes())
    return made


def xpnet(*arguments, cwd, **options):
    """The command as a process of its own, with buffered output as a user's."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONUNBUFFERED", "XPNET_BACKEND", "PYTHONIOENCODING")}
    one = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment = kept | one | options.pop("environment", {})
    paths = [str(Path(output.__file__).parents[2]), kept.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    command = [sys.executable, "-m", "xpnet", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, check=False, timeout=300, **options)


def work(out):
    """A call of each command that does something, by name."""
    quick = ["--hidden", "3", "--batch-sizes", "10", "--seconds", "1", "--backend", "numpy"]
    return {
        "train": ["train", "--iterations", 3, "--out", out, "--overwrite"],
        "evaluate": ["evaluate", "w.safetensors", "--out", out],
        "predict": ["predict", "w.safetensors", "a.png"],
        "check": ["check", "--samples", 1, "--hidden", 3, "--mode", "directional"],
        "bench": ["bench", *quick, "--out", out, "--overwrite"],
    }


#: What each leaves in its folder.
LEFT = {
    "train": {"weights.safetensors", "history.json", "training.png"},
    "evaluate": {"report.json", "mistakes.png", "confusion.png"},
    "bench": {"throughput.json", "throughput.png"},
}


def test_every_help_prints_in_every_encoding(monkeypatch):
    """In one process: as the streams of the command wrap whatever is there."""
    for encoding in (*ENCODINGS, "utf-8", "utf-16", "koi8-r", "latin-1"):
        for name in ("", *COMMANDS):
            stream = io.TextIOWrapper(io.BytesIO(), encoding)
            monkeypatch.setattr(sys, "stdout", stream)
            with pytest.raises(SystemExit) as left:
                output_of(name)
            stream.flush()
            text = stream.buffer.getvalue().decode(encoding)
            monkeypatch.undo()
            assert (left.value.code, text.count("Usage: xpnet")) == (0, 1)
            if name == "train":
                fits = encoding not in ("cp932", "ascii", "koi8-r")
                assert ("N(0, 0.01²)" if fits else "N(0, 0.01^2)") in text


def output_of(name):
    from xpnet.cli import main

    main([*([name] if name else []), "--help"], prog_name="xpnet")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "check"])
def test_every_command_prints_in_every_encoding(name, encoding, folder, tmp_path):
    environment = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = xpnet(*work(tmp_path / "out")[name], cwd=folder, environment=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    printed = done.stdout.decode(encoding)
    assert len(printed.splitlines()) > 2
    assert "?" not in printed
    if name == "evaluate":
        arrow = "→" if encoding == "cp932" else ">"
        assert f"true    {arrow} 0    {arrow} 1" in printed


@posix
@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "check", "bench"])
@pytest.mark.parametrize("to", ["a full disk", "nobody", "closed", "closed, and standard error too", "both full"])
def test_results_are_written_whoever_reads(name, to, folder, tmp_path):
    options = {}
    with contextlib.ExitStack() as files:
        if "full" in to:
            options["stdout"] = files.enter_context(Path("/dev/full").open("wb"))
        elif to == "nobody":
            reading, writing = os.pipe()
            os.close(reading)
            options["stdout"] = files.enter_context(os.fdopen(writing, "wb"))
        else:
            numbers = (1, 2) if "error" in to else (1,)
            options["preexec_fn"] = lambda: [os.close(number) for number in numbers]
        if to == "both full":
            options["stderr"] = subprocess.STDOUT
        done = xpnet(*work(tmp_path / "out")[name], cwd=folder, **options)
    said = (done.stderr or b"").decode()
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    if name in LEFT:  # the files are its results, and whoever reads what it prints as well is welcome
        assert {path.name for path in (tmp_path / "out").iterdir()} == LEFT[name]
        assert done.returncode == 0
        if to == "a full disk":
            assert "No space left on device: 'standard output'; going on without" in said
    elif "full" in to:
        assert done.returncode == 1
        assert "No space left on device: 'standard output'" in said or to == "both full"
    else:
        assert (done.returncode, said) == (1 if to == "nobody" else 0, "")


@posix
@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_for_nobody(argument, folder):
    with Path("/dev/full").open("wb") as full:
        done = xpnet(argument, cwd=folder, stdout=full)
    assert (done.returncode, done.stderr) == (
        1,
        b"Error: [Errno 28] No space left on device: 'standard output'\n",
    )


@posix
def test_a_closed_descriptor_is_not_given_to_a_file(folder, tmp_path):
    """What a library writes to standard error by its number would go into the file that was opened next."""
    code = (
        "import os, sys; from xpnet.cli.output import standard_streams\n"
        "with standard_streams():\n"
        f"    file = open({str(tmp_path / 'file')!r}, 'w')\n"
        "    os.write(2, b'a warning of a library'); os.write(1, b'and a line')"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(output.__file__).parents[2])}
    close = [os.close]
    subprocess.run(
        [sys.executable, "-c", code], env=environment, preexec_fn=lambda: [close[0](n) for n in (1, 2)], check=True
    )
    assert (tmp_path / "file").read_bytes() == b""


@posix
@pytest.mark.parametrize("encoding", ["utf-8", *ENCODINGS])
def test_names_of_files_reach_a_terminal_as_text(encoding, folder, tmp_path):
    """Names that hold control characters, in what is printed, in errors, and from the inside of files."""
    weights, image = f"{NASTY}/{NASTY}.safetensors", f"{NASTY}/{NASTY}.png"
    calls = [
        ["evaluate", weights, "--out", tmp_path / NASTY, "--no-plot"],
        ["predict", weights, image],
        ["predict", image, image],
        ["predict", weights, weights],
        ["check", "--weights", weights, "--samples", 1, "--mode", "directional"],
        ["train", "--iterations", 2, "--out", tmp_path / NASTY / "run", "--checkpoint-every", 1, "--no-plot"],
        ["train", "--iterations", 2, "--out", tmp_path / NASTY / "run"],
        ["train", "--resume", tmp_path / NASTY / "run", "--no-plot"],
        ["train", "--resume", tmp_path / NASTY],
        ["train", "--resume", image],
    ]
    for call in calls if encoding == "utf-8" else calls[:4]:
        done = xpnet(*call, cwd=folder, environment={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
        printed = done.stdout.decode(encoding) + done.stderr.decode(encoding)
        assert not {c for c in printed if not c.isprintable()} - {"\n"}, call
        assert "\nError: b" not in printed
        assert "Traceback" not in printed
        assert r"b\u202e" in printed or "xff" in printed or "dcff" in printed, call


@posix
def test_how_to_go_on_is_said_so_that_a_shell_finds_the_folder(tmp_path):
    for name in ("plain", "two words", "it's", NASTY, "\\", "$HOME", "\t'"):
        path = tmp_path / name
        path.mkdir()
        told = output.quoted(path)
        assert told.isprintable()
        found = subprocess.run(["bash", "-c", f"cd {told} && pwd && echo ."], capture_output=True, check=True)  # noqa: S607
        assert os.fsdecode(found.stdout)[:-3] == str(path)


@pytest.mark.parametrize("name", LEFT["train"] | LEFT["evaluate"] | LEFT["bench"] | {"checkpoint.safetensors"})
def test_a_result_that_cannot_be_written_costs_no_other(name, folder, tmp_path):
    """As there is a folder of this name."""
    command = next((c for c, names in LEFT.items() if name in names), "train")
    (tmp_path / "out" / name).mkdir(parents=True)
    done = xpnet(*work(tmp_path / "out")[command], cwd=folder)
    written = LEFT[command] - {name}
    assert {n for n in written if (tmp_path / "out" / n).is_file()} == written
    assert "Traceback" not in done.stderr.decode()
    if name != "checkpoint.safetensors":  # which this run does not write
        assert done.returncode == 1
        assert name in done.stderr.decode()
    assert len(done.stdout.splitlines()) > 3
    if name == "weights.safetensors":
        told = done.stderr.decode().partition("(it is in ")[2].partition(" instead)")[0]
        MultiLayerNet  # noqa: B018
        net = TwoLayerNet(784, 50, 10)
        net.load(told)
        Path(told).unlink()
        Path(told).parent.rmdir()


@posix
@pytest.mark.parametrize("limit", [20_000, 100_000])
def test_a_disk_that_is_full_costs_what_does_not_fit(limit, folder, tmp_path):
    """Files of so many bytes at most, as a stand-in for it: weights of 160 kB, a history and a picture that fit."""
    import resource

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = xpnet(*work(tmp_path / "out")["train"], cwd=folder, preexec_fn=small)
    assert done.returncode == 1
    assert "weights.safetensors" in done.stderr.decode()
    assert "history.json" in {path.name for path in (tmp_path / "out").iterdir()}
    assert not {path.name for path in (tmp_path / "out").iterdir()} - LEFT["train"]
    done = xpnet("predict", "w.safetensors", "a.png", cwd=folder, preexec_fn=small)
    assert done.returncode == 0


def test_each_result_is_written_for_itself_whatever_is_raised(tmp_path):
    """And a picture of an earlier time does not stay beside newer numbers."""
    for name in ("picture.png", "other.png"):
        (tmp_path / name).write_text("earlier")

    def fails(error):
        def write(path):
            raise error

        return write

    writers = {
        "a": fails(RuntimeError("no\x1b[31m home")),
        "b": lambda path: path.write_text("b"),
        "picture.png": fails(plotting.PlottingUnavailableError("no matplotlib")),
        "c": fails(MemoryError()),
        "d": fails(OSError(30, "Read-only file system", "d")),
        "e": lambda path: path.write_text("e"),
    }
    made, failed = write_each(tmp_path, writers, str, stale=["picture.png", "other.png"])
    assert made == [str(tmp_path / "b"), "no plot: no matplotlib", str(tmp_path / "e")]
    assert failed == [
        r"a: RuntimeError: no\x1b[31m home",
        "c: MemoryError: ",
        "[Errno 30] Read-only file system: 'd'",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "e"]


def test_a_folder_that_somebody_deleted_is_made_again(tmp_path):
    out = tmp_path / "far" / "out"
    assert write_each(out, {"a": lambda path: storage.write_bytes(path, b"a")}, str) == ([str(out / "a")], [])


@pytest.fixture
def running(tmp_path):
    """A run that has a folder, as a process."""
    code = (
        "import sys, time; from pathlib import Path; from xpnet.cli.lock import only_one\n"
        "with only_one(Path(sys.argv[1]), 'train'):\n    print('held', flush=True); time.sleep(300)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(output.__file__).parents[2])}
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
    monkeypatch.setattr(train, "mnist_digits", lambda: pytest.fail("it began"))
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
def test_a_terminal_that_is_closed_ends_a_run_as_ctrl_c_does(number, folder, tmp_path):
    line = [sys.executable, "-m", "xpnet", "train", "--iterations", "1000000", "--no-plot", "--quiet", "--out", "out"]
    paths = {"PYTHONPATH": str(Path(output.__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    before = signal.signal(number, signal.SIG_DFL)  # a child inherits what is ignored
    try:
        with subprocess.Popen(line, cwd=tmp_path, env=os.environ | paths, stderr=subprocess.PIPE, stdout=-1) as running:
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


@pytest.mark.parametrize(
    "call",
    [
        ["train", "--iterations", 10**30],
        ["train", "--iterations", 10**400],
        ["train", "--epochs", 10**30],
        ["train", "--hidden", 10**18],
        ["train", "--hidden", 10**30],
        ["train", "--lr", "1e999"],
        ["train", "--dropout", "nan"],
        ["train", "--weight-decay", "inf"],
        ["train", "--warmup", 10**30, "--schedule", "cosine"],
        ["train", "--schedule", "step:1e999"],
        ["train", "--schedule", "cosine:nan"],
        ["train", "--batch-size", 10**30],
        ["check", "--h", "nan"],
        ["check", "--h", "-1"],
        ["check", "--h", "1e-300"],
        ["check", "--tolerance", "nan"],
        ["check", "--hidden", 10**18],
        ["bench", "--hidden", 10**18, "--seconds", 1, "--backend", "numpy", "--batch-sizes", "10"],
        ["bench", "--seconds", "nan"],
        ["bench", "--seconds", "inf", "--hidden", 10**30, "--backend", "numpy", "--batch-sizes", "10"],
        ["evaluate", "/dev/null"],
        ["evaluate", "."],
        ["predict", "/dev/zero", "a.png"],
        ["predict", "/dev/null", "a.png"],
        ["predict", "missing", "a.png"],
        ["train", "--resume", "/dev/zero"],
        ["train", "--out", "/dev/null"],
        ["train", "--out", "x" * 300],
        ["train", "--out", "/proc/xpnet"],
    ],
    ids=lambda call: " ".join(map(str, call))[:60],
)
def test_what_cannot_be_is_said_in_a_line(call, command):
    """And never with a traceback, whatever it is."""
    result = command(*call)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (1, 2)
    assert "Error: " in result.output


def test_one_bad_image_does_not_cost_the_others(folder, tmp_path):
    """Of whatever kind: a pipe without a writer would be waited for without an end."""
    good = (folder / "a.png").read_bytes()
    for name, data in {"empty.png": b"", "cut.png": good[:100], "text.png": b"a seven"}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder.png").mkdir()
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    Image.new("L", (9, 9), 9).save(tmp_path / "blank.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n")
    bad = sorted(tmp_path.glob("*.png"))
    done = xpnet("predict", "w.safetensors", "a.png", *bad, "/dev/zero", "a.png", "--format", "json", cwd=folder)
    assert done.returncode == 1
    assert [row["image"] for row in json.loads(done.stdout)] == ["a.png", "a.png"]
    errors = done.stderr.decode().splitlines()
    for name, line in zip([*map(str, bad), "/dev/zero"], errors, strict=True):
        assert line.startswith("Error: ")
        assert name in line


def test_every_command_is_here():
    assert {check.check.name, predict.predict.name, bench.bench.name} < set(COMMANDS)
