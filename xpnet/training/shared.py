"""The gradients of a minibatch whose rows several processes share: each computes on its own, and one message adds up.

Each multiplies its loss by the share that its rows have in that of the whole minibatch, before it goes back through the
network. So all that is to be done afterwards is to add up, and layers that mix samples see the right derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from math import prod
from typing import Any

import numpy as np

from xpnet._typing import Array, Params
from xpnet.backends.base import Block, Data
from xpnet.backends.dispatch import dtype_name, namespace
from xpnet.layers.chain import leaves_of
from xpnet.models import Sequential
from xpnet.models.mixed import ValueAndGrad
from xpnet.parallel import Parallel
from xpnet.parallel.minibatch import added_up, shared_minibatch
from xpnet.streams import warn

#: ``gradients(arrays, data, rows, scale=None) -> (loss, gradients by name, new buffers by name)``.
Gradients = Callable[..., tuple[Array, Params, Params]]


def shared_gradients(net: Sequential, parallel: Parallel, value_and_grad: ValueAndGrad, adds: bool) -> Gradients:
    """The function that computes on this process' part of the rows, and returns what all have together, if it adds up.

    ``rows`` are those of the whole minibatch; draws among the arrays are those of this process' rows. The loss is
    scaled on each alike, if it is, so that a gradient that overflows somewhere does so in the sum that all have.
    """

    def gradients(arrays: Params, data: Data, rows: Array, **scaled: Array) -> tuple[Array, Params, Params]:
        xp, count = namespace(data["x"]), rows.shape[0]
        mine = parallel.mine(count)
        own = rows[mine]
        batch = {name: xp.take(samples, own, axis=0) for name, samples in data.items()}
        share = _share(net, data, rows, own, (mine.stop - mine.start) / count)
        with shared_minibatch(parallel, count):
            loss, grads, updates = value_and_grad(arrays, **batch, share=share, **scaled)
        if not adds:
            return loss, grads, updates
        loss, *summed = summed_up(parallel, [loss, *grads.values()])
        return loss, dict(zip(grads, summed, strict=True)), updates

    return gradients


def _share(net: Sequential, data: Data, rows: Array, own: Array, of_rows: float) -> Any:
    """How much the loss of own rows counts in that of all; None if losses are simply added up."""
    if getattr(net.loss_layer, "reduction", "mean") == "sum":
        return None
    if "weight" not in data:
        return of_rows
    xp = namespace(data["weight"])
    whole, part = (xp.sum(xp.astype(xp.take(data["weight"], some, axis=0), net.dtype)) for some in (rows, own))
    return part / xp.where(whole == 0, xp.ones_like(whole), whole)


def summed_up(parallel: Parallel, parts: list[Array]) -> list[Array]:
    """The sums over all processes of some arrays: one message, or one for each dtype that there is."""
    kinds: dict[str, list[int]] = {}
    for i, part in enumerate(parts):
        kinds.setdefault(dtype_name(part.dtype), []).append(i)
    found: dict[int, Array] = {}
    for places in kinds.values():
        xp = namespace(parts[places[0]])
        flat = added_up(parallel, xp.concat([xp.reshape(parts[i], (-1,)) for i in places]))
        ends = accumulate((prod(parts[i].shape) for i in places), initial=0)
        for i, (start, end) in zip(places, pairwise(ends), strict=True):
            found[i] = xp.reshape(flat[start:end], parts[i].shape)
    return [found[i] for i in range(len(parts))]


def warn_of_mixing(net: Sequential, stacklevel: int) -> None:
    """Warn of layers of the user's own that may mix samples: each process would mix those of its own rows alone."""
    for name, layer in leaves_of(net.chain, ""):
        if layer.acts_on == "batch" and not type(layer).__module__.startswith("xpnet."):
            warn(
                f"{name.removeprefix('.')} does not say that it keeps samples apart, by acts_on = 'sample' or "
                "'element'; if it mixes those of a minibatch, several processes train otherwise than one, unless it "
                "takes its sums from xpnet.parallel.minibatch, as BatchNorm does",
                stacklevel=stacklevel + 1,
            )


def names_by_sample(net: Sequential, shape: tuple[int, ...]) -> set[str]:
    """Which draws have a part for each sample of this shape (...), so that each process needs that of its own rows.

    Raises:
        ValueError: it cannot be told from their shapes.
    """
    two, three = (net.draws(np.random.default_rng(0), (n, *shape)) for n in (2, 3))
    found = set()
    for name in two:
        a, b = two[name].shape, three[name].shape
        if (a[:1], b[:1], a[1:]) == ((2,), (3,), b[1:]):
            found.add(name)
        elif a != b:
            raise ValueError(
                f"the draws {name!r} have shape {a} for two samples and {b} for three; processes share out what has a "
                "part for each sample, (N, ...), and what is the same for all"
            )
    return found


def own_draws(block: Block, mine: slice, by_sample: set[str]) -> Block:
    """The block with the draws of these rows of each minibatch; some are of these alone already."""
    (_, rows), own = block.rows.shape, mine.stop - mine.start
    parts = {name: a[:, mine] for name, a in block.draws.items() if name in by_sample and a.shape[1] == rows != own}
    return Block(block.rows, block.draws | parts)
