"""What is compiled of a training, and shared by all trainings in this process that are made of equal parts."""

from __future__ import annotations

import copy
import threading
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any

from xpnet._typing import Array, Optimizer, Params, Transform
from xpnet.backends.dispatch import dtype_name, namespace
from xpnet.models import Sequential
from xpnet.models.evaluation import Judge, in_parts, judge
from xpnet.parallel import ALONE, Parallel
from xpnet.training.step import compiled_step, only_ours

#: How many trainings that are made of other parts keep what was compiled of them: those that were begun last.
MOST = 16

_shared: dict[Any, Compiled] = {}
_lock = threading.Lock()


class Compiled:
    """The step of a training, and what its evaluations call; compiled for arrays of some shapes when they first come.

    Args:
        net: it is not kept, nor are its arrays.
        optimizer, transforms: see :func:`xpnet.make_step`.
        compiles: whether to compile at all.
        parallel: the processes that take steps together.
        compute_dtype: see :func:`xpnet.make_step`.
    """

    def __init__(
        self,
        net: Sequential,
        optimizer: Optimizer,
        transforms: tuple[Transform, ...],
        compiles: bool,
        parallel: Parallel = ALONE,
        compute_dtype: str | None = None,
    ) -> None:
        self.backend, self.compiles, self.parallel = net.backend, compiles, parallel
        self.shell = copy.copy(net)
        self.shell.params, self.shell.buffers = {}, {}
        self.step = compiled_step(self.shell, optimizer, transforms, parallel, compute_dtype, compiles)
        self.judges: dict[bool, Judge] = {}
        self.total = self.backend.jit(_total)

    def another(self) -> Compiled | None:
        """The same for another training, which may run at the same time; None where its step cannot be shared."""
        step, other = self.step.another(), copy.copy(self)
        if step is None:
            return None
        other.step = step
        return other

    def is_finite(self, arrays: Params) -> bool:
        """Whether there is no NaN and no infinity in any of these arrays."""
        if isfinite(float(self.total(arrays))):  # of anything that is not finite the sum is neither
            return True
        return all(bool(namespace(a).all(namespace(a).isfinite(a))) for a in arrays.values())

    def judge(self, classes: bool) -> Judge:
        """See :func:`xpnet.models.evaluation.judge`."""
        if classes not in self.judges:
            function = judge(in_parts(self.shell), self.shell.loss_layer, classes)
            self.judges[classes] = self.parallel.compile_function(self.backend, function) if self.compiles else function
        return self.judges[classes]


def compiled(
    net: Sequential,
    optimizer: Optimizer,
    transforms: tuple[Transform, ...],
    compiles: bool,
    parallel: Parallel = ALONE,
    compute_dtype: str | None = None,
) -> Compiled:
    """What is there already of equal parts, or something new."""
    key = _key(net, optimizer, transforms, parallel) if compiles else None
    if key is None:
        return Compiled(net, optimizer, transforms, compiles, parallel, compute_dtype)
    key, how = (key, compute_dtype), (compiles, parallel, compute_dtype)
    with _lock:
        first = _shared.pop(key, None) or Compiled(*_copied(net, optimizer, transforms), *how)
        found = first.another()
        if found is None:
            return first
        _shared[key] = first  # which never runs, and has no memory of a step's
        if len(_shared) > MOST:
            del _shared[next(iter(_shared))]
    return found


def _copied(
    net: Sequential, optimizer: Optimizer, transforms: tuple[Transform, ...]
) -> tuple[Sequential, Optimizer, tuple[Transform, ...]]:
    """Parts that nobody else has: what is written into a field of the others later is not in the step of them all."""
    shell = copy.copy(net)
    shell.chain, shell.loss_layer = copy.deepcopy((net.chain, net.loss_layer))
    return shell, *copy.deepcopy((optimizer, transforms))


def forget() -> None:
    """Share nothing of what was compiled until now."""
    with _lock:
        _shared.clear()


def _key(net: Sequential, optimizer: Optimizer, transforms: tuple[Transform, ...], parallel: Parallel) -> Any:
    """What all equal steps have in common; None where parts are not xpnet's own, or cannot be compared by value."""
    if not only_ours(net, optimizer, transforms):
        return None
    try:
        parts = [_described(part) for part in (tuple(net.layers.values()), net.loss_layer, optimizer, transforms)]
    except TypeError:
        return None
    return type(net), net.backend, dtype_name(net.dtype), parallel, *parts


def _described(part: Any) -> Any:
    """A part by its kind and its fields, so that equal ones are equal; ``TypeError`` if it holds anything else."""
    if part is None or type(part) in (str, bool, int, float):
        return type(part), repr(part)
    if isinstance(part, tuple | list):
        return type(part), tuple(map(_described, part))
    if not is_dataclass(part) or isinstance(part, type):
        raise TypeError(f"{part!r} is compared by identity")
    return type(part), tuple((f.name, _described(getattr(part, f.name))) for f in fields(part) if f.init)


def _total(arrays: Params) -> Array:
    """The sum of all numbers."""
    xp = namespace(next(iter(arrays.values())))
    first, *rest = [xp.sum(a) for a in arrays.values()]
    for each in rest:
        first = first + each
    return first
