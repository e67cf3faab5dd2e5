"""Variables: what they remember and for how long, nested derivatives, dtypes and groups."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import NamedTuple

import numpy as np
import pytest
from oracles import central_difference

from xpnet.backends.dispatch import namespace
from xpnet.graph import Variable, constant, grad, group, value_and_grad, variable


class Pair(NamedTuple):
    left: object
    right: object


def total(x):
    return namespace(x).sum(x)


def test_every_node_has_its_gradient(training_backend, array):
    a, b = variable(array([1.0, 2.0]), "a"), variable(array([[3.0], [4.0]]), "b")
    product = a * b
    shifted = product + a
    y = total(shifted * shifted)
    assert a.grad is None
    y.backward()
    host_a, host_b = np.asarray([1.0, 2.0]), np.asarray([[3.0], [4.0]])
    outer = 2 * (host_a * host_b + host_a)
    wanted = {a: (outer * (host_b + 1)).sum(axis=0), b: (outer * host_a).sum(axis=1, keepdims=True)}
    wanted |= {product: outer, shifted: outer, y: np.asarray(1.0)}
    for v, w in wanted.items():
        np.testing.assert_allclose(training_backend.to_numpy(v.grad), w, rtol=1e-12)
        assert (tuple(v.grad.shape), v.grad.dtype) == (v.shape, v.dtype)
        assert namespace(v.grad) is type(v).library


def test_seeds(training_backend, array):
    x = variable(array([1.0, 2.0, 3.0]))
    y = x * x
    for seed, wanted in [(array([1.0, 0.0, -1.0]), [2, 0, -6]), (2.0, [4, 8, 12]), (1, [2, 4, 6])]:
        y.backward(seed)
        assert training_backend.to_numpy(x.grad).tolist() == wanted
    y.backward(array([1.0, 0.0, -1.0], "float32"))
    assert (x.grad.dtype, y.grad.dtype) == (x.dtype, x.dtype)
    for seed, shape in [(array([1.0]), r"\(1,\)"), (array([[1.0, 1.0, 1.0]]), r"\(1, 3\)"), (array(1.0), r"\(\)")]:
        with pytest.raises(ValueError, match=rf"seed has shape {shape}, expected \(3,\)"):
            y.backward(seed)
    with pytest.raises(ValueError, match=r"starts from one number.*shape \(3,\).*sum or mean.*seed"):
        y.backward()
    total(y).backward(3)
    assert training_backend.to_numpy(x.grad).tolist() == [6, 12, 18]


def test_seeds_that_are_none(array):
    y = variable(array([1.0, 2.0])) * 2
    for seed in ("1", [1.0, 2.0]):
        with pytest.raises(TypeError):
            y.backward(seed)


def test_backward_again_replaces(training_backend, array):
    x = variable(array(3.0))
    for y, wanted in ((x * x, 6), (x * x, 6), (5 * x, 5), (x, 1)):
        y.backward()
        assert float(x.grad) == wanted
    y = x * x * x
    y.backward()
    y.backward(record=True)
    assert isinstance(x.grad, Variable)
    y.backward()
    assert not isinstance(x.grad, Variable)


def test_zeros_for_variables_and_none_for_constants(training_backend, array):
    x, c = variable(array([-1.0, 2.0])), constant(array([3.0, 4.0]))
    unused = variable(array(1.0))
    for y in (total(namespace(x).sign(x) * c), total(namespace(x).astype(x > 0, x.dtype))):
        y.backward()
        assert training_backend.to_numpy(x.grad).tolist() == [0, 0]
        assert (c.grad, unused.grad) == (None, None)
    total(x * c).backward()
    assert training_backend.to_numpy(x.grad).tolist() == [3, 4]
    assert c.grad is None
    for y in (c, total(c * 2), constant(array(1.0))):
        with pytest.raises(ValueError, match="constants alone"):
            y.backward()
    g = grad(lambda x, y: total(x) * 2, (0, 1))(array([1.0]), array([5.0, 6.0]))
    assert [training_backend.to_numpy(part).tolist() for part in g] == [[2], [0, 0]]


def test_gradients_have_memory_of_their_own():
    """So that one may be scaled in place, as when gradients are clipped, and nothing else changes."""
    W, b, seed = variable(np.ones(3)), variable(np.ones(3)), np.asarray([1.0, 2.0, 3.0])
    for y, start in ((total(W + b), None), (W + b, seed)):
        y.backward(start)
        before = b.grad.copy()
        W.grad *= 2
        np.testing.assert_array_equal(b.grad, before)
    assert seed.tolist() == [1, 2, 3]


def test_constant_of_a_variable_cuts(array):
    x = variable(array(3.0))
    (x * constant(x * x)).backward()
    assert float(x.grad) == 9


def test_one_value_leaves_the_other_alone(array):
    """Two variables of one array are two, and so are two uses of one array beside a variable."""
    host = array(3.0)
    x, y = variable(host), variable(host)
    (x * x * y).backward()
    assert (float(x.grad), float(y.grad)) == (18, 9)


def test_perturbations_are_not_confused(array):
    one, three = array(1.0), array(3.0)
    assert float(grad(lambda x: x * grad(lambda y: x + y)(one))(three)) == 1
    assert float(grad(lambda x: grad(lambda y: x * y)(x))(three)) == 1
    assert float(grad(lambda x: grad(lambda y: x * y * y)(x))(three)) == 4 * 3
    assert float(grad(lambda x: x * grad(lambda y: y * y)(x))(three)) == 4 * 3
    assert float(grad(lambda x: x * grad(lambda y: x * x)(one))(three)) == 0
    assert float(grad(lambda x: x * grad(lambda y: x)(one))(three)) == 0
    deep = grad(lambda x: x * grad(lambda y: y * grad(lambda z: x * y * z)(y))(x))  # x · 2 x y at y = x
    assert float(deep(three)) == 6 * 3**2
    fourth = grad(grad(grad(grad(lambda x: x**4 * 2))))
    assert float(fourth(three)) == 48


def test_value_inside_of_another_gradient(array):
    """The value that an inner function hands on depends on the outer variable, whatever its gradient does."""
    one, three = array(1.0), array(3.0)
    assert float(grad(lambda x: value_and_grad(lambda y: x * x)(one)[0] * x)(three)) == 27
    assert float(grad(lambda x: value_and_grad(lambda y: x + y)(one)[0] * x)(three)) == 7
    assert float(grad(lambda x: value_and_grad(lambda y: x)(one)[0] * x)(three)) == 6


def test_gradients_of_gradients(training_backend, array, rng):
    host, d = rng.normal(size=3), rng.normal(size=3)

    def f(x):
        xp = namespace(x)
        return xp.sum(xp.exp(xp.sin(x) * x[0]) * x) + x[1] ** 3 * x[2]

    v = array(d)
    product = grad(lambda x: total(grad(f)(x) * v))(array(host))
    slope = grad(f)
    h = 1e-5
    wanted = (slope(host + h * d) - slope(host - h * d)) / (2 * h)
    np.testing.assert_allclose(training_backend.to_numpy(product), wanted, rtol=0, atol=1e-7 * np.abs(wanted).max())
    x = variable(array(host))
    f(x).backward(record=True)
    first = x.grad
    np.testing.assert_allclose(training_backend.to_numpy(first.value), slope(host), rtol=1e-12)
    total(first * v).backward()
    np.testing.assert_allclose(training_backend.to_numpy(x.grad), training_backend.to_numpy(product), rtol=1e-10)
    np.testing.assert_allclose(slope(host), central_difference(f, host), rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_gradients_are_built_like_arguments(training_backend, array):
    def f(params, pair, scale=1.0):
        return total(params["W"] * pair[0]) * scale + params["b"][0] ** 2 + pair[1]

    params, pair = {"W": array([1.0, 2.0]), "b": [array(3.0)]}, (array([4.0, 5.0]), 6.0)
    value, (by_name, (left, right)) = value_and_grad(f, (0, 1))(params, pair, scale=2.0)
    assert float(value) == 2 * 14 + 9 + 6
    assert training_backend.to_numpy(by_name["W"]).tolist() == [8, 10]
    assert float(by_name["b"][0]) == 6
    assert training_backend.to_numpy(left).tolist() == [2, 4]
    assert float(right) == 1
    assert float(grad(lambda x, y: x * y, -1)(array(2.0), array(3.0))) == 2


def test_arguments_of_other_builds(training_backend, array):
    pair = Pair(array([1.0, 2.0]), array([3.0, 4.0]))
    found = grad(lambda p: total(p.left * p.right))(pair)
    assert isinstance(found, Pair)
    assert training_backend.to_numpy(found.left).tolist() == [3, 4]
    assert grad(lambda p: total(p["a"]))({"a": pair.left, "b": {}})["b"] == {}
    try:
        found = grad(lambda x: x * x, (0, 0))(array(3.0))
    except (TypeError, ValueError) as error:
        assert "argnums" in str(error)  # noqa: PT017  (either will do)
    else:
        assert [float(g) for g in found] == [6, 6]


def test_a_number_becomes_an_array_of_the_backend_selected(array):
    assert float(grad(lambda x: x**3)(2)) == 12
    assert variable(2).shape == ()


def test_a_long_chain(array):
    x = variable(np.ones(2))
    y = x
    for _ in range(100_000):
        y = y + x
    y = total(y)
    y.backward()
    assert x.grad.tolist() == [100_001, 100_001]
    gone = weakref.ref(y)
    del y
    assert gone() is None


def test_graphs_are_freed_at_once(training_backend, array):
    gc.collect()
    gc.disable()
    try:
        x = variable(array([1.0, 2.0]))
        middle = namespace(x).exp(x)
        y = total(middle * x)
        y.backward()
        gone = [weakref.ref(v) for v in (x, middle, y)]
        del x, middle, y
        assert [v() for v in gone] == [None] * 3
        seen = []

        def f(x):
            z = namespace(x).exp(x)
            seen.extend((weakref.ref(x), weakref.ref(z)))
            return total(z * z)

        g = grad(f)(array([1.0, 2.0]))
        second = grad(lambda x: total(grad(f)(x)))(array([1.0, 2.0]))
        assert not isinstance(g, Variable)
        assert not isinstance(second, Variable)
        assert [v() for v in seen] == [None] * 4
    finally:
        gc.enable()


def test_dtypes(training_backend, array):
    x, y = variable(array([1.0, 2.0], "float32")), variable(array([3.0, 4.0], "float64"))
    xp = namespace(x)
    for f in (lambda a: xp.exp(a) * 2.5 + a**2, lambda a: xp.mean(a) / 3, lambda a: xp.std(a) + xp.max(a) * 1.5):
        z = xp.sum(f(x))
        z.backward()
        assert (z.dtype, x.grad.dtype) == (x.dtype, x.dtype)
    squares = [variable(array(np.eye(2), dtype)) for dtype in ("float32", "float64")]
    if training_backend.name != "torch":  # it multiplies no matrices of two dtypes
        xp.sum(squares[0] @ squares[1]).backward()
        assert [s.grad.dtype for s in squares] == [x.dtype, y.dtype]
        (xp.sum(squares[0] @ y + x @ squares[1]) + x @ y).backward()
        assert [s.grad.dtype for s in (*squares, x, y)] == [x.dtype, y.dtype, x.dtype, y.dtype]
    for f in (lambda: x * y, lambda: x / y, lambda: x**y, lambda: xp.maximum(x, y), lambda: xp.where(x > 0, x, y)):
        z = f()
        xp.sum(z).backward()
        assert (z.dtype, x.grad.dtype, y.grad.dtype) == (y.dtype, x.dtype, y.dtype)
    cast = grad(lambda a: total(xp.astype(a, y.dtype) * y.value))(x.value)
    assert (cast.dtype, training_backend.to_numpy(cast).tolist()) == (x.dtype, [3, 4])
    assert grad(lambda a: total(grad(lambda b: total(b * b * b))(a)))(x.value).dtype == x.dtype


def test_numbers_of_numpy(rng):
    """What NumPy makes of 0-d arrays: its own numbers, in the dtype of the array."""
    for dtype in ("float32", "float64"):
        a = rng.normal(size=3).astype(dtype)
        x = variable(a)
        (np.sum(x * a.sum()) * np.exp(np.sum(x))).backward(record=True)
        assert x.grad.dtype == dtype
        np.sum(x.grad).backward()
        assert x.grad.dtype == dtype
        assert variable(a.sum()).dtype == constant(np.sum(x)).dtype == dtype


def test_groups(backend, array):
    x = variable(array([1.0]))

    def elsewhere():
        with backend.current():
            other.append(x * 3)

    with group("Affine1"):
        y = x * 2
        with group("inside"):
            z = y + 1
        with group("Affine1"):
            last = z * 2
        other = []
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    after = z * 2
    assert [v.group and v.group.name for v in (x, y, z, last, after, *other)] == [None, *["Affine1"] * 3, None, None]
    assert y.group is z.group
    with pytest.raises(ZeroDivisionError), group("broken"):
        _ = 1 / 0
    assert (x * 2).group is None
