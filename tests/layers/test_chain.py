"""Chains, and networks of nested layers: names, shapes, draws, errors, copies, and gradients against the oracles."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from oracles import assert_close, gradients

from xpnet import Adam, Sequential, check_gradient, load_network, namespace
from xpnet.layers import (
    Add,
    Affine,
    BatchNorm,
    Chain,
    Concat,
    Dropout,
    Embedding,
    Layer,
    ReLU,
    Residual,
    Tanh,
    TimeDistributed,
)


def nested(backend="numpy", **options):
    """Residual blocks in one another, dropout and batch normalization inside them, branches; 4 numbers to 3 classes."""
    inner = Residual(Chain(Dropout(0.2), Affine(5, 6), Tanh(), Affine(6, 5)))
    outer = Residual(Chain(BatchNorm(5), inner, Dropout(0.3), Affine(5, 5)))
    branches = Concat(Affine(5, 2), Chain(Affine(5, 3), Tanh()))
    options = {"seed": 0, "dtype": "float64", "weight_init": 0.5} | options
    return Sequential([Affine(4, 5), outer, branches, Add(Affine(5, 3), Affine(5, 3))], backend=backend, **options)


PARAMETERS = [
    "W1", "b1",
    "Residual1.gamma1", "Residual1.beta1",
    "Residual1.Residual1.W1", "Residual1.Residual1.b1", "Residual1.Residual1.W2", "Residual1.Residual1.b2",
    "Residual1.W1", "Residual1.b1",
    "Concat1.W1", "Concat1.b1", "Concat1.Chain1.W1", "Concat1.Chain1.b1",
    "Add1.W1", "Add1.b1", "Add1.W2", "Add1.b2",
]  # fmt: skip


def test_names_of_nested_arrays():
    net = nested()
    assert list(net.params) == PARAMETERS
    assert list(net.buffers) == ["Residual1.BatchNorm1.mean", "Residual1.BatchNorm1.var"]
    draws = net.draws(np.random.default_rng(0), (7, 4))
    assert {name: a.shape for name, a in draws.items()} == {
        "Residual1.Residual1.Dropout1.mask": (7, 5),
        "Residual1.Dropout1.mask": (7, 5),
    }
    assert net.is_random
    assert list(net.layers) == ["Affine1", "Residual1", "Concat1", "Add1"]


@pytest.mark.parametrize("mode", ["predicting", "training"])
def test_gradients_of_a_nested_network(mode, training_backend, array, rng):
    b = training_backend
    net = nested(b)
    x, t = array(rng.normal(size=(6, 4))), array(rng.integers(0, 3, 6))
    others = net.buffers
    if mode == "training":
        draws = net.draws(np.random.default_rng(0), (6, 4))
        others = others | {name: array(a) for name, a in draws.items()}
    host = [b.to_numpy(p).copy() for p in net.params.values()]

    def loss(*values):
        given = others | dict(zip(net.params, values, strict=True))
        y = net.chain.train(given, x)[0] if mode == "training" else net.chain.predict(given, x)
        return net.loss_layer.forward(y, t)[0]

    wanted, tolerance = gradients(b, loss, *host)
    training = mode == "training"
    found = net.training_value_and_grad(net.params | others, x, t)[1] if training else net.gradient(x, t)
    for g, w in zip(found.values(), wanted, strict=True):
        assert_close(b.to_numpy(g), w, max(tolerance, 1e-8))


def test_a_nested_network_checks_its_own_gradients(training_backend, array, rng):
    net = nested(training_backend)
    x, t = array(rng.normal(size=(6, 4))), array(rng.integers(0, 3, 6))
    assert check_gradient(net, x, t, mode="directional").passed
    if training_backend.name == "numpy":
        report = check_gradient(net, x, t, progress=False)
        assert report.passed
        assert [row.name for row in report.rows] == PARAMETERS


@pytest.mark.parametrize("seed", [0, 7])
def test_draws_are_the_same_for_every_library(seed, backend):
    found = nested(backend).draws(np.random.default_rng(seed), (9, 4))
    wanted = nested("numpy").draws(np.random.default_rng(seed), (9, 4))
    assert found.keys() == wanted.keys()
    for name, a in wanted.items():
        np.testing.assert_array_equal(found[name], a)
    # in the order of the layers, one generator for all of them
    rng = np.random.default_rng(seed)
    first, second = (rng.random((9, 5), dtype="float32") for _ in range(2))
    np.testing.assert_array_equal(wanted["Residual1.Residual1.Dropout1.mask"], first >= 0.2)
    np.testing.assert_array_equal(wanted["Residual1.Dropout1.mask"], second >= 0.3)


def test_dropout_deep_inside_drops(backend, array):
    """It is the mask that decides, and where there is none nothing is dropped."""
    net = Sequential([Residual(Chain(Dropout(0.5))), Affine(3, 3)], seed=0, dtype="float64", backend=backend)
    x, eye = np.ones((2, 3)), {"W1": array(np.eye(3)), "b1": array(np.zeros(3))}
    mask = np.asarray([[True, False, True], [False, False, True]])
    y = net.forward(eye | {"Residual1.Dropout1.mask": array(mask)}, array(x))
    assert backend.to_numpy(y).tolist() == (1 + 2.0 * mask).tolist()
    assert backend.to_numpy(net.forward(eye, array(x))).tolist() == [[2.0] * 3] * 2


def test_a_chain_in_a_network_is_its_layers_in_a_row(backend, array, rng):
    layers = [Affine(4, 5), Tanh(), Affine(5, 3)]
    flat = Sequential(layers, seed=0, dtype="float64", backend=backend)
    deep = Sequential([Chain(Affine(4, 5), Chain(Tanh())), Affine(5, 3)], seed=0, dtype="float64", backend=backend)
    assert list(deep.params) == ["Chain1.W1", "Chain1.b1", "W1", "b1"]
    for a, b in zip(flat.params.values(), deep.params.values(), strict=True):
        np.testing.assert_array_equal(backend.to_numpy(a), backend.to_numpy(b), err_msg="weights look around alike")
    x = array(rng.normal(size=(6, 4)))
    np.testing.assert_array_equal(backend.to_numpy(flat.predict(x)), backend.to_numpy(deep.predict(x)))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda: [Affine(4, 3), ReLU(), Affine(5, 2)],
         r"^Affine2: a sample of shape \(3,\) does not fit, expected 5 elements; it comes from Relu1$"),
        (lambda: [Affine(4, 3), BatchNorm(4)],
         r"^BatchNorm1: a sample of shape \(3,\) does not fit, expected \(4, \.\.\.\); it comes from Affine1$"),
        (lambda: [Affine(4, 3), Residual(Chain(Tanh(), Affine(3, 2)))],
         r"^Residual1: it adds samples of shape \(3,\) and \(2,\), .*; it comes from Affine1$"),
        (lambda: [Affine(4, 3), Residual(Chain(Tanh(), Affine(4, 3)))],
         r"^Residual1\.Affine1: a sample of shape \(3,\) .* expected 4 elements; it comes from Tanh1$"),
        (lambda: [Affine(4, 3), Add(Affine(3, 2), Affine(4, 2))],
         r"^Add1\.Affine2: a sample of shape \(3,\) does not fit, expected 4 elements; it comes from Affine1$"),
        (lambda: [Affine(4, 3), Add(Affine(3, 2), Affine(3, 5)), Affine(2, 2)],
         r"^Add1: its layers make samples of shapes \[\(2,\), \(5,\)\], expected one shape"),
        (lambda: [Concat(Affine(4, 2), Affine(4, 3)), Affine(4, 2)],
         r"^Affine1: a sample of shape \(5,\) does not fit, expected 4 elements; it comes from Concat1$"),
        (lambda: [Affine(4, 3), Residual(Chain(Tanh(), Residual(Chain(Tanh(), Add(Affine(3, 3), Affine(2, 3))))))],
         r"^Residual1\.Residual1\.Add1\.Affine2: a sample of shape \(3,\) .* expected 2 elements"),
    ],
)  # fmt: skip
def test_a_misfit_is_named_with_both_layers_when_the_network_is_made(layers, message):
    with pytest.raises(ValueError, match=message):
        Sequential(layers(), backend="numpy")


@dataclass(frozen=True)
class Broken(Layer):
    """Numbers of its own that do not fit, which it does not notice."""

    backward_too: bool = False

    def forward(self, params, x):
        return (x if self.backward_too else x + namespace(x).ones_like(x[:, :2])), None

    def backward(self, params, residuals, dy):
        return dy + namespace(dy).ones_like(dy[:, :2]), {}


@pytest.mark.parametrize("backward", [False, True])
def test_an_error_of_any_kind_says_where(backward, training_backend, array, rng):
    if training_backend.name == "torch" and backward:
        pytest.skip("one library is enough for each way")
    layers = [Affine(4, 4), Residual(Chain(Tanh(), Add(Affine(4, 4), Chain(Broken(backward)))))]
    net = Sequential(layers, seed=0, dtype="float64", backend=training_backend)
    with pytest.raises(Exception, match=r"shape|broadcast|size") as raised:  # of the library's own kind
        net.value_and_grad(net.params, array(rng.normal(size=(3, 4))), array([0, 1, 2]))
    assert raised.value.__notes__[-1] == "in layer Residual1.Add1.Chain1.Broken1"


def test_a_wrong_input_is_told_by_the_layer_that_gets_it(backend, array):
    layers = [TimeDistributed(Chain(Tanh(), Residual(Chain(Tanh(), Affine(3, 3)))))]
    net = Sequential(layers, seed=0, dtype="float64", backend=backend)
    told = "x has 4 columns, expected 3"
    if backend.name == "dask":  # which asks for shapes before it computes
        told = r"a sample of shape \(4,\) does not fit, expected 3 elements; it comes from Tanh1"
    with pytest.raises(ValueError, match=rf"^TimeDistributed1\.Residual1\.Affine1: {told}$"):
        net.predict(array(np.zeros((2, 5, 4))))


def test_one_object_twice_is_refused_by_name():
    shared = Affine(3, 3)
    for layers, message in [
        ([shared, Tanh(), shared], "^Affine2 is the same object as Affine1, Affine"),
        ([shared, Residual(Chain(Tanh(), shared))], r"^Residual1\.Affine1 is the same object as Affine1"),
        (
            [Add(Tanh(), Chain(Affine(3, 3), shared)), Residual(shared)],
            r"^Residual1 is the same .* Add1\.Chain1\.Affine2",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            Sequential(layers, backend="numpy")
    tanh = Tanh()  # without arrays there is nothing to share
    assert len(Sequential([tanh, Affine(3, 3), tanh], backend="numpy").layers) == 3


def test_a_network_and_a_class_are_no_layers():
    with pytest.raises(TypeError, match=r"Sequential is a whole network, with a loss; put in its layers: net\.chain"):
        Chain(Affine(3, 3), Sequential([Affine(3, 3)], backend="numpy"))
    with pytest.raises(TypeError, match=r"Affine'> is no layer; expected an instance"):
        Residual(Affine)
    with pytest.raises(TypeError, match="a list is no layer; give layers one by one"):
        Chain([Affine(3, 3)])
    with pytest.raises(ValueError, match="Chain has no layers in it"):
        Chain()
    inside = Sequential([Residual(Sequential([Affine(3, 3)], backend="numpy").chain), Affine(3, 2)], backend="numpy")
    assert list(inside.params) == ["Residual1.W1", "Residual1.b1", "W1", "b1"]


def test_containers_are_values():
    one, other = (Residual(Chain(Affine(3, 3), Add(Tanh(), ReLU()), Dropout(0.2))) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert {one: 1}[other] == 1
    assert one != Residual(Chain(Affine(3, 3), Add(ReLU(), Tanh()), Dropout(0.2)))
    assert Add(Tanh(), ReLU()) != Concat(Tanh(), ReLU()) != Chain(Tanh(), ReLU())
    assert TimeDistributed(Tanh()) != Residual(Tanh())
    assert repr(one) == "Residual(Chain(Affine(3, 3), Add(Tanh(), ReLU()), Dropout(0.2)))"
    assert eval(repr(one)) == one
    with pytest.raises(AttributeError):
        one.inner = Tanh()
    with pytest.raises(AttributeError):
        one.inner.layers = ()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_of_a_nested_network(copied, backend, array, rng):
    net, x = nested(backend), array(rng.normal(size=(3, 4)))
    other = copied(net)
    np.testing.assert_array_equal(backend.to_numpy(other.predict(x)), backend.to_numpy(net.predict(x)))
    assert other.chain == net.chain
    assert list(other.params) == PARAMETERS


def test_a_nested_network_is_saved_and_loaded(backend, array, rng, tmp_path):
    net, x = nested(backend), array(rng.normal(size=(3, 4)))
    net.buffers = {name: a + 0.5 for name, a in net.buffers.items()}
    net.save(tmp_path / "net")
    other = load_network(tmp_path / "net", backend=backend)
    assert other.chain == net.chain
    np.testing.assert_array_equal(backend.to_numpy(other.predict(x)), backend.to_numpy(net.predict(x)))
    there = net.to("numpy")
    np.testing.assert_allclose(there.predict(backend.to_numpy(x)), backend.to_numpy(net.predict(x)), rtol=1e-12)


def test_blocks_may_nest_deeply(tmp_path):
    layer = Affine(3, 3)
    for _ in range(25):
        layer = Residual(Chain(layer, Tanh()))
    net = Sequential([layer], seed=0, backend="numpy")
    assert next(iter(net.params)).count("Residual1.") == 25
    net.save(tmp_path / "net")
    assert load_network(tmp_path / "net", backend="numpy").chain == net.chain


def test_the_table_of_a_nested_network():
    assert nested().summary((4,), optimizer=Adam()) == SUMMARY
    assert nested().summary().splitlines()[-1].split()[:2] == ["total", "(3,)"]
    words = Sequential([Concat(Embedding(5, 2), Embedding(5, 3)), Affine(5, 2)], backend="numpy")
    assert [line.split()[:3] for line in words.summary(()).splitlines()[3:5]] == [
        ["Embedding1", "Embedding(5,", "2)"],
        ["Embedding2", "Embedding(5,", "3)"],
    ]


SUMMARY = """\
layer         kind          output      parameters    buffers    draws    slots
------------  ------------  --------  ------------  ---------  -------  -------
Affine1       Affine(4, 5)  (5,)                25          0        0       50
Residual1     Residual      (5,)
  BatchNorm1  BatchNorm(5)  (5,)                10         10        0       20
  Residual1   Residual      (5,)
    Dropout1  Dropout(0.2)  (5,)                 0          0        5        0
    Affine1   Affine(5, 6)  (6,)                36          0        0       72
    Tanh1     Tanh()        (6,)                 0          0        0        0
    Affine2   Affine(6, 5)  (5,)                35          0        0       70
  Dropout1    Dropout(0.3)  (5,)                 0          0        5        0
  Affine1     Affine(5, 5)  (5,)                30          0        0       60
Concat1       Concat        (5,)
  Affine1     Affine(5, 2)  (2,)                12          0        0       24
  Chain1      Chain         (3,)
    Affine1   Affine(5, 3)  (3,)                18          0        0       36
    Tanh1     Tanh()        (3,)                 0          0        0        0
Add1          Add           (3,)
  Affine1     Affine(5, 3)  (3,)                18          0        0       36
  Affine2     Affine(5, 3)  (3,)                18          0        0       36
total                       (3,)               202         10       10      404"""
