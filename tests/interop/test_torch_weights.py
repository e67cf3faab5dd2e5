"""Weights from PyTorch and back: equal predictions, as torch.nn computes them, are what is asked."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from torch_modules import PAIRS, made

from xpnet import Sequential, TwoLayerNet
from xpnet.interop import check_predictions, from_torch, save_torch, to_torch
from xpnet.layers import Affine, Residual
from xpnet.layers.base import Layer

torch = pytest.importorskip("torch", reason="torch is not installed, whose modules are what is compared with")
nn = torch.nn
safetensors_torch = pytest.importorskip("safetensors.torch", reason="safetensors is not installed, which reads files")


@pytest.mark.parametrize("case", PAIRS)
def test_predictions_are_those_of_the_module(case, backend_name):
    if backend_name not in ("numpy", "torch", "jax"):
        pytest.skip("once a kind of library")
    module, net, x = made(case, backend=backend_name)
    with pytest.raises(ValueError, match="apart"):
        check_predictions(module, net, x)
    assert module.training
    from_torch(module, net)
    module.eval()
    with torch.no_grad():
        theirs = module(torch.tensor(net.backend.to_numpy(x))).numpy()
    np.testing.assert_allclose(net.backend.to_numpy(net.predict(x)), theirs, rtol=1e-9, atol=1e-9)
    assert check_predictions(module, net, x) < 1e-9


@pytest.mark.parametrize("case", PAIRS)
def test_the_way_back(case, tmp_path):
    module, net, x = made(case)
    other, _, _ = made(case)
    from_torch(module, net)
    with torch.no_grad():
        for p in [*other.parameters(), *other.buffers()]:
            p.zero_()
    other.load_state_dict(to_torch(net, module))
    assert check_predictions(other, net, x) < 1e-9
    assert list(to_torch(net, module)) == list(module.state_dict())
    for name, tensor in module.state_dict().items():
        assert torch.equal(to_torch(net, module)[name], tensor), name
    save_torch(net, tmp_path / "weights.safetensors", module)
    other.load_state_dict(safetensors_torch.load_file(tmp_path / "weights.safetensors"))
    assert check_predictions(other, net, x) < 1e-9


def test_under_own_names_modules_take_them(tmp_path):
    _, net, x = made("normalized")
    (first, inner) = net.chain.parts, net.layers["Residual1"].inner.parts
    theirs = [nn.Linear(6, 5), nn.BatchNorm1d(5), nn.GELU(), None, nn.Linear(5, 3)]
    inside = OrderedDict(zip([p.name for p in inner], [nn.Linear(5, 5), nn.LayerNorm(5), nn.Tanh()], strict=True))

    class Named(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    named = dict(zip([p.name for p in first], theirs, strict=True)) | {"Residual1": Named(inside)}
    module = nn.Sequential(OrderedDict(named)).double()
    module.load_state_dict(to_torch(net))
    assert check_predictions(module, net, x) < 1e-9
    save_torch(net, tmp_path / "weights.safetensors")
    modules = from_torch(tmp_path / "weights.safetensors", made("normalized")[1])
    assert modules == {name: name for name in modules}


def test_tensors_share_no_memory_with_the_network():
    net = TwoLayerNet(3, 4, 2, seed=0, backend="numpy")
    state, before = to_torch(net), {name: p.copy() for name, p in net.params.items()}
    for tensor in state.values():
        tensor.fill_(7)
    source = {
        "a.weight": torch.ones(4, 3),
        "a.bias": torch.ones(4),
        "b.weight": torch.ones(2, 4),
        "b.bias": torch.ones(2),
    }
    assert all((net.params[name] == p).all() for name, p in before.items())
    from_torch(source, net)
    source["a.weight"].fill_(7)
    assert (net.params["W1"] == 1).all()


def test_other_things_than_weights_and_networks():
    net = TwoLayerNet(4, 5, 3, backend="numpy")
    with pytest.raises(TypeError, match=r"expected a state_dict, a torch.nn.Module, or the path"):
        from_torch([np.ones(3)], net)
    with pytest.raises(
        TypeError, match=r"'state_dict' .* expected an array; if this is the state_dict, give weights\['sta"
    ):
        from_torch({"state_dict": {}, "epoch": 3}, net)
    with pytest.raises(TypeError, match="the name 3, expected text"):
        from_torch({3: np.ones(3)}, net)
    with pytest.raises(TypeError, match="net is of type Linear, expected a network"):
        from_torch({}, nn.Linear(4, 5))
    with pytest.raises(TypeError, match="net is of type dict, expected a network"):
        to_torch({})
    with pytest.raises(TypeError, match=r"expected a torch.nn.Module"):
        check_predictions(net, net, np.ones((1, 4), "float32"))


class Scale(Layer):
    def init(self, rng, weight_init):
        return {"scale": np.ones(3)}

    def forward(self, params, x):
        return x * params["scale"], x

    def backward(self, params, x, dy):
        return dy * params["scale"], {"scale": (dy * x).sum(0)}


def test_a_layer_of_ones_own_has_no_names_there():
    net = Sequential([Affine(4, 3), Residual(Scale())], backend="numpy")
    for call in (lambda: to_torch(net), lambda: from_torch({}, net)):
        with pytest.raises(
            TypeError, match=r"Residual1 is Scale.*; PyTorch's names are known of Affine.*net.params\[name"
        ):
            call()


def test_a_bias_that_has_no_place_in_pytorch_is_not_lost_in_silence():
    module, net, _ = made("resnet without biases")
    from_torch(module, net)
    to_torch(net, module)
    net.params["b1"] += 1
    with pytest.raises(ValueError, match="b1 has no place in the state_dict, and is not zero"):
        to_torch(net, module)


def test_scores_that_are_none_or_of_another_shape_do_not_pass():
    module, net, x = made("mlp")
    from_torch(module, net)
    net.params["b1"][0] = np.nan
    with pytest.raises(ValueError, match="apart by nan"):
        check_predictions(module, net, x)
    with pytest.raises(ValueError, match=r"shape \(9, 3\), the module \(9, 5\)"):
        check_predictions(module[:4], made("mlp")[1], x)


def test_a_network_that_took_weights_can_be_trained():
    module, net, x = made("mlp")
    from_torch(module, net)
    t = np.arange(9) % 3
    torch_loss = nn.functional.cross_entropy(module(torch.as_tensor(x)), torch.as_tensor(t))
    torch_loss.backward()
    np.testing.assert_allclose(float(net.loss(x, t)), torch_loss.item(), rtol=1e-9)
    np.testing.assert_allclose(net.gradient(x, t)["W2"], module[2].weight.grad.numpy().T, rtol=1e-7, atol=1e-12)
