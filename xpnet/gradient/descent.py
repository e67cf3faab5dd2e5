"""Gradient descent on a function of one array, with the whole path."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, prod
from numbers import Real
from typing import Any, NamedTuple

from xpnet._checks import check_count
from xpnet._typing import Array, Optimizer
from xpnet.backends.dispatch import (
    backend_of,
    describe,
    device,
    dtype_name,
    name_of,
    namespace,
    number_as_array,
    on_device_of,
    widest_floating,
)
from xpnet.errors import DivergedError
from xpnet.gradient.numerical import CONSTANT, central_difference, check_point, unrecorded
from xpnet.hints import book_arguments
from xpnet.optimizers import SGD
from xpnet.streams import warn

#: A descent whose f has grown by this factor (of what it was, or of 1) does not come back.
RUNAWAY = 1e6
#: A descent that moved by less than this, relative to where it started, has hardly moved.
HARDLY = 1e-6

#: A point of more numbers than this is not written out.
MOST_SHOWN = 6


class Descent(NamedTuple):
    """What a descent found: the last point, all points on the way (steps + 1, ...), and f at each of them."""

    x: Array
    path: Array
    values: list[float]

    def __repr__(self) -> str:
        steps, shape = len(self.values) - 1, tuple(self.x.shape)
        few = prod(shape) <= MOST_SHOWN
        ended = f"x = {backend_of(self.x).to_numpy(self.x).tolist()}" if few else f"x of shape {shape}"
        return f"Descent({ended} after {steps} steps, f: {self.values[0]:.6g} -> {self.values[-1]:.6g})"


@book_arguments(init_x="x0", step_num="steps")
def gradient_descent(
    f: Callable[[Array], Any],
    x0: Array,
    lr: float = 0.01,
    steps: int = 100,
    *,
    gradient: Callable[[Array], Array] | None = None,
    optimizer: Optimizer | None = None,
) -> Descent:
    """Go downhill from x0: x ← x - lr df/dx, so many times.

    Args:
        f: takes an array in the shape of x0, float64 as for :func:`xpnet.numerical_gradient`, and returns one number.
        x0: where to start, a floating-point array of any shape or a number; it is not written to.
        lr: the learning rate, positive.
        steps: how many steps to take, 1 or more.
        gradient: the gradient of f at a point; by default :func:`xpnet.numerical_gradient`.
        optimizer: another update rule than plain descent, of ``xpnet.optimizers`` for example; ``lr`` is then not used.

    Returns:
        ``(x, path, values)``: the last point, the points (steps + 1, ...) with x0 first, and f at each.

    Raises:
        DivergedError: f is not finite any more, or is over a million times max(1, |f(x0)|): the learning rate is too
            large. It has the path up to there.
        TypeError, ValueError: as :func:`xpnet.numerical_gradient`; or lr or steps are not positive.

    Warns:
        UserWarning: x hardly moved although the gradient is not zero: the learning rate is too small.

    >>> import numpy as np
    >>> x, path, values = gradient_descent(lambda x: x[0] ** 2 + x[1] ** 2, np.asarray([-3.0, 4.0]), lr=0.1)
    >>> bool(abs(x).max() < 1e-9), path.shape
    (True, (101, 2))
    """
    x0 = number_as_array(x0)
    with on_device_of(x0):
        check_point(x0, "x0")
        xp, steps = namespace(x0), check_count(steps, "steps")
        optimizer = SGD(lr=lr) if optimizer is None else optimizer
        if isinstance(optimizer, type) or not hasattr(optimizer, "step"):
            raise TypeError(f"optimizer is {optimizer!r}, expected an instance such as SGD(lr=0.1)")
        rate = getattr(optimizer, "lr", lr)
        params = {"x": xp.asarray(x0, copy=True)}
        state = optimizer.init(params)
        path, values = [xp.asarray(x0, copy=True)], [_value(f, x0)]
        constant = gradient is None
        for step in range(1, steps + 1):
            slope, flat = central_difference(f, path[-1]) if gradient is None else _given(gradient, path[-1])
            constant = constant and flat
            params, state = optimizer.step(params, {"x": slope}, state)
            path.append(xp.asarray(params["x"], copy=True))  # the next step may write into params["x"]
            values.append(_value(f, path[-1]))
            if not (isfinite(values[-1]) and values[-1] <= RUNAWAY * max(1.0, abs(values[0]))):
                raise DivergedError(
                    f"the descent diverged: f was {values[0]:.6g} at the start and is {values[-1]:.6g} after {step} of "
                    f"{steps} steps. Try a smaller learning rate than {rate}",
                    iteration=step,
                    loss=values[-1],
                    path=xp.stack(path),
                )
        if constant:
            warn(CONSTANT, stacklevel=3)  # the caller of what stands around this function
        _complain_if_stuck(xp, path, slope, rate)
        return Descent(path[-1], xp.stack(path), values)


def _given(gradient: Callable[[Array], Array], x: Array) -> tuple[Array, bool]:
    """What a user's gradient is at x, in the shape and dtype of x."""
    xp = namespace(x)
    slope = unrecorded(gradient(xp.asarray(x, copy=True)))
    if isinstance(slope, Real):
        slope = xp.asarray(float(slope), dtype=x.dtype, device=device(x))
    if getattr(slope, "shape", None) != x.shape:
        found = f"an array of shape {tuple(slope.shape)}" if hasattr(slope, "shape") else f"a value {describe(slope)}"
        raise ValueError(f"gradient returned {found}, expected {tuple(x.shape)}, the shape of x0")
    if name_of(slope) != name_of(x):
        raise TypeError(f"gradient returned {describe(slope)}, and x0 is {describe(x)}; both have to be of one library")
    if xp.isdtype(slope.dtype, "complex floating"):
        raise TypeError(f"gradient returned {dtype_name(slope.dtype)}, expected real numbers")
    return xp.astype(slope, x.dtype), False


def _value(f: Callable[[Array], Any], x: Array) -> float:
    """f at x, in the dtype in which the numerical gradient calls it."""
    value = unrecorded(f(namespace(x).astype(x, widest_floating(x), copy=True)))
    if getattr(value, "shape", ()) != ():
        raise ValueError(
            f"f returned an array of shape {tuple(value.shape)}, expected one number; xp.sum(...) makes one"
        )
    if not hasattr(value, "shape") and not isinstance(value, Real):
        raise TypeError(f"f returned {value!r:.80}, {describe(value)}, expected one number")
    return float(value)


def _complain_if_stuck(xp: Any, path: list[Array], slope: Array, rate: Any) -> None:
    size = max(1.0, float(xp.max(xp.abs(path[0]))))
    moved, steepest = (float(xp.max(xp.abs(a))) for a in (xp.stack(path) - path[0], xp.asarray(slope)))
    if moved < HARDLY * size and steepest > HARDLY:
        warn(
            f"the descent hardly moved: by {moved:.3g} in {len(path) - 1} steps, while the slope is {steepest:.3g}. "
            f"Try a larger learning rate than {rate}",
            stacklevel=4,
        )
