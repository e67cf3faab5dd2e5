"""The book's classes against the figures it prints."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import book, layers, losses


def test_two_apples_and_tax():
    apple_layer, tax_layer = book.MulLayer(), book.MulLayer()
    price = tax_layer.forward(apple_layer.forward(100, 2), 1.1)
    assert price == pytest.approx(220)
    dapple_price, dtax = tax_layer.backward(1)
    dapple, dnumber = apple_layer.backward(dapple_price)
    assert (dapple, dnumber, dtax) == pytest.approx((2.2, 110, 200))


def test_apples_and_oranges():
    apple, orange, both, tax = book.MulLayer(), book.MulLayer(), book.AddLayer(), book.MulLayer()
    total = tax.forward(both.forward(apple.forward(100, 2), orange.forward(150, 3)), 1.1)
    assert total == pytest.approx(715)
    dboth, dtax = tax.backward(1)
    dapples, doranges = both.backward(dboth)
    assert (*apple.backward(dapples), *orange.backward(doranges), dtax) == pytest.approx((2.2, 110, 3.3, 165, 650))


def test_simple_net_of_the_tutorial(array, backend):
    """Figures that the gradient tutorials print."""
    x, t = array([0.6, 0.9]), array([0, 0, 1])
    net = book.simpleNet(array([[1.92087598, 0.63971089, -0.26820797], [0.58411529, -0.04610929, -0.88999594]]))
    np.testing.assert_allclose(backend.to_numpy(net.predict(x)), [1.67822935, 0.34232817, -0.96192113], atol=1e-8)
    assert float(net.loss(x, t)) == pytest.approx(2.92853604814, abs=1e-7)
    net = book.simpleNet(array([[1.83160192, 0.4900981, -0.94188042], [-0.24946104, 2.91410946, -0.00695892]]))
    expected = [[0.06708443, 0.51711391, -0.58419835], [0.10062665, 0.77567087, -0.87629752]]
    np.testing.assert_allclose(backend.to_numpy(net.gradient(x, t)), expected, atol=1e-6)
    assert book.simpleNet(seed=0).W.shape == (2, 3)


@pytest.mark.usefixtures("at_home")
def test_book_layers_are_the_pure_ones(training_backend, array, rng):
    b = training_backend
    x, W, bias, dy = (array(rng.normal(size=s)) for s in ((4, 2, 3), (6, 5), (5,), (4, 5)))
    ours, pure, params = book.Affine(W, bias), layers.Affine(6, 5), {"W": W, "b": bias}
    y, residuals = pure.forward(params, x)
    dx, grads = pure.backward(params, residuals, dy)
    np.testing.assert_array_equal(b.to_numpy(ours.forward(x)), b.to_numpy(y))
    np.testing.assert_array_equal(b.to_numpy(ours.backward(dy)), b.to_numpy(dx))
    np.testing.assert_array_equal(b.to_numpy(ours.dW), b.to_numpy(grads["W"]))
    np.testing.assert_array_equal(b.to_numpy(ours.db), b.to_numpy(grads["b"]))
    for stateful, kind in ((book.Relu(), layers.ReLU()), (book.Sigmoid(), layers.Sigmoid())):
        z, residuals = kind.forward({}, y)
        np.testing.assert_array_equal(b.to_numpy(stateful.forward(y)), b.to_numpy(z))
        np.testing.assert_array_equal(b.to_numpy(stateful.backward(dy)), b.to_numpy(kind.gradient(residuals, dy)))
    last, t = book.SoftmaxWithLoss(), array([0, 4, 2, 1])
    loss, residuals = losses.SoftmaxWithLoss().forward(y, t)
    assert float(last.forward(y, t)) == float(loss) == float(last.loss)
    np.testing.assert_array_equal(b.to_numpy(last.backward()), b.to_numpy(losses.SoftmaxWithLoss().backward(residuals)))
    np.testing.assert_allclose(b.to_numpy(last.y).sum(axis=1), 1)


def test_book_layers_say_what_is_missing():
    for layer in (book.MulLayer(), book.Relu(), book.Sigmoid(), book.Affine(np.zeros((2, 2)), np.zeros(2))):
        with pytest.raises(RuntimeError, match="backward was called before forward"):
            layer.backward(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="labels from 1 to 3; there are 3 classes"):
        book.SoftmaxWithLoss().forward(np.zeros((2, 3)), np.asarray([1, 3]))
