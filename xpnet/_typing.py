"""What the rest is written in: an array, parameters, and what a loss and an optimizer are."""

from __future__ import annotations

from typing import Any, Protocol

#: An array of any library that follows the Python Array API standard.
Array = Any

#: Parameters by name: ``{"W1": ..., "b1": ...}``. A network owns one such dict, and nothing else holds a parameter.
Params = dict[str, Array]

#: Whatever an optimizer keeps between steps: a (nested) dict of arrays, counters included.
State = dict[str, Any]


class Loss(Protocol):
    """A pure pair from scores y (..., C) and targets, labels (...) or (..., C), to one number.

    Where targets may be numbers to come near to as well as classes, ``names_classes(y, t)`` says which they are.

    A loss that is the mean or the sum of its samples' may say so, which makes numerical gradients cheap: ``reduction``,
    ``"mean"`` or ``"sum"``, and ``per_sample(y, t)``, the loss (...) of each sample (..., C) by itself. One that also
    has ``per_sample_difference(y, d, t)``, what small moves d add to it, is evaluated with fewer roundings.
    """

    def forward(self, y: Array, t: Array, weight: Array | None = None) -> tuple[Array, Any]:
        """Return the loss as a 0-d array and the residuals that ``backward`` needs.

        ``weight``, of the shape of one or more leading axes of y, says how much each sample counts.
        """

    def backward(self, residuals: Any) -> Array:
        """Return the gradient of the loss with respect to ``y``."""

    def check(self, y_shape: tuple[int, ...], t: Array, name: str = "t") -> None:
        """Raise ``ValueError``, calling ``t`` by that name, if outputs of this shape cannot have it as target; slow."""

    def classifies(self, outputs: int) -> bool:
        """Whether so many outputs stand for classes, so that there is an accuracy."""

    def hits(self, y: Array, t: Array) -> Array:
        """Return a boolean array: where the class decided from ``y`` is the one in ``t``."""


class Optimizer(Protocol):
    """A pure update rule. ``step`` consumes what it is given: the caller goes on with what it returns."""

    def init(self, params: Params) -> State:
        """Return the state before the first step."""

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Return parameters and state after one step."""


class Transform(Protocol):
    """A pure piece between the gradients and the optimizer: what clips, scales, decays, adds up over machines or steps.

    Written once, as an optimizer is; unlike one it consumes nothing, and returns new arrays. One that says whether the
    optimizer takes a step has a third method, ``ready(state)``, a boolean array without axes, asked after ``update``;
    where it is False, parameters and the optimizer's state stay as they were.

    The mean over machines, where ``total(g)`` is the sum of their g, an all-reduce:

    >>> total, machines = lambda g: g + g, 2
    >>> class MeanOverMachines:
    ...     def init(self, params):
    ...         return {}
    ...
    ...     def update(self, grads, state, params):
    ...         return {name: total(g) / machines for name, g in grads.items()}, state
    >>> MeanOverMachines().update({"W1": 0.5}, {}, {"W1": 2.0})
    ({'W1': 0.5}, {})
    """

    def init(self, params: Params) -> State:
        """Return the state before the first step, a dict of arrays; ``{}`` if nothing changes from step to step."""

    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        """Return other gradients and the state after them; none of the arguments is written to."""
