"""Half precision: how well a network predicts whose numbers have three digits."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import Backend, namespace, on_its_device, quiet
from xpnet.models.network import Sequential
from xpnet.validation import as_input


@dataclass(frozen=True)
class HalfPrecision:
    """A network that predicts in float16; :func:`half` makes it.

    Parameters, buffers, images and what each layer returns are float16, two bytes and three digits each; inside of a
    layer sums are in float32, as tensor cores of GPUs and the book's chapter 8 have it. What is larger than 65,504
    becomes infinite.

    Attributes:
        net: the network that it was made of.
        params, buffers: its arrays in float16, by name.
    """

    net: Sequential
    params: Params
    buffers: Params

    @on_its_device
    @quiet
    def predict(self, x: Array) -> Array:
        """Scores (N, outputs) in float16 of x (N, ...), or (outputs,) of one sample (inputs,).

        Raises:
            TypeError, ValueError: as ``net.predict``.
        """
        net = self.net
        x = as_input(x, net.backend, net.dtype, takes=net.chain.takes)
        if x.ndim == 1 and net.chain.takes != "integers":
            return self._scores(x[None, :])[0, ...]
        return self._scores(x)

    @on_its_device
    @quiet
    def accuracy(self, x: Array, t: Array) -> float:
        """The share of samples, 0 to 1, whose largest score is that of their label; x and t as ``net.accuracy``."""
        net, right = self.net, 0
        x, t = net.as_batch(x, t)
        if not net.classifies(net.scores_shape(x)):
            raise ValueError("accuracy compares classes, and the outputs of this network are none")
        n, length, xp, seen = x.shape[0], net.chunk(tuple(x.shape[1:])), namespace(x), 0
        for start in range(0, n, length):
            part = slice(start, min(start + length, n))
            hits = net.loss_layer.hits(self._scores(x[part, ...]), t[part, ...])
            right, seen = right + int(xp.sum(xp.astype(hits, xp.int32))), seen + prod(hits.shape)
        return right / seen

    @property
    def backend(self) -> Backend:
        """Where the arrays are."""
        return self.net.backend

    @property
    def nbytes(self) -> int:
        """How many bytes its parameters and buffers take."""
        numbers: int = sum(prod(a.shape) for a in (*self.params.values(), *self.buffers.values()))
        return 2 * numbers

    def _scores(self, x: Array) -> Array:
        xp, arrays = namespace(x), self.params | self.buffers
        arrays = {name: xp.astype(a, xp.float32) for name, a in arrays.items()}
        x = self.net.as_floating(x)
        x = x if self.net.chain.takes == "integers" else xp.astype(x, xp.float16)
        for part in self.net.chain.parts:
            wide = xp.astype(x, xp.float32) if x.dtype == xp.float16 else x
            try:
                x = xp.astype(part.layer.predict(part.view(arrays), wide), xp.float16)
            except ValueError as error:
                part.sign(error)
                raise
        return x


def half(net: Sequential) -> HalfPrecision:
    """The network as it predicts in half precision: a copy, with float16 arrays where ``net`` has its own.

    Raises:
        TypeError: no network.
        ValueError: the library of its arrays has no float16, as array-api-strict.

    >>> import numpy as np
    >>> from xpnet import TwoLayerNet, half
    >>> net, x = TwoLayerNet(4, 3, 2, seed=0), np.ones((1, 4), "float32")
    >>> half(net).predict(x).dtype, bool(np.allclose(half(net).predict(x), net.predict(x), rtol=1e-2))
    (dtype('float16'), True)
    """
    if not isinstance(net, Sequential):
        raise TypeError(f"net is of type {type(net).__name__}, expected a network: half(net)")
    xp: Any = net.backend.xp
    if not hasattr(xp, "float16"):
        raise ValueError(f"backend {net.backend.name!r} has no float16; net.to() another, to numpy for example")
    with net.backend.current():
        params, buffers = (
            {name: xp.astype(a, xp.float16) for name, a in arrays.items()}
            for arrays in (net.own_params(), net.own_buffers())
        )
    return HalfPrecision(net, params, buffers)
