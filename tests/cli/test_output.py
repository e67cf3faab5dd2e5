"""What the command prints, and to whom: any encoding, a full disk, nobody; and the results that are there anyway."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xpnet import TwoLayerNet, plotting
from xpnet.cli import main, output
from xpnet.cli.results import write_each
from xpnet.serialization import atomic

COMMANDS = ("train", "evaluate", "predict", "check", "backends", "bench")
ENCODINGS = ("cp932", "cp1252", "cp437", "ascii")
posix = pytest.mark.skipif(os.name != "posix", reason="pipes and descriptors are closed in another way elsewhere")

TO = ("a full disk", "nobody", "closed", "closed, and standard error too", "both full")

#: A name that would colour a terminal, begin a line of its own, turn the direction of writing; and is not UTF-8.
NASTY = os.fsdecode(b"a\x1b[31m\nError: b\xe2\x80\xae\xff\xc2\xb2")


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
    if before := options.pop("shell", ""):
        command = ["bash", "-c", f'{before}; exec "$@"', "bash", *command]
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


EXTRA = {"train": ["--no-plot"], "evaluate": ["--no-plot"]}

#: What each leaves in its folder.
LEFT = {
    "train": {"weights.safetensors", "history.json", "training.png"},
    "evaluate": {"report.json", "mistakes.png", "confusion.png"},
    "bench": {"throughput.json", "throughput.png"},
}


def printed(encoding, *arguments):
    """The command in this process, its streams in an encoding: the exit status, and what both had."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments], prog_name="xpnet")
    for stream in streams:
        stream.flush()
    return left.value.code, *(stream.buffer.getvalue().decode(encoding) for stream in streams)


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-8", "utf-16", "koi8-r", "latin-1"])
def test_every_help_prints_in_every_encoding(encoding):
    for name in ("", *COMMANDS):
        status, out, err = printed(encoding, *([name] if name else []), "--help")
        assert (status, out.count("Usage: xpnet"), err) == (0, 1, "")
        if name == "train" and sys.flags.optimize < 2:  # python -OO has no docstrings, and one line of each command
            assert ("N(0, 0.01^2)" if encoding in ("cp932", "ascii") else "N(0, 0.01²)") in out


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_command_prints_in_every_encoding(encoding, folder, command, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("train", "evaluate", "predict", "check"):
        status, out, err = printed(encoding, *work(folder / encoding)[name], *EXTRA.get(name, []))
        assert (status, err) == (0, "")
        assert len(out.splitlines()) > 2
        assert "?" not in out
        if name == "evaluate":
            arrow = "→" if encoding == "cp932" else ">"
            assert f"true    {arrow} 0    {arrow} 1" in out


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_process_prints_in_every_encoding(encoding, folder, tmp_path):
    environment = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = xpnet("evaluate", "w.safetensors", "--out", tmp_path, "--no-plot", cwd=folder, environment=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding).endswith(f"report.json{os.linesep}")


@posix
@pytest.mark.parametrize(
    ("name", "to"),
    [
        *itertools.product(["train", "evaluate", "predict"], TO),
        ("check", "a full disk"),
        ("check", "nobody"),
        ("bench", "a full disk"),
    ],
)
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
            options["shell"] = "exec >&- 2>&-" if "error" in to else "exec >&-"
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
    line = ["bash", "-c", 'exec >&- 2>&-; exec "$@"', "bash", sys.executable, "-c", code]
    subprocess.run(line, env=environment, check=True)
    assert (tmp_path / "file").read_bytes() == b""


@posix
def test_a_tilde_stands_for_the_home_folder(command, tmp_path, monkeypatch):
    """A shell leaves it alone in quotes, and behind ``--out=``."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "runs.svg").write_text("mine")
    calls = [
        ("train", "--iterations", 1, "--out=~/run", "--checkpoint-every", 1, "--no-plot"),
        ("train", "--resume=~/run", "--iterations", 2, "--no-plot"),
        ("compare", "~/run", "--no-plot"),
        ("evaluate", "~/run/weights.safetensors", "--out=~/report", "--no-plot"),
        ("check", "--weights=~/run/weights.safetensors", "--mode=directional"),
        ("sweep", "--networks", 2, "--iterations", 1, "--out=~/sweep", "--no-plot"),
    ]
    for call in calls:
        done = command(*call)
        assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["report", "run", "runs.svg", "sweep"]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    done = command("compare", "~/run", "--out=~/runs.svg")
    assert (done.exit_code, "runs.svg is there already" in done.output) == (1, True)
    (tmp_path / "home" / "script.py").write_text("print('it runs')")
    assert command("book", "~/script.py").output == "it runs\n"
    done = command("evaluate", "")
    assert (done.exit_code, "path is empty" in done.output) == (2, True)


@posix
@pytest.mark.parametrize("encoding", ["utf-8", *ENCODINGS])
def test_names_of_files_reach_a_terminal_as_text(encoding, folder, tmp_path, command, monkeypatch):
    """Names that hold control characters, in what is printed and in errors."""
    monkeypatch.chdir(folder)
    weights, image, out = f"{NASTY}/{NASTY}.safetensors", f"{NASTY}/{NASTY}.png", tmp_path / NASTY
    for call in (
        ["evaluate", weights, "--out", out, "--no-plot"],
        ["predict", weights, image],
        ["predict", image, image],
        ["predict", weights, weights],
        ["check", "--weights", weights, "--samples", 1, "--mode", "directional"],
        ["train", "--iterations", 2, "--out", out / "run", "--checkpoint-every", 1, "--no-plot"],
        ["train", "--iterations", 2, "--out", out / "run"],
        ["train", "--resume", out / "run", "--no-plot"],
        ["train", "--resume", out],
        ["train", "--resume", image],
        ["train", f"--{NASTY}"],
        ["train", "--dtype", NASTY],
    ):
        _, *texts = printed(encoding, *call)
        text = "".join(texts)
        assert not {c for c in text if not c.isprintable()} - {"\n"}, call
        assert "\nError: b" not in text or call[-1] == f"--{NASTY}"  # which click itself says, of what was typed
        assert any(part in text for part in (r"\u202e", "xff", "dcff")), call


@posix
def test_how_to_go_on_is_said_so_that_a_shell_finds_the_folder(tmp_path):
    for name in ("plain", "two words", "it's", NASTY, "\\", "$HOME", "\t'"):
        path = tmp_path / name
        path.mkdir()
        told = output.quoted(path)
        assert told.isprintable()
        found = subprocess.run(["bash", "-c", f"cd {told} && pwd && echo ."], capture_output=True, check=True)
        assert os.fsdecode(found.stdout)[:-3] == str(path)


@pytest.mark.parametrize("name", sorted({"checkpoint.safetensors", *LEFT["train"], *LEFT["evaluate"], *LEFT["bench"]}))
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
        net = TwoLayerNet(784, 50, 10)
        net.load(told)
        Path(told).unlink()
        Path(told).parent.rmdir()


@posix
@pytest.mark.parametrize("limit", [20, 100])
def test_a_disk_that_is_full_costs_what_does_not_fit(limit, folder, tmp_path):
    """Files of so many kB at most, as a stand-in for it: weights of 160 kB, a history and a picture that fit."""
    small = f"ulimit -f {limit}"
    done = xpnet(*work(tmp_path / "out")["train"], cwd=folder, shell=small)
    assert done.returncode == 1
    assert "weights.safetensors" in done.stderr.decode()
    assert "history.json" in {path.name for path in (tmp_path / "out").iterdir()}
    assert not {path.name for path in (tmp_path / "out").iterdir()} - LEFT["train"]


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
    assert write_each(out, {"a": lambda path: atomic.write_bytes(path, b"a")}, str) == ([str(out / "a")], [])


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
    (tmp_path / "secret.png").touch(mode=0)  # empty, for those who read everything
    bad = sorted(tmp_path.glob("*.png"))
    done = xpnet("predict", "w.safetensors", "a.png", *bad, "/dev/zero", "a.png", "--format", "json", cwd=folder)
    assert done.returncode == 1
    assert [row["image"] for row in json.loads(done.stdout)] == ["a.png", "a.png"]
    errors = done.stderr.decode().splitlines()
    for name, line in zip([*map(str, bad), "/dev/zero"], errors, strict=True):
        assert line.startswith("Error: ")
        assert name in line
