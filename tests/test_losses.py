"""Losses: values by closed form, gradients against the oracles, and targets that do not fit."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from loss_cases import OF_TORCH, SHAPES, made, of_torch, outputs_and_targets
from oracles import assert_close, gradients

from xpnet.functions import softmax
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss, SumSquaredError

LABELS = np.asarray([2, 0, 1, 2])


def log_softmax(y):
    return y - np.log(np.exp(y).sum(axis=-1, keepdims=True))


LOSSES = {
    "softmax, labels": (SoftmaxWithLoss(), LABELS, lambda y, t: -log_softmax(y)[np.arange(4), t].mean()),
    "softmax, uint8 labels": (
        SoftmaxWithLoss(),
        LABELS.astype("uint8"),
        lambda y, t: -log_softmax(y)[np.arange(4), t].mean(),
    ),
    "softmax, one-hot": (SoftmaxWithLoss(), np.eye(3)[LABELS], lambda y, t: -(t * log_softmax(y)).sum(axis=1).mean()),
    "sigmoid": (
        SigmoidWithLoss(),
        np.asarray([[0.0, 1, 1], [1, 0, 0], [0, 0, 1], [0.25, 1, 0]]),
        lambda y, t: -(t * np.log(1 / (1 + np.exp(-y))) + (1 - t) * np.log(1 / (1 + np.exp(y)))).mean(),
    ),
    "sum of squares": (SumSquaredError(), np.eye(3)[LABELS], lambda y, t: ((y - t) ** 2).sum() / 2),
    "mean of squares": (MeanSquaredError(), np.eye(3)[LABELS], lambda y, t: ((y - t) ** 2).mean()),
}


@pytest.fixture(params=LOSSES)
def row(request, rng):
    loss, t, expected = LOSSES[request.param]
    return loss, rng.normal(size=(4, 3)), t, expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_value(row, dtype, backend, array):
    loss, y, t, expected = row
    given = array(y, dtype)
    value, residuals = loss.forward(given, array(t))
    assert value.shape == ()
    assert value.dtype == backend.dtype(dtype)
    assert loss.backward(residuals).dtype == backend.dtype(dtype)
    assert float(value) == pytest.approx(expected(y, t), rel=1e-5 if dtype == "float32" else 1e-12)
    np.testing.assert_array_equal(backend.to_numpy(given), y.astype(dtype))


def test_gradient(row, training_backend, array):
    loss, y, t, _ = row
    moved = training_backend.asarray(t)
    (expected,), tolerance = gradients(training_backend, lambda y: loss.forward(y, moved)[0], y)
    _, residuals = loss.forward(array(y), array(t))
    assert_close(training_backend.to_numpy(loss.backward(residuals)), expected, tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_finite_at_ten_thousand(dtype, backend, array):
    y = array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], dtype)
    value, residuals = SoftmaxWithLoss().forward(y, array([1, 1]))
    assert float(value) == pytest.approx(1e4)
    np.testing.assert_allclose(backend.to_numpy(SoftmaxWithLoss().backward(residuals)), [[0.5, -0.5, 0], [0, 0, 0]])
    value, residuals = SigmoidWithLoss().forward(y, array([[0.0, 1, 0], [0, 1, 1]], dtype))
    assert float(value) == pytest.approx((2e4 + 2 * np.log(2)) / 6)
    assert np.isfinite(backend.to_numpy(SigmoidWithLoss().backward(residuals))).all()


def test_hits(backend, array):
    y = array([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    for loss in (SoftmaxWithLoss(), SumSquaredError(), MeanSquaredError()):
        assert backend.to_numpy(loss.hits(y, array([1, 1]))).tolist() == [True, False]
        assert backend.to_numpy(loss.hits(y, array(np.eye(3)[[1, 1]]))).tolist() == [True, False]
    found = SigmoidWithLoss().hits(array([[1.0], [-1.0], [2.0]]), array([[1.0], [1.0], [0.0]]))
    assert backend.to_numpy(found).tolist() == [[True], [False], [False]]


@pytest.mark.parametrize(
    ("loss", "t", "message"),
    [
        (SoftmaxWithLoss(), [0, 3], "labels from 0 to 3; there are 3 classes, so labels go from 0 to 2"),
        (SoftmaxWithLoss(), [-1, 0], "labels from -1 to 0"),
        (SoftmaxWithLoss(), [0.5, 1.0], "some of them fractional; expected integers 0 to 2"),
        (SoftmaxWithLoss(), [0.0, 1.0], "labels of dtype .*float64; expected integers 0 to 2"),
        (SoftmaxWithLoss(), [0, 1, 2], r"shape \(3,\), expected labels \(2,\) or one-hot \(2, 3\)"),
        (SoftmaxWithLoss(), [[0.0, 1.0], [1.0, 0.0]], r"shape \(2, 2\), expected labels \(2,\) or one-hot \(2, 3\)"),
        (SoftmaxWithLoss(), [[0, 1, 1], [1, 0, 0]], "not one-hot"),
        (SoftmaxWithLoss(), [[0, 2, -1], [1, 0, 0]], "not one-hot"),
        (SoftmaxWithLoss(), [[0, np.nan, 1], [1, 0, 0]], "not one-hot"),
        (SigmoidWithLoss(), [[0.0, 1, 2], [0, 0, 0]], "outside of 0 to 1"),
        (SigmoidWithLoss(), [[0.0], [1.0]], r"shape \(2, 1\), expected \(2, 3\)"),
        (MeanSquaredError(), [0.0, 1.0], r"shape \(2,\), expected \(2, 3\)"),
        (SumSquaredError(), [[0.0, np.inf, 1], [0, 0, 0]], "NaN or infinity"),
    ],
)
def test_targets_that_do_not_fit(loss, t, message, array):
    with pytest.raises(ValueError, match=message):
        loss.check((2, 3), array(t))


def test_scores_of_one_sample_are_no_batch(array):
    with pytest.raises(ValueError, match=r"y has shape \(3,\), expected \(N, C\)"):
        SoftmaxWithLoss().forward(array([1.0, 2.0, 3.0]), array(1))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", OF_TORCH)
def test_rows_sequences_and_images(case, shape, reduction, backend, array, rng):
    loss, (y, t) = made(case, reduction), outputs_and_targets(case, SHAPES[shape], rng)
    expected, slope = of_torch(case, y, t, reduction=reduction)
    found, residuals = loss.forward(array(y), array(t))
    assert found.shape == ()
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert_close(backend.to_numpy(loss.backward(residuals)), slope, 1e-12)
    losses = backend.to_numpy(loss.per_sample(array(y), array(t)))
    assert losses.shape == SHAPES[shape]
    assert float(found) == pytest.approx(losses.mean() if reduction == "mean" else losses.sum(), rel=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool"])
def test_labels_of_sequences_of_any_integer_dtype(dtype, array, rng):
    y, t = outputs_and_targets("labels", (2, 3), rng)
    t = t % 2
    expected = -np.take_along_axis(log_softmax(y), t[..., None], -1).mean()
    assert float(SoftmaxWithLoss().forward(array(y), array(t, dtype))[0]) == pytest.approx(expected, rel=1e-12)
    SoftmaxWithLoss().check((2, 3, 5), array(t, dtype))
    assert SoftmaxWithLoss().hits(array(y), array(t, dtype)).shape == (2, 3)


def test_hits_and_classes_of_sequences(backend, array, rng):
    y, t = outputs_and_targets("labels", (4, 4), rng, classes=4)  # where labels have the shape of one-hot rows
    hits = y.argmax(-1) == t
    assert 0 < hits.sum() < 16
    for loss in (SoftmaxWithLoss(), SumSquaredError(), MeanSquaredError()):
        for target in (t, np.eye(4)[t]):
            np.testing.assert_array_equal(backend.to_numpy(loss.hits(array(y), array(target))), hits)
            assert loss.names_classes(array(y), array(target))
        assert loss.names_classes(array(y), array(y)) == isinstance(loss, SoftmaxWithLoss)
        with pytest.raises(ValueError, match=r"shape \(4, 1\), expected labels \(4, 4\) or one-hot \(4, 4, 4\)"):
            loss.hits(array(y), array(t[:, :1]))


@pytest.mark.parametrize(
    ("loss", "t", "message"),
    [
        (SoftmaxWithLoss(), np.zeros(2, int), r"shape \(2,\), expected labels \(2, 3\) or one-hot \(2, 3, 4\)"),
        (SoftmaxWithLoss(), np.zeros((2, 3, 1), int), r"shape \(2, 3, 1\), expected labels \(2, 3\) or one-hot"),
        (SoftmaxWithLoss(), np.full((2, 3), 4), "label 4; there are 4 classes"),
        (SoftmaxWithLoss(), np.ones((2, 3, 4)), "not one-hot"),
        (
            SigmoidWithLoss(),
            np.zeros((2, 3)),
            r"shape \(2, 3\), expected \(2, 3, 4\), the shape of the network's outputs",
        ),
        (MeanSquaredError(), np.zeros((2, 4)), r"shape \(2, 4\), expected \(2, 3, 4\)"),
    ],
)
def test_targets_of_sequences_that_do_not_fit(loss, t, message, array, rng):
    with pytest.raises(ValueError, match=message):
        loss.check((2, 3, 4), array(t))
    if "label 4" not in message and "not one-hot" not in message:
        with pytest.raises(ValueError, match=r"t has shape .*, expected .*2, 3, 4"):
            loss.forward(array(rng.normal(size=(2, 3, 4))), array(t))


def test_reductions(array):
    assert [repr(kind()) for kind in (SoftmaxWithLoss, SumSquaredError)] == ["SoftmaxWithLoss()", "SumSquaredError()"]
    assert repr(MeanSquaredError(reduction="sum")) == "MeanSquaredError(reduction='sum')"
    assert SoftmaxWithLoss(reduction="mean") == SoftmaxWithLoss() != SoftmaxWithLoss(reduction="sum")
    for kind in (SoftmaxWithLoss, SigmoidWithLoss, MeanSquaredError):
        for reduction in ("none", None, 1, ["sum"], True):
            with pytest.raises(ValueError, match=r"reduction is .*, expected one of: mean, sum"):
                kind(reduction=reduction)


def test_losses_of_torch(backend, array, rng):
    """What torch.nn computes."""
    if backend.name != "torch":
        return
    import torch

    y, t = array(rng.normal(size=(4, 3))), array(rng.uniform(size=(4, 3)))
    for ours, theirs, target in [
        (SoftmaxWithLoss(), torch.nn.CrossEntropyLoss(), array(LABELS)),
        (SigmoidWithLoss(), torch.nn.BCEWithLogitsLoss(), t),
        (MeanSquaredError(), torch.nn.MSELoss(), t),
    ]:
        torch.testing.assert_close(ours.forward(y, target)[0], theirs(y, target), rtol=1e-12, atol=0)


def log_sigmoid(x):
    """log(1 / (1 + e^-x)) in 60 digits."""
    return -(1 + (-Decimal(float(x))).exp()).ln()


@pytest.mark.parametrize(("dtype", "most"), [("float32", 80.0), ("float64", 700.0)])
def test_sigmoid_with_loss_has_its_digits_everywhere(dtype, most, backend, array):
    """Loss and gradient where s - t, and the loss itself, are tiny."""
    y = np.concatenate([np.linspace(-most, most, 41), [-1.0, -1e-3, 0.0, 1e-3, 1.0]]).astype(dtype)[:, None]
    for target in (0.0, 1.0):
        t = np.full_like(y, target)
        loss, residuals = SigmoidWithLoss().forward(array(y), array(t))
        with localcontext(prec=60):
            losses = [-log_sigmoid(v if target else -v) for v in y[:, 0]]
            # s - t is -sigmoid(-y) for 1 and sigmoid(y) for 0
            exact = [float((-1 if target else 1) * log_sigmoid(-v if target else v).exp() / len(y)) for v in y[:, 0]]
            mean = float(sum(losses) / len(y))
        eps = float(np.finfo(dtype).eps)
        assert float(loss) == pytest.approx(mean, rel=20 * eps)
        found = backend.to_numpy(SigmoidWithLoss().backward(residuals))[:, 0]
        np.testing.assert_allclose(found, exact, rtol=8 * eps)
        for v, one in zip(y, losses, strict=True):
            each = SigmoidWithLoss().per_sample(array(v[None, :]), array(np.full((1, 1), target, dtype)))
            assert float(each[0, ...]) == pytest.approx(float(one), rel=8 * eps)


INF = np.inf
FAR = {
    "label of a masked row": ([0.0, -INF, 1.0], 2, np.log1p(np.exp(-1))),
    "only one left": ([-INF, -INF, 5.0], 2, 0.0),
    "the masked class is the label": ([0.0, -INF, 1.0], 1, INF),
    "far apart": ([3e38, -3e38, 1.0], 0, 0.0),
    "far apart, and wrong": ([3e38, 0.0, 1.0], 1, 3e38),
    "two large": ([1e30, 1e30, 0.0], 1, np.log(2)),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in subtract")  # Dask computes later, as NumPy is set then
@pytest.mark.parametrize("form", ["labels", "one-hot"])
@pytest.mark.parametrize("case", FAR)
def test_softmax_with_masked_and_far_scores(case, form, backend, array):
    scores, label, expected = FAR[case]
    t = np.asarray([label]) if form == "labels" else np.eye(3)[[label]]
    y = array([scores], "float32")
    loss, residuals = SoftmaxWithLoss().forward(y, array(t))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    finite = np.asarray(scores, "longdouble")
    p = np.exp(finite - finite.max()) / np.exp(finite - finite.max()).sum()
    found = backend.to_numpy(SoftmaxWithLoss().backward(residuals))
    np.testing.assert_allclose(found, (p - np.eye(3)[label])[None, :].astype("float64"), rtol=1e-6, atol=1e-30)
    if form == "one-hot":
        each = SoftmaxWithLoss().per_sample(y, array(t, "float32"))
        assert float(each[0, ...]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("score", "target", "expected"), [(-INF, 0.0, 0.0), (INF, 1.0, 0.0), (INF, 0.0, INF), (-INF, 1.0, INF)]
)
def test_sigmoid_with_infinite_scores(score, target, expected, backend, array):
    loss, residuals = SigmoidWithLoss().forward(array([[score]], "float32"), array([[target]], "float32"))
    assert float(loss) == expected
    slope = backend.to_numpy(SigmoidWithLoss().backward(residuals))
    assert slope.tolist() == [[float(score > 0) - target]]


def test_softmax_gradient_is_that_of_its_forward_whatever_a_row_of_targets_adds_up_to(training_backend, array, rng):
    t = rng.normal(size=(4, 3)) + np.asarray([[0.0], [1], [2], [-1]])
    t[0] = 0
    y, moved = rng.normal(size=(4, 3)), training_backend.asarray(t)
    (expected,), tolerance = gradients(training_backend, lambda y: SoftmaxWithLoss().forward(y, moved)[0], y)
    _, residuals = SoftmaxWithLoss().forward(array(y), array(t))
    assert_close(training_backend.to_numpy(SoftmaxWithLoss().backward(residuals)), expected, tolerance)


@pytest.mark.parametrize("loss", [SoftmaxWithLoss(), SigmoidWithLoss(), SumSquaredError(), MeanSquaredError()], ids=str)
def test_targets_that_are_complex_or_no_arrays(loss, array):
    y = array([[0.5, 1.0], [2.0, 0.0]])
    with pytest.raises(TypeError, match=r"complex.*expected real numbers"):
        loss.check((2, 2), array([[0, 1j], [1, 0]]))
    with pytest.raises(TypeError, match=r"complex.*expected real numbers"):
        loss.forward(y, array([[0, 1j], [1, 0]]))
    with pytest.raises(TypeError, match=r"t is of type list, expected an array like y"):
        loss.forward(y, [[0, 1], [1, 0]])


def test_softmax_of_one_output_is_refused(array):
    for t in (array([0, 0]), array([[1.0], [1.0]])):
        with pytest.raises(ValueError, match=r"one output.*SigmoidWithLoss\(\) with targets of shape \(N, 1\)"):
            SoftmaxWithLoss().check((2, 1), t)


@pytest.mark.parametrize(
    ("loss", "form"),
    [
        (SoftmaxWithLoss(), "labels"),
        (SoftmaxWithLoss(), "one-hot"),
        (SigmoidWithLoss(), "one-hot"),
        (MeanSquaredError(), "one-hot"),
    ],
)
def test_means_of_more_samples_than_float16_can_count(loss, form, backend, array, rng):
    if backend.name == "strict":
        pytest.skip("array-api-strict has no float16")
    y, labels = (rng.normal(size=(70_000, 2)) * 2).astype("float16"), rng.integers(0, 2, 70_000)
    t = labels if form == "labels" else np.eye(2)[labels]
    expected, residuals = loss.forward(y.astype("float64"), t)
    slope = loss.backward(residuals)
    found, residuals = loss.forward(array(y), array(t if form == "labels" else t.astype("float16")))
    assert float(found) == pytest.approx(float(expected), rel=2e-3)
    moved = backend.to_numpy(loss.backward(residuals))
    assert moved.dtype == np.float16
    np.testing.assert_allclose(moved, slope, atol=5e-3 * np.abs(slope).max())


@pytest.mark.parametrize("loss", [SoftmaxWithLoss(), SigmoidWithLoss(), SumSquaredError(), MeanSquaredError()], ids=str)
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_scores_that_are_no_floating_point_numbers(loss, dtype, array):
    with pytest.raises(TypeError, match=r"is for floating-point arrays, got .*; xp\.astype"):
        loss.forward(array(np.asarray([[1, 2]]), dtype), array([[0.5, 0.5]]))


def test_labels_that_are_no_integers(array):
    y = array([[0.5, 1.0], [2.0, 0.0]])
    for call in (SoftmaxWithLoss().forward, SoftmaxWithLoss().hits):
        with pytest.raises(ValueError, match=r"labels of dtype .*fractional; expected integers 0 to 1"):
            call(y, array([1.5, 0.0]))


def test_softmax_of_many_classes_in_float16(backend, array):
    if backend.name == "strict":
        pytest.skip("array-api-strict has no float16")
    y = array(np.zeros((1, 100_000)), "float16")
    loss, residuals = SoftmaxWithLoss().forward(y, array([1]))
    assert float(loss) == pytest.approx(np.log(100_000), rel=1e-3)
    slope = backend.to_numpy(SoftmaxWithLoss().backward(residuals))
    assert slope.dtype == np.float16
    np.testing.assert_allclose(slope[0, :3], [1e-5, -1, 1e-5], rtol=1e-2)
    np.testing.assert_allclose(backend.to_numpy(softmax(y))[0, :3], 1e-5, rtol=1e-2)
    alone = backend.to_numpy(SoftmaxWithLoss().per_sample(y, array([1])))
    assert (alone.shape, alone.dtype) == ((1,), np.float16)
    np.testing.assert_allclose(alone, np.log(100_000), rtol=1e-3)


@pytest.mark.parametrize("loss", [SoftmaxWithLoss(), SigmoidWithLoss(), SumSquaredError(), MeanSquaredError()], ids=str)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float64"])
def test_targets_of_another_dtype_sample_by_sample(loss, dtype, backend, array, rng):
    y, t = array(rng.normal(size=(2, 3, 4)), "float32"), np.eye(4)[rng.integers(0, 4, (2, 3))]
    found = loss.per_sample(y, array(t, dtype))
    assert found.dtype == y.dtype
    np.testing.assert_array_equal(backend.to_numpy(found), backend.to_numpy(loss.per_sample(y, array(t, "float32"))))
