"""``net.export``: what is in a file, what is seen before it is written, and what is said of what cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest
from onnx_files import metadata, run

from xpnet import DeepConvNet, MultiLayerNet, ResNet, Sequential, SimpleConvNet, TwoLayerNet
from xpnet.functions import softmax
from xpnet.layers import (
    GELU,
    Affine,
    BatchNorm,
    Chain,
    Concat,
    Conv1d,
    Conv2d,
    Embedding,
    Flatten,
    LayerNorm,
    MaxPool2d,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    Sigmoid,
    Tanh,
    TimeDistributed,
)

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


class TestFiles:
    def test_the_books_network_is_three_nodes_and_its_weights(self, path):
        net = TwoLayerNet(784, 50, 10, seed=0, backend="numpy")
        written = net.export(path)
        assert written.nodes == ("Gemm", "Relu", "Gemm")
        weights = sum(a.nbytes for a in net.params.values())
        assert written.size == path.stat().st_size < weights + 1000
        graph = onnx.load(path).graph
        assert [node.name for node in graph.node] == [*net.layers]
        assert [tensor.name for tensor in graph.initializer] == [*net.params]
        assert all(len(node.output) == 1 for node in graph.node)

    def test_one_network_gives_the_same_bytes_wherever_it_is(self, backend, tmp_path, path):
        net = ResNet((1, 8, 8), channels=[4, 6], seed=0, backend="numpy")
        net.export(path, input_shape=(1, 8, 8))
        other = tmp_path / "other.onnx"
        written = net.to(backend).export(other, input_shape=(1, 8, 8))
        assert other.read_bytes() == path.read_bytes()
        assert written.difference <= 1e-5 * written.largest

    @pytest.mark.parametrize(
        ("net", "shape"),
        [
            (SimpleConvNet((1, 12, 12), {"filter_num": 4}, hidden_size=8, seed=0), (1, 12, 12)),
            (DeepConvNet((1, 12, 12), hidden_size=8, seed=0), (1, 12, 12)),
            (ResNet((3, 16, 16), channels=(4, 8), blocks=2, seed=0), (3, 16, 16)),
            (MultiLayerNet(6, [5, 4], 3, activation="swish", dropout=0.3, seed=0), (6,)),
        ],
        ids=lambda value: type(value).__name__,
    )
    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_networks_that_have_a_name(self, net, shape, dtype, path, rng):
        written = net.export(path, dtype=dtype)
        x = rng.normal(size=(5, *shape)).astype(dtype)
        expected = net.predict(x.astype("float32"))
        assert np.abs(run(path, x) - expected).max() <= {"float16": 1e-2, "float32": 1e-5}[dtype] * written.largest

    def test_runtimes_of_two_years_ago_know_the_versions(self, path):
        written = TwoLayerNet(4, 3, 2, backend="numpy").export(path)
        assert (written.opset, written.ir_version) == (20, 9)  # of onnx 1.15 of 2023
        model = onnx.load(path)
        assert [(each.domain, each.version) for each in model.opset_import] == [("", 20)]
        assert model.ir_version == 9

    def test_what_comes_out_and_goes_in_has_names(self, path):
        TwoLayerNet(4, 3, 2, backend="numpy").export(path, softmax=True)
        session = onnxruntime.InferenceSession(path)
        (x,), (y,) = session.get_inputs(), session.get_outputs()
        assert (x.name, x.shape, x.type) == ("x", ["N", 4], "tensor(float)")
        assert (y.name, y.shape, y.type) == ("probabilities", ["N", 2], "tensor(float)")

    def test_metadata(self, path):
        import xpnet

        net = TwoLayerNet(4, 3, 2, seed=0, backend="numpy")
        net.export(path, softmax=True, classes=["犬", "cat"], metadata={"author": "Ada"}, dtype="float16")
        found = metadata(path)
        described = json.loads(found.pop("xpnet"))["network"]
        assert (described["kind"], len(described["layers"]), described["dtype"]) == ("TwoLayerNet", 3, "float32")
        assert json.loads(found.pop("classes")) == ["犬", "cat"]
        options = {"input_shape": [4], "dtype": "float16", "softmax": True, "uint8": False}
        assert json.loads(found.pop("xpnet_export")) == options
        assert found == {"author": "Ada"}
        model = onnx.load(path)
        assert (model.producer_name, model.producer_version) == ("xpnet", xpnet.__version__)

    def test_a_parameter_that_was_assigned_is_the_one_that_is_written(self, path, rng):
        net = TwoLayerNet(4, 3, 2, seed=0, backend="numpy")
        net.params["W1"] = np.asfortranarray(rng.normal(size=(4, 3)).astype("float32"))
        net.export(path)
        x = rng.normal(size=(3, 4)).astype("float32")
        np.testing.assert_allclose(run(path, x), net.predict(x), rtol=1e-6)

    def test_names_that_layers_would_share_are_told_apart(self, path, monkeypatch):
        class Odd(Tanh):
            label = "W"

        from xpnet.onnx import RULES

        monkeypatch.setitem(RULES, Odd, lambda place, layer, x: place.node("Tanh", x))
        net = Sequential([Affine(4, 3), Odd(), Affine(3, 3), Odd()], seed=0, backend="numpy")
        net.export(path)
        assert [node.name for node in onnx.load(path).graph.node] == ["Affine1", "W1_2", "Affine2", "W2_2"]


class TestSamples:
    def test_bytes_are_divided_by_255(self, path, rng):
        net, x = TwoLayerNet(6, 5, 3, seed=0, backend="numpy"), rng.integers(0, 256, (4, 6), "uint8")
        written = net.export(path, uint8=True, softmax=True)
        assert written.nodes == ("Cast", "Div", "Gemm", "Relu", "Gemm", "Softmax")
        expected = softmax(net.predict(x / np.float32(255)))
        np.testing.assert_allclose(run(path, x), expected, rtol=1e-6)

    @pytest.mark.parametrize("first", [[Rescale(1 / 255)], [Reshape((6,)), Residual(Chain(Rescale(0.01)))]])
    def test_bytes_are_rescaled_once(self, first, path, rng):
        net = Sequential([*first, Affine(6, 3)], seed=0, backend="numpy")
        x = rng.integers(0, 256, (4, 6), "uint8")
        net.export(path, uint8=True, input_shape=(6,))
        np.testing.assert_allclose(run(path, x), net.predict(x), rtol=1e-5, atol=1e-6)

    def test_a_network_that_rescales_takes_numbers_of_the_same_size(self, path):
        net = Sequential([Rescale(1 / 255), Affine(6, 3)], seed=0, backend="numpy")
        written = net.export(path)
        assert written.largest > 0.1  # of samples about 255, and not of N(0, 1) / 255

    def test_integers_stay_integers(self, path):
        net = Sequential([Concat(Embedding(7, 3), Embedding(5, 2)), Affine(5, 3)], seed=0, backend="numpy")
        net.export(path, input_shape=())
        x = np.arange(5)
        np.testing.assert_allclose(run(path, x), net.predict(x), rtol=1e-6)

    @pytest.mark.parametrize(
        ("layers", "shape"),
        [
            ([Affine(6, 3)], (6,)),
            ([Tanh(), Residual(Affine(6, 6)), Affine(6, 3)], (6,)),
            ([Rescale(0.5), BatchNorm(6), Affine(6, 3)], (6,)),
            ([BatchNorm((2, 3)), Affine(6, 3)], (2, 3)),
            ([LayerNorm((2, 3)), Affine(6, 3)], (2, 3)),
            ([Concat(Tanh(), Affine(6, 3)), Affine(9, 3)], (6,)),
        ],
        ids=repr,
    )
    def test_layers_say_the_shape(self, layers, shape, path):
        Sequential(layers, backend="numpy").export(path)
        assert json.loads(metadata(path)["xpnet_export"])["input_shape"] == [*shape]

    @pytest.mark.parametrize(
        "layers",
        [
            [Conv2d(1, 3, 3), Flatten(), Affine(12, 3)],
            [BatchNorm(3), Conv2d(3, 3, 1), Flatten(), Affine(12, 3)],
            [Embedding(5, 3), Affine(6, 3)],
            [Flatten(), Affine(6, 3)],
        ],
        ids=repr,
    )
    def test_it_is_asked_for_where_they_do_not(self, layers, path):
        net = Sequential(layers, backend="numpy")
        with pytest.raises(
            ValueError, match=rf"shape a sample has, {next(iter(net.layers))} .*input_shape=\(1, 28, 28\)"
        ):
            net.export(path)
        assert not path.exists()


class TestAnyLength:
    def test_images_of_any_size(self, path, rng):
        net = ResNet((3, 12, 12), channels=[4, 6], seed=0, backend="numpy")
        written = net.export(path, input_shape=(3, None, None), uint8=True)
        assert written.difference < 1e-5
        session = onnxruntime.InferenceSession(path)
        assert session.get_inputs()[0].shape == ["N", 3, "H", "W"]
        assert session.get_outputs()[0].shape == ["N", 10]
        for size in ((5, 9), (30, 7)):
            x = rng.integers(0, 256, (2, 3, *size), "uint8")
            np.testing.assert_allclose(run(path, x), net.predict(x / np.float32(255)), rtol=1e-4, atol=1e-5)
        assert json.loads(metadata(path)["xpnet_export"])["input_shape"] == [3, None, None]

    @pytest.mark.parametrize(
        ("layer", "shape", "axes"),
        [
            (Conv2d(2, 3, 3, padding=1), (2, None, None), [3, "H", "W"]),
            (Conv2d(2, 3, 3, padding=(1, 0)), (2, None, None), [3, "H", "M2"]),
            (Conv2d(2, 3, 3), (2, 8, None), [3, 6, "M2"]),
            (Conv1d(2, 3, 3, padding=1), (2, None), [3, "L"]),
            (TimeDistributed(Affine(4, 3)), (None, 4), ["T", 3]),
            (Embedding(4, 3), (None,), ["L", 3]),
        ],
        ids=repr,
    )
    def test_results_of_any_length(self, layer, shape, axes, path):
        Sequential([layer], backend="numpy").export(path, input_shape=shape)
        assert onnxruntime.InferenceSession(path).get_outputs()[0].shape == ["N", *axes]

    def test_networks_that_take_one_length(self, path):
        net = SimpleConvNet((1, 12, 12), {"filter_num": 2}, hidden_size=4, backend="numpy")
        with pytest.raises(ValueError, match=r"of samples of 8 to 256 the network takes none; give the length"):
            net.export(path, input_shape=(1, None, None))
        net = Sequential([TimeDistributed(Sequential([Affine(4, 3), Tanh()]).chain)], backend="numpy")
        with pytest.raises(ValueError, match=r"TimeDistributed1.apart depends on the length of samples"):
            net.export(path, input_shape=(None, 4), verify=False)
        assert not path.exists()


class TestAgainstTorch:
    """The whole way: a module of PyTorch, its weights here, the file, and onnxruntime's results are the module's."""

    def test_images(self, path, rng):
        torch = pytest.importorskip("torch")
        from torch import nn

        module = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, stride=2, bias=True),
            nn.BatchNorm2d(4, eps=1e-3),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(4, 6, (3, 2), padding=(1, 0), groups=2, dilation=(1, 2)),
            nn.GELU(),
            nn.AvgPool2d(2, 1, 1),
            nn.Flatten(),
            nn.LazyLinear(3),
        ).eval()
        x = rng.normal(size=(5, 2, 12, 14)).astype("float32")
        expected = module(torch.from_numpy(x)).detach().numpy()
        from xpnet.layers import AvgPool2d

        layers = [
            *(Conv2d(2, 4, 3, stride=2, padding=1), BatchNorm(4, eps=1e-3), ReLU(), MaxPool2d(3, 2, 1)),
            *(Conv2d(4, 6, (3, 2), padding=(1, 0), groups=2, dilation=(1, 2)), GELU(exact=True), AvgPool2d(2, 1, 1)),
            Affine(module[-1].in_features, 3),
        ]
        net = Sequential(layers, backend="numpy")
        state = {name: a.detach().numpy() for name, a in module.state_dict().items()}
        for ours, theirs in {"W1": "0.weight", "b1": "0.bias", "gamma1": "1.weight", "beta1": "1.bias"}.items():
            net.params[ours] = state[theirs]
        net.params |= {"W2": state["4.weight"], "b2": state["4.bias"]}
        net.params |= {"W3": np.ascontiguousarray(state["8.weight"].T), "b3": state["8.bias"]}
        net.export(path, input_shape=(2, 12, 14))
        np.testing.assert_allclose(run(path, x), expected, rtol=1e-4, atol=1e-5)

    def test_activations(self, path, rng):
        torch = pytest.importorskip("torch")
        from torch import nn

        from xpnet.layers import ELU, LeakyReLU, Softplus, Swish

        pairs = [
            (LayerNorm(6), nn.LayerNorm(6)),
            (GELU(), nn.GELU("tanh")),
            (GELU(exact=True), nn.GELU()),
            (LeakyReLU(0.2), nn.LeakyReLU(0.2)),
            (ELU(0.7), nn.ELU(0.7)),
            (Swish(), nn.SiLU()),
            (Softplus(), nn.Softplus()),
            (Sigmoid(), nn.Sigmoid()),
        ]
        net = Sequential([*(layer for layer, _ in pairs), Affine(6, 6)], backend="numpy")
        net.params["W1"] = np.eye(6, dtype="float32")
        net.export(path, input_shape=(6,))
        x = 3 * rng.normal(size=(50, 6)).astype("float32")
        expected = nn.Sequential(*(module for _, module in pairs))(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(run(path, x), expected, rtol=1e-4, atol=1e-5)
