"""Networks of convolutions on the command line: trained, gone on with, evaluated, checked, and asked for digits."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from xpnet import DeepConvNet, ResNet, Sequential, SimpleConvNet, TwoLayerNet, load_network
from xpnet.cli import common
from xpnet.layers import Affine, Conv2d, Flatten, GlobalAvgPool2d

KINDS = {"simple-convnet": SimpleConvNet, "deep-convnet": DeepConvNet, "resnet": ResNet}
FEW = 60


@pytest.fixture
def few(command, some_digits, monkeypatch):
    """``command`` with so few digits that a deep network goes through them in no time."""
    (x, t), (x_test, t_test) = some_digits
    digits = (x[: 2 * FEW], t[: 2 * FEW]), (x_test[:FEW], t_test[:FEW])
    usual = common.mnist  # of all that a command is given
    monkeypatch.setattr(common, "mnist", partial(usual.func, digits))
    return command


@pytest.mark.parametrize("model", KINDS)
def test_it_is_trained_resumed_and_evaluated(model, few, tmp_path):
    out = tmp_path / "run"
    options = ["--model", model, "--iterations", "2", "--batch-size", "20", "--checkpoint-every", "1", "--out", out]
    done = few("train", *options)
    assert (done.exit_code, done.exception) == (0, None), done.output
    title = next(line for line in done.output.splitlines() if "parameters on numpy" in line)
    assert title.startswith(KINDS[model].__name__)
    assert "Adam(lr=0.001)" in title
    notes = json.loads((out / "history.json").read_text())["settings"]
    assert (notes["model"], notes["optimizer"]) == (model, "adam")
    net = load_network(out / "weights.safetensors", backend="numpy")
    assert type(net) is KINDS[model]
    done = few("train", "--resume", out, "--iterations", "3", "--no-plot")
    assert done.exit_code == 0, done.output
    assert "after 3 iterations" in done.output
    done = few("evaluate", out / "weights.safetensors")
    assert done.exit_code == 0, done.output
    assert json.loads((out / "report.json").read_text())["split"] == "test"
    assert (out / "mistakes.png").is_file()


def test_scores_are_those_of_the_network(some_digits):
    (x, _), _ = some_digits
    for net in (SimpleConvNet(seed=0, backend="numpy"), TwoLayerNet(784, 5, 10, seed=0, backend="numpy")):
        shaped = x[:50].reshape(50, 1, 28, 28) if isinstance(net, SimpleConvNet) else x[:50]
        np.testing.assert_allclose(common.scores(net, x[:50]), net.predict(shaped), rtol=1e-6)


def test_it_says_which_digits_are_in_images(few, tmp_path, some_digits):
    image = pytest.importorskip("PIL.Image", reason="images are read with Pillow")
    net = SimpleConvNet(seed=0, weight_init_std="he", backend="numpy")
    net.save(tmp_path / "weights.safetensors")
    pixels = (255 * some_digits[1][0][0].reshape(28, 28)).astype("uint8")
    image.fromarray(pixels).save(tmp_path / "digit.png")
    done = few("predict", tmp_path / "weights.safetensors", tmp_path / "digit.png", "--format", "json")
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.output)
    assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert row["digit"] == int(np.argmax(row["probabilities"]))


def test_check_takes_a_network_of_convolutions(few):
    done = few("check", "--model", "simple-convnet", "--hidden", "5", "--samples", "1", "--mode", "directional")
    assert done.exit_code == 0, done.output
    assert "SimpleConvNet" in done.output
    assert "passed: directional" in done.output


def test_hidden_units_are_those_asked_for(few, tmp_path):
    done = few("train", "--model", "simple-convnet", "--hidden", "7", "--iterations", "1", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    net = load_network(tmp_path / "run" / "weights.safetensors", backend="numpy")
    assert net.params["W3"].shape == (7, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "lenet"], "'lenet' is not one of"),
        (
            ["--model", "simple-convnet", "--hidden", "5,4"],
            "--hidden is (5, 4); simple-convnet has one layer of hidden",
        ),
        (["--model", "resnet", "--hidden", "5"], "--hidden is (5,); resnet has no hidden units"),
        (["--model", "deep-convnet", "--dropout", "0.2"], "--dropout is for --model two-layer; deep-convnet has what"),
    ],
)
def test_what_a_model_does_not_take_is_refused(options, message, few):
    done = few("train", *options, "--iterations", "1")
    assert done.exit_code in (1, 2)
    assert message in done.output
    assert isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    "layers",
    [
        [Conv2d(3, 4, 3), GlobalAvgPool2d(), Affine(4, 10)],
        [Conv2d(1, 4, 3), GlobalAvgPool2d(), Affine(4, 3)],
        [Flatten(), Affine(100, 10)],
    ],
    ids=["colours", "three classes", "other images"],
)
def test_a_network_of_other_images_is_refused(layers, few, tmp_path):
    Sequential(layers, seed=0, backend="numpy").save(tmp_path / "weights")
    done = few("evaluate", tmp_path / "weights")
    assert done.exit_code == 1
    assert "does not make 10 scores (digits) of 784 inputs or of images (1, 28, 28)" in done.output
