"""Layers of one's own: with a rule, traced without one, and told of where neither is possible."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from onnx_files import run

from xpnet import Sequential, namespace
from xpnet.layers import Affine, BatchNorm, Chain, Function, GraphLayer, Layer, Residual, Tanh

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@dataclass(frozen=True)
class Bent(GraphLayer):
    """y = a x + tanh(x), with a parameter and a constant."""

    slope: float
    acts_on = "element"

    def init(self, rng, weight_init):
        return {"a": weight_init(rng, (3,))}

    def apply(self, params, x):
        return params["a"] * x + self.slope * namespace(x).tanh(x)


@dataclass(frozen=True)
class Last(Layer):
    """y has the last feature of x: it does not say a shape."""

    def forward(self, params, x):
        return x[:, -1:], None

    def backward(self, params, residuals, dy):
        raise NotImplementedError


class Narrow(Affine):
    """A subclass: what it computes may be another, so it has no rule."""


@pytest.fixture
def rules(monkeypatch):
    """The table of rules, which is as it was after the test."""
    from xpnet.onnx import RULES

    before = dict(RULES)
    yield RULES
    RULES.clear()
    RULES.update(before)


def in_depth(layer):
    """A network in which the layer stands twice, once deep inside."""
    inside = Residual(Chain(replace(layer), BatchNorm(3)))
    return Sequential([Affine(4, 3), layer, inside, Affine(3, 2)], seed=0, backend="numpy")


def test_a_rule_writes_nodes_of_the_layers_name(path, rules):
    from xpnet.onnx import rule

    @rule(Bent)
    def bent(place, layer, x):
        bend = place.node("Mul", place.node("Tanh", x), place.constant("slope", layer.slope))
        return place.node("Add", place.node("Mul", place.array("a"), x), bend)

    net = in_depth(Bent(0.3))
    its = ["Tanh", "Mul", "Mul", "Add"]
    assert [*net.export(path).nodes] == ["Gemm", *its, *its, "BatchNormalization", "Add", "Gemm"]
    graph = onnx.load(path).graph
    names = [node.name for node in graph.node]
    assert names[1:5] == ["Bent1.Tanh", "Bent1.Mul", "Bent1.Mul_2", "Bent1"]
    assert names[8:11] == ["Residual1.Bent1", "Residual1.BatchNorm1", "Residual1"]
    assert {tensor.name for tensor in graph.initializer} - net.params.keys() - net.buffers.keys() == {
        "Bent1.slope",
        "Residual1.Bent1.slope",
    }


def test_a_subclass_may_take_the_rule_of_its_class(path, rules):
    from xpnet.onnx import rule

    rule(Narrow)(rules[Affine])
    assert Sequential([Narrow(4, 3)], backend="numpy").export(path).nodes == ("Gemm",)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "layer",
    [Bent(0.3), Function(lambda x, a: x + a * x * x, {"a": (3,)}), Narrow(3, 3)],
    ids=lambda x: type(x).__name__,
)
def test_a_layer_without_a_rule_is_traced(layer, dtype, path, rng):
    pytest.importorskip("ndonnx")
    net = in_depth(layer)
    written = net.export(path, dtype=dtype)
    x = rng.normal(size=(5, 4)).astype(dtype)
    tolerance = {"float16": 1e-2, "float32": 1e-6, "float64": 1e-6}[dtype]
    assert np.abs(run(path, x) - net.predict(x.astype("float32"))).max() <= tolerance * written.largest
    graph = onnx.load(path).graph
    assert {tensor.name for tensor in graph.initializer} == net.params.keys() | net.buffers.keys()
    assert len({node.name for node in graph.node}) == len(graph.node)
    kinds = [f"{type(layer).__name__}1.", f"Residual1.{type(layer).__name__}1."]
    assert all(any(node.name.startswith(kind) for node in graph.node) for kind in kinds)


def test_a_whole_network_may_be_traced(path, rules):
    pytest.importorskip("ndonnx")
    for kind in {*rules} - {Chain}:
        del rules[kind]
    written = Sequential([Affine(4, 3), Tanh(), BatchNorm(3), Affine(3, 2)], seed=0, backend="numpy").export(path)
    assert written.difference < 1e-6
    assert "Tanh" in written.nodes


def test_without_a_rule_and_without_ndonnx(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ndonnx", None)
    with pytest.raises(ValueError, match=r"^Residual1.Bent1: Bent has no rule; .*@xpnet.onnx.rule\(Bent\), as help"):
        Sequential([Affine(4, 3), Residual(Chain(Bent(0.3)))], backend="numpy").export(path)
    assert not path.exists()


def test_what_cannot_be_traced_is_named(path):
    pytest.importorskip("ndonnx")
    net = Sequential([Affine(4, 3), Function(lambda x: x if float(x[0, 0]) > 0 else -x)], backend="numpy")
    with pytest.raises(ValueError, match=r"^Function1: Function has no rule, and tracing it fails: .*write a rule for"):
        net.export(path)
    assert not path.exists()


def test_a_layer_behind_one_that_says_no_shape(path):
    pytest.importorskip("ndonnx")
    net = Sequential([Affine(4, 3), Last(), Affine(1, 2)], seed=0, backend="numpy")
    with pytest.raises(ValueError, match=r"^Affine2: the shape of its input is not known.*output_shape\(shape\)"):
        net.export(path)
    written = Sequential([Affine(4, 3), Last()], seed=0, backend="numpy").export(path)  # nobody has to know it
    assert written.difference < 1e-6
    assert onnxruntime.InferenceSession(path).get_outputs()[0].shape == ["N", 1]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda place, layer, x: place.node("Tanhh", x), "onnx refuses what was written.*Tanhh"),
        (lambda place, layer, x: place.node("Mul", x, place.array("W")), "^Bent1 has no array 'W'; it has a"),
        (lambda place, layer, x: None, "^Bent1: its rule returned None, expected the name of a value"),
        (lambda place, layer, x: place.node("Add", x, place.array("a")), "onnxruntime .* apart"),
    ],
)
def test_a_rule_that_is_wrong(rule, message, path, rules):
    rules[Bent] = rule
    with pytest.raises(ValueError, match=message):
        Sequential([Affine(4, 3), Bent(0.3)], seed=0, backend="numpy").export(path)
    assert not path.exists()


def test_a_number_of_a_rule_that_is_none(rules, path):
    rules[Tanh] = lambda place, layer, x: place.node("Mul", x, place.constant("factor", np.nan))
    with pytest.raises(ValueError, match=r"^Tanh1.factor is nan, which is no number$"):
        Sequential([Affine(4, 3), Tanh()], backend="numpy").export(path)
