"""A step and the same one recorded, over the same minibatches."""

from __future__ import annotations

import warnings

import numpy as np

from xpnet import CompileWarning, Sequential, get_backend, make_step
from xpnet.layers import Affine
from xpnet.training.loop import copied

NUMPY = get_backend("numpy")


def compared(net, optimizer, x, t, *, batch=10, steps=25, divide_x_by=None, masks=None):
    """The losses and the states of a step and of the same one recorded, over the same minibatches."""
    step = make_step(net, optimizer, divide_x_by=divide_x_by)
    recorded = NUMPY.compile(step)
    start = {"params": net.params, "optimizer": optimizer.init(net.params)}
    block = np.random.default_rng(3).integers(0, len(x), (steps, batch))
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        found = [NUMPY.run(each, copied(start), x, t, block, masks) for each in (step, recorded)]
    assert all(recorded.plans.values()), "it was recorded"
    return found


def assert_same(found):
    """To the last bit."""
    (state, losses_), (again, losses_again) = found
    np.testing.assert_array_equal(losses_again, losses_)
    for (name, a), (other, b) in zip(leaves(state), leaves(again), strict=True):
        assert (name, a.shape, a.dtype) == (other, b.shape, b.dtype)
        np.testing.assert_array_equal(b, a, err_msg=name)


def leaves(tree, name=""):
    for key, value in tree.items():
        yield from leaves(value, f"{name}/{key}") if isinstance(value, dict) else [(f"{name}/{key}", value)]


def net_of(*layers, dtype="float64", **options):
    return Sequential([Affine(7, 6), *layers], seed=1, dtype=dtype, backend="numpy", weight_init=0.5, **options)
