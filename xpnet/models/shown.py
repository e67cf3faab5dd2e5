"""How a network is shown at a prompt and in a notebook."""

from __future__ import annotations

from math import prod
from typing import Any

from xpnet.backends.dispatch import dtype_name

#: Of more layers than this a line shows the first and the last ones.
MOST_LAYERS = 7
#: A layer is written in no more letters than this.
LETTERS = 60


def network_as_text(net: Any) -> str:
    """One line: the layers, the loss, and where it is; of a deep network the layers at both ends."""
    written = [f"{layer!r:.{LETTERS}}" for layer in net.layers.values()]
    if len(written) > MOST_LAYERS:
        left_out = len(written) - MOST_LAYERS + 1
        half = MOST_LAYERS // 2
        written[half:-half] = [f"... {left_out} more ..."]
    return f"{type(net).__name__}([{', '.join(written)}], {net.loss_layer!r}) on {net.backend.name}"


def network_as_html(net: Any) -> str:
    """The table of :meth:`xpnet.Sequential.summary`, and below it what is no layer."""
    from xpnet import _html  # later: most programs do without
    from xpnet.models.summary import cells, note

    headers, rows = cells(net.chain, net.input_shape, {})
    parameters = sum(prod(p.shape) for p in net.params.values())
    kind, where = type(net).__name__, f"{net.backend.name} ({net.backend.device_name})"
    below = f"{kind}, {parameters:,} parameters, {net.loss_layer!r}, {dtype_name(net.dtype)} on {where}"
    return _html.table(headers, rows) + _html.text("\n".join([*note(rows, net.input_shape), below]))
