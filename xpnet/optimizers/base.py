"""What all optimizers share: the step, in which a subclass fills in its rule; schedules, weight decay and clipping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from functools import cache, partial
from math import log
from numbers import Integral, Real
from types import ModuleType
from typing import Any, ClassVar

from xpnet._checks import check_number, check_positive, check_switch
from xpnet._typing import Array, Params, State
from xpnet.backends.dispatch import describe, device, dtype_name, host_number, name_of, namespace, writable
from xpnet.schedules import ReduceOnPlateau, Schedule
from xpnet.schedules.base import check_rate_or_schedule, floating, rate_of
from xpnet.validation import check_detached


@dataclass(frozen=True, repr=False)
class Optimizer(ABC):
    """An update rule. A step consumes what it is given; the caller goes on with what it returns.

    Entries of dicts are updated in place where arrays allow it and rebound where not, so one line serves eager and
    compiled code. All that changes from step to step is an array in the state: ``{"t": steps taken so far, "memory":
    {parameter: {slot: array}}, "scale": the product of the reductions of ReduceOnPlateau}``. A state has only the keys
    that the optimizer needs; that of plain gradient descent is ``{}``.

    Args:
        lr: the learning rate, or a schedule of ``xpnet.schedules``.
        weight_decay: adds weight_decay w to the gradient, as a penalty weight_decay |w|²/2 in the loss does.
        decoupled: w ← (1 - lr weight_decay) w before the rule instead, so that the rule does not rescale the decay
            (Loshchilov and Hutter 2019).
        decay_biases: False leaves arrays of one axis out of the decay, as the book does.
        clip_value: entries of gradients are clipped to [-clip_value, clip_value].
        clip_norm: all gradients together are scaled down to this L2 norm if theirs is larger (Pascanu et al. 2013).
            Clipping comes before weight decay, and by value before by norm.

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
        """The parameter w after a step with gradient g; may write to w and ``memory``, not to g."""

    def memory(self, w: Array) -> dict[str, Array]:
        """The state for the parameter w before the first step: arrays by name."""
        return {}

    def shared(self, t: Array) -> Any:
        """What all parameters share in step t = 1, 2, ..., computed once a step; called only if ``counts``."""
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

        A parameter without a gradient stays as it is. Gradients of another dtype are converted to that of their
        parameter, after clipping.

        Raises:
            TypeError: a parameter is no array, or the library of an array records what is done with it.
            ValueError: the state is empty, and this optimizer has one, or it is of another shape or dtype than the
                parameters; a gradient is of another shape than its parameter, or of none; a parameter is not
                floating-point.
        """
        if not state and self.init(params):
            raise ValueError(f"state is {{}}, expected what {self!r}.init(params) returned, or the step before")
        if "t" not in state and (self.counts or isinstance(self.lr, Schedule)) and params:
            raise ValueError(f"state has no count of steps, expected what {self!r}.init(params) returned")
        memory, known = state.get("memory", {}), {}
        self._check(params, grads, memory)
        for name, g in self._clipped(params, grads).items():
            w = writable(params[name])
            if getattr(g, "dtype", w.dtype) != w.dtype:
                g = namespace(w).astype(g, w.dtype)  # arrays of some libraries would grow to the wider of the two
            if w.dtype not in known:
                known[w.dtype] = self._known(state, w.dtype)
            lr, shared = known[w.dtype]
            w, g = self._decayed(w, g, lr)
            params[name] = self.rule(w, g, memory.get(name, {}), lr, shared)
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

    def _check(self, params: Params, grads: Params, memory: Mapping[str, dict[str, Array]]) -> None:
        """Raise unless gradients and slots fit their parameters: otherwise arrays would be broadcast, and grow."""
        for name, g in grads.items():
            if name not in params:
                raise ValueError(f"there is a gradient of {name!r}, and no such parameter; expected {list(params)}")
            w = params[name]
            if not alike(w, g):
                check_pair(name, w, g)
            slots = memory.get(name)
            if slots is None and self.memory(w):
                raise ValueError(f"state has no memory of {name!r}, expected what {self!r}.init(params) returned")
            for slot, array in (slots or {}).items():
                if array.dtype != w.dtype or (array.shape != w.shape and array.shape != ()):
                    self._check_slot(name, slot, array, w)

    def _check_slot(self, name: str, slot: str, array: Array, w: Array) -> None:
        """Raise unless it is as it was made, which need not be as the parameter is."""
        made = self.memory(w).get(slot)
        if made is None or made.shape != array.shape or made.dtype != array.dtype:
            raise ValueError(
                f"state: {slot!r} of {name!r} is {tuple(array.shape)} of {dtype_name(array.dtype)}, which does not fit "
                f"the parameter, {tuple(w.shape)} of {dtype_name(w.dtype)}; start with {self!r}.init(params)"
            )

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
        grads = {name: floating_like(g, params[name]) for name, g in grads.items()}
        if self.clip_value is not None:
            grads = {name: clipped(g, self.clip_value) for name, g in grads.items()}
        return grads if self.clip_norm is None else scaled_to_norm(xp, grads, self.clip_norm)

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in CHECKS:
                value = CHECKS[field.name](getattr(self, field.name), field.name)
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

    They are then on the device of w, and committed to it only if w is: compiled code gets arrays of one kind in the
    first step and in all others.
    """
    if 0 in w.shape:
        return namespace(w).zeros((), dtype=w.dtype, device=device(w))
    return w[(0,) * w.ndim]


def bias_correction(beta: float, t: Array) -> Array:
    """1 - beta^t; by expm1, as the difference would have few correct digits in float32, where beta^t is near 1."""
    return -namespace(t).expm1(t * log(beta or 1e-300))


def narrowed(x: Any, dtype: Any) -> Any:
    """Arrays, alone or in a tuple, in this dtype; anything else as it is."""
    if isinstance(x, tuple):
        return tuple(narrowed(each, dtype) for each in x)
    return namespace(x).astype(namespace(x).asarray(x), dtype) if hasattr(x, "dtype") else x


def floating_like(g: Array, w: Array) -> Array:
    """A gradient as it is if it is floating-point, else in the dtype of its parameter, and at least in float32."""
    xp = namespace(w)
    if not hasattr(g, "dtype"):  # what some libraries make of computations with 0-d arrays
        g = xp.full_like(w, g)
    dtype = g.dtype if xp.isdtype(g.dtype, "real floating") else w.dtype
    dtype = dtype if xp.finfo(dtype).bits >= 32 else xp.float32
    return g if g.dtype == dtype else xp.astype(g, dtype)


def clipped(g: Array, value: float) -> Array:
    """The entries of g clipped to [-value, value]; as they are, where its dtype has no numbers so large."""
    xp = namespace(g)
    return g if value > float(xp.finfo(g.dtype).max) else xp.clip(g, -value, value)


def scaled_to_norm(xp: ModuleType, grads: Params, norm: float) -> Params:
    """The gradients times norm / (|gradients| + 1e-6), the L2 norm of all of them together, if that is less than 1.

    The norm is that of the gradients over their largest entry, so that no square overflows.
    """
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


def check_learning_rate(lr: Any) -> float:
    """A positive finite number as a Python float, which leaves every array its dtype; else ``ValueError``."""
    return check_positive(lr, "the learning rate", "0.1 for example")


def alike(w: Array, g: Array) -> bool:
    """Whether a gradient is as its parameter, which is floating-point; most are, and this is seen at once."""
    if type(w) is not type(g) or getattr(w, "dtype", None) is None or w.dtype != g.dtype or w.shape != g.shape:
        return False
    recorded = getattr(w, "requires_grad", False) or getattr(g, "requires_grad", False)
    return not recorded and is_floating(namespace(w), w.dtype)


@cache
def is_floating(xp: ModuleType, dtype: Any) -> bool:
    return bool(xp.isdtype(dtype, "real floating"))


def check_pair(name: str, w: Array, g: Any) -> None:
    """Raise unless a gradient can be one of its parameter."""
    if not hasattr(w, "shape"):
        raise TypeError(f"params[{name!r}] is {describe(w)}, expected an array")
    check_detached(w, f"params[{name!r}]")
    check_detached(g, f"grads[{name!r}]")
    check_gradient_kind(name, w, g)
    shape = getattr(g, "shape", ())
    if shape != w.shape:
        raise ValueError(
            f"the gradient of {name!r} has shape {tuple(shape)}, expected {tuple(w.shape)}, the shape of the "
            "parameter; a gradient of a batch is summed over its samples"
        )
    check_dtypes(name, w, g)


def check_gradient_kind(name: str, w: Array, g: Any) -> None:
    """Raise ``TypeError`` unless a gradient is an array of the library of its parameter, or a number."""
    if not hasattr(g, "shape"):
        if isinstance(g, bool) or not isinstance(g, Real):
            raise TypeError(f"grads[{name!r}] is {describe(g)}, expected an array")
    elif name_of(g) != name_of(w) and name_of(w) is not None:
        raise TypeError(f"grads[{name!r}] is {describe(g)}, and its parameter {describe(w)}; both have to be of one")


def check_dtypes(name: str, w: Array, g: Array) -> None:
    """Raise unless a parameter is floating-point and its gradient real."""
    xp = namespace(w)
    if not xp.isdtype(w.dtype, "real floating"):
        raise ValueError(
            f"the parameter {name!r} is {dtype_name(w.dtype)}, and steps of an optimizer would be rounded away; "
            "expected floating-point: xp.astype(w, xp.float64)"
        )
    if getattr(g, "dtype", w.dtype) != w.dtype and xp.isdtype(g.dtype, "complex floating"):
        raise ValueError(f"the gradient of {name!r} is {dtype_name(g.dtype)}, expected {dtype_name(w.dtype)}")


def check_update(params: Params, grads: Params) -> None:
    """Raise unless both are dicts of arrays with the same names; see :meth:`Optimizer.update`."""
    for owner, arrays in (("params", params), ("grads", grads)):
        if not isinstance(arrays, Mapping):
            raise TypeError(f"{owner} is {describe(arrays)}, expected a dict of arrays by name")
        for name, array in arrays.items():
            if owner == "grads" and isinstance(array, float):
                continue  # what some libraries make of computations with 0-d arrays
            try:
                namespace(array)
            except TypeError as error:
                raise TypeError(f"{owner}[{name!r}]: {error}") from None
    missing, unknown = ([name for name in a if name not in b] for a, b in ((params, grads), (grads, params)))
    if missing or unknown:
        problems = [f"lacks {missing}"] * bool(missing) + [f"has {unknown}, which params has not"] * bool(unknown)
        raise ValueError(
            f"grads {' and '.join(problems)}; expected a gradient for each of {list(params)}. To leave some parameters "
            "as they are, use step(params, grads, state)"
        )


def _clip(value: Any, name: str) -> float | None:
    return None if value is None else check_positive(value, name, "1.0 for example, or None")


#: How the value of a field is checked, and made a Python number, by the name of the field.
CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "lr": lambda value, _: check_rate_or_schedule(value, "the learning rate"),
    **dict.fromkeys(("momentum", "decay_rate", "beta1", "beta2"), partial(check_number, least=0, below=1)),
    **dict.fromkeys(("weight_decay", "momentum_decay", "l1", "l2", "beta"), partial(check_number, least=0)),
    **dict.fromkeys(("clip_value", "clip_norm"), _clip),
    **dict.fromkeys(("decoupled", "decay_biases", "centered", "folded"), check_switch),
    "eps": partial(check_positive, example="1e-8 for example"),
    "initial_accumulator_value": partial(check_positive, example="0.1 for example"),
    "learning_rate_power": partial(check_number, most=0),
}
