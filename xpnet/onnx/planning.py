"""What is to be written: options as a user gave them, looked at before any work is done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet._checks import check_switch
from xpnet.backends.dispatch import dtype_name
from xpnet.layers import Chain, Dropout, Identity, Layer, Rescale, Softmax
from xpnet.losses import SoftmaxWithLoss
from xpnet.onnx.samples import Axes, beginnings, named_alike, shapes_and_axes
from xpnet.serialization import network as files

#: The dtypes that weights can be written in.
DTYPES = ("float16", "float32", "float64")
#: The names under which a file says what it holds: the network, as a file of weights does; how it was written; classes.
NETWORK, EXPORT, CLASSES = files.ABOUT, "xpnet_export", "classes"


@dataclass(frozen=True)
class Plan:
    """What is to be written.

    Attributes:
        net: the network.
        dtype: of weights and results.
        input: the dtype of samples.
        shapes: shapes that a sample may have: one, or two where some lengths are free.
        axes, scores: the axes of samples and of results but for the first, as lengths and names of free ones.
        softmax: whether that are probabilities.
        uint8: whether samples are bytes.
        metadata: texts by name.
    """

    net: Any
    dtype: str
    input: str
    shapes: tuple[tuple[int, ...], ...]
    axes: Axes
    scores: Axes
    softmax: bool
    uint8: bool
    metadata: dict[str, str]

    @property
    def names(self) -> tuple[str, str]:
        """Those of the input and of the output."""
        return "x", "probabilities" if self.softmax else "scores"

    @property
    def divides(self) -> bool:
        """Whether bytes are divided by 255 before the first layer: not where that rescales them."""
        return self.uint8 and not isinstance(beginnings(self.net.chain)[0], Rescale)


def planned(
    net: Any,
    input_shape: Sequence[int | None] | None,
    softmax: bool,
    uint8: bool,
    dtype: Any,
    classes: Sequence[Any] | None,
    metadata: Mapping[str, str] | None,
) -> Plan:
    """The plan, or what is wrong with the options."""
    if not hasattr(net, "chain") or not hasattr(net, "own_arrays"):
        raise TypeError(f"net is {net!r:.200}, expected a network: TwoLayerNet(784, 50, 10), for example")
    wanted, integers = _dtype(net, dtype), net.chain.takes == "integers"
    _check_switches(net, softmax, uint8)
    shapes, axes = shapes_and_axes(net, input_shape)
    kind = "int64" if integers else dtype_name(net.dtype)
    ends = [net.scores_shape(net.backend.asarray(np.zeros((1, *shape), kind)))[1:] for shape in shapes]
    scores = named_alike(ends, shapes, axes)
    lengths = [axis if isinstance(axis, int) else None for axis in axes]
    options = {"input_shape": lengths, "dtype": wanted, "softmax": bool(softmax), "uint8": bool(uint8)}
    said = {NETWORK: files.text_about(net), EXPORT: json.dumps(options)}
    said |= _classes(classes, scores) | _metadata(metadata)
    taken = "uint8" if uint8 else "int64" if integers else wanted
    return Plan(net, wanted, taken, shapes, axes, scores, bool(softmax), bool(uint8), said)


def _dtype(net: Any, dtype: Any) -> str:
    """The name of the dtype that is wanted, by default the network's."""
    try:
        name = dtype_name(net.dtype) if dtype is None else np.dtype(dtype).name
    except TypeError:
        name = ""
    if name not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")
    return name


def _check_switches(net: Any, softmax: Any, uint8: Any) -> None:
    if check_switch(softmax, "softmax"):
        if _ends_in_softmax(net.chain):
            raise ValueError("softmax=True, and the last layer is a Softmax already; leave it out")
        if not isinstance(net.loss_layer, SoftmaxWithLoss):
            raise ValueError(
                f"softmax=True is for networks that are trained with SoftmaxWithLoss, and the loss of this one is "
                f"{type(net.loss_layer).__name__}; leave it out"
            )
    if check_switch(uint8, "uint8") and net.chain.takes == "integers":
        raise ValueError("uint8=True is for images of bytes, and this network looks up integers; leave it out")
    if uint8 and len({isinstance(each, Rescale) for each in beginnings(net.chain)}) == 2:
        raise ValueError(
            "uint8=True, and one branch at the beginning has a Rescale and another has none, so it is not known "
            "whether bytes are to be divided by 255; leave it out"
        )


def _ends_in_softmax(layer: Layer) -> bool:
    """Whether the results are those of a Softmax."""
    if isinstance(layer, Chain):
        last = next((each for each in reversed(layer.layers) if not isinstance(each, Dropout | Identity)), None)
        return last is not None and _ends_in_softmax(last)
    return isinstance(layer, Softmax)


def _classes(classes: Any, scores: Axes) -> dict[str, str]:
    """The names of the classes as the file has them."""
    if classes is None:
        return {}
    if isinstance(classes, str | bytes | Set | Mapping) or not isinstance(classes, Iterable):  # which have no order
        raise ValueError(f"classes is {classes!r:.100}, expected a name for each score, in order: ['cat', 'dog']")
    names = [str(name) for name in classes]
    if not scores or len(names) != scores[-1]:
        raise ValueError(f"classes has {len(names)} names, and the network gives scores of shape {scores} for a sample")
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"classes has {twice!r} twice, expected another name for each score")
    _check_text("classes", *names)
    return {CLASSES: json.dumps(names, ensure_ascii=False)}


def _metadata(given: Any) -> dict[str, str]:
    """What a user wants the file to say."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(text, str) for each in given.items() for text in each):
        raise ValueError(f"metadata is {given!r:.200}, expected texts by name: {{'author': 'Ada'}}")
    if taken := [name for name in (NETWORK, EXPORT, CLASSES) if name in given]:
        raise ValueError(f"metadata has {taken[0]!r}, under which xpnet writes itself; give it another name")
    _check_text("metadata", *given, *given.values())
    return dict(given)


def _check_text(option: str, *texts: str) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a pair of UTF-16, or a byte of a terminal in another encoding
            raise ValueError(f"{option} has {text!a:.100}, which cannot be written in UTF-8") from None
