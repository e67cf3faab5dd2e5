"""The numerical gradient of an Affine layer, without a whole forward pass for each entry.

Moving entry (i, j) of W by h moves column j of x W + b by h times column i of x; a bias is a weight of an input of 1.
So f(x + h) and f(x - h) are evaluated from that column on: through the elementwise layers behind it alone, into the
next x W + b as an outer product, and from there on in full, with many moved copies at once. Losses are taken sample by
sample. What a move does not reach is the same on both sides, cancels and is left out: samples in which a pixel is zero,
and units that stay off. Nothing but forward passes of layers and losses is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile
from math import prod
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import backend_of, device, namespace, traced
from xpnet.functions import one_hot
from xpnet.gradient.numerical import step_size
from xpnet.gradient.reach import goes_with_forward
from xpnet.gradient.tail import Found, Sides, Tail, watched
from xpnet.layers import Affine, Layer
from xpnet.layers.chain import Part

#: How many arrays of the size of a tile are alive at once while its losses are computed.
TEMPORARIES = 4
#: Parts of the samples that a worker is given one after the other, so that a progress bar moves.
SHARES = 4
#: Outputs that move by less than this are small moves to a loss: exp() of them does not overflow.
SMALL_MOVE = 10.0
#: Numbers that the moves of one sample lead to, from which on threads pay: with less, they mostly wait for each other.
WORTH_A_THREAD = 100_000


class Columns:
    """Gradients of an Affine layer, in tiles of B samples, J units (columns of W) and I inputs (rows of W, and b)."""

    def __init__(self, tail: Tail, h: float | None, max_bytes: int | None, kinks: bool) -> None:
        x, params = tail.x, tail.params
        self.weight = tail.weight
        self.tail, self.kinks, self.backend, xp = tail, kinks, backend_of(x), namespace(x)
        self.xp, like = xp, {"dtype": x.dtype, "device": device(x)}
        first, *others = tail.parts
        self.W, self.b = first.outside["W"], first.outside["b"]
        self.inputs = xp.concat([xp.reshape(x, (x.shape[0], -1)), xp.ones((x.shape[0], 1), **like)], axis=1)
        weights = xp.concat([params[self.W], params[self.b][None, :]], axis=0)
        self.steps = xp.zeros_like(weights) + step_size(weights, h)
        self.even = bool(xp.all(self.steps == self.steps[0, 0]))
        self.z = first.layer.predict(first.view(params), x)
        both = zip(others, tail.reaches[1:], strict=True)
        self.alone = [part for part, _ in takewhile(lambda pair: pair[1] == "element" and not pair[0].outside, both)]
        self.rest = others[len(self.alone) :]
        self.out = self.z
        for part in self.alone:
            self.out = part.layer.predict(part.view(params), self.out)
        if self.rest and moves_columns(self.rest[0].layer):
            into = self.rest.pop(0)
            self.mix, self.y = params[into.outside["W"]], into.layer.predict(into.view(params), self.out)
        else:  # a column stays a column
            self.mix, self.y = xp.eye(self.z.shape[1], **like), self.out
        self.largest_mix = float(xp.max(xp.abs(self.mix)))
        y, width = self.y, self.y.shape[1]
        for part in self.rest:
            y = part.layer.predict(part.view(params), y)
            width = max(width, prod(y.shape[1:]))
        self.t = one_hot(tail.t, y)
        numbers = (max_bytes or self.backend.tile_bytes) // (TEMPORARIES * xp.finfo(x.dtype).bits // 8)
        #: how many triples of sample, unit and input are worked on together, in front of the classes and behind
        self.in_front, self.behind = max(numbers // 2, 1), max(numbers // (2 * width), 1)
        self.tile = self.backend.jit(self._tile)
        moved = float(xp.sum(xp.astype(self.inputs != 0, x.dtype)))
        self.map = self.backend.map if moved * self.z.shape[1] * width > WORTH_A_THREAD * x.shape[0] else map

    def gradients(self, on_progress: Callable[[int], Any]) -> dict[str, Found]:
        xp, (inputs, units), samples = self.xp, self.steps.shape, self.z.shape[0]
        changes, crossed = [], []
        for some in _slices(units, max(self.in_front // inputs, 1)):
            shares = list(_slices(samples, -(-samples // (SHARES * self.backend.workers))))
            parts = self.map(partial(self._of_units, some), shares)
            change = count = 0
            for share, part in zip(shares, parts, strict=True):
                change, count = change + part[0], count + part[1]
                on_progress(2 * (share.stop - share.start) * prod(part[0].shape))
            changes.append(change)
            crossed.append(count)
        gradient = xp.concat(changes, axis=1) / (2 * self.steps)
        if self.tail.loss.reduction == "mean":
            gradient = gradient / (samples if self.weight is None else xp.sum(self.weight))
        marks = xp.concat(crossed, axis=1) > 0 if self.kinks else None
        return {
            self.W: Found(gradient[:-1, :], None if marks is None else marks[:-1, :]),
            self.b: Found(gradient[-1, :], None if marks is None else marks[-1, :]),
        }

    def _of_units(self, units: slice, share: slice) -> tuple[Array, Array]:
        """How much the losses of some samples change from x - h to x + h, and how often a kink is crossed: (I, J)."""
        total, crossed = self._nothing(self.steps[:, units].shape), self._nothing(self.steps[:, units].shape)
        for samples in _slices(share.stop, max(self.behind // prod(total.shape), 1), share.start):
            matter, used = self._chosen(self.inputs[samples, :], axes=0, axis=1)
            steps, again = self.xp.matrix_transpose(self._take(self.steps[:, units], matter, 0)), None
            if self.even and used.shape[0] == 1 and matter is not None:
                values, again = self.xp.unique_inverse(used[0, :])  # inputs that are equal move a loss equally
                used, steps = values[None, :], steps[:, : values.shape[0]]
            here = self.z[samples, units], self.out[samples, units], self.y[samples, :], self.t[samples, :]
            weight = None if self.weight is None else self.weight[samples]
            parts = [
                self.tile(*here, weight, self.mix[units, :], used[:, some], steps[:, some])
                for some in _slices(used.shape[1], self.behind)
            ]
            change, cross = (
                self.xp.matrix_transpose(self.xp.concat(part, axis=1)) for part in zip(*parts, strict=True)
            )
            change, cross = self._take(change, again, 0), self._take(cross, again, 0)
            total = self._add(total, matter, change)
            crossed = self._add(crossed, matter, cross) if self.kinks else crossed
        return total, crossed

    def _tile(
        self, z: Array, out: Array, y: Array, t: Array, weight: Array, mix: Array, inputs: Array, steps: Array
    ) -> tuple[Array, Array]:
        """The same (J, I) for z, out (B, J), y, t (B, C), weight (B,) or None, mix (J, C), inputs (B, I), steps (J, I).

        Columns z are moved, and become ``out`` and, through ``mix``, part of y.
        """
        move = inputs[:, None, :] * steps[None, :, :]
        column = z[:, :, None] + self.xp.stack([move, -move])  # (2, B, J, I)
        change, crossed = self.xp.zeros_like(steps), self.xp.zeros_like(steps)
        for part in self.alone:
            crossed, column = self._through(crossed, part, column, None, (0,))
        matter, moved = self._chosen(column - out[:, :, None], axes=(0, 1, 3), axis=2)
        if prod(moved.shape) == 0:
            return change, crossed
        mix = self._take(mix, matter, 0)
        parts = [
            self._change(y, t, weight, mix[some, :], moved[:, :, some, :])
            for some in _slices(mix.shape[0], max(self.behind // prod(inputs.shape), 1))
        ]
        found, cross = (self.xp.concat(part, axis=0) for part in zip(*parts, strict=True))
        return self._add(change, matter, found), self._add(crossed, matter, cross) if self.kinks else crossed

    def _change(self, y: Array, t: Array, weight: Array, mix: Array, moved: Array) -> tuple[Array, Array]:
        """The same where outputs move by ``moved`` (2, B, J, I)."""
        xp, loss, (_, n, units, inputs) = self.xp, self.tail.loss, moved.shape
        y, t = (a[None, :, None, None, :] for a in (y, t))
        # classes stand before inputs in memory, so that a sum over them adds long rows
        d = xp.matrix_transpose(mix[:, :, None] * moved[:, :, :, None, :])
        crossed = xp.zeros_like(moved[0, 0, ...])
        if not self.rest and goes_with_forward(loss, "per_sample_difference") and self._small(moved):
            losses = loss.per_sample_difference(y, d, t)
        else:
            d += y
            rows = xp.reshape(d, (2 * n * units * inputs, -1)) if self.rest else d  # each copy a sample
            for part in self.rest:
                crossed, rows = self._through(crossed, part, rows, (2, n, units, inputs, -1), (0, 3))
            losses = loss.per_sample(xp.reshape(rows, (2, n, units, inputs, -1)) if self.rest else d, t)
        change = losses[0, ...] - losses[1, ...]
        return xp.sum(change if weight is None else change * weight[:, None, None], axis=0), crossed

    def _small(self, moved: Array) -> bool:
        """Whether outputs move by little; where a library traces, there are no values to tell it by."""
        return not traced(moved) and float(self.xp.max(self.xp.abs(moved))) * self.largest_mix < SMALL_MOVE

    def _through(
        self, crossed: Array, part: Part, x: Array, shape: tuple[int, ...] | None, axes: tuple[int, ...]
    ) -> tuple[Array, Array]:
        """What a layer makes of x, and ``crossed`` with how often its units are on both sides of a kink.

        The inputs of kinks are looked at in this shape (2, B, J, I, ...), and counted along these axes.
        """
        sides: Sides = []
        layer = watched(part.layer, sides) if self.kinks else part.layer
        y = layer.predict(part.view(self.tail.params), x)
        for side in sides:
            side = side if shape is None else self.xp.reshape(side, shape)
            crossed += self.xp.sum(self.xp.astype(side[0, ...] != side[1, ...], crossed.dtype), axis=axes)
        return crossed, y

    def _chosen(self, x: Array, axes: Any, axis: int) -> tuple[Array | None, Array]:
        """Where x is not zero throughout ``axes``: the indices along ``axis``, and x there; None, and x, for all."""
        if self.backend.compiles_shapes:
            return None, x
        matters = self.xp.any(x != 0, axis=axes)
        if bool(self.xp.all(matters)):
            return None, x
        (index,) = self.xp.nonzero(matters)
        return index, self._take(x, index, axis)

    def _take(self, x: Array, index: Array | None, axis: int) -> Array:
        return x if index is None else self.xp.take(x, index, axis=axis)

    def _add(self, x: Array, index: Array | None, rows: Array) -> Array:
        """x, consumed, with ``rows`` added to the rows that were chosen."""
        return x + rows if index is None else self.backend.add_rows(x, index, rows)

    def _nothing(self, shape: tuple[int, ...]) -> Array:
        return self.xp.zeros(tuple(shape), dtype=self.z.dtype, device=device(self.z))


def moves_columns(layer: Layer) -> bool:
    """Whether it is an Affine layer, with the forward that is described above."""
    return isinstance(layer, Affine) and type(layer).forward is Affine.forward


def _slices(stop: int, step: int, start: int = 0) -> Iterator[slice]:
    return (slice(k, min(k + step, stop)) for k in range(start, stop, step))
