"""Containers that are no chain: residual connections, sums and concatenations, and a layer for each time step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from xpnet._typing import Array, Params
from xpnet.backends.dispatch import namespace
from xpnet.initializers import Generator, HostArray
from xpnet.layers.base import Container, Layer, Shape, check_layer_kind
from xpnet.layers.chain import NOTHING, Several, widest


@dataclass(frozen=True, repr=False)
class Wrapped(Container):
    """A container of one layer, which hands the names of its arrays on as they are."""

    inner: Layer

    def __post_init__(self) -> None:
        check_layer_kind(self.inner, f"{type(self).__name__}: ")

    @property
    def children(self) -> tuple[Layer, ...]:
        return (self.inner,)

    def with_children(self, children: tuple[Layer, ...]) -> Container:
        return replace(self, inner=children[0])

    def inner_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a sample that goes into the inner layer."""
        return shape

    def init(self, rng: Generator, weight_init: Any) -> dict[str, HostArray]:
        return self.inner.init(rng, weight_init)

    def buffers(self) -> dict[str, HostArray]:
        return self.inner.buffers()

    def draws(self, rng: Generator, shape: tuple[int, ...]) -> dict[str, HostArray]:
        return self.inner.draws(rng, shape)

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        return self.inner.parameter_gradients(params, residuals, dy)

    @property
    def acts_on(self) -> str:  # type: ignore[override]
        return self.inner.acts_on

    @property
    def takes(self) -> str:  # type: ignore[override]
        return self.inner.takes


@dataclass(frozen=True, repr=False)
class Residual(Wrapped):
    """y = x + f(x); dx = dy + f'(x)ᵀ dy.

    He, Zhang, Ren, Sun, "Deep residual learning for image recognition" (2016).

    Args:
        inner: f, a layer that keeps the shape of a sample: a :class:`Chain`, for example.

    Raises:
        TypeError: inner is no layer.
        ValueError: a shape that f changes; in a network when the network is made, as far as shapes are known then.

    >>> from xpnet.layers import Affine, Chain, Tanh
    >>> Residual(Chain(Affine(4, 8), Tanh(), Affine(8, 4))).output_shape((4,))
    (4,)
    """

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        y, residuals = self.inner.forward(params, x)
        return self._sum(x, y), residuals

    def train(self, params: Params, x: Array) -> tuple[Array, Any, Params]:
        y, residuals, updates = self.inner.train(params, x)
        return self._sum(x, y), residuals, updates

    def predict(self, params: Params, x: Array) -> Array:
        return self._sum(x, self.inner.predict(params, x))

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        dx, grads = self.inner.backward(params, residuals, dy)
        return dy + dx, grads

    def output_shape(self, shape: Shape) -> Shape:
        found = self.inner.output_shape(shape)
        if None not in (shape, found) and found != shape:
            raise ValueError(
                f"Residual: it adds samples of shape {shape} and {found}, expected one shape; Add(f, g) takes "
                "another g than the identity"
            )
        return shape if found is None else found

    def _sum(self, x: Array, y: Array) -> Array:
        if x.shape != y.shape:
            raise ValueError(f"Residual: x has shape {tuple(x.shape)} and f(x) {tuple(y.shape)}, expected one shape")
        return x + y


@dataclass(frozen=True, repr=False)
class TimeDistributed(Wrapped):
    """The same layer for each step of a sequence: x (N, T, ...) goes in as (N T, ...), and comes out as (N, T, ...).

    An ``Affine`` takes all elements of a sample together, and in here those of one step.

    Args:
        inner: the layer for one step.

    >>> from xpnet.layers import Affine
    >>> TimeDistributed(Affine(4, 3)).output_shape((7, 4))
    (7, 3)
    """

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        y, residuals = self.inner.forward(params, self._joined(x))
        return self._apart(x, y), (residuals, tuple(x.shape))

    def train(self, params: Params, x: Array) -> tuple[Array, Any, Params]:
        y, residuals, updates = self.inner.train(params, self._joined(x))
        return self._apart(x, y), (residuals, tuple(x.shape)), updates

    def predict(self, params: Params, x: Array) -> Array:
        return self._apart(x, self.inner.predict(params, self._joined(x)))

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        kept, shape = residuals
        dx, grads = self.inner.backward(params, kept, self._joined(dy))
        return dx if dx is None else namespace(dx).reshape(dx, shape), grads

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        return self.inner.parameter_gradients(params, residuals[0], self._joined(dy))

    def inner_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[1:]

    def draws(self, rng: Generator, shape: tuple[int, ...]) -> dict[str, HostArray]:
        return self.inner.draws(rng, (shape[0] * shape[1], *shape[2:]))

    def output_shape(self, shape: Shape) -> Shape:
        if shape is None:
            return None
        if not shape:
            raise ValueError("TimeDistributed: samples are numbers, expected sequences (T, ...)")
        found = self.inner.output_shape(shape[1:])
        return None if found is None else (shape[0], *found)

    def _joined(self, x: Array) -> Array:
        if x.ndim < 2:
            raise ValueError(f"TimeDistributed: x has shape {tuple(x.shape)}, expected sequences (N, T, ...)")
        return namespace(x).reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))

    def _apart(self, x: Array, y: Array) -> Array:
        return namespace(y).reshape(y, (*x.shape[:2], *y.shape[1:]))

    @property
    def acts_on(self) -> str:  # type: ignore[override]
        return "batch" if self.inner.acts_on == "batch" else "sample"


@dataclass(frozen=True, init=False, repr=False)
class Parallel(Several):
    """Layers that all get the same x; a subclass says what is made of their outputs.

    Raises:
        ValueError: some take integers and others do not.
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        kinds = {part.name: part.layer.takes == "integers" for part in self.parts}
        if len(set(kinds.values())) > 1:
            taking, others = (
                ", ".join(name for name, takes in kinds.items() if takes is kind) for kind in (True, False)
            )
            raise ValueError(
                f"{type(self).__name__}: {taking} for integers beside {others} for other numbers, and all get one input"
            )

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        views = self._views(params)
        pairs = [part.call("forward", view, x) for part, view in zip(self.parts, views, strict=True)]
        outputs = [y for y, _ in pairs]
        kept = [(view, residuals) for view, (_, residuals) in zip(views, pairs, strict=True)]
        return self.join(outputs), (kept, [tuple(y.shape) for y in outputs])

    def train(self, params: Params, x: Array) -> tuple[Array, Any, Params]:
        outputs, kept, updates = [], [], dict[str, Array]()
        for part, view in zip(self.parts, self._views(params), strict=True):
            y, residuals, changed = part.call("train", view, x)
            updates |= part.named(changed)
            outputs.append(y)
            kept.append((view, residuals))
        return self.join(outputs), (kept, [tuple(y.shape) for y in outputs]), updates

    def predict(self, params: Params, x: Array) -> Array:
        views = self._views(params)
        return self.join([part.call("predict", view, x) for part, view in zip(self.parts, views, strict=True)])

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        kept, shapes = residuals
        total, grads = None, dict[str, Array]()
        for part, (view, inside), piece in zip(self.parts, kept, self.pieces(dy, shapes), strict=True):
            dx, found = part.call("backward", view, inside, piece)
            grads |= part.named(found)
            if dx is not None:
                total = dx if total is None else total + dx
        return total, grads

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        kept, shapes = residuals
        grads: Params = {}
        for part, (view, inside), piece in zip(self.parts, kept, self.pieces(dy, shapes), strict=True):
            grads |= part.named(part.call("parameter_gradients", view, inside, piece))
        return grads

    def draws(self, rng: Generator, shape: tuple[int, ...]) -> dict[str, HostArray]:
        return {name: a for part in self.parts for name, a in part.named(part.layer.draws(rng, shape)).items()}

    def output_shape(self, shape: Shape) -> Shape:
        return self.joined_shape([part.call("output_shape", shape) for part in self.parts])

    def join(self, outputs: list[Array]) -> Array:
        """What is made of the outputs."""
        raise NotImplementedError(self._undefined("join"))

    def pieces(self, dy: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
        """The gradient for each output."""
        raise NotImplementedError(self._undefined("pieces"))

    def joined_shape(self, shapes: list[Shape]) -> Shape:
        """The shape of a sample of the joined output."""
        raise NotImplementedError(self._undefined("joined_shape"))

    def _undefined(self, what: str) -> str:
        return f"{type(self).__name__} does not define {what}; take Add or Concat, or a subclass of Parallel that does"

    def _views(self, params: Params) -> list[Params]:
        return [part.view(params) if part.outside or part.is_random else NOTHING for part in self.parts]

    @property
    def takes(self) -> str:  # type: ignore[override]
        kinds = {layer.takes for layer in self.layers}
        return kinds.pop() if len(kinds) == 1 else "floating"

    @property
    def acts_on(self) -> str:  # type: ignore[override]
        return widest(self.layers)


class Add(Parallel):
    """y = f_1(x) + f_2(x) + ...: branches whose outputs have one shape.

    Args:
        layers: f_1, f_2, ..., one by one: ``Add(Affine(4, 3), Affine(4, 3))``.

    >>> from xpnet.initializers import glorot, generator
    >>> from xpnet.layers import Affine
    >>> list(Add(Affine(4, 3), Affine(4, 3)).init(generator(0), glorot()))
    ['W1', 'b1', 'W2', 'b2']
    """

    def join(self, outputs: list[Array]) -> Array:
        if len({tuple(y.shape) for y in outputs}) > 1:
            raise ValueError(f"Add: its layers return {[tuple(y.shape) for y in outputs]}, expected one shape")
        first, *others = outputs
        for y in others:
            first = first + y
        return first

    def pieces(self, dy: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
        return [dy] * len(shapes)

    def joined_shape(self, shapes: list[Shape]) -> Shape:
        known = {shape for shape in shapes if shape is not None}
        if len(known) > 1:
            raise ValueError(f"Add: its layers make samples of shapes {shapes}, expected one shape")
        return next(iter(known), None)


class Concat(Parallel):
    """y = (f_1(x), f_2(x), ...), one behind the other along the first axis of a sample: features, or channels.

    Args:
        layers: f_1, f_2, ..., one by one: ``Concat(Affine(4, 3), Affine(4, 5))``.

    >>> from xpnet.layers import Affine
    >>> Concat(Affine(4, 3), Affine(4, 5)).output_shape((4,))
    (8,)
    """

    def join(self, outputs: list[Array]) -> Array:
        if len({(y.shape[0], *y.shape[2:]) for y in outputs}) > 1 or outputs[0].ndim < 2:
            shapes = [tuple(y.shape) for y in outputs]
            raise ValueError(f"Concat: its layers return {shapes}, expected (N, F, ...), the same but for F")
        return namespace(outputs[0]).concat(outputs, axis=1)

    def pieces(self, dy: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
        found, start = [], 0
        for shape in shapes:
            found.append(dy[:, start : start + shape[1], ...])
            start += shape[1]
        return found

    def joined_shape(self, shapes: list[Shape]) -> Shape:
        known = [shape for shape in shapes if shape is not None]
        if any(not shape for shape in known) or len({shape[1:] for shape in known}) > 1:
            raise ValueError(
                f"Concat: its layers make samples of shapes {shapes}, expected the same but for the first axis"
            )
        return (sum(shape[0] for shape in known), *known[0][1:]) if len(known) == len(shapes) else None

    @property
    def acts_on(self) -> str:  # type: ignore[override]
        return "batch" if widest(self.layers) == "batch" else "sample"
