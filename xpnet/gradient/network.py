"""The numerical gradient of a whole network: every entry of every parameter, from forward passes alone."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from xpnet import streams
from xpnet._checks import check_count
from xpnet._typing import Array, Loss, Params
from xpnet.backends.dispatch import backend_of, device, namespace, widest_floating
from xpnet.gradient.columns import Columns, moves_columns
from xpnet.gradient.numerical import central_difference, check_point, ends, index_of, written
from xpnet.gradient.tail import Found, Sides, Tail, differ
from xpnet.layers import Chain


def parameter_gradients(
    chain: Chain,
    loss: Loss,
    params: Params,
    x: Array,
    t: Array,
    *,
    weight: Array = None,
    h: float | None = None,
    max_bytes: int | None = None,
    kinks: bool = False,
    progress: bool = True,
) -> dict[str, Found]:
    """The numerical gradient of the loss with respect to every parameter, by name.

    Args:
        chain, loss: the layers and the loss of a network.
        params: parameters and buffers by name; gradients are of the parameters.
        x, t: samples (N, ...), in the dtype of the parameters or integers, and targets.
        weight: a weight for each sample, (N,), or None.
        h: the step; by default as in :func:`xpnet.gradient.numerical_gradient`.
        max_bytes: about how much memory to take; by default what suits the device.
        kinks: whether to look for kinks, which takes a little longer.
        progress: whether to show a progress bar once it takes longer than a second.
    """
    from tqdm import tqdm

    backend_of(x).check_trains()
    max_bytes = None if max_bytes is None else check_count(max_bytes, "max_bytes")
    wanted = {name: params[name] for part in chain.parts for name in part.shapes}
    for name, p in wanted.items():
        check_point(p, name)
        ends(namespace(p).reshape(p, (-1,)), h, name, tuple(p.shape))  # raises where a step is too small
    found: dict[str, Found] = {}
    evaluations = 2 * x.shape[0] * sum(prod(p.shape) for p in wanted.values())
    shown: dict[str, Any] = {"delay": 1, "unit": " samples", "unit_scale": True, "disable": not progress}
    bar = streams.bar(tqdm, total=evaluations, **shown)
    with bar:
        bar.set_description("numerical gradient", refresh=False)
        for k, part in enumerate(chain.parts):
            if part.shapes:
                tail = Tail(chain.parts[k:], loss, params, x, t, weight)
                if moves_columns(part.layer) and tail.samples_apart:
                    found |= Columns(tail, h, max_bytes, kinks).gradients(bar.update)
                else:
                    found |= _by_entry(tail, h, kinks, bar.update)
                for name in part.shapes:
                    _check_finite(name, found[name].gradient)
            x = part.layer.predict(part.view(params), x)
    return {name: found[name] for name in wanted}


def _check_finite(name: str, gradient: Array) -> None:
    xp = namespace(gradient)
    finite = xp.isfinite(gradient)
    if not bool(xp.all(finite)):
        i = int(xp.argmin(xp.reshape(xp.astype(finite, xp.int32), (-1,))))
        entry = written(index_of(i, tuple(gradient.shape)))
        raise ValueError(
            f"the loss is not finite where entry {entry} of {name} is moved; there is no gradient to be had"
        )


def widened(params: Params, *samples: Array) -> tuple[Any, ...]:
    """Parameters, and arrays of samples, in float64 or what the library has on their device; integers stay so."""
    wide, xp = widest_floating(samples[0]), namespace(samples[0])
    floating = (xp.astype(x, wide) if xp.isdtype(x.dtype, "real floating") else x for x in samples)
    return {name: xp.astype(p, wide) for name, p in params.items()}, *floating


def _by_entry(tail: Tail, h: float | None, kinks: bool, on_progress: Callable[[int], Any]) -> dict[str, Found]:
    """Gradients of any layer, with all that is behind it computed for each entry."""
    found = {}
    for name in tail.parts[0].shapes:

        def value(moved: Array, name: str = name) -> Array:
            on_progress(tail.x.shape[0])
            return tail.value(tail.params | {name: moved})[0]

        def sides_at(moved: Array, name: str = name) -> Sides:
            return tail.value(tail.params | {name: moved})[1]

        p = tail.params[name]
        gradient, _ = central_difference(value, p, h)
        found[name] = Found(gradient, crossed_kinks(p, name, sides_at, h) if kinks else None)
    return found


def crossed_kinks(p: Array, name: str, sides_at: Callable[[Array], Sides], h: float | None) -> Array:
    """Where moving an entry of an array takes some unit over a kink; ``sides_at`` gives the sides for a moved array."""
    xp, put = namespace(p), backend_of(p).put
    flat = xp.reshape(p, (-1,))
    both, marks = ends(flat, h, name, tuple(p.shape)), []
    for i in range(flat.shape[0]):
        here = slice(i, i + 1)
        moved = (xp.reshape(put(xp.asarray(flat, copy=True), here, end[here]), p.shape) for end in both)
        marks.append(differ(*(sides_at(m) for m in moved)))
    return xp.reshape(xp.asarray(marks, device=device(p)), p.shape)
