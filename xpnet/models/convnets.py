"""Networks of convolutions that have a name: the two of the book, and a small residual network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from xpnet._checks import check_count
from xpnet.initializers import Initializer
from xpnet.layers import (
    Add,
    Affine,
    BatchNorm,
    Chain,
    Conv2d,
    Dropout,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Residual,
)
from xpnet.models.network import Sequential

#: What the book says of a convolution, and what it means where it says nothing.
CONV_PARAM = {"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1}


class SimpleConvNet(Sequential):
    """The book's network of one convolution: Conv, ReLU, Pool, Affine, ReLU, Affine, and softmax with cross-entropy.

    Images are (N, C, H, W); the pool takes the largest of each 2 by 2 places.

    Args:
        input_dim: the shape of an image, (C, H, W).
        conv_param: ``filter_num``, ``filter_size``, ``pad`` and ``stride`` of the convolution, as far as they are not
            ``{"filter_num": 30, "filter_size": 5, "pad": 0, "stride": 1}``.
        hidden_size, output_size: how many hidden units and classes.
        weight_init_std: the standard deviation of the initial weights, the name of an initializer, or an initializer.
        seed, dtype, backend, device: see :class:`Sequential`.

    Raises:
        ValueError: a number out of range, a name that conv_param does not know, or an image too small.

    >>> net = SimpleConvNet(seed=0)
    >>> {name: p.shape for name, p in net.params.items() if name.startswith("W")}
    {'W1': (30, 1, 5, 5), 'W2': (4320, 100), 'W3': (100, 10)}
    """

    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        conv_param: Mapping[str, int] | None = None,
        hidden_size: int = 100,
        output_size: int = 10,
        weight_init_std: str | float | Initializer = 0.01,
        **options: Any,
    ) -> None:
        shape = _image_shape(input_dim)
        front: list[Layer] = [_convolution(shape[0], conv_param, "conv_param", CONV_PARAM), ReLU(), MaxPool2d(2)]
        behind = [_affine(front, shape, hidden_size), ReLU(), Affine(hidden_size, output_size)]
        super().__init__([*front, *behind], weight_init=weight_init_std, **options)
        self.input_shape = shape


class DeepConvNet(Sequential):
    """The book's deep network: six convolutions of 3 by 3, a pool behind each pair of them, and two Affine.

    Conv, ReLU, Conv, ReLU, Pool, three times, with 16, 32 and 64 filters; Affine, ReLU, Dropout, Affine, Dropout, and
    softmax with cross-entropy. Weights start from N(0, 2/I). Images are (N, C, H, W).

    Args:
        input_dim: the shape of an image, (C, H, W).
        conv_param_1, ..., conv_param_6: ``filter_num``, ``filter_size``, ``pad`` and ``stride`` of each convolution, as
            far as they are others than the book's: 3 by 3, pad 1 (2 in the fourth), stride 1.
        hidden_size, output_size: how many hidden units and classes.
        dropout: the share that is left out in each training step, behind both Affine.
        weight_init, seed, dtype, backend, device: see :class:`Sequential`.

    Raises:
        ValueError: a number out of range, a name that a conv_param does not know, or an image too small.

    >>> net = DeepConvNet(seed=0)
    >>> list(net.layers)[-5:], net.params["W7"].shape
    (['Affine1', 'Relu7', 'Dropout1', 'Affine2', 'Dropout2'], (1024, 50))
    """

    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        conv_param_1: Mapping[str, int] | None = None,
        conv_param_2: Mapping[str, int] | None = None,
        conv_param_3: Mapping[str, int] | None = None,
        conv_param_4: Mapping[str, int] | None = None,
        conv_param_5: Mapping[str, int] | None = None,
        conv_param_6: Mapping[str, int] | None = None,
        hidden_size: int = 50,
        output_size: int = 10,
        *,
        dropout: float = 0.5,
        weight_init: str | float | Initializer = "he",
        **options: Any,
    ) -> None:
        shape = _image_shape(input_dim)
        given = (conv_param_1, conv_param_2, conv_param_3, conv_param_4, conv_param_5, conv_param_6)
        channels, front = shape[0], list[Layer]()
        for i, (param, filters) in enumerate(zip(given, (16, 16, 32, 32, 64, 64), strict=True)):
            usual = {"filter_num": filters, "filter_size": 3, "pad": 2 if i == 3 else 1, "stride": 1}
            layer = _convolution(channels, param, f"conv_param_{i + 1}", usual)
            front += [layer, ReLU(), MaxPool2d(2)] if i % 2 else [layer, ReLU()]
            channels = layer.out_channels
        behind = [_affine(front, shape, hidden_size), ReLU(), Dropout(dropout), Affine(hidden_size, output_size)]
        super().__init__([*front, *behind, Dropout(dropout)], weight_init=weight_init, **options)
        self.input_shape = shape


class ResNet(Sequential):
    """A small residual network: each block adds what its two convolutions make to what it was given.

    A convolution of 3 by 3 with batch normalization and ReLU; for each number of channels so many blocks, of which the
    first halves height and width, but for the first number; the mean over the places of each channel; and Affine. It is
    what He, Zhang, Ren, Sun, "Deep residual learning for image recognition" (2016), section 4.2, have for CIFAR-10, of
    2 + 2 · blocks · len(channels) layers, with their option B where the shape changes: a convolution of 1 by 1 beside
    the block. Their ResNet-20 is ``blocks=3``.

    Args:
        input_dim: the shape of an image, (C, H, W): (3, 32, 32) for CIFAR-10.
        channels: how many channels the blocks have, one number after the other.
        blocks: how many blocks there are of each.
        output_size: how many classes.
        weight_init, seed, dtype, backend, device: see :class:`Sequential`.

    Raises:
        TypeError: channels is one number.
        ValueError: a number out of range.

    >>> net = ResNet((3, 32, 32), seed=0)
    >>> net.output_shape((3, 32, 32)), [name for name in net.layers if name.startswith(("Res", "Add"))]
    ((10,), ['Residual1', 'Add1', 'Add2'])
    """

    def __init__(
        self,
        input_dim: Sequence[int] = (1, 28, 28),
        channels: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        output_size: int = 10,
        *,
        weight_init: str | float | Initializer = "he",
        **options: Any,
    ) -> None:
        shape = _image_shape(input_dim)
        if not isinstance(channels, Sequence):
            raise TypeError(f"channels is {channels!r}, expected a number for each part of the network: [16, 32]")
        if not channels:
            raise ValueError("channels is empty, expected a number for each part of the network: [16, 32]")
        blocks = check_count(blocks, "blocks")
        layers: list[Layer] = [*_normalized(shape[0], channels[0]), ReLU()]
        for i, (before, count) in enumerate(pairwise((channels[0], *channels))):
            for k in range(blocks):
                resized = i > 0 and k == 0
                layers += [_block(before if resized else count, count, 2 if resized else 1), ReLU()]
        super().__init__(
            [*layers, GlobalAvgPool2d(), Affine(channels[-1], output_size)], weight_init=weight_init, **options
        )
        self.output_shape(shape)  # raises where an image does not fit
        self.input_shape = shape


def _block(before: int, channels: int, stride: int) -> Layer:
    """Two convolutions, and around them what was there before, or a convolution of it where the shape changes."""
    inside = Chain(*_normalized(before, channels, stride=stride), ReLU(), *_normalized(channels, channels))
    if stride == 1 and before == channels:
        return Residual(inside)
    return Add(inside, Chain(*_normalized(before, channels, 1, stride)))


def _normalized(before: int, channels: int, size: int = 3, stride: int = 1) -> list[Layer]:
    return [Conv2d(before, channels, size, stride, size // 2), BatchNorm(channels)]


def _image_shape(input_dim: Sequence[int]) -> tuple[int, int, int]:
    if not isinstance(input_dim, Sequence) or len(input_dim) != 3:
        raise ValueError(f"input_dim is {input_dim!r}, expected the shape of an image, (C, H, W): (1, 28, 28)")
    c, h, w = (check_count(n, f"input_dim[{i}]") for i, n in enumerate(input_dim))
    return c, h, w


def _convolution(channels: int, given: Mapping[str, int] | None, name: str, usual: Mapping[str, int]) -> Conv2d:
    """The convolution that the book's words describe."""
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not given.keys() <= usual.keys():
        raise ValueError(f"{name} is {given!r}, expected a dict with some of {', '.join(usual)}: {dict(usual)}")
    found = {**usual, **given}
    return Conv2d(channels, found["filter_num"], found["filter_size"], found["stride"], found["pad"])


def _affine(front: Sequence[Layer], shape: tuple[int, int, int], hidden_size: int) -> Affine:
    """The Affine that takes all that these layers make of an image."""
    entries = 1
    for length in Chain(*front).output_shape(shape) or ():
        entries *= length
    return Affine(entries, hidden_size)
