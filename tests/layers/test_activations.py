"""Activations against PyTorch's, where they are large too; and the error function."""

from __future__ import annotations

from math import erfc as one_erfc

import numpy as np
import pytest

from xpnet.layers import ACTIVATIONS, ELU, GELU, LayerNorm, SiLU, Softplus, Swish
from xpnet.layers.error_function import erfc

torch = pytest.importorskip("torch", reason="torch is not installed, and it is its activations that are compared with")

PAIRS = {
    "GELU": (GELU(exact=True), torch.nn.GELU()),
    "GELU, tanh": (GELU(), torch.nn.GELU("tanh")),
    "Swish": (Swish(), torch.nn.SiLU()),
    "Softplus": (Softplus(), torch.nn.Softplus(threshold=1000)),
    "ELU": (ELU(), torch.nn.ELU()),
    "ELU, alpha 0.5": (ELU(0.5), torch.nn.ELU(0.5)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_as_pytorch(name, training_backend, array, rng):
    layer, other = PAIRS[name]
    x = np.concatenate([rng.normal(size=50) * 3, [0.0, 0.46875, -0.7, 5.7, -5.7, -30.0, 30.0, 400.0, -400.0]])
    dy = rng.normal(size=x.shape)
    given = torch.tensor(x, requires_grad=True)
    y = other(given)
    y.backward(torch.tensor(dy))
    found, residuals = layer.forward({}, array(x))
    host = training_backend.to_numpy
    np.testing.assert_allclose(host(found), y.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(host(layer.gradient(residuals, array(dy))), given.grad.numpy(), rtol=1e-12, atol=1e-13)
    small, residuals = layer.forward({}, array(x, "float32"))
    np.testing.assert_allclose(host(small), y.detach().numpy(), rtol=2e-5, atol=1e-6)
    assert small.dtype == layer.gradient(residuals, array(dy, "float32")).dtype == array(x, "float32").dtype


def test_swish_with_another_slope(array, backend, rng):
    x = rng.normal(size=20)
    np.testing.assert_allclose(backend.to_numpy(Swish(1.7).forward({}, array(x))[0]), x / (1 + np.exp(-1.7 * x)))
    assert SiLU() == Swish()
    assert {"swish", "softplus", "elu"} < set(ACTIVATIONS)


def test_the_error_function(array, backend):
    """As the C library's, to a few units in the last place."""
    x = np.concatenate([np.linspace(-6, 26, 4001), [0.46875, 4.0, -0.46875, -4.0, 0.0]])
    wanted = [one_erfc(a) for a in x]
    np.testing.assert_allclose(backend.to_numpy(erfc(array(x))), wanted, rtol=2e-15)


def test_elu_says_where_its_derivative_jumps_and_what_it_asks_of_weights(rng):
    assert (ELU().kink, ELU(0.5).kink) == (None, 0.0)
    x = rng.normal(size=10**6)
    for layer in (ELU(), ELU(2.0)):
        y = layer.forward({}, x)[0]
        assert layer.weight_gain == pytest.approx((y * y).mean() ** -0.5, rel=0.01)
    with pytest.raises(ValueError, match="ELU: alpha is 0"):
        ELU(0)


@pytest.mark.parametrize(
    ("shape", "x_shape"), [(5, (4, 5)), ((3, 5), (4, 3, 5)), (5, (2, 3, 5)), ((2, 3, 4), (3, 2, 3, 4))]
)
def test_layer_normalization(shape, x_shape, training_backend, array, rng):
    layer = LayerNorm(shape)
    params = {name: rng.normal(size=p.shape) for name, p in layer.init(rng, None).items()}
    x, dy = rng.normal(size=x_shape), rng.normal(size=x_shape)
    arrays = {k: torch.tensor(v, requires_grad=True) for k, v in {**params, "x": x}.items()}
    given = shape if isinstance(shape, tuple) else (shape,)
    y = torch.nn.functional.layer_norm(arrays["x"], given, arrays["gamma"], arrays["beta"])
    y.backward(torch.tensor(dy))
    ours, host = {name: array(p) for name, p in params.items()}, training_backend.to_numpy
    found, residuals = layer.forward(ours, array(x))
    dx, grads = layer.backward(ours, residuals, array(dy))
    np.testing.assert_allclose(host(found), y.detach().numpy(), rtol=1e-11, atol=1e-11)
    for a, name in ((dx, "x"), (grads["gamma"], "gamma"), (grads["beta"], "beta")):
        np.testing.assert_allclose(host(a), arrays[name].grad.numpy(), rtol=1e-10, atol=1e-10)
    assert layer.output_shape(x_shape[1:]) == x_shape[1:]


def test_layer_normalization_of_what_does_not_fit():
    with pytest.raises(ValueError, match=r"LayerNorm: x has shape \(2, 4\), expected \(N, ..., 5\)"):
        LayerNorm(5).forward({}, np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"a sample of shape \(3, 4\) does not fit, expected \(..., 4, 4\)"):
        LayerNorm((4, 4)).output_shape((3, 4))
    with pytest.raises(ValueError, match="LayerNorm: shape is 0"):
        LayerNorm(0)
