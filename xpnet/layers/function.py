"""Layers from a forward pass alone: their way back is the graph's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace, quiet
from xpnet.initializers import generator, zeros
from xpnet.layers.base import Layer, Shape, shapes_of


class GraphLayer(Layer):
    """A layer that is one method, ``apply``: what it computes is recorded, and its gradients are the graph's.

    ``apply`` is written with operators and the functions of ``namespace(x)``. It is as exact as a backward written by
    hand, and costs more memory and calls where arrays are eager; compiled and replayed steps have neither. Parameters
    are declared by ``init``, and may be buffers and draws beside them.

    >>> import numpy as np
    >>> from dataclasses import dataclass
    >>> from xpnet import namespace
    >>> @dataclass(frozen=True)
    ... class Swish(GraphLayer):
    ...     acts_on = "element"
    ...
    ...     def apply(self, params, x):
    ...         return x / (1 + namespace(x).exp(-x))
    >>> y, residuals = Swish().forward({}, np.asarray([0.0, 1.0]))
    >>> Swish().backward({}, residuals, np.ones(2))[0].round(4)
    array([0.5   , 0.9277])
    """

    @abstractmethod
    def apply(self, params: Params, x: Array) -> Array:
        """Return the output (N, ...) for x (N, ...); ``params`` as in :meth:`Layer.forward`."""

    @quiet
    def predict(self, params: Params, x: Array) -> Array:
        return self.apply(params, x)

    @quiet
    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        from xpnet.graph import Variable  # later: it takes a third of the time of `import xpnet`

        if isinstance(x, Variable) or any(isinstance(a, Variable) for a in params.values()):
            return self.apply(params, x), (x, params)  # a graph of more than this layer is being recorded
        inputs, arrays = _recorded(x), {name: _recorded(a) for name, a in params.items()}
        y = self._applied(arrays, inputs)
        return y.value, (inputs, arrays, y)

    @quiet
    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        from xpnet.graph.reverse import gradients_of
        from xpnet.graph.wrapper import now

        names, within = list(shapes_of(self)), len(residuals) < 3
        if within:  # gradients that are to be differentiated again: it is applied once more, to be told from the rest
            inputs, arrays = _recorded(residuals[0]), {name: _recorded(a) for name, a in residuals[1].items()}
            since = now()
            y = self._applied(arrays, inputs)
        else:
            since, (inputs, arrays, y) = 0, residuals
        dx, *found = gradients_of(y, [inputs, *(arrays[name] for name in names)], dy, since=since, again=within)
        return dx if inputs.differentiable else None, dict(zip(names, found, strict=True))

    def _applied(self, arrays: Params, inputs: Any) -> Any:
        from xpnet.graph import Variable

        y = self.apply(arrays, inputs)
        if not isinstance(y, Variable):
            raise TypeError(
                f"{type(self).__name__}.apply returned {type(y).__name__}, which does not depend on x by functions "
                "that are recorded; compute with operators and the functions of namespace(x)"
            )
        return y

    def output_shape(self, shape: Shape) -> Shape:
        """What comes of zeros of this shape, with parameters of zeros, on the host."""
        if shape is None:
            return None
        x = zeros(None, (1, *shape)).astype("int64" if self.takes == "integers" else "float64")
        try:
            return tuple(self.predict(self.init(generator(0), zeros) | self.buffers(), x).shape[1:])
        except ValueError as error:
            raise ValueError(f"{self.label}: a sample of shape {shape} does not fit: {error}") from None


@dataclass(frozen=True, repr=False)
class Function(GraphLayer):
    """y = function(x, **parameters), differentiated by the graph.

    Args:
        function: of x (N, ...) and of the parameters by name, written with operators and the functions of
            ``namespace(x)``. A network of it is saved with its parameters; to load them, make the network and call its
            ``load``.
        shapes: the shape of each parameter by name. They start as weights do (``weight_init`` of the network).

    Raises:
        TypeError: function is none.

    >>> from xpnet import Sequential, namespace
    >>> from xpnet.layers import Affine
    >>> def bent(x, a):
    ...     return namespace(x).tanh(x) + a * x
    >>> net = Sequential([Affine(4, 3), Function(bent, {"a": (3,)}), Affine(3, 2)], seed=0)
    >>> list(net.params)
    ['W1', 'b1', 'a1', 'W2', 'b2']
    """

    function: Callable[..., Array]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"Function: function is {self.function!r}, expected a function of an array")

    def __hash__(self) -> int:  # a dict of shapes has none
        return hash((self.function, frozenset((name, tuple(shape)) for name, shape in self.shapes.items())))

    def init(self, rng: Any, weight_init: Any) -> dict[str, Any]:
        return {name: weight_init(rng, tuple(shape)) for name, shape in self.shapes.items()}

    def apply(self, params: Params, x: Array) -> Array:
        return self.function(x, **params)


def _recorded(a: Array) -> Any:
    """An array as a variable that gradients are taken with respect to, or a constant if it is not of real numbers."""
    from xpnet.graph import Variable, constant, variable

    if isinstance(a, Variable):
        if a.differentiable:
            return a
        a = a.value
    return variable(a) if namespace(a).isdtype(a.dtype, "real floating") else constant(a)
