"""What ``import common`` and ``import dataset`` find, as the book's scripts write it."""

from __future__ import annotations

import copy
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest

from xpnet import book

OFFERED = {
    "common.functions": "identity_function step_function sigmoid sigmoid_grad relu relu_grad softmax sum_squared_error "
    "cross_entropy_error softmax_loss",
    "common.gradient": "numerical_gradient numerical_gradient_2d",
    "common.layers": "Relu Sigmoid Affine SoftmaxWithLoss Dropout BatchNormalization Convolution Pooling sigmoid "
    "softmax cross_entropy_error im2col col2im",
    "common.optimizer": "SGD Momentum Nesterov AdaGrad RMSprop Adam",
    "common.util": "smooth_curve shuffle_dataset conv_output_size im2col col2im",
    "common.trainer": "Trainer SGD Adam os sys",
    "common.multi_layer_net": "MultiLayerNet Affine numerical_gradient OrderedDict",
    "common.multi_layer_net_extend": "MultiLayerNetExtend BatchNormalization Dropout numerical_gradient OrderedDict",
    "dataset.mnist": "load_mnist init_mnist",
}


@pytest.mark.parametrize("module", OFFERED)
def test_a_star_import_brings_everything_along_and_np(installed, module):
    found = {}
    exec(f"from {module} import *", found)
    assert found["np"] is np
    assert not [name for name in OFFERED[module].split() if name not in found]
    assert getattr(__import__(module), module.partition(".")[2]) is sys.modules[module]


def test_a_name_or_a_module_that_the_book_has_not_is_told(installed):
    with pytest.raises(ImportError, match=r"common\.layers has no LayerNorm, and the book's has none; it has: Aff"):
        exec("from common.layers import LayerNorm")
    with pytest.raises(AttributeError, match=r"common\.util has no plot"):
        exec("import common.util; common.util.plot")
    with pytest.raises(ModuleNotFoundError, match=r"the book has no module common\.models; it has: common\.functions"):
        exec("import common.models")
    with pytest.raises(ModuleNotFoundError, match=r"no module dataset\.ptb; it has: dataset\.mnist"):
        exec("import dataset.ptb")


@pytest.mark.parametrize(
    ("kind", "W", "x"),
    [("Affine", (3, 2), (4, 3)), ("Convolution", (2, 1, 2, 2), (4, 1, 3, 3))],
    ids=["dense", "images"],
)
def test_the_gradient_of_a_first_layers_input_is_that_of_the_moment_it_was_returned(installed, rng, kind, W, x):
    layer = getattr(sys.modules["common.layers"], kind)(rng.normal(size=W), np.zeros(2))
    dout = rng.normal(size=layer.forward(rng.normal(size=x)).shape)
    expected = np.array(layer.backward(dout))
    later = layer.backward(dout)
    layer.W -= 1
    dout *= 0
    assert expected.any()
    for found in (later, copy.deepcopy(later), pickle.loads(pickle.dumps(later))):
        np.testing.assert_array_equal(found, expected)


def test_a_network_can_be_pickled_and_copied(installed, rng):
    layers = sys.modules["common.layers"]
    net = [layers.Affine(rng.normal(size=(3, 2)), np.zeros(2)), layers.Relu(), layers.Dropout(0.0)]
    for again in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        np.testing.assert_array_equal(again[0].W, net[0].W)
        assert [type(layer) for layer in again] == [type(layer) for layer in net]


def test_uninstall_leaves_nothing_behind(few_digits):
    finders = list(sys.meta_path)
    book.install()
    book.install()  # again is once
    assert "common.layers" in sys.modules
    book.uninstall()
    assert not [name for name in sys.modules if name.partition(".")[0] in ("common", "dataset")]
    assert sys.meta_path == finders
    book.uninstall()


@pytest.mark.parametrize(("file", "where"), [("/somewhere/common/__init__.py", "/somewhere"), (None, "elsewhere")])
def test_a_module_of_that_name_from_elsewhere_is_left_alone(monkeypatch, file, where):
    theirs = ModuleType("common")
    if file:
        theirs.__file__ = file
    monkeypatch.setitem(sys.modules, "common", theirs)
    with pytest.raises(ImportError, match=f"'common' is imported already, from {where}"):
        book.install()
    assert sys.modules["common"] is theirs
    assert "dataset" not in sys.modules


def test_digits_come_in_all_the_forms_of_the_loader(installed, capsys):
    from dataset.mnist import init_mnist, load_mnist

    (x, t), (x_test, t_test) = load_mnist()
    assert (x.shape, x.dtype, t.shape, t.dtype) == ((600, 784), np.float32, (600,), np.uint8)
    assert (x_test.shape, t_test.shape, x.max()) == ((200, 784), (200,), 1)
    (images, rows), _ = load_mnist(normalize=False, flatten=False, one_hot_label=True)
    assert (images.shape, images.dtype, rows.shape, rows.dtype) == ((600, 1, 28, 28), np.uint8, (600, 10), np.float64)
    np.testing.assert_array_equal(rows.argmax(1), t)
    assert (rows.sum(1) == 1).all()
    np.testing.assert_allclose(images.reshape(600, 784) / 255, x, atol=1e-7)
    init_mnist()
    assert "nothing to download" in capsys.readouterr().out


def test_functions_of_the_book():
    from xpnet.book import functions as f

    x = np.asarray([-2.0, 0.0, 3.0])
    assert f.step_function(x).tolist() == [0, 0, 1]
    assert f.step_function(x).dtype.kind == "i"
    assert f.step_function(0.5) == 1
    np.testing.assert_allclose(f.sigmoid(x), [0.11920292202211755, 0.5, 0.9525741268224334])
    np.testing.assert_allclose(f.sigmoid_grad(x), [0.10499358540350662, 0.25, 0.045176659730912], rtol=1e-12)
    assert f.sigmoid(np.asarray([-1e4, 1e4])).tolist() == [0, 1]
    assert f.relu(x).tolist() == [0, 0, 3]
    assert f.relu_grad(x).tolist() == [0, 1, 1]
    assert f.identity_function(x) is x
    np.testing.assert_allclose(f.softmax(np.asarray([1010.0, 1000.0])), [1 / (1 + np.exp(-10)), 1 / (1 + np.exp(10))])
    np.testing.assert_allclose(f.softmax(np.zeros((3, 4))), 0.25)
    assert f.sum_squared_error(np.asarray([1.0, 2.0]), np.asarray([0.0, 4.0])) == 2.5
    y = np.asarray([[0.1, 0.9], [0.6, 0.4]])
    expected = -(np.log(0.9 + 1e-7) + np.log(0.6 + 1e-7)) / 2
    for t in ([1, 0], [[1], [0]], [[0, 1], [1, 0]]):
        assert f.cross_entropy_error(y, np.asarray(t)) == pytest.approx(expected, rel=1e-14)
        assert f.cross_entropy_error(y, t) == pytest.approx(expected, rel=1e-14)
    assert f.cross_entropy_error(y[0], [0, 1]) == pytest.approx(-np.log(0.9 + 1e-7), rel=1e-14)
    assert f.cross_entropy_error(np.asarray([0.0, 1.0]), np.asarray([1, 0])) == pytest.approx(-np.log(1e-7))
    assert f.softmax_loss(np.zeros((2, 4)), np.asarray([1, 3])) == pytest.approx(np.log(4), abs=1e-6)


@pytest.mark.parametrize("name", OFFERED["common.optimizer"].split())
def test_one_step_of_floats_and_of_arrays(name):
    """From -7 with slope -0.7: what the first step of each rule is, worked out by hand."""
    g, lr = -0.7, 0.1
    first = {
        "SGD": lr * g,
        "Momentum": lr * g,
        "Nesterov": 1.9 * lr * g,
        "AdaGrad": lr * g / (abs(g) + 1e-7),
        "RMSprop": lr * g / (0.1 * abs(g) + 1e-7),
        "Adam": lr * g / (abs(g) + 1e-7 / 0.001**0.5),
    }[name]
    params = {"x": -7.0, "W": np.full((2, 2), -7.0)}
    array = params["W"]
    for kind in ({"x": params["x"]}, {"W": array}):
        getattr(book, name)(lr=lr).update(kind, {"x": g} if "x" in kind else {"W": np.full((2, 2), g)})
        found = kind.get("x", array)
        np.testing.assert_allclose(found, -7 - first, rtol=1e-12)
    assert kind["W"] is array  # in place, so that layers see it


def test_a_learning_rate_may_change_on_the_way():
    momentum, w, v = book.Momentum(lr=0.1), {"w": np.asarray([1.0])}, 0.0
    expected = 1.0
    for lr, g in ((0.1, 2.0), (0.1, -1.0), (0.05, 3.0)):
        momentum.lr = lr
        momentum.update(w, {"w": np.asarray([g])})
        v = 0.9 * v - lr * g
        expected += v
        assert w["w"][0] == pytest.approx(expected)
    with pytest.raises(ValueError, match="the learning rate is -1"):
        momentum.lr = -1
    assert momentum.lr == 0.05
    with pytest.raises(AttributeError, match="Momentum has no learning_rate; it has: lr"):
        momentum.learning_rate = 1


def test_one_optimizer_without_memory_serves_two_networks():
    sgd = book.SGD(lr=0.5)
    for shape in ((2,), (3, 3), (2,)):
        params = {"W": np.ones(shape)}
        sgd.update(params, {"W": np.ones(shape)})
        assert (params["W"] == 0.5).all()


class Quadratic:
    """A network whose loss is half the distance of W from the samples' mean."""

    def __init__(self):
        self.params = {"W": np.zeros(2)}

    def gradient(self, x, t):
        return {"W": self.params["W"] - x.mean(0)}

    def loss(self, x, t):
        return 0.5 * ((self.params["W"] - x.mean(0)) ** 2).sum()

    def accuracy(self, x, t):
        return len(x) / 100


def test_the_trainer_prints_and_remembers(installed, capsys):
    from common.trainer import Trainer

    x, t = np.tile([1.0, 3.0], (30, 1)), np.zeros(30, int)
    trainer = Trainer(Quadratic(), x, t, x[:20], t[:20], 3, 10, "sgd", {"lr": 0.5}, evaluate_sample_num_per_epoch=8)
    trainer.train()
    losses = [5 * 0.25**k for k in range(1, 10)]  # each step halves the distance
    np.testing.assert_allclose(trainer.train_loss_list, losses)
    assert (trainer.train_acc_list, trainer.test_acc_list) == ([0.08] * 3, [0.08] * 3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"train loss:{losses[0]}", "=== epoch:1, train acc:0.08, test acc:0.08 ==="]
    assert lines[-2:] == ["=============== Final Test Accuracy ===============", "test acc:0.2"]
    assert len(lines) == 9 + 3 + 2
    Trainer(Quadratic(), x, t, x, t, epochs=1, verbose=False).train()
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="optimizer is 'adamw', expected one of: sgd, momentum, nesterov"):
        Trainer(Quadratic(), x, t, x, t, optimizer="adamw")


def test_an_epoch_of_no_whole_number_of_steps_is_met_where_it_is(installed):
    from common.trainer import Trainer

    x, t = np.ones((25, 2)), np.zeros(25)
    trainer = Trainer(Quadratic(), x, t, x, t, epochs=4, mini_batch_size=10, verbose=False)
    trainer.train()
    assert (len(trainer.train_loss_list), len(trainer.train_acc_list)) == (10, 2)  # steps 0 and 5 of 2.5 an epoch
