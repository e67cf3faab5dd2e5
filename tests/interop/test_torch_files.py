"""Which module is which layer, in dicts and files; what does not fit, and files of other kinds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from torch_modules import PAIRS, made

from xpnet import Sequential, TwoLayerNet
from xpnet.errors import CheckpointError, ConversionWarning
from xpnet.interop import check_predictions, from_torch, to_torch
from xpnet.layers import Affine, Tanh

torch = pytest.importorskip("torch", reason="torch is not installed, whose modules are what is compared with")
nn = torch.nn
safetensors_torch = pytest.importorskip("safetensors.torch", reason="safetensors is not installed, which writes files")


def numbered(n, **sizes):
    """A state_dict of n modules of one size each."""
    rng = np.random.default_rng(3)
    return {
        f"{name}.{kind}": torch.tensor(rng.normal(size=(4, 4) if kind == "weight" else 4))
        for name in (f"layers.{i}" for i in range(n))
        for kind in ("weight", "bias")
    }


def test_a_file_has_its_modules_by_number_and_a_dict_in_order(tmp_path):
    state = numbered(12)
    layers = [each for _ in range(12) for each in (Affine(4, 4), Tanh())]
    net, other = (Sequential(layers_anew(layers), dtype="float64", backend="numpy") for _ in range(2))
    safetensors_torch.save_file(state, tmp_path / "weights.safetensors")
    assert from_torch(tmp_path / "weights.safetensors", net) == from_torch(state, other)
    for name, p in net.params.items():
        np.testing.assert_array_equal(p, other.params[name])
    np.testing.assert_array_equal(net.params["W12"], state["layers.11.weight"].numpy().T)


def layers_anew(layers):
    return [Affine(each.n_in, each.n_out) if isinstance(each, Affine) else each for each in layers]


def test_a_file_does_not_say_which_of_two_equal_modules_comes_first(tmp_path):
    state = {
        f"{name}.{kind}": torch.ones((4, 4) if kind == "weight" else 4) * i
        for i, name in enumerate(["up", "down"], 1)
        for kind in ("weight", "bias")
    }
    path = tmp_path / "weights.safetensors"
    safetensors_torch.save_file(state, path)
    net = Sequential([Affine(4, 4), Tanh(), Affine(4, 4)], backend="numpy")
    with pytest.raises(CheckpointError, match=r"Affine1 may be down or up, and a file does not .*names=\{'Affine1'"):
        from_torch(path, net)
    assert from_torch(path, net, names={"Affine1": "up"}) == {"Affine1": "up", "Affine2": "down"}
    assert (net.params["W1"] == 1).all()
    assert (net.params["b2"] == 2).all()
    assert from_torch(state, net) == {"Affine1": "up", "Affine2": "down"}


def test_the_caller_says_which_is_which():
    state = numbered(2)
    net = Sequential([Affine(4, 4), Tanh(), Affine(4, 4)], dtype="float64", backend="numpy")
    names = {"Affine1": "layers.1", "Affine2": "layers.0"}
    assert from_torch(state, net, names=names) == names
    np.testing.assert_array_equal(net.params["W1"], state["layers.1.weight"].numpy().T)
    assert from_torch(dict(reversed(state.items())), net, names={"Affine2": "layers.1"})["Affine1"] == "layers.0"
    for bad, message in (
        ({"Affine3": "layers.0"}, "layer 'Affine3'; those with arrays are Affine1, Affine2"),
        ({"Affine1": "fc"}, "module 'fc', and there are layers.0, layers.1"),
        ({"Affine1": "layers.0", "Affine2": "layers.0"}, "'layers.0' for two layers"),
    ):
        with pytest.raises(ValueError, match=message):
            from_torch(state, net, names=bad)
    with pytest.raises(TypeError, match=r"names is .* expected a dict"):
        from_torch(state, net, names=["layers.0"])


def test_one_module_alone_has_no_prefix():
    module = nn.Linear(4, 3)
    net = Sequential([Affine(4, 3)], backend="numpy")
    assert from_torch(module, net) == {"Affine1": ""}
    assert check_predictions(module, net, np.ones((2, 4), "float32")) < 1e-5
    assert list(to_torch(net, module)) == ["weight", "bias"]


MISFITS = {
    "all of them": (
        {"a.weight": (5, 4), "a.bias": (6,), "b.weight": (3, 6), "b.bias": (3,), "c.weight": (3, 3)},
        [
            r"a.bias has shape \(6,\), expected \(5,\) for b1 of Affine1",
            r"b.weight has shape \(3, 6\), expected \(3, 5\) for W2 of Affine2, transposed to \(5, 3\)",
            r"c.weight \(3, 3\): the network has no layer for this",
        ],
    ),
    "the other way round": ({"a.weight": (4, 5), "a.bias": (5,)}, [r"a.weight has shape \(4, 5\), expected \(5, 4\)"]),
    "one too few": ({"a.weight": (5, 4), "a.bias": (5,)}, [r"Affine2, Affine\(5, 3\): nothing is left for this layer"]),
    "something else in it": (
        {"a.weight": (5, 4), "a.bias": (5,), "b.weight": (3, 5), "b.bias": (3,), "b.weight_g": (3, 1)},
        [r"b.weight_g of shape \(3, 1\) is not expected, as Affine2 has no such array"],
    ),
    "no weights": ({"a.bias": (5,), "b.weight": (3, 5)}, ["a.weight is missing, expected .* for W1 of Affine1"]),
}


@pytest.mark.parametrize("case", MISFITS)
@pytest.mark.parametrize("kind", ["dict", "file"])
def test_what_does_not_fit_is_listed_and_nothing_is_loaded(case, kind, tmp_path):
    shapes, messages = MISFITS[case]
    net = TwoLayerNet(4, 5, 3, seed=0, backend="numpy")
    before = dict(net.params)
    weights = {name: torch.ones(shape) for name, shape in shapes.items()}
    if kind == "file":
        safetensors_torch.save_file(weights, tmp_path / "weights")
        weights = tmp_path / "weights"
    with pytest.raises(CheckpointError) as raised:
        from_torch(weights, net)
    for message in messages:
        assert raised.match(message)
    assert all(net.params[name] is p for name, p in before.items())


def test_a_file_of_very_many_modules_is_not_compared_one_by_one():
    state = {f"{i}.weight": np.zeros((1, 1)) for i in range(20_000)}
    with pytest.raises(CheckpointError, match="20000 modules, and this network 2 layers"):
        from_torch(state, TwoLayerNet(4, 5, 3, backend="numpy"))


def test_running_statistics_have_to_be_there():
    module, net, _ = made("normalized")
    state = {name: a for name, a in module.state_dict().items() if "running_var" not in name}
    with pytest.raises(CheckpointError, match=r"1.running_var is missing, expected \(5,\) for BatchNorm1.var"):
        from_torch(state, net)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("kind", ["dict", "file"])
def test_other_dtypes_are_converted_and_said(name, kind, tmp_path):
    module, net, x = made("mlp", "float32")
    module = module.to(getattr(torch, name))
    weights = module
    if kind == "file":
        weights = tmp_path / "weights.safetensors"
        safetensors_torch.save_file(module.state_dict(), weights)
    with pytest.warns(ConversionWarning, match=f"6 of 6 arrays are {name}; they became float32") as warned:
        from_torch(weights, net)
    assert warned[0].filename == __file__
    for mine, theirs in (("W1", module[0].weight), ("b3", module[4].bias)):
        expected = theirs.detach().to(torch.float32).numpy()
        np.testing.assert_array_equal(net.params[mine], expected.T if mine == "W1" else expected)
    assert check_predictions(module.float(), net, x) < 1e-4


def test_numbers_that_are_none_are_refused():
    module, net, _ = made("mlp")
    state, before = module.state_dict(), dict(net.params)
    state["2.bias"][1] = float("nan")
    with pytest.raises(CheckpointError, match=r"2.bias of the state_dict has 1 of 5 values that are NaN or infinite"):
        from_torch(state, net)
    state["2.bias"][1] = 1e300
    from_torch(state, net)
    small = PAIRS["mlp"][1](dtype="float32", backend="numpy")
    with pytest.raises(CheckpointError, match=r"2.bias of .* NaN or infinite, in float32"):
        from_torch(state, small)
    state["2.bias"] = torch.ones(5, dtype=torch.int32)
    with pytest.raises(CheckpointError, match=r"2.bias of the state_dict is int32, expected one of float16"):
        from_torch(state, net)
    assert before.keys() == net.params.keys()


def test_pickles_are_not_opened(tmp_path):
    _, net, _ = made("mlp")
    torch.save(made("mlp")[0].state_dict(), tmp_path / "zip.pt")
    torch.save(made("mlp")[0].state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("zip.pt", "old.pt"):
        with pytest.raises(CheckpointError, match=rf"{name} is a pickle, .* torch.load\(path, weights_only=True\)"):
            from_torch(tmp_path / name, net)
        from_torch(torch.load(tmp_path / name, weights_only=True), net)


def test_other_files(tmp_path):
    net = TwoLayerNet(4, 5, 3, seed=0, backend="numpy")
    net.save(tmp_path / "own.safetensors")
    with pytest.raises(CheckpointError, match=r"a file of xpnet's own: net.load\(path\)"):
        from_torch(tmp_path / "own.safetensors", net)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a.weight": "a.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"in which files the arrays are; safetensors.torch.load_file"):
        from_torch(tmp_path / "model.safetensors.index.json", net)
    (tmp_path / "text").write_text("weights")
    with pytest.raises(CheckpointError, match="text cannot be read as safetensors"):
        from_torch(str(tmp_path / "text"), net)
    with pytest.raises(OSError, match="nowhere"):
        from_torch(tmp_path / "nowhere", net)
    with pytest.raises(CheckpointError, match="is no file"):
        from_torch(tmp_path, net)
