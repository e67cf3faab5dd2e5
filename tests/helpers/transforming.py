"""A training by hand: gradients through transforms, and the optimizer's steps on them; and a transform of one's own."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet.backends.dispatch import namespace
from xpnet.optimizers.transforms import apply_transforms, init_transforms, step_when


def host(backend, tree):
    return {k: host(backend, v) if isinstance(v, dict) else backend.to_numpy(v) for k, v in tree.items()}


def leaves(tree, place=""):
    """The arrays of nested dicts, by their places."""
    return {
        name: array
        for key, value in tree.items()
        for name, array in (
            leaves(value, f"{place}/{key}") if isinstance(value, dict) else {f"{place}/{key}": value}
        ).items()
    }


def trained(transforms, optimizer, params, gradients):
    """Parameters and both states after each of these gradients, as a training step has them."""
    states, state, ready = init_transforms(transforms, params), optimizer.init(params), None
    for grads in gradients:
        grads, states, ready = apply_transforms(transforms, grads, states, params)
        params, state = step_when(ready, optimizer, params, grads, state)
    return params, state, states, ready


def on(backend, values, dtype="float64"):
    return {name: backend.asarray(value.astype(dtype), copy=True) for name, value in values.items()}


@dataclass(frozen=True)
class Smooth:
    """The running mean of gradients: a transform of one's own, which has a state."""

    keep: float = 0.5

    def init(self, params):
        return {name: namespace(w).zeros_like(w) for name, w in params.items()}

    def update(self, grads, state, params):
        state = {name: self.keep * state[name] + (1 - self.keep) * g for name, g in grads.items()}
        return {name: 1.0 * g for name, g in state.items()}, state
