"""Calls that layers make in a step: each is recorded, and the recorded step is the step itself to the last bit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from replaying import NUMPY, assert_same, copied, one_step, run

from xpnet import CompileWarning, graph, namespace
from xpnet.backends.dispatch import backend_of, check_same_backend, device, name_of

#: Lines of a step by what they are about: x is a batch (8, 5, 4), i are integers (8, 6) from 0 to 4 and m booleans
#: (8, 5, 4); W is (5, 4). They make y, whose weighted sum is the loss, and may write into W.
CALLS = {
    "where": "y = xp.where(m, x, 0.5 * x) + xp.where(x > 0, x, 0.0) + xp.where(m, 1.0, x)",
    "where of what is spread": "y = xp.where(x[:, :1, :] > 0, x, W) + xp.where(m, W, xp.asarray(2.0, dtype=x.dtype))",
    "where of other dtypes": (
        "y = xp.where(m, xp.astype(x, xp.float32), x) + xp.astype(xp.where(m, i[:, :5, None], 2), x.dtype)"
    ),
    "take of other axes": "y = xp.take(x, i[0, :3], axis=1); y = xp.take(y, xp.asarray([3, 0, 0]), axis=2)",
    "take of many rows": "y = xp.reshape(xp.take(W, xp.reshape(i, (-1,)), axis=0), (*i.shape, 4))",
    "mean and var": "y = (x - xp.mean(x, axis=0, keepdims=True)) / xp.sqrt(xp.var(x, axis=0, keepdims=True) + 1e-5)",
    "mean and var of several axes": (
        "y = xp.mean(x, axis=(0, 2), keepdims=True) + xp.var(x, axis=(1, 2), keepdims=True)"
    ),
    "mean and var without their axes": (
        "y = xp.mean(x, axis=(0, 1)) + xp.var(x, axis=(0, 1), correction=1) + xp.mean(x)"
    ),
    "concat": "y = xp.concat([x, 2.0 * x, x[:, :1, :]], axis=1); y = xp.concat([y, y], axis=-1)[:, :, 2:7] * 2.0",
    "sums": "y = xp.sum(x, axis=(0, 2)); y = y * xp.sum(x, axis=1, keepdims=True)[0, :, :1] + xp.sum(x, axis=-1)",
    "largest and smallest": "y = xp.max(x, axis=(1, 2), keepdims=True) - xp.min(x, axis=-1, keepdims=True) * xp.max(x)",
    "comparisons": "y = xp.astype((x > 0.5) | (x <= -0.5) & ~m, x.dtype) + xp.astype(x != W, x.dtype) * (x >= 0)",
    "astype": (
        "y = xp.astype(m, x.dtype) * xp.astype(xp.astype(x, xp.float32), x.dtype) + xp.astype(i[:, :1, None], x.dtype)"
    ),
    "axes of length 1": (
        "y = xp.expand_dims(x, axis=1)[:, :, :, None, :] * W[None, None, :, None]; y = xp.squeeze(y, axis=1)"
    ),
    "broadcast_to": "y = xp.broadcast_to(xp.mean(x, axis=0), x.shape) * x + xp.broadcast_to(W[0, :], (5, 4))",
    "moveaxis": "y = xp.moveaxis(x, 1, -1) * 3.0; y = xp.sum(y, axis=0) + xp.moveaxis(y, (0, 1), (1, 0))[1, 0, :]",
    "permute_dims": (
        "y = xp.permute_dims(x, (2, 0, 1)) + 1.0; y = xp.sum(xp.exp(y), axis=1) * xp.mean(y, axis=(1, 2))[:, None]"
    ),
    "reshape": "y = xp.reshape(x, (8, -1)); y = xp.matmul(xp.matrix_transpose(y), y); y = xp.reshape(y, (5, 4, 20))",
    "reshape of what lies otherwise": (
        "y = xp.reshape(2.0 * xp.permute_dims(x, (1, 2, 0)), (5, -1)); y += 1.0; y = y * y"
    ),
    "reshape of columns, which is a view": (
        "z = 2.0 * xp.matrix_transpose(W); y = xp.reshape(xp.matrix_transpose(z), (-1,)); y += 1.0; y = z * z"
    ),
    "reshape of columns, which is a copy": (
        "z = 2.0 * xp.matrix_transpose(W); y = xp.reshape(z, (-1,)); y += 1.0; y = z * z"
    ),
    "sums over columns": (
        "z = xp.exp(xp.permute_dims(x, (2, 1, 0))); y = xp.sum(z) * xp.mean(z) * xp.sum(z, axis=(0, 1))"
    ),
    "products of stacks": "y = xp.matmul(x, xp.matrix_transpose(W)); y = xp.matmul(xp.permute_dims(y, (0, 2, 1)), x)",
    "products of slices": (
        "y = xp.matmul(x[:, ::2, 1:], W[:3, 1:].T); y = y + xp.matmul(x[0, :, ::3], W[::3, :2].T)[:3, 0]"
    ),
    "tensordot": "y = xp.tensordot(x, W, axes=([1, 2], [0, 1])); y = y[:, None, None] * xp.tensordot(x, W.T, axes=1)",
    "powers": (
        "y = x**2 + xp.abs(x) ** 0.5 + (x * x + 1.0) ** -1 + 2.0**x + xp.pow(xp.abs(x), xp.abs(x)) + x**3; y **= 2"
    ),
    "powers of numbers": "y = xp.sum(x) ** 2 + 0.9 ** xp.sum(W) + xp.abs(xp.mean(x)) ** xp.mean(W) + xp.max(x) ** 3",
    "pads and windows": (
        "y = xp.zeros((8, 7, 6), dtype=x.dtype); y[:, 1:-1, 1:-1] = x; y = y[:, 2:, 2:] + y[:, :-2, :-2]"
    ),
    "strided windows written to": "y = xp.zeros((8, 5, 4), dtype=x.dtype); y[:, ::2, :] += x[:, 1::2, :][:, :1, :]",
    "memory that is filled": "y = xp.empty(x.shape, dtype=x.dtype); y[:, ::2, :] = W[::2, :]; y[:, 1::2, :] = 1.0",
    "running statistics": "W *= 0.9; W += 0.1 * xp.mean(x, axis=0); y = x - W",
    "rows added": (
        "y = backend_of(x).add_at(xp.zeros_like(W), xp.reshape(i, (-1,)), xp.reshape(xp.concat([x,"
        " x[:, :1]], axis=1), (-1, 4)))"
    ),
    "constants read, then written to": (
        "c = xp.ones_like(W); y = W * c; v = c[1:, :]; c[0, :] += 2.0; v += c[:1, :]; y = y + c"
    ),
    "rows added to the state": "W = backend_of(W).add_at(W, i[0, :5], x[0, ...]); y = W + x",
    "rows added to what is seen": (
        "z = xp.zeros((6, 5, 4), dtype=x.dtype); backend_of(z).add_at(z[1:, ...], i[:, 0], x); y = z"
    ),
    "rows added by a layer's own indices": (
        "y = backend_of(x).add_at(xp.zeros_like(x), np.asarray([1, 1, 0]), x[:3, ...])"
    ),
    "assigned by a backend": "y = backend_of(x).put(xp.zeros_like(x), (slice(0, 4), 1), x[4:, 2, :])",
    "arrays of NumPy's and its functions": (
        "c = np.ones((5, 4), x.dtype); y = c * x + np.exp(x) + c[0] - x; y = np.maximum(c, y) @ c.T"
    ),
    "a gradient of the graph": "y = graph.grad(lambda v: xp_of(v).sum(xp_of(v).tanh(v) * x))(W)",
    "a gradient of rows of the graph": (
        "y = graph.grad(lambda v: xp_of(v).sum(xp_of(v).take(v, i[:, 0], axis=0) * x[:, 0, :]))(W)"
    ),
}


def step_of(line):
    code = compile(line, "step", "exec")

    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        here = {"xp": xp, "np": np, "backend_of": backend_of, "graph": graph, "xp_of": namespace}
        x, t = (xp.take(data[name], rows, axis=0) for name in "xt")
        here |= {"x": x, "W": state["W"], "i": t, "m": draws["m"]}
        exec(code, here)
        y, W = here["y"], here["W"]
        weights = xp.reshape(xp.cos(xp.arange(y.size, dtype=W.dtype)), y.shape)
        loss = xp.sum(y * weights) / y.size
        return {"W": W + 1e-2 * xp.mean(y * weights)}, loss

    return step


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("line", CALLS.values(), ids=CALLS)
def test_what_layers_call(line, dtype, rng):
    x, t = rng.normal(size=(30, 5, 4)).astype(dtype), rng.integers(0, 5, (30, 6))
    block, masks = rng.integers(0, 30, (5, 8)), {"m": rng.random((5, 8, 5, 4)) < 0.5}
    step = step_of(line)
    recorded = NUMPY.compile(step)
    state = {"W": rng.normal(size=(5, 4)).astype(dtype)}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", CompileWarning)
        assert_same([run(each, copied(state), x, t, block, **masks) for each in (step, recorded)])
    assert all(recorded.plans.values())


def test_what_the_seam_says_of_an_array_that_is_recorded(rng):
    """It is NumPy's, has a namespace of its own, and no device, as there are no values to look at."""
    seen = []

    def step(state, data, rows, draws):
        x = data["x"]
        xp = namespace(x)
        if not isinstance(x, np.ndarray):
            check_same_backend(x, "x", NUMPY, "the network")
            seen.append((name_of(x), backend_of(x) == NUMPY, device(x), xp is namespace(x) is not NUMPY.xp))
        return state, xp.sum(x) + xp.sum(state["w"])

    one_step(NUMPY.compile(step), {"w": np.ones(2)}, rng.normal(size=(3, 2)), np.ones(3), np.arange(3))
    assert seen == [("numpy", True, None, True)] * 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("c = np.zeros((5, 4)); c += W; y = x + c", "numpy's add is called in a way that is not recorded"),
        ("c = np.zeros((5, 4)); np.add.at(c, i[:, 0], x[:, 0, :]); y = x + c", "an array that is not its own"),
        ("y = x + np.add.reduce(W)", "numpy's add is called in a way that is not recorded"),
        ("y = x + np.asarray(W)", "it asks for the value of an array"),
    ],
)
def test_what_is_not_recorded_runs_as_it_is(line, why, rng):
    x, t = rng.normal(size=(30, 5, 4)), rng.integers(0, 5, (30, 6))
    block, masks = rng.integers(0, 30, (5, 8)), {"m": rng.random((5, 8, 5, 4)) < 0.5}
    step, state = step_of(line), {"W": rng.normal(size=(5, 4))}
    with pytest.warns(CompileWarning, match=why):
        assert_same([run(s, copied(state), x, t, block, **masks) for s in (step, NUMPY.compile(step))])
