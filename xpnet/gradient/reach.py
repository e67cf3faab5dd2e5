"""How far an entry of a layer's input reaches in its output: what its class says, or what trying shows."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import backend_of, dtype_name, namespace
from xpnet.initializers import generator
from xpnet.layers.base import Container, Layer

#: What makes the output: ``apply`` is the forward of layers whose way back is the graph's.
MAKERS = ("forward", "apply")
#: Two results differ by no more than rounding if they are this many spacings of the dtype apart, or fewer.
SPACINGS = 1000
#: What stands in the place of the others is this much larger than N(0, 1), so that their mean and maximum are others.
LARGE = 10.0


def acts_on(layer: Layer) -> str:
    """What a layer says of itself; see :class:`xpnet.layers.Layer`.

    A ``forward`` that somebody put in the place of one of xpnet's is believed to keep to it only if its class says so.
    """
    if isinstance(layer, Container):
        return max((layer.acts_on, *map(acts_on, layer.children)), key=("element", "sample", "batch").index)
    return layer.acts_on if _says(layer) else "batch"


def reach(layer: Layer, params: Params, x: Array) -> str:
    """The same for this input; where a layer, or one inside it, does not say, it is found out by trying.

    It is tried with some entries of x among large numbers at random, in another order and shape. An output that is the
    same for them, but for rounding, does not depend on the others. A layer that mixes them now and then, from some
    threshold on for example, has to say so: ``acts_on = "batch"``.
    """
    said = acts_on(layer)
    if said != "batch" or not _is_silent(layer) or layer.is_random:
        return said
    try:
        return _tried(layer, params, x)
    except Exception:  # it was not made for what it is tried on, whatever it raises
        return said


def goes_with_forward(subject: Any, name: str) -> bool:
    """Whether a method is there, and speaks of the ``forward`` that runs, not of one that a subclass replaced."""
    owner = _owner(subject, name)
    makers = [found for maker in MAKERS if (found := _owner(subject, maker)) is not None]
    return owner is not None and bool(makers) and all(issubclass(owner, maker) for maker in makers)


def _owner(subject: Any, name: str) -> type | None:
    """The class that a name of an object comes from."""
    return next((kind for kind in type(subject).__mro__ if name in vars(kind)), None)


def _says(layer: Layer) -> bool:
    ours = all(owner.__module__.startswith("xpnet.layers") for maker in MAKERS if (owner := _owner(layer, maker)))
    return _owner(layer, "acts_on") is not Layer and (ours or goes_with_forward(layer, "acts_on"))


def _is_silent(layer: Layer) -> bool:
    """Whether it, or a layer inside it, does not say how far its input reaches."""
    return any(map(_is_silent, layer.children)) if isinstance(layer, Container) else not _says(layer)


def _tried(layer: Layer, params: Params, x: Array) -> str:
    xp, rng = namespace(x), generator(0)
    if not xp.isdtype(x.dtype, "real floating"):
        return "batch"
    y = layer.predict(params, x)
    if y.shape[0] != x.shape[0]:
        return "batch"
    if y.shape == x.shape and not params and _is_elementwise(layer, x, y, rng):
        return "element"
    return "sample" if _keeps(lambda a: layer.predict(params, a), x, y, rng) else "batch"


def _is_elementwise(layer: Layer, x: Array, y: Array, rng: Any) -> bool:
    xp = namespace(x)

    def function(a: Array) -> Array:  # four entries, or twice as many as were kept, in shapes that x cannot have twice
        return layer.predict({}, xp.reshape(a, (2, 2, 1, 1) if a.shape[0] == 4 else (1, -1, 1, 2)))

    try:
        return _keeps(function, xp.reshape(x, (-1,)), xp.reshape(y, (-1,)), rng)
    except Exception:  # it takes no other shapes
        return False


def _keeps(function: Callable[[Array], Array], x: Array, y: Array, rng: Any) -> bool:
    """Whether each row of x becomes the row of y that it became, whatever the other rows are, and how many."""
    xp, move, n = namespace(x), backend_of(x).asarray, x.shape[0]
    scale = float(xp.max(xp.abs(y)))
    allowed = SPACINGS * float(xp.finfo(x.dtype).eps) * scale
    for start in (0, 1):
        kept = move(rng.permutation(n)[: (n + 1) // 2] if start == 0 else rng.permutation(n)[:1])
        count = int(kept.shape[0])
        others = move(LARGE * rng.standard_normal((count + 2 * start, *x.shape[1:])), dtype_name(x.dtype))
        mixed = xp.concat([xp.take(x, kept, axis=0), others])
        order = rng.permutation(int(mixed.shape[0]))
        place = order.argsort()[:count]
        z = function(xp.take(mixed, move(order), axis=0))
        if prod(z.shape) * prod(y.shape[1:]) == 0 or prod(z.shape) != int(mixed.shape[0]) * prod(y.shape[1:]):
            return False
        found = xp.take(xp.reshape(z, (-1, *y.shape[1:])), move(place), axis=0)
        if not bool(xp.all(xp.abs(found - xp.take(y, kept, axis=0)) <= allowed)):
            return False
    return True
