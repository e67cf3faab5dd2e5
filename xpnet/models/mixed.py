"""Mixed precision: a batch goes forward and back in 16 bits; parameters, loss and gradients are float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import dtype_name, namespace
from xpnet.functions import cast
from xpnet.layers import Container, Layer
from xpnet.layers.mixed import in_mixed_precision
from xpnet.models.network import Sequential

#: ``(params, x, t, weight, scale, share) -> loss, gradients, new buffers``; what follows t may be left out.
ValueAndGrad = Callable[..., tuple[Array, Params, Params]]


def check_compute_dtype(net: Sequential, compute_dtype: Any) -> str | None:
    """The name of the dtype of 16 bits to train this network in, or None where that is the network's own.

    Raises:
        ValueError: the backend does not train in it, or the network is not of float32.
    """
    own = dtype_name(net.dtype)
    if compute_dtype is None or dtype_name(compute_dtype) == own:
        return None
    net.backend.half_dtype(compute_dtype)
    if own != "float32":
        raise ValueError(f"compute_dtype is {dtype_name(compute_dtype)!r} for a network of {own}; expected float32")
    return dtype_name(compute_dtype)


def mixed_value_and_grad(net: Sequential, compute_dtype: Any) -> ValueAndGrad:
    """What ``net.training_value_and_grad`` is, in mixed precision, and of a loss times ``scale``.

    Layers hand on numbers of ``compute_dtype``, as :func:`xpnet.layers.mixed.in_mixed_precision` has it. Outputs are
    float32 before the loss, and so are gradients and new values of buffers; the loss that is returned is not scaled.

    Args:
        net: a network of float32.
        compute_dtype: a dtype of 16 bits, or None for the network's own, with a scale alone.
    """
    name = check_compute_dtype(net, compute_dtype)
    chain: Layer = net.chain
    order = [parameter for part in net.chain.parts for parameter in part.shapes]
    taken = None  # what the input is rounded to before the first layer
    if name is not None:
        half, emulated = net.backend.half_dtype(name), net.backend.emulates_half
        chain = in_mixed_precision(chain, half, emulated=emulated)
        if isinstance(net.chain.layers[0], Container) and net.chain.takes != "integers":
            taken = half  # others round it themselves, or take it as it is

    def value_and_grad(
        params: Params, x: Array, t: Array, weight: Array = None, scale: Array = None, share: Any = None
    ) -> tuple[Array, Params, Params]:
        x = net.as_floating(x)
        y, tape, updates = chain.train(params, x if taken is None else cast(x, taken))
        y = cast(y, net.dtype)
        loss, residuals = net.loss_layer.forward(y, t) if weight is None else net.loss_layer.forward(y, t, weight)
        dy = net.loss_layer.backward(residuals)
        if share is not None:
            loss, dy = loss * share, dy * share
        if scale is not None:
            dy = dy * namespace(dy).astype(scale, dy.dtype)
        grads = chain.parameter_gradients(params, tape, dy)
        return loss, {parameter: grads[parameter] for parameter in order}, updates

    return value_and_grad
