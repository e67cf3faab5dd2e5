"""A step of CuPy and the same one captured, over the same minibatches."""

from __future__ import annotations

import warnings

import numpy as np

from xpnet import CompileWarning, make_step
from xpnet.backends.base import Block, PlainStep
from xpnet.training import init_state


def on_device(backend, tree):
    """Nested dicts of arrays, moved to the device."""
    return {k: on_device(backend, v) if isinstance(v, dict) else backend.asarray(v, copy=True) for k, v in tree.items()}


def leaves(tree, name=""):
    for key, value in tree.items():
        yield from leaves(value, f"{name}/{key}") if isinstance(value, dict) else [(f"{name}/{key}", value)]


def assert_same(backend, found):
    """States and losses, to the last bit."""
    (state, losses), (again, losses_again) = found
    np.testing.assert_array_equal(losses_again, losses)
    for (name, a), (other, b) in zip(leaves(state), leaves(again), strict=True):
        assert (name, a.shape, a.dtype, b.device) == (other, b.shape, b.dtype, a.device)
        np.testing.assert_array_equal(backend.to_numpy(b), backend.to_numpy(a), err_msg=name)


def block_of(net, shape, rng, *, samples, steps=6, batch=8):
    """Minibatches, and what the layers draw for them."""
    drawn = [net.draws(rng, (batch, *shape)) for _ in range(steps)]
    draws = {name: np.stack([each[name] for each in drawn]) for name in drawn[0]}
    return Block(rng.integers(0, samples, (steps, batch)), draws)


def compared(net, optimizer, data, *, transforms=(), steps=6):
    """What a step leaves and the same one captured, and the latter; it has to be captured, without a warning."""
    b, rng = net.backend, np.random.default_rng(3)
    step = make_step(net, optimizer, transforms=transforms)
    x = data["x"]
    block, moved = block_of(net, x.shape[1:], rng, samples=len(x), steps=steps), on_device(b, data)
    captured = b.compile(step)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        found = [
            each.run(init_state(net, optimizer, transforms), moved, block) for each in (PlainStep(step, b), captured)
        ]
    return found, captured


def graph_of(captured):
    """The graph of a step that was captured for one form of its arguments."""
    ((_, bound),) = captured.bound.values()
    return bound.graph
