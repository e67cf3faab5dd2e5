"""What all optimizers share: the step, in which a subclass fills in its rule; schedules, weight decay and clipping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, fields
from math import inf, log
from types import ModuleType
from typing import Any, ClassVar

from xpnet._typing import Array, Params, State
from xpnet.backend import namespace
from xpnet.schedules import ReduceOnPlateau, Schedule, check_number, check_rate_or_schedule, rate
from xpnet.validation import check_positive

#: What the numbers of optimizers have to be, by the names of the fields: the least, and what they are less than.
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("momentum", "decay_rate", "beta1", "beta2"), (0, 1)),
    **dict.fromkeys(("weight_decay", "momentum_decay", "l1", "l2", "beta"), (0, inf)),
}
#: The fields that are positive, with an example.
POSITIVE = {"eps": "1e-8", "clip_value": "0.5", "clip_norm": "1.0", "initial_accumulator_value": "0.1"}
SWITCHES = ("decoupled", "decay_biases", "centered", "folded")


@dataclass(frozen=True, repr=False)
class Optimizer(ABC):
    """An update rule. A step consumes what it is given; the caller goes on with what it returns.

    Entries of dicts are updated in place where arrays allow it and rebound where not, so one line serves eager and
    compiled code. All that changes from step to step is an array in the state: ``{"t": steps taken so far, "memory":
    {parameter: {slot: array}}, "scale": what ReduceOnPlateau multiplies with}``, each where it is needed, so ``{}`` for
    plain gradient descent.

    Args:
        lr: the learning rate, or a schedule of ``xpnet.schedules``.
        weight_decay: adds weight_decay w to the gradient, as a penalty weight_decay |w|²/2 in the loss does.
        decoupled: instead take the share lr weight_decay off w before the rule, which the rule then does not rescale
            (Loshchilov and Hutter 2019).
        decay_biases: False leaves arrays of one axis out of the decay, as the book does.
        clip_value: entries of gradients are moved into [-clip_value, clip_value].
        clip_norm: all gradients together are scaled down to this L2 norm if theirs is larger (Pascanu et al. 2013).
            Both clips come before the decay, values first.

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

    @abstractmethod
    def rule(self, w: Array, g: Array, memory: dict[str, Array], lr: Any, shared: Any) -> Array:
        """The parameter w after a step with gradient g, which is not written to; w and ``memory`` are consumed."""

    def memory(self, w: Array) -> dict[str, Array]:
        """What is remembered of the parameter w, before the first step."""
        return {}

    def shared(self, t: Array) -> Any:
        """What is the same for all parameters in step t = 1, 2, ..., computed once; asked if ``counts``."""
        return None

    def init(self, params: Params) -> State:
        """The state before the first step."""
        state: State = {}
        memory = {name: slots for name, w in params.items() if (slots := self.memory(w))}
        for w in list(params.values())[:1]:
            xp = namespace(w)
            if self.counts or isinstance(self.lr, Schedule):
                state["t"] = xp.zeros_like(entry(w), dtype=xp.int32)
            if isinstance(self.lr, ReduceOnPlateau):
                state["scale"] = xp.ones_like(entry(w))
        return {**state, "memory": memory} if memory else state

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Parameters and state after one step; both are consumed, ``grads`` are not written to.

        Raises:
            ValueError: the state is empty, and this optimizer remembers something.
        """
        if not state and self.init(params):
            raise ValueError(f"state is {{}}, expected what {self!r}.init(params) returned, or the step before")
        memory, known = state.get("memory", {}), {}
        for name, g in self._clipped(params, grads).items():
            w = params[name]
            if w.dtype not in known:
                known[w.dtype] = self._known(state, w.dtype)
            lr, shared = known[w.dtype]
            w, g = self._decayed(w, g, lr)
            params[name] = self.rule(w, g, memory.get(name, {}), lr, shared)
        if "t" in state:
            state["t"] += 1
        return params, state

    def update(self, params: Params, grads: Params) -> None:
        """The book's form: change the entries of ``params``, and keep the state here. A copy of this starts afresh.

        Raises:
            ValueError: these are other parameters than at the first call, so what is remembered is not of them.
        """
        shapes = {name: tuple(w.shape) for name, w in params.items()}
        held, state = self.__dict__.get("_held") or (shapes, self.init(params))
        if state and held != shapes:
            raise ValueError(
                f"update was given parameters of shapes {shapes}, expected {held} as at its first call; "
                "make one optimizer for each network"
            )
        _, state = self.step(params, grads, state)
        object.__setattr__(self, "_held", (shapes, state))

    def learning_rates(self, steps: Array) -> Array:
        """The learning rates before these steps, a floating-point array of numbers 0, 1, 2, ..., without ``scale``."""
        return rate(self.lr, steps)

    def _known(self, state: State, dtype: Any) -> tuple[Any, Any]:
        """The learning rate of this step and what its parameters share, in their dtype, so that it stays theirs."""
        if "t" not in state:
            return self.lr, None
        xp = namespace(state["t"])
        t = xp.astype(state["t"], dtype)
        lr = self.lr(t) if isinstance(self.lr, Schedule) else self.lr
        if "scale" in state:
            lr = lr * xp.astype(state["scale"], dtype)
        return lr, self.shared(xp.asarray(t + 1)) if self.counts else None

    def _decayed(self, w: Array, g: Array, lr: Any) -> tuple[Array, Array]:
        if self.weight_decay == 0 or (w.ndim < 2 and not self.decay_biases):
            return w, g
        if self.decoupled:
            w *= 1 - lr * self.weight_decay
            return w, g
        return w, g + self.weight_decay * w

    def _clipped(self, params: Params, grads: Params) -> Params:
        if not grads or self.clip_value is self.clip_norm is None:
            return grads
        xp = namespace(next(iter(params.values())))
        if self.clip_value is not None:
            grads = {name: xp.clip(g, -self.clip_value, self.clip_value) for name, g in grads.items()}
        return grads if self.clip_norm is None else scaled_to_norm(xp, grads, self.clip_norm)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = _checked(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    def __repr__(self) -> str:
        own_first = sorted(fields(self), key=lambda field: field.kw_only is True)
        values = [(field, getattr(self, field.name)) for field in own_first]
        shown = [f"{f.name}={value!r}" for f, value in values if f.name == "lr" or value != f.default]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def entry(w: Array) -> Array:
    """An entry of w, for 0-d arrays to be made like.

    They are then on the device of w, and bound to it only if w is: compiled code meets arrays of one kind, before the
    first step and after it.
    """
    return w[(0,) * w.ndim]


def bias_correction(beta: float, t: Array) -> Array:
    """1 - beta^t, also in float32, where beta^t is near 1 and taking it off would leave few digits."""
    return -namespace(t).expm1(t * log(beta or 1e-300))


def scaled_to_norm(xp: ModuleType, grads: Params, norm: float) -> Params:
    """The gradients times norm / (|gradients| + 1e-6), the L2 norm of all of them together, if that is less than 1."""
    widest = xp.result_type(*grads.values())
    total = xp.sqrt(sum(xp.astype(xp.sum(g * g), widest) for g in grads.values()))
    factor = norm / (total + 1e-6)
    factor = xp.minimum(factor, xp.ones_like(factor))
    return {name: g * xp.astype(factor, g.dtype) for name, g in grads.items()}


def check_learning_rate(lr: Any) -> float:
    """A positive finite number as a Python float, which leaves every array its dtype; else ``ValueError``."""
    return check_positive(lr, "the learning rate", "0.1 for example")


def _checked(name: str, value: Any) -> Any:
    """The value of a field, numbers as Python floats; ``ValueError`` if it is out of range."""
    if name == "lr":
        return check_rate_or_schedule(value, "the learning rate")
    if name in SWITCHES:
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}, expected True or False")
        return value
    if name in POSITIVE:
        if value is None and name.startswith("clip"):
            return None
        return check_positive(value, name, f"{POSITIVE[name]} for example")
    return check_number(value, name, *RANGES[name]) if name in RANGES else value
