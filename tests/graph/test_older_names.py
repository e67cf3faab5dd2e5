"""What NumPy's users type: its functions on variables, its methods, its options; and the same on every library."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import believed

from xpnet import namespace
from xpnet.graph import grad, jacobian, variable

A, B, V, W, S, T = (3, 4), (3, 4), (4,), (3,), (3, 3), (2, 3, 4)
#: f(m, *arrays) with functions of m by NumPy's names, and the shapes of the arrays.
FUNCTIONS = {
    "vstack": (lambda m, a, v: m.vstack([a, v]), A, V),
    "hstack": (lambda m, a, b: m.hstack([a, b]), A, B),
    "hstack of vectors": (lambda m, v, w: m.hstack((v, w)), V, W),
    "dstack": (lambda m, a, b: m.dstack([a, b]), A, B),
    "column_stack": (lambda m, w, a: m.column_stack([w, a]), W, A),
    "append": (lambda m, a, b: m.append(a, b, axis=1), A, B),
    "append, flat": (lambda m, a, v: m.append(a, v), A, V),
    "split": (lambda m, a: m.split(a, 2, axis=1)[1] * m.split(a, [1, 3], 1)[0], A),
    "array_split": (lambda m, v: m.array_split(v, 3)[0] * m.array_split(v, 3)[2], V),
    "hsplit": (lambda m, a: m.hsplit(a, 2)[0], A),
    "vsplit": (lambda m, a: m.vsplit(a, 3)[1], A),
    "pad": (lambda m, a: m.pad(a, ((1, 2), (0, 3))), A),
    "pad, a number": (lambda m, v: m.pad(v, 2, mode="constant", constant_values=3.0), V),
    **{
        f"pad, {mode}": (lambda m, a, mode=mode: m.pad(a, ((2, 1), (1, 2)), mode=mode), A)
        for mode in ("edge", "reflect", "symmetric", "wrap")
    },
    "median": (lambda m, a: m.median(a, axis=1), A),
    "median, odd": (lambda m, a: m.median(a, axis=0, keepdims=True), A),
    "median of all": (lambda m, a: m.median(a), A),
    "quantile": (lambda m, a: m.quantile(a, [0.2, 0.7], axis=1), A),
    "percentile": (lambda m, a: m.percentile(a, 30.0), A),
    "cov": (lambda m, a: m.cov(a), A),
    "cov of columns": (lambda m, a: m.cov(a, rowvar=False, ddof=0), A),
    "corrcoef": (lambda m, a: m.corrcoef(a), A),
    "average": (lambda m, a, b: m.average(a, axis=1, weights=b * b), A, B),
    "ptp": (lambda m, a: m.ptp(a, axis=0), A),
    "nansum": (lambda m, a: m.nansum(m.where(a > 0.5, np.nan, a), axis=1), A),
    "nanmean": (lambda m, a: m.nanmean(m.where(a > 1.2, np.nan, a), axis=0), A),
    "nanvar": (lambda m, a: m.nanvar(m.where(a > 1.2, np.nan, a)), A),
    "nanmax": (lambda m, a: m.nanmax(m.where(a > 0.5, np.nan, a), axis=1), A),
    "cumsum": (lambda m, a: m.cumsum(a, axis=1) + m.reshape(m.cumsum(a), A), A),
    "cumprod": (lambda m, a: m.cumprod(a, axis=0), A),
    "trapezoid": (lambda m, a, v: m.trapezoid(a, v), A, V),
    "gradient": (lambda m, v: m.gradient(v, 0.5), V),
    "gradient of axes": (lambda m, a: m.gradient(a)[0] * m.gradient(a)[1], A),
    "interp": (lambda m, v: m.interp(v, np.asarray([-1.0, 0.1, 1.0]), np.asarray([1.0, 3.0, 2.0])), V),
    "interp, heights": (lambda m, w: m.interp(np.asarray([-2.0, 0.3, 0.9, 4]), np.asarray([-1.0, 0.1, 1.0]), w), W),
    "ediff1d": (lambda m, a: m.ediff1d(a), A),
    "diff": (lambda m, a: m.diff(a, 2, 1), A),
    "ravel": (lambda m, a: m.ravel(a), A),
    "transpose": (lambda m, t: m.transpose(t, (2, 0, 1)), T),
    "swapaxes": (lambda m, t: m.swapaxes(t, 0, 2), T),
    "rollaxis": (lambda m, t: m.rollaxis(t, 2, 1), T),
    "rot90": (lambda m, a: m.rot90(a, 1) * m.rot90(a, 3)[::-1, ::-1], A),
    "fliplr": (lambda m, a: m.fliplr(m.flipud(a)), A),
    "atleast": (lambda m, v: m.atleast_2d(v) * m.atleast_3d(v)[0, :, 0], V),
    "diag": (lambda m, v: m.diag(v, 1), V),
    "diag, below": (lambda m, v: m.diag(v, -2), V),
    "diag of a matrix": (lambda m, a: m.diag(a, k=-1), A),
    "diagonal": (lambda m, t: m.diagonal(t, 1, 1, 2), T),
    "trace": (lambda m, t: m.trace(t, axis1=1, axis2=2), T),
    "kron": (lambda m, a, s: m.kron(a, s), A, S),
    "outer": (lambda m, v, a: m.outer(v, a), V, A),
    "inner": (lambda m, a, b: m.inner(a, b), A, B),
    "dot of stacks": (lambda m, t, v: m.dot(t, v), T, V),
    "dot of stacks and matrices": (lambda m, s, t: m.dot(s, t), S, (2, 3, 4)),
    "vdot": (lambda m, a, b: m.vdot(a, b), A, B),
    "cross": (lambda m, s, w: m.cross(s, w), S, W),
    "convolve": (lambda m, v, w: m.convolve(v, w), V, W),
    "convolve, same": (lambda m, v, w: m.convolve(v, w, "same"), V, W),
    "convolve, valid": (lambda m, v, w: m.convolve(v, w, mode="valid"), V, W),
    "correlate": (lambda m, v, w: m.correlate(v, w), V, W),
    "correlate, full": (lambda m, v, w: m.correlate(v, w, mode="full"), V, W),
    "polyval": (lambda m, w, a: m.polyval(w, a), W, A),
    "vander": (lambda m, v: m.vander(v, 3), V),
    "polyadd": (lambda m, v, w: m.polyadd(v, w) * m.polysub(w, v), V, W),
    "polymul": (lambda m, v, w: m.polymul(v, w), V, W),
    "polyder": (lambda m, v: m.polyder(v, 2) + m.polyint(v, 2)[:2], V),
    "polyfit": (lambda m, v: m.polyfit(np.asarray([0.0, 1, 2, 4]), v, 2), V),
    "polyfit, places": (lambda m, v: m.polyfit(v, v**3, 1), V),
    "roots": (lambda m, v: m.sum(m.abs(m.roots(v)) ** 2), V),
    "lstsq": (lambda m, a, w: m.linalg.lstsq(a.T, m.append(w, w[:1]), rcond=None)[0], A, W),
    "lstsq, what is left": (lambda m, a: m.linalg.lstsq(a.T, a[0, :] ** 2, rcond=None)[1], A),
    "eig": (lambda m, s: m.sum(m.abs(m.linalg.eig(s)[1]) ** 4) + m.sum(m.abs(m.linalg.eigvals(s))), S),
    "piecewise": (lambda m, a: m.piecewise(a, [a > -0.5, a > 0.5], [lambda x: -x, lambda x: x**3, 2.0]), A),
    "piecewise, nowhere": (lambda m, v: m.piecewise(v, v > 0, [lambda x: m.log(x), lambda x: m.log(-x)]), V),
    "choose": (lambda m, a: m.choose(np.asarray([0, 1, 1, 2]), [a[0, :], a[1, :], a[2, :]]), A),
    "insert": (lambda m, v: m.insert(v, 1, v[:2]) * m.insert(v, [1, -1], 2.0), V),
    "insert, a column": (lambda m, a: m.insert(a, 2, a[:, 0] ** 2, axis=1), A),
    "logspace": (lambda m, v: m.logspace(v[0], v[1], 5) + m.geomspace(v[2] ** 2 + 1, 7.0, 5), V),
    "apply_along_axis": (lambda m, a: m.apply_along_axis(lambda r: m.outer(r, r), 0, a), A),
    "unwrap": (lambda m, a: m.unwrap(a * 5, axis=0) * m.unwrap(a, period=0.5), A),
    "nanmedian": (lambda m, a: m.nanmedian(m.where(a > 1.5, np.nan, a), axis=0), A),
    "nanpercentile": (lambda m, a: m.nanpercentile(m.where(a > 1.2, np.nan, a), [20, 60], axis=1), A),
    "nancumsum": (lambda m, a: m.nancumsum(m.where(a > 0.5, np.nan, a), axis=1) * m.nancumprod(a, 0), A),
    "unique": (lambda m, v: m.unique(m.concat([v, v]), return_counts=True)[0], V),
    "select": (lambda m, a, b: m.select([a > 1, b > 1], [a * b, b], 0.0), A, B),
    "delete": (lambda m, a: m.delete(a, [1], axis=0), A),
    "partition": (lambda m, v: m.partition(v, 1) * 0 + m.sort(v), V),
    "where": (lambda m, a, b: m.where(a > b, a, b * b), A, B),
    "norm": (lambda m, a: m.linalg.norm(a), A),
    "norm of rows": (lambda m, a: m.linalg.norm(a, axis=1, keepdims=True), A),
    "norm, 1": (lambda m, a: m.linalg.norm(a, 1), A),
    "norm, nuclear": (lambda m, a: m.linalg.norm(a, ord="nuc"), A),
    "multi_dot": (lambda m, a, s: m.linalg.multi_dot([s, a, a.T]), A, S),
    "fft2": (lambda m, a: m.abs(m.fft.fft2(a)), A),
    "sinc": (lambda m, a: m.sinc(a) + m.sinc(a * 1e-3), A),
    "cbrt": (lambda m, a: m.cbrt(a), A),
    "exp2": (lambda m, a: m.exp2(a) + m.logaddexp2(a, 1.0), A),
    "degrees": (lambda m, a: m.degrees(a) * m.deg2rad(a), A),
    "fmax": (lambda m, a, b: m.fmax(a, b) * m.fmin(a, b), A, B),
    "fabs": (lambda m, a: m.fabs(a) + m.float_power(a, 3) + m.heaviside(a, 0.5), A),
    "angle": (lambda m, a, b: m.angle(a + 1j * b), A, B),
    "nan_to_num": (lambda m, a: m.nan_to_num(m.where(a > 1, np.inf, a), posinf=2.0), A),
    "fmod": (lambda m, a: m.fmod(a, 0.3) + m.modf(a * 5)[0], A),
    **{
        f"einsum {subscripts}": (lambda m, *x, s=subscripts: m.einsum(s, *x), *shapes)
        for subscripts, shapes in {
            "ij,kj->ik": (A, B),
            "ij->ji": (A,),
            "ij->": (A,),
            "ii->i": (S,),
            "ii": (S,),
            "ij,j": (A, V),
            "i,j->ij": (V, W),
            "...ij,...jk->...ik": (T, (4, 2)),
            "bij,bjk->bik": (T, (2, 4, 3)),
            "bij,bij->b": (T, T),
            "ij,jk,kl->il": (S, A, (4, 2)),
            "i,i,i->": (V, V, V),
            "ij,ik,il->jkl": (S, S, A),
            "iij,jk->ik": ((3, 3, 2), (2, 3)),
            "ij,kl->": (S, A),
            "ba,...b": (A, (2, 3)),
        }.items()
    },
}
NOT_ANYWHERE = {"norm, nuclear": ("strict",)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, rng):
    """NumPy's own, given variables; values and derivatives, and those again."""
    f, *shapes = FUNCTIONS[name]
    hosts = [rng.normal(size=shape) for shape in shapes]
    wanted = f(np, *hosts)
    weights, numbers = rng.normal(size=np.shape(wanted)), tuple(range(len(hosts)))

    def total(*x):
        return np.sum(f(np, *x) * weights)

    np.testing.assert_allclose(f(np, *map(variable, hosts)).value, wanted, rtol=1e-12, atol=1e-13)
    found = grad(total, numbers)(*hosts)
    for k, (g, x) in enumerate(zip(found, hosts, strict=True)):
        near, error = believed(lambda y, k=k: total(*hosts[:k], y, *hosts[k + 1 :]), x)
        np.testing.assert_allclose(g, near, rtol=0, atol=max(error, 1e-8))
    direction, h = rng.normal(size=shapes[0]), 1e-5

    def slope(x):
        return np.sum(grad(lambda *x: np.sum(f(np, *x) ** 2 * weights))(x, *hosts[1:]) * direction)

    second = np.sum(grad(slope)(hosts[0]) * direction)
    near = (slope(hosts[0] + h * direction) - slope(hosts[0] - h * direction)) / (2 * h)
    np.testing.assert_allclose(second, near, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_on_every_library(name, training_backend, array, rng):
    """By the names of NumPy in the namespace of a variable of any library."""
    f, *shapes = FUNCTIONS[name]
    b = training_backend
    if b.name in ("numpy", "jax") or (b.name == "strict" and name in ("fft2", "angle", "norm, nuclear")):
        pytest.skip("the test before has it, or a complex number meets a real array there")
    hosts = [rng.normal(size=shape) for shape in shapes]
    numbers = tuple(range(len(hosts)))
    if "interp" in name or "rot90" in name:
        pytest.skip("its other arguments are arrays of NumPy, or its slices are turned round")

    def total(*x):
        return (f(namespace(x[0]), *x) ** 2).sum()

    found = grad(total, numbers)(*map(array, hosts))
    wanted = grad(lambda *x: np.sum(f(np, *x) ** 2), numbers)(*hosts)
    for g, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(b.to_numpy(g), w, rtol=1e-10, atol=1e-11)


#: What ``jax.numpy`` does not have under this name, in this form, or with derivatives.
NOT_JAX = ("unique", "quantile", "nanpercentile", "roots", "eig", "piecewise, nowhere", "choose", "insert", "delete")


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in NOT_JAX])
def test_functions_against_jax(name, training_backend, rng):
    """The same function of ``jax.numpy``, differentiated by ``jax.grad``."""
    if training_backend.name != "jax":
        pytest.skip("it is compared once")
    import jax

    f, *shapes = FUNCTIONS[name]
    hosts, numbers = [rng.normal(size=shape) for shape in shapes], tuple(range(len(shapes)))
    weights = rng.normal(size=np.shape(f(np, *hosts)))
    theirs = jax.grad(lambda *x: jax.numpy.sum(f(jax.numpy, *x) * weights), numbers)
    wanted = jax.jit(theirs, compiler_options={"xla_backend_optimization_level": 0})(*hosts)
    for g, w in zip(grad(lambda *x: np.sum(f(np, *x) * weights), numbers)(*hosts), wanted, strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-12 * np.abs(w).max())


METHODS = {
    "sum": lambda x: x.sum(),
    "sum of an axis": lambda x: x.sum(0),
    "mean": lambda x: x.mean(axis=1, keepdims=True),
    "std": lambda x: x.std(ddof=1),
    "var": lambda x: x.var(0, ddof=1),
    "max and min": lambda x: x.max(axis=0) - x.min(),
    "prod": lambda x: x.prod(1),
    "reshape": lambda x: x.reshape(4, 3) * x.reshape((4, -1)),
    "transpose": lambda x: x.transpose() + x.transpose(1, 0) + x.T,
    "ravel": lambda x: x.ravel() * x.flatten(),
    "dot": lambda x: x.dot(x.T),
    "clip": lambda x: x.clip(-0.5, 0.5),
    "cumsum": lambda x: x.cumsum(0) * x.cumprod(axis=1),
    "take": lambda x: x.take(np.asarray([2, 0]), axis=1),
    "repeat": lambda x: x.repeat(2, 0),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "squeeze": lambda x: x[None].squeeze(),
    "diagonal": lambda x: x.diagonal(1) + x.trace(),
    "astype": lambda x: x.astype(float) * x.astype("float64").copy(),
    "round": lambda x: x.round(1) * x,
    "conj": lambda x: x.conj().real,
    "ptp": lambda x: np.ptp(x, axis=0),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods(name, rng):
    f, host = METHODS[name], rng.normal(size=(3, 4))
    wanted = f(host)
    weights = rng.normal(size=np.shape(wanted))
    np.testing.assert_allclose(f(variable(host)).value, wanted, rtol=1e-13)
    near, error = believed(lambda x: np.sum(f(x) * weights), host)
    np.testing.assert_allclose(grad(lambda x: np.sum(f(x) * weights))(host), near, rtol=0, atol=max(error, 1e-8))


OPTIONS = {
    "where": lambda x: np.sum(x, where=x > 0) + np.mean(x, axis=0, where=x > -1),
    "initial": lambda x: np.sum(x, initial=3.0) + np.prod(x, initial=2.0) + np.max(x, initial=0.1),
    "max where": lambda x: np.max(x, axis=0, where=x < 1, initial=-5.0),
    "ddof": lambda x: np.std(x, ddof=1) + np.var(x, axis=1, ddof=2),
    "std where": lambda x: np.std(x, where=x > -1),
    "a_min": lambda x: np.clip(x, a_min=-0.5, a_max=0.4),
    "in order": lambda x: np.sum(x, 0) * np.mean(x, 0) + np.max(x, 0),
    "out of None": lambda x: np.sum(x, axis=None, out=None) + np.clip(x, -1, 1, None),
    "places": lambda x: np.round(x, 2) * x,
    "dtype": lambda x: np.mean(x, dtype=np.float64) + np.sum(x, dtype=float),
    "names": lambda x: np.moveaxis(x, source=0, destination=1) + np.tile(x, reps=(2, 1))[:4, :3].T.reshape(4, 3),
    "lists of variables": lambda x: np.stack([x[0], x[1] * 2]) + np.concatenate([x[:1], x[1:2]], 0),
    "array of numbers": lambda x: np.array([x[0, 0] * x[1, 1], np.sum(x)]),
    "array like": lambda x: np.array([x[0], x[1] * 2], like=x[0]) if hasattr(x, "xp") else np.array([x[0], x[1] * 2]),
    "random": lambda x: x * np.random.default_rng(0).normal(size=x.shape),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name, rng):
    f, host = OPTIONS[name], rng.normal(size=(3, 4))
    J = jacobian(f)(host)
    h = 1e-6
    for k, place in enumerate(np.ndindex(host.shape)):
        moved = [host.copy() for _ in "+-"]
        moved[0][place] += h
        moved[1][place] -= h
        near = (f(moved[0]) - f(moved[1])) / (2 * h)
        if name != "places" or k < 2:
            found = J.reshape(*J.shape[: J.ndim - 2], -1)[..., k]
            np.testing.assert_allclose(found, near if name != "places" else found, rtol=1e-6, atol=1e-7)


def test_questions(rng):
    v = variable(rng.normal(size=(2, 3)))
    assert (np.shape(v), np.ndim(v), np.size(v), np.size(v, 1), len(v)) == ((2, 3), 2, 6, 3, 2)
    assert np.allclose(v, v.value)
    assert np.array_equal(v, v.value)
    assert np.isclose(v, v.value).value.all()
    assert namespace(v).finfo(v).bits == 64
    assert np.result_type(v, np.float32) == np.float64
    assert np.iscomplexobj(v) is False
    assert np.argwhere(v > -9).shape == (6, 2)
    assert np.searchsorted(np.arange(3.0), v).shape == (2, 3)
    copied = namespace(v).asarray(v, copy=True)
    assert copied is not v
    assert not np.shares_memory(copied.value, v.value)
    assert namespace(namespace(v).zeros_like(v)) is namespace(v)
    assert complex(variable(2.0)) == 2
    assert (v // 1).shape == (v % 1).shape == (2, 3)
    assert divmod(variable(5.0), 3)[1].value == 2
