"""How large the products of matrices in a network are, by which threads are chosen."""

from __future__ import annotations

from math import prod

from xpnet.layers import Chain
from xpnet.layers.base import shapes_of
from xpnet.layers.branches import Wrapped
from xpnet.layers.chain import Several
from xpnet.models.summary import Line, lines


def largest_product(chain: Chain, shape: tuple[int, ...]) -> int:
    """About how many multiplications the largest product of matrices takes, for one sample of this shape.

    It is 0 for a shape that does not fit, which is for the layers to say, as they compute.
    """
    try:
        return max(map(_multiplications, lines(chain, shape, 0, "")), default=0)
    except Exception:  # layers of others may raise anything
        return 0


def _multiplications(line: Line) -> int:
    """Those of the largest product in a layer; layers in a container have lines of their own."""
    inner = line.layer
    while isinstance(inner, Wrapped):
        inner = inner.inner
    if isinstance(inner, Several) or inner.takes == "integers":
        return 0
    shapes = list(shapes_of(line.layer).values())
    largest = max((prod(shape) for shape in shapes if len(shape) > 1), default=0)
    units = max((shape[0] for shape in shapes if len(shape) == 1), default=0)
    # a layer with fewer biases than outputs takes the product at several places: time steps, or places of an image
    places = prod(line.behind) // units if units and line.behind is not None else 1
    return largest * max(places, 1)
