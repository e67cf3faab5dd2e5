"""One training step, pure, so that it can be compiled; and the state that the first one is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from math import nan
from types import FunctionType, ModuleType
from typing import Any

from xpnet._typing import Array, Optimizer, Params, State, Transform
from xpnet.backends.base import Backend, CompiledStep, Data, Step
from xpnet.backends.dispatch import namespace, quiet
from xpnet.models import Sequential
from xpnet.models.mixed import check_compute_dtype, mixed_value_and_grad
from xpnet.optimizers.loss_scaling import LEAST_SCALE, loss_scaling_in
from xpnet.optimizers.transforms import apply_transforms, check_transforms, init_transforms, select, step_when
from xpnet.parallel import ALONE, Parallel
from xpnet.training.shared import shared_gradients
from xpnet.training.shared_update import SharedUpdate, SharedUpdateStep, shares_update


def make_step(
    net: Sequential,
    optimizer: Optimizer,
    *,
    transforms: Sequence[Transform] = (),
    parallel: Parallel = ALONE,
    compute_dtype: Any = None,
) -> Step:
    """The training step ``step(state, data, rows, draws) -> (state, loss)``: one update on a minibatch.

    It is pure but for consuming ``state``, so it can be compiled.

    - ``state``: ``{"params", "buffers", "optimizer", "transforms"}``, nested dicts of arrays; :func:`init_state` makes
      the first.
    - ``data``: ``{"x", "t"}``, and ``"weight"`` where samples have one: arrays of all samples.
    - ``rows``: integers (B,), which samples the minibatch has.
    - ``draws``: what the layers draw, by name, as ``net.draws(rng, shape)`` returns it; ``{}`` where there is nothing.

    Args:
        net: the network, of which only the layers and the loss are used.
        optimizer: the update rule.
        transforms: what is done to the gradients before it, in their order: ``(ClipByNorm(1.0),)``. The loss is
            scaled if the first is a :class:`xpnet.optimizers.LossScaling`.
        parallel: the processes that take a part of the rows each, and have the same state after the step.
        compute_dtype: ``"bfloat16"`` or ``"float16"`` for mixed precision, see :class:`xpnet.Trainer`, which has
            losses scaled in float16 by itself.

    >>> import numpy as np
    >>> from xpnet import SGD, TwoLayerNet, get_backend
    >>> net, optimizer = TwoLayerNet(3, 5, 2, seed=0, backend="numpy"), SGD(lr=0.5)
    >>> data = {"x": np.eye(3, dtype="float32"), "t": np.asarray([0, 1, 1])}
    >>> step, state, losses = make_step(net, optimizer), init_state(net, optimizer), []
    >>> for rows in ([0, 1], [2, 0], [1, 2]):
    ...     state, loss = step(state, data, np.asarray(rows), {})
    ...     losses.append(float(loss))
    >>> losses[-1] < losses[0]
    True
    >>> net.params = state["params"]
    """
    applied = check_transforms(transforms)
    scaling = loss_scaling_in(applied)
    plain = scaling is None and check_compute_dtype(net, compute_dtype) is None
    value_and_grad = net.training_value_and_grad if plain else mixed_value_and_grad(net, compute_dtype)

    def gradients(arrays: Params, data: Data, rows: Array, **scaled: Array) -> tuple[Array, Params, Params]:
        xp = namespace(data["x"])
        batch = {name: xp.take(samples, rows, axis=0) for name, samples in data.items()}
        return value_and_grad(arrays, **batch, **scaled)

    shares = parallel.size > 1 and parallel.divides
    adds = not isinstance(optimizer, SharedUpdate)  # which adds up what it needs
    of_rows = shared_gradients(net, parallel, value_and_grad, adds) if shares else gradients

    def step(state: State, data: Data, rows: Array, draws: Params) -> tuple[State, Array]:
        params, buffers = state["params"], state["buffers"]
        scaled = {} if scaling is None else {"scale": state["transforms"]["0"]["scale"]}
        loss, grads, updates = of_rows(params | buffers | draws, data, rows, **scaled)
        transformed, ready = state["transforms"], None
        if applied:
            grads, transformed, ready = apply_transforms(applied, grads, transformed, params)
        if scaling is not None:
            loss, updates = _kept(transformed["0"], loss, updates, buffers)
        take = optimizer.step if ready is None else partial(step_when, ready, optimizer)
        params, optimized = take(params, grads, state["optimizer"])
        after = {"params": params, "buffers": buffers | updates, "optimizer": optimized, "transforms": transformed}
        return after, loss

    return net.backend.here(step if plain else quiet(step))  # a gradient that overflows is looked for


def compiled_step(
    net: Sequential,
    optimizer: Optimizer,
    transforms: Sequence[Transform] = (),
    parallel: Parallel = ALONE,
    compute_dtype: Any = None,
    compiles: bool = True,
) -> CompiledStep:
    """The step of :func:`make_step`, compiled if that is wanted; where processes can share its update out, they do."""
    if not shares_update(net, optimizer, transforms, parallel):
        whole = make_step(net, optimizer, transforms=transforms, parallel=parallel, compute_dtype=compute_dtype)
        return parallel.compile(net.backend, whole, compiles)
    shared = SharedUpdate(optimizer, tuple(transforms), parallel)
    step = make_step(net, shared, parallel=parallel, compute_dtype=compute_dtype)
    return SharedUpdateStep(parallel.compile(net.backend, step, compiles), parallel, net.backend)


def _kept(scaling: State, loss: Array, updates: Params, buffers: Params) -> tuple[Array, Params]:
    """The buffers as they were if the step is left out; and no loss if no scale keeps gradients finite."""
    xp = namespace(loss)
    loss = xp.where(scaling["scale"] < LEAST_SCALE, xp.full_like(loss, nan), loss)
    return xp.asarray(loss), select(scaling["finite"], updates, buffers)


def init_state(net: Sequential, optimizer: Optimizer, transforms: Sequence[Transform] = ()) -> State:
    """The state before the first step: ``{"params", "buffers", "optimizer", "transforms"}``.

    All arrays are copies, so that a step may consume them. :func:`make_step` shows how it is used.
    """
    params = net.own_params()
    with net.backend.current():
        state = {
            "params": params,
            "buffers": net.own_buffers(),
            "optimizer": optimizer.init(params),
            "transforms": init_transforms(check_transforms(transforms), params),
        }
        return copy_state(net.backend, state)


def copy_state(backend: Backend, tree: State) -> State:
    """The same nested dicts with copies of the arrays in them."""
    return {k: copy_state(backend, v) if isinstance(v, dict) else backend.copy(v) for k, v in tree.items()}


def only_ours(net: Sequential, *parts: Any) -> bool:
    """Whether a step is made of xpnet's parts alone, which remember nothing but what is in their state."""
    return _ours(net) and _wholly_ours((*net.layers.values(), net.loss_layer, *parts))


def _ours(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "xpnet"


def _wholly_ours(part: Any) -> bool:
    if part is None or isinstance(part, str | int | float):
        return True
    if isinstance(part, tuple | list | dict):
        return all(map(_wholly_ours, part.values() if isinstance(part, dict) else part))
    return _ours(part) and all(_wholly_ours(value) for name, value in vars(part).items() if name != "_held")


class _Same:
    """An object, equal to itself alone: it may have no hash, or a way of its own to be equal."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.part is other.part

    __hash__ = None  # type: ignore[assignment]


def made_of(part: Any, inside: tuple[int, ...] = ()) -> Any:
    """What a step was compiled from, to be compared: the same objects, with the same in their fields."""
    if part is None or isinstance(part, str | bytes | int | float | complex):
        return type(part), part
    if id(part) in inside:
        return None
    inside = (*inside, id(part))
    if isinstance(part, tuple | list):
        return [made_of(each, inside) for each in part]
    if isinstance(part, dict):
        return [(made_of(key, inside), made_of(value, inside)) for key, value in part.items()]
    if isinstance(part, type | FunctionType | ModuleType):
        return _Same(part)
    # what a dataclass has beside its fields it remembers for speed alone
    names = [field.name for field in fields(part)] if is_dataclass(part) else list(getattr(part, "__dict__", ()))
    return _Same(part), [(name, made_of(getattr(part, name), inside)) for name in names if name[:1] != "_"]
