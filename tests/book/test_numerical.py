"""The book's numerical gradient: of black boxes, and of losses of layers, in the same numbers and fewer calls."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.book import gradient
from xpnet.book.images import Convolution, Pooling
from xpnet.book.layers import Affine, BatchNormalization, Dropout, PrintedSoftmaxWithLoss, Relu, Sigmoid
from xpnet.book.multi_layer_net import MultiLayerNet, MultiLayerNetExtend

#: Two differences over 2 h = 2e-4 of losses around 2 whose roundings differ: a hundred spacings of 2 over that.
ROUNDING = 100 * 4.4e-16 / 2e-4


class Chain:
    """Layers, and a loss that counts how often it is asked for."""

    def __init__(self, *layers):
        self.layers, self.last, self.calls = layers, PrintedSoftmaxWithLoss(), 0

    def loss(self, x, t):
        self.calls += 1
        for layer in self.layers:
            x = layer.forward(x)
        return self.last.forward(x, t)


def both(monkeypatch, f, p):
    """The gradient, and that of a black box."""
    found = gradient.numerical_gradient(f, p)
    with monkeypatch.context() as patch:
        patch.setattr(gradient, "through_layers", lambda *_: None)
        return found, gradient.numerical_gradient(f, p)


def dense(rng):
    W1, b1, W2, b2 = (rng.normal(size=s) for s in ((6, 5), (5,), (5, 4), (4,)))
    return Chain(Affine(W1, b1), Relu(), Affine(W2, b2)), [W1, b1, W2], rng.normal(size=(3, 6))


def normalized(rng):
    arrays = [rng.normal(size=s) for s in ((6, 9), (9,), (9,), (9,), (9, 4), (4,))]
    W1, b1, gamma, beta, W2, b2 = arrays
    chain = Chain(Affine(W1, b1), BatchNormalization(gamma, beta), Sigmoid(), Affine(W2, b2))
    return chain, arrays[:5], rng.normal(size=(3, 6))


def of_images(rng):
    W1, b1, gamma, beta, W2, b2 = (rng.normal(size=s) for s in ((8, 2, 3, 3), (8,), (72,), (72,), (32, 4), (4,)))
    layers = [Convolution(W1, b1, 2, 1), BatchNormalization(gamma, beta), Relu(), Pooling(2, 2), Affine(W2, b2)]
    return Chain(*layers), [W1, b1, gamma, beta, W2], rng.normal(size=(3, 2, 6, 5))


@pytest.mark.parametrize("make", [dense, normalized, of_images])
def test_a_loss_of_layers_is_asked_for_thrice_and_has_the_gradient_of_a_black_box(monkeypatch, rng, make):
    chain, params, x = make(rng)
    t = np.asarray([3, 0, 1])
    for p in params:
        before, chain.calls = p.copy(), 0
        gradient.numerical_gradient(lambda _: chain.loss(x, t), p)
        assert chain.calls == (3 if p.size >= 8 else 2 * p.size), p.shape
        found, expected = both(monkeypatch, lambda _: chain.loss(x, t), p)
        np.testing.assert_allclose(found, expected, atol=ROUNDING)
        np.testing.assert_array_equal(p, before)


def test_running_statistics_end_where_all_the_calls_would_have_taken_them(monkeypatch, rng):
    states = []
    for through in (gradient.through_layers, lambda *_: None):
        monkeypatch.setattr(gradient, "through_layers", through)
        chain, params, x = normalized(np.random.default_rng(3))
        gradient.numerical_gradient(lambda _, c=chain, x=x: c.loss(x, np.asarray([3, 0, 1])), params[0])
        states.append((chain.layers[1].running_mean, chain.layers[1].running_var))
    np.testing.assert_allclose(*map(np.concatenate, states), atol=1e-4)  # the moves are of h


def test_what_else_depends_on_the_array_makes_f_a_black_box(monkeypatch, rng):
    chain, (W1, _, W2), x = dense(rng)
    t, start = np.asarray([3, 0, 1]), float(W1[0, 0])
    others = {
        "a penalty": lambda: chain.loss(x, t) + 0.05 * float((W1**2).sum()),
        "a small one": lambda: chain.loss(x, t) + 1e-7 * float((W1**2).sum()),
        "a second batch": lambda: chain.loss(x, t) + chain.loss(2 * x, t),
        "no layer's loss": lambda: float(chain.layers[0].forward(x)[0, 0]) ** 2,
        "a root of it": lambda: chain.loss(x, t) ** 0.5,
        "samples": lambda: chain.loss(x * W1[0, 0], t),
        "how many samples": lambda: chain.loss(x[: 2 + int(W1[0, 0] > start)], t[: 2 + int(W1[0, 0] > start)]),
        "another way in": lambda: float(chain.last.forward(np.tanh(chain.layers[0].forward(x))[:, :4], t)),
    }
    for name, f in others.items():
        found, expected = both(monkeypatch, lambda _, f=f: f(), W1)
        np.testing.assert_allclose(found, expected, atol=ROUNDING, err_msg=name)
    chain.layers = (*chain.layers[:2], Dropout(0.0), chain.layers[2])
    found, expected = both(monkeypatch, lambda _: chain.loss(x, t), W2)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_an_array_in_two_layers_is_moved_in_both(monkeypatch, rng):
    W, b, t = rng.normal(size=(4, 4)), rng.normal(size=4), np.asarray([1, 2])
    chain = Chain(Affine(W, b), Sigmoid(), Affine(W, b))
    x = rng.normal(size=(2, 4))
    found, expected = both(monkeypatch, lambda _: chain.loss(x, t), W)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("made", [lambda W: W.T, lambda W: 2 * W.T], ids=["a view", "a copy"])
def test_weights_of_a_layer_behind_that_are_made_of_the_array_move_along(monkeypatch, rng, made):
    W, t = rng.normal(size=(3, 4)), np.asarray([1, 2])
    chain = Chain(Affine(W, np.zeros(4)), Sigmoid(), Affine(made(W), np.zeros(3)))
    x = rng.normal(size=(2, 3))

    def f(_):
        chain.layers[2].W = made(W)
        return chain.loss(x, t)

    found, expected = both(monkeypatch, f, W)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3, 2)])
def test_arrays_of_any_shape_and_f_that_uses_its_argument(rng, shape):
    x = np.asarray(rng.normal(size=shape))
    before = x.copy()
    np.testing.assert_allclose(gradient.numerical_gradient(lambda a: np.sum(a**3), x), 3 * before**2 + 1e-8, atol=1e-8)
    np.testing.assert_array_equal(x, before)
    by_columns = np.asfortranarray(rng.normal(size=(2, 3)))
    np.testing.assert_allclose(gradient.numerical_gradient(lambda a: (a**2).sum(), by_columns), 2 * by_columns)


def test_rows_are_moved_one_by_one():
    X = np.asarray([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(gradient.numerical_gradient_2d(lambda row: row[0] ** 2 * row[1], X), [[4, 1], [24, 9]])
    np.testing.assert_allclose(gradient.numerical_gradient_2d(lambda row: row[0] * row[1], X[0]), [2, 1])


def test_an_entry_is_put_back_if_f_raises():
    x = np.ones(3)
    with pytest.raises(ZeroDivisionError):
        gradient.numerical_gradient(lambda a: 1 / 0 if a[1] != 1 else 0.0, x)
    np.testing.assert_array_equal(x, 1)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.arange(3), "int64, which a small step cannot move"),
        ([1.0, 2.0], "of type list, expected an array"),
        (np.broadcast_to(1.0, (3,)), "cannot be changed in place"),
    ],
)
def test_what_cannot_be_moved_is_refused(x, words):
    with pytest.raises(TypeError, match=words):
        gradient.numerical_gradient(lambda a: 0.0, x)


@pytest.mark.parametrize(
    "options", [{}, {"weight_decay_lambda": 0.1}, {"use_batchnorm": True, "activation": "sigmoid"}], ids=str
)
def test_both_gradients_of_the_networks_agree(rng, options):
    np.random.seed(3)
    net = MultiLayerNetExtend(8, [6, 7], 5, weight_init_std=0.5, **options)
    x, t = rng.normal(size=(4, 8)), np.asarray([0, 4, 2, 2])
    numerical, exact = net.numerical_gradient(x, t), net.gradient(x, t)
    kinds = ("W", "b", "gamma", "beta") if net.use_batchnorm else ("W", "b")
    names = [f"{kind}{k}" for k in (1, 2, 3) for kind in kinds if f"{kind}{k}" in net.params]
    assert list(numerical) == list(exact) == names
    for name, p in net.params.items():
        # the printed loss has 1e-7 in its logarithm, of which backward knows nothing
        np.testing.assert_allclose(exact[name], numerical[name], atol=2e-6, err_msg=name)
        assert exact[name].shape == p.shape


def test_the_loss_of_a_network_has_its_weight_decay():
    np.random.seed(3)
    net = MultiLayerNet(3, [4], 2, weight_decay_lambda=0.3)
    x, t = np.ones((2, 3)), np.asarray([[1, 0], [0, 1]])
    squares = sum((net.params[name] ** 2).sum() for name in ("W1", "W2"))
    assert net.loss(x, t) - net.last_layer.loss == pytest.approx(0.15 * squares)
    scores = np.maximum(x @ net.params["W1"], 0) @ net.params["W2"]
    np.testing.assert_allclose(net.predict(x), scores)
    assert net.accuracy(x, t) == 0.5
    assert net.accuracy(x, np.full(2, scores[0].argmax())) == 1


@pytest.mark.parametrize(("word", "std"), [("relu", 0.2), ("He", 0.2), ("xavier", 0.02**0.5), (0.05, 0.05)])
def test_weights_are_drawn_from_np_random_by_the_books_words(word, std):
    np.random.seed(9)
    net = MultiLayerNet(50, [60], 4, weight_init_std=word)
    np.random.seed(9)
    np.testing.assert_allclose(net.params["W1"], std * np.random.randn(50, 60))
    assert list(net.layers) == ["Affine1", "Activation_function1", "Affine2"]
    assert net.layers["Affine2"].W is net.params["W2"]
    with pytest.raises(ValueError, match="weight_init_std is 'lecun', expected a number or one of: relu, he"):
        MultiLayerNet(2, [2], 2, weight_init_std="lecun")
    with pytest.raises(ValueError, match="activation is 'gelu', expected one of: sigmoid, relu"):
        MultiLayerNet(2, [2], 2, activation="gelu")
