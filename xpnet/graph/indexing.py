"""``v[key]`` for keys of every kind: integers, slices, None, ``...``, booleans, masks, arrays of integers, in any mix.

What is made of integers, slices, None and ``...`` is one operation. The rest is made of that and of rows: the axes that
arrays index are put side by side and counted as one, and rows of it are taken by one number each.
"""

from __future__ import annotations

from math import prod
from numbers import Integral, Real
from typing import Any

from xpnet._checks import whole
from xpnet._typing import Array
from xpnet.backends.dispatch import backend_of, describe, dtype_name, name_of, namespace, traced
from xpnet.graph.operations import kind_of_dtype
from xpnet.graph.rules.shapes import GET
from xpnet.graph.wrapper import Wrapper


def get(v: Wrapper, key: Any) -> Wrapper:
    """``v[key]``, as NumPy has it.

    Raises:
        IndexError: what is not there: not every library says so. Too many indices, or a mask of another shape.
        TypeError: an index that is neither.
    """
    if type(key) is type(v.value) and key.shape and kind_of_dtype(v.library, key.dtype).endswith("integer") and v.ndim:
        return v.xp._taken(v, key, 0)  # type: ignore[no-any-return]
    parts = key if isinstance(key, tuple) else (key,)
    numbers = False
    for part in parts:
        if type(part) is slice:
            if not (_plain_end(part.start) and _plain_end(part.stop) and _plain_end(part.step)):
                break
        elif type(part) is int:
            numbers = True
        elif part is not None and part is not ...:
            break
    else:
        if numbers:
            _check_bounds(v, parts)
        return v.xp.record(GET, (v,), {"key": key})  # type: ignore[no-any-return]
    parts = tuple(_part(v, part) for part in parts)
    if all(part is None or part is ... or isinstance(part, int | slice) for part in parts):
        if not any(part is True or part is False for part in parts):
            _check_bounds(v, parts)
            return v.xp.record(GET, (v,), {"key": parts if isinstance(key, tuple) else parts[0]})  # type: ignore[no-any-return]
    elif len(parts) == 1 and v.ndim and _kind(parts[0]) != "bool":
        return v.xp.take(v, parts[0], axis=0)  # type: ignore[no-any-return]
    return _by_arrays(v, _filled(v, parts))


def _plain_end(end: Any) -> bool:
    return end is None or type(end) is int


def _part(v: Wrapper, part: Any) -> Any:
    """A part of a key as an integer, a slice, None, ``...``, True, False, or an array of integers or booleans."""
    if type(part) is int or part is None or part is ... or part is True or part is False:
        return part
    if isinstance(part, slice):
        return slice(*(_end(end) for end in (part.start, part.stop, part.step)))
    if isinstance(part, list | tuple):
        part = v.xp.asarray(part, device=v.device) if part else v.xp.indices([], v)
    if isinstance(part, Wrapper) or name_of(part) is not None:
        kind = _kind(part)
        integer = kind.endswith("integer")
        if not integer and kind != "bool":
            raise TypeError(_no_index(f"an array of {dtype_name(part.dtype)}, shape {tuple(part.shape)}"))
        if isinstance(part, Wrapper):
            part = part.value
        if part.shape:
            return part
        return int(part) if integer else bool(part)
    if isinstance(part, Integral) and isinstance(part, Real):
        return int(part)
    raise TypeError(_no_index(f"{part!r:.80}, {describe(part)}"))


def _kind(part: Array) -> str:
    return kind_of_dtype(namespace(part.value if isinstance(part, Wrapper) else part), part.dtype)


def _no_index(what: str) -> str:
    return (
        f"a variable is indexed with integers, slices, None, ..., booleans, and arrays of integers or booleans; this "
        f"index is {what}"
    )


def _end(end: Any) -> int | None:
    number = None if end is None else whole(end)
    if number is None and end is not None:
        raise TypeError(f"a slice has integers for ends and step, and this is {end!r:.80}")
    return number


def _check_bounds(v: Wrapper, parts: tuple[Any, ...]) -> None:
    """Raise ``IndexError`` for what is not there: not every library does."""
    axis = 0
    for k, part in enumerate(parts):
        if part is ...:
            axis = v.ndim - sum(p is not None for p in parts[k + 1 :])
        elif part is not None:
            if isinstance(part, int) and axis < v.ndim and not -v.shape[axis] <= part < v.shape[axis]:
                raise IndexError(f"index {part} is out of bounds for axis {axis} of shape {v.shape}")
            axis += 1


def _takes(part: Any) -> int:
    """How many axes a part of a key indexes."""
    if part is None or part is True or part is False:
        return 0
    return 1 if isinstance(part, int | slice) or _kind(part) != "bool" else part.ndim


def _filled(v: Wrapper, parts: tuple[Any, ...]) -> list[Any]:
    """The key with a slice for each axis that it does not speak of, and no ``...``."""
    given = [part for part in parts if part is not ...]
    missing = v.ndim - sum(map(_takes, given))
    if missing < 0:
        raise IndexError(f"too many indices: this has shape {v.shape}, and {v.ndim - missing} axes are indexed")
    if len(parts) - len(given) > 1:
        raise IndexError("an index has one ... at most")
    here = next((k for k, part in enumerate(parts) if part is ...), len(parts))
    return [*given[:here], *[slice(None)] * missing, *given[here:]]


def _by_arrays(v: Wrapper, parts: list[Any]) -> Wrapper:
    """The slices and new axes first, then what arrays, and integers among them, index."""
    xp = v.xp
    sliced, rows, sizes = list[Any](), dict[int, Array](), dict[int, int]()
    axis = 0
    for part in parts:
        if part is None or isinstance(part, slice):
            sliced.append(part)
            axis += part is not None
            continue
        if part is True or part is False:
            found, lengths = [xp.indices([0] * part, v)], [1]
            sliced.append(None)
        elif isinstance(part, int):
            _check_bounds(v, (*[slice(None)] * axis, part))
            lengths = [v.shape[axis]]
            found = [xp.indices(part % lengths[0], v)]
        elif _kind(part) == "bool":
            lengths = list(v.shape[axis : axis + part.ndim])
            if tuple(part.shape) != tuple(lengths):
                raise IndexError(f"a mask of shape {tuple(part.shape)} is for axes of shape {tuple(lengths)}")
            found = rows_of_mask(xp, part, v)
        else:
            lengths = [v.shape[axis]]
            found = [xp.rows(part, lengths[0])]
        start = len(sliced) - (part is True or part is False)
        rows |= {start + k: array for k, array in enumerate(found)}
        sizes |= {start + k: n for k, n in enumerate(lengths)}
        if part is not True and part is not False:
            sliced += [slice(None)] * len(found)
            axis += len(found)
    x = v if all(part == slice(None) for part in sliced) else xp.record(GET, (v,), {"key": tuple(sliced)})
    return _merged(x, rows, sizes)


def rows_of_mask(xp: Any, mask: Array, beside: Wrapper) -> list[Array]:
    """Where a mask is true, along each of its axes.

    Raises:
        IndexError: the library is tracing the mask, so that nobody knows how many entries it chooses.
    """
    if traced(mask):
        raise IndexError(
            "how many entries a mask chooses is not known while its values are traced, as in a function that is being "
            "compiled; write where(mask, x, 0), or make the mask outside"
        )
    if traced(beside.value) or namespace(mask) is not xp.library:  # what is computed there is traced as well
        return [xp.indices(rows, beside) for rows in backend_of(mask).to_numpy(mask).nonzero()]
    return list(xp.library.nonzero(mask))


def _merged(x: Wrapper, rows: dict[int, Array], sizes: dict[int, int]) -> Wrapper:
    """Rows along several axes of x at a time, as rows along one."""
    xp, axes = x.xp, sorted(rows)
    together = axes == list(range(axes[0], axes[-1] + 1))
    if not together:
        x = xp.permute_dims(x, (*axes, *(i for i in range(x.ndim) if i not in rows)))
    place, flat = (axes[0] if together else 0), None
    for axis in axes:  # Horner's scheme
        flat = rows[axis] if flat is None else flat * sizes[axis] + rows[axis]
    if len(axes) > 1:
        n = prod(sizes.values())
        x = xp.reshape(x, (*x.shape[:place], n, *x.shape[place + len(axes) :]))
    return xp.take(x, flat, axis=place)  # type: ignore[no-any-return]
