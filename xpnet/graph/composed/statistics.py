"""NumPy's statistics, running sums and interpolation, which the standard has under no name."""

from __future__ import annotations

from math import inf, nan, pi, prod
from typing import Any

from xpnet._typing import Array
from xpnet.graph.composed.linalg import conjugated
from xpnet.graph.composed.standard import values
from xpnet.graph.operations import axes_of
from xpnet.graph.recording import Recording, composed, value

# --- means and orders ------------------------------------------------------------------------------------------------


@composed("average")
def average(
    xp: Recording, a: Array, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """The mean, with weights if there are any."""
    if weights is None:
        found = xp.mean(a, axis=axis, keepdims=keepdims)
        count = prod(a.shape) / max(prod(found.shape), 1)
        return (found, xp.full_like(found, count)) if returned else found
    weights = weights if hasattr(weights, "shape") else xp.asarray(weights, dtype=value(a).dtype)
    if weights.ndim != a.ndim:
        (along,) = axes_of(a, axis)
        weights = xp.reshape(weights, tuple(-1 if i == along else 1 for i in range(a.ndim)))
    weights = weights + 0 * a
    total = xp.sum(weights, axis=axis, keepdims=keepdims)
    found = xp.sum(a * weights, axis=axis, keepdims=keepdims) / total
    return (found, total) if returned else found


@composed("ptp")
def ptp(xp: Recording, a: Array, axis: Any = None, out: Any = None, keepdims: bool = False) -> Array:
    """The largest minus the least entry."""
    return xp.max(a, axis=axis, keepdims=keepdims) - xp.min(a, axis=axis, keepdims=keepdims)


@composed("quantile")
def quantile(
    xp: Recording, a: Array, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """What a share q of the entries is below, between neighbours by ``method``."""
    rows, axes = _rows_along(xp, a, axis)
    rows = xp.sort(rows, axis=-1)
    many = _is_many(q)
    found = [_between(rows, float(share), method) for share in (q if many else [q])]
    if keepdims:
        kept = tuple(1 if i in axes else n for i, n in enumerate(a.shape))
        found = [xp.reshape(x, kept) for x in found]
    return xp.stack(found) if many else found[0]


def _rows_along(xp: Recording, a: Array, axis: Any) -> tuple[Array, tuple[int, ...]]:
    """The entries along some axes, or all, in one axis, the last one; and these axes."""
    axes = axes_of(a, axis)
    rest = tuple(i for i in range(a.ndim) if i not in axes)
    shape = (*(a.shape[i] for i in rest), prod(a.shape[i] for i in axes))
    return xp.reshape(xp.permute_dims(a, (*rest, *axes)), shape), axes


def _is_many(q: Any) -> bool:
    """Whether q is a list or an array with axes."""
    return bool(q.shape) if hasattr(q, "shape") else hasattr(q, "__len__")


def _between(rows: Array, share: float, method: str) -> Array:
    if not 0 <= share <= 1:
        raise ValueError(f"a quantile is of a share from 0 to 1, and this is {share}")
    place = share * (rows.shape[-1] - 1)
    low = int(place)
    part = place - low
    weights = {
        "linear": part,
        "lower": 0.0,
        "higher": 1.0 * (part > 0),
        "midpoint": 0.5 * (part > 0),
        "nearest": 1.0 * (part > 0.5 or (part == 0.5 and low % 2 == 1)),
    }
    if method not in weights:
        raise TypeError(f"quantile is recorded with the methods {', '.join(weights)}; got {method!r}")
    weight = weights[method]
    if not weight:
        return rows[..., low]
    return rows[..., low] * (1 - weight) + rows[..., low + 1] * weight


@composed("percentile")
def percentile(
    xp: Recording, a: Array, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """A quantile of q per cent."""
    q = [float(part) / 100 for part in q] if _is_many(q) else float(q) / 100
    return quantile(xp, a, q, axis, method=method, keepdims=keepdims)


@composed("median")
def median(xp: Recording, a: Array, axis: Any = None, *, keepdims: bool = False) -> Array:
    """The entry in the middle, or the mean of the two that are."""
    return quantile(xp, a, 0.5, axis, keepdims=keepdims)


@composed("cov")
def cov(
    xp: Recording, m: Array, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None
) -> Array:
    """The covariances of rows, or of columns."""
    x = m if m.ndim > 1 else xp.reshape(m, (1, -1))
    if not rowvar and m.ndim > 1:
        x = xp.matrix_transpose(x)
    if y is not None:
        more = y if y.ndim > 1 else xp.reshape(y, (1, -1))
        x = xp.concat([x, more if rowvar or y.ndim == 1 else xp.matrix_transpose(more)], axis=0)
    count = x.shape[1] - ((0 if bias else 1) if ddof is None else ddof)
    apart = x - xp.mean(x, axis=1, keepdims=True)
    found = xp.matmul(apart, xp.matrix_transpose(conjugated(xp, apart))) / count
    return found[0, 0] if found.shape == (1, 1) else found


@composed("corrcoef")
def corrcoef(xp: Recording, x: Array, y: Any = None, rowvar: bool = True) -> Array:
    """The correlations of rows, or of columns."""
    found = cov(xp, x, y, rowvar)
    if not found.ndim:
        return found / found
    spread = xp.sqrt(xp.linalg.diagonal(found))
    return found / spread[:, None] / spread[None, :]


def _without_nan(name: str, plain: str, nothing: float) -> None:
    @composed(name)
    def function(xp: Recording, a: Array, axis: Any = None, *, keepdims: bool = False) -> Array:
        there = xp.where(xp.isnan(a), xp.full_like(a, nothing), a)
        return getattr(xp, plain)(there, axis=axis, keepdims=keepdims)


for _names in (("nansum", "sum", 0.0), ("nanprod", "prod", 1.0), ("nanmax", "max", -inf), ("nanmin", "min", inf)):
    _without_nan(*_names)


def _masked(name: str, plain: str) -> None:
    @composed(name)
    def function(xp: Recording, a: Array, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Array:
        options = {"correction": ddof} if plain != "mean" else {}
        return getattr(xp, plain)(a, axis=axis, keepdims=keepdims, where=~xp.isnan(a), **options)


for _name in ("mean", "var", "std"):
    _masked(f"nan{_name}", _name)


@composed("nanquantile")
def nanquantile(xp: Recording, a: Array, q: Any, axis: Any = None, *, keepdims: bool = False) -> Array:
    """What a share q of the entries that are numbers is below."""
    rows, axes = _rows_along(xp, a, axis)
    none = xp.isnan(rows)
    count = xp.library.sum(xp.library.astype(~value(none), value(rows).dtype), axis=-1, keepdims=True)
    rows = xp.sort(xp.where(none, xp.full_like(rows, inf), rows), axis=-1)
    many = _is_many(q)
    found = [_between_numbers(xp, rows, count, float(share)) for share in (q if many else [q])]
    if keepdims:
        kept = tuple(1 if i in axes else n for i, n in enumerate(a.shape))
        found = [xp.reshape(x, kept) for x in found]
    return xp.stack(found) if many else found[0]


def _between_numbers(xp: Recording, rows: Array, count: Array, share: float) -> Array:
    library = xp.library
    place = share * library.where(count > 0, count - 1, 0 * count)
    low = library.floor(place)
    ends = [xp.take_along_axis(rows, library.astype(k, library.int64), axis=-1) for k in (low, library.ceil(place))]
    low_end, high_end = (xp.where(count > 0, end, xp.full_like(end, nan)) for end in ends)
    return (low_end + (high_end - low_end) * (place - low))[..., 0]


@composed("nanpercentile")
def nanpercentile(xp: Recording, a: Array, q: Any, axis: Any = None, *, keepdims: bool = False) -> Array:
    """A quantile of q per cent, of the entries that are numbers."""
    q = [float(part) / 100 for part in q] if _is_many(q) else float(q) / 100
    return nanquantile(xp, a, q, axis, keepdims=keepdims)


@composed("nanmedian")
def nanmedian(xp: Recording, a: Array, axis: Any = None, *, keepdims: bool = False) -> Array:
    """The entry in the middle of those that are numbers, or the mean of the two that are."""
    return nanquantile(xp, a, 0.5, axis, keepdims=keepdims)


def _place_of(name: str, plain: str, nothing: float) -> None:
    @composed(name)
    def function(xp: Recording, a: Array, axis: int | None = None, *, keepdims: bool = False) -> Array:
        there = xp.where(xp.isnan(a), xp.full_like(a, nothing), a)
        return getattr(xp, plain)(there, axis=axis, keepdims=keepdims)


_place_of("nanargmax", "argmax", -inf)
_place_of("nanargmin", "argmin", inf)

# --- along an axis ---------------------------------------------------------------------------------------------------


def _running(name: str, plain: str) -> None:
    @composed(name)
    def function(xp: Recording, a: Array, axis: int | None = None, dtype: Any = None, out: Any = None) -> Array:
        a, axis = (xp.reshape(a, (-1,)), 0) if axis is None else (a, axis)
        return getattr(xp, plain)(a, axis=axis, dtype=dtype)


_running("cumsum", "cumulative_sum")
_running("cumprod", "cumulative_prod")


def _running_numbers(name: str, plain: str, nothing: float) -> None:
    @composed(name)
    def function(xp: Recording, a: Array, axis: int | None = None) -> Array:
        return getattr(xp, plain)(xp.where(xp.isnan(a), xp.full_like(a, nothing), a), axis)


_running_numbers("nancumsum", "cumsum", 0.0)
_running_numbers("nancumprod", "cumprod", 1.0)


@composed("unwrap")
def unwrap(xp: Recording, p: Array, discont: float | None = None, axis: int = -1, *, period: float = 2 * pi) -> Array:
    """Angles without jumps of a period: each is moved by periods, which has the derivative 1."""
    values_of, axis = xp.constant(value(p)), axis % p.ndim
    steps = xp.diff(values_of, axis=axis)
    near = (steps + period / 2) % period - period / 2
    near = xp.where((near == -period / 2) & (steps > 0), -near, near)
    moves = xp.where(xp.abs(steps) < max(period / 2, discont or 0.0), 0 * steps, near - steps)
    return p + xp.cumulative_sum(moves, axis=axis, include_initial=True)


@composed("ediff1d")
def ediff1d(xp: Recording, ary: Array) -> Array:
    """The differences of all entries to the next ones."""
    return xp.diff(xp.reshape(ary, (-1,)))


@composed("trapezoid", "trapz")
def trapezoid(xp: Recording, y: Array, x: Any = None, dx: float = 1.0, axis: int = -1) -> Array:
    """The integral of straight lines between points."""
    y = xp.moveaxis(y, axis, -1) if hasattr(y, "shape") else xp.asarray(y)
    steps = dx if x is None else xp.diff(x if x.ndim == 1 else xp.moveaxis(x, axis, -1), axis=-1)
    return xp.sum(steps * (y[..., 1:] + y[..., :-1]) / 2, axis=-1)


@composed("gradient")
def gradient(xp: Recording, f: Array, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Central differences, one-sided at the ends, at equal distances."""
    if edge_order != 1 or any(getattr(h, "ndim", 0) for h in varargs):
        raise TypeError("gradient is recorded for equal distances, and with edge_order=1")
    axes = axes_of(f, axis)
    steps = [*varargs] * (len(axes) if len(varargs) == 1 else 1) if varargs else [1.0] * len(axes)
    found = [_slope(xp, f, along, h) for along, h in zip(axes, steps, strict=True)]
    return found[0] if len(found) == 1 else tuple(found)


def _slope(xp: Recording, f: Array, axis: int, h: Any) -> Array:
    before = [slice(None)] * axis

    def part(start: int | None, stop: int | None) -> Array:
        return f[(*before, slice(start, stop), ...)]

    inside = (part(2, None) - part(None, -2)) / (2 * h)
    return xp.concat([(part(1, 2) - part(0, 1)) / h, inside, (part(-1, None) - part(-2, -1)) / h], axis=axis)


@composed("interp")
def interp(xp: Recording, x: Any, xp_: Any, fp: Any, left: Any = None, right: Any = None) -> Array:
    """Straight lines between points, and level ends."""
    like = next(a for a in (fp, x, xp_) if hasattr(a, "device"))
    x, known, heights = (
        a if hasattr(a, "shape") else xp.library.asarray(a, dtype=value(like).dtype) for a in (x, xp_, fp)
    )
    n = known.shape[0]
    places = value(values(xp, "searchsorted", known, xp.reshape(x, (-1,)), side="right"))
    low = xp.library.clip(places - 1, 0, n - 2)
    flat = xp.reshape(x, (-1,))
    start, end = (xp.take(xp.constant(known), low + k, axis=0) for k in (0, 1))
    first, second = (xp.take(xp.constant(heights), low + k, axis=0) for k in (0, 1))
    found = first + (second - first) * ((flat - start) / (end - start))
    below, above = value(flat) < value(known)[0], value(flat) > value(known)[-1]
    ends = [heights[0] if left is None else left, heights[-1] if right is None else right]
    for outside, end_value in zip((below, above), ends, strict=True):
        found = xp.where(outside, xp.zeros_like(found) + end_value, found)
    return xp.reshape(found, x.shape)
