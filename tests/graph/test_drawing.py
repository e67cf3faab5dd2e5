"""From a graph to its picture: what is drawn, what is written on the arrows, and the files it becomes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xpnet import TwoLayerNet, use_backend
from xpnet.book import AddLayer, MulLayer
from xpnet.functions import sigmoid
from xpnet.graph import constant, draw, group, variable

SPECIFIED = """
        100        200        220
(apple) ----> (*) ----> (*) ----> (pay)
         2.2   ^   1.1   ^    1
             2 |     1.1 |
           110 |     200 |
           (number)    (tax)
"""


@pytest.fixture
def selected(backend):
    """The backend of this test, on which plain numbers become arrays."""
    with use_backend(backend):
        yield backend


def shopping():
    apple, number, tax = variable(100, "apple"), variable(2, "number"), variable(1.1, "tax")
    pay = apple * number * tax
    pay.name = "pay"
    return pay


def arrows(drawing):
    """{(label, label): (forward, backward)}; of arrows between the same two the last."""
    scene = drawing.scene
    labels = {n.key: n.label for n in scene.nodes}
    return {(labels[a.source], labels[a.target]): (a.forward, a.backward) for a in scene.arrows}


def test_two_apples_with_tax(selected):
    drawing = draw(shopping())
    assert arrows(drawing) == {
        ("apple", "*"): ("100", "2.2"),
        ("number", "*"): ("2", "110"),
        ("*", "*"): ("200", "1.1"),
        ("tax", "*"): ("1.1", "200"),
        ("*", "pay"): ("220", "1"),
    }
    assert str(drawing).split() == SPECIFIED.split()


def test_the_text_is_laid_out_as_specified():
    drawn, wanted = str(draw(shopping())).splitlines(), SPECIFIED.strip("\n").splitlines()
    assert [line.split() for line in drawn] == [line.split() for line in wanted]
    for ours, theirs in zip(drawn, wanted, strict=True):  # texts are centred, to a column
        for word in set(theirs.split()):
            assert abs(ours.index(word) - theirs.index(word)) <= 1, (ours, theirs)


def test_local_computation(selected):
    found = []
    for other in (variable(4000, "other"), variable(8, "cakes") * variable(500, "cake")):
        apple, number, tax = variable(100, "apple"), variable(2, "number"), variable(1.1, "tax")
        basket = apple * number + other
        basket.name = "basket"
        pay = basket * tax
        pay.backward()
        assert float(pay) == pytest.approx(4620, rel=1e-6)
        assert arrows(draw(pay))["+", "*"] == ("basket = 4200", "1.1")
        found.append([float(v.grad) for v in (apple, number, tax, basket)])
    np.testing.assert_allclose(found, [[2.2, 110, 4200, 1.1]] * 2, rtol=1e-6)


def test_apples_and_oranges_by_graph_and_by_layers(selected):
    apple, apples, orange, oranges, tax = (variable(n) for n in (100, 2, 150, 3, 1.1))
    pay = (apple * apples + orange * oranges) * tax
    pay.backward()
    mul1, mul2, add, mul3 = MulLayer(), MulLayer(), AddLayer(), MulLayer()
    price = mul3.forward(add.forward(mul1.forward(100, 2), mul2.forward(150, 3)), 1.1)
    d_sum, d_tax = mul3.backward(1)
    d1, d2 = add.backward(d_sum)
    assert float(pay) == pytest.approx(price, rel=1e-6)
    assert price == pytest.approx(715)
    by_graph = [float(v.grad) for v in (apple, apples, orange, oranges, tax)]
    np.testing.assert_allclose(by_graph, [*mul1.backward(d1), *mul2.backward(d2), d_tax], rtol=1e-6)
    np.testing.assert_allclose(by_graph, [2.2, 110, 3.3, 165, 650], rtol=1e-6)


def test_the_chain_rule_is_written_on_the_arrows():
    x, y = variable(3, "x"), variable(2, "y")
    t = x + y
    z = t**2
    t.name, z.name = "t", "z"
    assert arrows(draw(z)) == {
        ("x", "+"): ("3", "10"),
        ("y", "+"): ("2", "10"),
        ("+", "**2"): ("t = 5", "10"),
        ("**2", "z"): ("25", "1"),
    }


def test_a_neuron(selected):
    w, x, b = [variable(0.5), variable(-0.4)], [1.0, 2.0], variable(0.1)
    phi = sigmoid(w[0] * x[0] + w[1] * x[1] + b)
    phi.backward()
    value = 1 / (1 + math.exp(-(0.5 - 0.8 + 0.1)))
    for wi, xi in zip(w, x, strict=True):
        assert float(wi.grad) == pytest.approx((1 - value) * value * xi, rel=1e-6)


def test_a_network_is_folded_into_its_layers(training_backend, digits):
    (x, t), _ = digits
    net = TwoLayerNet(784, 50, 10, seed=0, backend=training_backend)
    x, t = training_backend.asarray(x[:3]), training_backend.asarray(t[:3])
    drawing = draw(net, x, t)
    kinds = [(n.kind, n.label) for n in drawing.scene.nodes]
    assert [label for kind, label in kinds if kind == "group"] == ["Affine1", "Relu1", "Affine2", "Softmax with loss"]
    assert {label for kind, label in kinds if kind == "input"} == {"x", "t", "W1", "b1", "W2", "b2"}
    found, grads = arrows(drawing), net.gradient(x, t)
    for name, layer in (("W1", "Affine1"), ("W2", "Affine2"), ("b2", "Affine2")):
        g = training_backend.to_numpy(grads[name])
        assert found[name, layer][1] == f"norm {np.linalg.norm(g):.3g}"
    w = training_backend.to_numpy(net.params["W1"])
    assert found["W1", "Affine1"][0] == f"(784, 50) norm {np.linalg.norm(w.astype(float)):.3g}"
    assert found["t", "Softmax with loss"] == ("[5, 0, 4]", "")
    assert found["Softmax with loss", "loss"] == (f"{float(net.loss(x, t)):.6g}", "1")


def test_layers_unfold_on_request(digits):
    (x, t), _ = digits
    net = TwoLayerNet(784, 5, 10, seed=0)
    labels = [n.label for n in draw(net, x[:3], t[:3], unfold="Relu1").scene.nodes]
    assert "maximum" in labels
    assert "Affine1" in labels
    assert "Relu1" not in labels
    everything = draw(net, x[:3], t[:3], unfold=True).scene.nodes
    assert not [n for n in everything if n.kind == "group"]
    assert len(everything) > 25


def test_a_network_is_drawn_by_its_own_forward(digits):
    class Doubled(TwoLayerNet):
        def forward(self, params, x):
            return 2 * super().forward(params, x)

    (x, t), _ = digits
    net = Doubled(784, 5, 10, seed=0)
    drawing = draw(net, x[:3], t[:3])
    assert "*" in [n.label for n in drawing.scene.nodes]
    assert arrows(drawing)["Softmax with loss", "loss"][0] == f"{float(net.loss(x[:3], t[:3])):.6g}"


def test_what_is_used_twice_says_the_sum():
    x = variable(3, "x")
    (node,) = [n for n in draw(x * x).scene.nodes if n.label == "x"]
    assert node.note == "sum 6"
    assert str(draw(x * x)).endswith("derivatives of x: sum 6")
    assert [a.backward for a in draw(x * x).scene.arrows] == ["3", "3", "1"]
    assert not [n.note for n in draw(x * 2).scene.nodes if n.note]


def test_a_group_takes_each_of_its_inputs_by_one_arrow():
    x = variable(np.asarray([1.0, 2.0]), "x")
    with group("sum of squares"):
        y = np.sum(x * x) + 0 * np.sum(x)
    assert arrows(draw(y)) == {("x", "sum of squares"): ("[1, 2]", "[2, 4]"), ("sum of squares", "y"): ("5", "1")}


def test_operations_with_a_number_or_an_index_say_it():
    x = variable(np.asarray([1.0, 2.0, 3.0]), "x")
    y = 1 / x[0] + (3 - x[1:][1]) ** 2 + 2 ** x[-1] + np.sum(x[None, ::2]) / 4
    labels = {n.label for n in draw(y).scene.nodes if n.kind == "operation"}
    assert {"1/", "3-", "**2", "2**", "[0]", "[1:]", "[1]", "[-1]", "[None, ::2]", "sum", "/4"} <= labels


def test_arrays_are_shown_by_shape_and_norm():
    x = variable(np.full((3, 4), 0.5), "x")
    zeros, labels = constant(np.zeros((3, 4)), "zeros"), constant(np.arange(6) % 2 == 0, "labels")
    found = arrows(draw(np.sum(x * zeros) + np.sum(np.where(labels, 1.0, 2.0))))
    assert found["x", "*"] == ("(3, 4) norm 1.73", "zeros")
    assert found["zeros", "*"] == ("(3, 4) zeros", "")
    assert found["labels", "where"] == ("(6,) bool", "")


def test_forward_or_backward_alone():
    assert set(arrows(draw(shopping(), backward=False)).values()) == {
        (t, "") for t in ("100", "2", "200", "1.1", "220")
    }
    assert set(arrows(draw(shopping(), forward=False)).values()) == {("", t) for t in ("2.2", "110", "1.1", "200", "1")}


def test_a_seed_goes_with_what_is_no_number():
    x = variable(np.asarray([1.0, 2.0]), "x")
    with pytest.raises(ValueError, match=r"shape \(2,\).*backward=False"):
        draw(x * 3)
    assert arrows(draw(x * 3, seed=np.asarray([1.0, 10.0])))["x", "*"] == ("[1, 2]", "[3, 30]")
    assert arrows(draw(x * 3, backward=False))["x", "*"] == ("[1, 2]", "")


def test_drawing_leaves_the_graph_as_it_was():
    pay = shopping()
    draw(pay)
    assert pay.grad is None
    assert pay.inputs[0].grad is None


def test_what_cannot_be_drawn(digits):
    (x, t), _ = digits
    with pytest.raises(TypeError, match=r"a variable or a network.*list"):
        draw([1, 2])
    with pytest.raises(TypeError, match=r"takes samples and their targets, got 1"):
        draw(TwoLayerNet(784, 5, 10), x[:3])
    with pytest.raises(TypeError, match="x and t with a network only"):
        draw(shopping(), x, t)
    with pytest.raises(ValueError, match="x has 3 samples and t has 2"):
        draw(TwoLayerNet(784, 5, 10), x[:3], t[:2])
    long = variable(1.0)
    for _ in range(1001):
        long = long + 1
    with pytest.raises(ValueError, match=r"2,003 nodes.*1,000.*group"):
        draw(long)


def test_names_that_are_given_are_not_given_again():
    x, y = variable(5.0, "v1"), variable(3.0, "y")
    scene = draw((x - y) * variable(2.0)).scene
    assert sorted(n.label for n in scene.nodes if n.kind in ("input", "output")) == ["v1", "v2", "y", "y2"]


def test_a_group_that_is_not_there_is_not_unfolded(digits):
    (x, t), _ = digits
    with pytest.raises(ValueError, match="unfold names 'affine1', and the groups here are: Affine1, Relu1"):
        draw(TwoLayerNet(784, 5, 10, seed=0), x[:3], t[:3], unfold="affine1")


def test_numbers_are_written_as_people_do():
    x = variable(np.asarray([-0.0, 1e-20, 1.0]), "x")
    big = constant(np.full(5, 1e200), "big")
    found = arrows(draw(np.sum(x * -0.0 - (-1)) + np.sum(big) * 0))
    assert found["x", "*"] == ("[0, 1e-20, 1]", "[0, 0, 0]")
    assert found["*", "-(-1)"][0] == "[0, 0, 0]"
    assert found["big", "sum"][0] == "(5,) norm 2.24e+200"


@pytest.mark.usefixtures("graphviz")
def test_a_name_stays_in_one_line():
    drawing = draw(variable(1.0, "two\nlines") * 2)
    assert "(two lines) --" in str(drawing)
    assert "two lines" in drawing.svg


def test_algebra_and_complex_numbers_are_drawn():
    A, b = variable(np.eye(3) * 2, "A"), variable(np.arange(3.0), "b")
    spectrum = np.fft.rfft(np.linalg.solve(A, b))
    values, _ = np.linalg.eigh(A)
    drawing = draw(np.sum(np.abs(spectrum) ** 2) + np.sum(values) + np.abs(spectrum[0] * 2j))
    labels = [node.label for node in drawing.scene.nodes]
    assert {"linalg.solve", "fft.rfft", "eigh w", "|x|"} <= set(labels)
    assert arrows(drawing)["fft.rfft", "|x|"] == ("(2,) complex, norm 1.73", "complex, norm 3.46")
    assert "complex" in drawing.text()
