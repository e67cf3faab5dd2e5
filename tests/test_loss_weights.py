"""Weights of samples in losses: against torch's losses of samples, and gradients against the oracles."""

from __future__ import annotations

import numpy as np
import pytest
from loss_cases import OF_TORCH, SHAPES, made, of_torch, outputs_and_targets
from oracles import assert_close, gradients

from xpnet.backends.dispatch import dtype_name, namespace
from xpnet.graph import grad
from xpnet.losses import MeanSquaredError, SigmoidWithLoss, SoftmaxWithLoss, SumSquaredError, check_weight

LOSSES = [SoftmaxWithLoss(), SigmoidWithLoss(), SumSquaredError(), MeanSquaredError()]
CASES = [(case, reduction) for case in OF_TORCH for reduction in ("mean", "sum")]


def weights_of(leading, rng):
    """A weight for the first axis, for the first two, ...; some of them 0."""
    for axes in range(1, len(leading) + 1):
        weight = rng.uniform(size=leading[:axes])
        weight.flat[-1] = 0
        yield weight


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("case", "reduction"), CASES)
def test_weighted_losses_of_torch(case, reduction, shape, backend, array, rng):
    if backend.compiles_shapes and shape == "images":
        pytest.skip("each costs compilations, and sequences stand for images")
    loss, (y, t) = made(case, reduction), outputs_and_targets(case, SHAPES[shape], rng)
    for weight in weights_of(SHAPES[shape], rng):
        expected, slope = of_torch(case, y, t, weight, reduction)
        found, residuals = loss.forward(array(y), array(t), array(weight))
        assert found.shape == ()
        assert float(found) == pytest.approx(expected, rel=1e-12)
        assert_close(backend.to_numpy(loss.backward(residuals)), slope, 1e-12)


@pytest.mark.parametrize(("case", "reduction"), CASES)
def test_gradient_is_that_of_the_forward(case, reduction, training_backend, array, rng):
    """Also where targets do not add up to 1."""
    b, loss, (y, t) = training_backend, made(case, reduction), outputs_and_targets(case, (2, 3), rng)
    if "labels" not in case:
        t = rng.uniform(size=t.shape)
    for weight in weights_of((2, 3), rng):
        moved, given = b.asarray(t), b.asarray(weight)
        (expected,), tolerance = gradients(b, lambda y, t=moved, w=given: loss.forward(y, t, w)[0], y)
        _, residuals = loss.forward(array(y), array(t), array(weight))
        found = b.to_numpy(loss.backward(residuals))
        assert_close(found, expected, tolerance)
        recorded = grad(lambda y, t=moved, w=given: loss.forward(y, t, w)[0])(array(y))
        assert_close(b.to_numpy(recorded), found, 1e-12)


@pytest.mark.parametrize(
    ("dtype", "weight_dtype"),
    [("float16", "bool"), ("float32", "uint8"), ("float32", "float64"), ("float64", "int64"), ("float64", "float32")],
)
@pytest.mark.parametrize(("case", "reduction"), CASES)
def test_a_mask_leaves_out_what_it_is_0_for(case, reduction, dtype, weight_dtype, backend, array, rng):
    """By the same loss of what is left; in the dtype of y, whatever that of the mask."""
    if backend.name == "strict" and dtype == "float16":
        pytest.skip("array-api-strict has no float16")
    loss, (y, t) = made(case, reduction), outputs_and_targets(case, (4, 5), rng)
    mask = rng.uniform(size=(4, 5)) < 0.5
    assert 0 < mask.sum() < 20
    y = y.astype(dtype)
    expected, residuals = loss.forward(y[mask].astype("float64"), t[mask])
    slope = np.zeros(y.shape)
    slope[mask] = loss.backward(residuals)
    found, residuals = loss.forward(array(y), array(t), array(mask, weight_dtype))
    moved = loss.backward(residuals)
    assert dtype_name(found.dtype) == dtype_name(moved.dtype) == dtype
    eps = float(np.finfo(dtype).eps)
    assert float(found) == pytest.approx(float(expected), rel=20 * eps)
    assert_close(backend.to_numpy(moved).astype("float64"), slope, 20 * eps)
    assert not backend.to_numpy(moved)[~mask].any()


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_equal_weights_are_none(loss, scale, backend, array, rng):
    y, t = rng.normal(size=(4, 3)), rng.dirichlet(np.ones(3), 4)
    expected, residuals = loss.forward(array(y, "float32"), array(t))
    slope = backend.to_numpy(loss.backward(residuals)) * (scale if loss.reduction == "sum" else 1)
    found, residuals = loss.forward(array(y, "float32"), array(t), array(np.full(4, scale)))
    assert float(found) == pytest.approx(float(expected) * (scale if loss.reduction == "sum" else 1), rel=1e-5)
    assert_close(backend.to_numpy(loss.backward(residuals)), slope, 1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(2,), (2, 3)])
@pytest.mark.parametrize(("case", "reduction"), CASES)
def test_nothing_but_zeros(case, reduction, shape, dtype, backend, array, rng):
    if backend.name == "strict" and dtype == "float16":
        pytest.skip("array-api-strict has no float16")
    loss, (y, t) = made(case, reduction), outputs_and_targets(case, (2, 3), rng)
    found, residuals = loss.forward(array(y, dtype), array(t), array(np.zeros(shape)))
    assert float(found) == 0
    slope = backend.to_numpy(loss.backward(residuals))
    assert slope.shape == y.shape
    assert not slope.any()


@pytest.mark.parametrize("score", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize(
    "loss", [*LOSSES, SoftmaxWithLoss(reduction="sum"), MeanSquaredError(reduction="sum")], ids=str
)
def test_what_has_weight_0_adds_nothing_whatever_its_scores(loss, score, training_backend, array):
    b, weight = training_backend, [0.0, 0.5]
    y, t = np.asarray([[1.0, score, 0.0], [0.5, 1, 2]], "float32"), np.asarray([[0.0, 1, 0], [0, 0, 1]])
    found, residuals = loss.forward(array(y), array(t), array(weight))
    expected, wanted = loss.forward(array(y[1:]), array(t[1:]), array(weight[1:]))
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    slope = b.to_numpy(loss.backward(residuals))
    assert not slope[0].any()
    np.testing.assert_allclose(slope[1:], b.to_numpy(loss.backward(wanted)), rtol=1e-6)
    given, moved = b.asarray(t), b.asarray(np.asarray(weight))
    if b.name in ("torch", "jax"):  # whose own gradients of it have no NaN either
        (own,), _ = gradients(b, lambda y: loss.forward(y, given, moved)[0], y)
        np.testing.assert_allclose(own, slope, rtol=1e-5, atol=1e-7)


def test_a_class_that_is_masked_out_may_be_the_target_of_what_has_weight_0(backend, array):
    y = array([[-np.inf, 0.0, 1.0], [0.0, 0.0, 0.0]])
    assert float(SoftmaxWithLoss().forward(y, array([0, 0]))[0]) == np.inf
    found, residuals = SoftmaxWithLoss().forward(y, array([0, 0]), array([0.0, 1.0]))
    assert float(found) == pytest.approx(np.log(3), rel=1e-12)
    np.testing.assert_allclose(backend.to_numpy(SoftmaxWithLoss().backward(residuals))[0], 0)


@pytest.mark.parametrize("loss", [SoftmaxWithLoss(), SigmoidWithLoss(), MeanSquaredError()], ids=str)
def test_means_of_more_weights_than_float16_can_count(loss, backend, array, rng):
    if backend.name == "strict":
        pytest.skip("array-api-strict has no float16")
    y, t, weight = (
        (rng.normal(size=(70_000, 2)) * 2).astype("float16"),
        rng.integers(0, 2, 70_000),
        rng.uniform(size=70_000),
    )
    t = np.eye(2)[t]
    expected, residuals = loss.forward(y.astype("float64"), t, weight)
    slope = loss.backward(residuals)
    found, residuals = loss.forward(array(y), array(t, "float16"), array(100 * weight, "float16"))
    assert float(found) == pytest.approx(float(expected), rel=2e-3)
    np.testing.assert_allclose(backend.to_numpy(loss.backward(residuals)), slope, atol=5e-3 * np.abs(slope).max())


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_compiled_by_jax(loss, training_backend, array, rng):
    """Nothing looks at a value."""
    if training_backend.name != "jax":
        pytest.skip("it is jax.jit that compiles")
    import jax

    def both(y, t, weight):
        value, residuals = loss.forward(y, t, weight)
        return value, loss.backward(residuals)

    given = [array(a) for a in (rng.normal(size=(2, 3, 4)), rng.dirichlet(np.ones(4), (2, 3)), [0.0, 2.0])]
    for found, wanted in zip(jax.jit(both)(*given), both(*given), strict=True):
        np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (np.ones(3), ValueError, r"weight has shape \(3,\), expected \(2,\) or \(2, 3\): .* of outputs \(2, 3, 4\)"),
        (np.ones((2, 1)), ValueError, r"weight has shape \(2, 1\), expected"),
        (np.ones((2, 3, 4)), ValueError, r"weight has shape \(2, 3, 4\), expected"),
        (np.asarray(1.0), ValueError, r"weight has shape \(\), expected"),
        (np.ones(2) * 1j, TypeError, "weight is complex128, expected real numbers"),
    ],
)
def test_weights_of_another_shape(loss, weight, error, message, array, rng):
    y, t = array(rng.normal(size=(2, 3, 4))), array(rng.dirichlet(np.ones(4), (2, 3)))
    with pytest.raises(error, match=message):
        loss.forward(y, t, array(weight))
    with pytest.raises(error, match=message):
        check_weight(array(weight), (2, 3, 4))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_weights_that_are_no_arrays(loss, array):
    y, t = array([[0.5, 1.0], [2.0, 0.0]]), array([[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(TypeError, match=r"weight is of type list, expected an array like y.*a weight for each sample"):
        loss.forward(y, t, [1.0, 2.0])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, -0.5], r"sample_weight has a weight of -0\.5; expected numbers of 0 or more"),
        ([1, -2], r"a weight of -2\.0"),
        ([1.0, np.nan], "NaN or infinity"),
        ([np.inf, 1.0], "NaN or infinity"),
        ([-np.inf, 1.0], "NaN or infinity"),
        ([0.0, 0.0], "0 throughout, so that no sample counts"),
        ([False, False], "0 throughout"),
    ],
)
def test_weights_that_are_refused(weight, message, array):
    with pytest.raises(ValueError, match=message):
        check_weight(array(weight), (2, 3), "sample_weight")


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "uint32", "uint64", "int64", "float32", "float64"]
)
def test_weights_that_are_taken(dtype, array):
    check_weight(array([0, 1], dtype), (2, 3))
    check_weight(array([[0, 1, 1], [0, 0, 1]], dtype), (2, 3, 4))


def test_no_value_is_read_in_forward(backend, array):
    """A negative weight is found at the door, not here."""
    y, t = array([[0.5, 1.0], [2.0, 0.0]]), array([0, 1])
    found, _ = SoftmaxWithLoss().forward(y, t, array([-1.0, 3.0]))
    losses = SoftmaxWithLoss().per_sample(y, t)
    xp = namespace(y)
    assert float(found) == pytest.approx(float(xp.sum(losses * array([-0.5, 1.5]))), rel=1e-12)
