"""Names of the book: an error that says ours, wherever they are looked for."""

import importlib
import inspect

import numpy as np
import pytest

import xpnet
from xpnet import SGD, MultiLayerNet, Trainer, TwoLayerNet, gradient_descent
from xpnet.hints import OURS

MODULES = ("xpnet", "xpnet.datasets", "xpnet.functions", "xpnet.layers", "xpnet.book")


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", ["load_mnist", "step_function", "MultiLayerNetExtend", "sigmoid_grad"])
def test_a_name_of_the_book_is_told_as_an_attribute_and_in_an_import(module, name):
    found = importlib.import_module(module)
    with pytest.raises(AttributeError, match=rf"{module} has no {name}; .* here xpnet\."):
        getattr(found, name)
    assert not hasattr(found, name)
    with pytest.raises(ImportError, match=rf"{module} has no {name}; .* here xpnet\."):
        exec(f"from {module} import {name}", {})


@pytest.mark.parametrize("module", MODULES)
def test_other_names_are_missing_as_ever(module):
    found = importlib.import_module(module)
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'nothing'"):
        _ = found.nothing
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec(f"from {module} import nothing", {})


@pytest.mark.parametrize("name", OURS)
def test_what_is_named_is_there(name):
    for part in OURS[name].replace(", and the one that remembers ", " ").replace(", or ", " ").split():
        if part.startswith("xpnet."):
            parts = part.partition("(")[0].rstrip(",").split(".")
            found = xpnet
            for step in parts[1:]:
                found = getattr(found, step)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gradient_descent(sum, init_x=np.ones(2), step_num=3), ["init_x is here x0", "step_num is here steps"]),
        (
            lambda: MultiLayerNet(input_size=4, hidden_size_list=[3], output_size=2),
            ["hidden_size_list is here hidden_"],
        ),
        (
            lambda: MultiLayerNet(4, [3], 2, weight_decay_lambda=0.1),
            ["weight_decay_lambda", "SGD(lr=0.1, weight_decay"],
        ),
        (lambda: MultiLayerNet(4, [3], 2, use_batchnorm=True), ["use_batchnorm", "BatchNorm(50)"]),
        (lambda: MultiLayerNet(4, [3], 2, weight_init_std="he"), ["weight_init_std is here weight_init"]),
        (
            lambda: Trainer(TwoLayerNet(4, 3, 2), SGD(lr=0.1), mini_batch_size=10),
            ["mini_batch_size is here batch_size"],
        ),
        (lambda: Trainer(TwoLayerNet(4, 3, 2), SGD(lr=0.1), epochs=10), ["epochs", "trainer.fit(x, t, epochs=20)"]),
    ],
)
def test_an_argument_of_the_book_is_told(call, words):
    with pytest.raises(TypeError) as error:
        call()
    assert [word for word in words if word not in str(error.value)] == []


def test_signatures_are_those_of_the_functions():
    assert list(inspect.signature(gradient_descent).parameters)[:3] == ["f", "x0", "lr"]
    assert list(inspect.signature(MultiLayerNet).parameters)[:2] == ["input_size", "hidden_sizes"]
    assert list(inspect.signature(Trainer).parameters)[:2] == ["net", "optimizer"]
