"""Gradients of a layer against two oracles: central differences in float64, and the graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.graph import grad
from xpnet.layers.base import Layer
from xpnet.testing.calls import largest_of
from xpnet.testing.case import Case
from xpnet.testing.found import (
    Checked,
)

#: Entries of an array that are moved by themselves; of larger arrays so many are drawn at random.
MOST_ENTRIES = 200
STEP = 1e-5
#: Of a gradient, relative to its largest entry, beside the error of the central difference itself.
TOLERANCE = 1e-7
GRAPH_TOLERANCE = 1e-10


def check_gradients(checked: Checked, layer: Layer, case: Case, reference: dict[str, Any]) -> None:
    """Backpropagation against central differences, of both ways forward, in float64 on the host."""
    for mode, found in reference.items():
        given, weights = case.given(training=mode == "train"), case.weights(found["y"].shape)
        analytical = {name: (given[name], found["grads"][name]) for name in case.params}
        if case.x.dtype.kind == "f":
            analytical = {"x": (case.x, found["dx"]), **analytical}
        for name, (array, gradient) in analytical.items():
            value = partial(_weighted_sum, getattr(layer, mode), given, case.x, weights, name)
            places, numerical, trust = central_differences(value, array, case.seed)
            backprop, scale = gradient[places], np.abs(numerical).max(initial=0)
            if not np.isfinite(gradient).all():
                raise checked.fail(f"the gradient with respect to {name} has NaN or infinity in it ({mode})")
            wrong = np.abs(backprop - numerical) > TOLERANCE * scale + trust
            if wrong.any():
                worst = int(np.where(wrong, np.abs(backprop - numerical), -1).argmax())
                at = [int(axis[worst]) for axis in places]
                raise checked.fail(
                    f"the gradient with respect to {name} is {backprop[worst]:.9g} at entry {at}, and central "
                    f"differences of {mode} give {numerical[worst]:.9g}; {int(wrong.sum())} of {wrong.size} entries "
                    f"are wrong. Look at backward, after {mode}"
                )


def _weighted_sum(
    forward: Callable[..., Any], given: Params, x: np.ndarray, weights: np.ndarray, name: str, moved: np.ndarray
) -> float:
    """What gradients are taken of, where the input or a parameter is another."""
    y = forward(given, moved)[0] if name == "x" else forward(given | {name: moved}, x)[0]
    return float((y * weights).sum())


def central_differences(
    f: Callable[[np.ndarray], float], x: np.ndarray, seed: int
) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Where entries were moved, df/dx there, and how far to trust it: rounding, and what a kink or the step leaves."""
    count = min(x.size, MOST_ENTRIES)
    flat = np.random.default_rng(seed).choice(x.size, count, replace=False)
    flat.sort()

    def slope(i: int, h: float) -> float:
        ends = []
        for move in (h, -h):
            moved = x.copy()
            moved.reshape(-1)[i] += move
            ends.append(f(moved))
        return float(ends[0] - ends[1]) / (2 * h)

    near, far = (np.asarray([slope(int(i), h) for i in flat]) for h in (STEP, 2 * STEP))
    rounding = 8 * float(np.finfo("float64").eps) * max(1.0, abs(f(x))) / STEP
    return np.unravel_index(flat, x.shape), near, rounding + np.abs(far - near)


def check_graph(checked: Checked, layer: Layer, case: Case, reference: dict[str, Any]) -> None:
    """Backpropagation against the graph's gradients of the same forward, where the graph can record it."""
    floating = case.x.dtype.kind == "f"
    for mode, found in reference.items():
        given, weights = case.given(training=mode == "train"), case.weights(found["y"].shape)
        others = {name: a for name, a in given.items() if name not in case.params}

        def total(params: Params, x: Array, mode: str = mode, others: Any = others, weights: Any = weights) -> Array:
            y = getattr(layer, mode)(others | params, x)[0]
            return namespace(y).sum(y * weights)

        wanted = ([0] if case.params else []) + ([1] if floating else [])
        if not wanted:
            return
        try:
            gradients = grad(total, tuple(wanted))(case.params, case.x)
        except Exception as error:
            checked.notes.append(f"the graph does not record {mode}: {error}")
            continue
        largest = largest_of(found)
        by_name = dict(gradients[0]) if case.params else {}
        if floating:
            what = f"{mode}: the gradient with respect to x"
            checked.same(found["dx"], gradients[-1], GRAPH_TOLERANCE, what, "the graph's is", largest)
        for name, g in by_name.items():
            mine, what = found["grads"][name], f"{mode}: the gradient with respect to {name!r}"
            checked.same(mine, g, GRAPH_TOLERANCE, what, "the graph's is", largest)
