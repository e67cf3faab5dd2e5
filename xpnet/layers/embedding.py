"""Layers that integers go into: rows of a table by number, and images of bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from xpnet._checks import check_count, check_number
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import backend_of, dtype_name, namespace, traced
from xpnet.layers.activations import Activation
from xpnet.layers.base import Layer, Shape

#: Whole numbers below this are exact in float32.
MOST_DIVISOR = 2.0**24


@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """y = W[x]: for each integer 0 to n - 1 in x (N,) or (N, ...) a row of W (n, D), so y is (N, D) or (N, ..., D).

    Backward: dW[k] is the sum of dy where x is k; integers have no gradient.

    Args:
        n: how many different integers there are.
        dim: D, how long a row is.

    Raises:
        ValueError: a size that is no whole number of 1 or more.
        TypeError: x holds no integers.
    """

    acts_on: ClassVar[str] = "sample"
    takes: ClassVar[str] = "integers"
    in_float32: ClassVar[bool] = True  # a row's gradient is a sum over all places that have its number

    n: int
    dim: int

    def __post_init__(self) -> None:
        for name in ("n", "dim"):
            object.__setattr__(self, name, check_count(getattr(self, name), f"Embedding: {name}"))

    def init(self, rng: Any, weight_init: Any) -> dict[str, Any]:
        return {"W": weight_init(rng, (self.n, self.dim))}

    def output_shape(self, shape: Shape) -> Shape:
        return None if shape is None else (*shape, self.dim)

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        xp, W = namespace(x), params["W"]
        if not xp.isdtype(x.dtype, "integral"):
            raise TypeError(f"Embedding: x is {dtype_name(x.dtype)}, expected integers from 0 to {self.n - 1}")
        flat = xp.reshape(x, (-1,))
        if x.dtype not in (xp.int32, xp.int64):  # not every library takes rows by others
            flat = xp.astype(flat, xp.int32 if xp.iinfo(x.dtype).bits < 32 else xp.int64)
        return xp.reshape(xp.take(W, flat, axis=0), (*x.shape, self.dim)), flat

    def backward(self, params: Params, residuals: Array, dy: Array) -> tuple[None, Params]:
        return None, self.parameter_gradients(params, residuals, dy)

    def parameter_gradients(self, params: Params, residuals: Array, dy: Array) -> Params:
        xp = namespace(dy)
        rows = xp.reshape(dy, (-1, self.dim))
        if hasattr(xp, "put_rows"):  # a graph is recorded, which has a function for it that it can differentiate
            return {"W": xp.put_rows(rows, residuals, self.n, 0)}
        nothing = xp.zeros_like(params["W"])
        return {"W": backend_of(dy).add_at(nothing, residuals, rows)}

    def check_input(self, x: Array) -> None:
        """Raise ``ValueError`` if an integer has no row; it reads the values."""
        if traced(x):
            return
        xp = namespace(x)
        least, most = int(xp.min(x)), int(xp.max(x))
        if least < 0 or most >= self.n:
            raise ValueError(f"Embedding: x has integers from {least} to {most}, expected 0 to {self.n - 1}")


@dataclass(frozen=True, repr=False)
class Rescale(Activation):
    """y = scale x, for x of any real dtype; dx = scale dy.

    The first layer of a network for images that stay uint8 in memory: ``Rescale(1 / 255)``. The network converts each
    minibatch to its dtype, and what is saved knows how its input is scaled. It divides by 255 then, so that the result
    is that of ``x / 255``, to the last bit but on JAX.

    Args:
        scale: a finite number; else ``ValueError``.

    >>> import numpy as np
    >>> from xpnet import Sequential
    >>> from xpnet.layers import Affine
    >>> net = Sequential([Rescale(1 / 255), Affine(784, 10)], seed=0)
    >>> net.predict(np.zeros((2, 784), np.uint8)).dtype
    dtype('float32')
    """

    takes: ClassVar[str] = "any"
    in_float32: ClassVar[bool] = True
    weight_gain: ClassVar[float | None] = None

    scale: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", check_number(self.scale, "Rescale: scale"))

    def forward(self, params: Params, x: Array) -> tuple[Array, None]:
        xp = namespace(x)
        if not xp.isdtype(x.dtype, "real floating"):  # by itself, outside of a network
            x = xp.astype(x, xp.float32)
        return x * self.scale if self.divisor is None else x / self.divisor, None

    @property
    def divisor(self) -> float | None:
        """The whole number that scale is 1 through, or None.

        A quotient is rounded once, and is what people have who divide by 255 themselves; 1 / 255 is rounded too.
        """
        divisor = 1 / self.scale if self.scale else 0.0
        return divisor if 0 < abs(divisor) < MOST_DIVISOR and divisor.is_integer() else None

    def gradient(self, residuals: None, dy: Array) -> Array:
        return dy * self.scale
