"""What all optimizers share: the step, in which a subclass fills in its rule; schedules, weight decay and clipping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from numbers import Integral, Real
from typing import Any, ClassVar

from xpnet._typing import Array, Params, State, Transform
from xpnet.backends.dispatch import describe, host_number, namespace, writable
from xpnet.optimizers.arrays import entry, narrowed
from xpnet.optimizers.checks import check_step, check_update
from xpnet.optimizers.options import CHECKS, transforms_of, with_options
from xpnet.schedules import ReduceOnPlateau, Schedule
from xpnet.schedules.base import floating, rate_of, set_checked


@dataclass(frozen=True, repr=False)
class Optimizer(ABC):
    """An update rule. A step consumes what it is given; the caller goes on with what it returns.

    Entries of dicts are updated in place where arrays allow it and rebound where not, so one line serves eager and
    compiled code. All that changes from step to step is an array in the state: ``{"t": steps taken so far, "slots":
    {parameter: {slot: array}}, "scale": the product of the reductions of ReduceOnPlateau}``. A state has only the keys
    that the optimizer needs; that of plain gradient descent is ``{}``.

    Clipping and coupled weight decay are the transforms :class:`ClipByValue`, :class:`ClipByNorm` and
    :class:`WeightDecay`, in this order.

    Args:
        lr: the learning rate, or a schedule of ``xpnet.schedules``.
        weight_decay: adds weight_decay w to the gradient, as a penalty weight_decay |w|²/2 in the loss does.
        decoupled: w ← (1 - lr weight_decay) w before the rule instead, so that the rule does not rescale the decay
            (Loshchilov and Hutter 2019).
        decay_biases: False leaves arrays of one axis out of the decay, as the book does.
        clip_value: entries of gradients are clipped to [-clip_value, clip_value].
        clip_norm: all gradients together are scaled down to this L2 norm if theirs is larger (Pascanu et al. 2013).
            Clipping comes before weight decay, and by value before by norm; for another order, give a training step
            transforms.

    Raises:
        ValueError: a number out of range.
    """

    #: Whether the rule depends on the number of the step.
    counts: ClassVar[bool] = False

    lr: float | Schedule
    _: KW_ONLY
    weight_decay: float = 0.0
    decoupled: bool = False
    decay_biases: bool = True
    clip_value: float | None = None
    clip_norm: float | None = None

    #: Whether a parameter may have slots.
    has_slots: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.has_slots = cls.slots is not Optimizer.slots
        cls.__doc__ = with_options(vars(cls).get("__doc__"), Optimizer.__doc__)

    @abstractmethod
    def rule(self, w: Array, g: Array, slots: dict[str, Array], lr: Any, shared: Any) -> Array:
        """The parameter w after a step with gradient g; may write to w and ``slots``, not to g."""

    def slots(self, w: Array) -> dict[str, Array]:
        """The state for the parameter w before the first step: arrays by name."""
        return {}

    def shared(self, t: Array) -> Any:
        """What all parameters share in step t = 1, 2, ..., computed once a step; called only if ``counts``."""
        return None

    def init(self, params: Params) -> State:
        """The state before the first step."""
        state: State = {}
        slots = {name: own for name, w in params.items() if (own := self.slots(w))}
        for w in list(params.values())[:1]:
            xp = namespace(w)
            if self.counts or isinstance(self.lr, Schedule):
                state["t"] = xp.zeros_like(entry(w), dtype=xp.int32)
            if isinstance(self.lr, ReduceOnPlateau):
                state["scale"] = xp.ones_like(entry(w))
        return {**state, "slots": slots} if slots else state

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Parameters and state after one step; both are consumed, ``grads`` are not written to.

        A parameter without a gradient stays as it is. Gradients of another dtype are converted to that of their
        parameter, after clipping.

        Raises:
            TypeError: a parameter is no array, or the library of an array records what is done with it.
            ValueError: something of the state is missing, or of another shape or dtype than the parameters; a gradient
                is of another shape than its parameter, or of none; a parameter is not floating-point.
        """
        if "t" not in state and (self.counts or isinstance(self.lr, Schedule)) and params:
            raise ValueError(
                f"state has no count of steps, expected what {self!r}.init(params) returned, or the step before"
            )
        slots, known = state.get("slots", {}), {}
        check_step(params, grads, slots, self)
        for transform in self.transforms:
            grads, _ = transform.update(grads, {}, params)
        decay = self.weight_decay if self.decoupled else 0.0
        for name, g in grads.items():
            w = writable(params[name])
            if getattr(g, "dtype", w.dtype) != w.dtype:
                g = namespace(w).astype(g, w.dtype)  # arrays of some libraries would grow to the wider of the two
            if w.dtype not in known:
                known[w.dtype] = self._known(state, w.dtype)
            lr, shared = known[w.dtype]
            if decay and (self.decay_biases or w.ndim > 1):
                w *= 1 - lr * decay
            params[name] = self.rule(w, g, slots.get(name, {}), lr, shared)
        if "t" in state:
            state["t"] += 1
        return params, state

    def update(self, params: Params, grads: Params) -> None:
        """The book's form: change the entries of ``params``, and keep the state in the optimizer.

        Entries may also be Python numbers, which are computed in float64 and replaced by floats. A copy of the
        optimizer starts without its state. Make one optimizer for each network: the parameters of another network with
        the same names and shapes cannot be told from those of the first.

        Raises:
            TypeError: something in ``params`` or ``grads`` is not an array.
            ValueError: ``grads`` has other names than ``params``, or an optimizer with a state is given parameters of
                other names or shapes than at its first call.
        """
        mappings = isinstance(params, Mapping) and isinstance(grads, Mapping)
        if mappings and (numbers := [name for name, w in params.items() if isinstance(w, Integral | float)]):
            self._update_numbers(params, grads, numbers)
            return
        check_update(params, grads)
        shapes = {name: tuple(w.shape) for name, w in params.items()}
        held, state = self.__dict__.get("_held") or (shapes, self.init(params))
        if state and held != shapes:
            raise ValueError(
                f"update was given parameters of shapes {shapes}, expected {held} as at its first call; "
                "make one optimizer for each network"
            )
        _, state = self.step(params, grads, state)
        object.__setattr__(self, "_held", (shapes, state))

    def _update_numbers(self, params: dict[str, Any], grads: Mapping[str, Any], numbers: list[str]) -> None:
        for name in numbers:
            g = grads.get(name, 0.0)
            if isinstance(g, str | bytes | bool) or not (isinstance(g, Real) or getattr(g, "shape", None) == ()):
                raise TypeError(f"grads[{name!r}] is {describe(g)}, expected a number, as params[{name!r}] is one")
        like = next((w for name, w in params.items() if name not in numbers), None)
        arrays = dict(params) | {name: host_number(params[name], like) for name in numbers}
        slopes = {name: host_number(g, like) if name in numbers else g for name, g in grads.items()}
        self.update(arrays, slopes)
        params.update((name, float(w) if name in numbers else w) for name, w in arrays.items())

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """What the options do to the gradients of a step; none of them has a state."""
        coupled = 0.0 if self.decoupled else self.weight_decay
        return transforms_of(self.clip_value, self.clip_norm, coupled, self.decay_biases)

    def learning_rates(self, steps: Array) -> Array:
        """The learning rates before these steps, an array of numbers 0, 1, 2, ..., without the factor ``scale``."""
        return rate_of(self.lr, floating(steps))

    def _known(self, state: State, dtype: Any) -> tuple[Any, Any]:
        """The learning rate of this step and what its parameters share, in their dtype, which they keep so."""
        if "t" not in state:
            return self.lr, None
        xp = namespace(state["t"])
        small = xp.finfo(dtype).bits < 32  # in which steps cannot be counted
        t = xp.astype(state["t"], xp.float32 if small else dtype)
        lr = self.lr.rate(t) if isinstance(self.lr, Schedule) else self.lr
        if "scale" in state:
            lr = lr * xp.astype(state["scale"], t.dtype)
        shared = self.shared(xp.asarray(t + 1)) if self.counts else None
        return (narrowed(lr, dtype), narrowed(shared, dtype)) if small else (lr, shared)

    def __post_init__(self) -> None:
        names = [field.name for field in fields(self) if field.name in CHECKS]
        set_checked(self, **{name: CHECKS[name](getattr(self, name), name) for name in names})

    def __repr__(self) -> str:
        own_first = sorted(fields(self), key=lambda field: field.kw_only is True)
        values = [(field, getattr(self, field.name)) for field in own_first]
        shown = [f"{f.name}={value!r}" for f, value in values if f.name == "lr" or value != f.default]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __getstate__(self) -> dict[str, Any]:
        """The fields: what ``update`` keeps belongs to one network, and not to copies."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
