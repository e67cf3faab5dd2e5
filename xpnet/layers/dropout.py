"""Dropout: while training, a part of the units is left out, another one in every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet._checks import check_number
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.layers.activations import Activation


@dataclass(frozen=True, repr=False)
class Dropout(Activation):
    """y = x m / (1 - rate), dx = dy m / (1 - rate), m 0 with probability ``rate`` and else 1; y = x without a mask.

    Dividing while training keeps the mean of y at x, so a network predicts with all its units and nothing else to do;
    the book multiplies by 1 - rate when it predicts instead. Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov,
    "Dropout: a simple way to prevent neural networks from overfitting" (2014).

    ``Trainer`` draws the masks on the host, the same ones for every library, and hands them over among the parameters,
    as ``"Dropout1.mask"`` and so on. Whoever predicts has none. With masks of one's own the gradient is
    ``net.training_value_and_grad(net.params | masks, x, t)``. x, y and a mask are (N, ...), the mask boolean.

    Args:
        rate: the share that is left out, 0 or more and less than 1; else ``ValueError``.

    >>> import numpy as np
    >>> mask = np.asarray([[True, False, True, False]])
    >>> Dropout(0.5).forward({"mask": mask}, np.ones((1, 4)))[0], Dropout(0.5).forward({}, np.ones((1, 4)))[0]
    (array([[2., 0., 2., 0.]]), array([[1., 1., 1., 1.]]))
    """

    weight_gain = None

    rate: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", check_number(self.rate, "Dropout: rate", least=0, below=1))

    def draws(self, rng: Any, shape: tuple[int, ...]) -> dict[str, Any]:
        """A mask for an input of this shape: False for what is left out."""
        return {"mask": rng.random(shape, dtype="float32") >= self.rate}

    def forward(self, params: Params, x: Array) -> tuple[Array, Array | None]:
        mask = params.get("mask")
        if mask is None:
            return x, None
        kept = namespace(x).astype(mask, x.dtype) / (1 - self.rate)
        return x * kept, kept

    def gradient(self, kept: Array | None, dy: Array) -> Array:
        return dy if kept is None else dy * kept
