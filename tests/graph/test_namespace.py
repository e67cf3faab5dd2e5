"""The namespace of a variable by itself: arrays that it makes, what it takes for arrays, and what leaves it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xpnet import namespace
from xpnet.backends.dispatch import dtype_name
from xpnet.graph import Variable, constant, grad, variable

#: f(xp, **options), what NumPy makes of it, and the options that it has.
MADE = {
    "zeros": lambda xp, **o: xp.zeros((2, 3), **o),
    "ones": lambda xp, **o: xp.ones(3, **o),
    "arange": lambda xp, **o: xp.arange(1, 7, 2, **o),
    "arange of one": lambda xp, **o: xp.arange(4, **o),
    "eye": lambda xp, **o: xp.eye(2, 3, k=1, **o),
    "full": lambda xp, **o: xp.full((2, 2), 7, **o),
    "linspace": lambda xp, **o: xp.linspace(0, 1, 5, endpoint=False, **o),
    "asarray": lambda xp, **o: xp.asarray([[1, 2], [3, 4]], **o),
}


@pytest.mark.parametrize("name", MADE)
def test_what_it_makes_is_of_its_library_dtype_and_device(name, training_backend, array):
    """A constant: whatever takes a namespace from it, records."""
    b, v = training_backend, variable(array([1.0, 2.0]))
    xp = namespace(v)
    for dtype in (None, "float32", "int32"):
        options = {} if dtype is None else {"dtype": getattr(xp, dtype)}
        found = MADE[name](xp, device=v.device, **options)
        assert isinstance(found, Variable)
        assert not found.differentiable
        assert namespace(found) is xp
        assert found.device == v.device
        assert type(found.value) is type(v.value)
        wanted = MADE[name](b.xp, **options)
        assert found.dtype == wanted.dtype
        wanted = MADE[name](np, **({"dtype": dtype} if dtype else {}))
        np.testing.assert_allclose(b.to_numpy(found.value), wanted, rtol=2**-23)


def test_code_that_asks_what_it_made_for_its_namespace_records(training_backend, array):
    """A product from the left with what was made in the function: its library alone would not record it."""

    def f(x):
        eye = namespace(x).eye(2, dtype=x.dtype, device=namespace(x).asarray(x).device)
        return namespace(eye).sum(namespace(eye).matmul(eye, x) ** 2)

    found = grad(f)(array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(training_backend.to_numpy(found), [[2, 4], [6, 8]])


def test_what_it_made_may_become_a_variable(training_backend, array):
    x = variable(namespace(variable(array(1.0))).asarray([1.0, 2.0]))
    assert x.differentiable
    assert type(x.value) is type(array(1.0))
    found = grad(lambda x: namespace(x).sum(namespace(x).ones(2)))(array([1.0, 2.0]))
    assert training_backend.to_numpy(found).tolist() == [0, 0]


def test_dtypes_may_be_named_as_python_and_numpy_name_them(training_backend, array):
    xp = namespace(variable(array([1.0])))
    assert dtype_name(xp.zeros(2, dtype="float32").dtype) == "float32"
    assert dtype_name(xp.asarray([1, 2], dtype=float).dtype) == "float64"
    assert dtype_name(xp.full(2, 1, dtype=float).dtype) == "float64"


def test_places_and_counts_are_no_variables(array):
    v = variable(array(3.0))
    with pytest.raises(TypeError, match=r"arange of a variable has no derivative.*int\(v\.value\)"):
        namespace(v).arange(v)
    assert namespace(v).arange(namespace(v).asarray(3)).shape == (3,)


def test_integers_are_written_as_such(array):
    three = namespace(variable(array(1.0))).asarray(3)
    assert f"{three:d} {three:03d} {three:.1f}" == "3 003 3.0"
    with pytest.raises(ValueError, match="for object of type 'float'"):
        f"{variable(array(1.0)):d}"


def test_a_lost_derivative_is_seen_through_what_was_made(array):
    x = variable(array(2.0))
    s = namespace(x).full((), math.sin(float(x)), dtype=x.dtype, device=x.device)
    with pytest.warns(UserWarning, match="derivatives lack that part"):
        (x * s).backward()


def test_lists_of_variables_stand_for_arrays(training_backend, array):
    def f(x, y):
        xp = namespace(x)
        return xp.mean([x, y]) + xp.max([x * y, x]) + xp.sum(xp.exp([[x], [y]])) + xp.std((x, y)) + xp.median([x, y])

    def stacked(x, y):
        pair = np.stack([x, y])
        return np.mean(pair) + np.max(np.stack([x * y, x])) + np.sum(np.exp(pair)) + np.std(pair) + np.median(pair)

    found = grad(f, (0, 1))(array(1.0), array(3.0))
    wanted = grad(stacked, (0, 1))(np.asarray(1.0), np.asarray(3.0))
    np.testing.assert_allclose([training_backend.to_numpy(g) for g in found], wanted, rtol=1e-12)


def test_constants_are_arrays_for_numpy_and_variables_are_not(training_backend, array):
    c = constant(array([1.0, 2.0])) * 2
    if training_backend.name in ("strict", "cupy"):  # an array of a device that is not NumPy's stays there
        with pytest.raises((RuntimeError, TypeError), match=r"device|Implicit conversion"):
            np.asarray(c)
        return
    assert np.asarray(c).tolist() == [2, 4]
    assert np.asarray(c, dtype="float32").dtype == "float32"
    with pytest.raises(TypeError, match="not converted to an array"):
        np.asarray(variable(array([1.0, 2.0])))


def test_what_is_no_floating_point_number_has_no_gradient(array):
    x = array([1.0, 2.0])
    for f, kind in (
        (lambda x: namespace(x).sum(x) > 2, "bool"),
        (lambda x: bool(namespace(x).sum(x.value if isinstance(x, Variable) else x) > 2), "bool"),
        (lambda x: namespace(x).sum(namespace(x).astype(x, namespace(x).int64)), "int64"),
    ):
        with pytest.raises(TypeError, match=f"dtype {kind}, whose derivative is 0"):
            grad(f)(x)


def test_integers_within_bounds_that_are_none(training_backend, array):
    x = constant(array([1, 2, 3]))
    found = namespace(x).clip(x, 1.5, 2.5)
    assert training_backend.to_numpy(found.value).tolist() == [1.5, 2, 2.5]
    assert namespace(x).clip(x, 1, 2).dtype == x.dtype


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 4, 2)])
def test_whole_decompositions_have_the_derivatives_that_are_defined(shape, rng):
    """Of the vectors that the thin ones have; the others may be turned at will, and refuse."""
    x, k = rng.normal(size=shape), min(shape[-2:])
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    of_u, of_v = rng.normal(size=u.shape), rng.normal(size=vh.shape)

    def f(x, whole):
        u, s, vh = np.linalg.svd(x, full_matrices=whole)
        return np.sum(of_u * u[..., :k]) + np.sum(of_v * vh[..., :k, :]) + np.sum(s**3)

    np.testing.assert_allclose(grad(f)(x, True), grad(f)(x, False), rtol=1e-9, atol=1e-9)
    for part, found in enumerate(np.linalg.svd(x)):
        np.testing.assert_array_equal(np.linalg.svd(variable(x))[part].value, found)
    completed = 0 if shape[-2] > shape[-1] else 2
    with pytest.raises(TypeError, match="completes its vectors by others, which have no derivatives"):
        grad(lambda x: np.sum(np.linalg.svd(x)[completed]))(x)
    if shape[-2] > shape[-1]:
        q, r = np.linalg.qr(x)
        of_q, of_r = rng.normal(size=q.shape), rng.normal(size=r.shape)

        def by_qr(x, mode):
            q, r = np.linalg.qr(x, mode=mode)
            return np.sum(of_q * q[..., :k]) + np.sum(of_r * r[..., :k, :])

        np.testing.assert_allclose(grad(by_qr)(x, "complete"), grad(by_qr)(x, "reduced"), rtol=1e-9, atol=1e-9)
        with pytest.raises(TypeError, match='mode="complete"'):
            grad(lambda x: np.sum(np.linalg.qr(x, mode="complete")[0]))(x)


def test_masks_under_jax_jit():
    """One that is known chooses; one that is traced has as many entries as nobody knows."""
    jax = pytest.importorskip("jax")
    x, mask = np.asarray([1.0, 2.0, 3.0]), np.asarray([True, False, True])
    for known in (mask, jax.numpy.asarray(mask)):
        found = jax.jit(grad(lambda x, m=known: namespace(x).sum(x[m] ** 2)))(x)
        np.testing.assert_array_equal(found, [2, 0, 6])
        found = jax.jit(grad(lambda x, m=known: namespace(x).sum(namespace(x).compress(m, x) ** 2)))(x)
        np.testing.assert_array_equal(found, [2, 0, 6])
    with pytest.raises(IndexError, match=r"not known while its values are traced.*where\(mask, x, 0\)"):
        jax.jit(grad(lambda x: namespace(x).sum(x[x > 1])))(x)


def test_ranks_of_nothing(training_backend, array):
    x = constant(array(np.zeros((2, 0, 3))))
    assert training_backend.to_numpy(namespace(x).linalg.matrix_rank(x).value).tolist() == [0, 0]


def test_new_axes_have_a_name():
    xp = namespace(constant(np.ones(2)))
    assert xp.newaxis is None


def test_constants_lose_nothing_in_functions_that_are_not_recorded(rng):
    host = rng.normal(size=(3, 4))
    v = variable(host)
    place = np.unravel_index(np.argmax(v), v.shape)
    assert all(isinstance(k, Variable) and not k.differentiable for k in place)
    np.testing.assert_array_equal(
        grad(lambda x: x[np.unravel_index(np.argmax(x), x.shape)] ** 2)(host).nonzero(),
        [[k] for k in np.unravel_index(np.argmax(host), host.shape)],
    )
    c = constant(host)
    counts, edges = np.histogram(c, bins=3)
    np.testing.assert_array_equal(counts.value, np.histogram(host, bins=3)[0])
    assert edges.shape == (4,)
    np.testing.assert_array_equal(np.lexsort((c[0], c[1])).value, np.lexsort((host[0], host[1])))
    with pytest.raises(TypeError, match=r"histogram\(v\.value\) does the same"):
        np.histogram(v)
    before = host.copy()
    for write in (lambda: np.fill_diagonal(c, 0.0), lambda: np.copyto(c, 0.0), lambda: np.put(v, [0], 1.0)):
        with pytest.raises(TypeError, match="writes into an array"):
            write()
    np.testing.assert_array_equal(host, before)
