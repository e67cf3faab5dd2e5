"""What xpnet wrote is the same network again: its layers and their names, its loss, its weights; on any backend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from onnx_graphs import agree, kinds, learns, loaded, onnx, write

from xpnet import DeepConvNet, MultiLayerNet, ResNet, Sequential, SimpleConvNet, TwoLayerNet, load_onnx
from xpnet.errors import CheckpointError, ConversionWarning
from xpnet.layers import (
    GELU,
    Affine,
    BatchNorm,
    Chain,
    Concat,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    MaxPool2d,
    ReLU,
    Rescale,
    Residual,
    Swish,
    TimeDistributed,
)
from xpnet.layers.activations import Activation
from xpnet.losses import MeanSquaredError, SoftmaxWithLoss, SumSquaredError

RNG = np.random.default_rng(8)
NETWORKS = {
    "two layers": (lambda **o: TwoLayerNet(6, 5, 3, **o), (6,)),
    "dropout": (lambda **o: MultiLayerNet(6, [5, 4], 3, "gelu", dropout=0.25, **o), (6,)),
    "convolution": (lambda **o: SimpleConvNet((1, 12, 12), {"filter_num": 3}, 8, **o), (1, 12, 12)),
    "deep": (lambda **o: DeepConvNet((1, 8, 8), hidden_size=6, output_size=3, **o), (1, 8, 8)),
    "residual": (lambda **o: ResNet((3, 8, 8), (4, 8), 1, 5, **o), (3, 8, 8)),
    "all kinds": (
        lambda **o: Sequential(
            [
                Conv2d(2, 3, 3, padding=1),
                BatchNorm((3, 6, 6), momentum=0.3, eps=1e-3),
                Swish(1.5),
                Concat(MaxPool2d(3, 1, 1), Conv2d(3, 2, 1)),
                Flatten(),
                Dropout(0.3),
                Affine(180, 8),
                LayerNorm(8),
                Residual(Chain(Affine(8, 8), Dropout(0.2), GELU())),
                Affine(8, 2),
            ],
            MeanSquaredError(reduction="sum"),
            **o,
        ),
        (2, 6, 6),
    ),
    "tokens": (
        lambda **o: Sequential([Embedding(7, 3), TimeDistributed(Chain(Affine(3, 4), ReLU())), Affine(20, 2)], **o),
        (5,),
    ),
    "bytes": (lambda **o: Sequential([Rescale(1 / 255), Affine(6, 3)], **o), (6,)),
}


def written(case, path, *, dtype="float32", backend="numpy", **options):
    make, shape = NETWORKS[case]
    net = make(seed=1, dtype=dtype, backend=backend)
    for name, b in net.buffers.items():
        net.buffers[name] = net.backend.asarray(np.abs(RNG.normal(size=b.shape)).astype(dtype) + 0.1)
    net.export(path, input_shape=shape, **options)
    x = RNG.integers(0, 7, (4, *shape)) if case == "tokens" else RNG.normal(size=(4, *shape)).astype(dtype)
    return net, x


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_network_again(case, dtype, path):
    net, x = written(case, path, dtype=dtype, verify=False)  # onnxruntime has few operators in float64
    other, said = loaded(path)
    assert not said
    assert type(other) is type(net)
    assert other.chain == net.chain
    assert other.loss_layer == net.loss_layer
    assert other.dtype == net.dtype
    for mine, theirs in ((net.params, other.params), (net.buffers, other.buffers)):
        assert list(mine) == list(theirs)
        for name, a in mine.items():
            np.testing.assert_array_equal(a, theirs[name])
    np.testing.assert_array_equal(net.predict(x), other.predict(x))
    assert learns(other, RNG.integers(0, 7, (8, 5)) if case == "tokens" else x)


def test_on_every_backend(backend, path):
    net, x = written("residual", path)
    other = load_onnx(path, backend=backend)
    assert other.backend.name == backend.name
    scores = other.backend.to_numpy(other.predict(other.backend.asarray(x)))
    np.testing.assert_allclose(scores, net.predict(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", NETWORKS)
def test_by_its_nodes_it_computes_the_same(case, path):
    """Without what xpnet says of it, a file is read as any other."""
    _, x = written(case, path)
    model = onnx.load(path)
    del model.metadata_props[:]
    write(path, model)
    if case == "tokens":
        with pytest.raises(CheckpointError, match="are not to be joined or split"):
            loaded(path)
        return
    net, _ = agree(path, x)
    assert set(kinds(net).split()) >= {"Affine"}


def test_what_is_other_than_in_the_file_is_said(path):
    net, x = written("two layers", path, dtype="float64", softmax=True)
    with pytest.warns(ConversionWarning, match=r"net.onnx: the softmax at its end is left to the loss") as caught:
        other = load_onnx(path, backend="numpy")
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
    written("two layers", path, uint8=True)
    with pytest.warns(ConversionWarning, match=r"divides bytes by 255 first, .* net.predict\(x / 255\)"):
        load_onnx(path)
    net, x = written("two layers", path)
    net.export(path, dtype="float16")
    with pytest.warns(ConversionWarning, match="weights of float16 became float32"):
        other = load_onnx(path, backend="numpy")
    np.testing.assert_array_equal(other.params["W1"], net.params["W1"].astype("float16").astype("float32"))


def test_another_loss(path):
    written("all kinds", path)
    assert load_onnx(path, loss=SumSquaredError()).loss_layer == SumSquaredError()
    with pytest.raises(TypeError, match=r"loss is .*SoftmaxWithLoss.*, expected an instance"):
        load_onnx(path, loss=SoftmaxWithLoss)


def test_a_file_that_was_changed_is_read_by_its_nodes(path):
    _, x = written("two layers", path)
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Tanh"
    net, said = agree(write(path, model), x)
    assert kinds(net) == "Affine Tanh Affine"
    assert "is not what this xpnet writes of it" in said
    model.graph.initializer[0].name = "weights"
    for node in model.graph.node:
        node.input[:] = ["weights" if name == "W1" else name for name in node.input]
    net, said = agree(write(path, model), x)
    assert "is not what this xpnet writes of it" in said


@dataclass(frozen=True)
class Cube(Activation):
    by: float = 1.0

    def forward(self, params, x):
        return self.by * x * x * x, x

    def gradient(self, x, dy):
        return 3 * self.by * x * x * dy


def test_layers_of_ones_own_are_named(path):
    from xpnet.onnx import rule
    from xpnet.onnx.writer import RULES

    @rule(Cube)
    def cube(at, layer, x):
        return at.node("Mul", at.node("Mul", x, at.node("Mul", x, x)), at.constant("by", layer.by))

    try:
        net = Sequential([Affine(4, 3), Cube(0.5), Affine(3, 2)], seed=0, backend="numpy")
        net.export(path)
        with pytest.raises(CheckpointError, match=r"Cube \(not of xpnet\).*kinds=\[MyLayer\]"):
            load_onnx(path)
        assert load_onnx(path, kinds=[Cube], backend="numpy").chain == net.chain
    finally:
        del RULES[Cube]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "network": {"kind": "Sequential"}}', "[" * 9999]
)
def test_a_description_that_is_none(text, path):
    written("two layers", path)
    model = onnx.load(path)
    next(entry for entry in model.metadata_props if entry.key == "xpnet").value = text
    with pytest.raises(CheckpointError, match=r"net\.onnx"):
        loaded(write(path, model))


def test_options_that_are_none(path):
    _, x = written("two layers", path)
    model = onnx.load(path)
    for text in (
        "",
        "null",
        "[1]",
        '{"input_shape": [-1]}',
        '{"softmax": true, "uint8": 3, "dtype": [], "input_shape": 6}',
    ):
        next(entry for entry in model.metadata_props if entry.key == "xpnet_export").value = text
        assert "is not what this xpnet writes of it" in agree(write(path, model), x)[1]
