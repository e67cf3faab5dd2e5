"""Gradients that xpnet had no hand in: ``jax.grad``, torch's autograd, or central differences."""

from __future__ import annotations

import numpy as np


def central_difference(f, x, h=1e-6):
    """df/dx entry by entry, for NumPy arrays in float64."""
    grad = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        moved = x.copy()
        moved[i] = x[i] + h
        above = float(f(moved))
        moved[i] = x[i] - h
        grad[i] = (above - float(f(moved))) / (2 * h)
    return grad


def gradients(backend, f, *args):
    """The gradients of a scalar function of arrays with respect to each argument, and how far to trust them.

    Args:
        backend: decides which oracle there is.
        f: takes arrays of the backend, returns a 0-d array.
        args: NumPy arrays in float64.
    """
    moved = [backend.asarray(a, copy=True) for a in args]
    if backend.name == "jax":
        import jax

        found = jax.grad(f, argnums=tuple(range(len(args))))(*moved)
        return [np.asarray(g) for g in found], 1e-9
    if backend.name == "torch":
        import torch

        for a in moved:
            a.requires_grad_()
        return [g.cpu().numpy() for g in torch.autograd.grad(f(*moved), moved)], 1e-9
    found = []
    for k in range(len(args)):
        found.append(central_difference(lambda a, k=k: f(*moved[:k], backend.asarray(a), *moved[k + 1 :]), args[k]))
    return found, 1e-6


def assert_close(actual, expected, tolerance):
    """Equal within ``tolerance`` of the largest entry expected."""
    assert actual.shape == expected.shape
    scale = np.abs(expected).max()
    assert scale > 0, "an expected gradient of nothing but zeros checks nothing"
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)
