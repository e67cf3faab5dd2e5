"""Layers one after another, as one layer; and how a container names the arrays of the layers in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from xpnet._typing import Array, Params
from xpnet.initializers import Around, Generator, HostArray
from xpnet.layers.base import Container, Layer, Shape, check_layer_kind, shapes_of

NOTHING: Params = {}
#: How a note begins that says which layer an error is of.
NOTE = "in layer "


@dataclass(frozen=True, eq=False)
class Part:
    """A layer in its place: its name, and the names that its arrays have outside of it.

    Attributes:
        name: ``Affine1``.
        layer: the layer.
        shapes: the shapes of its parameters by the names outside.
        outside: the name outside of each parameter and buffer: ``{"W": "W1"}``, ``{"mean": "BatchNorm1.mean"}``.
        buffers: the shapes of its buffers by the names outside.
        is_random: whether it has draws, which are named ``Dropout1.mask``.
        trains_apart: whether ``train`` is another computation than ``forward``.
    """

    name: str
    layer: Layer
    shapes: dict[str, tuple[int, ...]]
    buffers: dict[str, tuple[int, ...]]
    outside: dict[str, str]
    is_random: bool
    trains_apart: bool

    def view(self, params: Params) -> Params:
        """The arrays of this layer by its own names."""
        found = dict(zip(self.outside, map(params.__getitem__, self.outside.values()), strict=True))
        if self.is_random:
            start = self.name + "."
            drawn = {name.removeprefix(start): a for name, a in params.items() if name.startswith(start)}
            found = drawn | found
        return found

    def named(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Arrays of this layer by the names outside."""
        return {self.outside.get(local) or f"{self.name}.{local}": a for local, a in arrays.items()}

    def call(self, method: str, *args: Any) -> Any:
        """What a method of the layer returns; an error says which layer it is of."""
        try:
            return getattr(self.layer, method)(*args)
        except Exception as error:
            self.sign(error)
            raise

    def sign(self, error: Exception) -> None:
        """Have an error say which layer it is of: in its text if that begins with a layer, else in a note."""
        start, text, inner = self.layer.label, str(error), isinstance(self.layer, Container)
        notes = getattr(error, "__notes__", [])
        if text.startswith((f"{start}: ", f"{start}.")):
            error.args = (self.name + text.removeprefix(start),)
        elif notes and notes[-1].startswith(NOTE):
            notes[-1] = f"{NOTE}{self.name}.{notes[-1].removeprefix(NOTE)}"
        elif inner and re.match(r"[A-Z]\w*[.:]", text):
            error.args = (f"{self.name}.{text}",)
        else:
            error.add_note(f"{NOTE}{self.name}")


def parts_of(layers: Iterable[Any]) -> tuple[Part, ...]:
    """Layers in their places, named by their kind and how many of it came before.

    The number behind a parameter's name is the least that gives all parameters of its layer names that no layer before
    has: W1, b1, gamma1, beta1, W2, b2. Those of containers are called by the container: Residual1.W1.

    Raises:
        TypeError: something is no layer.
        ValueError: a layer with parameters or buffers stands twice, or names that cannot be told apart.
    """
    found, kinds, used, taken = list[Part](), Counter[str](), Counter[str](), set[str]()
    for given in layers:
        layer = check_layer_kind(given)
        kinds[layer.label] += 1
        name = f"{layer.label}{kinds[layer.label]}"
        shapes, buffers = shapes_of(layer), {local: tuple(a.shape) for local, a in layer.buffers().items()}
        if isinstance(layer, Container):
            outside = {local: f"{name}.{local}" for local in shapes}
        else:
            check_names(name, shapes, buffers)
            number = 1 + max((used[local] for local in shapes), default=0)
            used.update(dict.fromkeys(shapes, 0))
            used |= Counter(dict.fromkeys(shapes, number))
            outside = {local: f"{local}{number}" for local in shapes}
        outside |= {local: f"{name}.{local}" for local in buffers}
        if twice := taken & set(outside.values()):
            raise ValueError(f"{name} has {min(twice)}, as a layer before it; give one of its arrays another name")
        taken |= set(outside.values())
        trains_apart = type(layer).train is not Layer.train
        found.append(
            Part(
                name,
                layer,
                {outside[local]: shape for local, shape in shapes.items()},
                {outside[local]: shape for local, shape in buffers.items()},
                outside,
                layer.is_random,
                trains_apart,
            )
        )
    check_no_layer_twice(found)
    return tuple(found)


def check_names(name: str, parameters: Iterable[str], buffers: Iterable[str]) -> None:
    """Raise ``ValueError`` unless the names of a layer's arrays can be part of others, and none is there twice."""
    parameters = list(parameters)
    for local in (*parameters, *buffers):
        if not isinstance(local, str) or not local.isidentifier():
            raise ValueError(f"{name} calls an array {local!r}, expected a name such as 'W'")
    if both := {*parameters} & {*buffers}:
        raise ValueError(f"{name} has a parameter and a buffer {min(both)!r}, expected different names")


def check_no_layer_twice(parts: Iterable[Part]) -> None:
    """Raise ``ValueError`` where one object with arrays stands in two places: it would not share them."""
    seen: dict[int, str] = {}
    for path, layer in (leaf for part in parts for leaf in leaves_of(part.layer, part.name)):
        if not shapes_of(layer) and not layer.buffers():
            continue
        if id(layer) in seen:
            raise ValueError(
                f"{path} is the same object as {seen[id(layer)]}, {layer!r}, and layers do not share weights; "
                "write a layer anew for each place"
            )
        seen[id(layer)] = path


def leaves_of(layer: Layer, path: str) -> Iterator[tuple[str, Layer]]:
    """Every layer in this one that is no container, with its path: ``Residual1.Affine2``."""
    if isinstance(layer, Several):
        for part in layer.parts:
            yield from leaves_of(part.layer, f"{path}.{part.name}")
    elif isinstance(layer, Container):
        for child in layer.children:
            yield from leaves_of(child, path)
    else:
        yield path, layer


@dataclass(frozen=True, init=False, repr=False)
class Several(Container):
    """A container of any number of layers, each with a name."""

    layers: tuple[Layer, ...]
    parts: tuple[Part, ...] = field(init=False, repr=False, compare=False)

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ValueError(f"{type(self).__name__} has no layers in it, expected one or more")
        object.__setattr__(self, "parts", parts_of(layers))
        object.__setattr__(self, "layers", layers)

    @property
    def children(self) -> tuple[Layer, ...]:
        return self.layers

    def with_children(self, children: tuple[Layer, ...]) -> Container:
        return type(self)(*children)

    @classmethod
    def from_fields(cls, layers: tuple[Layer, ...]) -> Several:
        """The same from its fields by name, as a file has them."""
        return cls(*layers)

    def buffers(self) -> dict[str, HostArray]:
        return {name: a for part in self.parts for name, a in part.named(part.layer.buffers()).items()}

    def init(self, rng: Generator, weight_init: Any) -> dict[str, HostArray]:
        drawn: dict[str, HostArray] = {}
        for part in self.parts:
            drawn |= part.named(part.layer.init(rng, weight_init))
        return drawn

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"


class Chain(Several):
    """Layers one after another: y = f_n(... f_2(f_1(x))).

    Args:
        layers: each is named by its kind and how many of it came before (``Affine1``, ``Relu1``, ``Affine2``), and its
            parameters by the book's numbers (``W1``, ``b1``, ``W2``, ``b2``). Inside of a network these names follow
            that of the container: ``Residual1.W1``.

    Raises:
        TypeError: something is no layer.
        ValueError: no layers, shapes that do not fit together, or a layer with parameters that stands twice.

    >>> import numpy as np
    >>> from xpnet.layers import Affine, ReLU
    >>> chain = Chain(Affine(4, 3), ReLU(), Affine(3, 2))
    >>> list(chain.init(np.random.default_rng(0), lambda rng, shape: rng.normal(size=shape)))
    ['W1', 'b1', 'W2', 'b2']
    >>> chain.output_shape((4,))
    (2,)
    >>> Chain(Affine(4, 3), ReLU(), Affine(5, 2))
    Traceback (most recent call last):
    ValueError: Affine2: a sample of shape (3,) does not fit, expected 5 elements; it comes from Relu1
    """

    _first: int | None  # the first layer with parameters

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        with_parameters = [i for i, part in enumerate(self.parts) if part.shapes]
        object.__setattr__(self, "_first", with_parameters[0] if with_parameters else None)
        self.output_shape(None)
        check_channels(self.parts)

    def forward(self, params: Params, x: Array) -> tuple[Array, Any]:
        tape = []
        for part in self.parts:
            view = part.view(params) if part.outside or part.is_random else NOTHING
            try:
                x, residuals = part.layer.forward(view, x)
            except Exception as error:
                part.sign(error)
                raise
            tape.append((view, residuals))
        return x, tape

    def train(self, params: Params, x: Array) -> tuple[Array, Any, Params]:
        tape, updates = [], dict[str, Array]()
        for part in self.parts:
            view = part.view(params) if part.outside or part.is_random else NOTHING
            try:
                if part.trains_apart:
                    x, residuals, changed = part.layer.train(view, x)
                    updates |= part.named(changed)
                else:
                    x, residuals = part.layer.forward(view, x)
            except Exception as error:
                part.sign(error)
                raise
            tape.append((view, residuals))
        return x, tape, updates

    def predict(self, params: Params, x: Array) -> Array:
        for part in self.parts:
            try:
                x = part.layer.predict(part.view(params) if part.outside or part.is_random else NOTHING, x)
            except Exception as error:
                part.sign(error)
                raise
        return x

    def backward(self, params: Params, residuals: Any, dy: Array) -> tuple[Array, Params]:
        return self._backward(residuals, dy, 0)

    def parameter_gradients(self, params: Params, residuals: Any, dy: Array) -> Params:
        if self._first is None:
            return {}
        # nobody asks for the gradient of the input, and where arrays are eager it would be a third of the work
        dy, grads = self._backward(residuals, dy, self._first + 1)
        part, (view, kept) = self.parts[self._first], residuals[self._first]
        try:
            return part.named(part.layer.parameter_gradients(view, kept, dy)) | grads
        except Exception as error:
            part.sign(error)
            raise

    def _backward(self, tape: Any, dy: Array, start: int) -> tuple[Array, Params]:
        """From the end to layer number ``start``."""
        grads: Params = {}
        for part, (view, residuals) in zip(reversed(self.parts[start:]), reversed(tape[start:]), strict=True):
            try:
                dy, found = part.layer.backward(view, residuals, dy)
            except Exception as error:
                part.sign(error)
                raise
            for local, g in found.items():
                grads[part.outside[local]] = g
        return dy, grads

    def init(self, rng: Generator, weight_init: Any) -> dict[str, HostArray]:
        if not isinstance(weight_init, Around):
            return super().init(rng, weight_init)
        layers, drawn = self.layers, dict[str, HostArray]()
        last = max((i for i, part in enumerate(self.parts) if part.shapes), default=0)
        for i, part in enumerate(self.parts):
            before = gain_of(reversed(layers[:i]), weight_init.before, last_first=True)
            behind = weight_init.behind if i == last else gain_of(layers[i + 1 :], weight_init.behind)
            drawn |= part.named(part.layer.init(rng, Around(before, behind)))
        return drawn

    def draws(self, rng: Generator, shape: tuple[int, ...]) -> dict[str, HostArray]:
        here, found = shape[1:], dict[str, HostArray]()
        last = max((i for i, part in enumerate(self.parts) if part.is_random), default=-1)
        for i, part in enumerate(self.parts[: last + 1]):
            if part.is_random:
                found |= part.named(part.layer.draws(rng, (shape[0], *here)))
            if i < last:
                here = known_shape(part, here)
        return found

    def output_shape(self, shape: Shape) -> Shape:
        before = ""
        for part in self.parts:
            try:
                shape = part.layer.output_shape(shape)
            except ValueError as error:
                part.sign(error)
                if before and "it comes from" not in str(error):
                    error.args = (f"{error}; it comes from {before}",)
                raise
            before = part.name
        return shape

    @property
    def takes(self) -> str:  # type: ignore[override]
        return self.layers[0].takes

    @property
    def acts_on(self) -> str:  # type: ignore[override]
        return widest(self.layers)


def first_leaves(layer: Layer, path: str = "") -> list[tuple[str, Layer]]:
    """The layers that get the input of this one as it is, and their paths: ``Concat1.Embedding2``."""
    if isinstance(layer, Several):
        parts, start = layer.parts[:1] if isinstance(layer, Chain) else layer.parts, f"{path}." if path else ""
        return [leaf for part in parts for leaf in first_leaves(part.layer, start + part.name)]
    if isinstance(layer, Container):
        return [leaf for child in layer.children for leaf in first_leaves(child, path)]
    return [(path, layer)]


def check_channels(parts: Iterable[Part]) -> None:
    """Raise ``ValueError`` where a layer gets another number of channels than it takes, whatever the images' size."""
    known, before = None, ""
    for part in parts:
        wanted, made = (getattr(part.layer, name, None) for name in ("in_channels", "out_channels"))
        if known is not None and wanted is not None and wanted != known:
            raise ValueError(f"{part.name}: takes {wanted} channels and gets {known}; they come from {before}")
        if made is not None:
            known, before = made, part.name
        elif not part.layer.keeps_channels and part.layer.acts_on != "element":
            known = None


def known_shape(part: Part, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a sample behind a layer, or ``ValueError`` if the layer does not say."""
    found = part.layer.output_shape(shape)
    if found is None:
        raise ValueError(
            f"{part.name} does not say what shape it makes of {shape}, and a layer behind it draws an array of its "
            "input's shape; give it a method output_shape(shape)"
        )
    return found


def widest(layers: Iterable[Layer]) -> str:
    """How far an entry reaches through all of them."""
    return max((layer.acts_on for layer in layers), key=("element", "sample", "batch").index, default="element")


def gain_of(layers: Iterable[Layer], otherwise: float | None, *, last_first: bool = False) -> float | None:
    """The ``weight_gain`` of the first of these layers that has one; chains among them are looked into."""
    for layer in layers:
        inside = layer.layers if isinstance(layer, Chain) else None
        gain = layer.weight_gain if inside is None else gain_of(reversed(inside) if last_first else inside, None)
        if gain is not None:
            return gain
    return otherwise
