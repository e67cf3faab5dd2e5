"""``xpnet export``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx_files import metadata

from xpnet import SGD, ResNet, Sequential, SimpleConvNet, Trainer, TwoLayerNet, load_network
from xpnet.layers import Affine, Function

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def test_what_train_left(command, some_digits):
    assert command("train", "--iterations", "20", "--out", "run", "--no-plot", "--quiet").exit_code == 0
    done = command("export", "run/weights.safetensors", "digits.onnx", "--softmax", "--uint8")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("digits.onnx: 6 nodes, ")
    assert "differs by at most" in done.output
    x = np.rint(some_digits[1][0][:5] * 255).astype(np.uint8)
    (y,) = onnxruntime.InferenceSession("digits.onnx").run(["probabilities"], {"x": x})
    scores = load_network("run/weights.safetensors", backend="numpy").predict(x / np.float32(255))
    assert (y.argmax(axis=1) == scores.argmax(axis=1)).all()
    found = metadata("digits.onnx")
    assert json.loads(found["classes"]) == [*"0123456789"]
    training = json.loads(found["training"])
    assert training["settings"]["iterations"] == 20
    assert training["result"]["iteration"] == 20


def test_a_checkpoint_tells_of_its_training(command, rng):
    net = TwoLayerNet(4, 3, 2, seed=0, backend="numpy")
    trainer = Trainer(net, SGD(lr=0.25), batch_size=5, seed=0)
    trainer.fit(rng.normal(size=(10, 4)).astype("float32"), np.arange(10) % 2, iterations=3, progress=False)
    trainer.save("checkpoint.safetensors")
    assert command("export", "checkpoint.safetensors", "net.onnx", "--classes", "cat,犬").exit_code == 0
    found = metadata("net.onnx")
    training = json.loads(found["training"])
    assert (training["optimizer"]["lr"], training["iteration"], training["batch_size"]) == (0.25, 3, 5)
    assert "rng" not in training
    assert json.loads(found["classes"]) == ["cat", "犬"]


def test_networks_of_images(command):
    SimpleConvNet(conv_param={"filter_num": 3}, hidden_size=6, seed=0, backend="numpy").save("a.safetensors")
    assert command("export", "a.safetensors", "a.onnx", "--dtype", "float16").exit_code == 0  # a digit is as told
    assert onnxruntime.InferenceSession("a.onnx").get_inputs()[0].shape == ["N", 1, 28, 28]
    net = ResNet((3, 8, 8), channels=[3], seed=0, backend="numpy")
    net.save("b.safetensors")
    assert command("export", "b.safetensors", "d.onnx", "--no-verify").exit_code == 0
    assert onnxruntime.InferenceSession("d.onnx").get_inputs()[0].shape == ["N", 3, 8, 8]
    Sequential([*net.layers.values()], seed=0, backend="numpy").save("b.safetensors")
    done = command("export", "b.safetensors", "b.onnx")
    assert (done.exit_code, "--shape 1,28,28, for example" in done.output) == (1, True)
    assert command("export", "b.safetensors", "b.onnx", "--shape", "3,8,8", "--no-verify").output.endswith(
        "; not verified\n"
    )
    assert onnxruntime.InferenceSession("b.onnx").get_inputs()[0].shape == ["N", 3, 8, 8]
    assert command("export", "b.safetensors", "c.onnx", "--shape", "3,any,any").exit_code == 0
    assert onnxruntime.InferenceSession("c.onnx").get_inputs()[0].shape == ["N", 3, "H", "W"]
    done = command("export", "b.safetensors", "d.onnx", "--shape", "3x8")
    assert (done.exit_code, "'3x8' is not the shape of a sample: 784, or 1,28,28" in done.output) == (2, True)
    assert "training" not in metadata("b.onnx")


def test_a_file_that_is_there(command, tmp_path):
    TwoLayerNet(784, 5, 10, backend="numpy").save("weights.safetensors")
    (tmp_path / "net.onnx").write_text("mine")
    done = command("export", "weights.safetensors", "net.onnx")
    assert (done.exit_code, done.output) == (
        1,
        "Error: net.onnx is there already; give another name, or --overwrite\n",
    )
    assert (tmp_path / "net.onnx").read_text() == "mine"
    assert command("export", "weights.safetensors", "net.onnx", "--overwrite").exit_code == 0


def test_errors_are_one_line(command):
    TwoLayerNet(784, 5, 10, backend="numpy").save("weights.safetensors")
    Sequential([Affine(4, 3), Function(lambda x: x)], backend="numpy").save("own.safetensors")
    for arguments, message in {
        ("nothing.safetensors", "a.onnx"): "No such file",
        ("own.safetensors", "a.onnx"): "Layers and losses of your own",
        ("weights.safetensors", "a.txt"): "ends with .onnx",
        ("weights.safetensors", "nowhere/a.onnx"): "there is no folder for this file",
        ("weights.safetensors", "a.onnx", "--classes", "a,b"): "classes has 2 names",
        ("weights.safetensors", "a.onnx", "--shape", "3,8"): "a sample of shape (3, 8)",
    }.items():
        done = command("export", *arguments)
        assert done.exit_code == 1
        assert message in done.output
        assert done.output.count("\n") == 1


def test_a_place_in_the_home_folder(command, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    TwoLayerNet(784, 5, 10, backend="numpy").save(tmp_path / "weights.safetensors")
    (tmp_path / "net.onnx").write_text("mine")
    done = command("export", "~/weights.safetensors", "~/net.onnx")
    assert (done.exit_code, "net.onnx is there already" in done.output) == (1, True)
    assert (tmp_path / "net.onnx").read_text() == "mine"


def test_blanks_between_names_and_lengths(command):
    ResNet((3, 8, 8), channels=[3], output_size=2, seed=0, backend="numpy").save("net.safetensors")
    done = command("export", "net.safetensors", "net.onnx", "--shape", "3, any, any", "--classes", "a cat, a dog")
    assert done.exit_code == 0, done.output
    assert json.loads(metadata("net.onnx")["classes"]) == ["a cat", "a dog"]
