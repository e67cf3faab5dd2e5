"""Gradients that xpnet had no hand in: ``jax.grad``, torch's autograd, or central differences."""

from __future__ import annotations

import numpy as np

EPS = float(np.finfo(np.float64).eps)
#: Each value of f is believed to be right to so many eps of itself, or of 1: what rounding in a small network comes to.
ROUNDINGS = 2
#: The default step of a numerical gradient where no |x| is larger than 1. Elsewhere it is longer, and rounding less.
STEP = EPS ** (1 / 3)


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


def noise(f_at_x, h):
    """How far rounding takes a central difference with the step h: by an error of f on either side, over 2 h."""
    return ROUNDINGS * EPS * max(1.0, abs(float(f_at_x))) / h


def believed(f, x, h=1e-5):
    """The gradient by central difference, and how far to trust it: rounding, and what the step leaves out.

    The second grows with h², so it is a third of what changes where h is twice as long.
    """
    near, far = central_difference(f, x, h), central_difference(f, x, 2 * h)
    rounding = noise(f(x), h)
    return near, rounding + (np.abs(far - near).max(initial=0) + rounding) / 3


def gradients(backend, f, *args):
    """The gradients of a scalar function of arrays with respect to each argument, and how far to trust them.

    Args:
        backend: decides which oracle there is.
        f: takes arrays of the backend, returns a 0-d array.
        args: NumPy arrays in float64.

    Returns:
        The gradients, and an error of them that is to be expected, relative to the largest entry of each.
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
    found, tolerance = [], 0.0
    for k in range(len(args)):
        g, error = believed(lambda a, k=k: f(*moved[:k], backend.asarray(a), *moved[k + 1 :]), args[k])
        found.append(g)
        scale = np.abs(g).max(initial=0)
        if scale > error:  # else it is zero, as far as this oracle can say
            tolerance = max(tolerance, error / scale)
    assert tolerance < 1e-6, f"at this place an oracle that is right to {tolerance:.1g} says too little"
    return found, tolerance


def assert_close(actual, expected, tolerance):
    """Equal within ``tolerance`` of the largest entry expected."""
    assert actual.shape == expected.shape
    scale = np.abs(expected).max()
    assert scale > 0, "an expected gradient of nothing but zeros checks nothing"
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)
