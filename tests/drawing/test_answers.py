"""What is told of a drawing is what the network computes of it."""

from __future__ import annotations

import base64
from functools import partial

import numpy as np
import pytest
from PIL import Image

from xpnet import DeepConvNet, MultiLayerNet, ResNet, Sequential, SimpleConvNet, TwoLayerNet
from xpnet.datasets.digit_images import read_digit
from xpnet.drawing.answers import Answers, NoAnswerError, picture_of
from xpnet.functions import softmax
from xpnet.layers import Affine, BatchNorm, Chain, Conv2d, Flatten, ReLU, Reshape, Tanh

NETWORKS = {
    "two": partial(TwoLayerNet, 784, 7, 10, weight_init_std=0.1),
    "multi": partial(MultiLayerNet, 784, [9, 8], 10, activation="tanh", dropout=0.5),
    "simple": partial(SimpleConvNet, conv_param={"filter_num": 2}, hidden_size=5, weight_init_std=0.1),
    "deep": partial(DeepConvNet, hidden_size=6),
    "residual": partial(ResNet, (1, 28, 28), channels=(3, 4), blocks=1),
    "reshaped": lambda **where: Sequential(
        [Reshape((1, 28, 28)), Conv2d(1, 2, 5, 3), BatchNorm(2), Tanh(), Flatten(), Affine(128, 3)], **where
    ),
}


def cross(side=280):
    """A drawing as the page sends it."""
    ink = np.zeros((side, side), np.uint8)
    ink[side // 5 : 4 * side // 5, side // 2 - side // 14 : side // 2 + side // 14] = 255
    ink[side // 4 : side // 3, side // 4 : 3 * side // 4] = 255
    return ink


def values(told):
    """The values of a layer or of reasons, as the page reads them."""
    levels = np.frombuffer(base64.b64decode(told["values"]), np.int8)
    return levels / 127 * told["largest"]


def as_taken(net, drawing):
    pixels = picture_of(drawing.tobytes()).astype(net_dtype(net)) / 255
    return pixels.reshape(1, *Answers(net).shape)


def net_dtype(net):
    return net.backend.to_numpy(next(iter(net.params.values()))).dtype


@pytest.mark.parametrize("kind", NETWORKS)
def test_probabilities_are_those_of_the_network(kind, backend):
    net = NETWORKS[kind](seed=0, backend=backend)
    told = Answers(net).answer(cross().tobytes())
    scores = backend.to_numpy(net.predict(backend.asarray(as_taken(net, cross()))))
    np.testing.assert_allclose(told["probabilities"], softmax(scores)[0], rtol=1e-4, atol=1e-6)
    assert told["answer"] == np.argmax(scores)
    assert told.keys() == {"seen", "answer", "probabilities"}


@pytest.mark.parametrize("chosen", [-1, 1])
@pytest.mark.parametrize("kind", ["two", "multi", "simple", "residual", "reshaped"])
def test_reasons_are_the_derivative_of_the_score(kind, chosen, training_backend):
    net = NETWORKS[kind](seed=0, backend=training_backend, dtype="float64")
    drawing = np.zeros((28, 28), np.uint8)  # of many shades, so that no two places of a pool are equal
    drawing[4:24, 4:24] = np.random.default_rng(4).integers(1, 256, (20, 20))
    told = Answers(net).answer(drawing.tobytes(), reasons=chosen)
    x = as_taken(net, drawing)
    reasons = told["reasons"]
    assert reasons["class"] == (told["answer"] if chosen < 0 else chosen)

    def score(direction, h):
        moved = training_backend.asarray(x + h * direction)
        return float(training_backend.to_numpy(net.predict(moved))[0, reasons["class"]])

    rng, h = np.random.default_rng(3), 1e-7
    for _ in range(3):
        direction = rng.normal(size=x.shape) * (x > 0)  # where there is no ink, a ReLU may be at its kink
        slope = (score(direction, h) - score(direction, -h)) / (2 * h)
        # each of the values is told to 1 / 254 of the largest
        noise = reasons["largest"] / 254 * np.sqrt(784 / 3)
        assert abs(values(reasons) @ direction.ravel() - slope) < 5 * noise


def test_reasons_of_two_layers_in_closed_form():
    net = NETWORKS["two"](seed=0, backend="numpy")
    reasons = Answers(net).answer(cross().tobytes(), reasons=4)["reasons"]
    W1, b1, W2 = net.params["W1"], net.params["b1"], net.params["W2"]
    expected = W1 @ (((as_taken(net, cross()) @ W1 + b1)[0] > 0) * W2[:, 4])
    np.testing.assert_allclose(values(reasons), expected, atol=reasons["largest"] / 250)


SHOWN = {
    "two": [("Affine1, Relu1", [7])],
    "multi": [("Affine1, Tanh1", [9]), ("Affine2, Tanh2", [8])],
    "simple": [("Conv1, Relu1", [2, 24, 24]), ("Pool1", [2, 12, 12]), ("Affine1, Relu2", [5])],
    "residual": [
        ("Conv1, BatchNorm1, Relu1", [3, 28, 28]),
        ("Residual1, Relu2", [3, 28, 28]),
        ("Add1, Relu3", [4, 14, 14]),
        ("GlobalAvgPool1", [4]),
    ],
    "reshaped": [("Conv1, BatchNorm1, Tanh1", [2, 8, 8])],
}


@pytest.mark.parametrize("kind", SHOWN)
def test_layers_are_shown_behind_their_activations(kind, backend):
    net = NETWORKS[kind](seed=0, backend=backend)
    answers = Answers(net)
    layers = answers.about()["layers"]
    assert [(each["name"], list(each["shape"])) for each in layers] == SHOWN[kind]
    assert answers.about()["classes"] == (3 if kind == "reshaped" else 10)
    for each in layers:
        told = answers.answer(cross().tobytes(), each["name"])["layer"]
        last = each["name"].rpartition(", ")[2]
        front = list(net.layers)[: list(net.layers).index(last) + 1]
        inside = Chain(*(net.layers[name] for name in front))
        with backend.current():
            y = inside.predict(net.params | net.buffers, net.as_floating(backend.asarray(as_taken(net, cross()))))
        expected = backend.to_numpy(y)[0].ravel()
        np.testing.assert_allclose(values(told), expected, atol=told["largest"] / 250 + 1e-12)
        assert told["largest"] == pytest.approx(np.abs(expected).max(), rel=1e-5)


def test_of_many_units_the_first_are_told():
    net = Sequential([Conv2d(1, 70, 28), ReLU(), Flatten(), Affine(70, 1500), ReLU(), Affine(1500, 2)], backend="numpy")
    maps, units = Answers(net).about()["layers"]
    assert (maps["shape"], maps["of"]) == ((64, 1, 1), 70)
    assert (units["shape"], units["of"]) == ((1024,), 1500)
    assert values(Answers(net).answer(cross().tobytes(), units["name"])["layer"]).shape == (1024,)


def test_a_drawing_is_seen_as_xpnet_predict_sees_a_file_of_it(tmp_path):
    Image.fromarray(cross()).save(tmp_path / "cross.png")
    np.testing.assert_array_equal(picture_of(cross().tobytes()), read_digit(tmp_path / "cross.png").pixels)


def test_a_digit_of_mnist_is_seen_as_it_is(digits):
    for row in digits[1][0][:50]:
        pixels = np.rint(row * 255).astype(np.uint8)
        np.testing.assert_array_equal(picture_of(pixels.tobytes()), pixels.reshape(28, 28))


def test_seen_is_told(digits):
    drawing = np.rint(digits[1][0][0] * 255).astype(np.uint8).tobytes()
    told = Answers(TwoLayerNet(784, 3, 10, backend="numpy")).answer(drawing)
    assert base64.b64decode(told["seen"]) == drawing


@pytest.mark.parametrize(
    ("drawing", "layer", "reasons", "why"),
    [
        (bytes(784), None, None, "nothing is drawn"),
        (bytes(78_400), None, None, "nothing is drawn"),
        (b"", None, None, r"0 bytes; expected one for each pixel of 28 x 28 or 280 x 280"),
        (b"\1" * 783, None, None, "783 bytes"),
        (b"\1" * 784, "Relu9", None, "nothing called 'Relu9' to show; there is: Affine1, Relu1"),
        (b"\1" * 784, None, 10, "class 10 is none of 0 to 9"),
        (b"\1" * 784, None, -2, "class -2"),
    ],
)
def test_what_has_no_answer_is_refused(drawing, layer, reasons, why):
    with pytest.raises(NoAnswerError, match=why):
        Answers(TwoLayerNet(784, 3, 10, backend="numpy")).answer(drawing, layer, reasons)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(bad, training_backend):
    net = TwoLayerNet(784, 3, 10, backend=training_backend)
    b2 = np.zeros(10, "float32")
    b2[4:6] = bad
    net.params["b2"] = training_backend.asarray(b2)
    with pytest.raises(ValueError, match="2 of 10 numbers of b2 are NaN or infinite"):
        Answers(net)


def test_scores_that_overflow_are_no_answer():
    net = TwoLayerNet(784, 3, 10, backend="numpy")
    net.params["W1"] = np.full((784, 3), 1e30, "float32")
    net.params["W2"] = np.full((3, 10), 1e30, "float32")
    with pytest.raises(ValueError, match="not finite: its weights are too large"):
        Answers(net).answer(cross().tobytes())


@pytest.mark.parametrize("sizes", [(100, 3, 10), (784, 3, 1), (784, 3, 65)])
def test_networks_of_another_kind_are_refused(sizes):
    with pytest.raises(ValueError, match="2 to 64 classes of pictures of 28 x 28"):
        Answers(TwoLayerNet(*sizes, backend="numpy"))


def test_a_network_may_be_one_layer():
    answers = Answers(Sequential([Affine(784, 4)], backend="numpy"))
    assert answers.about() == {"classes": 4, "layers": []}
    assert len(answers.answer(cross().tobytes(), reasons=-1)["probabilities"]) == 4
