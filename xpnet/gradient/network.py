"""The numerical gradient of a whole network: every entry of every parameter, from forward passes alone."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Protocol

from xpnet import streams
from xpnet._checks import check_count
from xpnet._typing import Array, Layer, Loss, Params
from xpnet.backends.dispatch import backend_of, device, namespace, widest_floating
from xpnet.gradient.columns import Columns, moves_columns
from xpnet.gradient.numerical import central_difference, check_point, ends, index_of, written
from xpnet.gradient.tail import Found, Tail, differ


class Network(Protocol):
    """What a gradient is taken of: layers in order, and a loss."""

    layers: dict[str, Layer]
    loss_layer: Loss


def parameter_gradients(
    net: Network,
    params: Params,
    x: Array,
    t: Array,
    *,
    h: float | None = None,
    max_bytes: int | None = None,
    kinks: bool = False,
    progress: bool = True,
) -> dict[str, Found]:
    """The numerical gradient of the loss with respect to every parameter, by name.

    Args:
        net: its layers and its loss are used, its own parameters are not.
        params, x, t: parameters, samples (N, ...) and targets; parameters and samples of one dtype.
        h: the step; by default as in :func:`xpnet.gradient.numerical_gradient`.
        max_bytes: about how much memory to take; by default what suits the device.
        kinks: whether to look for kinks, which takes a little longer.
        progress: whether to show a progress bar once it takes longer than a second.
    """
    from tqdm import tqdm

    backend_of(x).check_trains()
    max_bytes = None if max_bytes is None else check_count(max_bytes, "max_bytes")
    for name, p in params.items():
        check_point(p, name)
        ends(namespace(p).reshape(p, (-1,)), h, name, tuple(p.shape))  # raises where a step is too small
    layers = list(net.layers.values())
    found: dict[str, Found] = {}
    evaluations = 2 * x.shape[0] * sum(prod(p.shape) for p in params.values())
    shown: dict[str, Any] = {"delay": 1, "unit": " samples", "unit_scale": True, "disable": not progress}
    bar = streams.bar(tqdm, total=evaluations, **shown)
    with bar:
        bar.set_description("numerical gradient", refresh=False)
        for k, layer in enumerate(layers):
            if layer.shapes:
                tail = Tail(layers[k:], net.loss_layer, params, x, t)
                if moves_columns(layer) and tail.samples_apart:
                    found |= Columns(tail, h, max_bytes, kinks).gradients(bar.update)
                else:
                    found |= _by_entry(tail, h, kinks, bar.update)
                for name in layer.shapes:
                    _check_finite(name, found[name].gradient)
            x, _ = layer.forward(params, x)
    return {name: found[name] for name in params}


def _check_finite(name: str, gradient: Array) -> None:
    xp = namespace(gradient)
    finite = xp.isfinite(gradient)
    if not bool(xp.all(finite)):
        i = int(xp.argmin(xp.reshape(xp.astype(finite, xp.int32), (-1,))))
        entry = written(index_of(i, tuple(gradient.shape)))
        raise ValueError(
            f"the loss is not finite where entry {entry} of {name} is moved; there is no gradient to be had"
        )


def widened(params: Params, x: Array) -> tuple[Params, Array]:
    """Parameters and samples in float64, or in what the library has on their device."""
    wide = widest_floating(x)
    return {name: namespace(p).astype(p, wide) for name, p in params.items()}, namespace(x).astype(x, wide)


def _by_entry(tail: Tail, h: float | None, kinks: bool, on_progress: Callable[[int], Any]) -> dict[str, Found]:
    """Gradients of any layer, with all that is behind it computed for each entry."""
    found = {}
    for name in tail.layers[0].shapes:

        def value(moved: Array, name: str = name) -> Array:
            on_progress(tail.x.shape[0])
            return tail.value(tail.params | {name: moved})[0]

        gradient, _ = central_difference(value, tail.params[name], h)
        found[name] = Found(gradient, _crossed(tail, name, h) if kinks else None)
    return found


def _crossed(tail: Tail, name: str, h: float | None) -> Array:
    """Where moving an entry of a parameter takes some unit over a kink."""
    p = tail.params[name]
    xp, put = namespace(p), backend_of(p).put
    flat = xp.reshape(p, (-1,))
    both, marks = ends(flat, h, name, tuple(p.shape)), []
    for i in range(flat.shape[0]):
        here = slice(i, i + 1)
        moved = (xp.reshape(put(xp.asarray(flat, copy=True), here, end[here]), p.shape) for end in both)
        marks.append(differ(*(tail.value(tail.params | {name: m})[1] for m in moved)))
    return xp.reshape(xp.asarray(marks, device=device(p)), p.shape)
