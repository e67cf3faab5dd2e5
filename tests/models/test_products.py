"""How large the products of networks are."""

import pytest

from xpnet import Sequential, TwoLayerNet
from xpnet.layers import Affine, Chain, Embedding, Function, ReLU, Residual, TimeDistributed
from xpnet.models.products import largest_product


@pytest.mark.parametrize(
    ("net", "shape", "expected"),
    [
        (lambda: TwoLayerNet(784, 50, 10), (784,), 784 * 50),
        (lambda: TwoLayerNet(784, 50, 10), (28, 28), 784 * 50),
        (lambda: Sequential([Affine(4, 5), ReLU(), Affine(5, 60)]), (4,), 300),
        (lambda: Sequential([TimeDistributed(Affine(4, 6))]), (7, 4), 7 * 4 * 6),
        (lambda: Sequential([Affine(3, 4), Residual(Chain(Affine(4, 90), ReLU(), Affine(90, 4)))]), (3,), 360),
        (lambda: Sequential([Embedding(10_000, 8), Affine(16, 3)]), (2,), 48),
        (lambda: Sequential([Affine(3, 4), Function(lambda x, a: x * a, {"a": (4,)})]), (3,), 12),
    ],
    ids=["seed", "images", "wide end", "time steps", "residual", "embedding", "a factor"],
)
def test_the_largest_product_is_found(net, shape, expected):
    assert largest_product(net().chain, shape) == expected


def test_a_shape_that_does_not_fit_is_for_the_layers_to_say():
    net = TwoLayerNet(784, 50, 10)
    assert largest_product(net.chain, (3,)) == 0
    with pytest.raises(ValueError, match="x has 3 columns, expected 784"):
        net.predict([[0.0, 1.0, 2.0]])
