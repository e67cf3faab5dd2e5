"""What stands between the gradients and an optimizer: clipping, weight decay, scaling, and accumulation.

A training step takes them in their order: ``make_step(net, optimizer, transforms=(Accumulate(4), ClipByNorm(1.0)))``.
Each is ``init(params) -> state`` and ``update(grads, state, params) -> (grads, state)``, pure, written once; see
:class:`xpnet._typing.Transform` for one of your own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xpnet._checks import check_count, check_number, check_positive, check_switch
from xpnet._typing import Array, Optimizer, Params, State, Transform
from xpnet.backends.dispatch import describe, namespace
from xpnet.optimizers.arrays import entry, floating_like
from xpnet.schedules.base import set_checked


class _Stateless:
    """What all have in common that need no state."""

    def init(self, params: Params) -> State:
        """An empty state."""
        return {}


@dataclass(frozen=True)
class ClipByValue(_Stateless):
    """g ← min(max(g, -value), value), entry by entry.

    Raises:
        ValueError: ``value`` is not a positive finite number.

    >>> import numpy as np
    >>> g = {"W": np.asarray([3.0, -0.5])}
    >>> ClipByValue(1.0).update(g, {}, g)
    ({'W': array([ 1. , -0.5])}, {})
    """

    value: float

    def __post_init__(self) -> None:
        set_checked(self, value=check_positive(self.value, "value", "1.0 for example"))

    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        """Gradients within [-value, value]."""
        return {name: clipped(floating_like(g, params[name]), self.value) for name, g in grads.items()}, state


@dataclass(frozen=True)
class ClipByNorm(_Stateless):
    """g ← g min(1, norm / (|g| + 1e-6)), with |g| the L2 norm of the gradients of all parameters together.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).

    Raises:
        ValueError: ``norm`` is not a positive finite number.

    >>> import numpy as np
    >>> g = {"W": np.asarray([3.0]), "b": np.asarray([4.0])}
    >>> shorter, _ = ClipByNorm(1.0).update(g, {}, g)
    >>> shorter["W"].round(4), shorter["b"].round(4)
    (array([0.6]), array([0.8]))
    """

    norm: float

    def __post_init__(self) -> None:
        set_checked(self, norm=check_positive(self.norm, "norm", "1.0 for example"))

    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        """Gradients of this norm at most."""
        if not grads:
            return grads, state
        wide = {name: floating_like(g, params[name]) for name, g in grads.items()}
        return scaled_to_norm(wide, self.norm), state


@dataclass(frozen=True)
class WeightDecay(_Stateless):
    """g ← g + rate w, as a penalty rate |w|²/2 in the loss does; it goes through the optimizer's rule.

    Decay that does not is ``decoupled`` at the optimizers, since it needs the learning rate.

    Args:
        rate: zero or more.
        biases: False leaves arrays of one axis as they are.

    Raises:
        ValueError: ``rate`` is out of range, or ``biases`` is not True or False.

    >>> import numpy as np
    >>> WeightDecay(0.1).update({"W": np.asarray([1.0])}, {}, {"W": np.asarray([5.0])})
    ({'W': array([1.5])}, {})
    """

    rate: float
    biases: bool = True

    def __post_init__(self) -> None:
        set_checked(self, rate=check_number(self.rate, "rate", least=0), biases=check_switch(self.biases, "biases"))

    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        """Gradients of the loss with the penalty, in the dtype of their parameters."""
        return {name: self._decayed(g, params[name]) for name, g in grads.items()}, state

    def _decayed(self, g: Array, w: Array) -> Array:
        if not self.rate or (w.ndim < 2 and not self.biases):
            return g
        if getattr(g, "dtype", w.dtype) != w.dtype:
            g = namespace(w).astype(g, w.dtype)  # arrays of some libraries would grow to the wider of the two
        return g + self.rate * w


@dataclass(frozen=True)
class ScaleGradients(_Stateless):
    """g ← factor g: 1 / scale of a loss that is scaled, so that small gradients are not rounded to 0 in float16.

    Micikevicius et al., "Mixed Precision Training" (2018), section 3.2. Those of fewer bits become float32 first, where
    the small ones have room.

    Raises:
        ValueError: ``factor`` is not a positive finite number.

    >>> import numpy as np
    >>> g = {"W": np.asarray([512.0], "float16")}
    >>> ScaleGradients(1 / 1024).update(g, {}, g)
    ({'W': array([0.5], dtype=float32)}, {})
    """

    factor: float

    def __post_init__(self) -> None:
        set_checked(self, factor=check_positive(self.factor, "factor", "1 / 1024 for example"))

    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        """Gradients times the factor, in float32 at least."""
        return {name: self.factor * floating_like(g, params[name]) for name, g in grads.items()}, state


@dataclass(frozen=True)
class Accumulate:
    """The mean of ``steps`` gradients, on which the optimizer then takes one step.

    As a loss is a mean over samples, this takes the place of one minibatch of ``steps`` times as many. (Where samples
    have weights, each minibatch counts the same, whatever its weights add up to.) The learning rate goes by steps of
    the optimizer. Buffers, running statistics for example, are updated with each minibatch. What has been added up when
    a training ends is left in the state, and the next one goes on with it.

    The state is ``{"count": gradients since the last step of the optimizer, "sums": {parameter: array}}``. After a step
    the count is 0, and the next gradient replaces the sums, which have the dtype of their parameters, and float32 at
    least.

    Raises:
        ValueError: ``steps`` is not a whole number, 1 or more.

    >>> import numpy as np
    >>> two, params = Accumulate(2), {"W": np.asarray([0.0])}
    >>> state = two.init(params)
    >>> for g in (1.0, 4.0):
    ...     grads, state = two.update({"W": np.asarray([g])}, state, params)
    ...     print(grads["W"], two.ready(state))
    [0.5] False
    [2.5] True
    """

    steps: int

    def __post_init__(self) -> None:
        set_checked(self, steps=check_count(self.steps, "steps", example="4 for example"))

    def init(self, params: Params) -> State:
        """Nothing added up."""
        if not params:
            return {}
        first = next(iter(params.values()))
        xp = namespace(first)
        sums = {name: floating_like(xp.zeros_like(w), w) for name, w in params.items()}
        return {"count": xp.zeros_like(entry(first), dtype=xp.int32), "sums": sums}

    def update(self, grads: Params, state: State, params: Params) -> tuple[Params, State]:
        """The mean once the state is ready, and before that the sum so far over ``steps``."""
        if not grads:
            return grads, state
        before = self._sums(grads, state)
        xp, count = namespace(state["count"]), state["count"]
        first, sums = count == 0, {}
        for name, total in before.items():
            g = floating_like(grads[name], params[name]) if name in grads else xp.zeros_like(total)
            g = xp.astype(g, total.dtype)
            sums[name] = xp.asarray(xp.where(first, g, total + g))
        means = {name: sums[name] / self.steps for name in grads}
        return means, {"count": xp.asarray((count + 1) % self.steps), "sums": sums}

    def ready(self, state: State) -> Array:
        """Whether the gradients of the last update are the mean of ``steps``, so that the optimizer takes a step."""
        return namespace(state["count"]).asarray(state["count"] == 0)

    def _sums(self, grads: Params, state: State) -> Params:
        """Those of the state, which fit the gradients; else ``ValueError``."""
        sums: Params = state.get("sums", {})
        for name, g in grads.items():
            if name not in sums or sums[name].shape != getattr(g, "shape", ()):
                found = f"a sum of shape {tuple(sums[name].shape)}" if name in sums else "no sum"
                raise ValueError(
                    f"state has {found} for the gradient of {name!r}, of shape {tuple(getattr(g, 'shape', ()))}; "
                    f"expected what {self!r}.init(params) returned, or the step before"
                )
        return sums


def clipped(g: Array, value: float) -> Array:
    """The entries of g clipped to [-value, value]; as they are, where its dtype has no numbers so large."""
    xp = namespace(g)
    return g if value > float(xp.finfo(g.dtype).max) else xp.clip(g, -value, value)


def scaled_to_norm(grads: Params, norm: float) -> Params:
    """The gradients times norm / (|gradients| + 1e-6), the L2 norm of all of them together, if that is less than 1.

    The norm is that of the gradients over their largest entry, so that no square overflows.
    """
    xp = namespace(next(iter(grads.values())))
    widest = xp.result_type(*grads.values())
    largest = [xp.astype(xp.max(xp.abs(g)), widest) for g in grads.values() if 0 not in g.shape]
    if not largest:
        return grads
    # within bounds, so that neither it nor 1 over it is rounded to 0 or infinity, by which some libraries divide
    limits, top = xp.finfo(widest), xp.max(xp.stack(largest))
    top = xp.maximum(top, xp.full_like(top, float(limits.smallest_normal) ** 0.5))
    top = xp.minimum(top, xp.full_like(top, float(limits.max) / 16))
    shares = {name: g / xp.astype(top, g.dtype) for name, g in grads.items()}
    total = xp.sqrt(sum(xp.astype(xp.sum(g * g), widest) for g in shares.values()))
    factor = norm / (total + 1e-6 / top)
    larger = factor < top
    return {name: xp.where(larger, g * xp.astype(factor, g.dtype), grads[name]) for name, g in shares.items()}


def check_transforms(transforms: Any) -> tuple[Transform, ...]:
    """Transforms as a tuple.

    Raises:
        TypeError: it is no sequence, or one of them has not got ``init`` and ``update``.
    """
    if not isinstance(transforms, Sequence) or isinstance(transforms, str):
        raise TypeError(f"transforms is {describe(transforms)}, expected a tuple of them: (ClipByNorm(1.0),)")
    for i, transform in enumerate(transforms):
        if isinstance(transform, type):
            raise TypeError(
                f"transforms[{i}] is the class {transform.__name__}, expected one made of it, as ClipByNorm(1.0) is"
            )
        if not (callable(getattr(transform, "init", None)) and callable(getattr(transform, "update", None))):
            raise TypeError(
                f"transforms[{i}] is {describe(transform)}, expected init(params) and update(grads, state, params) of "
                "it, as ClipByNorm(1.0) has them"
            )
    return tuple(transforms)


def init_transforms(transforms: Sequence[Transform], params: Params) -> State:
    """The states of all that have one, by their places: ``{"1": ...}``."""
    return {str(i): state for i, transform in enumerate(transforms) if (state := transform.init(params))}


def apply_transforms(
    transforms: Sequence[Transform], grads: Params, states: State, params: Params
) -> tuple[Params, State, Array | None]:
    """Gradients through all transforms, one after the other.

    Args:
        transforms: in their order.
        grads, params: arrays by name, which are not written to.
        states: by their places, as :func:`init_transforms` makes them and the last call returned them.

    Returns:
        The gradients for the optimizer, the states, and a boolean array without axes: whether the optimizer takes a
        step on them; None if it always does. What stands behind a transform that is not ready keeps its state, as it
        takes no step either.

    Raises:
        ValueError: a state is missing, or one is there that belongs to none of them.
    """
    after: State = {}
    ready: Array | None = None
    for i, transform in enumerate(transforms):
        before = states.get(str(i), {})
        if not before and transform.init(params):
            raise ValueError(
                f"there is no state of transforms[{i}], {transform!r}; start with init_transforms(transforms, params)"
            )
        grads, state = transform.update(grads, before, params)
        if ready is not None:
            state = select(ready, state, before)
        if state:
            after[str(i)] = state
        if hasattr(transform, "ready") and state:
            now = transform.ready(state)
            ready = now if ready is None else namespace(now).asarray(ready & now)
    if states.keys() - after.keys():
        raise ValueError(
            f"there are states of the transforms {sorted(states)}, expected those of {sorted(after)}; start with "
            "init_transforms(transforms, params)"
        )
    return grads, after, ready


def step_when(
    ready: Array | None, optimizer: Optimizer, params: Params, grads: Params, state: State
) -> tuple[Params, State]:
    """A step of the optimizer where ``ready`` is True, and where it is False, parameters and state as they were.

    The step is computed either way, so that nothing has to be read back from the device. With None it is simply taken,
    and consumes its arguments, as a step does.
    """
    if ready is None:
        return optimizer.step(params, grads, state)
    new_params, new_state = optimizer.step(copied(params), grads, copied(state))  # which would write into the old ones
    return select(ready, new_params, params), select(ready, new_state, state)


def select(ready: Array, new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Arrays in nested dicts: the new ones where ``ready``, else the old ones, which have the same names and shapes."""
    return {
        name: select(ready, value, old[name])
        if isinstance(value, dict)
        else namespace(value).asarray(namespace(value).where(ready, value, old[name]))
        for name, value in new.items()
    }


def copied(tree: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts with copies of their arrays."""
    return {
        name: copied(value) if isinstance(value, dict) else namespace(value).asarray(value, copy=True)
        for name, value in tree.items()
    }
