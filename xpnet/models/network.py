"""Networks: where parameters live. ``net.params`` owns each of them; layers read it by name.

It is long because it is what the tutorials call: one class, each method with its checks and what it says of them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from math import prod
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from xpnet._typing import Array, Loss, Optimizer, Params
from xpnet.backends.dispatch import (
    Backend,
    check_same_backend,
    device,
    dtype_name,
    get_backend,
    name_of,
    namespace,
    on_its_device,
    quiet,
    traced,
)
from xpnet.backends.threads import WORTH_SHARING
from xpnet.functions import check_labels
from xpnet.initializers import Initializer, get_initializer
from xpnet.layers import Chain, Layer
from xpnet.layers.chain import first_leaves
from xpnet.losses import SoftmaxWithLoss, check_weight
from xpnet.models.evaluation import evaluate, in_parts, judge, parts_of
from xpnet.models.products import largest_product
from xpnet.models.shown import network_as_html, network_as_text
from xpnet.serialization import network as files
from xpnet.validation import as_array, as_input, as_samples, check_detached

if TYPE_CHECKING:
    from xpnet.onnx import Exported

#: Samples that go through a network at once when it only predicts: enough to keep a device busy, few enough to fit.
CHUNK = 10_000
#: Numbers in the largest output of a layer for so many samples: images become wide inside of a network.
CHUNK_NUMBERS = 2**23


class Sequential:
    """Layers one after another, and a loss at the end.

    Args:
        layers: at least one of them with parameters; see :class:`xpnet.layers.Chain` for their names. Layers of layers,
            such as :class:`xpnet.layers.Residual`, nest as deep as you like.
        loss: by default softmax with cross-entropy.
        weight_init: ``"auto"``, by the activations around each layer (:class:`xpnet.initializers.Around`); or for all
            layers alike the name of an initializer, a standard deviation, or an initializer.
        seed: an int, None for a fresh one each time, or a ``numpy.random.Generator`` to go on drawing from.
        dtype: ``"float32"`` or ``"float64"``.
        backend, device: see :func:`xpnet.get_backend`.

    Attributes:
        params: every parameter by name, arrays of ``backend``.
        buffers: what training steps change without gradients, by name: running statistics, for example.
        layers: every layer by name, in order.
        chain: the layers as one layer, which may stand in another network.
        loss_layer: the loss.
        backend: where the arrays are; it also moves data there: ``net.backend.asarray(x)``.
        input_shape: the shape of one sample, where the network was made for images of one size; else None.

    A network can be sent to another process. Have ``multiprocessing`` start its processes with
    ``get_context("spawn")`` or ``"forkserver"``: one that is made by fork while another thread is in a large product
    waits for ever for threads of BLAS that it does not have, with plain NumPy as well, and JAX, PyTorch and CUDA do not
    survive a fork either.

    >>> from xpnet.layers import Affine, Tanh
    >>> net = Sequential([Affine(784, 30), Tanh(), Affine(30, 10)], seed=0)
    >>> list(net.layers), list(net.params)
    (['Affine1', 'Tanh1', 'Affine2'], ['W1', 'b1', 'W2', 'b2'])
    """

    input_shape: tuple[int, ...] | None = None

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
        self.describe(layers, loss, dtype, backend, device)
        drawn = self.chain.init(np.random.default_rng(seed), get_initializer(weight_init))
        self.params: Params = self.from_host(drawn)
        self.buffers: Params = self.from_host(self.chain.buffers())

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.params, self.buffers = self.backend.regained(self.params), self.backend.regained(self.buffers)

    def describe(
        self, layers: Sequence[Layer], loss: Loss | None, dtype: Any, backend: str | Backend | None, device: Any
    ) -> None:
        """Take everything but the arrays, for a network whose arrays come from a file."""
        if loss is not None and (isinstance(loss, type) or not hasattr(loss, "backward")):
            raise TypeError(f"loss is {loss!r}, expected an instance such as SoftmaxWithLoss()")
        self.chain = Chain(*layers)
        self.layers: dict[str, Layer] = {part.name: part.layer for part in self.chain.parts}
        self._shapes = {name: shape for part in self.chain.parts for name, shape in part.shapes.items()}
        self._buffer_shapes = {name: shape for part in self.chain.parts for name, shape in part.buffers.items()}
        if not self._shapes:
            raise ValueError("a network needs at least one layer with parameters, Affine(784, 10) for example")
        self.loss_layer: Loss = SoftmaxWithLoss() if loss is None else loss
        self.backend = get_backend(backend, device)
        self.dtype = self.backend.dtype(dtype)
        self._products: dict[tuple[int, ...], int] = {}

    @on_its_device
    @quiet
    def forward(self, params: Params, x: Array) -> Array:
        """Scores of x, as a pure function of the parameters; nothing is checked.

        ``params`` may have buffers and draws among them; buffers that it lacks are the network's.
        """
        full = self.buffers | params if self.buffers else params
        return self.backend.by_sample(self.chain.predict, full, self.as_floating(x), self.output_shape)

    @on_its_device
    @quiet
    def value_and_grad(self, params: Params, x: Array, t: Array, weight: Array = None) -> tuple[Array, Params]:
        """The loss of a batch and its gradients by name, as a pure function; nothing is checked, nothing is read back.

        Layers compute as when they predict. It is what ``net.gradient`` gives and what a gradient check checks.

        Args:
            params: as in :meth:`forward`.
            x, t: samples (N, ...) and targets, as :meth:`gradient` takes them.
            weight: a weight for each sample, (N,), or None.
        """
        y, tape = self.chain.forward(self.buffers | params if self.buffers else params, self.as_floating(x))
        return self._back(params, tape, y, t, weight)

    @on_its_device
    @quiet
    def training_value_and_grad(
        self, params: Params, x: Array, t: Array, weight: Array = None, share: Any = None
    ) -> tuple[Array, Params, Params]:
        """The loss of a batch, its gradients, and new values of buffers by name, as a pure function.

        Layers compute as in a training step, which calls this: dropout is on where ``params`` has its masks, batch
        normalization takes the statistics of the batch. Arguments as in :meth:`value_and_grad`; ``share``, a number or
        a 0-d array, multiplies loss and gradients: it is the share of these samples in a larger minibatch.
        """
        full = self.buffers | params if self.buffers else params
        y, tape, updates = self.chain.train(full, self.as_floating(x))
        return *self._back(full, tape, y, t, weight, share), updates

    def _back(
        self, params: Params, tape: Any, y: Array, t: Array, weight: Array, share: Any = None
    ) -> tuple[Array, Params]:
        loss, residuals = self.loss_layer.forward(y, t) if weight is None else self.loss_layer.forward(y, t, weight)
        dy = self.loss_layer.backward(residuals)
        if share is not None:
            loss, dy = loss * share, dy * share
        grads = self.chain.parameter_gradients(params, tape, dy)
        return loss, dict(zip(self._shapes, map(grads.__getitem__, self._shapes), strict=True))

    def as_floating(self, x: Array) -> Array:
        """A minibatch as the first layer takes it: integers in the network's dtype, unless they are to stay."""
        if x.dtype == self.dtype or self.chain.takes != "any":
            return x
        return namespace(x).astype(x, self.dtype)

    def draws(self, rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        """What is random in one training step on an input of this shape (N, ...), by name, drawn on the host."""
        return self.chain.draws(rng, shape) if self.chain.is_random else {}

    @property
    def is_random(self) -> bool:
        """Whether a training step draws something."""
        return self.chain.is_random

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
        x, arrays = as_input(x, self.backend, self.dtype, takes=self.chain.takes), self.own_arrays()
        one = x.ndim == 1 and self.chain.takes != "integers"
        x = x[None, :] if one else x
        with self.on_threads(self.threads_for(x.shape)):
            scores = self.forward(arrays, x)
        return scores[0, ...] if one else scores

    @quiet
    def loss(self, x: Array, t: Array, weight: Array = None) -> Array:
        """The loss of a batch as a 0-d array; x, t and weight as :meth:`gradient` takes them."""
        x, *targets = self.as_batch(x, t, weight)
        with self.on_threads(self.threads_for(x.shape)):
            return self.loss_layer.forward(self.forward(self.own_arrays(), x), *targets)[0]

    def accuracy(self, x: Array, t: Array) -> float:
        """The share of samples, 0 to 1, whose largest score is that of their label; x and t as in :meth:`gradient`.

        With ``SigmoidWithLoss`` it is the share of outputs on the right side of zero. With a squared error, one output
        is no class, nor are targets that are neither labels nor one-hot, and this is a ``ValueError``.
        """
        x, t = self.as_batch(x, t)
        found = self.evaluate(self.own_arrays(), x, t)[1]
        if found is None:
            numbers = self.classifies(self.scores_shape(x))
            what = "targets are numbers" if numbers else "the one output of this network is none"
            raise ValueError(f"accuracy compares classes, and {what}; look at the loss")
        return found

    @on_its_device
    @quiet
    def evaluate(self, params: Params, x: Array, t: Array, weight: Array = None) -> tuple[float, float | None]:
        """The loss of samples, and :meth:`accuracy` or None where there are no classes, without the checks; in chunks.

        Args:
            params: parameters and buffers by name, as in :meth:`forward`.
            x, t: as in :meth:`gradient`.
            weight: a weight for each sample, (N,), or None: of the loss, and not of the accuracy.
        """
        judged = judge(in_parts(self), self.loss_layer, self.classifies(self.scores_shape(x)))
        data = (x, t) if weight is None else (x, t, weight)
        return evaluate(judged, self, params, data, parts_of(self, x))

    def gradient(self, x: Array, t: Array, weight: Array = None) -> Params:
        """The gradients of the loss by name, by backpropagation.

        Args:
            x: samples (N, ...), or one sample (inputs,), finite, as :meth:`predict` takes them.
            t: labels (N,) of any integer dtype, or one-hot (N, outputs); for losses other than softmax, targets in
                the shape of the outputs.
            weight: a weight for each sample, (N,), 0 or more; the loss of a batch is then the weighted mean (or sum).

        Raises:
            TypeError: another backend, integers as samples, or complex numbers.
            ValueError: another device, an empty batch, a wrong number of columns, NaN or infinity, labels that the
                network has no output for, fractional labels, one-hot rows of another width.
        """
        x, t, *weights = self.as_batch(x, t, weight)
        with self.on_threads(self.threads_for(x.shape)):
            return self.value_and_grad(self.own_arrays(), x, t, *weights)[1]

    @on_its_device
    @quiet
    def numerical_gradient(
        self,
        x: Array,
        t: Array,
        weight: Array = None,
        *,
        h: float | None = None,
        max_bytes: int | None = None,
        progress: bool = True,
    ) -> Params:
        """The gradients of the loss by name, by central difference, from forward passes alone.

        It is computed in float64 where the library has it, and agrees with :meth:`gradient` to about 1e-8 of the
        largest entry, but for kinks (:func:`xpnet.check_gradient` tells which); where it has only float32, to 1e-2.

        Args:
            x, t, weight: as in :meth:`gradient`, which also says what is raised.
            h: the step, by default as in :func:`xpnet.numerical_gradient`.
            max_bytes: about how much memory to take on top of the network; by default what suits the device.
            progress: whether to show a progress bar once it takes longer than a second.
        """
        from xpnet.gradient.network import parameter_gradients, widened  # later: most programs do without

        x, t, *weights = self.as_batch(x, t, weight)
        params, wide, *weights = widened(self.own_arrays(), self.as_floating(x), *weights)
        options: dict[str, Any] = {"h": h, "max_bytes": max_bytes, "progress": progress}
        options["weight"] = weights[0] if weights else None
        with self.on_threads(self.threads_for(x.shape)):
            found = parameter_gradients(self.chain, self.loss_layer, params, wide, t, **options)
        return {name: namespace(f.gradient).astype(f.gradient, self.dtype) for name, f in found.items()}

    def threads_for(self, shape: tuple[int, ...], asked: int | None = None, *, compiled: bool = False) -> int | None:
        """How many threads to multiply on for a batch of this shape (N, ...); None where that is not for us to say.

        ``asked`` is the most that somebody wants, ``compiled`` says that it is for compiled steps; see
        :class:`xpnet.backends.threads.Threads`.
        """
        threads = self.backend.threads
        if threads is None:
            return None
        sample = tuple(shape[1:])
        if sample not in self._products:
            self._products[sample] = largest_product(self.chain, sample)
        worth = self.backend.worth_sharing if compiled else WORTH_SHARING
        return threads.choose(shape[0] * self._products[sample], asked, worth)

    def on_threads(self, number: int | None) -> AbstractContextManager[Any]:
        """What is computed in the block is on the network's device, and takes no more threads than this."""
        threads = self.backend.threads
        return self.backend.current() if threads is None else threads.limited(number)

    def to(self, backend: str | Backend, device: Any = None) -> Self:
        """The same network on another backend or device, with arrays of its own."""
        other = copy.copy(self)
        other.backend = get_backend(backend, device)
        other.dtype = other.backend.dtype(dtype_name(self.dtype))
        other.params = other.from_host({name: self.backend.to_numpy(p) for name, p in self.params.items()})
        other.buffers = other.from_host({name: self.backend.to_numpy(p) for name, p in self.buffers.items()})
        return other

    def save(self, path: str | Path) -> None:
        """Write parameters and buffers as safetensors, with the architecture in the metadata.

        The file is there whole or not at all. :func:`xpnet.load_network` makes the network again from it.
        """
        files.save(self, path)

    def export(self, path: str | Path, **options: Any) -> Exported:
        """Write the network as an ONNX file, see that it computes the same, and say what was written.

        Options, errors and what is returned are those of :func:`xpnet.onnx.export`. It needs the package onnx:
        ``pip install "xpnet[onnx]"``.
        """
        from xpnet.onnx import export  # later: few need it, and fewer have it

        return export(self, path, **options)

    def load(self, path: str | Path) -> None:
        """Take parameters and buffers from a file of weights or a checkpoint: all of them, or none and an error.

        Raises:
            OSError: the file cannot be read.
            CheckpointError: it is no safetensors file or a damaged one, or its names, shapes or dtypes are not those of
                this network; each difference is listed.
        """
        self.take_arrays(files.load(self, path))

    def take_arrays(self, arrays: Params) -> None:
        """Take parameters and buffers by name, arrays of this backend and dtype, as they are."""
        self.params = {name: arrays[name] for name in self._shapes}
        self.buffers = {name: arrays[name] for name in self._buffer_shapes}

    def take_zeros(self) -> None:
        """Have parameters and buffers of zeros, until those of a file take their place."""
        dtype, shapes = dtype_name(self.dtype), self._shapes | self._buffer_shapes
        self.take_arrays({name: self.backend.asarray(np.zeros(shape, dtype)) for name, shape in shapes.items()})

    def own_params(self) -> Params:
        """The parameters as they are computed with, also if somebody assigned others: in this network's dtype.

        Raises:
            TypeError: one is no array of this backend, or its library records its gradients.
            ValueError: one is missing, is not floating-point, or has another shape or device.
        """
        return self._checked("params", self.params, self._shapes)

    def own_buffers(self) -> Params:
        """The buffers as they are computed with, also if somebody assigned others; see :meth:`own_params`."""
        return self._checked("buffers", self.buffers, self._buffer_shapes) if self._buffer_shapes else {}

    def own_arrays(self) -> Params:
        """Parameters and buffers together, as they are computed with."""
        return self.own_params() | self.own_buffers() if self._buffer_shapes else self.own_params()

    def _checked(self, owner: str, arrays: Params, expected: dict[str, tuple[int, ...]]) -> Params:
        if arrays.keys() != expected.keys():
            kind = {"params": "parameters"}.get(owner, owner)
            raise ValueError(f"the network has {kind} {list(arrays)}, expected {list(expected)}")
        library, dtype, where = self.backend.name, self.dtype, self.backend.device
        found = {}
        for name, p in arrays.items():  # most are as they were made, which is seen in a microsecond
            alike = name_of(p) == library and p.dtype == dtype and p.shape == expected[name] and device(p) == where
            fits = alike and not getattr(p, "requires_grad", False)
            found[name] = p if fits else self._own(f"net.{owner}[{name!r}]", p, expected[name])
        return found

    def _own(self, name: str, p: Array, shape: tuple[int, ...]) -> Array:
        check_same_backend(p, name, self.backend, "the network")
        check_detached(p, name)
        xp = namespace(p)
        if tuple(p.shape) != shape or not xp.isdtype(p.dtype, "real floating"):
            raise ValueError(
                f"{name} is {tuple(p.shape)} of {dtype_name(p.dtype)}, expected {shape} of {dtype_name(self.dtype)}"
            )
        with self.backend.current():
            return p if p.dtype == self.dtype else xp.astype(p, self.dtype)

    def arrays_of(self, name: str) -> Params:
        """The arrays of one layer by its own names: ``net.arrays_of("Affine1")["W"]`` is ``net.params["W1"]``.

        Raises:
            ValueError: there is no layer of this name.
        """
        part = next((part for part in self.chain.parts if part.name == name), None)
        if part is None:
            raise ValueError(f"there is no layer {name!r}; the layers are {', '.join(self.layers)}")
        return part.view(self.params | self.buffers)

    @on_its_device
    def check_forward(self, params: Params, x: Array) -> None:
        """Raise ``TypeError`` if a layer returns another dtype than the network's, ``ValueError`` if x does not fit.

        Numbers of NumPy among a layer's fields make float64 of float32, for example.
        """
        x = self.as_floating(x)
        for part in self.chain.parts:
            try:
                x = part.layer.predict(part.view(params), x)
            except ValueError as error:
                part.sign(error)
                raise
            if x.dtype != self.dtype:
                raise TypeError(
                    f"{part.name} returned {dtype_name(x.dtype)}, and the network computes in "
                    f"{dtype_name(self.dtype)}; compute with Python numbers, float(number), and arrays like the input"
                )

    @on_its_device
    def check_training(self, x: Array) -> None:
        """Raise what a training step on x raises, ``ValueError`` too if it would leave buffers of another kind."""
        with np.errstate(all="ignore"):
            _, _, updates = self.chain.train(self.own_arrays(), self.as_floating(x))
        for name, b in updates.items():
            expected = self._buffer_shapes.get(name)
            if expected != tuple(b.shape) or b.dtype != self.dtype:
                raise ValueError(
                    f"a training step gives {name} of shape {tuple(b.shape)} and dtype {dtype_name(b.dtype)}, expected "
                    f"{expected} and {dtype_name(self.dtype)}, as its layer declares it in buffers()"
                )

    def output_shape(self, shape: tuple[int, ...] | None = None) -> tuple[int, ...] | None:
        """The shape of the scores of one sample of this shape; None where layers do not say it.

        Without a shape it is what follows from the layers alone: an ``Affine`` knows, a convolution does not.
        """
        return self.chain.output_shape(shape)

    def scores_shape(self, x: Array) -> tuple[int, ...]:
        """The shape of the scores of samples x (N, ...); one sample goes through layers that do not say it."""
        known = self.output_shape(tuple(x.shape[1:]))
        if known is None:
            with np.errstate(all="ignore"):
                known = tuple(self.forward(self.own_arrays(), x[:1, ...]).shape[1:])
        return (x.shape[0], *known)

    def chunk(self, shape: tuple[int, ...]) -> int:
        """How many samples of this shape go through at once where all of them need not: the more, the smaller."""
        inside: tuple[int, ...] | None = shape
        most = prod(shape)
        for layer in self.layers.values():
            inside = layer.output_shape(inside)
            most = max(most, prod(inside or ()))
        return max(1, min(CHUNK, CHUNK_NUMBERS // most))

    def summary(self, shape: tuple[int, ...] | None = None, *, optimizer: Optimizer | None = None) -> str:
        """A table of the layers: what each makes of a sample, and how many numbers of which kind it has.

        Parameters are trained; buffers are changed by training steps and never by an optimizer; draws are random in a
        training step, for one sample; slots are what the optimizer keeps of the parameters.

        Args:
            shape: the shape of one sample, (1, 28, 28) for example; by default ``input_shape``, or what the layers say.
                What is not known without is shown as ``?``.
            optimizer: an optimizer whose slots are to be counted.

        >>> from xpnet.layers import Affine, ReLU
        >>> print(Sequential([Affine(4, 3), ReLU(), Affine(3, 2)]).summary())
        layer    kind          output      parameters
        -------  ------------  --------  ------------
        Affine1  Affine(4, 3)  (3,)                15
        Relu1    ReLU()        (3,)                 0
        Affine2  Affine(3, 2)  (2,)                 8
        total                  (2,)                23
        """
        slots = {} if optimizer is None else optimizer.init(dict(self.params)).get("slots", {})
        from xpnet.models.summary import table  # later: most programs do without

        return table(self.chain, self.input_shape if shape is None else shape, slots)

    def __repr__(self) -> str:
        return network_as_text(self)

    def _repr_html_(self) -> str:
        return network_as_html(self)

    def classifies(self, y_shape: tuple[int, ...]) -> bool:
        """Whether outputs of this shape (N, ..., C) stand for classes, so that there is an accuracy."""
        return len(y_shape) > 1 and self.loss_layer.classifies(y_shape[-1])

    def from_host(self, host: dict[str, np.ndarray]) -> Params:
        """Arrays of this network from NumPy arrays: copies, on its backend, in its dtype."""
        # NumPy rounds to the dtype, so that every backend starts from the same bits
        dtype = dtype_name(self.dtype)
        return {name: self.backend.asarray(_in_rows(p, dtype), copy=True) for name, p in host.items()}

    def as_batch(self, x: Array, t: Array, weight: Array = None) -> tuple[Array, ...]:
        """x and t as a batch, also if they are one sample, after the checks that :meth:`gradient` lists.

        With a weight there are three.
        """
        x, t = as_array(x, self.backend), as_array(t, self.backend, "t")
        if getattr(x, "ndim", None) == 1 and x.shape[0] and self.chain.takes != "integers":
            if isinstance(t, Integral):
                check_labels(t, (self.output_shape(tuple(x.shape)) or (int(t) + 1,))[-1])
                t = self.backend.asarray(int(t))
            x, t = x[None, :], t[None, ...] if hasattr(t, "ndim") else t
        return self.as_samples(x, t, weight)

    @on_its_device
    def as_samples(
        self,
        x: Array,
        t: Array,
        weight: Array = None,
        names: tuple[str, str, str] = ("x", "t", "weight"),
        *,
        finite: bool = False,
    ) -> tuple[Array, ...]:
        """Samples and targets (and weights, if there are any) as they can be trained on, or an error; reads values.

        ``finite`` says that x is known to be.
        """
        x, t = as_samples(
            x,
            t,
            backend=self.backend,
            dtype=self.dtype,
            takes=self.chain.takes,
            scores_shape=self.scores_shape,
            check_input=self._check_input,
            loss=self.loss_layer,
            names=names[:2],
            finite=finite,
        )
        if weight is None:
            return x, t
        weight = as_input(weight, self.backend, self.dtype, names[2], takes="any")
        weight = weight if weight.dtype == self.dtype else namespace(weight).astype(weight, self.dtype)
        if not traced(x):
            check_weight(weight, self.scores_shape(x), names[2])
        return x, t, weight

    def _check_input(self, x: Array) -> None:
        for path, layer in first_leaves(self.chain):
            if hasattr(layer, "check_input"):
                try:
                    layer.check_input(x)
                except ValueError as error:
                    error.args = (path + str(error).removeprefix(layer.label),)
                    raise


def _in_rows(p: Any, dtype: str) -> np.ndarray:
    """A host array in this dtype, with its elements one after the other in memory."""
    return np.ascontiguousarray(np.asarray(p, dtype)).reshape(np.shape(p))
