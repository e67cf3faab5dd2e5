"""Functions, against the figures the tutorials print and closed forms; on every backend."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest

from xpnet import functions as F

FLOATS = ["float32", "float64"]
ELEMENTWISE = {
    "step": (F.step, lambda x: np.heaviside(x, 0)),
    "sigmoid": (F.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "relu": (F.relu, lambda x: np.where(x > 0, x, 0)),
    "identity": (F.identity, lambda x: x),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name, shape, dtype, backend, array, rng):
    function, expected = ELEMENTWISE[name]
    x = rng.normal(size=shape).astype(dtype)
    y = function(array(x))
    assert y.dtype == backend.dtype(dtype)
    assert y.shape == shape
    np.testing.assert_allclose(backend.to_numpy(y), expected(x), rtol=1e-5 if dtype == "float32" else 1e-12)


def ulps(found, exact, dtype):
    """How far numbers are from exact ones (Decimals), in units in the last place of the exact ones."""
    return [
        float(abs(Decimal(float(f)) - x) / Decimal(float(np.spacing(np.dtype(dtype).type(x)))))
        for f, x in zip(found, exact, strict=True)
    ]


@pytest.mark.parametrize(("dtype", "lowest"), [("float16", -9), ("float32", -87), ("float64", -708)])
def test_sigmoid_has_its_digits_everywhere(dtype, lowest, backend, array, rng):
    if dtype == "float16" and backend.name == "strict":
        pytest.skip("array-api-strict has no float16")
    x = np.concatenate([np.linspace(lowest, 40, 200), rng.normal(size=50) * 5, [-40, -20, -1e-3, 0, 1e-3]]).astype(
        dtype
    )
    x = x[x >= lowest]
    with localcontext(prec=60):
        exact = [1 / (1 + (-Decimal(float(v))).exp()) for v in x]
        assert max(ulps(backend.to_numpy(F.sigmoid(array(x))), exact, dtype)) <= 4
        assert backend.to_numpy(F.sigmoid(array([-np.inf, np.inf, np.nan], dtype))).tolist()[:2] == [0, 1]


def test_step_and_relu_at_zero(backend, array):
    x = array([-1.0, 0.0, 2.0])
    assert backend.to_numpy(F.step(x)).tolist() == [0, 0, 1]
    assert backend.to_numpy(F.relu(x)).tolist() == [0, 0, 2]


def test_step_and_relu_keep_integers(backend, array):
    x = array([-1, 0, 2])
    assert F.step(x).dtype == x.dtype
    assert backend.to_numpy(F.relu(x)).tolist() == [0, 0, 2]


@pytest.mark.parametrize("dtype", FLOATS)
def test_nothing_overflows_at_ten_thousand(dtype, backend, array):
    x = array([-1e4, 0.0, 1e4], dtype)
    assert backend.to_numpy(F.sigmoid(x)).tolist() == [0, 0.5, 1]
    assert backend.to_numpy(F.softmax(x)).tolist() == [0, 0, 1]
    assert backend.to_numpy(F.softmax(array([[1e4, 1e4], [-1e4, -1e4]], dtype))).tolist() == [[0.5, 0.5]] * 2


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_of_the_book(dtype, backend, array):
    p = F.softmax(array([0.3, 2.9, 4.0], dtype))
    assert p.dtype == backend.dtype(dtype)
    np.testing.assert_allclose(backend.to_numpy(p), [0.01821127, 0.24519181, 0.73659691], rtol=1e-6)
    p = backend.to_numpy(F.softmax(array([1010.0, 1000.0, 990.0], dtype)))
    np.testing.assert_allclose(p, [9.99954600e-01, 4.53978686e-05, 2.06106005e-09], rtol=1e-5)


def test_softmax_of_a_batch_is_that_of_each_row(backend, array, rng):
    x = rng.normal(size=(5, 4))
    rows = [backend.to_numpy(F.softmax(array(row))) for row in x]
    batch = backend.to_numpy(F.softmax(array(x)))
    np.testing.assert_allclose(batch, rows, rtol=1e-14)
    np.testing.assert_allclose(batch.sum(axis=1), 1, rtol=1e-14)


BOOK_Y = [0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0]
BOOK_Y2 = [0.1, 0.05, 0.1, 0.0, 0.05, 0.1, 0.0, 0.6, 0.0, 0.0]


def test_errors_of_the_book(array):
    t = array(np.eye(10)[2])
    assert float(F.sum_squared_error(array(BOOK_Y), t)) == pytest.approx(0.0975, rel=1e-12)
    assert float(F.sum_squared_error(array(BOOK_Y2), t)) == pytest.approx(0.5975, rel=1e-12)
    assert float(F.cross_entropy_error(array(BOOK_Y), t)) == pytest.approx(0.510825457099338, rel=1e-12)
    assert float(F.cross_entropy_error(array(BOOK_Y2), t)) == pytest.approx(2.302584092994546, rel=1e-12)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("label_dtype", ["uint8", "int8", "uint16", "int32", "int64", "uint64"])
def test_cross_entropy_takes_labels_and_one_hot(dtype, label_dtype, backend, array, rng):
    y = rng.dirichlet(np.ones(6), size=4).astype(dtype)
    t = np.asarray([0, 5, 2, 2])
    expected = -np.log(y[np.arange(4), t] + 1e-7).mean()
    by_label = F.cross_entropy_error(array(y), array(t, label_dtype))
    assert by_label.dtype == backend.dtype(dtype)
    assert by_label.shape == ()
    assert float(by_label) == pytest.approx(expected, rel=1e-5)
    for one_hot in (np.eye(6)[t].astype("float32"), np.eye(6)[t].astype("float64"), np.eye(6)[t].astype("uint8")):
        assert float(F.cross_entropy_error(array(y), array(one_hot))) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_of_one_sample(array, rng):
    y = rng.dirichlet(np.ones(6))
    expected = pytest.approx(-np.log(y[3] + 1e-7), rel=1e-12)
    assert float(F.cross_entropy_error(array(y), 3)) == expected
    assert float(F.cross_entropy_error(array(y), array(3))) == expected
    assert float(F.cross_entropy_error(array(y), array(np.eye(6)[3]))) == expected


@pytest.mark.parametrize("dtype", FLOATS)
def test_cross_entropy_is_finite_where_a_probability_is_zero(dtype, array):
    y = array([[1.0, 0.0], [0.0, 1.0]], dtype)
    assert float(F.cross_entropy_error(y, array([1, 0]))) == pytest.approx(-np.log(1e-7), rel=1e-5)
    assert float(F.cross_entropy_error(y, array([0, 1]))) == pytest.approx(0, abs=1e-6)


def test_one_hot_does_not_wrap_labels_of_few_bits(backend, array):
    t = backend.to_numpy(F.one_hot(array([0, 44, 255], "uint8"), array(np.zeros((3, 300)))))
    assert t.argmax(axis=1).tolist() == [0, 44, 255]
    assert t.sum() == 3


@pytest.mark.parametrize("function", [F.sigmoid, F.softmax])
def test_integers_are_refused_where_they_would_be_rounded(function, array):
    with pytest.raises(TypeError, match=r"floating-point arrays, got .*int64.*astype"):
        function(array([1, 2]))


@pytest.mark.parametrize("function", [F.step, F.sigmoid, F.relu, F.identity, F.softmax])
def test_what_is_no_array_is_refused(function):
    for x in ([1.0, 2.0], 1.0, None, "x"):
        with pytest.raises(TypeError, match=r"expected an array.*numpy\.asarray"):
            function(x)


def test_targets_that_do_not_fit(array):
    y = array(np.full((2, 3), 1 / 3))
    with pytest.raises(ValueError, match=r"\(3,\).*labels \(2,\) or one-hot \(2, 3\)"):
        F.cross_entropy_error(y, array([0, 1, 2]))
    with pytest.raises(ValueError, match=r"\(2, 4\), expected labels \(2,\) or one-hot \(2, 3\)"):
        F.cross_entropy_error(y, array(np.eye(4)[:2]))
    with pytest.raises(ValueError, match=r"\(3,\), expected \(2, 3\)"):
        F.sum_squared_error(y, array([0.0, 1.0, 2.0]))
    for labels in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match="3 classes, so labels go from 0 to 2"):
            F.cross_entropy_error(y, array(labels))
    with pytest.raises(ValueError, match="label 7"):
        F.cross_entropy_error(array([0.5, 0.5]), 7)
    with pytest.raises(ValueError, match="fractional; expected integers 0 to 2"):
        F.cross_entropy_error(y, array([0.5, 1.0]))


@pytest.mark.parametrize("function", [F.cross_entropy_error, F.sum_squared_error, F.one_hot])
@pytest.mark.parametrize("t", [[0, 0, 1], 2.0, None, "cat", {0: 1}], ids=repr)
def test_targets_that_are_no_arrays(function, t, array):
    y = array([0.1, 0.2, 0.7])
    with pytest.raises(TypeError, match=rf"t is of type {type(t).__name__}, expected an array like y"):
        function(t, y) if function is F.one_hot else function(y, t)


def test_targets_that_are_complex(backend, array):
    y = array([[0.25, 0.75]])
    with pytest.raises(TypeError, match=r"complex.*real numbers"):
        F.sum_squared_error(y, array([[0, 1j]]))
    with pytest.raises(TypeError, match=r"complex.*real numbers"):
        F.cross_entropy_error(y, array([[0, 1j]]))


def test_numbers_of_numpy_are_taken_as_pythons(backend, array):
    y = array([0.1, 0.2, 0.7])
    for label in (np.int64(2), np.uint8(2)):
        assert float(F.cross_entropy_error(y, label)) == float(F.cross_entropy_error(y, 2))
    for kind in (np.float32, np.float64):
        x = kind(1.25)
        assert F.sigmoid(x).dtype == x.dtype
        np.testing.assert_allclose(F.sigmoid(x), 1 / (1 + np.exp(-1.25)), rtol=1e-6)
        assert (F.relu(x), F.step(x), F.identity(x)) == (x, 1, x)


def test_labels_may_be_booleans(array):
    y = array([[0.25, 0.75], [0.5, 0.5]])
    expected = pytest.approx(-(np.log(0.75) + np.log(0.5)) / 2, rel=1e-6)
    assert float(F.cross_entropy_error(y, array([True, False]))) == expected


def test_two_libraries_in_one_call(backend, array):
    if backend.name == "numpy":
        pytest.skip("the other library would be NumPy")
    with pytest.raises(TypeError, match=f"t is a numpy array and y is a {backend.name} array"):
        F.cross_entropy_error(array([[0.5, 0.5]]), np.asarray([0]))
    with pytest.raises(TypeError, match=f"t is a numpy array and y is a {backend.name} array"):
        F.sum_squared_error(array([0.5, 0.5]), np.asarray([0.5, 0.5]))
