"""Networks: gradients on real digits against the oracles, one seed everywhere, and bad input refused."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from bad_inputs import BAD
from oracles import assert_close, gradients

from xpnet import MultiLayerNet, Sequential, TwoLayerNet, get_backend
from xpnet.layers import ACTIVATIONS, Affine, Identity, ReLU, Softmax, Tanh
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SumSquaredError


def networks(backend):
    """One of each kind, small enough for central differences."""
    common = {"seed": 1, "dtype": "float64", "backend": backend}
    yield TwoLayerNet(6, 5, 4, weight_init_std=0.5, **common)
    for name in ACTIVATIONS:
        yield MultiLayerNet(6, [5, 3], 4, activation=name, weight_init="xavier", **common)
    yield Sequential([Affine(6, 4)], **common)
    yield Sequential([Identity(), Affine(6, 5), Tanh(), Affine(5, 4), Softmax()], SumSquaredError(), **common)
    yield Sequential([Tanh(), ReLU(), Affine(6, 4)], MeanSquaredError(), **common)
    yield Sequential([Affine(6, 4)], SigmoidWithLoss(), **common)


@pytest.mark.parametrize("k", range(11))
@pytest.mark.usefixtures("at_home")
def test_gradient(k, training_backend, array, rng):
    net = list(networks(training_backend))[k]
    x, t = rng.normal(size=(7, 6)), np.eye(4)[rng.integers(0, 4, 7)]
    host = {name: training_backend.to_numpy(p).copy() for name, p in net.params.items()}
    fixed = training_backend.asarray(x), training_backend.asarray(t)

    def loss(*values):
        return net.loss_layer.forward(net.forward(dict(zip(host, values, strict=True)), fixed[0]), fixed[1])[0]

    expected, tolerance = gradients(training_backend, loss, *host.values())
    grads = net.gradient(array(x), array(t))
    assert list(grads) == list(net.params)
    for name, wanted in zip(host, expected, strict=True):
        assert_close(training_backend.to_numpy(grads[name]), wanted, tolerance)
    value, same = net.value_and_grad(net.params, *fixed)
    assert float(value) == pytest.approx(float(net.loss(array(x), array(t))), rel=1e-14)
    assert list(same) == list(grads)
    for name, p in net.params.items():
        np.testing.assert_array_equal(training_backend.to_numpy(p), host[name], err_msg="a gradient changes nothing")


def test_gradient_on_digits(training_backend, digits):
    """The book's check: 784-50-10 on three digits, all 39,760 entries against jax.grad or torch's autograd."""
    if training_backend.name not in ("jax", "torch"):
        return
    (x, t), _ = digits
    net = TwoLayerNet(784, 50, 10, seed=0, dtype="float64", backend=training_backend)
    x, t = training_backend.asarray(x[:3], "float64"), training_backend.asarray(t[:3])
    host = {name: training_backend.to_numpy(p).copy() for name, p in net.params.items()}

    def loss(*values):
        return net.loss_layer.forward(net.forward(dict(zip(host, values, strict=True)), x), t)[0]

    expected, _ = gradients(training_backend, loss, *host.values())
    for (name, g), wanted in zip(net.gradient(x, t).items(), expected, strict=True):
        np.testing.assert_allclose(training_backend.to_numpy(g), wanted, rtol=1e-9, atol=1e-15, err_msg=name)


def test_one_seed_gives_one_network(backend):
    ours = TwoLayerNet(784, 50, 10, seed=3, backend=backend)
    reference = TwoLayerNet(784, 50, 10, seed=3, backend="numpy")
    for name, p in reference.params.items():
        np.testing.assert_array_equal(backend.to_numpy(ours.params[name]), p)
    assert reference.params["W1"].std() == pytest.approx(0.01, rel=0.02)
    assert abs(reference.params["W1"].mean()) < 2e-4
    assert not reference.params["b1"].any()
    other = TwoLayerNet(784, 50, 10, seed=4, backend="numpy")
    assert (other.params["W1"] != reference.params["W1"]).mean() > 0.99
    again, anew = (TwoLayerNet(4, 3, 2, backend="numpy").params["W1"] for _ in range(2))
    assert (again != anew).any()


def test_one_sample(backend, array, rng):
    net = TwoLayerNet(6, 5, 4, seed=0, backend=backend, dtype="float64")
    x = rng.normal(size=(3, 6))
    batch = backend.to_numpy(net.predict(array(x)))
    one = net.predict(array(x[1]))
    assert tuple(one.shape) == (4,)
    # each score is a sum of five products, and each of these of one of six; a vector may be added up in another order
    atol = 12 * np.finfo(np.float64).eps * np.abs(batch).max()
    np.testing.assert_allclose(backend.to_numpy(one), batch[1], rtol=0, atol=atol)
    np.testing.assert_allclose(
        float(net.loss(array(x[1]), array(2))), float(net.loss(array(x[1:2]), array([2]))), rtol=1e-14
    )
    assert net.accuracy(array(x[1]), array(batch[1].argmax())) == 1
    grads = net.gradient(array(x[1]), array(np.eye(4)[2]))
    np.testing.assert_allclose(
        backend.to_numpy(grads["W1"]), backend.to_numpy(net.gradient(array(x[1:2]), array([2]))["W1"]), rtol=1e-14
    )


def test_accuracy_is_counted_in_chunks(backend, array, rng, monkeypatch):
    net = TwoLayerNet(6, 5, 4, seed=0, backend=backend, dtype="float64")
    x, t = rng.normal(size=(25, 6)), rng.integers(0, 4, 25)
    expected = (backend.to_numpy(net.predict(array(x))).argmax(axis=1) == t).sum() / 25
    for chunk in (1, 10, 25, 100):
        monkeypatch.setattr("xpnet.models.network.CHUNK", chunk)
        assert net.accuracy(array(x), array(t)) == expected
        assert net.accuracy(array(x), array(np.eye(4)[t])) == expected


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64"])
def test_labels_of_any_integer_dtype(dtype, backend, array, rng):
    net = TwoLayerNet(6, 5, 4, seed=0, backend=backend)
    x, t = array(rng.normal(size=(5, 6)), "float32"), np.asarray([0, 1, 2, 3, 3])
    expected = float(net.loss(x, array(np.eye(4)[t], "float32")))
    assert float(net.loss(x, array(t, dtype))) == pytest.approx(expected, rel=1e-6)
    assert net.accuracy(x, array(t, dtype)) == net.accuracy(x, array(np.eye(4)[t], "float32"))


def test_to_another_backend(backend, array, rng):
    net = TwoLayerNet(6, 5, 4, seed=0, backend=backend)
    there = net.to("numpy")
    assert there.backend == get_backend("numpy")
    assert there.layers == net.layers
    x = rng.normal(size=(3, 6)).astype("float32")
    np.testing.assert_allclose(there.predict(x), backend.to_numpy(net.predict(array(x))), rtol=1e-5)
    there.params["W1"][...] = 0
    assert backend.to_numpy(net.params["W1"]).any(), "the parameters of the two are not the same memory"
    back = there.to(backend)
    assert not backend.to_numpy(back.params["W1"]).any()


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, backend, array):
    x, t, error, message = BAD[case]
    net = TwoLayerNet(6, 5, 4, seed=0, dtype="float64", backend=backend)
    for method in (net.loss, net.accuracy, net.gradient):
        with pytest.raises(error, match=message):
            method(array(x), array(t))


def test_arrays_from_elsewhere(backend, array):
    net = TwoLayerNet(6, 5, 4, seed=0, backend=backend)
    with pytest.raises(TypeError, match=rf"x is of type dict, .*'{backend.name}'; .*net\.backend\.asarray\(x\)"):
        net.predict({})
    if backend.name == "numpy":
        x, name = get_backend("strict").asarray(np.zeros((1, 6), "float32")), "strict"
    else:
        x, name = np.zeros((1, 6), "float32"), "numpy"
    with pytest.raises(TypeError, match=rf"x is a {name} array, .*'{backend.name}'; .*net\.backend\.asarray\(x\)"):
        net.predict(x)
    with pytest.raises(TypeError, match=rf"t is a .* array, .*'{backend.name}'; .*net\.backend\.asarray\(t\)"):
        net.loss(net.backend.asarray(x), get_backend(name).asarray([1]))
    assert net.predict(net.backend.asarray(x)).shape == (1, 4)


def test_another_device():
    there, here = get_backend("strict", "device1"), get_backend("strict", "device2")
    net = TwoLayerNet(6, 5, 4, backend=there)
    with pytest.raises(ValueError, match=r"x is on device .*device2.*, but the network is on .*device1"):
        net.predict(here.asarray(np.zeros((1, 6), "float32")))
    assert net.to("strict", "device2").predict(here.asarray(np.zeros((1, 6), "float32"))).shape == (1, 4)


def test_bad_creation():
    with pytest.raises(ValueError, match="unknown activation 'rely'; known: relu, leaky_relu, sigmoid"):
        MultiLayerNet(6, [5], 4, activation="rely")
    with pytest.raises(ValueError, match=r"unknown initializer 'hee'; known: auto, normal, xavier, glorot, "):
        MultiLayerNet(6, [5], 4, weight_init="hee")
    with pytest.raises(ValueError, match=r"unknown dtype 'int8'; .* float32, float64"):
        TwoLayerNet(6, 5, 4, dtype="int8")
    with pytest.raises(ValueError, match=r"unknown backend 'numppy'; known backends: numpy, cupy"):
        TwoLayerNet(6, 5, 4, backend="numppy")
    with pytest.raises(ValueError, match="at least one layer with parameters"):
        Sequential([ReLU()])
    with pytest.raises(TypeError, match=r"hidden_sizes is 5, expected .*: \[5\]"):
        MultiLayerNet(6, np.int64(5), 4)
    with pytest.raises(TypeError, match=r"ReLU.* is no layer; expected an instance of a subclass"):
        Sequential([Affine(6, 4), ReLU])
    for loss in ("mse", MeanSquaredError):
        with pytest.raises(TypeError, match=r"loss is .*, expected an instance"):
            Sequential([Affine(6, 4)], loss)
    with pytest.raises(ValueError, match="Affine: n_out is 0"):
        TwoLayerNet(6, 0, 4)


def test_dropout_of_a_multi_layer_net_stands_behind_each_activation():
    net = MultiLayerNet(6, [5, 3], 4, dropout=0.25, seed=0, backend="numpy")
    assert list(net.layers) == ["Affine1", "Relu1", "Dropout1", "Affine2", "Relu2", "Dropout2", "Affine3"]
    assert [net.layers[f"Dropout{i}"].rate for i in (1, 2)] == [0.25, 0.25]
    without = MultiLayerNet(6, [5, 3], 4, seed=0, backend="numpy")
    assert all((net.params[k] == w).all() for k, w in without.params.items()), "the same weights, of one seed"


def test_copies_and_pickles(backend, array, rng):
    net = TwoLayerNet(6, 5, 4, seed=0, backend=backend)
    x = array(rng.normal(size=(3, 6)), "float32")
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.backend == net.backend
        np.testing.assert_array_equal(backend.to_numpy(other.predict(x)), backend.to_numpy(net.predict(x)))


def test_methods_can_be_compiled(backend, array, rng):
    """Under jax.jit there are shapes and dtypes to check, and no values."""
    if backend.name != "jax":
        return
    import jax

    net = TwoLayerNet(6, 5, 4, seed=0, backend=backend, dtype="float64")
    x, t = array(rng.normal(size=(3, 6))), array([0, 1, 2])
    assert float(jax.jit(net.loss)(x, t)) == pytest.approx(float(net.loss(x, t)), rel=1e-12)
    np.testing.assert_allclose(jax.jit(net.predict)(x), net.predict(x), rtol=1e-12)
    np.testing.assert_allclose(jax.jit(net.gradient)(x, t)["W1"], net.gradient(x, t)["W1"], rtol=1e-12)
    with pytest.raises(ValueError, match="Affine1: x has 5 columns, expected 6"):
        jax.jit(net.predict)(x[:, :5])
