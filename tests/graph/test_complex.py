"""Complex numbers: gradients as autograd and JAX have them, df/da - i df/db; against ``jax.grad``."""

from __future__ import annotations

import numpy as np
import pytest

from xpnet import namespace
from xpnet.graph import constant, grad, jacobian, variable

#: Of complex matrices z and w, both (3, 3) and far from singular.
FUNCTIONS = {
    "products": lambda xp, z, w: z * w + z / w - 2j * z + z**3 + w**1.5,
    "exp": lambda xp, z, w: xp.exp(z) + xp.sin(z) * xp.cosh(w) + xp.log(w) + xp.sqrt(w),
    "inverse functions": lambda xp, z, w: xp.asinh(z) + xp.atan(w) + xp.atanh(z) + xp.asin(z) + xp.acos(w),
    "abs": lambda xp, z, w: xp.abs(z) * xp.abs(w) ** 2,
    "parts": lambda xp, z, w: xp.real(z) * xp.imag(w) + xp.conj(z) * w,
    "power": lambda xp, z, w: z**w,
    "matmul": lambda xp, z, w: z @ w @ xp.conj(z).T,
    "vecdot": lambda xp, z, w: xp.vecdot(z, w),
    "sums": lambda xp, z, w: xp.mean(z, axis=0) * xp.sum(w, axis=1) + xp.prod(z, axis=0) + xp.cumulative_sum(w, axis=1),
    "variance": lambda xp, z, w: xp.var(z, axis=0) * w,
    "where": lambda xp, z, w: xp.where(xp.real(z) > 0, z, w) + xp.concat([z, w], axis=0)[1:4, :],
    "dtype": lambda xp, z, w: xp.astype(xp.real(z), xp.complex128) * w,
    "solve": lambda xp, z, w: xp.linalg.solve(w, z),
    "inv": lambda xp, z, w: xp.linalg.inv(w) * xp.linalg.det(z),
    "slogdet": lambda xp, z, w: xp.linalg.slogdet(w)[0] * xp.linalg.slogdet(z)[1],
    "pinv": lambda xp, z, w: xp.linalg.pinv(w[:2, :]),
    "norms": lambda xp, z, w: xp.linalg.vector_norm(z) * xp.linalg.matrix_norm(w) + xp.linalg.vector_norm(z, ord=3),
    "cholesky": lambda xp, z, w: xp.linalg.cholesky(w @ xp.conj(w).T),
    "eigvalsh": lambda xp, z, w: xp.linalg.eigvalsh(z + xp.conj(z).T),
    "eigh": lambda xp, z, w: xp.abs(xp.linalg.eigh(z + xp.conj(z).T)[1]) ** 2,
    "svdvals": lambda xp, z, w: xp.linalg.svdvals(z) ** 2,
    "qr": lambda xp, z, w: xp.linalg.qr(w)[0] + xp.linalg.qr(w)[1],
    "fft": lambda xp, z, w: xp.fft.fft(z) * xp.fft.ifftn(w) + xp.fft.irfft(z, n=3),
}


def total(f, weights):
    def g(z, w):
        xp = namespace(z)
        y = f(xp, z, w)
        u = weights[: y.shape[0], : y.shape[1]] if y.ndim == 2 else weights[0, : y.shape[0]] if y.ndim else 1.0
        return xp.sum(xp.real(y * u) + xp.real(xp.conj(y) * y) * 0.1)

    return g


@pytest.mark.parametrize("name", FUNCTIONS)
def test_against_jax(name, rng):
    jax = pytest.importorskip("jax")
    z, w, u, d = (rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3)) for _ in "zwud")
    w = w + 3 * np.eye(3)
    f = total(FUNCTIONS[name], u)
    ours, theirs = grad(f, (0, 1)), jax.jit(jax.grad(f, (0, 1)))
    for g, wanted in zip(ours(z, w), theirs(z, w), strict=True):
        np.testing.assert_allclose(g, wanted, rtol=1e-10, atol=1e-11)

    def again(z, w):
        return namespace(z).sum(namespace(z).real(grad(f)(z, w) * d))

    def again_by_jax(z, w):
        return jax.numpy.sum(jax.numpy.real(jax.grad(f)(z, w) * d))

    for g, wanted in zip(grad(again, (0, 1))(z, w), jax.jit(jax.grad(again_by_jax, (0, 1)))(z, w), strict=True):
        np.testing.assert_allclose(g, wanted, rtol=1e-9, atol=1e-10)


def test_of_real_numbers_the_gradient_is_real(training_backend, array):
    x = array([1.0, 2.0])
    if training_backend.name == "strict":
        pytest.skip("a complex number does not meet a real array there")
    g = grad(lambda x: namespace(x).sum(namespace(x).abs(x * (1 + 2j)) ** 2))(x)
    assert g.dtype == x.dtype
    np.testing.assert_allclose(training_backend.to_numpy(g), [10, 20], rtol=1e-12)


def test_a_sign_turns(rng):
    """By differences: to JAX it is constant."""
    z, u, d = (rng.normal(size=4) + 1j * rng.normal(size=4) for _ in "zud")

    def f(z):
        return np.sum(np.real(namespace(z).sign(z) * u)) if hasattr(z, "xp") else np.sum(np.real(np.sign(z) * u))

    near = (f(z + 1e-6 * d) - f(z - 1e-6 * d)) / 2e-6
    assert float(np.sum(np.real(grad(f)(z) * d))) == pytest.approx(near, rel=1e-8)


def test_numbers_and_outputs():
    assert complex(grad(lambda z: abs(z) ** 2)(3 + 4j)) == 6 - 8j
    assert variable(1j).dtype == np.complex128
    assert constant(np.asarray([1j])).real.value.tolist() == [0]
    np.testing.assert_allclose(jacobian(lambda z: z**2)(np.asarray([1 + 2j])), [[2 + 4j]])
    with pytest.raises(TypeError, match=r"complex number.*real"):
        grad(lambda z: z * z)(1j)
    assert complex(variable(2j)) == 2j


def test_eigenvalues_of_complex_matrices(rng):
    """Derivatives of the vectors, which second derivatives need, are not JAX's: those are by central difference."""
    z, d = (rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3)) for _ in "zd")

    def f(z):
        xp = namespace(z)
        w, v = xp.linalg.eig(z)
        return xp.sum(xp.abs(w) ** 3) * xp.real(xp.sum(w**2)) + xp.sum(xp.abs(v) ** 4)

    def values(z):
        w = namespace(z).linalg.eigvals(z)
        return namespace(z).sum(namespace(z).abs(w) ** 3) * namespace(z).real(namespace(z).sum(w**2))

    jax = pytest.importorskip("jax")
    np.testing.assert_allclose(grad(values)(z), jax.grad(values)(z), rtol=1e-10, atol=1e-11)
    h = 1e-6
    along = np.real(np.sum(grad(f)(z) * d))
    np.testing.assert_allclose(along, (f(z + h * d) - f(z - h * d)) / (2 * h), rtol=1e-6)
    again = grad(lambda z: np.real(np.sum(grad(f)(z) * d)))(z)
    near = (np.real(np.sum(grad(f)(z + h * d) * d)) - np.real(np.sum(grad(f)(z - h * d) * d))) / (2 * h)
    np.testing.assert_allclose(np.real(np.sum(again * d)), near, rtol=1e-5)
