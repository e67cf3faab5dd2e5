"""Where the arrays of a layer stand in a network, however deep the layer does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from xpnet.layers.base import Layer
from xpnet.layers.branches import Wrapped
from xpnet.layers.chain import Several


class Leaf(NamedTuple):
    """A layer that is no container of xpnet's, in its place.

    Attributes:
        path: ``Residual1.Affine2``.
        layer: the layer.
        outside: the name in the network of each of its parameters and buffers: ``{"W": "Residual1.W2", ...}``.
    """

    path: str
    layer: Layer
    outside: dict[str, str]


def leaves(container: Several) -> list[Leaf]:
    """Every layer in this one in order; a container of somebody else's is one, as it may name its arrays as it likes.

    >>> from xpnet.layers import Affine, Chain, ReLU, Residual
    >>> chain = Chain(Affine(4, 3), Residual(Chain(ReLU(), Affine(3, 3))))
    >>> [(leaf.path, leaf.outside) for leaf in leaves(chain) if leaf.outside][-1]
    ('Residual1.Affine1', {'W': 'Residual1.W1', 'b': 'Residual1.b1'})
    """
    names = {name for part in container.parts for name in part.outside.values()}
    return list(_inside(container, "", {name: name for name in names}))


def _inside(layer: Layer, path: str, outside: dict[str, str]) -> Iterator[Leaf]:
    if isinstance(layer, Several):
        for part in layer.parts:
            inner = {local: outside[name] for local, name in part.outside.items()}
            yield from _inside(part.layer, f"{path}.{part.name}".lstrip("."), inner)
    elif isinstance(layer, Wrapped):
        yield from _inside(layer.inner, path, outside)
    else:
        yield Leaf(path, layer, outside)
