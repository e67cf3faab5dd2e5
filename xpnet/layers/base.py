"""What a layer is: a frozen description with a pure forward and backward, and names of its own for what it reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from xpnet._typing import Array, Params
from xpnet.initializers import Generator, HostArray, generator, zeros

#: The shape of one sample, without the batch axis; None where it is not known.
Shape = tuple[int, ...] | None


@dataclass(frozen=True, repr=False)
class Layer(ABC):
    """A description of a computation: a frozen dataclass that holds no arrays.

    A layer without parameters is two methods, ``forward`` and ``backward``; :class:`xpnet.layers.GraphLayer` needs
    none for the way back. The names of a layer's arrays are its own (``W``, ``b``): the network that it stands in makes
    ``W1`` or ``Residual1.W1`` of them. There are three kinds, each a dict of arrays by name:

    - parameters, from :meth:`init`: they have gradients, and optimizers change them;
    - buffers, from :meth:`buffers`: :meth:`train` returns their new values, and :meth:`forward` reads them;
    - draws, from :meth:`draws`: what is random in a training step, drawn on the host, the same for every library.

    ``params`` of the methods below has all of them that there are; draws only in a training step.

    Attributes:
        label: the name of the layer in a network, before its number; by default that of the class.
        acts_on: how far an entry of the input reaches in the output of ``forward``: ``"element"`` (the entry in its
            place alone), ``"sample"`` (its sample) or ``"batch"``, which is assumed of a layer that does not say.
            Numerical gradients are cheaper the less it is.
        kink: the input at which the derivative of an elementwise layer jumps (0.0 for ReLU), or None: gradient checks
            leave out what crosses it.
        weight_gain: what an activation asks of initial weights around it; None hands on what comes from elsewhere.
        keeps_channels: whether a sample (C, ...) becomes one of as many channels, as what acts on elements does, so
            that a network is checked when it is made. Layers that change their number have ``in_channels`` and
            ``out_channels``.
        takes: the input: ``"floating"``, in the dtype of the parameters; ``"any"``, integers too, which the network
            converts to its dtype a minibatch at a time; ``"integers"``, which stay integers.
        in_float32: whether a network that trains in mixed precision leaves it in float32, since it adds up many
            numbers or takes exponentials; products of matrices are faster in 16 bits. Layers with buffers always are.

    >>> import numpy as np
    >>> from xpnet import namespace
    >>> @dataclass(frozen=True)
    ... class Square(Layer):
    ...     acts_on = "element"
    ...
    ...     def forward(self, params, x):
    ...         return x * x, x
    ...
    ...     def backward(self, params, x, dy):
    ...         return 2 * x * dy, {}
    >>> Square().forward({}, np.asarray([3.0]))[0]
    array([9.])
    """

    label: ClassVar[str]
    acts_on: ClassVar[str] = "batch"
    kink: ClassVar[float | None] = None
    weight_gain: ClassVar[float | None] = 1.0
    takes: ClassVar[str] = "floating"
    keeps_channels: ClassVar[bool] = False
    in_float32: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "label" not in vars(cls):
            cls.label = cls.__name__

    @abstractmethod
    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        """Return the output for x (N, ...) and the residuals that :meth:`backward` needs: as when predicting."""

    @abstractmethod
    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        """Return the gradient with respect to the input, and those with respect to the parameters by name.

        An input of integers has no gradient: None.
        """

    def train(self, params: Params, x: Array) -> tuple[Array, Any, Params]:
        """Return output, residuals and the new values of buffers by name: as in a training step."""
        return *self.forward(params, x), {}

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        """Return only the gradients by name, which is all that the first layer of a network is asked for."""
        return self.backward(params, residuals, dy)[1]

    def predict(self, params: Params, x: Array) -> Array:
        """Return the output alone."""
        return self.forward(params, x)[0]

    def init(self, rng: Generator, weight_init: Any) -> dict[str, HostArray]:
        """Return initial values of the parameters by name, drawn on the host: ``weight_init(rng, shape)`` draws some.

        It is also called to find their names and shapes, with a ``weight_init`` that draws nothing.
        """
        return {}

    def buffers(self) -> dict[str, HostArray]:
        """Return initial values of the buffers by name, on the host."""
        return {}

    def draws(self, rng: Generator, shape: tuple[int, ...]) -> dict[str, HostArray]:
        """Return what is random in a training step for an input of this shape (N, ...), by name, drawn on the host."""
        return {}

    def side(self, x: Array) -> Array | None:
        """Return on which side of its kinks each sample (N, ...) of the input is, or None if the layer has no kinks.

        A gradient check leaves out an entry that takes it to another side: there is no derivative to compare with.
        """
        return None if self.kink is None else x > self.kink

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of one sample of the output for one of the input; None where it is not known.

        Raises:
            ValueError: no input of this shape fits.
        """
        return shape if self.acts_on == "element" else None

    @property
    def is_random(self) -> bool:
        """Whether it has draws."""
        return type(self).draws is not Layer.draws

    def __repr__(self) -> str:
        """What one types to make it: ``BatchNorm(50, eps=0.001)``."""
        shown, by_name = [], False
        for f in fields(self):
            value = getattr(self, f.name)
            if f.default is not MISSING and value == f.default:
                by_name = True
            else:
                shown.append(f"{f.name}={value!r}" if by_name else repr(value))
        return f"{type(self).__name__}({', '.join(shown)})"


class Container(Layer):
    """A layer made of layers, such as a chain: the names of its arrays have dots and numbers in them."""

    @property
    @abstractmethod
    def children(self) -> tuple[Layer, ...]:
        """The layers right inside."""

    @abstractmethod
    def with_children(self, children: tuple[Layer, ...]) -> Container:
        """The same with other layers in their places."""

    @property
    def is_random(self) -> bool:
        return any(child.is_random for child in self.children)


def check_layer_kind(layer: Any, where: str = "") -> Layer:
    """The layer itself, or ``TypeError``: a class, a whole network and a layer without a base are none."""
    if isinstance(layer, Layer):
        return layer
    if hasattr(layer, "chain") and hasattr(layer, "loss_layer"):
        raise TypeError(f"{where}{type(layer).__name__} is a whole network, with a loss; put in its layers: net.chain")
    if isinstance(layer, list | tuple):
        raise TypeError(
            f"{where}a {type(layer).__name__} is no layer; give layers one by one: Chain(Affine(4, 3), ReLU())"
        )
    raise TypeError(
        f"{where}{layer!r:.200} is no layer; expected an instance of a subclass of xpnet.layers.Layer: ReLU() or "
        "Affine(784, 10)"
    )


def shapes_of(layer: Layer) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter by name; nothing is drawn, and no memory taken for it."""
    return {name: tuple(a.shape) for name, a in layer.init(generator(0), zeros).items()}
