"""Is a gradient right? Backpropagation beside the numerical gradient, for a network, a layer or a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isfinite, nan, prod, sqrt
from typing import Any

from xpnet._checks import check_count, check_positive, check_switch
from xpnet._typing import Array, Loss, Params
from xpnet.backends.dispatch import backend_of, dtype_name, namespace, on_device_of, quiet, widest_floating
from xpnet.gradient.network import crossed_kinks, parameter_gradients, widened
from xpnet.gradient.numerical import central_difference, check_point, check_step, default_step, index_of
from xpnet.gradient.report import GradientReport, Row
from xpnet.gradient.tail import Found, Sides, Tail, differ, watched
from xpnet.initializers import generator, get_initializer
from xpnet.layers.base import Layer, shapes_of
from xpnet.losses import check_weight

MODES = ("full", "directional")
#: How many more directions are drawn than were asked for, where directions cross kinks.
ATTEMPTS = 10


@quiet
def check_gradient(
    subject: Any,
    x: Array,
    t: Array = None,
    *,
    weight: Array | None = None,
    params: Params | None = None,
    training: bool = False,
    mode: str = "full",
    h: float | None = None,
    tolerance: float | None = None,
    directions: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> GradientReport:
    """Compare backpropagation with the numerical gradient; ``print`` the report, or ask whether it ``passed``.

    Both are computed in float64 where the library has it, also for a float32 network, as it is formulas that are
    checked.
    An entry that takes some unit over a kink (ReLU at 0) when it is moved by h has no derivative to compare; it is
    counted apart. Where kinks are in the way, a smaller h leaves fewer of them. A gradient that is NaN or infinite is
    wrong wherever it is.

    Args:
        subject: a network; a layer, of which the sum of its outputs, each with a weight drawn at random, is taken; or
            a loss.
        x: samples for a network, the input of a layer, the outputs (..., C) that a loss compares with t.
        t: targets, for a network and a loss.
        weight: how much each sample counts in the loss: the shape of one or more leading axes of the outputs.
        params: parameters of a layer by name; by default weights from N(0, 1), and no biases.
        training: True for what layers compute in a training step: batch normalization with the statistics of the batch,
            dropout with a mask that is drawn once. It takes a forward pass of the whole network for each entry.
        mode: ``"full"`` moves each entry by itself. ``"directional"`` moves all of them together, along a few random
            directions: two evaluations of the loss each, so a network of any size is checked at once. It says that
            something is wrong, and not where.
        h: the step, by default as in :func:`xpnet.numerical_gradient`; in a directional check the length of the move.
        tolerance: the largest difference, relative to the gradient's largest entry, that passes; by default 1e-6 in
            float64 and 1e-2 in float32. Of what differs by more, but by no more than ten times the rounding error of
            the numerical gradient, nothing is said: neither that it passed, nor that it failed.
        directions: how many, in a directional check.
        seed: of the directions and of what is drawn for a layer.
        progress: whether to show a progress bar once a full check of a network takes longer than a second.

    Raises:
        TypeError: subject is none of the three, t is missing, or t, weight or params are not wanted; or as
            :func:`xpnet.numerical_gradient`.
        ValueError: another mode, a step or tolerance that is not positive, a loss that is not finite, there or where
            something is moved; or as ``net.gradient``.

    >>> import numpy as np
    >>> from xpnet import TwoLayerNet
    >>> net = TwoLayerNet(4, 3, 2, weight_init_std=1.0, seed=0, dtype="float64")
    >>> report = check_gradient(net, np.eye(4), np.asarray([0, 1, 0, 1]))
    >>> report.passed, [row.name for row in report.rows]
    (True, ['W1', 'b1', 'W2', 'b2'])
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, expected one of: {', '.join(MODES)}")
    h = None if h is None else check_step(h)
    place = getattr(subject, "backend", None)
    with on_device_of(x) if place is None else place.current():
        taken = _taken(subject, x, t, weight, params, check_switch(training, "training"), seed)
        if not isfinite(taken.loss):
            raise ValueError(f"the loss is {taken.loss}; there is no gradient to be had there")
        arrays = taken.arrays.values()
        wide = next(iter(arrays)).dtype
        if tolerance is None:
            tolerance = 1e-6 if dtype_name(wide) == "float64" else 1e-2
        else:
            tolerance = check_positive(tolerance, "tolerance", "1e-6 for example")
        for name, a in taken.arrays.items():
            if name not in taken.gradients:
                raise ValueError(f"backward gives no gradient of {name}; it gives: {', '.join(taken.gradients)}")
            if taken.gradients[name].shape != a.shape:
                shapes = tuple(taken.gradients[name].shape), tuple(a.shape)
                raise ValueError(f"the gradient of {name} has shape {shapes[0]}, and {name} has {shapes[1]}")
        if mode == "full":
            rows = _full(taken, h, tolerance, progress)
        else:
            rows = _directional(taken, h, tolerance, check_count(directions, "directions"), seed)
        return GradientReport(tuple(rows), mode, dtype_name(wide), h)


@dataclass(frozen=True)
class _Taken:
    """What gradients are taken of: a function of arrays by name, and what backpropagation says of each.

    ``value`` of such arrays also says on which sides of kinks its units are. ``loss`` is that of the arrays given.
    """

    arrays: Params
    value: Callable[[Params], tuple[Array, Sides]]
    loss: float
    gradients: Params
    numerical: Callable[[float | None, bool], dict[str, Found]]


def _taken(
    subject: Any, x: Array, t: Array, weight: Array | None, params: Params | None, training: bool, seed: int
) -> _Taken:
    kind = "nothing" if isinstance(subject, type) else _kind(subject)
    if kind == "nothing":
        raise TypeError(
            f"check_gradient was given {subject!r:.200}; it takes a network, a layer or a loss, an instance"
        )
    if (t is None) != (kind == "layer"):
        raise TypeError(f"a {kind} is checked with {'x alone' if kind == 'layer' else 'x and t'}; t is {t!r:.80}")
    if params is not None and kind != "layer":
        raise TypeError(f"params are for a layer; a {kind} is checked with its own")
    if weight is not None and kind == "layer":
        raise TypeError("weight is for a loss or a network; a layer is checked without")
    if training and kind == "loss":
        raise TypeError("training is for a layer or a network; a loss has one way to compute")
    if kind == "network":
        return _network(subject, x, t, weight, training, seed)
    if kind == "loss" or subject.takes != "integers":
        check_point(x)
        x = namespace(x).astype(x, widest_floating(x))
    return _loss(subject, x, t, weight) if kind == "loss" else _layer(subject, x, params, training, seed)


def _kind(subject: Any) -> str:
    marks = {"network": "value_and_grad", "layer": "parameter_gradients", "loss": "hits"}
    return next((kind for kind, mark in marks.items() if hasattr(subject, mark)), "nothing")


def _network(net: Any, x: Array, t: Array, weight: Array, training: bool, seed: int) -> _Taken:
    x, t, *weights = net.as_batch(x, t, weight)
    arrays, x, *weights = widened(net.own_arrays(), net.as_floating(x), *weights)
    params, loss = {name: arrays[name] for name in net.params}, net.loss_layer
    few_threads = partial(net.on_threads, net.threads_for(x.shape))
    if training:
        like = next(iter(params.values()))
        arrays |= _like(net.draws(generator(seed), tuple(x.shape)), like)
        trained = _in_training(net.chain, arrays, x, lambda y: loss.forward(y, t, *weights)[0])

        def value_of(moved: Params) -> tuple[Array, Sides]:
            with few_threads():
                return trained(moved)

        with few_threads():
            total, gradients, _ = net.training_value_and_grad(arrays, x, t, *weights)
        return _Taken(params, value_of, float(total), gradients, _each_array(params, value_of))
    tail = Tail(net.chain.parts, loss, arrays, x, t, *weights)
    with few_threads():
        total, gradients = net.value_and_grad(arrays, x, t, *weights)
    options: dict[str, Any] = {"weight": weights[0] if weights else None, "kinks": True}

    def value(moved: Params) -> tuple[Array, Sides]:
        with few_threads():
            return tail.value(arrays | moved)

    def numerical(h: float | None, progress: bool) -> dict[str, Found]:
        with few_threads():
            return parameter_gradients(net.chain, loss, arrays, x, t, h=h, progress=progress, **options)

    return _Taken(params, value, float(total), gradients, numerical)


def _like(drawn: Params, like: Array) -> Params:
    """Arrays of the host where another array is, in its dtype if they are floating-point."""
    move, dtype = backend_of(like).asarray, dtype_name(like.dtype)
    return {name: move(a, dtype if a.dtype.kind == "f" else None) for name, a in drawn.items()}


def _in_training(
    layer: Layer, arrays: Params, x: Array, total: Callable[[Array], Array]
) -> Callable[[Params], tuple[Array, Sides]]:
    """``total`` of what a layer makes of x in a training step, as a function of some of its arrays and of x."""
    sides: Sides = []
    seen = watched(layer, sides)

    def value(moved: Params) -> tuple[Array, Sides]:
        sides.clear()
        y, _, _ = seen.train(arrays | moved, moved.get("x", x))
        return total(y), list(sides)

    return value


def _loss(loss: Loss, y: Array, t: Array, weight: Array | None) -> _Taken:
    if y.ndim < 2:
        raise ValueError(
            f"y has shape {tuple(y.shape)}, expected outputs (N, C), or (..., C) with more axes; one sample is "
            "y[None, :]"
        )
    namespace(t)  # raises where it is no array
    loss.check(tuple(y.shape), t)
    if weight is not None:
        check_weight(weight, tuple(y.shape))
    counts = () if weight is None else (weight,)

    def value(arrays: Params) -> tuple[Array, Sides]:
        return loss.forward(arrays["y"], t, *counts)[0], []

    total, residuals = loss.forward(y, t, *counts)
    arrays = {"y": y}
    return _Taken(arrays, value, float(total), {"y": loss.backward(residuals)}, _each_array(arrays, value))


def _layer(layer: Layer, x: Array, params: Params | None, training: bool, seed: int) -> _Taken:
    rng, move, shapes = generator(seed), backend_of(x).asarray, shapes_of(layer)
    dtype = dtype_name(widest_floating(x))
    given = dict(layer.init(rng, get_initializer(1.0)) if params is None else params)
    missing = set(shapes) - set(given)
    if missing:
        raise ValueError(f"params lack {', '.join(sorted(missing))}; the layer reads {', '.join(shapes)}")
    weights = {name: move(given[name], dtype) for name in shapes}
    kept = {name: move(a, dtype) for name, a in layer.buffers().items()}
    kept |= _like(layer.draws(rng, tuple(x.shape)), move(0.0, dtype)) if training else {}
    kept |= {name: a for name, a in given.items() if name not in shapes}
    y, residuals, *_ = layer.train(kept | weights, x) if training else layer.forward(kept | weights, x)
    dy = move(rng.standard_normal(tuple(y.shape)), dtype)
    dx, grads = layer.backward(kept | weights, residuals, dy)

    def total(y: Array) -> Array:
        return namespace(dy).sum(y * dy)

    sides: Sides = []
    seen = watched(layer, sides)

    def predicted(arrays: Params) -> tuple[Array, Sides]:
        sides.clear()
        return total(seen.predict(kept | arrays, arrays.get("x", x))), list(sides)

    value = _in_training(layer, kept, x, total) if training else predicted
    arrays = weights if dx is None else {"x": x, **weights}
    gradients = grads if dx is None else {"x": dx, **grads}
    return _Taken(arrays, value, float(total(y)), gradients, _each_array(arrays, value))


def _each_array(arrays: Params, value: Callable[[Params], tuple[Array, Sides]]) -> Callable[..., Any]:
    """Numerical gradients with respect to each array."""

    def numerical(h: float | None, progress: bool) -> dict[str, Found]:
        found = {}
        for name, a in arrays.items():

            def moved_to(moved: Array, name: str = name) -> Array:
                return value(arrays | {name: moved})[0]

            def sides_at(moved: Array, name: str = name) -> Sides:
                return value(arrays | {name: moved})[1]

            crossed = crossed_kinks(a, name, sides_at, h) if value(arrays)[1] else None
            found[name] = Found(central_difference(moved_to, a, h)[0], crossed)
        return found

    return numerical


def _full(taken: _Taken, h: float | None, tolerance: float, progress: bool) -> list[Row]:
    rows = []
    for name, found in taken.numerical(h, progress).items():
        xp, analytical = namespace(found.gradient), taken.gradients[name]
        error = xp.abs(found.gradient - analytical)
        left_out = xp.zeros_like(error) > 0
        if found.crossed is not None:  # of a kink any slope may be taken for the gradient, but no infinite one
            left_out = found.crossed & xp.isfinite(analytical)
        error = xp.where(left_out, xp.zeros_like(error), error)
        compared = prod(error.shape) - int(xp.sum(xp.astype(left_out, xp.int32)))
        largest = xp.where(left_out, error, xp.maximum(xp.abs(analytical), xp.abs(found.gradient)))
        at = int(xp.argmax(xp.reshape(error, (-1,))))
        rows.append(
            Row(
                name,
                tuple(error.shape),
                largest=float(xp.max(largest)),
                max_error=float(xp.max(error)),
                mean_error=float(xp.sum(error / max(compared, 1))),
                worst=index_of(at, tuple(error.shape)),
                kinks=prod(error.shape) - compared,
                compared=compared,
                noise=_noise(error, taken.loss, h),
                tolerance=tolerance,
            )
        )
    return rows


def _directional(taken: _Taken, h: float | None, tolerance: float, directions: int, seed: int) -> list[Row]:
    """A row for each direction: of a matrix, a column times a row from N(0, 1); of length 1 altogether."""
    first = next(iter(taken.arrays.values()))
    rng, entries = generator(seed), sum(prod(a.shape) for a in taken.arrays.values())
    length = default_step(first) if h is None else h
    noise, crossed, rows = _noise(first, taken.loss, h), 0, []
    finite = all(bool(namespace(g).all(namespace(g).isfinite(g))) for g in taken.gradients.values())
    typical = _root_mean_square(taken.gradients, entries) if finite else nan
    for number in range(1, directions + 1):
        slope = None
        while slope is None and crossed < ATTEMPTS * directions:
            slope = _slopes(taken, rng, length, number) if finite else (nan, nan)
            crossed += slope is None
        error = abs(slope[0] - slope[1]) if slope else 0.0
        compared, kinks = int(slope is not None), crossed if number == directions else 0
        rows.append(
            Row(f"direction {number}", (entries,), typical, error, error, (), kinks, compared, noise, tolerance)
        )
    return rows


def _slopes(taken: _Taken, rng: Any, length: float, number: int) -> tuple[float, float] | None:
    """The slope along a random direction, numerically and by backpropagation; None if it crosses a kink."""
    drawn, square = {}, 0.0
    for name, a in taken.arrays.items():
        rows, columns = (a.shape[0], prod(a.shape[1:])) if a.ndim else (1, 1)
        column, row = drawn[name] = rng.standard_normal((rows, 1)), rng.standard_normal((1, columns))
        square += float((column**2).sum() * (row**2).sum())
    direction = {}
    for name, (column, row) in drawn.items():
        a = taken.arrays[name]
        move, dtype = backend_of(a).asarray, dtype_name(a.dtype)
        direction[name] = move(column / sqrt(square), dtype), move(row, dtype)

    def along(distance: float) -> tuple[Array, Sides]:
        moved = {}
        for name, (column, row) in direction.items():
            xp, a = namespace(column), taken.arrays[name]
            moved[name] = xp.reshape((distance * column) * row, a.shape) + a
        return taken.value(moved)

    (above, sides), (below, others) = along(length), along(-length)
    if differ(sides, others):
        return None
    if not (isfinite(above) and isfinite(below)):
        raise ValueError(
            f"the loss is {float(above)} and {float(below)} at the two ends of direction {number}, {length:g} away; "
            "there is no gradient to be had there"
        )
    analytical = 0.0
    for name, (column, row) in direction.items():
        xp = namespace(column)
        slopes = xp.matmul(xp.reshape(taken.gradients[name], (column.shape[0], row.shape[1])), xp.matrix_transpose(row))
        analytical += _dot(slopes, column)
    return (float(above) - float(below)) / (2 * length), analytical


def _root_mean_square(gradients: Params, entries: int) -> float:
    """The typical size of an entry; of the largest first, as its square may be too large for a float."""
    largest = max(float(namespace(g).max(namespace(g).abs(g))) for g in gradients.values())
    if not largest:
        return 0.0
    return largest * sqrt(sum(_dot(g / largest, g / largest) for g in gradients.values()) / entries)


def _dot(a: Array, b: Array) -> float:
    """The sum of the products of all entries, without an array for the products."""
    xp = namespace(a)
    return float(xp.matmul(xp.reshape(a, (1, -1)), xp.reshape(b, (-1, 1)))[0, 0])


def _noise(like: Array, loss: float, h: float | None) -> float:
    """The rounding error of a central difference."""
    eps = float(namespace(like).finfo(like.dtype).eps)
    return eps * max(1.0, abs(loss)) / (default_step(like) if h is None else h)
