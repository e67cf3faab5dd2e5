"""Networks made again from files: of every layer and loss, from checkpoints, and from what other programs wrote."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from xpnet import CheckpointError, MultiLayerNet, Sequential, Trainer, TwoLayerNet, layers, load_network, losses
from xpnet.layers import LAYERS, Affine, Dropout, LeakyReLU, ReLU
from xpnet.layers.activations import Activation
from xpnet.models.load import LOSSES
from xpnet.optimizers import SGD

LOSS_KINDS = [kind for kind in vars(losses).values() if isinstance(kind, type) and hasattr(kind, "classifies")]


@dataclass(frozen=True)
class Scaled(Affine):
    """A layer of one's own, with fields of many types."""

    factor: float = 1.0
    name: str | None = None
    sizes: tuple[int, ...] = ()
    inner: Activation = ReLU()  # noqa: RUF009  (it is frozen)

    def forward(self, params, x):
        y, residuals = super().forward(params, x)
        return y * self.factor, residuals


@dataclass(frozen=True)
class Doubled(losses.MeanSquaredError):
    """A loss of one's own."""

    by: float = 2.0


#: Layers of other samples than rows: the shape of one, and how many entries come of it.
IMAGES = {
    "AvgPool2d": ((1, 2, 2), 1),
    "Conv1d": ((2, 2), 8),
    "Conv2d": ((1, 2, 2), 16),
    "GlobalAvgPool2d": ((2, 1, 2), 2),
    "MaxPool2d": ((1, 2, 2), 2),
}


def built(kind):
    known = {
        "Add": lambda: layers.Add(Affine(4, 4), ReLU()),
        "Affine": lambda: Affine(4, 4),
        "BatchNorm": lambda: layers.BatchNorm(4, eps=1e-3),
        "Chain": lambda: layers.Chain(Affine(4, 5), ReLU(), Affine(5, 4)),
        "Concat": lambda: layers.Concat(Affine(4, 1), Affine(4, 3)),
        "Conv1d": lambda: layers.Conv1d(2, 4, 3, padding=1),
        "Conv2d": lambda: layers.Conv2d(1, 4, (1, 3), padding=(0, 1)),
        "Dropout": lambda: Dropout(0.25),
        "AvgPool2d": lambda: layers.AvgPool2d(2, (1, 2)),
        "LayerNorm": lambda: layers.LayerNorm(4),
        "MaxPool2d": lambda: layers.MaxPool2d((2, 1)),
        "Rescale": lambda: layers.Rescale(0.5),
        "Reshape": lambda: layers.Reshape((2, 2)),
        "Residual": lambda: layers.Residual(layers.Chain(layers.Dropout(0.1), layers.BatchNorm(4))),
    }
    return known.get(kind.__name__, kind)()


def assert_same(found, net):
    assert type(found) is type(net)
    assert repr(found) == repr(net)
    for ours, theirs in ((net.params, found.params), (net.buffers, found.buffers)):
        assert list(theirs) == list(ours)
        for name, p in ours.items():
            assert theirs[name].dtype == p.dtype
            np.testing.assert_array_equal(found.backend.to_numpy(theirs[name]), net.backend.to_numpy(p))


@pytest.mark.parametrize("kind", LAYERS.values(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("at_home")
def test_every_layer_comes_back(kind, dtype, backend, tmp_path):
    x = np.linspace(-1, 1, 8).reshape(2, 4).astype(dtype)
    if kind is layers.Embedding:
        x, inside = np.asarray([[0, 4, 2], [1, 1, 3]]), [layers.Embedding(5, 4), Affine(12, 2)]
    elif kind is layers.TimeDistributed:
        x, inside = x.reshape(2, 2, 2), [layers.TimeDistributed(layers.Chain(Affine(2, 3), ReLU())), Affine(6, 2)]
    elif kind.__name__ in IMAGES:
        shape, outputs = IMAGES[kind.__name__]
        inside = [Affine(4, 4), layers.Reshape(shape), built(kind), layers.Flatten(), Affine(outputs, 2)]
    else:
        inside = [Affine(4, 4), built(kind), Affine(4, 2)]
    net = Sequential(inside, seed=1, dtype=dtype, backend=backend)
    net.buffers = {name: b + 0.5 for name, b in net.buffers.items()}
    net.save(tmp_path / "net")
    found = load_network(tmp_path / "net", backend=backend)
    assert_same(found, net)
    x = backend.asarray(x)
    np.testing.assert_array_equal(backend.to_numpy(found.predict(x)), backend.to_numpy(net.predict(x)))


def test_fields_of_layers_come_back(tmp_path):
    net = Sequential([Affine(4, 4), LeakyReLU(0.3), Dropout(0.125), Affine(4, 2)], seed=1, backend="numpy")
    net.save(tmp_path / "net")
    assert list(load_network(tmp_path / "net", backend="numpy").layers.values()) == list(net.layers.values())


@pytest.mark.parametrize("kind", LOSSES.values(), ids=lambda kind: kind.__name__)
def test_every_loss_comes_back(kind, tmp_path):
    net = Sequential([Affine(4, 2)], kind(), seed=1, backend="numpy")
    net.save(tmp_path / "net")
    assert_same(load_network(tmp_path / "net", backend="numpy"), net)


def test_every_loss_of_the_package_is_known():
    assert {kind for kind in LOSS_KINDS if not kind.__name__.startswith("Base")} == set(LOSSES.values())


@pytest.mark.parametrize(
    "make",
    [
        lambda: TwoLayerNet(4, 3, 2, seed=1, backend="numpy"),
        lambda: MultiLayerNet(4, [3, 3], 2, activation="tanh", seed=1, backend="numpy", dtype="float64"),
        lambda: Sequential([Affine(np.int64(4), np.int32(2))], seed=1, backend="numpy"),
    ],
    ids=["TwoLayerNet", "MultiLayerNet", "sizes that are NumPy's"],
)
def test_its_class_and_dtype_come_back(make, tmp_path):
    net = make()
    net.save(tmp_path / "net")
    found = load_network(tmp_path / "net", backend="numpy")
    assert (type(found), found.dtype, list(found.params)) == (type(net), net.dtype, list(net.params))
    for name, p in net.params.items():
        np.testing.assert_array_equal(found.params[name], p)


def test_parts_of_ones_own_come_back_if_they_are_named(tmp_path):
    own = Scaled(4, 2, factor=np.float32(0.5), name=None, sizes=(3, 4), inner=LeakyReLU(0.5))
    net = Sequential([ReLU(), own], Doubled(by=3), seed=1, backend="numpy")
    net.save(tmp_path / "net")
    found = load_network(tmp_path / "net", backend="numpy", kinds=[Scaled, Doubled])
    assert found.layers["Scaled1"] == replace(own, factor=0.5)
    assert found.loss_layer == Doubled(by=3)
    for kinds, unknown in (((), "Scaled"), ([Scaled], "Doubled")):
        with pytest.raises(CheckpointError, match=rf"'{unknown} \(not of xpnet\)' is not one of") as raised:
            load_network(tmp_path / "net", backend="numpy", kinds=kinds)
        assert str(tmp_path / "net") in str(raised.value)


@dataclass(frozen=True)
class Clipped(ReLU):
    """A layer of one's own, with limits that may be infinite."""

    low: float = -float("inf")
    high: float = float("inf")
    hard: bool = True

    def forward(self, params, x):
        return np.clip(x, self.low, self.high), None


@pytest.mark.parametrize("hard", [True, np.True_, np.False_])
@pytest.mark.parametrize("low", [-float("inf"), -1, np.float32(-0.5), -(10**30)])
def test_what_can_be_a_field_comes_back(low, hard, tmp_path):
    net = Sequential([Affine(4, 3), Clipped(low, hard=hard), Affine(3, 2)], seed=1, backend="numpy")
    net.save(tmp_path / "net")
    found = load_network(tmp_path / "net", backend="numpy", kinds=[Clipped])
    assert found.layers["Clipped1"] == net.layers["Clipped1"]
    assert type(found.layers["Clipped1"].hard) is bool


def test_a_class_of_ones_own_is_not_taken_for_the_one_of_that_name(tmp_path):
    """Who reads this book writes a ReLU of their own."""
    own = type("ReLU", (ReLU,), {"forward": lambda self, params, x: (x * 0, x), "__module__": "somewhere"})
    Sequential([Affine(4, 3), own(), Affine(3, 2)], seed=1, backend="numpy").save(tmp_path / "net")
    with pytest.raises(CheckpointError, match=r"'ReLU \(not of xpnet\)' is not one of .*kinds=\[MyLayer\]"):
        load_network(tmp_path / "net", backend="numpy")
    found = load_network(tmp_path / "net", backend="numpy", kinds=[own])
    assert not found.predict(np.ones((1, 4), "float32")).any()
    net_of_ones_own = type("Net", (TwoLayerNet,), {"__module__": "somewhere"})(4, 3, 2, seed=1, backend="numpy")
    net_of_ones_own.save(tmp_path / "net")
    with pytest.raises(CheckpointError, match=r"'Net \(not of xpnet\)'; make one, and call its load\(\)"):
        load_network(tmp_path / "net", backend="numpy")
    net_of_ones_own.load(tmp_path / "net")


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    net = TwoLayerNet(4, 3, 2, seed=1, backend="numpy")
    net.params["b1"] = net.params["b1"].astype("float64")
    with pytest.raises(ValueError, match="are not those of its layers, and could not be loaded"):
        net.save(tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_a_class_with_types_of_a_function_is_told(tmp_path):
    class Number(float):
        pass

    @dataclass(frozen=True)
    class Local(Affine):
        number: Number = 1.0

    Sequential([Local(4, 2)], seed=1, backend="numpy").save(tmp_path / "net")
    with pytest.raises(CheckpointError, match="fields of Local cannot be told"):
        load_network(tmp_path / "net", backend="numpy", kinds=[Local])


def test_a_checkpoint_holds_its_network(training_backend, tmp_path):
    net = TwoLayerNet(4, 3, 2, seed=1, backend=training_backend)
    Trainer(net, SGD(0.1)).save(tmp_path / "checkpoint")
    assert_same(load_network(tmp_path / "checkpoint", backend=training_backend), net)
    other = TwoLayerNet(4, 3, 2, seed=2, backend=training_backend)
    other.load(tmp_path / "checkpoint")
    assert_same(other, net)


def test_every_reader_finds_the_parameters(tmp_path):
    net = TwoLayerNet(4, 3, 2, seed=1, backend="numpy")
    net.save(tmp_path / "net")
    found = load_file(tmp_path / "net")
    assert {name: p.tobytes() for name, p in found.items()} == {name: p.tobytes() for name, p in net.params.items()}
    torch = pytest.importorskip("torch", reason="torch is another reader, where it is installed")
    from safetensors.torch import load_file as load_with_torch

    for name, p in load_with_torch(tmp_path / "net").items():
        assert torch.equal(p, torch.from_numpy(net.params[name].copy()))


def test_weights_of_another_program_are_loaded_by_name(backend, tmp_path):
    net = TwoLayerNet(4, 3, 2, seed=1, backend=backend)
    theirs = {name: np.full(p.shape, i, "float32") for i, (name, p) in enumerate(net.params.items())}
    save_file(theirs, tmp_path / "theirs", metadata={"format": "pt"})
    net.load(tmp_path / "theirs")
    for name, p in theirs.items():
        np.testing.assert_array_equal(backend.to_numpy(net.params[name]), p)
    with pytest.raises(CheckpointError, match=r"theirs says nothing of a network: .* call its load\(\)"):
        load_network(tmp_path / "theirs", backend=backend)


def test_weights_that_torch_wrote_are_loaded_by_name(tmp_path):
    torch = pytest.importorskip("torch", reason="torch writes the file")
    from safetensors.torch import save_file as save_with_torch

    net = TwoLayerNet(4, 3, 2, seed=1, backend="numpy")
    save_with_torch({name: torch.ones(p.shape) for name, p in net.params.items()}, tmp_path / "theirs")
    net.load(tmp_path / "theirs")
    assert all((p == 1).all() for p in net.params.values())


def test_each_difference_is_listed_and_no_parameter_taken(tmp_path):
    net = TwoLayerNet(4, 3, 2, seed=1, backend="numpy")
    before = dict(net.params)
    theirs = {"W1": np.ones((3, 4), "float32"), "b1": np.ones(3), "b2": np.ones(2, "float32"), "bias": np.ones(2)}
    save_file(theirs, tmp_path / "theirs")
    with pytest.raises(CheckpointError) as raised:
        net.load(tmp_path / "theirs")
    told = str(raised.value).partition("this network: ")[2].split("; ")
    assert told == [
        "W1 has shape (3, 4), expected (4, 3)",
        "W2 is missing",
        "b1 has dtype float64, expected float32",
        "bias is not expected",
    ]
    assert all(net.params[name] is p for name, p in before.items())


def test_names_that_would_spoil_a_message_are_shortened(tmp_path):
    save_file({"x" * 5000: np.ones(2), "line\nbreak": np.ones(2)} | {f"n{i}": np.ones(1) for i in range(3000)},
              tmp_path / "theirs")  # fmt: skip
    with pytest.raises(CheckpointError) as raised:
        TwoLayerNet(4, 3, 2, backend="numpy").load(tmp_path / "theirs")
    text = str(raised.value)
    assert "\n" not in text
    assert "x" * 100 not in text
    assert text.endswith("differences more")


def test_a_backend_without_that_device_is_not_the_fault_of_the_file(tmp_path):
    TwoLayerNet(4, 3, 2, backend="numpy").save(tmp_path / "net")
    with pytest.raises(ValueError, match="has no device") as raised:
        load_network(tmp_path / "net", backend="numpy", device="tpu:7")
    assert not isinstance(raised.value, CheckpointError)
