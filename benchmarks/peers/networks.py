"""The network of a job as one of xpnet, whose weights all contenders start from."""

from __future__ import annotations

from math import prod
from typing import Any

from xpnet import MultiLayerNet, Sequential
from xpnet.layers import Affine, Chain, Conv2d, Layer, MaxPool2d, ReLU


def network(settings: dict[str, Any], **options: Any) -> Sequential:
    if settings.get("layers"):
        return Sequential(_layers(settings["layers"]), **options)
    inputs, *hidden, outputs = settings["sizes"]
    return MultiLayerNet(inputs, hidden, outputs, **options)


def _layers(described: list[list[Any]]) -> list[Layer]:
    found, shape = list[Layer](), (1, 28, 28)
    for kind, *numbers in described:
        if kind == "conv":
            filters, size, padding = numbers
            layer: Layer = Conv2d(shape[0], filters, size, padding=padding)
        else:
            layer = Affine(prod(shape), *numbers) if kind == "affine" else MaxPool2d(2) if kind == "pool" else ReLU()
        found.append(layer)
        shape = Chain(layer).output_shape(shape)
    return found
