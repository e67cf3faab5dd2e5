"""How weights start: ``initializer(rng, shape) -> NumPy array``, drawn on the host so that every backend gets the same.

One ``numpy.random.Generator`` goes through a whole network, so one seed gives one set of weights.

I is how many values go into a layer and O how many come out: the shape of its weights (I, O). Weights of one axis have
as many of both, and those of more are kernels (O, I, height, width), as the book and PyTorch have them, where height
and width count for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np

from xpnet._checks import check_number

Shape = tuple[int, ...]
#: What draws, and an array that has not been moved to a backend.
Generator = np.random.Generator
HostArray = np.ndarray
Initializer = Callable[[np.random.Generator, Shape], np.ndarray]


def fans(shape: Shape) -> tuple[int, int]:
    """I and O of weights of this shape.

    >>> fans((784, 50)), fans((30, 1, 5, 5))
    ((784, 50), (25, 750))
    """
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) < 2:
        return prod(shape), prod(shape)
    return prod(shape[1:]), prod((shape[0], *shape[2:]))


def zeros(rng: np.random.Generator | None, shape: Shape) -> np.ndarray:
    """All zero, as biases start; draws nothing, and takes no memory: locked, one number in all places."""
    return np.broadcast_to(np.float64(0), shape)


def ones(rng: np.random.Generator | None, shape: Shape) -> np.ndarray:
    """All one, as factors start; as :func:`zeros`."""
    return np.broadcast_to(np.float64(1), shape)


@dataclass(frozen=True)
class normal:
    """Weights from N(0, std²), whatever their shape.

    >>> normal(0.01)(np.random.default_rng(0), (2, 3)).shape
    (2, 3)
    """

    std: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", check_number(self.std, "std", least=0))

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        return rng.normal(0.0, self.std, shape)


@dataclass(frozen=True)
class glorot:
    """Weights from N(0, gain² · 2/(I + O)): a compromise between the variance on the way forward and on the way back.

    Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010), equation 12.

    Args:
        gain: what the standard deviation is multiplied by, √2 between two ReLUs.
        distribution: ``"normal"``, or ``"uniform"`` for U(-√3 σ, √3 σ) of the same variance σ²: equation 16, what Keras
            and, with random biases, scikit-learn start from.
    """

    gain: float = 1.0
    distribution: str = "normal"

    def __post_init__(self) -> None:
        object.__setattr__(self, "gain", check_number(self.gain, "gain", least=0))
        if self.distribution not in ("normal", "uniform"):
            raise ValueError(f"unknown distribution {self.distribution!r} of glorot; known: normal, uniform")

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        std = self.gain * sqrt(2 / sum(fans(shape)))
        if self.distribution == "uniform":
            return rng.uniform(-sqrt(3) * std, sqrt(3) * std, shape)
        return rng.normal(0.0, std, shape)


@dataclass(frozen=True)
class xavier:
    """Weights from N(0, 1/I): they keep the variance of what goes through a sigmoid, tanh or identity.

    Args:
        mode: ``"fan_in"``, the book's 1/I, which is also LeCun's: LeCun, Bottou, Orr, Müller, "Efficient backprop"
            (1998), equation 16; or ``"fan_avg"``, 2/(I + O), the same as :class:`glorot`, by Xavier Glorot.
    """

    mode: str = "fan_in"

    def __post_init__(self) -> None:
        if self.mode not in ("fan_in", "fan_avg"):
            raise ValueError(f"unknown mode {self.mode!r} of xavier; known: fan_in, fan_avg")

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        n_in, n_out = fans(shape)
        return rng.normal(0.0, sqrt(2 / (n_in + n_out) if self.mode == "fan_avg" else 1 / n_in), shape)


@dataclass(frozen=True)
class he:
    """Weights from N(0, 2/I), which makes up for the half that a ReLU cuts off.

    He, Zhang, Ren, Sun, "Delving deep into rectifiers" (2015), equation 10.
    """

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        return rng.normal(0.0, sqrt(2 / fans(shape)[0]), shape)


@dataclass(frozen=True)
class Around:
    """Weights by what stands around a layer, which ``weight_init="auto"`` means.

    It is Glorot's, times a gain where an activation stands before the layer and another one behind it, and Xavier's 1/I
    for the last layer with parameters. The gain is the smaller of the two activations': √2 for ReLU and its kin, which
    between layers of one width is He's variance 2/I, 4 for sigmoid, 1 for tanh; so a deep network keeps the variance of
    what goes through it. The first layer gets data, which no activation has made smaller (He et al., below their
    equation 10): He's variance there fits small networks to noise.

    An activation says its gain as ``layer.weight_gain``; a layer that does not say has 1; and one that says None
    (``Dropout``, ``Identity``) hands on what it gets, so the next one is looked at.

    Args:
        before, behind: the gains of the activations before and behind; a ``behind`` of None is the end of the network.

    >>> from xpnet.layers import Affine, Chain, ReLU
    >>> chain = Chain(Affine(784, 50), ReLU(), Affine(50, 50), ReLU(), Affine(50, 10))
    >>> weights = chain.init(np.random.default_rng(0), Around())
    >>> [round(float(weights[name].std()), 2) for name in ("W1", "W2", "W3")]  # √(2/834), √(2/50), √(1/50)
    [0.05, 0.2, 0.14]
    """

    before: float | None = 1.0
    behind: float | None = None

    @property
    def initializer(self) -> Initializer:
        """The one that it comes to."""
        if self.behind is None:
            return xavier()
        return glorot(min(1.0 if self.before is None else self.before, self.behind))

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        return self.initializer(rng, shape)


#: The initializers that have a name.
INITIALIZERS: dict[str, Initializer] = {
    "auto": Around(),
    "normal": normal(),
    "xavier": xavier(),
    "glorot": glorot(),
    "glorot_uniform": glorot(distribution="uniform"),
    "he": he(),
    "zeros": zeros,
}


def get_initializer(weight_init: str | float | Initializer) -> Initializer:
    """The initializer meant by a name, by a number (the standard deviation of a normal), or by itself.

    Raises:
        ValueError: an unknown name, a number that is no standard deviation, or nothing of the three.
        TypeError: a class in the place of an instance.
    """
    if isinstance(weight_init, str):
        if weight_init in INITIALIZERS:
            return INITIALIZERS[weight_init]
        raise ValueError(
            f"unknown initializer {weight_init!r}; known: {', '.join(INITIALIZERS)}, and a standard deviation"
        )
    if isinstance(weight_init, type):
        raise TypeError(f"weight_init is the class {weight_init.__name__}; expected an instance such as he()")
    if callable(weight_init):
        return weight_init
    others = "the name of an initializer, or an initializer such as he()"
    return normal(check_number(weight_init, "weight_init", least=0, example=others))


def generator(seed: int | np.random.Generator | None) -> np.random.Generator:
    """A generator on the host: from a seed, a fresh one for None, or the one given."""
    return np.random.default_rng(seed)
