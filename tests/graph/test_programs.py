"""Random programs of recorded functions: shapes with axes of length 0 and 1, small integers as indices.

Against ``jax.grad`` and torch's autograd on these backends, and central differences on others.
"""

from __future__ import annotations

import numpy as np
import pytest
from oracles import gradients

from xpnet import namespace
from xpnet.backends.dispatch import device
from xpnet.graph import Variable, grad


def power(xp, z):
    return xp.real(z) ** 2 + xp.imag(z) ** 2


def solution(xp, x):
    """Of a system with a symmetric matrix, which is far from singular."""
    square = x @ xp.matrix_transpose(x)
    n = square.shape[-1]
    k = xp.arange(n, device=device(x))
    eye = xp.astype(xp.reshape(k, (n, 1)) == k, x.dtype)
    return xp.linalg.solve(square + 2.0 * eye, x)


#: Without corners, so that all oracles agree; of any number.
UNARY = {
    "sin": lambda xp, x: xp.sin(x),
    "tanh": lambda xp, x: xp.tanh(x),
    "exp": lambda xp, x: xp.exp(xp.tanh(x)),
    "expm1": lambda xp, x: xp.expm1(xp.sin(x)),
    "log1p": lambda xp, x: xp.log1p(x * x),
    "sqrt": lambda xp, x: xp.sqrt(x * x + 0.5),
    "atan": lambda xp, x: xp.atan(2 * x),
    "asinh": lambda xp, x: xp.asinh(x),
    "acosh": lambda xp, x: xp.acosh(x * x + 1.5),
    "reciprocal": lambda xp, x: xp.reciprocal(x * x + 1),
    "powers": lambda xp, x: (x * x + 1) ** -1.5 + xp.tanh(x) ** 3 + 2.0 ** xp.sin(x),
    "flip": lambda xp, x: xp.flip(x),
    "flat": lambda xp, x: xp.reshape(x, (int(np.prod(x.shape)),)),
    "turned": lambda xp, x: xp.permute_dims(x, tuple(reversed(range(x.ndim)))),
    "a new axis": lambda xp, x: xp.expand_dims(x, axis=-1),
    "twice": lambda xp, x: xp.stack([x, xp.cos(x)], axis=x.ndim),
    "sum": lambda xp, x: xp.sum(x, axis=0) if x.ndim else xp.sum(x),
    "sum, kept": lambda xp, x: xp.sum(x, axis=-1, keepdims=True) if x.ndim else xp.sum(x),
    "mean": lambda xp, x: xp.mean(x) if np.prod(x.shape) else xp.sum(x),
    "variance": lambda xp, x: xp.var(x) if np.prod(x.shape) else xp.sum(x),
    "running sum": lambda xp, x: xp.cumulative_sum(x, axis=-1) if x.ndim and np.prod(x.shape) else x,
    "running product": lambda xp, x: xp.cumulative_prod(xp.tanh(x), axis=0) if x.ndim and np.prod(x.shape) else x,
    "rolled": lambda xp, x: xp.roll(x, 1, axis=-1) if x.ndim else x,
    "differences": lambda xp, x: xp.diff(x, axis=0) if x.ndim and x.shape[0] > 1 else x,
    "product over an axis": lambda xp, x: xp.prod(xp.tanh(x) + 1.5, axis=-1) if x.ndim and x.shape[-1] else x,
    "copies": lambda xp, x: xp.repeat(x, 2, axis=0) if x.ndim else x,
    "length": lambda xp, x: xp.linalg.vector_norm(x * x + 1, axis=-1) if x.ndim and x.shape[-1] else x,
    "power of a spectrum": lambda xp, x: power(xp, xp.fft.rfft(x)) if x.ndim and np.prod(x.shape) else x,
    "covariances": lambda xp, x: xp.tensordot(x, x, axes=((0,), (0,))) if x.ndim and np.prod(x.shape) else x,
    "solution": lambda xp, x: solution(xp, x) if x.ndim > 1 and np.prod(x.shape) else x,
    "product": lambda xp, x: x @ xp.matrix_transpose(x) if x.ndim > 1 else x,
}
BINARY = {
    "add": lambda xp, x, y: x + y,
    "subtract": lambda xp, x, y: x - y,
    "multiply": lambda xp, x, y: x * y,
    "divide": lambda xp, x, y: x / (y * y + 0.5),
    "hypot": lambda xp, x, y: xp.hypot(x, y * y + 0.5),
    "atan2": lambda xp, x, y: xp.atan2(x, y * y + 0.5),
    "logaddexp": lambda xp, x, y: xp.logaddexp(x, y),
    "pow": lambda xp, x, y: (x * x + 0.5) ** xp.tanh(y),
    "where": lambda xp, x, y: xp.where(xp.zeros_like(x) > 0, y, xp.sin(x)),
}


def random_program(rng, make):
    """A function of arrays to one number, and these arrays."""
    whole = [int(n) for n in rng.choice([0, 1, 1, 2, 3], rng.integers(0, 4))]
    shapes = [
        tuple(1 if rng.random() < 0.3 else n for n in whole[rng.integers(0, len(whole) + 1) :])
        for _ in range(rng.integers(1, 4))
    ]
    choices = rng.random((rng.integers(3, 11), 4))
    dtype = str(rng.choice(["int8", "uint8", "int16", "uint16", "int64", "uint64"]))

    def one(values, kind, first, second, which):
        x, y = values[int(first * len(values))], values[int(second * len(values))]
        xp = namespace(x)
        if kind < 0.15 and x.ndim and x.shape[0]:
            kind = dtype if isinstance(x, Variable) else "int64"  # which others take
            rows = make(np.asarray([x.shape[0] - 1, 0, int(which * x.shape[0])], kind))
            return xp.take(x, rows, axis=0)
        if kind < 0.25 and x.ndim and x.shape[-1]:
            return x[..., int(which * x.shape[-1])] * x[..., -1]
        if kind < 0.6:
            return list(UNARY.values())[int(which * len(UNARY))](xp, x)
        try:
            np.broadcast_shapes(tuple(x.shape), tuple(y.shape))
        except ValueError:
            return x * 2
        return list(BINARY.values())[int(which * len(BINARY))](xp, x, y)

    def program(*arrays):
        values = list(arrays)
        for choice in choices:
            found = one(values, *choice)
            if found.ndim < 5 and np.prod(found.shape) < 200:
                values.append(found)
        sums = [namespace(v).sum(namespace(v).tanh(v) + 0.1 * v) for v in values]
        return sum(sums[1:], sums[0])

    return program, [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("seed", range(30))
def test_random_programs(seed, training_backend, array):
    b = training_backend
    if b.compiles_shapes and seed > 4:
        pytest.skip("each of its operations is compiled")
    program, hosts = random_program(np.random.default_rng(seed), array)
    numbers = tuple(range(len(hosts)))
    found = grad(program, numbers)(*map(array, hosts))
    wanted, tolerance = gradients(b, program, *hosts)
    for g, w, host in zip(found, wanted, hosts, strict=True):
        assert tuple(g.shape) == host.shape
        np.testing.assert_allclose(b.to_numpy(g), w, rtol=0, atol=tolerance * max(np.abs(w).max(initial=0), 1))
