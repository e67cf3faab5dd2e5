"""Standard streams of every kind: none is a reason to end a training, and what is written fits into them."""

from __future__ import annotations

import io
import os
import sys
import unicodedata
import warnings

import numpy as np
import pytest
from recording import data, trainer_of

import xpnet.training.loop
from xpnet import check_gradient
from xpnet.gradient import network
from xpnet.schedules import Cosine
from xpnet.streams import Quiet, bar, fitting, printable
from xpnet.training import progress


class Writes:
    """All that some loggers have."""

    def write(self, text):
        pass


class Terminal(Writes):
    def isatty(self):
        return True


class Gone(Terminal):
    def write(self, text):
        raise BrokenPipeError(32, "nobody reads")

    flush = write


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")

    def isatty(self):
        return True


class Hostile:
    def __getattr__(self, name):
        raise RuntimeError(name)


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def detached():
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    stream.detach()
    return stream


def terminal_in(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    stream.isatty = lambda: True
    return stream


STREAMS = {
    "none": lambda: None,
    "an object that writes": Writes,
    "a terminal that has no number": Terminal,
    "a reader who left": Gone,
    "a full disk": Full,
    "closed": closed,
    "detached": detached,
    "bytes": io.BytesIO,
    "no stream at all": object,
    "an object that refuses everything": Hostile,
    "a console in cp932": lambda: terminal_in("cp932"),
    "a console in ascii": lambda: terminal_in("ascii"),
}


@pytest.fixture(params=STREAMS)
def streams(request, monkeypatch):
    """A stream of each kind in the place of standard error, and of both."""

    def put(names):
        for name in names:
            monkeypatch.setattr(sys, name, STREAMS[request.param]())

    yield put
    monkeypatch.undo()


@pytest.mark.parametrize("names", [["stderr"], ["stdout"], ["stderr", "stdout"]], ids="+".join)
def test_training_goes_on_whatever_the_streams_are(names, streams, monkeypatch):
    monkeypatch.setattr(xpnet.training.loop, "LONGEST_BLOCK", 1)
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    trainer = trainer_of()
    straight = trainer_of().fit(*data(), iterations=9, progress=False).losses
    streams(names)
    assert trainer.fit(*data(), iterations=9, callbacks=[lambda evaluation: None]).losses == straight


# an older tqdm complains of a bar that could not be made as it goes
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("names", [["stderr"], ["stderr", "stdout"]], ids="+".join)
def test_numerical_gradients_come_whatever_the_streams_are(names, streams, monkeypatch):
    """With a bar that is shown from the first moment."""
    shown = []

    def at_once(kind, **options):
        shown.append(bar(kind, **options | {"delay": 0, "mininterval": 0}))
        return shown[-1]

    monkeypatch.setattr(network.streams, "bar", at_once)
    net, (x, t) = trainer_of().net, data(5)
    expected = net.numerical_gradient(x, t, progress=False)
    streams(names)
    found = net.numerical_gradient(x, t)
    passed = check_gradient(net, x, t).passed
    assert len(shown) >= 2
    assert passed
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_warnings_end_no_training(streams):
    """The learning rate has come down to 0 before the end, which is told where it can be."""
    shown, trainer = [], trainer_of(lr=Cosine(0.1, 3))

    def show(message, *_):  # as Python does, in whose place pytest has put its own
        shown.append(message)
        if sys.stderr is not None:
            sys.stderr.write(str(message))

    streams(["stderr"])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        assert trainer.fit(*data(), iterations=9, progress=False).iterations == 9
    assert len(shown) == 1


def test_a_user_may_have_warnings_raised():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="has come down to 0"):
            trainer_of(lr=Cosine(0.1, 3)).fit(*data(), iterations=9, progress=False)


def test_lines_go_to_standard_error_or_nowhere(monkeypatch, capsys):
    """Where there is none, print would write them to standard output."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", None)
    trainer_of().fit(*data(), iterations=9)
    assert capsys.readouterr().out == ""


def test_a_bar_stands_on_standard_error_in_its_encoding(monkeypatch):
    from tqdm import tqdm

    for encoding in ("utf-8", "cp437", "cp932", "ascii"):
        stream = terminal_in(encoding)
        monkeypatch.setattr(sys, "stderr", stream)
        with bar(tqdm, total=9, desc="größe ² → ×") as drawn:
            drawn.update(4)
            drawn.refresh()
        stream.flush()
        assert "4/9 [" in stream.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "0.01² → 3×4 …"),
        ("cp932", "0.01^2 → 3×4 …"),
        ("cp1252", "0.01² > 3×4 …"),
        ("cp437", "0.01² > 3x4 ~"),
        ("ascii", "0.01^2 > 3x4 ~"),
        ("no encoding", "0.01^2 > 3x4 ~"),
        (None, "0.01^2 > 3x4 ~"),
    ],
)
def test_what_an_encoding_lacks_is_written_plainly(encoding, shown):
    assert fitting("0.01² → 3×4 …", encoding) == shown


@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "cp1252", "cp437", "ascii", "latin-1", "koi8-r", "shift_jis"])
def test_all_text_can_be_written_in_every_encoding(encoding):
    every = "".join(map(chr, range(0x3000))) + "漢字😀\ud800\udcff"
    for text in (every, *every):
        assert fitting(text, encoding).encode(encoding)
    stream = io.TextIOWrapper(io.BytesIO(), encoding, newline="")
    Quiet(stream).write(every)
    stream.flush()
    assert stream.buffer.getvalue() == fitting(every, encoding).encode(encoding)


def test_nothing_that_moves_or_hides_is_printable():
    every = [chr(c) for c in range(0x11000)]
    for c in every:
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            assert printable(c).isascii(), hex(ord(c))
            assert printable(c).isprintable()
            assert printable(c).encode().decode("unicode_escape") == c
        elif unicodedata.category(c)[0] != "C":
            assert printable(c) == c
    assert printable("a\nb", keep="\n") == "a\nb"
    assert printable(os.fsdecode(b"\xff\x1b[31m.png")) == r"\udcff\x1b[31m.png"
