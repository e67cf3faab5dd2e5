"""The numerical gradient of any scalar function of one array, by central difference."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from numbers import Real
from typing import Any

from xpnet._checks import check_count, check_positive
from xpnet._typing import Array
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
from xpnet.streams import warn

#: How much memory a stack of points may take, in bytes.
MAX_BYTES = 2**28
#: How many values of f are read back from the device together where f takes one point at a time.
CHUNK = 1024


def numerical_gradient(
    f: Callable[[Array], Any],
    x: Array,
    h: float | None = None,
    *,
    batch: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> Array:
    """The gradient of f at x by central difference, (f(x + h) - f(x - h)) / 2h for each entry of x.

    It is computed in float64: f is called with float64 arrays even where x is float32 (data that f uses may then have
    to be float64 too), and the result is cast to the dtype of x. Expect 9 to 10 correct digits of the largest entry.
    Where the library has no float64 (JAX until JAX_ENABLE_X64 is set, PyTorch on MPS) f is called with float32 and 3 to
    4 digits are left. The error is about h² f'''/6 from the difference and eps |f| / h from rounding; give h where f
    changes over less than the default step, near x = 1e-7 for example. What f does inside is not seen: a Python float
    that was computed in float32 costs the digits.

    Args:
        f: takes an array in the shape of x, on its backend and device, and returns one number: a 0-d array or a Python
            float. It is given copies; x is never written to.
        x: a floating-point array of any shape; or a number, which becomes a 0-d array, of the backend selected if it is
            Python's.
        h: the step, used as given for every entry. By default eps^(1/3) max(1, |x_i|) for entry i, with the eps of the
            dtype that f is called with: 6.1e-6 in float64, 4.9e-3 in float32, as long as x_i is no larger than 1.
        batch: f takes a stack (batch, ...) of this many points in the shape of x, and returns as many values (batch,).
        max_bytes: how much memory a stack may take; fewer points are stacked than ``batch`` says where they do not fit.

    Returns:
        An array of the shape, dtype, backend and device of x.

    Raises:
        TypeError: x is no array and no number, or has integers or booleans in it, which would round the step away; f
            returns no number, an array of another backend, or (unless h is given) numbers of less precision than it was
            given.
        ValueError: x is empty or not finite; h is not positive, or so small that x + h is x; f does not return one
            number a point, or mixes the points of a stack; f is NaN or infinite, and the message says at which entry;
            the gradient is too large for the dtype of x.

    Warns:
        UserWarning: f has the same value everywhere, as it has if it does not use its argument.

    >>> import numpy as np
    >>> numerical_gradient(lambda x: x[0] ** 2 + x[1] ** 2, np.asarray([3.0, 4.0])).round(9)
    array([6., 8.])
    >>> numerical_gradient(lambda x: (x**2).sum(axis=-1), np.asarray([3.0, 4.0]), batch=2).round(9)
    array([6., 8.])
    """
    gradient, constant = central_difference(f, x, h, batch, max_bytes)
    if constant:
        warn(CONSTANT, stacklevel=2)
    return gradient


def central_difference(
    f: Callable[[Array], Any],
    x: Array,
    h: float | None = None,
    batch: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> tuple[Array, bool]:
    """What :func:`numerical_gradient` returns, and whether f had the same value everywhere."""
    x = number_as_array(x)
    with on_device_of(x):
        check_point(x)
        return _central_difference(f, x, h, batch, max_bytes)


def _central_difference(
    f: Callable[[Array], Any], x: Array, h: float | None, batch: int | None, max_bytes: int
) -> tuple[Array, bool]:
    xp = namespace(x)
    point = xp.reshape(xp.astype(x, widest_floating(x)), (-1,))
    above, below = ends(point, h, "x", tuple(x.shape))
    size = point.shape[0]
    stacked = CHUNK if batch is None else _fitting(check_count(batch, "batch"), max_bytes, point)
    stacked = min(stacked, size)
    call = _Calls(f, x, point, keeps_precision=h is None, stacks=batch is not None)
    parts, constant, done = [], True, 0
    while done < size:
        start = min(done, size - stacked)  # the last stack goes over some entries again: all are of one size
        here = slice(start, start + stacked)
        upper, lower = call(above, here), call(below, here)
        if batch is not None and start == 0:
            call.check_points_apart(above, upper)
        if not bool(xp.all(xp.isfinite(upper) & xp.isfinite(lower))):
            raise ValueError(_not_finite(upper, lower, start, tuple(x.shape)))
        difference = (upper - lower) / (above[here] - below[here])
        constant = constant and bool(xp.all((upper == lower) & (lower == lower[0])))
        parts.append(difference[done - start :])
        done = here.stop
    constant = constant and bool(xp.all(call(point, here) == lower))
    gradient = xp.astype(xp.reshape(xp.concat(parts), x.shape), x.dtype)
    if not bool(xp.all(xp.isfinite(gradient))):
        raise ValueError(f"the gradient is too large for {dtype_name(x.dtype)}, the dtype of x")
    return gradient, constant


def check_point(x: Array, name: str = "x") -> None:
    """Raise unless a gradient at x makes sense: a floating-point array, not empty, finite."""
    if isinstance(x, bool | complex):
        raise TypeError(f"{name} is {x!r}, expected real floating-point numbers, float64 for example")
    xp = namespace(x)
    if getattr(x, "requires_grad", False):
        raise TypeError(f"{name} has its library record gradients (requires_grad); give {name}.detach()")
    if xp.isdtype(x.dtype, "complex floating"):
        raise TypeError(f"{name} is {dtype_name(x.dtype)}, expected real floating-point numbers, float64 for example")
    if not xp.isdtype(x.dtype, "real floating"):
        raise TypeError(
            f"{name} is {dtype_name(x.dtype)}, in which a small step is rounded away; "
            f"xp.astype({name}, xp.float64) can be moved"
        )
    if prod(x.shape) == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: there is nothing in it to move")
    if not bool(xp.all(xp.isfinite(x))):
        raise ValueError(f"{name} has NaN or infinity in it, so there is no gradient there")


def unrecorded(x: Any) -> Any:
    """x without what its library may have recorded: it would keep all that was computed, step after step."""
    return x.detach() if getattr(x, "requires_grad", False) else x


def step_size(x: Array, h: float | None) -> Array | float:
    """How far each entry of x is moved: ``h`` as given, or eps^(1/3) max(1, |x_i|), where both errors are small."""
    if h is not None:
        return check_step(h)
    xp = namespace(x)
    return default_step(x) * xp.maximum(xp.abs(x), xp.ones_like(x))


def default_step(x: Array) -> float:
    """eps^(1/3) of the dtype of x."""
    eps = float(namespace(x).finfo(x.dtype).eps)
    return float(eps ** (1 / 3))


def check_step(h: Any) -> float:
    """A positive finite number as a Python float, or ``ValueError``."""
    return check_positive(h, "the step h", "1e-4 for example, or None for the default")


def ends(x: Array, h: float | None, name: str, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """x + h and x - h for flat x, or ``ValueError`` where that is x; by name and shape its user knows x."""
    xp = namespace(x)
    step = step_size(x, h)
    above, below = x + step, x - step
    stuck = (above == x) | (below == x)
    if bool(xp.any(stuck)):
        i = int(xp.argmax(xp.astype(stuck, xp.int32)))
        raise ValueError(
            f"the step h = {h!r} is too small: entry {written(index_of(i, shape))} of {name} is {float(x[i])!r}, "
            f"and in {dtype_name(x.dtype)} adding h changes nothing"
        )
    return above, below


class _Calls:
    """Values of f where entries of a flat point are moved, one point at a time or in stacks."""

    def __init__(self, f: Callable[[Array], Any], x: Array, point: Array, *, keeps_precision: bool, stacks: bool):
        self.f, self.x, self.point = f, x, point
        self.xp, self.put = namespace(x), backend_of(x).put
        self.keeps_precision, self.stacks = keeps_precision, stacks

    def __call__(self, moved: Array, here: slice) -> Array:
        """The values (K,) of f where entry i of the point is that of ``moved``, for the K entries i of ``here``."""
        if self.stacks:
            return self._stacked(moved, here)
        return self.xp.stack([self._one(moved, i) for i in range(here.start, here.stop)])

    def _one(self, moved: Array, i: int) -> Array:
        copy = self.put(self.xp.asarray(self.point, copy=True), slice(i, i + 1), moved[i : i + 1])
        return self._value(self._ask(self.xp.reshape(copy, self.x.shape)), (), "one number; xp.sum(...) makes one")

    def _stacked(self, moved: Array, here: slice) -> Array:
        size, k = self.point.shape[0], here.stop - here.start
        # entry (j, start + j) of the stack, for each j, lies size + 1 behind the one before
        diagonal = slice(here.start, (k - 1) * size + here.stop, size + 1)
        return self._values(self.put(self.xp.tile(self.point, (k,)), diagonal, moved[here]), k)

    def _values(self, flat: Array, k: int) -> Array:
        shape = (k, *self.x.shape)
        wanted = f"({k},): with batch it is given a stack {tuple(shape)} and returns a value for each point"
        return self._value(self._ask(self.xp.reshape(flat, shape)), (k,), wanted)

    def check_points_apart(self, above: Array, first: Array) -> None:
        """Raise if the value of a point depends on the others in its stack, as it does if f indexes the wrong axis.

        ``first`` are values of a stack; here its first point comes again, in other company.
        """
        k, size = first.shape[0], above.shape[0]
        flat = self.put(self.xp.tile(above, (k,)), slice(0, size), self.point)
        flat = self.put(flat, slice(0, 1), above[:1])
        again, before = (float(v[0]) for v in (self._values(flat, k), first))
        if abs(again - before) > 1e3 * float(self.xp.finfo(above.dtype).eps) * max(abs(again), abs(before)):
            raise ValueError(
                "f gives a point another value when the other points in its stack change; with batch it is given "
                "points along axis 0 and works on the axes behind it: x[..., 0], xp.sum(..., axis=-1)"
            )

    def _ask(self, points: Array) -> Any:
        try:
            return self.f(points)
        except Exception as error:
            given, called = dtype_name(self.x.dtype), dtype_name(points.dtype)
            note = f"numerical_gradient gave f {describe(points)} of {called} on {device(points)}; "
            if given != called:
                note += f"x is {given} and f is called with {called}, which is more precise; "
            error.add_note(f"{note}data that f uses have to be of that library, device and (for some libraries) dtype")
            raise

    def _value(self, value: Any, shape: tuple[int, ...], wanted: str) -> Array:
        dtype = self.point.dtype
        value = unrecorded(value)
        if not hasattr(value, "shape") or (isinstance(value, float) and name_of(value) != name_of(self.x)):
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"f returned {value!r:.80}, {describe(value)}, expected {wanted}")
            value = self.xp.asarray(float(value), dtype=dtype, device=device(self.x))
        if name_of(value) != name_of(self.x):
            raise TypeError(
                f"f was given {describe(self.point)} and returned {describe(value)}; x and the data that f uses have "
                "to be of one library"
            )
        if value.shape != shape:
            raise ValueError(f"f returned an array of shape {tuple(value.shape)}, expected {wanted}")
        if value.dtype != dtype:
            self._check_precision(value)
        return self.xp.asarray(value, dtype=dtype, copy=True)  # f may use the same array for its next value

    def _check_precision(self, value: Array) -> None:
        xp, dtype = self.xp, self.point.dtype
        if not xp.isdtype(value.dtype, "real floating"):
            raise TypeError(f"f returned {dtype_name(value.dtype)}, expected a floating-point number")
        if self.keeps_precision and xp.finfo(value.dtype).eps > xp.finfo(dtype).eps:
            raise TypeError(
                f"f was given {dtype_name(dtype)} and returned {dtype_name(value.dtype)}, which is too coarse for the "
                f"default step; keep {dtype_name(dtype)} in f, or give h (1e-2 for float32)"
            )


CONSTANT = (
    "numerical_gradient: f has the same value at every point that was tried, so the gradient is zero. If that is not "
    "meant: f has to use its argument, as x is not changed in place: lambda W: simpleNet(W).loss(x, t)"
)


def _fitting(batch: int, max_bytes: int, point: Array) -> int:
    """How many points to stack."""
    bytes_each: int = namespace(point).finfo(point.dtype).bits // 8 * point.shape[0]
    return min(batch, max(check_count(max_bytes, "max_bytes") // bytes_each, 1))


def index_of(i: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index of entry i of an array of this shape."""
    index: list[int] = []
    for n in reversed(shape):
        i, k = divmod(i, n)
        index.insert(0, k)
    return tuple(index)


def written(index: tuple[int, ...]) -> str:
    """An index as it is typed: ``[3, 0]``."""
    return f"[{', '.join(map(str, index))}]"


def _not_finite(upper: Array, lower: Array, start: int, shape: tuple[int, ...]) -> str:
    """Where f was not finite, and what it was there."""
    xp = namespace(upper)
    finite = xp.isfinite(upper) & xp.isfinite(lower)
    i = int(xp.argmin(xp.astype(finite, xp.int32)))
    side, value = ("x - h", lower[i]) if bool(xp.isfinite(upper[i])) else ("x + h", upper[i])
    entry = written(index_of(start + i, shape))
    return f"f is {float(value)} at {side}, where h moves entry {entry} of x; there is no gradient to be had there"
