"""Numbers on their way into a graph and out of it: what is computed with them, what is kept and what is said."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest

from xpnet import namespace, use_backend
from xpnet.functions import sigmoid
from xpnet.graph import constant, draw, grad, variable

#: A point that the derivatives of these are wrong at if they are found.
LOST = {
    "sin": lambda x: x * math.sin(x),
    "exp, on the left": lambda x: math.exp(x) * x,
    "sqrt, added": lambda x: math.sqrt(x) + x,
    "exponent": lambda x: x ** math.cos(x),
    "float": lambda x: x * float(x),
    "power of a float": lambda x: x * float(x) ** 2,
    "float of a result": lambda x: x / float(x + x),
    "twice": lambda x: x * math.sin(math.sin(x)),
    "through a name": lambda x: next(x * number for number in [math.tanh(x)]),
    "of two": lambda x: x * math.hypot(x, x),
    "of a sequence": lambda x: x * math.fsum([x, x]),
    "a number of NumPy": lambda x: x * np.sin(float(x)),
    "a narrow number of NumPy": lambda x: x * np.float32(float(x)),
    "a constant": lambda x: x * constant(namespace(x).full_like(x, math.sin(x))),
    "a limit": lambda x: namespace(x).clip(x, 0.0, math.exp(x)),
    "a maximum": lambda x: namespace(x).maximum(x * 0.5, namespace(x).full_like(x, math.sin(x))),
    "a branch": lambda x: namespace(x).where(x > 2.0, x, namespace(x).full_like(x, math.sin(x))),
}


@pytest.mark.parametrize("case", LOST)
@pytest.mark.parametrize("scaled", [False, True])
def test_a_number_that_lost_its_derivative_is_said(case, scaled, training_backend, array):
    x = variable(array(1.25), "x")
    z = LOST[case](x * 1.5 if scaled else x) * 2.0
    with pytest.warns(UserWarning, match=r"line \d+ of .*test_numbers\.py.*namespace\(x\)\.sin\(x\)") as caught:
        z.backward()
    assert [w.filename for w in caught] == [__file__]
    with pytest.raises(TypeError, match="has no derivative"):
        grad(LOST[case])(array(1.25))


def test_numbers_of_the_entries_of_a_vector(array):
    x = variable(array([1.0, 2.0, 3.0]))
    xp = namespace(x)
    sines = array([math.sin(entry) for entry in x])
    with pytest.warns(UserWarning, match="taken from a variable"):
        xp.sum(x * sines).backward()


def test_a_picture_says_so_too(array):
    x = variable(array(1.25))
    with pytest.warns(UserWarning, match="taken from a variable") as caught:
        draw(x * math.sin(x))
    assert caught[0].filename == __file__


def test_numbers_that_are_shown_are_no_matter(array):
    """Any warning here is an error."""
    x = variable(array(3.0))
    float(x)
    y = 0.5 * x**2 - 1e-3
    assert float(y) == pytest.approx(4.499)
    y.backward()
    assert (float(y), float(x.grad)) == (pytest.approx(4.499), 3)
    x = variable(array(3.0))
    for factor in (float("0.5"), float("1.5")):  # one after the other, of the same variable
        y = factor * x**2
        assert math.isfinite(y)
        assert y < 100
        y.backward()
        assert (f"{y:.2f}", int(y), bool(y), float(x.grad)) == (f"{factor * 9:.2f}", int(factor * 9), True, factor * 6)
    z = x * float(x.value) + x * int(x)  # cut off on purpose; and trunc(x), whose derivative is zero
    z.backward()
    assert float(x.grad) == 6
    assert max(x, y) is y
    assert [float(v) for v in sorted([y, x])] == [3, 13.5]


def test_descents_that_are_printed(array):
    """Their variables are new in each step, from the values of those before."""
    lr, x = float("0.1"), variable(array([1.0, -2.0]))
    for _ in range(3):
        loss = namespace(x).sum(x**2 * lr)
        float(loss)
        loss.backward()
        float(x[0])
        x = variable(x.value - lr * x.grad)
    x = variable(2.0)
    for _ in range(6):  # Newton's method
        y = x**4 - 2 * x**2
        y.backward(record=True)
        slope = x.grad
        float(slope)
        slope.backward()
        x = variable(float(x) - float(slope) / float(x.grad))
    assert float(x) == pytest.approx(1, abs=1e-6)


def test_gradients_of_gradients_compute_with_numbers_of_their_own(array):
    x = variable(array([1.0, 2.0, 4.0]))
    xp = namespace(x)
    float(x[0])
    y = xp.std(x) + xp.mean(xp.sqrt(x)) + xp.sum(xp.clip(x, 0.5, 3.0) ** 2.5)
    y.backward(record=True)
    slope = xp.sum(x.grad)
    float(slope)
    slope.backward()


def test_functions_outside_of_grad_and_grad_inside(array):
    outside = variable(array(3.0))
    assert float(grad(lambda x: x * float(outside))(array(2.0))) == 3
    assert math.sin(outside) == math.sin(3)


def test_a_warning_is_given_once_for_each_call_and_not_for_others(array):
    x, other = variable(array(1.0)), variable(array(2.0))
    z = x * math.sin(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (other * float("0.5")).backward()
    with pytest.warns(UserWarning, match="taken"):
        z.backward()


#: Numbers of a variable that is not in the graph, or whose derivatives were found: y z is computed with one.
ELSEWHERE = {
    "a function": lambda x, y: y * math.sin(x),
    "float": lambda x, y: y * float(x),
    "of a name": lambda x, y: next(y * number for number in [float(x)]),
    "a function of a name": lambda x, y: next(number * y for number in [math.exp(x)]),
    "a function of a float": lambda x, y: next(number + y for number in [math.atan(float(x))]),
    "computed further": lambda x, y: y * (2 * math.sin(x) + 1),
    "an array": lambda x, y: y * namespace(x).full_like(x, math.sin(x)),
    "a constant": lambda x, y: y * constant(namespace(x).full_like(x, float(x))),
    "a limit": lambda x, y: namespace(y).clip(y, 0.0, math.exp(x)),
}


def solved(target):
    """The square root, which is no matter to a graph that uses it, and what is printed on the way to it."""
    x = 1.0
    for _ in range(9):
        v = variable(x)
        y = v**2 - target
        y.backward()
        assert f"{float(y):.3f}"
        x -= float(y.value) / float(v.grad)
    return x


@pytest.mark.parametrize("case", ELSEWHERE)
@pytest.mark.parametrize("finished", [False, True])
def test_numbers_of_another_variable_and_of_a_finished_result(case, finished, array):
    x, y = variable(array(1.25)), variable(array(3.0))
    source = x * 1.5
    if finished:
        source.backward()
    z = ELSEWHERE[case](source, x if finished else y)
    with pytest.warns(UserWarning, match=r"taken from a variable \(line \d+ of .*test_numbers\.py") as caught:
        z.backward()
    assert [w.filename for w in caught] == [__file__]


def test_a_finished_square_of_2_is_told_by_the_object(array):
    x = variable(array(2.0))
    y = x * x
    y.backward()
    s = float(y)
    with pytest.warns(UserWarning, match="taken from a variable"):
        (x * s).backward()


@pytest.mark.parametrize("count", [2, 50])
def test_arrays_that_are_made_on_the_line_that_takes_a_number(count, training_backend, array):
    x = variable(array(2.0))
    xp = namespace(x)
    z = xp.sum(x * array(np.linspace(0, float(x), count)))
    with pytest.warns(UserWarning, match="taken from a variable"):
        z.backward()
    v = variable(array([1.0] * count))
    z = xp.sum(v * xp.full_like(v, math.sin(x)))
    with pytest.warns(UserWarning, match="taken from a variable"):
        z.backward()


def test_seeds_that_are_numbers_of_a_variable(array):
    x = variable(array(1.25))
    with pytest.warns(UserWarning, match="taken from a variable") as caught:
        (x * 2).backward(seed=math.sin(x))
    s = math.sqrt(x)
    assert [w.filename for w in caught] == [__file__]
    with pytest.warns(UserWarning, match="taken from a variable"):
        (x * 2).backward(s)
    with pytest.warns(UserWarning, match="taken from a variable"):
        draw(x * 2, seed=s)
    v = variable(array([1.0, 2.0]))
    with pytest.warns(UserWarning, match="taken from a variable"):
        (v * 2).backward(namespace(v).full_like(v, math.sin(v[1])))


def test_no_alarm_for_what_is_shown_and_decided(array):
    """Any warning here is an error."""
    shown, target = variable(array(0.3)), variable(array(1.7))
    best, history, kept = None, [], []
    for k in range(4):
        rate = float("0.1") * 0.9**k
        x = variable(array(1.7 + k))
        y = x**2 * rate + target * (rate + 1)
        y.backward()
        history.append(float(y))
        if best is None or float(y) < float(best) or math.isnan(y):
            best = y
        assert f"{float(y):.3f} {math.sqrt(y):.3f} {float(shown):.3f} {y}"
        scale = 1 / (k + 1.5)
        y.backward(seed=scale)
        y.backward(seed=0.25)
        kept.append(y)
    data = array(np.arange(10.0))
    for rate in (0.5, 1.7, float(target.value)):  # equal to one that was taken, and another object
        float(shown)
        math.sqrt(best)
        xp = namespace(x)
        xp.sum(x * data * rate if float(best) > 0 else x * data).backward()
    root = solved(2.0)
    x = variable(array(1.5))
    (x * root).backward()
    assert float(x.grad) == pytest.approx(2**0.5)
    while float(best) > 1:
        best = best * float("0.25")
        best.backward()


def test_newton_on_a_result_that_is_finished(array):
    x = variable(array(2.0))
    for _ in range(6):
        y = x**3 - float("2.0")
        y.backward()
        step = float(y) / float(x.grad)
        x = variable(x.value - step)
    assert float(x) == pytest.approx(2 ** (1 / 3))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int8, np.int64, Fraction])
def test_numbers_of_numpy_beside_variables(kind, training_backend, array):
    """Beside another library's arrays they are numbers, and beside NumPy's own they are what NumPy makes of them."""
    number = kind(2)
    for dtype in ("float32", "float64"):
        x = variable(array([1.0, 3.0], dtype))
        for f in (lambda x: x * number, lambda x: number * x, lambda x: x**number, lambda x: number / x + x - number):
            y = f(x)
            namespace(x).sum(y).backward()
            assert x.grad.dtype == x.dtype
            wanted = grad(lambda x, f=f: np.sum(f(x)))(np.asarray([1.0, 3.0]))
            np.testing.assert_allclose(training_backend.to_numpy(x.grad), wanted, rtol=1e-6)
            host = np.asarray([1.0, 3.0], dtype)
            promoted = training_backend.name == "numpy" and kind is not Fraction
            assert y.dtype == (f(host).dtype if promoted else x.dtype)


def test_a_seed_that_is_a_number_of_numpy(training_backend, array):
    x = variable(array([1.0, 2.0]))
    (x * x).backward(np.float32(2))
    assert training_backend.to_numpy(x.grad).tolist() == [4, 8]
    with pytest.raises(TypeError):
        (x * x).backward(2j)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.float16(2), "float16"),
        (np.float32(2), "float32"),
        (np.float64(2), "float64"),
        (np.asarray(2, "float32"), "float32"),
        (np.asarray(2.0), "float64"),
        (np.int64(2), "float64"),
        (np.uint8(2), "float64"),
        (2, "float64"),
        (2.0, "float64"),
    ],
)
def test_numbers_as_variables(value, dtype):
    for made in (variable(value), constant(value)):
        assert (made.shape, made.dtype, float(made)) == ((), dtype, 2)
        assert not isinstance(made.value, np.generic)
    slope = grad(lambda x: x**3)(value)
    assert (slope.shape, slope.dtype, float(slope)) == ((), dtype, 12)


def test_numbers_go_to_the_library_of_the_arrays_beside_them(training_backend, array):
    x = array([1.0, 2.0])
    for number in (3, 3.0, np.float64(3), np.float32(3), np.int64(3)):
        found = grad(lambda a, b: namespace(a).sum(a * b), (0, 1))(x, number)
        assert training_backend.to_numpy(found[0]).tolist() == [3, 3]
        assert float(found[1]) == 3
        assert type(found[1]) is type(training_backend.asarray(1.0)) or training_backend.name == "numpy"
        assert training_backend.to_numpy(grad(lambda a, b: namespace(a).sum(a * b))(x, number)).tolist() == [3, 3]
    with use_backend(training_backend):
        assert namespace(variable(2).value) is training_backend.xp


@pytest.mark.parametrize("odd", ["big-endian", "reversed", "read-only", "in columns", "every second"])
def test_arrays_of_numpy_that_lie_otherwise(odd, rng):
    host = rng.normal(size=(4, 6))
    x = {
        "big-endian": host.astype(">f8"),
        "reversed": host[::-1, ::-1],
        "read-only": host.copy(),
        "in columns": np.asfortranarray(host),
        "every second": host[::2, ::3],
    }[odd]
    x.setflags(write=False)
    plain = np.ascontiguousarray(x, dtype="float64")

    def f(x):
        return np.sum(np.exp(x) * x[::-1] + x[0] ** 2) + np.sum(x[np.asarray([1, 1, 0], "uint8")]) + np.max(x)

    slope = grad(f)(x)
    assert slope.dtype == x.dtype
    np.testing.assert_allclose(slope, grad(f)(plain), rtol=1e-12)
    slope = grad(lambda x: np.sum(grad(f)(x) * plain))(x)
    np.testing.assert_allclose(slope, grad(lambda x: np.sum(grad(f)(x) * plain))(plain), rtol=1e-12)


def test_the_slope_of_a_sigmoid(training_backend, array):
    """By its parts; far out on either side, where branches that are not taken overflow, and at 0."""
    points = [-40.0, -1.0, 0.0, 1.0, 40.0]

    def by_branches(x):
        xp = namespace(x)
        small = xp.exp(-xp.abs(x))
        return xp.where(x > 0, 1 / (1 + small), small / (1 + small))

    def of_log(f):
        return lambda x: namespace(x).sum(namespace(x).log(f(x)))

    wanted = [1 / (1 + math.exp(x)) for x in points]
    found = training_backend.to_numpy(grad(of_log(by_branches))(array(points)))
    np.testing.assert_allclose(
        np.delete(found, 2), np.delete(wanted, 2), rtol=1e-9, atol=1e-16
    )  # |x| has no slope at 0
    found = training_backend.to_numpy(grad(of_log(sigmoid))(array([-1.0, 0.0, 1.0])))
    np.testing.assert_allclose(found, wanted[1:4], rtol=1e-12)


def test_what_is_infinite_is_left_alone(training_backend, array):
    """Infinities that a branch or a mask takes out do not come back: softmax and its like of masked scores."""

    def f(x):
        xp = namespace(x)
        there = xp.isfinite(x)
        kept = xp.where(there, x, xp.zeros_like(x))
        large = xp.max(xp.minimum(xp.maximum(kept, -1e3 + 0 * kept), 1e3 + 0 * kept))
        total = xp.sum(xp.where(there, xp.exp(kept - large), xp.zeros_like(x)))
        return xp.log1p(total - 1) + large - kept[0] + xp.sum(xp.where(xp.isinf(x), xp.ones_like(x), xp.abs(kept)))

    slope = training_backend.to_numpy(grad(f)(array([1.0, -np.inf, 2.0])))
    p = math.exp(1) / (math.exp(1) + math.exp(2))
    np.testing.assert_allclose(slope, [p - 1 + 1, 0, 1 - p + 1], rtol=1e-12)
