"""The layers that the book's scripts import: PyTorch's numbers and closed forms, and how the scripts use them."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet.book.images import Convolution, Pooling
from xpnet.book.layers import Affine, BatchNormalization, Dropout, PrintedSoftmaxWithLoss, Relu, Sigmoid
from xpnet.book.util import col2im, conv_output_size, im2col, shuffle_dataset, smooth_curve

WITHOUT = "torch is not installed, and it is its layers that are compared with"


def tensors(torch, *arrays):
    return [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]


@pytest.mark.parametrize(("stride", "pad", "size"), [(1, 0, 5), (1, 1, 3), (2, 2, 3), (3, 0, 4)])
def test_a_convolution_is_torchs(rng, stride, pad, size):
    torch = pytest.importorskip("torch", reason=WITHOUT)
    x, W, b = rng.random((3, 2, 11, 8)).astype("float32"), rng.normal(size=(4, 2, size, size)), rng.normal(size=4)
    layer = Convolution(W, b, stride, pad)
    x_, W_, b_ = tensors(torch, x, W, b)
    expected = torch.nn.functional.conv2d(x_, W_, b_, stride, pad)
    y = layer.forward(x)
    assert y.dtype == np.float64  # pixels are float32, weights are not
    np.testing.assert_allclose(y, expected.detach(), atol=1e-12)
    dy = rng.normal(size=y.shape)
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(layer.backward(dy), x_.grad, atol=1e-12)
    np.testing.assert_allclose(layer.dW, W_.grad, atol=1e-11)
    np.testing.assert_allclose(layer.db, b_.grad, atol=1e-11)


def test_a_convolution_takes_a_number_for_its_bias():
    image = np.arange(16.0).reshape(1, 1, 4, 4)
    without, with_two = (Convolution(np.ones((1, 1, 3, 3)), b).forward(image) for b in (0, 2.0))
    np.testing.assert_array_equal(without[0, 0], [[45, 54], [81, 90]])
    np.testing.assert_array_equal(with_two, without + 2)


@pytest.mark.parametrize(("size", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (2, 1, 0)])
def test_pooling_is_torchs(rng, size, stride, pad):
    torch = pytest.importorskip("torch", reason=WITHOUT)
    x = rng.integers(0, 4, (2, 3, 8, 6)).astype(float)  # with ties, of which the first wins
    layer, (x_,) = Pooling(size, size, stride, pad), tensors(torch, x)
    expected = torch.nn.functional.max_pool2d(x_, size, stride, pad)
    y = layer.forward(x)
    np.testing.assert_array_equal(y, expected.detach())
    dy = rng.normal(size=y.shape)
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(layer.backward(dy), x_.grad, atol=1e-14)


def test_pools_overlap_unless_a_stride_is_given():
    assert Pooling(2, 2).forward(np.zeros((1, 1, 4, 4))).shape == (1, 1, 3, 3)


@pytest.mark.parametrize("shape", [(7, 4), (5, 2, 3, 2)])
def test_batch_normalization_is_torchs_for_each_entry_of_a_sample(rng, shape):
    torch = pytest.importorskip("torch", reason=WITHOUT)
    x, dy = rng.normal(2, 3, shape), rng.normal(size=shape)
    d = int(np.prod(shape[1:]))
    gamma, beta = rng.normal(size=d), rng.normal(size=d)
    layer = BatchNormalization(gamma, beta)
    x_, gamma_, beta_ = tensors(torch, x, gamma, beta)
    # over images too each of the C H W entries is a feature, so images are rows to PyTorch
    expected = torch.nn.functional.batch_norm(x_.reshape(shape[0], d), None, None, gamma_, beta_, True, eps=1e-6)
    np.testing.assert_allclose(layer.forward(x, True), expected.reshape(shape).detach(), atol=1e-12)
    expected.backward(torch.tensor(dy.reshape(shape[0], d)))
    np.testing.assert_allclose(layer.backward(dy), x_.grad, atol=1e-11)
    np.testing.assert_allclose(layer.dgamma, gamma_.grad, atol=1e-11)
    np.testing.assert_allclose(layer.dbeta, beta_.grad, atol=1e-11)


def test_batch_normalization_remembers_biased_variances_from_zero_on(rng):
    x, z = rng.normal(2, 3, (6, 3)), rng.normal(size=(4, 3))
    layer = BatchNormalization(np.full(3, 2.0), np.full(3, 5.0), momentum=0.8)
    predicted = layer.forward(z, train_flg=False)  # before any training: mean 0 and variance 0
    np.testing.assert_allclose(predicted, 2 * z / 1e-3 + 5)
    for _ in range(2):
        layer.forward(x, train_flg=True)
    share = 1 - 0.8**2
    np.testing.assert_allclose(layer.running_mean, share * x.mean(0))
    np.testing.assert_allclose(layer.running_var, share * x.var(0))
    expected = 2 * (z - share * x.mean(0)) / np.sqrt(share * x.var(0) + 1e-6) + 5
    np.testing.assert_allclose(layer.forward(z, train_flg=False), expected)
    np.testing.assert_allclose(BatchNormalization(np.ones(3), np.ones(3), 0.9, x[0], x[1] ** 2).forward(x, False)[0], 1)


def test_one_sample_becomes_beta_and_has_no_gradient():
    layer = BatchNormalization(np.ones(2), np.asarray([3.0, 4.0]))
    np.testing.assert_array_equal(layer.forward(np.asarray([[7.0, 8.0]])), [[3, 4]])
    np.testing.assert_array_equal(layer.backward(np.asarray([[1.0, 2.0]])), [[0, 0]])


def test_dropout_scales_when_it_predicts_and_not_when_it_trains():
    layer, x = Dropout(0.3), np.full((100, 100), 2.0)
    np.testing.assert_allclose(layer.forward(x, train_flg=False), 1.4)
    np.random.seed(5)
    kept = np.random.rand(100, 100) > 0.3
    np.random.seed(5)
    np.testing.assert_array_equal(layer.forward(x), np.where(kept, 2.0, 0.0))  # drawn from np.random
    np.testing.assert_array_equal(layer.backward(x), np.where(kept, 2.0, 0.0))
    with pytest.raises(RuntimeError, match="backward was called before forward"):
        Dropout().backward(x)


def test_layers_see_what_becomes_of_the_arrays_that_they_were_given(rng):
    x, image = rng.normal(size=(2, 3)), rng.normal(size=(2, 1, 3, 3))
    makers = [
        (Affine, (3, 2), (2,), x),
        (Convolution, (2, 1, 2, 2), (2,), image),
        (BatchNormalization, (3,), (3,), x),
    ]
    for kind, W_shape, b_shape, given in makers:
        W, b = rng.normal(size=W_shape), rng.normal(size=b_shape)
        layer = kind(W, b)
        layer.forward(given)
        W -= 0.25
        b[...] = b.astype(np.float16)
        np.testing.assert_array_equal(layer.forward(given), kind(W.copy(), b.copy()).forward(given))


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("one_hot", [False, True])
def test_the_printed_loss_and_its_backward(rng, one_hot, listed):
    x, labels = rng.normal(0, 3, (5, 4)), np.asarray([3, 0, 1, 1, 2], dtype=np.uint8)
    t = np.eye(4)[labels] if one_hot else labels
    t = t.tolist() if listed else t
    y = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    layer = PrintedSoftmaxWithLoss()
    expected = -np.log(y[range(5), labels] + 1e-7).mean()
    assert layer.forward(x, t) == pytest.approx(expected, rel=1e-14) == layer.loss
    np.testing.assert_allclose(layer.y, y, rtol=1e-13)
    np.testing.assert_allclose(layer.backward(), (y - np.eye(4)[labels]) / 5, atol=1e-16)


def test_a_label_may_stand_in_two_axes():
    x = np.log(np.asarray([[0.2, 0.3, 0.5]]))
    layer = PrintedSoftmaxWithLoss()
    assert layer.forward(x, np.asarray([[1]])) == pytest.approx(-np.log(0.3 + 1e-7))
    np.testing.assert_allclose(layer.backward(), [[0.2, -0.7, 0.5]])
    with pytest.raises(ValueError, match=r"t is a numpy array of shape \(2,\), expected 1 labels, or one-hot \(1, 3\)"):
        layer.forward(x, np.asarray([1, 1]))


@pytest.mark.parametrize("samples", [2, 9])
def test_images_may_be_changed_in_place_before_the_way_back(rng, samples):
    layer, x = Convolution(rng.normal(size=(8, 8, 3, 3)), 0, 1, 1), rng.normal(size=(samples, 8, 5, 5))
    found = []
    for factor in (1, 0):
        dout = np.ones_like(layer.forward(x))
        x *= factor
        layer.backward(dout)
        found.append(layer.dW)
    np.testing.assert_array_equal(*found)


def test_activations_remember_what_the_book_names():
    relu, sigmoid, x = Relu(), Sigmoid(), np.asarray([[-1.0, 0.0, 2.0]])
    assert relu.mask is None
    assert sigmoid.out is None
    relu.forward(x)
    np.testing.assert_array_equal(relu.mask, [[True, True, False]])
    relu.forward(-x)[...] -= 3  # changed in place, as the book's layer allows
    np.testing.assert_array_equal(relu.backward(np.ones((1, 3))), [[1, 0, 0]])
    y = sigmoid.forward(x)
    np.testing.assert_array_equal(sigmoid.out, y)


@pytest.mark.parametrize(("h", "w", "stride", "pad"), [(3, 2, 1, 0), (2, 2, 2, 1), (3, 3, 2, 2)])
def test_windows_as_rows_and_back_are_torchs(rng, h, w, stride, pad):
    torch = pytest.importorskip("torch", reason=WITHOUT)
    x = rng.integers(0, 9, (2, 3, 7, 5))
    col = im2col(x, h, w, stride, pad)
    unfolded = torch.nn.functional.unfold(torch.tensor(x, dtype=torch.float64), (h, w), padding=pad, stride=stride)
    assert col.dtype == np.float64
    np.testing.assert_array_equal(col, unfolded.permute(0, 2, 1).reshape(len(col), -1))
    folded = torch.nn.functional.fold(unfolded, x.shape[2:], (h, w), padding=pad, stride=stride)
    np.testing.assert_array_equal(col2im(col, x.shape, h, w, stride, pad), folded)


def test_what_does_not_fit_is_refused_or_told():
    assert conv_output_size(28, 5) == 24
    assert conv_output_size(28, 3, stride=2, pad=0) == 13.5
    with pytest.raises(ValueError, match="a filter of 5 does not fit into an axis of 3 with a padding of 0"):
        im2col(np.zeros((1, 1, 3, 3)), 5, 5)


def test_a_smoothed_curve_weighs_neighbours_by_kaisers_window(rng):
    y = rng.normal(size=30)
    k = np.arange(11)
    weights = np.i0(2 * np.sqrt(1 - ((k - 5) / 5) ** 2)) / np.i0(2)
    found = smooth_curve(list(y))
    assert found.shape == y.shape
    for i in range(5, 25):
        assert found[i] == pytest.approx((weights * y[i - 5 : i + 6]).sum() / weights.sum())
    beyond = np.concatenate([y[5:0:-1], y[:6]])  # around the first value, which is its own mirror
    assert found[0] == pytest.approx((weights * beyond).sum() / weights.sum())


@pytest.mark.parametrize("shape", [(9, 2), (9, 1, 2, 2)])
def test_samples_and_targets_are_shuffled_together(shape):
    x, t = np.arange(float(np.prod(shape))).reshape(shape), np.arange(9)
    np.random.seed(1)
    x2, t2 = shuffle_dataset(x, t)
    assert sorted(t2) == list(range(9))
    assert list(t2) != list(range(9))
    np.testing.assert_array_equal(x2, x[t2])


@pytest.mark.parametrize("kind", ["Affine", "Convolution"])
def test_the_gradient_of_the_input_is_there_for_who_looks_at_it(installed, rng, kind):
    from common import layers as served

    shape, W_shape = {"Affine": ((3, 8), (8, 4)), "Convolution": ((3, 2, 5, 5), (4, 2, 3, 3))}[kind]
    W, b, x = rng.normal(size=W_shape), rng.normal(size=4), rng.random(shape).astype("float32")
    plain, served = {"Affine": Affine, "Convolution": Convolution}[kind](W.copy(), b), getattr(served, kind)(W, b)
    dy = rng.normal(size=plain.forward(x).shape)
    expected = plain.backward(dy)
    served.forward(x)
    found = served.backward(dy)
    np.testing.assert_array_equal(served.dW, plain.dW)
    np.testing.assert_array_equal(served.db, plain.db)
    W -= 1  # a step in place comes before anybody looks
    assert (found.shape, found.dtype, len(found)) == (expected.shape, expected.dtype, len(expected))
    for each in (
        found,
        np.asarray(found),
        found + 0,
        1 * found,
        found[...],
        np.stack(list(found)),
        np.abs(-found) * np.sign(found),
    ):
        np.testing.assert_allclose(each, expected, rtol=1e-12)
    assert (repr(found), str(found)) == (repr(expected), str(expected))
    assert np.sum(found) == pytest.approx(expected.sum())
    np.testing.assert_allclose(Relu.backward(after(Relu(), expected), found), np.where(expected > 0, expected, 0))
    found[0] = 0
    found *= 2
    expected[0] = 0
    np.testing.assert_allclose(found, 2 * expected, rtol=1e-12)


def after(layer, x):
    layer.forward(x)
    return layer


def test_behind_another_layer_the_gradient_is_an_array(installed, rng):
    from common.layers import Affine, Relu

    first, relu, second = Affine(np.ones((3, 3)), np.zeros(3)), Relu(), Affine(np.ones((3, 2)), np.zeros(2))
    second.forward(relu.forward(first.forward(rng.random((4, 3)))))
    dout = second.backward(np.ones((4, 2)))
    assert type(dout) is np.ndarray
    assert type(first.backward(relu.backward(dout))) is not np.ndarray
