"""Verification: a file is compared with the network before it is there."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest

from xpnet import Sequential, TwoLayerNet
from xpnet.layers import GELU, Affine, Flatten, GraphLayer, LeakyReLU, Tanh

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@dataclass(frozen=True)
class Single(GraphLayer):
    """A layer that is written for one dtype."""

    def apply(self, params, x):
        if x.dtype != np.float32:
            raise TypeError("float32 is all that it takes")
        return x * 2

    def output_shape(self, shape):
        return shape


def test_it_says_what_it_saw(path):
    written = TwoLayerNet(4, 3, 2, seed=0, backend="numpy").export(path, verify=True)
    assert written.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert written.difference <= 1e-6 * written.largest
    assert re.fullmatch(
        r".*net.onnx: 3 nodes, [\d,]+ bytes, opset 20, IR 9; onnxruntime \S+ differs by at most \S+ from results up "
        r"to \S+, on 1, 2 and 7 samples",
        str(written),
    )
    assert str(TwoLayerNet(4, 3, 2, backend="numpy").export(path, verify=False)).endswith("IR 9; not verified")


@pytest.mark.parametrize("softmax", [False, True])
def test_a_file_that_computes_something_else_is_not_written(softmax, path, monkeypatch):
    from xpnet.onnx import RULES

    def other_form(place, layer, x):  # of the two forms of GELU: they differ by less than 5e-4
        return place.node("Gelu", x, approximate="none")

    net = Sequential([Affine(20, 50), GELU(), Affine(50, 5)], seed=0, backend="numpy")
    net.export(path, softmax=softmax)
    before = path.read_bytes()
    monkeypatch.setitem(RULES, GELU, other_form)
    with pytest.raises(ValueError, match=r"and more than .* is no rounding; nothing was written"):
        net.export(path, softmax=softmax)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    net.export(path, softmax=softmax, verify=False)
    assert path.read_bytes() != before


def test_a_number_of_samples_that_stands_in_the_file_is_seen(path, monkeypatch):
    from xpnet.onnx import RULES

    def one_sample(place, layer, x):
        return place.node("Reshape", x, place.constant("shape", [1, 12], "int64"))

    monkeypatch.setitem(RULES, Flatten, one_sample)
    net = Sequential([Flatten(), Affine(12, 3)], seed=0, backend="numpy")
    with pytest.raises(ValueError, match=r"onnxruntime .* cannot compute"):
        net.export(path, input_shape=(3, 4))
    assert not path.exists()


def test_a_network_that_is_not_finite_itself(path):
    net = Sequential([Affine(4, 3), Affine(3, 3)], seed=0, backend="numpy")
    for name in net.params:
        net.params[name] += np.float32(1e30)
    with pytest.raises(ValueError, match="the network itself gives NaN or infinity; verify=False"):
        net.export(path)


@pytest.mark.parametrize("scale", [1, 5, 30])
@pytest.mark.parametrize("softmax", [False, True])
def test_large_weights_do_not_hide_another_function(softmax, scale, path, monkeypatch):
    from xpnet.onnx import RULES

    net = Sequential([Affine(20, 50), GELU(), Affine(50, 5)], seed=0, backend="numpy")
    for name in net.params:
        net.params[name] *= np.float32(scale)
    net.export(path, softmax=softmax)
    path.unlink()
    monkeypatch.setitem(RULES, GELU, lambda place, layer, x: place.node("Gelu", x, approximate="none"))
    with pytest.raises(ValueError, match="is no rounding"):
        net.export(path, softmax=softmax)
    assert not path.exists()


def test_probabilities_of_0_and_1_do_not_hide_wrong_scores(path, monkeypatch):
    from xpnet.onnx import RULES

    net = Sequential([Affine(20, 50), LeakyReLU(), Affine(50, 5)], seed=0, backend="numpy")
    for name in net.params:
        net.params[name] *= np.float32(300)
    written = net.export(path, softmax=True)
    assert written.largest == 1
    assert [output.name for output in onnxruntime.InferenceSession(path).get_outputs()] == ["probabilities"]
    monkeypatch.setitem(RULES, LeakyReLU, lambda place, layer, x: place.node("Relu", x))
    with pytest.raises(ValueError, match="is no rounding"):
        net.export(path, softmax=True)


def test_nan_in_some_samples_is_no_rounding(path, monkeypatch):
    from xpnet.onnx import RULES

    def nan_for_some(place, layer, x):  # the root of what is negative
        y, offset = place.node("Tanh", x), place.constant("offset", 1.0)
        root = place.node("Sqrt", place.node("Add", x, offset))
        return place.node("Add", y, place.node("Sub", root, root))

    net = Sequential([Affine(1, 1), Tanh()], backend="numpy", weight_init=1.0)
    net.params["W1"][:] = 1
    monkeypatch.setitem(RULES, Tanh, nan_for_some)
    with pytest.raises(ValueError, match="nan apart"):
        net.export(path)


def test_products_of_a_backend_that_round_more_are_not_in_what_is_wanted(path, monkeypatch):
    net = TwoLayerNet(20, 10, 3, seed=0, backend="numpy")
    predict = TwoLayerNet.predict

    def coarse(self, x):  # as a GPU may multiply
        y = predict(self, x)
        return y.astype("float16").astype(y.dtype) if self is net else y

    monkeypatch.setattr(TwoLayerNet, "predict", coarse)
    written = net.export(path)
    assert written.difference < 1e-6 * written.largest


@pytest.mark.parametrize(("factor", "right"), [(2.0, True), (2.01, False)])
def test_a_layer_that_float64_is_not_for_is_compared_as_it_is(factor, right, path, monkeypatch):
    from xpnet.onnx import RULES

    net = Sequential([Affine(4, 3), Single()], seed=0, backend="numpy")
    monkeypatch.setitem(RULES, Single, lambda place, layer, x: place.node("Mul", x, place.constant("f", factor)))
    if right:
        assert net.export(path).difference < 1e-6
        return
    with pytest.raises(ValueError, match="is no rounding"):
        net.export(path)
    assert not path.exists()
