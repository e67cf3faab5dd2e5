"""What convolutions and pooling share: how images lie in memory, windows of them, and the way back.

Images are (N, C, H, W) by their axes, and between these layers they lie in memory as (H, C, W, N): a part of a row is
then one run of memory for all samples, and a window of whole rows is a matrix where it lies. Where a library convolves
itself, they lie as it likes them. No layer before or behind needs to know: axes are permuted, which moves nothing where
arrays have strides, and elementwise functions leave arrays as they lie; where arrays have none, a compiler sees
permutations that undo each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpnet._checks import check_count
from xpnet._typing import Array
from xpnet.backends.dispatch import device, kind_of, namespace


def check_pair(value: Any, name: str, least: int) -> int | tuple[int, int]:
    """A whole number, or a pair of them for height and width, of at least ``least`` each; else ``ValueError``."""
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise ValueError(f"{name} is {value!r}, expected a whole number, or two: for height and width")
        return check_count(value[0], f"{name}[0]", least), check_count(value[1], f"{name}[1]", least)
    return check_count(value, name, least)


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width."""
    return value if isinstance(value, tuple) else (value, value)


def image_axes(x: Array) -> tuple[int, ...]:
    """The axes (N, C, H, W) of images of this library in the order in which they lie in memory."""
    return kind_of(x).image_axes(x)


def back(axes: tuple[int, ...]) -> tuple[int, ...]:
    """What permutes axes back."""
    return tuple(map(axes.index, range(len(axes))))


def padded(x: Array, axis: int, before: int, after: int, value: float = 0.0) -> Array:
    """x with so many entries of ``value`` more before and behind it along an axis (not negative)."""
    xp = namespace(x)
    if not before and not after:
        return x

    def filling(length: int) -> Array:
        shape = (*x.shape[:axis], length, *x.shape[axis + 1 :])
        return xp.full(shape, value, dtype=x.dtype, device=device(x))

    pieces = [filling(before)] if before else []
    pieces.append(x)
    return xp.concat(pieces + ([filling(after)] if after else []), axis=axis)


def part(x: Array, axis: int, start: int, stop: int, step: int = 1) -> Array:
    """x[start:stop:step] along an axis."""
    return x[(slice(None),) * axis + (slice(start, stop, step), ...)]


def every(x: Array, axis: int, start: int, step: int, count: int) -> Array:
    """``count`` entries of x along an axis, ``step`` apart from ``start`` on."""
    return part(x, axis, start, start + step * (count - 1) + 1, step)


def stacked_rows(x: Array, offsets: Sequence[int], step: int, count: int) -> Array:
    """x (..., H, K, M) as (..., count, len(offsets) K, M): for each h the rows h step + offset, one below the other.

    Where arrays have strides and offsets follow each other nothing is moved: rows stand in memory as they are wanted.
    """
    xp, axis = namespace(x), x.ndim - 3
    if list(offsets) == list(range(offsets[0], offsets[0] + len(offsets))):
        if len(offsets) == 1:
            return every(x, axis, offsets[0], step, count)
        seen = kind_of(x).windows(part(x, axis, offsets[0], x.shape[axis]), len(offsets), step, count)
        if seen is not None:
            return seen
    return xp.concat([every(x, axis, o, step, count) for o in offsets], axis=axis + 1)


def put_back(
    parts: Sequence[Array], starts: Sequence[int], step: int, length: int, axis: int, *, ours: bool = False
) -> Array:
    """The sum of parts, each put to the places start, start + step, ... along an axis of this length.

    What would stand before or behind the axis is left out. It is the way back from :func:`every`. Parts that are
    ``ours`` may be overwritten.
    """
    xp, whole = namespace(parts[0]), -(-length // step)
    phases = []
    for phase in range(step):
        here = [
            (each, (start - phase) // step)
            for each, start in zip(parts, starts, strict=True)
            if (start - phase) % step == 0
        ]
        found = _shifted_sum(here, whole, axis, ours and kind_of(parts[0]).in_place)
        phases.append(padded(part(parts[0], axis, 0, 0), axis, whole, 0) if found is None else found)
    if step == 1:
        return phases[0]
    shape = (*parts[0].shape[:axis], whole * step, *parts[0].shape[axis + 1 :])
    together = xp.reshape(xp.stack(phases, axis=axis + 1), shape)
    return together if whole * step == length else part(together, axis, 0, length)


def _shifted_sum(parts: list[tuple[Array, int]], length: int, axis: int, in_place: bool) -> Array | None:
    """The sum of parts, each shifted so far along an axis; None if none of them is there."""
    within = []
    for each, shift in parts:
        first, last = max(0, -shift), min(each.shape[axis], length - shift)
        if first < last:
            within.append((part(each, axis, first, last), first + shift, last + shift))
    within.sort(key=lambda each: each[1] - each[2])  # that of the whole length first, if there is one
    if not within:
        return None
    (found, start, stop), *others = within
    found = padded(found, axis, start, length - stop)
    for each, start, stop in others:
        if in_place:
            here = part(found, axis, start, stop)
            here += each
        else:
            found = found + padded(each, axis, start, length - stop)
    return found
