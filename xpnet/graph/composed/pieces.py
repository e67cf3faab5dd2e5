"""NumPy's functions that put arrays together and take them apart, which the standard has under no name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet._typing import Array
from xpnet.graph.indexing import rows_of_mask
from xpnet.graph.recording import Recording, composed, holds_variable, value
from xpnet.graph.rules.shapes import SQUEEZE
from xpnet.graph.wrapper import Wrapper

# --- together --------------------------------------------------------------------------------------------------------


def _arrays(xp: Recording, parts: Any) -> list[Array]:
    like = next((p for p in parts if isinstance(p, Wrapper)), None)
    return [_array(xp, p, like) for p in parts]


def _array(xp: Recording, part: Any, like: Any) -> Array:
    if hasattr(part, "shape"):
        return part
    if like is None or holds_variable(part):
        return xp.asarray(part)
    return xp.asarray(part, dtype=like.dtype, device=like.device)


def _at_least(xp: Recording, x: Any, n: int) -> Array:
    x = x if hasattr(x, "shape") else xp.asarray(x)
    if x.ndim >= n:
        return x
    shape = {(0, 1): (1,), (0, 2): (1, 1), (1, 2): (1, *x.shape), (0, 3): (1, 1, 1), (1, 3): (1, *x.shape, 1)}
    return xp.reshape(x, shape.get((x.ndim, n), (*x.shape, 1)))


def _at_least_each(name: str, n: int) -> None:
    @composed(name)
    def at_least(xp: Recording, *arrays: Any) -> Any:
        found = [_at_least(xp, x, n) for x in arrays]
        return found[0] if len(found) == 1 else tuple(found)


for _n in (1, 2, 3):
    _at_least_each(f"atleast_{_n}d", _n)


@composed("vstack", "row_stack")
def vstack(xp: Recording, tup: Any, dtype: Any = None, casting: str = "same_kind") -> Array:
    """One below the other; vectors are rows."""
    return xp.concat([_at_least(xp, x, 2) for x in _arrays(xp, tup)], axis=0)


@composed("hstack")
def hstack(xp: Recording, tup: Any) -> Array:
    """One beside the other; of vectors, one behind the other."""
    parts = [_at_least(xp, x, 1) for x in _arrays(xp, tup)]
    return xp.concat(parts, axis=0 if parts[0].ndim == 1 else 1)


@composed("dstack")
def dstack(xp: Recording, tup: Any) -> Array:
    """One behind the other, along the third axis."""
    return xp.concat([_at_least(xp, x, 3) for x in _arrays(xp, tup)], axis=2)


@composed("column_stack")
def column_stack(xp: Recording, tup: Any) -> Array:
    """One beside the other; vectors are columns."""
    parts = _arrays(xp, tup)
    return xp.concat([x if x.ndim > 1 else xp.reshape(x, (-1, 1)) for x in parts], axis=1)


@composed("append")
def append(xp: Recording, arr: Array, values: Array, axis: int | None = None) -> Array:
    """The one behind the other."""
    return xp.concat(_arrays(xp, [arr, values]), axis=axis)


@composed("block")
def block(xp: Recording, arrays: Any) -> Array:
    """Nested lists of blocks as one array."""
    if not isinstance(arrays, list):
        return _at_least(xp, arrays, 1)
    parts = [block(xp, part) for part in arrays]
    deep = isinstance(arrays[0], list)
    parts = [_at_least(xp, p, 2) for p in parts] if deep or max(p.ndim for p in parts) > 1 else parts
    return xp.concat(parts, axis=-2 if deep else -1)


@composed("pad")
def pad(xp: Recording, array: Array, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Array:
    """Numbers around an array: constant ones, or those of the array, ``edge``, ``reflect``, ``symmetric``, ``wrap``."""
    if mode not in _SOURCES and mode != "constant":
        raise TypeError(f"pad is recorded with the modes constant, {', '.join(_SOURCES)}; got {mode!r}")
    for axis, ends in enumerate(_pairs(pad_width, array.ndim)):
        if mode == "constant":
            array = _framed(xp, array, axis, ends, _pairs(constant_values, array.ndim)[axis])
        elif any(ends):
            n = array.shape[axis]
            places = [_SOURCES[mode](k, n) for k in range(-ends[0], n + ends[1])]
            array = xp.take(array, xp.indices(places, array), axis=axis)
    return array


_SOURCES: dict[str, Callable[[int, int], int]] = {
    "edge": lambda k, n: min(max(k, 0), n - 1),
    "wrap": lambda k, n: k % n,
    "reflect": lambda k, n: abs((k + n - 1) % (2 * n - 2) - (n - 1)) if n > 1 else 0,
    "symmetric": lambda k, n: k % (2 * n) if k % (2 * n) < n else 2 * n - 1 - k % (2 * n),
}


def _pairs(width: Any, ndim: int) -> list[tuple[Any, Any]]:
    """What is before and behind along each axis, from NumPy's short forms."""
    width = width.tolist() if hasattr(width, "tolist") else width
    if not isinstance(width, list | tuple):
        return [(width, width)] * ndim
    if not any(isinstance(part, list | tuple) for part in width):
        width = [tuple(width) if len(width) == 2 else (width[0], width[0])]
    pairs = [tuple(part) if len(part) == 2 else (part[0], part[0]) for part in width]
    return pairs * ndim if len(pairs) == 1 else pairs


def _framed(xp: Recording, x: Array, axis: int, ends: tuple[int, int], numbers: tuple[Any, Any]) -> Array:
    parts = [x]
    for place, (count, number) in enumerate(zip(ends, numbers, strict=True)):
        if count:
            shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
            frame = xp.library.full(shape, number, dtype=value(x).dtype, device=x.device)
            parts = [*parts, frame] if place else [frame, *parts]
    return xp.concat(parts, axis=axis) if len(parts) > 1 else x


# --- apart -----------------------------------------------------------------------------------------------------------


@composed("array_split")
def array_split(xp: Recording, ary: Array, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Pieces along an axis, at these places, or as many as this, alike as far as possible."""
    n, axis = ary.shape[axis], axis % ary.ndim
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        lengths = [n // count + (k < n % count) for k in range(count)]
        places = [sum(lengths[:k]) for k in range(1, count)]
    else:
        places = [int(k) for k in indices_or_sections]
    ends = zip([0, *places], [*places, n], strict=True)
    return [ary[(*[slice(None)] * axis, slice(start, stop), ...)] for start, stop in ends]


@composed("split")
def split(xp: Recording, ary: Array, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """Pieces along an axis, at these places, or so many of one length."""
    if isinstance(indices_or_sections, int) and ary.shape[axis] % indices_or_sections:
        raise ValueError(f"split: {ary.shape[axis]} entries are not {indices_or_sections} parts of one length")
    return array_split(xp, ary, indices_or_sections, axis)  # type: ignore[no-any-return]


def _split_along(name: str, axis: int) -> None:
    @composed(name)
    def splitter(xp: Recording, ary: Array, indices_or_sections: Any) -> list[Array]:
        along = 0 if name == "hsplit" and ary.ndim == 1 else axis
        return split(xp, ary, indices_or_sections, along)  # type: ignore[no-any-return]


for _axis, _name in enumerate(("vsplit", "hsplit", "dsplit")):
    _split_along(_name, _axis)


@composed("delete")
def delete(xp: Recording, arr: Array, obj: Any, axis: int | None = None) -> Array:
    """All but these entries."""
    if axis is None:
        arr, axis = xp.reshape(arr, (-1,)), 0
    n = arr.shape[axis]
    gone = {int(k) % n for k in (obj if hasattr(obj, "__iter__") else [obj])}
    return xp.take(arr, xp.indices([k for k in range(n) if k not in gone], arr), axis=axis)


@composed("compress", "extract")
def compress(xp: Recording, condition: Any, a: Array, axis: int | None = None) -> Array:
    """The entries where a condition holds."""
    a, axis = (xp.reshape(a, (-1,)), 0) if axis is None else (a, axis)
    mask = value(condition) if hasattr(condition, "shape") else xp.library.asarray(condition)
    mask = mask if mask.ndim == 1 else xp.library.reshape(mask, (-1,))
    (rows,) = rows_of_mask(xp, mask, xp.constant(a))
    return xp.take(a, rows, axis=axis)


@composed("select")
def select(xp: Recording, condlist: Any, choicelist: Any, default: Any = 0) -> Array:
    """Of several choices, each where its condition is the first to hold."""
    like = next(x for x in (*choicelist, default) if isinstance(x, Wrapper))
    found = xp.zeros_like(like) + default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        found = xp.where(condition, choice if hasattr(choice, "shape") else xp.full_like(like, choice), found)
    return found


@composed("piecewise")
def piecewise(xp: Recording, x: Array, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Array:
    """Functions, or numbers, each of the entries where its condition holds; of several that hold the last counts."""
    library, flat = xp.library, xp.reshape(x, (-1,))
    several = isinstance(condlist, list | tuple) and (not condlist or hasattr(condlist[0], "__len__"))
    masks = [library.reshape(library.asarray(value(c)), (-1,)) for c in (condlist if several else [condlist])]
    if len(funclist) == len(masks) + 1:  # the last one is for the rest
        anywhere = library.any(library.stack(masks), axis=0)
        masks.append(~anywhere)
    if len(funclist) != len(masks):
        raise ValueError(f"piecewise has {len(funclist)} functions for {len(masks)} conditions")
    found, free = xp.zeros_like(flat), library.ones(flat.shape, dtype=library.bool, device=x.device)
    for mask, f in reversed(list(zip(masks, funclist, strict=True))):
        (rows,) = rows_of_mask(xp, mask & free, xp.constant(x))
        part = xp.take(flat, rows, axis=0)
        part = f(part, *args, **kw) if callable(f) else xp.full_like(part, f)
        found, free = found + xp.put_rows(part, rows, flat.shape[0], 0), free & ~mask
    return xp.reshape(found, x.shape)


@composed("choose")
def choose(xp: Recording, a: Any, choices: Any) -> Array:
    """For each entry the choice of this number."""
    like = next(x for x in (a, *choices) if isinstance(x, Wrapper))
    places = xp.broadcast_arrays(xp.asarray(value(a), device=like.device), *_arrays(xp, choices))
    rows = xp.reshape(places[0], (1, *places[0].shape))
    return xp.take_along_axis(xp.stack(places[1:]), rows, axis=0)[0, ...]


@composed("insert")
def insert(xp: Recording, arr: Array, obj: Any, values: Any, axis: int | None = None) -> Array:
    """These values before these places."""
    if axis is None:
        arr, axis = xp.reshape(arr, (-1,)), 0
    n, axis = arr.shape[axis], axis % arr.ndim
    one = not hasattr(obj, "__len__")
    places = [int(k) + n * (int(k) < 0) for k in ([obj] if one else obj)]
    (values,) = _arrays(xp, [values]) if isinstance(values, Wrapper) else [_array(xp, values, arr)]
    if one and values.ndim:  # all of them in one place
        values = xp.moveaxis(xp.reshape(values, (*[1] * (arr.ndim - values.ndim), *values.shape)), 0, axis)
        places *= values.shape[axis]
    shape = (*arr.shape[:axis], len(places), *arr.shape[axis + 1 :])
    both = xp.concat([arr, xp.broadcast_to(values, shape)], axis=axis)
    order = sorted(range(n + len(places)), key=lambda k: (k, 1) if k < n else (places[k - n], 0))
    return xp.take(both, xp.indices(order, arr), axis=axis)


@composed("apply_along_axis")
def apply_along_axis(xp: Recording, func1d: Any, axis: int, arr: Array, *args: Any, **kwargs: Any) -> Array:
    """A function of vectors, of each along an axis."""
    axis %= arr.ndim
    rows = xp.moveaxis(arr, axis, -1)
    shape, flat = rows.shape[:-1], xp.reshape(rows, (-1, rows.shape[-1]))
    made = xp.stack([func1d(flat[k, :], *args, **kwargs) for k in range(flat.shape[0])])
    made = xp.reshape(made, (*shape, *made.shape[1:]))
    inner = tuple(range(len(shape), made.ndim))
    return xp.permute_dims(made, (*range(axis), *inner, *range(axis, len(shape))))


@composed("tri")
def tri(xp: Recording, N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Array:
    """Ones on and below a diagonal."""
    return xp.library.tril(xp.library.ones((N, M or N), dtype=dtype), k=k)


# --- the same entries otherwise --------------------------------------------------------------------------------------


@composed("ravel")
def ravel(xp: Recording, a: Array, order: str = "C") -> Array:
    """All entries in one row."""
    return xp.reshape(transpose(xp, a) if order == "F" else a, (-1,))


@composed("transpose")
def transpose(xp: Recording, a: Array, axes: Any = None) -> Array:
    """The axes in this order, or turned round."""
    a = a if hasattr(a, "shape") else xp.stack(list(a))
    return xp.permute_dims(a, tuple(reversed(range(a.ndim))) if axes is None else tuple(axes))


@composed("swapaxes")
def swapaxes(xp: Recording, a: Array, axis1: int, axis2: int) -> Array:
    """Two axes in each other's place."""
    order = list(range(a.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return xp.permute_dims(a, tuple(order))


@composed("rollaxis")
def rollaxis(xp: Recording, a: Array, axis: int, start: int = 0) -> Array:
    """An axis moved to before another."""
    axis, start = axis % a.ndim, start % (a.ndim + 1) if start >= 0 else start + a.ndim
    order = [i for i in range(a.ndim) if i != axis]
    order.insert(start - (start > axis), axis)
    return xp.permute_dims(a, tuple(order))


@composed("rot90")
def rot90(xp: Recording, m: Array, k: int = 1, axes: Any = (0, 1)) -> Array:
    """Turned by quarters, from the first of two axes towards the second."""
    first, second = axes
    k %= 4
    if k == 2:
        return xp.flip(m, axis=tuple(axes))
    turned = swapaxes(xp, m, first, second) if k else m
    return xp.flip(turned, axis=first if k == 1 else second) if k else m


@composed("fliplr")
def fliplr(xp: Recording, m: Array) -> Array:
    """Right and left exchanged."""
    return xp.flip(m, axis=1)


@composed("flipud")
def flipud(xp: Recording, m: Array) -> Array:
    """Above and below exchanged."""
    return xp.flip(m, axis=0)


@composed("partition")
def partition(xp: Recording, a: Array, kth: Any, axis: int | None = -1) -> Array:
    """Sorted, which is partitioned at every place."""
    return xp.sort(xp.reshape(a, (-1,)) if axis is None else a, axis=-1 if axis is None else axis)


@composed("argpartition")
def argpartition(xp: Recording, a: Array, kth: Any, axis: int = -1) -> Array:
    """The order of sorting."""
    return xp.argsort(a, axis=axis)


@composed("unique")
def unique(
    xp: Recording, ar: Array, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False
) -> Any:
    """The different values; where they are first, which of them each entry is, and how often they are, if asked."""
    if not (return_index or return_inverse or return_counts):
        return xp.unique_values(ar)
    values, indices, inverse, counts = xp.unique_all(ar)
    asked = ((return_index, indices), (return_inverse, inverse), (return_counts, counts))
    return (values, *(part for wanted, part in asked if wanted))


@composed("squeeze")
def squeeze(xp: Recording, x: Array, /, axis: Any = None) -> Array:
    """Without axes of length 1: all of them, or these."""
    axis = tuple(i for i, n in enumerate(x.shape) if n == 1) if axis is None else axis
    if not isinstance(x, Wrapper):
        return xp.library.squeeze(x, axis=axis)
    return xp.record(SQUEEZE, (x,), {"axis": axis})
