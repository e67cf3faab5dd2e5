"""Activations: layers without parameters, applied to each element (softmax: to each row)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import hypot, pi, sqrt
from typing import Any, ClassVar

from xpnet._checks import check_number, check_switch
from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.functions import relu, sigmoid, softmax
from xpnet.layers.base import Layer, Shape
from xpnet.layers.error_function import erfc


@dataclass(frozen=True, repr=False)
class Activation(Layer):
    """A layer that reads no parameter: ``forward`` and ``gradient`` say it all."""

    acts_on: ClassVar[str] = "element"

    @abstractmethod
    def gradient(self, residuals: Any, dy: Array) -> Array:
        """Return the gradient with respect to the input."""

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        return self.gradient(residuals, dy), {}

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        return {}


@dataclass(frozen=True, repr=False)
class Identity(Activation):
    """y = x."""

    weight_gain = None

    def forward(self, params: Params, x: Array) -> tuple[Array, None]:
        return x, None

    def gradient(self, residuals: None, dy: Array) -> Array:
        return dy


@dataclass(frozen=True, repr=False)
class ReLU(Activation):
    """y = max(x, 0); dx = dy where x > 0, else 0 (also at x = 0, as the book has it)."""

    label = "Relu"
    kink = 0.0
    weight_gain = sqrt(2)

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        y = relu(x)
        return y, y

    def gradient(self, y: Array, dy: Array) -> Array:
        return dy * namespace(dy).astype(y > 0, dy.dtype)


@dataclass(frozen=True, repr=False)
class LeakyReLU(Activation):
    """y = x where x > 0, else slope x; dx = dy or slope dy.

    Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models" (2013).

    Args:
        slope: of the negative side, a finite number; else ``ValueError``.
    """

    label = "LeakyRelu"
    kink = 0.0

    slope: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "slope", check_number(self.slope, "LeakyReLU: slope"))

    @property
    def weight_gain(self) -> float:  # type: ignore[override]  # He et al., equation 15
        return sqrt(2) / hypot(1, self.slope)

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        return namespace(x).where(x > 0, x, self.slope * x), x

    def gradient(self, x: Array, dy: Array) -> Array:
        return namespace(dy).where(x > 0, dy, self.slope * dy)


@dataclass(frozen=True, repr=False)
class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x)); dx = dy y (1 - y)."""

    in_float32 = True
    weight_gain = 4.0  # its slope at 0 is 1/4; Bengio, "Practical recommendations for gradient-based training" (2012)

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        y = sigmoid(x)
        return y, y

    def gradient(self, y: Array, dy: Array) -> Array:
        return dy * y * (1 - y)


@dataclass(frozen=True, repr=False)
class Tanh(Activation):
    """y = tanh(x); dx = dy (1 - y²)."""

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        y = namespace(x).tanh(x)
        return y, y

    def gradient(self, y: Array, dy: Array) -> Array:
        return dy * (1 - y * y)


@dataclass(frozen=True, repr=False)
class GELU(Activation):
    """y = x Φ(x), Φ being the distribution function of N(0, 1), or by default what comes near it and costs less.

    By default y = x s with s = sigmoid(2 u), u = √(2/π) (x + 0.044715 x³), the tanh form: s = (1 + tanh u) / 2, and
    keeps its digits where x is negative; dx = dy (s + 2 x s (1 - s) u'). The exact one has Φ(x) = erfc(-x / √2) / 2 and
    dx = dy (Φ(x) + x exp(-x²/2) / √(2π)). Hendrycks, Gimpel, "Gaussian error linear units" (2016).

    Args:
        exact: whether to compute Φ itself, as ``torch.nn.GELU()`` does; else as ``torch.nn.GELU("tanh")``.
    """

    in_float32 = True
    label = "Gelu"
    weight_gain = sqrt(2)

    exact: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "exact", check_switch(self.exact, "GELU: exact"))

    def forward(self, params: Params, x: Array) -> tuple[Array, tuple[Array, Array]]:
        s = erfc(-sqrt(0.5) * x) / 2 if self.exact else sigmoid(2 * sqrt(2 / pi) * (x + 0.044715 * x * x * x))
        return x * s, (x, s)

    def gradient(self, residuals: tuple[Array, Array], dy: Array) -> Array:
        x, s = residuals
        if self.exact:
            return dy * (s + x * namespace(x).exp(-0.5 * x * x) / sqrt(2 * pi))
        du = sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x)
        return dy * (s + 2 * x * s * (1 - s) * du)


@dataclass(frozen=True, repr=False)
class Swish(Activation):
    """y = x s with s = sigmoid(beta x); dx = dy (s + beta x s (1 - s)). With beta 1 it is also called SiLU.

    Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units" (2018); Ramachandran, Zoph, Le, "Searching for activation
    functions" (2017).
    """

    in_float32 = True
    weight_gain = sqrt(2)

    beta: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", check_number(self.beta, "Swish: beta"))

    def forward(self, params: Params, x: Array) -> tuple[Array, tuple[Array, Array]]:
        s = sigmoid(self.beta * x)
        return x * s, (x, s)

    def gradient(self, residuals: tuple[Array, Array], dy: Array) -> Array:
        x, s = residuals
        return dy * (s + self.beta * x * s * (1 - s))


#: The name that PyTorch has for it.
SiLU = Swish


@dataclass(frozen=True, repr=False)
class Softplus(Activation):
    """y = log(1 + exp(x)), a ReLU without a corner; dx = dy sigmoid(x). It does not overflow.

    Dugas, Bengio, Bélisle, Nadeau, Garcia, "Incorporating second-order functional knowledge" (2000).
    """

    in_float32 = True

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        xp = namespace(x)
        return relu(x) + xp.log1p(xp.exp(-xp.abs(x))), x

    def gradient(self, x: Array, dy: Array) -> Array:
        return dy * sigmoid(x)


@dataclass(frozen=True, repr=False)
class ELU(Activation):
    """y = x where x > 0, else alpha (exp(x) - 1); dx = dy or dy (y + alpha).

    Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential linear units" (2016).
    """

    in_float32 = True
    label = "Elu"

    alpha: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", check_number(self.alpha, "ELU: alpha", above=0))

    @property
    def kink(self) -> float | None:  # type: ignore[override]
        """0, unless alpha is 1, with which both sides have the same derivative there."""
        return None if self.alpha == 1 else 0.0

    @property
    def weight_gain(self) -> float:  # type: ignore[override]  # 1 / √E[y²] for x from N(0, 1), as for a leaky ReLU
        return 1 / sqrt(0.5 + 0.1449376 * self.alpha * self.alpha)

    def forward(self, params: Params, x: Array) -> tuple[Array, tuple[Array, Array]]:
        xp = namespace(x)
        positive = x > 0
        y = xp.where(positive, x, self.alpha * xp.expm1(xp.minimum(x, xp.zeros_like(x))))
        return y, (positive, y)

    def gradient(self, residuals: tuple[Array, Array], dy: Array) -> Array:
        positive, y = residuals
        return namespace(dy).where(positive, dy, dy * (y + self.alpha))


@dataclass(frozen=True, repr=False)
class Softmax(Activation):
    """y_k = exp(x_k) / Σ_j exp(x_j) over the last axis; dx = y (dy - Σ_j dy_j y_j).

    To train a classifier, end it with its scores and the loss ``SoftmaxWithLoss`` instead: exact, and cheaper.
    """

    in_float32 = True
    acts_on = "sample"

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        y = softmax(x)
        return y, y

    def gradient(self, y: Array, dy: Array) -> Array:
        return y * (dy - namespace(dy).sum(dy * y, axis=-1, keepdims=True))

    def output_shape(self, shape: Shape) -> Shape:
        return shape


#: The activations that have a name.
ACTIVATIONS = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "gelu": GELU,
    "swish": Swish,
    "softplus": Softplus,
    "elu": ELU,
    "identity": Identity,
}
