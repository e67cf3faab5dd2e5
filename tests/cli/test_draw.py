"""``xpnet draw``: what it says, which networks it takes, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from http.client import HTTPConnection

import numpy as np
import pytest

from xpnet import SGD, MultiLayerNet, ResNet, Sequential, SimpleConvNet, Trainer, TwoLayerNet
from xpnet.cli import draw
from xpnet.cli.common import on_bytes
from xpnet.drawing import PageServer
from xpnet.layers import Affine

posix = pytest.mark.skipif(os.name != "posix", reason="there is no Ctrl-C for one process elsewhere")


@pytest.fixture
def served(monkeypatch):
    """Servers that were begun; each ends as soon as there is a network, or will be none."""
    found = []

    def serve(server, _):
        found.append(server)
        end = time.monotonic() + 60
        while server.preparation.state()["phase"] == "preparing":
            assert time.monotonic() < end
            time.sleep(0.01)

    monkeypatch.setattr(PageServer, "serve_until", serve)
    return found


@pytest.fixture
def opened(monkeypatch):
    """The addresses that a browser was asked for; it is one with windows."""
    found = []

    class Browser(webbrowser.BackgroundBrowser):
        def open(self, url, *_):
            found.append(url)

    monkeypatch.setattr(webbrowser, "get", lambda: Browser("browser"))
    return found


@pytest.mark.parametrize("kind", [TwoLayerNet, SimpleConvNet, Sequential])
def test_a_network_from_a_file_is_served(kind, command, served, opened, tmp_path):
    shape = (784, 3, 10) if kind is TwoLayerNet else (([Affine(784, 3)],) if kind is Sequential else ())
    net = kind(*shape, backend="numpy", seed=0)
    net.save(tmp_path / "weights.safetensors")
    result = command("draw", "weights.safetensors", "--port", 0)
    assert result.exit_code == 0, result.output
    (server,) = served
    assert f"draw a digit at http://127.0.0.1:{server.port}/{server.token}/\n" in result.output
    assert f"weights.safetensors: {kind.__name__} " in result.output
    assert server.preparation.answers.classes == (3 if kind is Sequential else 10)
    end = time.monotonic() + 30
    while not opened and time.monotonic() < end:
        time.sleep(0.01)
    assert opened == [server.address]


def test_without_a_file_a_network_is_trained(command, served, opened):
    result = command("draw", "--port", 0, "--no-browser", "--iterations", 300)
    assert result.exit_code == 0, result.output
    assert "training TwoLayerNet 784-50-10 on numpy (cpu) on MNIST, 300 iterations\n" in result.output
    accuracy = float(re.search(r"it reads ([\d.]+)% of the test digits", result.output)[1])
    answers = served[0].preparation.answers
    x, t = draw.mnist_digits(as_bytes=True)[1]
    right = sum(answers.answer(row.tobytes())["answer"] == label for row, label in zip(x[:200], t, strict=False))
    assert right >= 150  # of numbers from 0 to 1, though it was trained on bytes
    assert accuracy > 75
    assert opened == []


@pytest.mark.parametrize(
    ("options", "kind", "steps"),
    [
        (("--model", "simple-convnet", "--hidden", 9), SimpleConvNet, draw.OF_CONVOLUTIONS),
        (("--model", "resnet", "--iterations", 2), ResNet, 2),
        (("--hidden", "9,8", "--iterations", 30), MultiLayerNet, 30),
    ],
)
def test_another_network_is_trained_if_asked_for(options, kind, steps, command, served, monkeypatch):
    fit, goals = Trainer.fit, []

    def fit_little(trainer, *data, iterations, **options):
        goals.append(iterations)
        return fit(trainer, *data, iterations=min(iterations, 3), **options)

    monkeypatch.setattr(Trainer, "fit", fit_little)
    result = command("draw", "--port", 0, "--no-browser", *options)
    assert result.exit_code == 0, result.output
    answers = served[0].preparation.answers
    assert (type(answers.net), goals) == (kind, [steps])
    assert answers.shape == ((784,) if kind is MultiLayerNet else (1, 28, 28))
    assert answers.answer(draw.mnist_digits(as_bytes=True)[1][0][0].tobytes())["probabilities"]
    state = served[0].preparation.state()
    assert (state["phase"], state["steps"]) == ("ready", min(steps, 3))
    assert state["network"].startswith(f"{kind.__name__} ")


@pytest.mark.parametrize("option", ["--model=resnet", "--hidden=50", "--seed=0", "--iterations=3"])
def test_a_network_that_is_read_is_not_told_what_to_be(option, command, served, tmp_path):
    TwoLayerNet(784, 3, 10, backend="numpy").save(tmp_path / "weights.safetensors")
    result = command("draw", "weights.safetensors", option)
    assert (result.exit_code, served) == (2, [])
    assert f"{option.partition('=')[0]}: for a network that is trained first" in result.output


@pytest.mark.parametrize(
    ("options", "why"),
    [(("--model", "resnet", "--hidden", 5), "resnet has no hidden units"), (("--hidden", 0), "expected 1 or more")],
)
def test_networks_that_cannot_be_are_refused_before_there_is_a_page(options, why, command, served):
    result = command("draw", "--no-browser", *options)
    assert (result.exit_code > 0, served) == (True, [])
    assert why in result.output


def test_a_training_that_fails_is_told(command, served, monkeypatch):
    monkeypatch.setattr(draw, "LEARNING_RATE", 1e30)
    result = command("draw", "--port", 0, "--no-browser")
    assert result.exit_code == 1
    assert "Error: " in result.output
    assert "it reads" not in result.output
    state = served[0].preparation.state()
    assert state["phase"] == "failed"
    assert state["error"].startswith("DivergedError: ")


def test_a_checkpoint_on_bytes_sees_the_same(command, served, some_digits, tmp_path):
    x, t = (np.rint(some_digits[0][0] * 255).astype(np.uint8), some_digits[0][1])
    trainer = Trainer(on_bytes(TwoLayerNet(784, 5, 10, seed=0, backend="numpy")), SGD(lr=0.1), seed=0)
    trainer.fit(x, t, iterations=20, progress=False)
    trainer.save(tmp_path / "checkpoint.safetensors")
    assert command("draw", "checkpoint.safetensors", "--port", 0, "--no-browser").exit_code == 0
    told = served[0].preparation.answers.answer(x[0].tobytes())
    assert told["answer"] == np.argmax(trainer.net.predict(x[:1]))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: TwoLayerNet(784, 3, 1, backend="numpy"), "does not make scores for 2 to 64 classes of pictures"),
        (lambda: TwoLayerNet(100, 3, 10, backend="numpy"), "does not make scores for 2 to 64 classes of pictures"),
        (lambda: SimpleConvNet((3, 28, 28), backend="numpy"), "does not make scores for 2 to 64 classes of pictures"),
    ],
)
def test_networks_of_another_kind_are_refused(make, why, command, served, tmp_path):
    make().save(tmp_path / "weights.safetensors")
    result = command("draw", "weights.safetensors")
    assert (result.exit_code, served) == (1, [])
    assert why in result.output


def test_weights_that_are_no_numbers_are_refused(command, served, tmp_path):
    net = TwoLayerNet(784, 3, 10, backend="numpy")
    net.params["W1"][5, 1] = np.nan
    net.save(tmp_path / "weights.safetensors")
    result = command("draw", "weights.safetensors")
    assert (result.exit_code, served) == (1, [])
    assert "1 of 2352 numbers of W1 are NaN or infinite; train the network anew" in result.output


def test_files_that_are_none_are_refused(command, served, tmp_path):
    (tmp_path / "noise").write_bytes(bytes(100))
    for name in ("nothing", ".", "noise"):
        result = command("draw", name)
        assert (result.exit_code, served) == (1, [])
        assert result.output.startswith("Error: ")


def test_a_library_that_does_not_train_needs_a_file(command, served, tmp_path):
    pytest.importorskip("dask")
    result = command("draw", "--backend", "dask", "--no-browser")
    assert (result.exit_code, served) == (1, [])
    TwoLayerNet(784, 3, 10, backend="numpy").save(tmp_path / "weights.safetensors")
    assert command("draw", "weights.safetensors", "--backend", "dask", "--no-browser", "--port", 0).exit_code == 0


def test_a_port_that_is_taken_is_said(command, served, tmp_path):
    TwoLayerNet(784, 3, 10, backend="numpy").save(tmp_path / "weights.safetensors")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = command("draw", "weights.safetensors", "--port", port, "--no-browser")
    assert result.exit_code == 0, result.output
    assert f"port {port} is taken; using {served[0].port}\n" in result.output
    assert served[0].port > port


@pytest.mark.parametrize("kind", [webbrowser.GenericBrowser, webbrowser.Elinks])
def test_a_browser_of_text_is_not_opened(kind, monkeypatch):
    opened = []
    monkeypatch.setattr(kind, "open", lambda self, url, *_: opened.append(url))
    monkeypatch.setattr(webbrowser, "get", lambda: kind("lynx"))
    monkeypatch.delenv("BROWSER", raising=False)
    draw._open("http://127.0.0.1/")
    assert opened == []
    monkeypatch.setenv("BROWSER", "lynx")
    draw._open("http://127.0.0.1/")
    assert opened == ["http://127.0.0.1/"]


@posix
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_a_signal_ends_it_also_while_it_trains(number, status, ctrl_c, tmp_path):
    folder = tmp_path / "絵 を 描く"
    folder.mkdir()
    line = [sys.executable, "-OO", "-m", "xpnet", "draw", "--port", "0", "--no-browser"]
    environment = os.environ | {"LC_ALL": "C", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        address = re.search(r"http://127\.0\.0\.1:(\d+)(/\S+/)", process.stdout.readline())
        connection = HTTPConnection("127.0.0.1", int(address[1]), timeout=60)
        connection.request("GET", address[2] + "words.js")
        assert "元に戻す" in connection.getresponse().read().decode()
        process.send_signal(number)
        try:
            _, problems = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, problems) == (status, "")
    assert list(folder.iterdir()) == []
