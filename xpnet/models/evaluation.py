"""How good a network is on samples: loss and accuracy in one pass, in parts that stay in cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from xpnet._typing import Array, Loss, Params
from xpnet.backends.dispatch import dtype_name, namespace
from xpnet.parallel import ALONE, Parallel

#: ``judged(params, x, t, weight) -> {...}``; see :func:`judge`.
Judge = Callable[..., dict[str, Array]]

#: The share of a tile's memory that the samples of a part may take as floating-point numbers: one half, as what layers
#: make of them takes memory too.
SHARE = 2
#: The share that scores may take whose loss one thread computes together, in several arrays of their size. Threads wait
#: for Python's lock between short calls: on 60,000 digits two threads took 0.67 of the time of one where each part was
#: judged by itself, and take 0.58.
SHARE_OF_SCORES = 8


def judge(forward: Callable[[Params, Array], Array], loss: Loss, classes: bool) -> Judge:
    """The pure function that looks at some samples, and returns 0-d arrays by name.

    ``loss`` of these samples, ``weight``, the sum of their weights if they have any; and where outputs are classes
    ``hits``, how many are right, of how many that were ``seen``, and ``named``, whether targets do name classes.

    Args:
        forward: scores of samples x with these parameters.
        loss: the network's.
        classes: whether its outputs stand for classes.
    """
    tells = getattr(loss, "names_classes", None)

    def judged(params: Params, x: Array, t: Array, weight: Array = None) -> dict[str, Array]:
        scores = forward(params, x)
        xp, found = namespace(scores), {}
        if weight is None:
            found["loss"] = loss.forward(scores, t)[0]
        else:
            found["loss"], found["weight"] = loss.forward(scores, t, weight)[0], xp.sum(weight)
        named = classes and (tells is None or tells(scores, t))
        if named is False:
            return found
        hits = loss.hits(scores, t)
        found["hits"] = xp.sum(xp.astype(hits, xp.int32), dtype=xp.int32)
        found["seen"] = xp.sum(xp.ones_like(hits, dtype=xp.int32), dtype=xp.int32)
        return found if named is True else found | {"named": named}

    return judged


def in_parts(net: Any) -> Callable[[Params, Array], Array]:
    """``net.forward`` of as many samples at a time as stay in cache; the arrays of the network are not needed."""
    lengths: dict[tuple[int, ...], int] = {}

    def forward(params: Params, x: Array) -> Array:
        n, shape = x.shape[0], tuple(x.shape[1:])
        if shape not in lengths:
            lengths[shape] = _together(net, shape)
        length = lengths[shape]
        if net.backend.in_chunks or n <= length:
            return net.forward(params, x)
        parts = [net.forward(params, x[start : start + length, ...]) for start in range(0, n, length)]
        return namespace(parts[0]).concat(parts, axis=0)

    return forward


@dataclass(frozen=True)
class Parts:
    """How samples are looked at.

    Attributes:
        slices: the parts, of two sizes at most, as each may be compiled.
        mine: those of this process.
        threads: how many to multiply on, or None.
        apart: whether each of them takes parts of its own.
    """

    slices: list[slice]
    mine: list[slice]
    threads: int | None
    apart: bool


def parts_of(net: Any, x: Array, asked: int | None = None, parallel: Parallel = ALONE) -> Parts:
    """Parts of samples x (N, ...), for processes that look at some each, on at most ``asked`` threads.

    Several threads take a part each, where the backend has them do so, and need not wait for each other; elsewhere they
    share the products of one part.
    """
    backend, n, shape = net.backend, x.shape[0], tuple(x.shape[1:])
    count = 1 if backend.in_chunks else -(-n // _together(net, shape))
    threads = net.threads_for((n if backend.workers > 1 else -(-n // count), *shape), asked)
    apart = threads is not None and threads > 1 and count > 1 and backend.workers > 1
    if apart and threads is not None:
        count = min(count, -(-n // (threads * _scored(net, x))) * threads)
    count = min(n, -(-count // parallel.size) * parallel.size)
    slices = [slice(start, end) for start, end in pairwise(n * k // count for k in range(count + 1))]
    return Parts(slices, slices[parallel.mine(count)], threads, apart)


def evaluate(
    judged: Judge, net: Any, params: Params, data: tuple[Array, ...], parts: Parts, parallel: Parallel = ALONE
) -> tuple[float, float | None]:
    """The loss of samples, and the share of right classes or None where there are none.

    Args:
        judged: what :func:`judge` made for this network, compiled perhaps.
        net: the network.
        params: parameters and buffers by name.
        data: x, t, and perhaps a weight of each sample.
        parts: what :func:`parts_of` says of x.
        parallel: the processes that look at some parts each, and are told the same.
    """
    backend = net.backend
    with net.on_threads(1 if parts.apart else parts.threads):
        if len(parts.slices) == 1:
            found = [judged(params, *data)] if parts.mine else []
        else:
            several = backend.workers > 1
            each = partial(backend.map, workers=parts.threads if parts.apart else 1) if several else backend.map
            found = list(each(lambda rows: judged(params, *(samples[rows, ...] for samples in data)), parts.mine))
    found = backend.computed(found)
    names = set.intersection(*map(set, found)) if found else set()
    own = {name: _numbers(backend, [part[name] for part in found]) for name in names}
    host = _side_by_side(parallel.gather(own))
    sizes = [rows.stop - rows.start for rows in parts.slices]
    total = total_loss(host["loss"], host.get("weight"), sizes, net.loss_layer)
    named = "hits" in host and all(host.get("named", [True]))
    return total, sum(host["hits"]) / sum(host["seen"]) if named else None


def _numbers(backend: Any, arrays: list[Array]) -> list[Any]:
    """0-d arrays as Python's numbers."""
    if len(arrays) == 1:
        return [backend.to_numpy(arrays[0]).tolist()]
    found: list[Any] = backend.read_together(arrays).tolist()
    return found


def _side_by_side(found: list[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """What the processes found of their parts, those that had one, as of all parts."""
    there = [each for each in found if each]
    return {name: [value for each in there for value in each[name]] for name in set.intersection(*map(set, there))}


def _scored(net: Any, x: Array) -> int:
    """Of how many samples one thread computes the loss together."""
    _, *scores = net.scores_shape(x)
    of_one = prod(scores) * np.dtype(dtype_name(net.dtype)).itemsize
    return int(max(_together(net, tuple(x.shape[1:])), net.backend.tile_bytes // (SHARE_OF_SCORES * of_one)))


def _together(net: Any, shape: tuple[int, ...]) -> int:
    """How many samples of this shape (...) to look at together, so that they stay in cache."""
    a_sample = prod(shape) * np.dtype(dtype_name(net.dtype)).itemsize
    return max(1, min(int(net.chunk(shape)), int(net.backend.tile_bytes) // (SHARE * max(1, a_sample))))


def total_loss(losses: list[float], weights: list[float] | None, sizes: list[int], loss: Loss) -> float:
    """The loss of all samples, of those of parts of so many samples, and the sums of their weights if they have any."""
    if getattr(loss, "reduction", "mean") == "sum":
        return sum(losses)
    shares = sizes if weights is None else weights
    whole = sum(shares)
    return sum(each * (share / whole) for each, share in zip(losses, shares, strict=True)) if whole else 0.0
