"""How weights start: ``initializer(rng, shape) -> NumPy array``, drawn on the host so that every backend gets the same.

One ``numpy.random.Generator`` goes through a whole network, so one seed gives one set of weights.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

Shape = tuple[int, ...]
Initializer = Callable[[np.random.Generator, Shape], np.ndarray]


def zeros(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """All zero, as biases start; draws nothing."""
    return np.zeros(shape)


def normal(std: float = 0.01) -> Initializer:
    """Weights from N(0, std²), whatever their shape.

    >>> normal(0.01)(np.random.default_rng(0), (2, 3)).shape
    (2, 3)
    """
    if not (isinstance(std, int | float) and 0 <= std < float("inf")):
        raise ValueError(f"std is {std!r}, expected a finite number, zero or more")
    return lambda rng, shape: rng.normal(0.0, std, shape)


def xavier(mode: str = "fan_in") -> Initializer:
    """Weights (I, O) from N(0, 1/I): they keep the variance of what goes through a sigmoid, tanh or identity.

    Args:
        mode: ``"fan_in"``, the book's 1/I; or ``"fan_avg"``, 2/(I + O), the form of Glorot and Bengio,
            "Understanding the difficulty of training deep feedforward neural networks" (2010), equation 12.
    """
    if mode not in ("fan_in", "fan_avg"):
        raise ValueError(f"unknown mode {mode!r} of xavier; known: fan_in, fan_avg")
    return lambda rng, shape: rng.normal(0.0, sqrt(2 / sum(shape) if mode == "fan_avg" else 1 / shape[0]), shape)


def he() -> Initializer:
    """Weights (I, O) from N(0, 2/I), which makes up for the half that a ReLU cuts off.

    He, Zhang, Ren, Sun, "Delving deep into rectifiers" (2015), equation 10.
    """
    return lambda rng, shape: rng.normal(0.0, sqrt(2 / shape[0]), shape)


#: The initializers that have a name.
INITIALIZERS: dict[str, Callable[[], Initializer]] = {
    "normal": normal,
    "xavier": xavier,
    "he": he,
    "zeros": lambda: zeros,
}


def get_initializer(weight_init: str | float | Initializer) -> Initializer:
    """The initializer meant by a name, by a number (the standard deviation of a normal), or by itself.

    Raises:
        ValueError: an unknown name; the message lists those there are.
    """
    if callable(weight_init):
        return weight_init
    if isinstance(weight_init, int | float):
        return normal(weight_init)
    if weight_init not in INITIALIZERS:
        raise ValueError(f"unknown initializer {weight_init!r}; known: {', '.join(INITIALIZERS)}, or a number")
    return INITIALIZERS[weight_init]()


def generator(seed: int | np.random.Generator | None) -> np.random.Generator:
    """A generator on the host: from a seed, a fresh one for None, or the one given."""
    return np.random.default_rng(seed)
