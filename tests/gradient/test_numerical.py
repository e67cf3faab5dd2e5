"""Numerical gradients and gradient descent of any function, against closed forms and the tutorial's figures."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from oracles import STEP, noise

from xpnet import DivergedError, book, get_backend, gradient_descent, namespace, numerical_gradient
from xpnet.backends.dispatch import device, dtype_name


def square(x):
    return namespace(x).sum(x * x)


def wavy(x):
    """Its gradient is cos x exp(sin x)."""
    return namespace(x).sum(namespace(x).exp(namespace(x).sin(x)))


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 1, 3, 2)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_any_shape(shape, dtype, training_backend, array, rng):
    host, seen = rng.normal(size=shape).astype(dtype), set()
    x = array(host)

    def f(a):
        seen.add((dtype_name(a.dtype), tuple(a.shape), str(device(a))))
        return wavy(a)

    g = numerical_gradient(f, x)
    assert seen == {("float64", shape, str(device(x)))}
    assert (tuple(g.shape), g.dtype, device(g), type(g)) == (shape, x.dtype, device(x), type(x))
    at = host.astype("float64")
    expected = np.cos(at) * np.exp(np.sin(at))
    third = np.abs(expected * (np.cos(at) ** 2 - 3 * np.sin(at) - 1)).max()
    atol = noise(wavy(at), STEP) + (STEP * max(1, np.abs(at).max())) ** 2 * third / 6
    np.testing.assert_allclose(training_backend.to_numpy(g), expected, rtol=np.finfo(dtype).eps, atol=atol)
    np.testing.assert_array_equal(training_backend.to_numpy(x), host)


@pytest.mark.parametrize(("x", "expected"), [([3, 4], [6, 8]), ([0, 2], [0, 4]), ([3, 0], [6, 0]), ([0, 0], [0, 0])])
def test_tutorial(x, expected, training_backend, array):
    g = numerical_gradient(lambda a: a[0] ** 2 + a[1] ** 2, array(x, "float64"))
    np.testing.assert_allclose(training_backend.to_numpy(g), expected, atol=1e-8)


def test_tutorial_network(training_backend, array):
    W = array([[1.83160192, 0.4900981, -0.94188042], [-0.24946104, 2.91410946, -0.00695892]])
    x, t = array([0.6, 0.9]), array([0, 0, 1])
    g = numerical_gradient(lambda W: book.simpleNet(W).loss(x, t), W)
    dW = [[0.06708443, 0.51711391, -0.58419835], [0.10062665, 0.77567087, -0.87629752]]
    np.testing.assert_allclose(training_backend.to_numpy(g), dW, rtol=0, atol=1e-6)
    with pytest.warns(UserWarning, match="same value at every point"):
        g = numerical_gradient(lambda _: book.simpleNet(W).loss(x, t), W)
    np.testing.assert_array_equal(training_backend.to_numpy(g), np.zeros((2, 3)))


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("h", [None, 1e-3, 0.25])
def test_steps(h, batch, training_backend, array):
    """By default eps^(1/3) max(1, |x|), else as given; the central difference of x³ is 3 x² + h²."""
    host, moves = np.asarray([0.5, -2.0, 1e6]), []

    def f(a):
        moves.extend(training_backend.to_numpy(a).reshape(-1, 3) - host)
        return namespace(a).sum(a * a * a, axis=-1)

    g = training_backend.to_numpy(numerical_gradient(f, array(host), h, batch=batch))
    steps = 2.0 ** (-52 / 3) * np.maximum(1, np.abs(host)) if h is None else np.full(3, h)
    assert len(moves) - 2 * (batch or 0) <= sum(np.count_nonzero(move) == 1 for move in moves)  # one stack is a test
    moves = [move for move in moves if np.count_nonzero(move) == 1]
    for i, step in enumerate(steps):
        found = sorted({float(move[i]) for move in moves if move[i]})
        np.testing.assert_allclose(found, [-step, step], rtol=1e-6)
    np.testing.assert_allclose(g[2], 3e12, rtol=1e-8)
    for x, step in zip(host[: 2 if h else 3], steps, strict=False):  # one at a time: beside 1e6³ others drown
        one = training_backend.to_numpy(numerical_gradient(lambda a: a**3, array(x), h))
        np.testing.assert_allclose(one, 3 * x**2 + (step**2 if h else 0), rtol=1e-9)


@pytest.mark.parametrize(("function", "name"), [(numerical_gradient, "x"), (gradient_descent, "x0")])
def test_points_refused(function, name, training_backend, array):
    for dtype in ("int64", "uint8", "bool", "complex128"):
        with pytest.raises(TypeError, match=f"{name} is {dtype}"):
            function(square, array([1, 0], dtype))
    for bad, message in ((np.zeros((0, 2)), r"has shape \(0, 2\)"), ([1, np.nan], "has NaN"), ([np.inf], "infinity")):
        with pytest.raises(ValueError, match=rf"{name} .*{message}"):
            function(square, array(bad, "float64"))
    with pytest.raises(TypeError, match="expected an array"):
        function(square, [1.0, 2.0])


def test_h_refused(training_backend, array):
    for h in (0, -1e-4, np.nan, np.inf, "small", True, [1e-4]):
        with pytest.raises(ValueError, match="step h is"):
            numerical_gradient(square, array([1.0, 2.0]), h)
    with pytest.raises(ValueError, match=r"1e-12 is too small.*\[1, 0\].*100000"):
        numerical_gradient(square, array([[1.0, 2.0], [1e5, 3.0]]), 1e-12)


RETURNS = {
    "an array": (lambda a: a, ValueError, r"\(2,\), expected one number"),
    "nothing": (lambda _: None, TypeError, "NoneType"),
    "a bool": (lambda _: True, TypeError, "bool"),
    "a complex number": (lambda _: 1j, TypeError, "complex"),
    "integers": (lambda a: namespace(a).astype(square(a), namespace(a).int32), TypeError, "int32"),
    "float32": (lambda a: namespace(a).astype(square(a), namespace(a).float32), TypeError, "float64.*float32.*give h"),
}


@pytest.mark.parametrize("case", RETURNS)
def test_values_refused(case, training_backend, array):
    f, error, message = RETURNS[case]
    with pytest.raises(error, match=message):
        numerical_gradient(f, array([1.0, 2.0]))


def test_other_values(training_backend, array):
    x = array([3.0, 4.0])
    for f, h, rtol in ((lambda a: float(square(a)), None, 1e-9), (RETURNS["float32"][0], 0.01, 1e-3)):
        np.testing.assert_allclose(training_backend.to_numpy(numerical_gradient(f, x, h)), [6, 8], rtol=rtol)
    other = get_backend("numpy" if training_backend.name != "numpy" else "strict")
    with pytest.raises(TypeError, match=f"{other.name} array"):
        numerical_gradient(lambda _: other.asarray(np.float64(1)), x)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("batch", [None, 3])
def test_not_finite(bad, side, batch, training_backend, array):
    def f(a):
        value = namespace(a).sum(a, axis=(-1, -2))
        return namespace(a).where(side * (a[..., 1, 0] - 5) > 0, namespace(a).full_like(value, bad), value)

    with pytest.raises(ValueError, match=rf"f is {bad} at x {'[+]' if side > 0 else '-'} h, .* \[1, 0\]"):
        numerical_gradient(f, array([[1.0, 2.0], [5.0, 6.0]]), batch=batch)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_f_raises_has_a_note(dtype, training_backend, array):
    with pytest.raises(ZeroDivisionError) as caught:
        numerical_gradient(lambda _: 1 / 0, array([1.0], dtype))
    note = "".join(getattr(caught.value, "__notes__", []))
    assert ("x is float32 and f is called with float64" in note) == (dtype == "float32")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("batch", "max_bytes", "stack"), [(4, 2**20, 4), (99, 2**20, 10), (99, 250, 3), (7, 1, 1)])
@pytest.mark.usefixtures("at_home")
def test_batch(batch, max_bytes, stack, dtype, training_backend, array, rng):
    x, seen = array(rng.normal(size=(5, 2)), dtype), set()

    def f(a):
        seen.add((dtype_name(a.dtype), tuple(a.shape)))
        return namespace(a).sum(namespace(a).exp(namespace(a).sin(a)), axis=(-1, -2))

    g = numerical_gradient(f, x, batch=batch, max_bytes=max_bytes)
    assert (seen, g.dtype) == ({("float64", (stack, 5, 2))}, x.dtype)
    expected = training_backend.to_numpy(numerical_gradient(wavy, x))
    atol = 2 * noise(wavy(x), STEP)  # that of both: sums over one axis and over two may round otherwise
    np.testing.assert_allclose(training_backend.to_numpy(g), expected, rtol=np.finfo(dtype).eps, atol=atol)


def test_batch_refused(training_backend, array):
    x = array([1.0, 2.0, 3.0])
    for batch in (0, -1, 1.5, True, "all"):
        with pytest.raises(ValueError, match="batch is"):
            numerical_gradient(square, x, batch=batch)
    for f in (square, lambda a: a, lambda a: namespace(a).sum(a, axis=-1)[:1]):
        with pytest.raises(ValueError, match=r"f returned an array of shape .*expected \(2,\)"):
            numerical_gradient(f, x, batch=2)
    with pytest.raises(ValueError, match="max_bytes is"):
        numerical_gradient(lambda a: namespace(a).sum(a, axis=-1), x, batch=2, max_bytes=0)


def in_place(a):
    a *= a
    return namespace(a).sum(a, axis=-1)


@pytest.mark.parametrize("batch", [None, 2])
def test_f_that_writes(batch, training_backend, array):
    """Into its argument, which is a copy; or each value into the same array."""
    x, out = array([3.0, 4.0]), np.zeros(() if batch is None else batch)
    g = training_backend.to_numpy(numerical_gradient(in_place, x, batch=batch))
    np.testing.assert_allclose(g, [6, 8], rtol=1e-8)
    np.testing.assert_array_equal(training_backend.to_numpy(x), [3, 4])
    g = numerical_gradient(lambda a: np.sum(a * a, axis=-1, out=out), np.asarray([3.0, 4.0]), batch=batch)
    np.testing.assert_allclose(g, [6, 8], rtol=1e-8)


WITHOUT_X64 = """
import warnings; warnings.simplefilter("error")
import jax.numpy as jnp, numpy as np
from xpnet import TwoLayerNet, check_gradient, numerical_gradient
g = numerical_gradient(lambda a: (a ** 3).sum(), jnp.asarray([1.0, 2.0, -3.0]))
assert g.dtype == jnp.float32
np.testing.assert_allclose(np.asarray(g), [3, 12, 27], rtol=1e-3)
net = TwoLayerNet(6, 5, 4, 0.5, seed=0, backend="jax")
report = check_gradient(net, jnp.asarray(np.random.default_rng(0).normal(size=(5, 6))), jnp.asarray([0, 1, 2, 3, 0]))
assert report.passed and report.dtype == "float32", str(report)
"""


def test_jax_without_float64(training_backend):
    if training_backend.name != "jax":
        pytest.skip("it is JAX that has no float64 unless it is told to")
    environment = os.environ | {"JAX_ENABLE_X64": "0"}
    found = subprocess.run([sys.executable, "-c", WITHOUT_X64], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


@dataclass(frozen=True)
class Momentum:
    """v ← 0.9 v - lr g; x ← x + v."""

    lr: float

    def init(self, params):
        return {name: 0 * p for name, p in params.items()}

    def step(self, params, grads, state):
        state = {name: 0.9 * v - self.lr * grads[name] for name, v in state.items()}
        return {name: p + state[name] for name, p in params.items()}, state


@pytest.mark.parametrize("start", [[-3.0, 4.0], [-2.0, 3.0], 1.5, [[0.25], [-1.0]], [0.0, 0.0]])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_descent(start, dtype, training_backend, array):
    x0, host = array(start, dtype), np.asarray(start, dtype)
    x, path, values = gradient_descent(square, x0, lr=0.1, steps=100)
    assert (path.dtype, tuple(path.shape), tuple(x.shape)) == (x0.dtype, (101, *host.shape), host.shape)
    wanted = np.multiply.outer(0.8 ** np.arange(101), np.asarray(start))
    tolerance = 1e-8 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(training_backend.to_numpy(path), wanted, rtol=0, atol=tolerance)
    np.testing.assert_allclose(training_backend.to_numpy(x), wanted[-1], rtol=0.05, atol=2e-11)
    np.testing.assert_array_equal(training_backend.to_numpy(path)[-1, ...], training_backend.to_numpy(x))
    np.testing.assert_array_equal(training_backend.to_numpy(path)[0, ...], host)
    np.testing.assert_array_equal(training_backend.to_numpy(x0), host)
    np.testing.assert_allclose(values, (wanted**2).reshape(101, -1).sum(axis=1), rtol=10 * tolerance, atol=1e-12)


def test_descent_rates(training_backend, array):
    with pytest.warns(UserWarning, match="hardly moved.*larger learning rate than 1e-10"):
        x = gradient_descent(square, array([-3.0, 4.0]), lr=1e-10).x
    np.testing.assert_allclose(training_backend.to_numpy(x), [-2.99999994, 3.99999992], rtol=0, atol=5e-9)
    with pytest.raises(DivergedError, match="learning rate than 10") as caught:
        gradient_descent(square, array([-3.0, 4.0]), lr=10)
    wanted = np.multiply.outer((-19.0) ** np.arange(caught.value.iteration + 1), [-3.0, 4.0])
    np.testing.assert_allclose(training_backend.to_numpy(caught.value.path), wanted, rtol=1e-6)
    assert caught.value.loss == pytest.approx(25 * 361.0**caught.value.iteration, rel=1e-6)
    x = gradient_descent(lambda a: (a[0] - 1) ** 2 + (a[1] - 2) ** 2, array([0.0, 0.0]), lr=0.1, steps=20).x
    np.testing.assert_allclose(training_backend.to_numpy(x), np.asarray([1, 2]) * (1 - 0.8**20), rtol=1e-8)


def test_descent_back_and_forth(training_backend, array):
    """A rate of 1 goes from x to -x and back: it moved, and no larger rate will help."""
    x = gradient_descent(square, array([3.0, 4.0]), lr=1.0, steps=100).x  # a warning would be an error
    np.testing.assert_allclose(training_backend.to_numpy(x), [3, 4], rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"gradient": lambda a: 2 * a}, {"gradient": lambda a: operator.imul(a, 2)}])
def test_descent_with_own_gradient(options, training_backend, array):
    path = gradient_descent(in_place, array([1.0, -2.0]), lr=0.25, steps=3, **options).path
    wanted = np.multiply.outer(0.5 ** np.arange(4), [1.0, -2.0])
    np.testing.assert_allclose(training_backend.to_numpy(path), wanted, rtol=1e-8)


def test_descent_uses_gradient_and_optimizer(training_backend, array):
    path = gradient_descent(square, array(1.0), steps=5, gradient=lambda a: 4 * a, optimizer=Momentum(0.1)).path
    x, v, wanted = 1.0, 0.0, [1.0]
    for _ in range(5):
        v = 0.9 * v - 0.1 * 4 * x
        x += v
        wanted.append(x)
    np.testing.assert_allclose(training_backend.to_numpy(path), wanted, rtol=1e-12)


@pytest.mark.parametrize("option", ["lr", "steps"])
def test_descent_refused(option, training_backend, array):
    for value in {"lr": (0, -0.1, np.nan, np.inf, "0.1"), "steps": (0, -1, 2.5, True)}[option]:
        with pytest.raises(ValueError, match=f"{'learning rate' if option == 'lr' else 'steps'} is"):
            gradient_descent(square, array([1.0, 2.0]), **{option: value})
    with pytest.raises(ValueError, match=r"shape \(2,\), expected one number"):
        gradient_descent(lambda a: a * a, array([1.0, 2.0]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_descent_where_f_ends(bad, training_backend, array):
    """f is x down to 0.5 and no number below, which is reached in the sixth step of 0.1."""

    def f(a):
        return namespace(a).sum(namespace(a).where(a > 0.5, a, namespace(a).full_like(a, bad)))

    with pytest.raises(DivergedError, match=r"diverged.*learning rate") as caught:
        gradient_descent(f, array([1.05]), lr=0.1, steps=50)
    assert (caught.value.iteration, str(caught.value.loss)) == (6, str(float(bad)))
    np.testing.assert_allclose(training_backend.to_numpy(caught.value.path)[:, 0], 1.05 - 0.1 * np.arange(7), rtol=1e-8)
