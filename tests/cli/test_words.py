"""What the library says of an argument, a command says of the option that was typed."""

from __future__ import annotations

import re

import click
import pytest

from xpnet import Sequential, TwoLayerNet
from xpnet.cli.words import in_options
from xpnet.layers import Affine, Conv2d, GlobalAvgPool2d, ReLU
from xpnet.losses import MeanSquaredError

#: Python that nobody types in a shell.
PYTHON = re.compile(r"""\w=|\bnet\.|\bgive fit\b""")


def tried(command, *arguments):
    """The message of a command that fails."""
    done = command(*arguments)
    assert done.exit_code in (1, 2), done.output
    message = done.output.splitlines()[-1]
    assert not PYTHON.search(re.sub(r"\w+\([^)]*\)", "an object", message)), message
    return message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--weight-decay -1", "--weight-decay is -1.0, expected"),
        ("--dropout 1", "--dropout is 1.0, expected"),
        ("--batch-size 99999", "--batch-size is 99999, but there are only"),
        ("--schedule step:0", "--schedule step:EVERY[:FACTOR]: every is 0, expected"),
        ("--schedule cosine:-1", "--schedule cosine[:FINAL]: final is -1.0, expected"),
        ("--schedule plateau --evaluate never", "with --evaluate never there is none; give --evaluate epoch, or"),
        ("--compute-dtype float16 --dtype float64", "--compute-dtype is 'float16' for a network of float64"),
        ("--compute-dtype bfloat16", "; take another --backend, torch or jax for example"),
    ],
)
def test_train(options, words, command):
    assert words in tried(command, "train", "--iterations", 1, "--backend", "numpy", *options.split())


def test_train_on_devices_of_jax(command):
    pytest.importorskip("jax")
    message = tried(command, "train", "--iterations", 1, "--backend", "numpy", "--parallel", "jax")
    assert message.endswith(
        "--parallel jax is for networks of JAX, and this one is on backend 'numpy'; add --backend jax"
    )


@pytest.mark.parametrize("name", ["lr", "weight-decay", "momentum"])
def test_sweep(name, command):
    message = tried(command, "sweep", "--optimizer", "momentum", "--seeds", f"--{name}", "-1")
    assert re.search(rf"Error: (--{name}|the learning rate) is -1.0, expected [^;]*$", message)
    assert "Cosine" not in message


@pytest.mark.parametrize("option", ["--h", "--tolerance"])
def test_check(option, command):
    assert f"{option} is 0.0, expected a positive number" in tried(command, "check", option, 0)


def test_bench(command):
    message = tried(command, "bench", "--compute-dtype", "bfloat16", "--backend", "numpy")
    assert "does not train in bfloat16, it has float16; take another --backend, torch or jax" in message


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_line(command):
    done = command("train", "--iterations", 1, "--tf32", "--no-plot", "--backend", "numpy", "--out", "run")
    assert "Warning: --tf32 changes nothing: " in done.output
    assert ".py:" not in done.output


@pytest.fixture
def networks(tmp_path):
    """Those that export has something to say of."""
    Sequential([Conv2d(3, 2, 3), ReLU(), GlobalAvgPool2d(), Affine(2, 3)], backend="numpy").save(tmp_path / "images")
    Sequential([Affine(784, 1)], MeanSquaredError(), backend="numpy").save(tmp_path / "numbers")
    TwoLayerNet(784, 3, 10, backend="numpy").save(tmp_path / "digits")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("images a.onnx", "give it without the axis of samples: --shape 1,28,28, for example"),
        ("images a.onnx --shape 3,0,3", "--shape[1] is 0, expected a whole number, 1 or more, or any"),
        ("images a.onnx --shape any,3,3", "--shape is (any, 3, 3), any being any length"),
        ("images a.onnx --shape 3", "a sample of shape (3,) does not fit, expected (3, H, W)"),
        ("numbers a.onnx --softmax", "--softmax is for networks that are trained with SoftmaxWithLoss"),
        ("digits a.txt", "OUT is 'a.txt', expected the name of a file that ends with .onnx"),
        ("digits a.onnx --classes a,b", "--classes has 2 names"),
    ],
)
def test_export(arguments, words, networks, command):
    pytest.importorskip("onnx")
    assert words in tried(command, "export", *arguments.split(), "--no-verify")


def test_layers_of_ones_own(command, tmp_path):
    Sequential([Affine(784, 10), type("Mine", (ReLU,), {})()], backend="numpy").save(tmp_path / "mine")
    assert "are read in Python, by load_network(path, kinds=[MyLayer])" in command("evaluate", "mine").output


def test_what_python_shows_is_left_as_it_is():
    command = click.Command("c", params=[click.Option(["--lr"]), click.Option(["--fast/--slow"])])
    with click.Context(command):
        assert in_options("SGD(lr='a', fast=True) takes lr='a'") == "SGD(lr='a', fast=True) takes --lr a"
        assert in_options("a name=True of none") == "a name=True of none"
    assert in_options("lr=True") == "lr=True"
