"""What cannot be exported, and what is said of it; what was there before stays."""

from __future__ import annotations

import re

import numpy as np
import pytest

from xpnet import Sequential, TwoLayerNet
from xpnet.layers import GELU, Affine, BatchNorm, Chain, Concat, Dropout, Embedding, Rescale, Softmax
from xpnet.losses import MeanSquaredError, SigmoidWithLoss

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["W1", "BatchNorm1.var"])
def test_weights_that_are_not_finite(value, name, path):
    net = Sequential([Affine(4, 3), BatchNorm(3)], backend="numpy")
    (net.params if name in net.params else net.buffers)[name][..., 0] = value
    with pytest.raises(ValueError, match=rf"^{name} has \d numbers that are NaN or infinite"):
        net.export(path, verify=False)
    assert not path.exists()


def test_numbers_that_float16_does_not_have(path):
    net = TwoLayerNet(4, 3, 2, backend="numpy")
    net.params["W2"][0, 1] = 1e5
    with pytest.raises(ValueError, match=r"W2 has numbers up to 1e.05, and float16 none over 6.55e.04; dtype='float"):
        net.export(path, dtype="float16")
    layers = [Rescale(2**-17), Affine(4, 3)]
    with pytest.raises(ValueError, match=r"Rescale1.divisor is 131072.0, which is infinite in float16"):
        Sequential(layers, backend="numpy").export(path, dtype="float16")


def test_numbers_inside_that_float16_does_not_have(path):
    net = Sequential([Affine(4, 30), Affine(30, 3)], seed=0, backend="numpy", weight_init=300.0)
    net.export(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"apart, in results .*nothing was written; .*float16"):
        net.export(path, dtype="float16")
    assert path.read_bytes() == before


def test_operators_that_the_runtime_does_not_have(path):
    net = Sequential([Affine(4, 3), GELU(exact=True)], seed=0, dtype="float64", backend="numpy")
    with pytest.raises(
        ValueError, match=r"cannot compute the file: .*few operators in float64; .*dtype='float32', or with"
    ):
        net.export(path)
    assert not path.exists()
    assert net.export(path, verify=False).difference is None
    assert net.export(path, dtype="float32").difference < 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "dtype is 'int8', expected one of float16, float32, float64"),
        ({"dtype": "half"}, None),  # which is NumPy's name of float16
        ({"dtype": object()}, "dtype is <object"),
        ({"softmax": 1}, "softmax is 1, expected True or False"),
        ({"uint8": "yes"}, "uint8 is 'yes', expected True or False"),
        ({"verify": "yes"}, "verify is 'yes', expected True or False"),
        ({"input_shape": 4}, r"input_shape is 4, expected that of one sample: (784,)"),
        ({"input_shape": (4, 0)}, "input_shape[1] is 0, expected a whole number, 1 or more"),
        ({"input_shape": (5,)}, "Affine1: a sample of shape (5,) does not fit, expected 4 elements"),
        ({"classes": "ab"}, "classes is 'ab', expected a name for each score, in order: ['cat', 'dog']"),
        ({"classes": {"a", "b"}}, "expected a name for each score, in order"),
        ({"classes": {"a": 1, "b": 0}}, "expected a name for each score, in order"),
        ({"classes": ["a", "\udcff"]}, r"classes has '\udcff', which cannot be written in UTF-8"),
        ({"metadata": {"year": "\ud800"}}, r"metadata has '\ud800', which cannot be written in UTF-8"),
        ({"classes": 2}, "classes is 2, expected a name for each score"),
        ({"classes": ["a", "b", "c"]}, "classes has 3 names, and the network gives scores of shape (2,)"),
        ({"classes": ["a", "a"]}, "classes has 'a' twice"),
        ({"metadata": "me"}, "metadata is 'me', expected texts by name"),
        ({"metadata": {"year": 2016}}, "metadata is {'year': 2016}, expected texts by name"),
        ({"metadata": {"xpnet": "me"}}, "metadata has 'xpnet', under which xpnet writes itself"),
    ],
)
def test_options(options, message, path):
    net = TwoLayerNet(4, 3, 2, backend="numpy")
    if message is None:
        net.export(path, **options)
        return
    with pytest.raises(ValueError, match=re.escape(message)):
        net.export(path, **options)
    assert not path.exists()


@pytest.mark.parametrize(
    ("layers", "loss", "options", "message"),
    [
        ([Affine(4, 3), Softmax()], None, {"softmax": True}, "the last layer is a Softmax already"),
        ([Chain(Affine(4, 3), Softmax()), Dropout(0.5)], None, {"softmax": True}, "is a Softmax already"),
        (
            [Concat(Affine(4, 3), Rescale(0.1))],
            None,
            {"uint8": True},
            "one branch .* has a Rescale and another",
        ),
        ([Affine(4, 3)], SigmoidWithLoss(), {"softmax": True}, "the loss of this one is SigmoidWithLoss; leave it"),
        ([Affine(4, 3)], MeanSquaredError(), {"softmax": True}, "the loss of this one is MeanSquaredError"),
        ([Embedding(4, 3)], None, {"uint8": True, "input_shape": ()}, "uint8=True is for images of bytes"),
    ],
    ids=repr,
)
def test_options_that_do_not_fit_the_network(layers, loss, options, message, path):
    with pytest.raises(ValueError, match=message):
        Sequential(layers, loss, backend="numpy").export(path, **options)


@pytest.mark.parametrize("name", ["net.onx", "net", "net.onnx.gz", ".onnx"])
def test_another_suffix(name, tmp_path):
    with pytest.raises(ValueError, match=r"expected the name of a file that ends with .onnx: 'digits.onnx'"):
        TwoLayerNet(4, 3, 2, backend="numpy").export(tmp_path / name)
    assert not [*tmp_path.iterdir()]


def test_places_where_no_file_can_be(tmp_path):
    net = TwoLayerNet(4, 3, 2, backend="numpy")
    with pytest.raises(FileNotFoundError, match=r"there is no folder for this file.*net.onnx"):
        net.export(tmp_path / "nowhere" / "net.onnx")
    (tmp_path / "net.onnx").mkdir()
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        net.export(tmp_path / "net.onnx")
    with pytest.raises(TypeError, match=r"path is 3, expected text or a pathlib.Path"):
        net.export(3)


def test_more_than_a_file_holds(path, monkeypatch):
    from xpnet.onnx import model

    monkeypatch.setattr(model, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match=r"the weights take 104 bytes, and a file of ONNX holds 100"):
        Sequential([Affine(12, 2)], backend="numpy").export(path)
    assert not path.exists()


def test_what_is_no_network(path):
    from xpnet.onnx import export

    with pytest.raises(TypeError, match="net is 'net', expected a network"):
        export("net", path)
