"""Functions of the standard that are made of recorded ones, or have values and no derivatives."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from xpnet._checks import whole as whole_number
from xpnet._typing import Array
from xpnet.backends.dispatch import device as device_of
from xpnet.graph.operations import add, axes_of, is_complex, is_real, unbroadcast, widened
from xpnet.graph.recording import Recording, composed, value
from xpnet.graph.rules.shapes import REPEAT
from xpnet.graph.wrapper import NUMBERS, Wrapper, node


def values(xp: Recording, name: str, *args: Any, **options: Any) -> Any:
    """What the library computes of values: constants."""
    found = xp.computing(name)(*map(value, args), **{key: value(x) for key, x in options.items()})
    return tuple(map(xp.constant, found)) if isinstance(found, tuple | list) else xp.constant(found)


# --- statistics and clipping ---------------------------------------------------------------------------------------


@composed("clip", standard=True)
def clip(xp: Recording, x: Array, /, min: Any = None, max: Any = None) -> Array:  # noqa: A002  (the standard's names)
    """x, and the nearest bound where it is beyond it; at a tie half of the derivative goes to either side.

    Of integers within bounds that are none, it is floating-point.
    """
    bounds = (min, max)
    if not is_real(xp, x.dtype):
        wide = [b.dtype for b in bounds if hasattr(b, "dtype") and is_real(xp, b.dtype)]
        wide += [xp.library.asarray(b).dtype for b in bounds if isinstance(b, float)]
        if not wide:
            return values(xp, "clip", x, min, max)
        x = xp.astype(xp.constant(x), wide[0])
    for bound, function in ((min, xp.maximum), (max, xp.minimum)):
        if bound is not None:
            number = isinstance(bound, int | float)
            limit = xp.library.full_like(value(x), bound) if number else bound
            x = function(x, node(type(x), limit) if number and isinstance(x, Wrapper) else limit)
    return x


@composed("var", standard=True)
def var(xp: Recording, x: Array, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """The mean square of differences from the mean, over N - correction entries; infinite or NaN from N on."""
    wide = widened(xp, x)
    apart = wide - xp.mean(wide, axis=axis, keepdims=True)
    squares = xp.real(apart * xp.conj(apart)) if is_complex(xp, x.dtype) else xp.square(apart)
    count = prod(x.shape[i] for i in axes_of(x, axis)) - correction
    found = xp.sum(squares, axis=axis, keepdims=keepdims) / (count if count > 0 else 0.0)
    return xp.astype(found, x.dtype) if is_real(xp, x.dtype) else found


@composed("std", standard=True)
def std(xp: Recording, x: Array, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """The square root of the variance; its derivative is 0 where all entries are equal, as that of any norm at 0."""
    spread = xp.var(x, axis=axis, correction=correction, keepdims=keepdims)
    nowhere = spread == 0
    root = xp.sqrt(xp.where(nowhere, xp.ones_like(spread), spread))
    return xp.where(nowhere, xp.zeros_like(spread), root)


# --- shapes --------------------------------------------------------------------------------------------------------


@composed("moveaxis", standard=True)
def moveaxis(xp: Recording, x: Array, source: Any, destination: Any, /) -> Array:
    """Move axes to other places; the others stay in their order."""
    origins, places = (
        [i % x.ndim for i in (a if isinstance(a, tuple | list) else (a,))] for a in (source, destination)
    )
    order = [i for i in range(x.ndim) if i not in origins]
    for place, origin in sorted(zip(places, origins, strict=True)):
        order.insert(place, origin)
    return xp.permute_dims(x, tuple(order))


@composed("broadcast_arrays", standard=True)
def broadcast_arrays(xp: Recording, *arrays: Array) -> list[Array]:
    """The arrays in the shape that they have together."""
    shape = xp.library.broadcast_arrays(*map(value, arrays))[0].shape
    return [xp.broadcast_to(x, tuple(shape)) for x in arrays]


@composed("unstack", standard=True)
def unstack(xp: Recording, x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The pieces along an axis, without it."""
    axis %= x.ndim
    return tuple(x[(*[slice(None)] * axis, i, ...)] for i in range(x.shape[axis]))


@composed("tile", standard=True)
def tile(xp: Recording, x: Array, repetitions: Any, /) -> Array:
    """Copies of x beside each other, so many along each axis."""
    times = tuple(repetitions) if isinstance(repetitions, tuple | list) else (repetitions,)
    times = (*[1] * (x.ndim - len(times)), *times)
    shape = (*[1] * (len(times) - x.ndim), *x.shape)
    apart = tuple(part for n in shape for part in (1, n))
    wide = tuple(part for r, n in zip(times, shape, strict=True) for part in (r, n))
    whole = tuple(r * n for r, n in zip(times, shape, strict=True))
    return xp.reshape(xp.broadcast_to(xp.reshape(x, apart), wide), whole)


@composed("repeat", standard=True)
def repeat(xp: Recording, x: Array, repeats: Any, /, *, axis: int | None = None) -> Array:
    """Each entry so many times, side by side."""
    repeats = value(repeats)
    if isinstance(repeats, list | tuple):
        repeats = xp.indices(list(repeats), x)
    elif (count := whole_number(repeats)) is not None:
        repeats = count
    return xp.record(REPEAT, (x,), {"repeats": repeats, "axis": axis})


@composed("diff", standard=True)
def diff(xp: Recording, x: Array, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Array:
    """The difference of each entry to the next one along an axis, n times."""
    axis %= x.ndim
    ends = [x if end is x else _end(xp, x, end, axis) for end in (prepend, x, append) if end is not None]
    x = xp.concat(ends, axis=axis) if len(ends) > 1 else x
    before = [slice(None)] * axis
    for _ in range(n):
        ahead, behind = x[(*before, slice(1, None), ...)], x[(*before, slice(None, -1), ...)]
        x = xp.not_equal(ahead, behind) if "bool" in str(x.dtype) else ahead - behind
    return x


def _end(xp: Recording, x: Array, end: Any, axis: int) -> Array:
    """What is put before or behind x along an axis; a number stands for one entry."""
    if isinstance(end, NUMBERS) or not end.ndim:
        return xp.full_like(x[(*[slice(None)] * axis, slice(0, 1), ...)], end)
    return end


@composed("meshgrid", standard=True)
def meshgrid(xp: Recording, *arrays: Array, indexing: str = "xy") -> list[Array]:
    """Coordinates in as many axes as there are vectors."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"indexing is {indexing!r}, expected 'xy' or 'ij'")
    n = len(arrays)
    axes = [1 - i if indexing == "xy" and i < 2 <= n else i for i in range(n)]
    lengths = dict(zip(axes, (prod(a.shape) for a in arrays), strict=True))
    shape = tuple(lengths[axis] for axis in range(n))
    apart = [
        xp.reshape(a, tuple(-1 if i == axis else 1 for i in range(n))) for axis, a in zip(axes, arrays, strict=True)
    ]
    return [xp.broadcast_to(a, shape) for a in apart]


# --- order and search -----------------------------------------------------------------------------------------------


def _put_along(xp: Any, g: Array, y: Array, x: Array, indices: Array, axis: int = -1) -> Array:
    """g added up where it was taken from along an axis."""
    axis %= x.ndim
    n, shape = x.shape[axis], g.shape
    rows = xp.moveaxis(xp.broadcast_to(indices, shape), axis, -1)
    g = xp.moveaxis(g, axis, -1)
    places = xp.library.arange(prod(g.shape[:-1]), dtype=rows.dtype, device=device_of(rows)) * n
    flat = xp.reshape(rows, (-1,)) + xp.repeat(places, g.shape[-1]) if prod(g.shape) else xp.reshape(rows, (-1,))
    found = xp.put_rows(xp.reshape(g, (-1,)), flat, prod(g.shape[:-1]) * n, 0)
    return unbroadcast(xp, xp.moveaxis(xp.reshape(found, (*g.shape[:-1], n)), -1, axis), x)


TAKE_ALONG = add("take_along_axis", _put_along, None)


@composed("take_along_axis", standard=True)
def take_along_axis(xp: Recording, x: Array, indices: Array, /, *, axis: int = -1) -> Array:
    """The entries at these indices along an axis, which go with the entries of the other axes."""
    rows = xp.rows(indices, x.shape[axis]) if isinstance(x, Wrapper) else indices
    return xp.record(TAKE_ALONG, (x, rows), {"axis": axis})


@composed("nonzero", standard=True)
def nonzero(xp: Recording, x: Array, /) -> tuple[Array, ...]:
    """The indices of what is not 0."""
    return values(xp, "nonzero", x)  # type: ignore[no-any-return]


@composed("searchsorted", standard=True)
def searchsorted(xp: Recording, x1: Array, x2: Array, /, *, side: str = "left", sorter: Any = None) -> Array:
    """Where x2 belongs in x1, which is sorted."""
    options = {} if sorter is None else {"sorter": sorter}
    return values(xp, "searchsorted", x1, x2, side=side, **options)


class UniqueAll(NamedTuple):
    """What ``unique_all`` returns."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """What ``unique_counts`` returns."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """What ``unique_inverse`` returns."""

    values: Array
    inverse_indices: Array


def _unique_all(xp: Recording, x: Wrapper) -> tuple[Array, ...]:
    """What the library finds; if it finds no places, those in a stable order that differ from the one before."""
    try:
        return values(xp, "unique_all", x)  # type: ignore[no-any-return]
    except NotImplementedError:
        flat = xp.library.reshape(x.value, (-1,))
    order = xp.library.argsort(flat, stable=True)
    ordered = xp.library.take(flat, order, axis=0)
    one = xp.library.ones((min(1, flat.shape[0]),), dtype=xp.library.bool, device=device_of(flat))
    places = order[xp.library.concat([one, ordered[1:] != ordered[:-1]])]
    found, inverse = values(xp, "unique_inverse", x)
    return found, xp.constant(places), inverse, values(xp, "unique_counts", x)[1]


def _unique(xp: Recording, name: str, x: Wrapper) -> tuple[Array, ...]:
    """What the library finds; the values as entries of x where derivatives are wanted."""
    if not x.differentiable and name != "unique_all":
        return values(xp, name, x)  # type: ignore[no-any-return]
    found, places, inverse, counts = _unique_all(xp, x)
    if x.differentiable:
        found = xp.take(xp.reshape(x, (-1,)), places)
    return {
        "unique_all": (found, places, inverse, counts),
        "unique_counts": (found, counts),
        "unique_inverse": (found, inverse),
        "unique_values": (found,),
    }[name]


@composed("unique_all", standard=True)
def unique_all(xp: Recording, x: Array, /) -> UniqueAll:
    """The different values, where they are first, which of them each entry is, and how often each is."""
    return UniqueAll(*_unique(xp, "unique_all", x))


@composed("unique_counts", standard=True)
def unique_counts(xp: Recording, x: Array, /) -> UniqueCounts:
    """The different values, and how often each is."""
    return UniqueCounts(*_unique(xp, "unique_counts", x))


@composed("unique_inverse", standard=True)
def unique_inverse(xp: Recording, x: Array, /) -> UniqueInverse:
    """The different values, and which of them each entry is."""
    return UniqueInverse(*_unique(xp, "unique_inverse", x))


@composed("unique_values", standard=True)
def unique_values(xp: Recording, x: Array, /) -> Array:
    """The different values."""
    return _unique(xp, "unique_values", x)[0] if x.differentiable else values(xp, "unique_values", x)


@composed("isin", standard=True)
def isin(xp: Recording, x1: Array, x2: Array, /, *, invert: bool = False) -> Array:
    """Whether each entry of x1 is among those of x2."""
    return values(xp, "isin", x1, x2, invert=invert)


@composed("linalg.matrix_rank", standard=True)
def matrix_rank(xp: Recording, x: Array, /, *, rtol: Any = None) -> Array:
    """How many singular values are more than ``rtol`` times the largest."""
    if 0 in x.shape:
        return xp.zeros(x.shape[:-2], dtype=xp.int64, device=x.device)
    return values(xp, "linalg.matrix_rank", x, **({} if rtol is None else {"rtol": rtol}))


# --- what is asked about arrays --------------------------------------------------------------------------------------


@composed("result_type", standard=True)
def result_type(xp: Recording, *arrays_and_dtypes: Any) -> Any:
    """The dtype that these have together."""
    return xp.library.result_type(*map(value, arrays_and_dtypes))


@composed("can_cast", standard=True)
def can_cast(xp: Recording, from_: Any, to: Any, /) -> bool:
    """Whether values of one dtype can be had in another."""
    return bool(xp.library.can_cast(value(from_), to))


@composed("finfo", standard=True)
def finfo(xp: Recording, type: Any, /) -> Any:  # noqa: A002  (the standard's name)
    """What is known of a floating-point dtype, that of a variable for example."""
    return xp.library.finfo(type.dtype)


@composed("iinfo", standard=True)
def iinfo(xp: Recording, type: Any, /) -> Any:  # noqa: A002
    """What is known of an integer dtype."""
    return xp.library.iinfo(type.dtype)
