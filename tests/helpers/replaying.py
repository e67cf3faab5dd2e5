"""A step and the same one recorded, over the same minibatches."""

from __future__ import annotations

import warnings

import numpy as np

from xpnet import CompileWarning, Sequential, get_backend, make_step
from xpnet.backends.base import Block, CompiledStep, PlainStep
from xpnet.layers import Affine
from xpnet.training import init_state
from xpnet.training.step import copy_state

NUMPY = get_backend("numpy")


def compared(net, optimizer, x, t, *, weight=None, batch=10, steps=25, transforms=()):
    """The losses and the states of a step and of the same one recorded, over the same minibatches."""
    step = make_step(net, optimizer, transforms=transforms)
    recorded, rng = NUMPY.compile(step), np.random.default_rng(3)
    data = {"x": x, "t": t} | ({} if weight is None else {"weight": weight})
    rows = rng.integers(0, len(x), (steps, batch))
    draws = [net.draws(rng, (batch, *x.shape[1:])) for _ in range(steps)]
    block = Block(rows, {name: np.stack([drawn[name] for drawn in draws]) for name in draws[0]})
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        found = [
            each.run(init_state(net, optimizer, transforms), data, block) for each in (PlainStep(step, NUMPY), recorded)
        ]
    assert all(recorded.plans.values()), "it was recorded"
    return found


def run(step, state, x, t, rows, **draws):
    """A block of steps; of a step as it is, or of what was compiled."""
    step = step if isinstance(step, CompiledStep) else PlainStep(step, NUMPY)
    return step.run(state, {"x": x, "t": t}, Block(np.asarray(rows), draws))


def one_step(step, state, x, t, rows):
    state, losses = run(step, state, x, t, np.asarray(rows)[None, ...])
    return state, losses[0]


def copied(state):
    return copy_state(NUMPY, state)


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


def net_of(*layers, dtype="float64", first=(), **options):
    return Sequential([*first, Affine(7, 6), *layers], seed=1, dtype=dtype, backend="numpy", weight_init=0.5, **options)
