"""What the parameters of an estimator mean: layers, and how they are trained."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import prod, sqrt
from numbers import Integral
from typing import Any

import numpy as np

from xpnet._checks import check_count, check_number, check_positive, check_switch
from xpnet._typing import Transform
from xpnet.layers import ACTIVATIONS, Affine, Chain, Dropout, Layer
from xpnet.models import Sequential
from xpnet.optimizers import OPTIMIZERS, SGD, Adam, Momentum, Nesterov, Optimizer, ScaleGradients, WeightDecay
from xpnet.schedules import Schedule
from xpnet.sklearn.epochs import Adaptive, InverseScaling

#: The names of MLPClassifier that are others in xpnet.
OTHER_NAMES = {"logistic": "sigmoid"}
LEARNING_RATES = ("constant", "invscaling", "adaptive")
#: The most samples of a minibatch where ``batch_size="auto"``.
AUTO_BATCH = 200


def layers_of(estimator: Any, shape: tuple[int, ...], outputs: int) -> list[Layer]:
    """The layers for samples of this shape: those of ``network``, or Affine and an activation for each hidden size."""
    network = estimator.network
    if network is not None:
        layers = list(network(shape, outputs) if callable(network) else network)
        _check_outputs(layers, shape, outputs)
        return layers
    activation = OTHER_NAMES.get(estimator.activation, estimator.activation)
    if activation not in ACTIVATIONS:
        known = ", ".join((*ACTIVATIONS, *OTHER_NAMES))
        raise ValueError(f"unknown activation {estimator.activation!r}; known: {known}")
    dropout = check_number(estimator.dropout, "dropout", least=0, below=1, example="0.5 for example")
    layers = []
    for n_in, n_out in pairwise((prod(shape), *hidden_sizes(estimator.hidden_layer_sizes))):
        layers += [Affine(n_in, n_out), ACTIVATIONS[activation]()]
        layers += [Dropout(dropout)] if dropout else []
    return [*layers, Affine(n_out if layers else prod(shape), outputs)]


def hidden_sizes(sizes: Any) -> list[int]:
    """A size for each hidden layer; one number is one layer."""
    found = list(sizes) if isinstance(sizes, Iterable) and not isinstance(sizes, str) else [sizes]
    if not all(isinstance(size, Integral) and int(size) > 0 for size in found):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes!r}; expected whole numbers, as in (100, 50)")
    return [int(size) for size in found]


def start(net: Sequential, activation: str, rng: np.random.Generator) -> None:
    """Draw Glorot's uniform weights, and biases within the same bounds, as scikit-learn's networks start."""
    factor, bound, drawn = 2 if activation in ("logistic", "sigmoid") else 6, 0.0, {}
    for name, array in net.params.items():
        bound = sqrt(factor / sum(array.shape)) if array.ndim == 2 else bound
        drawn[name] = rng.uniform(-bound, bound, tuple(array.shape))
    net.params = net.from_host(drawn)


def outputs_of(layers: list[Layer], shape: tuple[int, ...]) -> int | None:
    """How many numbers come out for a sample of this shape; None where layers do not say it."""
    found = Chain(*layers).output_shape(shape)
    return None if found is None else found[-1]


def _check_outputs(layers: list[Layer], shape: tuple[int, ...], outputs: int) -> None:
    found = Chain(*layers).output_shape(shape)
    fits = ((outputs,), (2,)) if outputs == 1 else ((outputs,),)
    if found is not None and tuple(found) not in fits:
        raise ValueError(
            f"network has outputs of shape {found} for a sample of shape {shape}, expected ({outputs},): one for each "
            "class, label or number to be predicted"
        )


def optimizer_of(estimator: Any, steps: int, samples: int) -> Optimizer:
    """The optimizer that ``solver`` means, for epochs of so many steps and samples."""
    solver = estimator.solver
    if not isinstance(solver, str):
        if isinstance(solver, type) or not hasattr(solver, "step"):
            raise TypeError(f"solver is {solver!r}, expected a name or an optimizer such as Adam(0.001)")
        return solver  # type: ignore[no-any-return]
    if solver not in OPTIMIZERS:
        raise ValueError(f"unknown solver {solver!r}; known: {', '.join(OPTIMIZERS)}, and optimizers of xpnet")
    lr = _learning_rate(estimator, steps, samples)
    if solver == "adam":
        return Adam(lr, folded=True)  # with eps where scikit-learn has it
    if solver != "sgd":
        return OPTIMIZERS[solver](lr)
    momentum = check_number(estimator.momentum, "momentum", least=0, below=1, example="0.9 for example")
    nesterov = check_switch(estimator.nesterovs_momentum, "nesterovs_momentum")
    return SGD(lr) if momentum == 0 else (Nesterov if nesterov else Momentum)(lr, momentum)


def _learning_rate(estimator: Any, steps: int, samples: int) -> float | Schedule:
    lr, kind = estimator.learning_rate_init, estimator.learning_rate
    if isinstance(kind, Schedule):
        return kind
    if kind not in LEARNING_RATES:
        raise ValueError(
            f"unknown learning_rate {kind!r}; known: {', '.join(LEARNING_RATES)}, and schedules of xpnet.schedules"
        )
    if isinstance(lr, Schedule):
        return lr
    lr = check_positive(lr, "learning_rate_init", "0.001 for example")
    if kind == "adaptive":
        patience, tol = estimator._patience(), float(estimator.tol)
        return Adaptive(lr, patience=patience or 10**9, tol=tol, monitor=estimator._monitor())
    return InverseScaling(lr, steps, samples) if kind == "invscaling" else lr


def transforms_of(estimator: Any, batch: int, mean_weight: float) -> tuple[Transform, ...]:
    """What is done to gradients so that they are scikit-learn's.

    The penalty alpha |W|² / 2 goes over what the samples of a minibatch weigh, and the loss of a sample is the sum over
    its labels, of which xpnet takes the mean.
    """
    alpha = check_number(estimator.alpha, "alpha", least=0)
    sums = [ScaleGradients(estimator.n_outputs_)] if getattr(estimator, "_multilabel", False) else []
    return (*sums, *([WeightDecay(alpha / (batch * mean_weight), biases=False)] if alpha else []))


def batch_size_of(estimator: Any, samples: int) -> int:
    """Samples a minibatch: never more than there are."""
    size = estimator.batch_size
    return min(AUTO_BATCH if size == "auto" else check_count(size, "batch_size", example="or 'auto'"), samples)
