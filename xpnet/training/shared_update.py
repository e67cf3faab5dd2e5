"""The update shared out: each process adds up the gradients of its part of all weights, and changes these alone.

Where each entry of a weight goes by its own gradient, the parts need nothing of each other. As many bytes move as if
all gradients were added up everywhere: first the sums of own parts, then the new weights of the others. What the
optimizer remembers of other parts, and the losses, are brought together at the end of a block of steps, so that whoever
looks at a state between blocks sees that of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from xpnet._typing import Array, Optimizer, Params, State, Transform
from xpnet.backends.base import Backend, Block, CompiledStep, Data
from xpnet.backends.dispatch import dtype_name, kind_of, namespace
from xpnet.models import Sequential
from xpnet.optimizers.checks import check_step
from xpnet.optimizers.transforms import ClipByValue, ScaleGradients, WeightDecay
from xpnet.parallel import Parallel
from xpnet.parallel.base import Call
from xpnet.parallel.pieces import balanced, ranges

#: Transforms that treat each entry of a gradient by itself, as all optimizers of :data:`OPTIMIZERS` do.
BY_ENTRY = (ClipByValue, WeightDecay, ScaleGradients)
#: So many entries at a time are updated.
BLOCK = 2**15


def shares_update(net: Sequential, optimizer: Any, transforms: Sequence[Transform], parallel: Parallel) -> bool:
    """Whether an update can be shared out: none of its parts needs more of a weight than one entry.

    A rule of the user's own may, and so may one that is made of ours.
    """
    if parallel.size == 1 or not (parallel.divides and net.backend.views):
        return False
    from xpnet.optimizers import OPTIMIZERS  # later: alone, a process needs one of them

    if type(optimizer) not in OPTIMIZERS.values():
        return False
    return all(type(each) in BY_ENTRY for each in (*transforms, *optimizer.transforms)) and all(
        shape for part in net.chain.parts for shape in part.shapes.values()
    )


class SharedUpdate:
    """An optimizer that is given gradients of this process' rows, and has the weights of all after a step.

    What the optimizer remembers of an entry is right in the process whose part it is in.

    Args:
        optimizer: the rule.
        transforms: what is done to the gradients before it.
        parallel: the processes.
    """

    def __init__(self, optimizer: Optimizer, transforms: Sequence[Transform], parallel: Parallel) -> None:
        self.optimizer, self.transforms, self.parallel = optimizer, transforms, parallel

    def init(self, params: Params) -> State:
        """That of the optimizer."""
        return self.optimizer.init(params)

    def step(self, params: Params, grads: Params, state: State) -> tuple[Params, State]:
        """Add up own parts of the gradients, change own parts of the weights where they are, and fetch the others."""
        slots, kinds = state.get("slots", {}), by_dtype(params)
        check_step(params, grads, slots, self.optimizer)  # whose own look sees parts, all of which fit
        own_params, own_grads, own_slots = dict[str, Any](), dict[str, Any](), dict[str, Any]()
        for names in kinds:
            weights = [params[name] for name in names]
            # what has no gradient stays as it is, and keeps its place in the parts
            given = [
                grads[n] if n in grads else namespace(w).zeros_like(w) for n, w in zip(names, weights, strict=True)
            ]
            total, start = self._total(weights, given), 0
            sizes = _sizes(weights)
            mine = balanced(sizes, self.parallel.size)[self.parallel.rank]
            for name, w, own in zip(names, weights, ranges(sizes, mine), strict=True):
                remembered = slots.get(name, {})
                # a number that is remembered of a whole weight changes everywhere, and once
                whole = any(slot.shape != w.shape for slot in remembered.values())
                for part in [own] if whole else _blocks(own):
                    end, key = start + part.stop - part.start, f"{name}, {part.start} to {part.stop}"
                    if name in grads:
                        own_params[key], own_grads[key] = _part(w, part), _like(total[start:end, ...], w)
                        own_slots[key] = {
                            slot: _part(x, part) if x.shape == w.shape else x for slot, x in remembered.items()
                        }
                    start = end
        for transform in self.transforms:
            own_grads, _ = transform.update(own_grads, {}, own_params)
        places = [(own_params, dict(own_params)), *((own, dict(own)) for own in own_slots.values())]
        _, after = self.optimizer.step(own_params, own_grads, {**state, "slots": own_slots})
        for changed, before in places:
            for name, place in before.items():
                if changed[name] is not place:
                    place[...] = changed[name]
        for names in kinds:
            weights = [params[name] for name in names]
            kind_of(weights[0]).host_writes(self._fetch, [], weights)
        return params, {key: slots if key == "slots" else after[key] for key in state}

    def _total(self, weights: list[Array], grads: list[Array]) -> Array:
        """The own parts of gradients, added up over all, in the dtype of their weights, which is one."""
        xp, dtype = namespace(weights[0]), weights[0].dtype
        grads = [g if g.dtype == dtype else xp.astype(g, dtype) for g in grads]
        mine = balanced(_sizes(weights), self.parallel.size)[self.parallel.rank]
        total = xp.empty(mine.stop - mine.start, dtype=dtype)
        kind_of(weights[0]).host_writes(self._add_up, grads, [total])
        return total

    def _add_up(self, grads: list[np.ndarray], into: list[np.ndarray]) -> Call:
        rows = [g if g.flags.c_contiguous else np.empty(g.shape, g.dtype) for g in grads]
        copied = [(row, g) for row, g in zip(rows, grads, strict=True) if row is not g]
        add_up = self.parallel.reduce_scatter(rows, balanced(_sizes(rows), self.parallel.size), *into)

        def call() -> None:
            for row, g in copied:
                row[...] = g
            add_up()

        return call if copied else add_up

    def _fetch(self, _: list[np.ndarray], weights: list[np.ndarray]) -> Call:
        return gathering(self.parallel, weights)


def gathering(parallel: Parallel, arrays: list[np.ndarray]) -> Call:
    """A call that completes arrays, of which each process has changed its part."""
    return parallel.all_gather(arrays, balanced(_sizes(arrays), parallel.size))


def _blocks(own: slice) -> list[slice]:
    """Entries in portions that stay in cache while a rule goes over them several times."""
    return [slice(start, min(start + BLOCK, own.stop)) for start in range(own.start, own.stop, BLOCK)]


def _sizes(arrays: list[Array]) -> list[int]:
    return [prod(each.shape) for each in arrays]


def by_dtype(params: Params) -> list[list[str]]:
    """The names of all parameters, those of one dtype together, in an order that is the same in all processes."""
    found: dict[str, list[str]] = {}
    for name in sorted(params):
        found.setdefault(dtype_name(params[name].dtype), []).append(name)
    return [found[dtype] for dtype in sorted(found)]


def _part(x: Array, own: slice) -> Array:
    """A view of some entries of x, counted row after row."""
    return _like(namespace(x).reshape(x, (-1,))[own, ...], x)


def _like(flat: Array, x: Array) -> Array:
    """A view of a flat array with as many axes as x has: decay of weights leaves out what has one."""
    return namespace(flat).reshape(flat, (*(1,) * (x.ndim - 1), -1)) if x.ndim > 1 else flat


class SharedUpdateStep(CompiledStep):
    """A compiled step of a :class:`SharedUpdate`, after which all processes have all of the state and of the losses."""

    def __init__(self, step: CompiledStep, parallel: Parallel, backend: Backend) -> None:
        self.step, self.parallel, self.backend = step, parallel, backend

    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        state, losses = self.step.run(self._in_rows(state), data, block)
        params, slots = state["params"], state["optimizer"].get("slots", {})
        for names in by_dtype(params):
            for key, first in slots.get(names[0], {}).items():
                if first.shape == params[names[0]].shape:
                    gathering(self.parallel, [slots[name][key] for name in names])()
        return state, self.parallel.all_reduce(losses)

    def _in_rows(self, tree: State) -> State:
        """The same arrays where they lie row after row and can be written to, else copies."""
        return {
            name: self._in_rows(x)
            if isinstance(x, dict)
            else x
            if x.flags.c_contiguous and x.flags.writeable
            else self.backend.copy(x)
            for name, x in tree.items()
        }

    def release(self) -> None:
        self.step.release()

    def another(self) -> CompiledStep | None:
        step = self.step.another()
        return None if step is None else type(self)(step, self.parallel, self.backend)
