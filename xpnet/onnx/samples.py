"""What samples look like: their shape, as it was given or as layers say it, and which layers compute first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpnet._checks import check_count
from xpnet.layers import Affine, BatchNorm, Chain, Container, Dropout, Flatten, Identity, Layer, LayerNorm, Reshape
from xpnet.layers.base import Shape, shapes_of
from xpnet.layers.branches import Parallel, Residual

#: Axes of a file: lengths, and names of those that may be of any.
Axes = tuple[int | str, ...]
#: What free axes of samples are called, by how many axes there are.
NAMES = {1: "L", 2: "TL", 3: "CHW"}
#: Lengths that are tried where any shall be right, until two of them are.
LENGTHS = (8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256)


def shapes_and_axes(net: Any, given: Any) -> tuple[tuple[tuple[int, ...], ...], Axes]:
    """The shapes that a sample may have, one, or two where some lengths are free; and its axes.

    Raises:
        ValueError: a shape that does not fit, or none where layers do not say it.
    """
    if given is None:
        shape = net.input_shape or said_shape(net.chain)
        if shape is not None and _fits(net, shape):
            return (shape,), shape
        first = next(iter(net.layers))
        raise ValueError(
            f"the layers do not say what shape a sample has, {first} takes more than one; give it without the axis of "
            "samples: input_shape=(1, 28, 28), for example"
        )
    if not isinstance(given, list | tuple):
        raise ValueError(f"input_shape is {given!r}, expected that of one sample: (784,) or (1, 28, 28), for example")
    lengths = [
        None if length is None else check_count(length, f"input_shape[{i}]", example="or None for any length")
        for i, length in enumerate(given)
    ]
    if None not in lengths:
        fixed = _filled(lengths, 0)
        net.output_shape(fixed)
        return (fixed,), fixed
    names = NAMES.get(len(lengths), [f"L{i}" for i in range(len(lengths))])
    axes = tuple(name if length is None else length for name, length in zip(names, lengths, strict=True))
    fitting = [shape for shape in (_filled(lengths, length) for length in LENGTHS) if _fits(net, shape)]
    if len(fitting) < 2:
        raise ValueError(
            f"input_shape is {given!r}, None being any length, and of samples of {LENGTHS[0]} to {LENGTHS[-1]} the "
            f"network takes {fitting[0] if fitting else 'none'}; give the length"
        )
    return tuple(fitting[:2]), axes


def named_alike(ends: Sequence[Any], shapes: Sequence[Any], axes: Axes) -> Axes:
    """The axes of results, of their shapes: free ones are called as those of samples that are always as long."""
    names = dict(zip(zip(*shapes, strict=True), axes, strict=True))
    return tuple(
        lengths[0] if len({*lengths}) == 1 else names.get(lengths, f"M{i}")
        for i, lengths in enumerate(zip(*ends, strict=True))
    )


def _filled(shape: Sequence[int | None], length: int) -> tuple[int, ...]:
    """A shape with this length where there is none, and a larger one where there is none again."""
    free = [i for i, given in enumerate(shape) if given is None]
    return tuple(length + free.index(i) if given is None else given for i, given in enumerate(shape))


def _fits(net: Any, shape: tuple[int, ...]) -> bool:
    try:
        net.output_shape(shape)
    except ValueError:
        return False
    return True


def said_shape(layer: Layer) -> Shape:
    """The shape of one sample of the input, as far as a layer, or one behind it, says it; else None."""
    match layer:
        case Chain():
            for each in layer.layers:
                shape = said_shape(each)
                if shape is not None or each.acts_on != "element":
                    return shape
            return None
        case Parallel():
            return next((shape for shape in map(said_shape, layer.layers) if shape is not None), None)
        case Residual():
            return said_shape(layer.inner)
        case Affine():
            return (layer.n_in,)
        case BatchNorm() | LayerNorm():
            return shapes_of(layer)["gamma"]
        case _:
            return None


def beginnings(layer: Layer) -> list[Layer | None]:
    """The first layers that do more than to give samples another shape, one of each branch; None if there is none."""
    match layer:
        case Chain():
            found = (beginnings(each) for each in layer.layers)
            return next((each for each in found if each.count(None) < len(each)), [None])
        case Parallel():
            return [each for branch in layer.layers for each in beginnings(branch)]
        case Container():
            return beginnings(layer.children[0])
        case _:
            return [None if isinstance(layer, Dropout | Flatten | Identity | Reshape) else layer]
