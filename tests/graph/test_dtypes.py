"""Integers of every size beside variables, and gradients in every floating dtype, over many entries too."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import get_backend, namespace
from xpnet.backends.dispatch import dtype_name
from xpnet.graph import constant, grad, variable

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
#: Floating dtypes and the spacing of their numbers at 1.
SPACINGS = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23}


def scattered(shape, axis, rows, values):
    """Zeros with values added in these rows along an axis."""
    found = np.zeros(shape)
    np.add.at(np.moveaxis(found, axis, 0), rows, np.moveaxis(values, axis, 0))
    return found


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("axis", [None, 0, 1, -1, -2])
def test_rows_by_integers_of_every_dtype(dtype, axis, training_backend, array, rng):
    """Of an array that is longer than small integers count; some rows come twice, some from behind."""
    along = 1 if axis in (1, -1) else 0
    shape = (300, 2) if along == 0 else (2, 300)
    rows = [1, 40, 40, 127, 0, *([-1, -128] if dtype.startswith("i") else [200, 255])]
    rows += [] if "8" in dtype else [299]
    host, other, weights = rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=len(rows))
    weights = weights[:, None] if along == 0 else weights
    index, w = array(rows, dtype), array(weights)

    def f(x):
        taken = x[index] if axis is None else namespace(x).take(x, index, axis=axis)
        return namespace(x).sum(taken**2 * w)

    found = training_backend.to_numpy(grad(f)(array(host)))
    wanted = scattered(shape, along, rows, 2 * np.take(host, rows, axis=along) * weights)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    direction = array(other)
    twice = training_backend.to_numpy(grad(lambda x: namespace(x).sum(grad(f)(x) * direction))(array(host)))
    wanted = scattered(shape, along, rows, 2 * np.take(other, rows, axis=along) * weights)
    np.testing.assert_allclose(twice, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(training_backend.to_numpy(index), rows)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_rows_that_are_not_there(dtype, training_backend, array):
    """Also where the library takes the nearest one, or none; and the largest of uint64 is not the last row."""
    x, n = variable(array(np.ones((100, 2)))), 100
    bad = [n, np.iinfo(dtype).max] + ([-n - 1, np.iinfo(dtype).min] if dtype.startswith("i") else [])
    for row in bad:
        index = array([0, row], dtype)
        for take in (lambda i: x[i], lambda i: namespace(x).take(x, i, axis=-2)):
            with pytest.raises(IndexError, match=rf"index {row} is out of bounds for an axis of length 100"):
                take(index)


def test_one_row_by_a_number_of_a_library(training_backend, array):
    for dtype in INTEGERS:
        x = variable(array(np.ones((200, 2))))
        row = array(100, dtype)
        if dtype == "uint64" and training_backend.name == "torch":
            row = array(100, "uint8")
        namespace(x).sum(x[row, ...] * 3).backward()
        assert np.flatnonzero(training_backend.to_numpy(x.grad)[:, 0]).tolist() == [100]


def test_many_rows_and_what_is_not_finite(training_backend, array, rng):
    """As much memory as the array, not the product of both; and infinity stays in its row."""
    n = 40 if training_backend.name == "strict" else 100_000
    rows = rng.integers(0, n, n).astype("uint32")
    values = rng.normal(size=n)
    values[0] = np.inf
    index, seed = array(rows), array(values)
    x = variable(array(np.ones(n)))
    x[index].backward(seed)
    np.testing.assert_allclose(
        training_backend.to_numpy(x.grad), scattered((n,), 0, rows, values), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int64"])
def test_integers_in_operators(dtype, backend_name, rng):
    """NumPy mixes integers with floating-point numbers; nothing is computed in their own dtype, where they wrap."""
    if backend_name != "numpy":
        pytest.skip("others refuse integers beside floating-point numbers, or have no small ones")
    large = np.asarray([2, 100, 120, 1], dtype)
    wide, host = large.astype("float64"), rng.uniform(0.5, 1.5, 4)
    functions = {
        "base": lambda x, n: n**x,
        "exponent": lambda x, n: x**n,
        "atan2": lambda x, n: np.arctan2(x, n) + np.arctan2(n, x),
        "hypot": lambda x, n: np.hypot(x, n),
        "quotient": lambda x, n: n / x + x / n,
        "remainder": lambda x, n: n % x + x % n,
        "logaddexp": lambda x, n: np.logaddexp(x, n),
        "extremes": lambda x, n: np.maximum(x, n) + np.minimum(n, x * 50),
        "product": lambda x, n: x @ n + n @ x,
        "outer product": lambda x, n: np.sum(n[:, None] @ x[None, :]),
        "branches": lambda x, n: np.where(n > 50, n * x, n),
    }
    for name, f in functions.items():
        found, wanted = (grad(lambda x, n=n, f=f: np.sum(f(x, n)))(host) for n in (large, wide))
        np.testing.assert_allclose(found, wanted, rtol=1e-12, err_msg=name)
        found = grad(lambda x, f=f: np.sum(grad(lambda x: np.sum(f(x, large)))(x) * host))(host)
        wanted = grad(lambda x, f=f: np.sum(grad(lambda x: np.sum(f(x, wide)))(x) * host))(host)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, err_msg=name)
    lowest = np.asarray([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    found = grad(lambda x: np.sum(x**lowest))(np.asarray([1.0, 1.0]))
    np.testing.assert_allclose(found, lowest.astype("float64"), rtol=1e-12)


def test_integers_that_are_counted(training_backend, array):
    """Means and sums of what was compared, and of integers, over more entries than these count."""
    x, n = variable(array(np.full(300, 2.0))), constant(array(np.full(300, 100), "int8"))
    xp = namespace(x)
    share = xp.mean(xp.astype(x > 1, x.dtype))
    (xp.sum(x) * share + xp.mean(xp.astype(n, x.dtype)) * xp.max(x)).backward()
    np.testing.assert_allclose(training_backend.to_numpy(x.grad), np.full(300, 1 + 100 / 300), rtol=1e-12)


def narrow(backend, values, dtype):
    if dtype == "bfloat16":
        return backend.xp.astype(backend.asarray(values, "float32"), backend.xp.bfloat16)
    return backend.asarray(values, dtype)


def wide(backend, x):
    return backend.to_numpy(backend.xp.astype(x, backend.xp.float64))


N = 20_000
HALVES = np.where(np.arange(N) % 2, 2.0, 1.0)
#: f(xp, x), x, and df/dx
COUNTED = {
    "mean": (lambda xp, x: xp.mean(x) * 30, np.ones(N), 30 / N),
    "mean over rows": (lambda xp, x: xp.sum(xp.mean(x, axis=0)), np.ones((N, 2)), 1 / N),
    "max": (lambda xp, x: xp.max(x) * 100, np.ones(N), 100 / N),
    "max over rows": (lambda xp, x: xp.sum(xp.max(x, axis=0)), np.ones((N, 2)), 1 / N),
    "min of some": (lambda xp, x: xp.min(x) * 100, HALVES, np.where(HALVES == 1, 100 / (N / 2), 0)),
    "bias": (lambda xp, x: xp.sum(xp.broadcast_to(x, (N, 2))), np.ones(2), N),
    "column": (lambda xp, x: xp.sum(xp.broadcast_to(x, (2, N))), np.ones((2, 1)), N),
    "branch": (lambda xp, x: xp.sum(xp.where(xp.broadcast_to(x, (N, 2)) > 0, x, -x)), np.ones(2), N),
    "variance": (lambda xp, x: xp.var(x) * 100, HALVES, 200 * (HALVES - 1.5) / N),
    "deviation": (lambda xp, x: xp.std(x, correction=0) * 100, HALVES, 100 * (HALVES - 1.5) / N / 0.5),
    "one row": (
        lambda xp, x: xp.sum(xp.take(x, xp.zeros(N, dtype=xp.int32), axis=0)),
        np.ones((3, 2)),
        [[N] * 2, [0] * 2, [0] * 2],
    ),
}


@pytest.mark.parametrize("dtype", SPACINGS)
@pytest.mark.parametrize("case", COUNTED)
def test_many_entries_in_narrow_dtypes(case, dtype, training_backend):
    """More than float16 counts one by one (2,048), and of whose square there is no float16 (65,504)."""
    b = training_backend
    if not hasattr(b.xp, dtype):
        pytest.skip(f"{b.name} has no {dtype}")
    if b.name == "strict" and case == "one row":
        pytest.skip("a loop over rows there")
    if b.name == "torch" and case == "deviation":
        pytest.skip("it has no correction of its own by that name")
    f, host, wanted = COUNTED[case]
    x = narrow(b, host, dtype)
    found = grad(lambda x: f(namespace(x), x))(x)
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    wanted = np.broadcast_to(np.asarray(wanted, dtype="float64"), host.shape)
    np.testing.assert_allclose(
        wide(b, found), wanted, rtol=4 * SPACINGS[dtype], atol=2**-24 if dtype == "float16" else 0
    )


#: f(xp, x), x and df/dx where a square on the way would overflow in float16, or digits would cancel
STEEP = {
    "atan2": (lambda xp, x: xp.atan2(x, xp.full_like(x, 400.0)) * 1000, [300.0, 3e3], lambda x: 4e5 / (x**2 + 400**2)),
    "asinh": (lambda xp, x: xp.asinh(x), [3.0, 3e3], lambda x: 1 / np.sqrt(x**2 + 1)),
    "acosh": (lambda xp, x: xp.acosh(x), [3.0, 3e3], lambda x: 1 / np.sqrt(x**2 - 1)),
    "expm1": (lambda xp, x: xp.expm1(x), [-8.0, 1.0], np.exp),
    "log2": (lambda xp, x: xp.log2(x), [0.125, 3e4], lambda x: 1 / (x * np.log(2))),
    "reciprocal": (lambda xp, x: xp.reciprocal(x), [0.125, 100.0], lambda x: -1 / x**2),
}


@pytest.mark.parametrize("dtype", SPACINGS)
@pytest.mark.parametrize("case", STEEP)
def test_far_out_in_narrow_dtypes(case, dtype, training_backend):
    b = training_backend
    if not hasattr(b.xp, dtype):
        pytest.skip(f"{b.name} has no {dtype}")
    f, values, slope = STEEP[case]
    x = narrow(b, values, dtype)
    found = grad(lambda x: namespace(x).sum(f(namespace(x), x)))(x)
    assert found.dtype == x.dtype
    np.testing.assert_allclose(wide(b, found), slope(wide(b, x)), rtol=6 * SPACINGS[dtype])


def test_sums_of_float32_keep_their_digits(training_backend, array, rng):
    """A sum over rows adds one after the other in some libraries, and loses a digit for each tenfold of them."""
    values = rng.uniform(0, 1, (100_000, 2)).astype("float32")
    b = variable(array(np.zeros(2), "float32"))
    (b + array(values)).backward(array(values))
    np.testing.assert_allclose(training_backend.to_numpy(b.grad), values.sum(axis=0, dtype="float64"), rtol=2e-7)
    assert dtype_name(b.grad.dtype) == "float32"


def test_one_that_is_infinite_stays_alone(training_backend, array):
    """An extreme that is not taken gets nothing, however large what comes back is."""
    host = [1.0, 2.0, 3.0]
    for f, wanted in (
        (lambda xp, x: xp.max(x), [0, 0, np.inf]),
        (lambda xp, x: xp.sum(xp.maximum(x, xp.flip(x))), [0, np.inf, np.inf]),
        (lambda xp, x: xp.sum(xp.clip(x, 0.0, 2.5)), [np.inf, np.inf, 0]),
        (lambda xp, x: xp.sum(xp.where(x > 2, x, -x)), [-np.inf, -np.inf, np.inf]),
    ):
        x = variable(array(host))
        f(namespace(x), x).backward(np.inf)
        np.testing.assert_array_equal(training_backend.to_numpy(x.grad), wanted)


def test_rows_are_added_one_by_one(backend, array):
    if backend.trains:
        zeros = backend.asarray(np.zeros((3, 2)), copy=True)
        index = backend.asarray(np.asarray([2, 0, 2]))
        found = get_backend(backend.name).add_at(zeros, index, backend.asarray(np.arange(6.0).reshape(3, 2)))
        assert backend.to_numpy(found).tolist() == [[2, 3], [0, 0], [4, 6]]
