"""Progress: a bar that goes without a trace in a terminal, text in a notebook, and a line now and then in a file."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from recording import Recorder, data, fit, trainer_of

import xpnet.training.loop
from xpnet.schedules import Step
from xpnet.training import Callback, LearningRateLog, progress
from xpnet.training.callbacks import aside

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals here")


class Terminal:
    """A pseudo-terminal of 100 columns in the place of both outputs."""

    def __init__(self, monkeypatch):
        import termios

        self.reading, writing = pty.openpty()
        termios.tcsetwinsize(writing, (24, 100))
        self.file, self.bytes = os.fdopen(writing, "w", encoding="utf-8"), b""
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, self.file)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        try:
            while part := os.read(self.reading, 4096):
                self.bytes += part
        except OSError:
            return  # how Linux says that the other end is closed

    def written(self):
        self.file.close()
        self.reader.join()
        os.close(self.reading)
        return self.bytes.decode().replace("\r\n", "\n")


def visible(written):
    """What stays on the screen: a carriage return goes back to the start of the line, and the rest overwrites."""
    lines = []
    for line in written.split("\n"):
        screen = []
        for part in line.split("\r"):
            screen[: len(part)] = part
        lines.append("".join(screen).rstrip())
    return lines


@pytest.fixture
def short_blocks(monkeypatch):
    """Many blocks, and a bar at once, so that there is one to be in the way."""
    monkeypatch.setattr(xpnet.training.loop, "LONGEST_BLOCK", 1)
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)


def train(*callbacks, shown=True, trainer=None, **options):
    trainer = trainer_of() if trainer is None else trainer
    return trainer.fit(*data(), callbacks=callbacks, progress=shown, **options)


def test_a_bar_in_a_terminal_leaves_whole_lines_and_goes(short_blocks, monkeypatch):
    terminal = Terminal(monkeypatch)
    history = train(print, iterations=20)
    written = terminal.written()
    assert "/20 [" in written
    assert "samples/s" in written
    assert visible(written) == [*(str(e) for e in history.evaluations), ""]


def test_lines_between_evaluations_are_whole_too(short_blocks, monkeypatch):
    class Talks(Callback):
        def on_block(self, trainer):
            with aside():
                print(f"step {trainer.iteration}")  # noqa: T201

    terminal, lines, told = Terminal(monkeypatch), [], LearningRateLog()
    halved = trainer_of(lr=Step(0.8, every=2, factor=0.5))
    history = train(Talks(), LearningRateLog(lines.append), told, trainer=halved, iterations=7)
    assert len(lines) == 6
    wanted = []
    for k in range(8):
        wanted += [f"step {k}"] if k else []
        wanted += [line for line in lines if int(line.split()[1]) == k]
    assert visible(terminal.written()) == [*wanted, ""]
    assert history.iterations == 7


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_bar_goes_whatever_ends_training(error, short_blocks, monkeypatch):
    class Fails(Callback):
        def on_block(self, trainer):
            if trainer.iteration == 5:
                raise error

    terminal = Terminal(monkeypatch)
    with pytest.raises(error):
        train(Fails(), iterations=20)
    written = terminal.written()
    assert "/20 [" in written
    assert visible(written) == [""]


def test_a_short_training_shows_no_bar(monkeypatch):
    monkeypatch.setattr(progress, "BAR_SECONDS", 3600.0)
    terminal = Terminal(monkeypatch)
    history = train(print, iterations=20)
    assert terminal.written().splitlines() == [str(e) for e in history.evaluations]


def test_a_bar_goes_on_from_where_training_does(short_blocks, monkeypatch):
    """The same object twice, and a total that counts from the very start."""
    shown, trainer = progress.Progress(), trainer_of()
    terminal = Terminal(monkeypatch)
    train(shown, shown=False, trainer=trainer, iterations=5)
    assert shown.bar.n <= 5
    train(shown, shown=False, trainer=trainer, iterations=6)
    assert (shown.bar.total, shown.bar.initial, shown.bar.n) == (11, 6, 11)
    assert visible(terminal.written()) == [""]


def test_an_object_that_had_a_terminal_writes_lines_to_a_file(short_blocks, monkeypatch):
    shown, trainer = progress.Progress(), trainer_of()
    terminal = Terminal(monkeypatch)
    train(shown, shown=False, trainer=trainer, iterations=5)
    terminal.written()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    train(shown, shown=False, trainer=trainer, iterations=1)
    assert sys.stderr.getvalue().startswith("iteration 6 of 6: loss ")


def test_a_file_gets_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(xpnet.training.loop, "LONGEST_BLOCK", 1)
    train(iterations=20)
    assert capsys.readouterr() == ("", ""), "ten seconds have not passed"
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    history = train(iterations=20)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"iteration {k} of 20" for k in range(1, 21)]
    for line, loss in zip(lines, history.losses, strict=True):
        assert f": loss {loss:.4f}, " in line
        assert line.endswith(" samples/s")


def test_lines_are_as_far_apart_as_they_shall_be(capsys, monkeypatch):
    """By a clock that goes three seconds a block."""
    monkeypatch.setattr(xpnet.training.loop, "LONGEST_BLOCK", 1)
    now = iter(range(0, 3000, 3))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(now)))
    train(iterations=20)
    lines = capsys.readouterr().err.splitlines()
    assert [int(line.split()[1]) for line in lines] == [4, 8, 12, 16, 20]


def test_no_progress_is_silence(short_blocks, capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    train(shown=False, iterations=20)
    fit(trainer_of(), iterations=3)
    assert capsys.readouterr() == ("", "")


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("output", [None, Broken()])
def test_training_needs_no_reader(output, monkeypatch):
    """Without a standard error output, as under a window manager, and with one that nobody reads any more."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert train(iterations=5).iterations == 5


def test_what_raises_before_the_first_step_leaves_nothing(capsys):
    with pytest.raises(RuntimeError, match="begin"):
        train(Recorder(begin=RuntimeError("begin")), iterations=5)
    assert capsys.readouterr() == ("", "")


NOTEBOOK = """
import io, sys, types
for name in ("ipykernel", "ipykernel.zmqshell", "IPython"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["IPython"].get_ipython = lambda: type("ZMQInteractiveShell", (), {"config": {"IPKernelApp": {}}})()
sys.modules["ipywidgets"] = None
sys.stderr = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()

import xpnet.training.loop
from recording import data, trainer_of
from xpnet.training import progress

xpnet.training.loop.LONGEST_BLOCK, progress.BAR_SECONDS = 1, 0.0
trainer_of().fit(*data(), iterations=20, callbacks=[print])
print(repr(sys.stderr.getvalue()))
"""


def test_a_notebook_without_widgets_gets_a_bar_of_text_and_no_warning():
    """What tqdm.auto finds in a kernel is put there, and the extension for widgets is missing."""
    paths = os.pathsep.join(path for path in (os.path.dirname(__file__), *sys.path) if path)  # noqa: PTH120
    environment = os.environ | {"PYTHONPATH": paths}
    command = [sys.executable, "-W", "error", "-c", NOTEBOOK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, bar = done.stdout.splitlines()
    assert len(lines) == 8
    assert all(line.startswith("epoch ") for line in lines)
    assert "/20 [" in bar
    assert "samples/s" in bar
    assert "Warning" not in bar
