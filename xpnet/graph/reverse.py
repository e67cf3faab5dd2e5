"""Reverse mode: from one number back to all that it was computed from."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import describe, namespace, on_device_of, quiet
from xpnet.graph.operations import unbroadcast
from xpnet.graph.wrapper import NUMBERS, Wrapper, first_inside, node

#: Gradients of variables, by their serial numbers.
Gradients = dict[int, Array]
#: ``on_arrow(y, i, gradient)``.
OnArrow = Callable[[Wrapper, int, Array], None]


class Ancestry:
    """What y, or several of them, was computed from, by differentiable steps, back to variables.

    These are the variables from serial number ``since`` on.

    Attributes:
        order: y and these variables, last computed first.
        outer: whether y also depends on variables from before.
    """

    def __init__(self, y: Wrapper | list[Any], since: int = 0, *, through_all: bool = False) -> None:
        ends: list[Wrapper] = y if isinstance(y, list) else [y]
        self.outer = any(end.differentiable and end.serial < since for end in ends)
        found = {end.serial: end for end in ends if end.serial >= since or len(ends) == 1}
        waiting = list(found.values())
        while waiting:
            for x in waiting.pop().inputs:
                if isinstance(x, Wrapper) and (x.differentiable or through_all) and x.serial not in found:
                    if x.serial < since:
                        self.outer = True
                    else:
                        found[x.serial] = x
                        waiting.append(x)
        self.order = [found[serial] for serial in sorted(found, reverse=True)]


@quiet
def sweep(
    order: list[Wrapper],
    seeds: Gradients,
    *,
    again: bool,
    keep: set[int] | None = None,
    on_arrow: OnArrow | None = None,
    first: int | None = None,
) -> Gradients:
    """The gradients with respect to all of ``order``, by their serial numbers, where there are any.

    Args:
        order: what is differentiable, last computed first.
        seeds: the gradients to start with, by the same.
        again: whether the gradients are to be recorded: computed from variables, and not from their values.
        keep: whose gradients are wanted; the memory of the others is given back on the way. By default all are.
        on_arrow: is called with y, i and what comes back from y to its operand i.
        first: the serial number of the first that gets a gradient; by default the last of the order.
    """
    with on_device_of(order[0].value):
        return _swept(order, seeds, again, keep, on_arrow, first)


def _swept(
    order: list[Wrapper],
    seeds: Gradients,
    again: bool,
    keep: set[int] | None,
    on_arrow: OnArrow | None,
    first: int | None,
) -> Gradients:
    gradients = dict(seeds)
    if again:
        gradients = {v.serial: as_variable(seeds[v.serial], type(v)) for v in order if v.serial in seeds}
    first = order[-1].serial if first is None else first
    for y in order:
        g = gradients.get(y.serial) if keep is None or y.serial in keep else gradients.pop(y.serial, None)
        operation = y.operation
        if g is None or operation is None:
            continue
        if again:
            own, inputs = y, [x if isinstance(x, NUMBERS) else as_variable(x, type(y)) for x in y.inputs]
        else:
            own, inputs = y.value, [x.value if isinstance(x, Wrapper) else x for x in y.inputs]
        spreads = operation.spreads
        for i, x in enumerate(y.inputs):
            if not (isinstance(x, Wrapper) and x.differentiable and x.serial >= first):
                continue
            pullback = operation.pullback(i)
            if pullback is None:
                continue
            came = pullback(y.xp, g, own, *inputs, **y.options)
            if spreads:
                given: Any = inputs[i]
                if came.shape != given.shape or came.dtype != given.dtype:
                    came = unbroadcast(y.xp, came, given)
            gradients[x.serial] = gradients[x.serial] + came if x.serial in gradients else came
            if on_arrow is not None:
                on_arrow(y, i, came)
    return gradients


def gradients_of(y: Wrapper, inputs: list[Wrapper], seed: Array, *, since: int = 0, again: bool = False) -> list[Array]:
    """The gradients of y, weighted by ``seed`` of its shape, with respect to these inputs; zeros where it has none.

    Args:
        y: what the inputs were made into, by variables from serial number ``since`` on.
        inputs: where the sweep ends: they may have been computed from others themselves.
        seed: the gradient to start with.
        since: of the first variable behind the inputs, where these are no beginnings.
        again: whether the gradients are to be recorded.
    """
    if since and any(y is x for x in inputs):
        return [as_variable(seed, type(y)) if x is y else x.xp.zeros_like(x.value) for x in inputs]
    order = [v for v in Ancestry(y, since).order if v.differentiable]
    first, keep = (0 if since else None), {v.serial for v in inputs}
    found = sweep(order, {y.serial: seed}, again=again, keep=keep, first=first) if order else {}
    return [found[v.serial] if v.serial in found else v.xp.zeros_like(v.value) for v in inputs]


def seed_for(y: Wrapper, seed: Any) -> Array:
    """The gradient to start with, in the shape and dtype of y."""
    if seed is None:
        if y.shape:
            raise ValueError(
                f"backward() starts from one number, and this has shape {y.shape}; reduce it with sum or mean, or give "
                f"backward(seed) the derivatives of what comes after, in this shape"
            )
        seed = 1.0
    if getattr(seed, "requires_grad", False):
        raise TypeError("seed is recorded by its own library too (requires_grad is set); give seed.detach()")
    if isinstance(seed, Real):
        return y.library.full_like(y.value, float(seed))
    if (seed.library if isinstance(seed, Wrapper) else namespace(seed)) is not y.library:
        raise TypeError(f"seed is {describe(seed)} and this is {describe(y.value)}; both have to be of one library")
    if seed.shape != y.shape:
        raise ValueError(f"seed has shape {tuple(seed.shape)}, expected {y.shape}, the shape of what is differentiated")
    return seed if seed.dtype == y.dtype else y.xp.astype(seed, y.dtype)


def backward(y: Wrapper, seed: Array | float | None, again: bool) -> None:
    """:meth:`Variable.backward`."""
    order = [v for v in Ancestry(y, through_all=True).order if v.differentiable]
    if not order:
        raise ValueError(
            "this was computed from constants alone, so there is nothing to differentiate it with respect to"
        )
    first = first_inside.get()
    if not again and first is not None and order[0].serial >= first:
        raise TypeError(
            "backward() inside of a function that is being differentiated would find gradients that do not depend on "
            "its argument any more; backward(record=True) finds some that do"
        )
    g = seed_for(y, seed)
    if not again and isinstance(g, Wrapper):
        g = g.value
    gradients = sweep(order, {y.serial: g}, again=again) if y.differentiable else {}
    for v in order:  # what has no gradient was used where the result does not change with it
        found = gradients.get(v.serial)
        found = y.library.zeros_like(v.value) if found is None else found
        if again:
            v.grad = as_variable(found, type(v))
        else:  # where values come in, a gradient has memory of its own, and may be changed
            v.grad = y.library.asarray(found, dtype=v.dtype, copy=True) if v.operation is None else found


def as_variable(x: Array, kind: type[Wrapper]) -> Wrapper:
    """x itself if it is one, or a constant around it."""
    return x if isinstance(x, Wrapper) else node(kind, x)
