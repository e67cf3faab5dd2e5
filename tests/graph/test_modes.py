"""Products with vectors, Jacobians, Hessians and pytrees: against ``jax``, and closed forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

from xpnet import namespace
from xpnet.graph import (
    Variable,
    checkpoint,
    elementwise_grad,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    value_and_grad,
    variable,
    vjp,
)


class Pair(NamedTuple):
    left: object
    right: object


@dataclass(frozen=True)
class Model:
    W: object
    name: str = "line"
    degree: int = 2
    parts: tuple = ()


def curve(x):
    xp = namespace(x)
    return xp.stack([x[0] * x[1], xp.sin(x[2]), xp.sum(x * x), x[0] ** 3])


def test_against_jax(rng):
    jax = pytest.importorskip("jax")
    x, v, w = rng.normal(size=3), rng.normal(size=3), rng.normal(size=4)

    def total(x):
        return namespace(x).sum(curve(x) ** 2 * namespace(x).asarray([1.0, 2.0, 3.0, 4.0]))

    def total_of_numpy(x):
        return namespace(x).sum(curve(x) ** 2 * w)

    def total_of_jax(x):
        return jax.numpy.sum(curve(x) ** 2 * w)

    close = {"rtol": 1e-12, "atol": 1e-12}
    y, pull = vjp(curve, x)
    y_jax, pull_jax = jax.vjp(curve, x)
    np.testing.assert_allclose(y, y_jax, **close)
    np.testing.assert_allclose(pull(w)[0], pull_jax(w)[0], **close)
    for found, wanted in zip(jvp(curve, (x,), (v,)), jax.jvp(curve, (x,), (v,)), strict=True):
        np.testing.assert_allclose(found, wanted, **close)
    np.testing.assert_allclose(jacobian(curve)(x), jax.jacobian(curve)(x), **close)
    np.testing.assert_allclose(hessian(total_of_numpy)(x), jax.hessian(total_of_jax)(x), **close)
    np.testing.assert_allclose(hvp(total_of_numpy)(x, v), jax.hessian(total_of_jax)(x) @ v, **close)
    np.testing.assert_allclose(jacobian(jacobian(curve))(x), jax.jacobian(jax.jacobian(curve))(x), **close)
    third = grad(lambda x: total_of_numpy(hvp(total_of_numpy)(x, v)))(x)
    wanted = jax.grad(lambda x: total_of_jax(jax.hessian(total_of_jax)(x) @ v))(x)
    np.testing.assert_allclose(third, wanted, rtol=1e-11)
    forward = grad(lambda x: namespace(x).sum(jvp(curve, (x,), (v,))[1] ** 2))(x)
    wanted = jax.grad(lambda x: jax.numpy.sum(jax.jvp(curve, (x,), (v,))[1] ** 2))(x)
    np.testing.assert_allclose(forward, wanted, **close)
    assert total is not None


def test_on_every_backend(training_backend, array):
    x, b = array([1.0, 2.0, 3.0]), training_backend
    y, pull = vjp(lambda x: x**2, x)
    assert b.to_numpy(y).tolist() == [1, 4, 9]
    for _ in "twice":
        assert b.to_numpy(pull(array([1.0, 0.0, 2.0]))[0]).tolist() == [2, 0, 12]
    assert b.to_numpy(jvp(lambda x: x**2, (x,), (array([1.0, 0.0, 2.0]),))[1]).tolist() == [2, 0, 12]
    assert b.to_numpy(jacobian(lambda x: x**2)(x)).tolist() == [[2, 0, 0], [0, 4, 0], [0, 0, 6]]
    assert b.to_numpy(hessian(lambda x: namespace(x).sum(x**3))(x)).tolist() == [[6, 0, 0], [0, 12, 0], [0, 0, 18]]
    assert b.to_numpy(hvp(lambda x: namespace(x).sum(x**3))(x, x)).tolist() == [6, 24, 54]
    assert b.to_numpy(elementwise_grad(lambda x: x**2)(x)).tolist() == [2, 4, 6]
    assert b.to_numpy(elementwise_grad(elementwise_grad(lambda x: x**3))(x)).tolist() == [6, 12, 18]
    remembered = checkpoint(lambda x: namespace(x).sum(x**3))
    assert b.to_numpy(grad(remembered)(x)).tolist() == [3, 12, 27]
    assert b.to_numpy(hessian(remembered)(x)).tolist() == [[6, 0, 0], [0, 12, 0], [0, 0, 18]]


def test_several_arguments_and_numbers():
    f = lambda x, y, z: x * y**2 + z  # noqa: E731
    assert [float(g) for g in grad(f, (0, 1))(3.0, 2.0, 1.0)] == [4, 12]
    assert [float(g) for g in vjp(f, 3.0, 2.0, 1.0)[1](2.0)] == [8, 24, 2]
    assert [float(p) for p in jvp(f, (3.0, 2.0, 1.0), (1.0, 10.0, 100.0))] == [13, 224]
    assert float(hvp(f, 1)(3.0, 2.0, 1.0, 5.0)) == 30
    ((a, b), (c, d)) = hessian(f, (0, 1))(3.0, 2.0, 1.0)
    assert [float(part) for part in (a, b, c, d)] == [0, 4, 4, 6]
    assert float(grad(lambda x: jvp(lambda y: x * y**3, (x,), (1.0,))[1])(2.0)) == 36  # of 3 x y² at y = x, in x


def test_trees(array):
    x = array([1.0, 2.0])
    tree = {"pair": Pair(x, [x, None]), "model": Model(x, parts=(x, "a"))}

    def f(t):
        model = t["model"]
        total = t["pair"].left * 2 + t["pair"].right[0] * 3 + model.W**model.degree + model.parts[0]
        return namespace(total).sum(total)

    value, g = value_and_grad(f)(tree)
    assert float(value) == 3 * 2 + 3 * 3 + 5 + 3
    assert isinstance(g["pair"], Pair)
    assert isinstance(g["model"], Model)
    assert (g["model"].name, g["model"].degree, g["model"].parts[1], g["pair"].right[1]) == ("line", 2, "a", None)
    found = [g["pair"].left, g["pair"].right[0], g["model"].W, g["model"].parts[0]]
    assert [[float(part[i]) for i in (0, 1)] for part in found] == [[2, 2], [3, 3], [2, 4], [1, 1]]
    y, pull = vjp(lambda t: {"a": t["x"] * 2, "b": (t["x"] ** 2, 1.0)}, {"x": x})
    assert set(y) == {"a", "b"}
    (back,) = pull({"a": x, "b": (x, array(0.0))})
    assert [float(back["x"][i]) for i in (0, 1)] == [2 + 2, 4 + 8]
    J = jacobian(lambda t: {"y": t["x"] * 2})({"x": x})
    assert tuple(J["y"]["x"].shape) == (2, 2)


def test_zero_where_nothing_depends(array):
    x = array([1.0, 2.0])
    J = jacobian(lambda x: namespace(x).stack([x[0], 0.0 * x[1], namespace(x).ones_like(x)[0]]))(x)
    assert [[float(J[i, j]) for j in (0, 1)] for i in range(3)] == [[1, 0], [0, 0], [0, 0]]
    y, pull = vjp(lambda x: (x, 3.0), x)
    assert [float(pull((x, array(1.0)))[0][i]) for i in (0, 1)] == [1, 2]
    assert float(jvp(lambda x: 3.0, (1.0,), (1.0,))[1]) == 0
    assert float(y[1]) == 3
    assert not isinstance(y[0], Variable)


def test_variables_from_outside(array):
    outside = variable(array(3.0))
    y, pull = vjp(lambda x: x * outside, array(2.0))
    y.backward()
    assert float(outside.grad) == 2
    (pull(array(1.0))[0] * 5).backward()
    assert float(outside.grad) == 5
    assert float(hessian(lambda w: jvp(lambda x: w**2 * x**3, (w,), (1.0,))[1])(1.0)) == 36  # 3 w⁴


def test_refusals(array):
    x = array([1.0, 2.0])
    for call, error, message in (
        (lambda: jvp(lambda x: x, x, x), TypeError, "tuple of arguments"),
        (lambda: jvp(lambda x: x, (x,), (x, x)), ValueError, "2 tangents for 1 arrays"),
        (lambda: vjp(lambda x: x, x)[1]((x, x)), ValueError, "v has 2 arrays, and f returned 1"),
        (lambda: vjp(lambda x: x, x)[1](array([1.0])), ValueError, r"seed has shape \(1,\), expected \(2,\)"),
        (lambda: jacobian(lambda x: "text")(x), TypeError, "expected arrays"),
        (lambda: hessian(lambda x: x)(x), ValueError, "one number"),
        (lambda: jacobian(lambda x: x, 1)(x), TypeError, "argument 1, and there are 1"),
    ):
        with pytest.raises(error, match=message):
            call()
