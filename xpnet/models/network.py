"""Networks: where parameters live. ``net.params`` owns each of them; layers read it by name."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from math import prod
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np

from xpnet._typing import Array, Layer, Loss, Params
from xpnet.backends.dispatch import (
    Backend,
    check_same_backend,
    device,
    dtype_name,
    get_backend,
    name_of,
    namespace,
    quiet,
)
from xpnet.functions import check_labels
from xpnet.gradient.network import parameter_gradients, widened
from xpnet.initializers import Initializer, initializers_of
from xpnet.losses import SoftmaxWithLoss
from xpnet.serialization import network as files
from xpnet.validation import as_array, as_input, as_samples, check_detached

#: Samples that go through a network at once when it only predicts: enough to keep a device busy, few enough to fit.
CHUNK = 10_000


class Sequential:
    """Layers one after another, and a loss at the end.

    Args:
        layers: at least one of them with parameters. Each is named by its kind and how many of it came before
            (``Affine1``, ``Relu1``, ``Affine2``), and its parameters by how many layers with parameters came before
            (``W1``, ``b1``, ``W2``, ``b2``).
        loss: by default softmax with cross-entropy.
        weight_init: ``"auto"``, by the activations around each layer (:func:`xpnet.initializers.initializers_of`); or
            for all layers alike the name of an initializer, a standard deviation, or an initializer.
        seed: an int, None for a fresh one each time, or a ``numpy.random.Generator`` to go on drawing from.
        dtype: ``"float32"`` or ``"float64"``.
        backend, device: see :func:`xpnet.get_backend`.

    Attributes:
        params: every parameter by name, arrays of ``backend``.
        layers: every layer by name, in order.
        loss_layer: the loss.
        backend: where the arrays are; it also moves data there: ``net.backend.asarray(x)``.

    A network can be sent to another process. Have ``multiprocessing`` start its processes with
    ``get_context("spawn")`` or ``"forkserver"``: one that is made by fork while another thread is in a large product
    waits for ever for threads of BLAS that it does not have, with plain NumPy as well, and JAX, PyTorch and CUDA do not
    survive a fork either.

    >>> from xpnet.layers import Affine, Tanh
    >>> net = Sequential([Affine(784, 30), Tanh(), Affine(30, 10)], seed=0)
    >>> list(net.layers), list(net.params)
    (['Affine1', 'Tanh1', 'Affine2'], ['W1', 'b1', 'W2', 'b2'])
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        loss: Loss | None = None,
        *,
        weight_init: str | float | Initializer = "auto",
        seed: int | np.random.Generator | None = None,
        dtype: Any = "float32",
        backend: str | Backend | None = None,
        device: Any = None,
    ) -> None:
        if loss is not None and (isinstance(loss, type) or not hasattr(loss, "backward")):
            raise TypeError(f"loss is {loss!r}, expected an instance such as SoftmaxWithLoss()")
        self.layers = named(layers)
        self._first = next(i for i, layer in enumerate(self.layers.values()) if layer.shapes)
        self.loss_layer: Loss = SoftmaxWithLoss() if loss is None else loss
        self.backend = get_backend(backend, device)
        self.dtype = self.backend.dtype(dtype)
        draws, rng = initializers_of(weight_init, self.layers.values()), np.random.default_rng(seed)
        drawn = {
            k: v
            for layer, draw in zip(self.layers.values(), draws, strict=True)
            for k, v in layer.init(rng, draw).items()
        }
        self.params: Params = self.moved(drawn)
        self.buffers: Params = {}

    @property
    def takes(self) -> str:
        return getattr(next(iter(self.layers.values())), "takes", "floating")

    @property
    def is_random(self) -> bool:
        return any(hasattr(layer, "masks") for layer in self.layers.values())

    def own_buffers(self) -> Params:
        return dict(self.buffers)

    def draws(self, rng: Any, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for name, inside in self.mask_shapes(self.moved({"x": np.zeros((1, *shape[1:]))})["x"]).items():
            found |= self.layers[name].masks(rng, (shape[0], *inside))  # type: ignore[attr-defined]
        return found

    def training_value_and_grad(
        self, params: Params, x: Array, t: Array, weight: Array | None = None
    ) -> tuple[Array, Params, Params]:
        if weight is None:
            return *self.value_and_grad(params, self._floating(x), t), {}
        plain = self.loss_layer.forward
        other = copy.copy(self)
        other.loss_layer = copy.copy(self.loss_layer)
        object.__setattr__(other.loss_layer, "forward", lambda y, t: plain(y, t, weight))
        return *other.value_and_grad(params, self._floating(x), t), {}

    def _floating(self, x: Array) -> Array:
        return x if x.dtype == self.dtype else namespace(x).astype(x, self.dtype)

    @quiet
    def forward(self, params: Params, x: Array) -> Array:
        """Scores of x, as a pure function of the parameters; nothing is checked."""
        x = self._floating(x)
        for layer in self.layers.values():
            x, _ = layer.forward(params, x)
        return x

    @quiet
    def value_and_grad(self, params: Params, x: Array, t: Array) -> tuple[Array, Params]:
        """The loss of a batch and its gradients by name, as a pure function; nothing is checked, nothing is read back.

        This is what a training step calls, what ``jax.jit`` may compile and what a gradient check checks.
        """
        tape = []
        for layer in self.layers.values():
            x, residuals = layer.forward(params, x)
            tape.append((layer, residuals))
        loss, residuals = self.loss_layer.forward(x, t)
        dy, grads = self.loss_layer.backward(residuals), dict[str, Array]()
        for layer, residuals in reversed(tape[self._first + 1 :]):
            dy, found = layer.backward(params, residuals, dy)
            grads |= found
        # nobody asks for the gradient of the input, and where arrays are eager it would be a third of the work
        layer, residuals = tape[self._first]
        grads |= layer.parameter_gradients(params, residuals, dy)
        return loss, {name: grads[name] for name in self.params}

    def predict(self, x: Array) -> Array:
        """Scores (N, outputs) of samples x (N, ...), or (outputs,) of one sample (inputs,).

        Scores are what comes before softmax; ``xpnet.functions.softmax`` makes probabilities of them. A NaN in x
        comes out as NaN: values are not looked at, so that the device need not be waited for.

        Args:
            x: an array of the network's backend and device; float64 and other floating-point dtypes are converted to
                that of the network, and lists, DataFrames and Series of numbers to arrays.

        Raises:
            TypeError: x is of another backend, or holds integers or complex numbers.
            ValueError: x is on another device, is empty or has another number of columns.
        """
        x, params = as_input(x, self.backend, self.dtype), self.own_params()
        if x.ndim == 1:
            return self.forward(params, x[None, :])[0, ...]
        return self.forward(params, x)

    @quiet
    def loss(self, x: Array, t: Array) -> Array:
        """The loss of a batch as a 0-d array; x and t as :meth:`gradient` takes them."""
        x, t = self.as_batch(x, t)
        return self.loss_layer.forward(self.forward(self.own_params(), x), t)[0]

    def accuracy(self, x: Array, t: Array) -> float:
        """The share of samples, 0 to 1, whose largest score is that of their label; x and t as in :meth:`gradient`.

        With ``SigmoidWithLoss`` it is the share of outputs on the right side of zero. With a squared error, one output
        is no class, nor are targets that are neither labels nor one-hot, and this is a ``ValueError``.
        """
        x, t = self.as_batch(x, t)
        found = self.evaluate(self.own_params(), x, t)[1]
        if found is None:
            what = "targets are numbers" if self.classifies else "the one output of this network is none"
            raise ValueError(f"accuracy compares classes, and {what}; look at the loss")
        return found

    @quiet
    def evaluate(self, params: Params, x: Array, t: Array, weight: Array | None = None) -> tuple[float, float | None]:
        """The loss of samples, and :meth:`accuracy` or None where there are no classes, without the checks; in chunks.

        Args:
            params: by name, in the place of ``self.params``.
            x, t: as in :meth:`gradient`.
        """
        xp, total, right, seen, n = namespace(x), 0.0, 0, 0, x.shape[0]
        classes, tells = self.classifies, getattr(self.loss_layer, "names_classes", None)
        for start in range(0, n, CHUNK):
            part = slice(start, min(start + CHUNK, n))
            chunk, targets = x[part, ...], t[part, ...]
            scores = self.forward(params, chunk)
            if weight is not None:
                mass, whole = float(xp.sum(weight[part])), float(xp.sum(weight))
                total += float(self.loss_layer.forward(scores, targets, weight[part])[0]) * mass / whole
                hits = xp.astype(self.loss_layer.hits(scores, targets), self.dtype)
                right, seen = right + float(xp.sum(hits * weight[part])), seen + mass  # type: ignore[assignment]
                continue
            share = chunk.shape[0] / n if getattr(self.loss_layer, "reduction", "mean") == "mean" else 1
            total += float(self.loss_layer.forward(scores, targets)[0]) * share
            classes = classes and (tells is None or tells(scores, targets))
            if classes:
                hits = self.loss_layer.hits(scores, targets)
                right, seen = right + int(xp.sum(xp.astype(hits, xp.int32))), seen + prod(hits.shape)
        return total, right / seen if classes else None

    def gradient(self, x: Array, t: Array) -> Params:
        """The gradients of the loss by name, by backpropagation.

        Args:
            x: samples (N, ...), or one sample (inputs,), finite, as :meth:`predict` takes them.
            t: labels (N,) of any integer dtype, or one-hot (N, outputs); for losses other than softmax, targets in
                the shape of the outputs.

        Raises:
            TypeError: another backend, integers as samples, or complex numbers.
            ValueError: another device, an empty batch, a wrong number of columns, NaN or infinity, labels that the
                network has no output for, fractional labels, one-hot rows of another width.
        """
        x, t = self.as_batch(x, t)
        return self.value_and_grad(self.own_params(), x, t)[1]

    @quiet
    def numerical_gradient(
        self, x: Array, t: Array, *, h: float | None = None, max_bytes: int | None = None, progress: bool = True
    ) -> Params:
        """The gradients of the loss by name, by central difference, from forward passes alone.

        It is computed in float64 where the library has it, and agrees with :meth:`gradient` to about 1e-8 of the
        largest entry, but for kinks (:func:`xpnet.check_gradient` tells which); where it has only float32, to 1e-2.

        Args:
            x, t: as in :meth:`gradient`, which also says what is raised.
            h: the step, by default as in :func:`xpnet.numerical_gradient`.
            max_bytes: about how much memory to take on top of the network; by default what suits the device.
            progress: whether to show a progress bar once it takes longer than a second.
        """
        x, t = self.as_batch(x, t)
        params, wide = widened(self.own_params(), x)
        found = parameter_gradients(self, params, wide, t, h=h, max_bytes=max_bytes, progress=progress)
        return {name: namespace(f.gradient).astype(f.gradient, self.dtype) for name, f in found.items()}

    def to(self, backend: str | Backend, device: Any = None) -> Self:
        """The same network on another backend or device, with parameters of its own."""
        other = copy.copy(self)
        host = {name: self.backend.to_numpy(p) for name, p in self.params.items()}
        other.backend = get_backend(backend, device)
        other.dtype = other.backend.dtype(dtype_name(self.dtype))
        other.params = other.moved(host)
        return other

    def save(self, path: str | Path) -> None:
        """Write the parameters as safetensors, which any of its readers loads, with the architecture in the metadata.

        The file is there whole or not at all. :func:`xpnet.load_network` makes the network again from it.
        """
        files.save(self, path)

    def load(self, path: str | Path) -> None:
        """Take the parameters from a file of weights or a checkpoint: all of them, or none and an error.

        Raises:
            OSError: the file cannot be read.
            CheckpointError: it is no safetensors file or a damaged one, or its names, shapes or dtypes are not those of
                this network; each difference is listed.
        """
        self.params = files.load(self, path)

    def own_params(self) -> Params:
        """The parameters as they are computed with, also if somebody assigned others: in this network's dtype.

        Raises:
            TypeError: one is no array of this backend, or its library records its gradients.
            ValueError: one is missing, is not floating-point, or has another shape or device.
        """
        expected = self._shapes
        if self.params.keys() != expected.keys():
            raise ValueError(f"the network has parameters {list(self.params)}, expected {list(expected)}")
        library, dtype, where = self.backend.name, self.dtype, self.backend.device
        found = {}
        for name, p in self.params.items():  # most are as they were made, which is seen in a microsecond
            alike = name_of(p) == library and p.dtype == dtype and p.shape == expected[name] and device(p) == where
            found[name] = p if alike and not getattr(p, "requires_grad", False) else self._own(name, p, expected[name])
        return found

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(shape) for layer in self.layers.values() for name, shape in layer.shapes.items()}

    def _own(self, name: str, p: Array, shape: tuple[int, ...]) -> Array:
        check_same_backend(p, f"net.params[{name!r}]", self.backend, "the network")
        check_detached(p, f"net.params[{name!r}]")
        xp = namespace(p)
        if tuple(p.shape) != shape or not xp.isdtype(p.dtype, "real floating"):
            raise ValueError(
                f"net.params[{name!r}] is {tuple(p.shape)} of {dtype_name(p.dtype)}, expected {shape} of "
                f"{dtype_name(self.dtype)}"
            )
        return p if p.dtype == self.dtype else xp.astype(p, self.dtype)

    def check_forward(self, params: Params, x: Array) -> None:
        """Raise ``TypeError`` if a layer returns another dtype than the network's, ``ValueError`` if x does not fit.

        Numbers of NumPy among a layer's fields make float64 of float32, for example.
        """
        x = self._floating(x)
        for name, layer in self.layers.items():
            x, _ = layer.forward(params, x)
            if x.dtype != self.dtype:
                raise TypeError(
                    f"{name} returned {dtype_name(x.dtype)}, and the network computes in {dtype_name(self.dtype)}; "
                    "compute with Python numbers, float(number), and arrays made like the input"
                )

    def mask_shapes(self, x: Array) -> dict[str, tuple[int, ...]]:
        """The shape of a sample where it goes into each layer that draws masks; x has one sample or more."""
        shapes, params = {}, self.own_params()
        for name, layer in self.layers.items():
            if hasattr(layer, "masks"):
                shapes[name] = tuple(x.shape[1:])
            x, _ = layer.forward(params, x)
        return shapes

    def __repr__(self) -> str:
        inside = ", ".join(repr(layer) for layer in self.layers.values())
        return f"{type(self).__name__}([{inside}], {self.loss_layer!r}) on {self.backend.name}"

    @property
    def classifies(self) -> bool:
        """Whether the outputs stand for classes, so that there is an accuracy."""
        return self.loss_layer.classifies(self.outputs)

    @property
    def outputs(self) -> int:
        """How many scores a sample gets."""
        return next(shape[0] for shape in reversed(self._shapes.values()) if len(shape) == 1)

    def moved(self, host: dict[str, np.ndarray]) -> Params:
        """Parameters of this network from NumPy arrays: copies, on its backend, in its dtype."""
        # NumPy rounds to the dtype, so that every backend starts from the same bits
        dtype = dtype_name(self.dtype)
        return {name: self.backend.asarray(np.asarray(p, dtype), copy=True) for name, p in host.items()}

    def as_batch(self, x: Array, t: Array) -> tuple[Array, Array]:
        """x and t as a batch, also if they are one sample, after the checks that :meth:`gradient` lists."""
        x, t = as_array(x, self.backend), as_array(t, self.backend, "t")
        if getattr(x, "ndim", None) == 1 and x.shape[0]:
            if isinstance(t, Integral):
                check_labels(t, self.outputs)
                t = self.backend.asarray(int(t))
            x, t = x[None, :], t[None, ...] if hasattr(t, "ndim") else t
        return as_samples(x, t, backend=self.backend, dtype=self.dtype, outputs=self.outputs, loss=self.loss_layer)


def named(layers: Sequence[Layer]) -> dict[str, Layer]:
    """Layers by name, their parameters tagged by their place."""
    by_name: dict[str, Layer] = {}
    kinds: Counter[str] = Counter()
    tag = 0
    for layer in layers:
        if isinstance(layer, type) or not hasattr(layer, "parameter_gradients"):
            raise TypeError(f"{layer!r} is no layer; expected an instance such as ReLU() or Affine(784, 10)")
        kinds[layer.label] += 1
        tag += bool(layer.shapes)
        place = tag if layer.shapes else kinds[layer.label]
        reads = layer.shapes or hasattr(layer, "masks")
        by_name[f"{layer.label}{kinds[layer.label]}"] = layer.tagged(str(place)) if reads else layer
    if not tag:
        raise ValueError("a network needs at least one layer with parameters, Affine(784, 10) for example")
    return by_name
