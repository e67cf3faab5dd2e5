"""Functions of one's own: primitives and their pullbacks, ufuncs of other libraries, recomputation; special ones."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import namespace
from xpnet.graph import checkpoint, constant, defvjp, grad, hessian, primitive, special, variable


def logsumexp(x):
    return np.log(np.sum(np.exp(x)))


def test_a_primitive(rng):
    ours = primitive(logsumexp)
    ours.defvjp(lambda y, x: lambda g: g * np.exp(x - y))
    x = rng.normal(size=4)
    np.testing.assert_allclose(grad(ours)(x), np.exp(x) / np.exp(x).sum(), rtol=1e-12)
    np.testing.assert_allclose(hessian(ours)(x), hessian(logsumexp)(x), rtol=1e-12)
    assert float(ours(x)) == pytest.approx(logsumexp(x))
    assert ours.__name__ == "logsumexp"


def test_arguments_of_every_kind():
    seen = []

    @primitive
    def scaled(x, how, factor, power=1):
        seen.append(type(x))
        return x * factor**power if how == "times" else x / factor

    defvjp(
        scaled,
        lambda y, x, how, factor, power=1: lambda g: g * factor**power,
        lambda y, *rest, **o: lambda g: g * rest[0],
        argnums=(0, 2),
    )
    assert float(grad(lambda x: scaled(x, "times", 3.0, power=2))(2.0)) == 9
    assert seen == [np.ndarray] or seen == [np.float64] or len(seen) == 1
    assert [float(g) for g in grad(lambda x, f: scaled(x, "times", f), (0, 1))(2.0, 5.0)] == [5, 2]
    assert scaled(2.0, "by", 4.0) == 0.5


def test_what_has_no_derivative():
    unknown, flat = primitive(lambda x: x * 2), primitive(lambda x: np.round(x))
    flat.defvjp(None)
    with pytest.raises(NotImplementedError, match="no derivative with respect to argument 0; give one with"):
        grad(unknown)(1.0)
    assert float(unknown(constant(3.0))) == 6
    assert float(grad(lambda x: flat(x) * x)(1.6)) == 2
    with pytest.raises(TypeError, match="a primitive or a ufunc"):
        defvjp(len, None)


def test_ufuncs_of_scipy(rng):
    scipy = pytest.importorskip("scipy.special")
    x = rng.uniform(0.5, 1.5, 3)
    found = grad(lambda x: np.sum(scipy.erf(x) * scipy.gammaln(x) + scipy.expit(x) + scipy.xlogy(x, x)))(x)
    wanted = grad(lambda x: np.sum(special.erf(x) * special.gammaln(x) + special.expit(x) + special.xlogy(x, x)))(x)
    np.testing.assert_allclose(found, wanted, rtol=1e-14)
    with pytest.raises((TypeError, AttributeError), match="not recorded"):
        scipy.ellipk(variable(x))
    defvjp(scipy.ellipk, lambda y, m: lambda g: g * (scipy.ellipe(m) / (1 - m) - y) / (2 * m))
    m, h = 0.3, 1e-6
    slope = (scipy.ellipk(m + h) - scipy.ellipk(m - h)) / (2 * h)
    assert float(grad(scipy.ellipk)(m)) == pytest.approx(slope, rel=1e-8)


ONE = [
    "erf",
    "erfc",
    "expit",
    "log_expit",
    "logit:0.2:0.8",
    "ndtr",
    "log_ndtr",
    "ndtri:0.2:0.8",
    "gammaln",
    "gamma",
    "digamma",
    "entr",
    "i0",
    "i1",
    "i0e",
    "i1e",
    "j0",
    "j1",
    "y0",
    "y1",
    "erfinv:-0.8:0.8",
    "erfcinv:0.2:1.8",
    "exp10",
]
TWO = ["xlogy", "xlog1py", "betaln", "beta", "rel_entr", "kl_div"]


@pytest.mark.parametrize("name", [*ONE, *TWO, "logsumexp", "softmax", "log_softmax", "multigammaln"])
def test_special_functions(name, rng):
    pytest.importorskip("scipy.special")
    name, *ends = name.split(":")
    low, high = map(float, ends or ("0.3", "2"))
    x, d = rng.uniform(low, high, (2, 4))
    d, h, w = d - 1, 1e-5, rng.normal(size=4)
    if name == "multigammaln":
        x = x + 2
    arguments = {"multigammaln": (3,)}.get(name, (rng.uniform(0.5, 1, 4),) if name in TWO else ())

    def f(x):
        y = getattr(special, name)(x, *arguments)
        return namespace(x).sum(y**2 * w) if y.ndim else y**2

    g = grad(f)
    near = (float(f(x + h * d)) - float(f(x - h * d))) / (2 * h)
    assert float((g(x) * d).sum()) == pytest.approx(near, rel=1e-7, abs=1e-8)
    along = grad(lambda x: namespace(x).sum(g(x) * d))(x)
    near = ((g(x + h * d) - g(x - h * d)) * d).sum() / (2 * h)
    assert float((along * d).sum()) == pytest.approx(near, rel=1e-6, abs=1e-7)
    if name in TWO:
        other = arguments[0]
        found = grad(lambda b: namespace(b).sum(getattr(special, name)(x, b) * w))(other)
        near = sum(((getattr(special, name)(x, other + s * h * d) * w).sum()) * s for s in (1, -1)) / (2 * h)
        assert float((found * d).sum()) == pytest.approx(near, rel=1e-7, abs=1e-8)


def test_special_functions_where_a_quotient_in_their_slope_is_none():
    pytest.importorskip("scipy.special")
    for f in (special.i1, special.i1e, special.j1):
        assert float(grad(f)(0.0)) == 0.5
    assert float(grad(grad(special.j1))(0.0)) == 0
    assert float(grad(lambda x: special.gammainc(1.0, x))(0.0)) == 1
    assert float(grad(lambda x: special.gammaincc(1.0, x))(0.0)) == -1
    for x in (0.0, 1.0):
        assert float(grad(lambda x: special.betainc(1.0, 1.0, x))(x)) == pytest.approx(1)


def test_special_functions_of_other_libraries(training_backend, array):
    if training_backend.name == "strict":
        pytest.skip("it has no special functions")
    pytest.importorskip("scipy", reason="SciPy, which computes those of NumPy's arrays, is not installed")
    x = array([0.5, 1.5])
    found = grad(lambda x: namespace(x).sum(special.erf(x) * special.gammaln(x) + special.expit(x)))(x)
    wanted = grad(lambda x: np.sum(special.erf(x) * special.gammaln(x) + special.expit(x)))(np.asarray([0.5, 1.5]))
    np.testing.assert_allclose(training_backend.to_numpy(found), wanted, rtol=1e-12)
    far = grad(lambda x: special.logsumexp(x))(array([1000.0, 1000.0]))
    np.testing.assert_allclose(training_backend.to_numpy(far), [0.5, 0.5], rtol=1e-12)


def test_recomputation(rng):
    calls = []

    def layer(x, params):
        calls.append(1)
        return {"y": np.tanh(x @ params["W"]), "x": x}

    x, W = rng.normal(size=(2, 3)), rng.normal(size=(3, 3))

    def through(f):
        def total(p):
            found = f(f(x, p)["y"] * p["s"], p)
            return np.sum(found["y"] ** 2) + np.sum(found["x"])

        return grad(total)({"W": W, "s": np.asarray(2.0)})

    plain, recomputed = through(layer), through(checkpoint(layer))
    for name, g in plain.items():
        np.testing.assert_allclose(recomputed[name], g, rtol=1e-12)
    assert len(calls) > 4
    again = checkpoint(lambda x: np.sum(np.sin(x) ** 2))
    np.testing.assert_allclose(hessian(again)(x[0]), np.diag(2 * np.cos(2 * x[0])), rtol=1e-12, atol=1e-15)
    assert float(checkpoint(lambda x: x * 2)(3.0)) == 6
