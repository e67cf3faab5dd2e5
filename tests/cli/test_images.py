"""``xpnet predict`` and ``xpnet evaluate``: what they say, what they write, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from xpnet import SGD, Trainer, TwoLayerNet, metrics
from xpnet.cli import common
from xpnet.functions import softmax
from xpnet.models import network

FILES = ["confusion.png", "mistakes.png", "report.json", "weights.safetensors"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def trained(digits):
    net = TwoLayerNet(784, 20, 10, seed=0, backend="numpy")
    Trainer(net, SGD(lr=0.1), seed=0).fit(*(a[:6000] for a in digits[0]), iterations=300)
    return net


@pytest.fixture(scope="module")
def some_digits(digits):
    return tuple(tuple(a[:n] for a in split) for split, n in zip(digits, (700, 500), strict=True))


@pytest.fixture
def command(command, tmp_path, trained):
    """``command(*arguments)``, in a folder with weights in it."""
    trained.save(tmp_path / "weights.safetensors")
    return command


@pytest.fixture
def pictures(digits, tmp_path):
    """Three digits, one of them as ink on paper."""
    pixels = np.rint(digits[1][0][:3] * 255).astype(np.uint8).reshape(3, 28, 28)
    names = ["a.png", "b.png", "a_name_that_is_too_long_for_a_line.png"]
    for name, image in zip(names, (pixels[0], 255 - pixels[1], pixels[2]), strict=True):
        Image.fromarray(image).save(tmp_path / name)
    return names


def where(backend):
    return ["--backend", backend.name, *([] if backend.name in ("numpy", "jax") else ["--device", backend.device_name])]


def test_predict_tells_the_probabilities_of_the_network(backend, command, pictures, digits, trained):
    done = command("predict", "weights.safetensors", *pictures, *where(backend), "--format", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert [row["image"] for row in found] == pictures
    assert [row["seen"] for row in found] == [
        f"28x28, {s}" for s in ("light on dark", "dark on light, inverted", "light on dark")
    ]
    expected = softmax(trained.predict(digits[1][0][:3]))
    np.testing.assert_allclose([row["probabilities"] for row in found], expected, atol=1e-5)
    assert [row["digit"] for row in found] == expected.argmax(axis=1).tolist()


def test_a_checkpoint_predicts_as_the_weights_do(command, pictures, trained, tmp_path):
    Trainer(common.on_bytes(trained), SGD(lr=0.1), seed=0).save(tmp_path / "checkpoint.safetensors")
    told = [command("predict", f"{name}.safetensors", *pictures).output for name in ("weights", "checkpoint")]
    assert told[0] == told[1]


def test_the_table_of_predict_fits_100_columns(command, pictures):
    done = command("predict", "weights.safetensors", *pictures)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == ["image", "seen", "digit", *map(str, range(10))]
    assert lines[2].startswith("a.png ")
    assert "light on dark" in lines[2]
    assert "dark on light" in lines[3]
    assert lines[4].startswith("…_for_a_line.png ")
    assert lines[2].split()[4] == "7"
    assert sum(map(float, lines[2].split()[5:])) == pytest.approx(1, abs=0.05)


def test_an_image_that_cannot_be_read_does_not_stop_the_others(command, pictures, tmp_path):
    (tmp_path / "text.png").write_text("a seven")
    Image.new("L", (9, 9), 255).save(tmp_path / "blank.png")
    bad = ["text.png", "missing.png", "blank.png"]
    done = command("predict", "weights.safetensors", bad[0], pictures[0], *bad[1:], pictures[0], "--format", "json")
    assert done.exit_code == 1
    assert [row["image"] for row in json.loads(done.stdout)] == [pictures[0]] * 2
    errors = done.stderr.splitlines()
    assert [name in line and line.startswith("Error: ") for name, line in zip(bad, errors, strict=True)] == [True] * 3
    done = command("predict", "weights.safetensors", "missing.png")
    assert (done.exit_code, done.stdout) == (1, "")


@pytest.mark.parametrize("name", ["predict", "evaluate"])
def test_what_is_no_network_for_digits_is_refused(name, command, pictures, tmp_path):
    more = pictures[:1] if name == "predict" else []
    TwoLayerNet(4, 3, 10).save(tmp_path / "small.safetensors")
    TwoLayerNet(784, 3, 2).save(tmp_path / "two.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    broken = TwoLayerNet(784, 3, 10)
    broken.params["b2"] = broken.params["b2"] * np.float32(np.nan)
    broken.save(tmp_path / "nan.safetensors")
    for file, words in {
        "small.safetensors": "does not make 10 scores (digits) of 784 inputs or of images (1, 28, 28)",
        "two.safetensors": "does not make 10 scores (digits) of 784 inputs",
        "text.safetensors": "text.safetensors",
        "missing.safetensors": "missing.safetensors",
        "nan.safetensors": "what the network predicts has",
    }.items():
        done = command(name, file, *more)
        assert (done.exit_code, type(done.exception)) == (1, SystemExit), file
        assert words in done.stderr
        assert done.stderr.startswith("Error: ")
    assert not (tmp_path / "report.json").exists()


def test_evaluate_tells_and_writes_the_report(backend, command, tmp_path, digits, trained):
    done = command("evaluate", "weights.safetensors", *where(backend))
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    x, t = digits[1]
    report = metrics.report(trained.predict(x[:500]), t[:500])
    assert str(report) in done.output
    assert f"{backend.name} ({backend.device_name}), 500 test digits" in done.output
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["split"] == "test"
    assert {name: stored[name] for name in report.to_dict()} == report.to_dict()
    rows = done.output.split("→ 9\n")[1].splitlines()[1:11]
    assert [list(map(int, row.split()[1:])) for row in rows] == [list(row) for row in report.matrix]
    for name in ("confusion.png", "mistakes.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)
        assert name in done.output


def test_evaluate_the_digits_it_was_trained_on_into_another_folder(command, tmp_path, digits, trained):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("precious")
    (tmp_path / "out" / "report.json").write_text("earlier")
    done = command("evaluate", "weights.safetensors", "--split", "train", "--out", "out", "--no-plot")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["notes.txt", "report.json"]
    assert (tmp_path / "out" / "notes.txt").read_text() == "precious"
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    (x, t), _ = digits
    assert (stored["split"], sum(stored["support"])) == ("train", 700)
    assert stored["accuracy"] == trained.accuracy(x[:700], t[:700])


def test_weights_in_float64_are_used_as_they_are(command, pictures, tmp_path, digits):
    net = TwoLayerNet(784, 5, 10, seed=1, dtype="float64", weight_init_std=0.1)
    net.save(tmp_path / "wide.safetensors")
    done = command("predict", "wide.safetensors", pictures[0], "--format", "json")
    expected = softmax(net.predict(digits[1][0][:1].astype("float64")))
    np.testing.assert_allclose(json.loads(done.output)[0]["probabilities"], expected[0], rtol=1e-6)
    assert command("evaluate", "wide.safetensors", "--no-plot").exit_code == 0


def test_many_digits_go_through_in_parts(command, monkeypatch, trained, digits):
    monkeypatch.setattr(network, "CHUNK", 7)
    x = digits[1][0][:20]
    np.testing.assert_allclose(common.scores(trained, x), trained.predict(x), atol=1e-5)


@pytest.mark.parametrize(
    ("missing", "arguments", "status", "words"),
    [
        ("matplotlib", ["evaluate", "weights.safetensors"], 0, 'pip install "xpnet[plot]"'),
        ("PIL", ["predict", "weights.safetensors", "a.png"], 1, 'pip install "xpnet[images]"'),
    ],
)
def test_without_an_extra_it_says_which(missing, arguments, status, words, command, pictures, tmp_path):
    assert command("evaluate", "weights.safetensors", "--no-plot").exit_code == 0  # there is something to find
    code = f"import sys; sys.modules[{missing!r}] = None; from xpnet.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "mistakes.png").exists()


def test_a_folder_that_cannot_be_written_is_told(command, tmp_path):
    (tmp_path / "file").write_text("precious")
    done = command("evaluate", "weights.safetensors", "--out", "file")
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert done.stderr.startswith("Error: ")
    assert (tmp_path / "file").read_text() == "precious"
