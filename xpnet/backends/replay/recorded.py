"""The step that a Trainer calls: recorded for each form of its arguments, and replayed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from xpnet._typing import Params, State
from xpnet.backends.base import Backend, Block, CompiledStep, Data, PlainStep, Step
from xpnet.backends.replay.plan import Plan
from xpnet.backends.replay.program import Call, Program, Ref, UnrecordableError
from xpnet.backends.replay.rewrite import simplified
from xpnet.backends.replay.tracer import Recorder, Tracer
from xpnet.errors import CompileWarning
from xpnet.streams import warn

#: Types whose arrays compute as arrays do; other kinds of arrays may bring rules of their own.
PLAIN = (np.ndarray, np.memmap)
#: How many plans are kept, each with memory of its own: those of the forms of arguments that were used last.
MOST_PLANS = 16

Names = tuple[str, ...]
Given = dict[Names, np.ndarray]


class RecordedStep(CompiledStep):
    """A step that is recorded at its first run with arguments of such a form, and replayed from then on.

    What cannot be recorded runs as it is, after one warning that says why.

    Args:
        step: pure but for consuming its state.
        backend: that of its arrays, NumPy's.
    """

    def __init__(self, step: Step, backend: Backend) -> None:
        self.plain, self.library = PlainStep(step, backend), backend.xp
        self.plans: dict[Any, Plan | None] = {}
        self.bound: tuple[Plan, Given, list[Callable[[], Any]]] | None = None
        self.reason: Exception | None = None
        self.warned = False
        self.lock = threading.Lock()

    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        with self.lock:  # there is one memory, however many threads
            given = dict(_leaves({"state": state, "data": data}))
            plan = self._plan(state, data, given, block)
            if plan is not None:
                try:
                    calls, rows, draws = self._calls(plan, given, block)
                except Exception as error:  # nothing was computed yet, and the step itself can be
                    self.reason, plan = error, None
            if plan is None:
                return self._plainly(state, data, block)
            losses, loss = np.empty((len(block.rows), *plan.loss.shape), plan.loss.dtype), plan.loss
            for k, taken in enumerate(block.rows):
                rows[...] = taken
                for name, place in draws.items():
                    place[...] = block.draws[name][k]
                for call in calls:
                    call()
                losses[k] = loss
            return state, losses

    def release(self) -> None:
        with self.lock:
            self.bound = None

    def _plan(self, state: State, data: Data, given: Given, block: Block) -> Plan | None:
        """How to replay the step on arguments of this form; None if it has to run as it is."""
        rows = block.rows
        data_shapes = [getattr(a, "shape", ()) for name, a in given.items() if name[0] == "data"]
        samples = min([shape[0] if shape else 0 for shape in data_shapes], default=0)
        if not rows.size or int(rows.min()) < 0 or int(rows.max()) >= samples:
            return None  # it takes what is in range without looking: an error, or rows from the end, are the step's own
        one = {name: drawn[0] for name, drawn in block.draws.items()}
        form = tuple([(name, _form(a)) for name, a in (*given.items(), ("rows", rows[0]), *one.items())])
        if form not in self.plans:
            try:
                with np.errstate(all="ignore"):
                    first, second = (self._recorded(state, data, rows[0], one) for _ in range(2))
                if not _same(first, second):
                    raise UnrecordableError(
                        "it does not compute the same twice, as if it drew random numbers or counted"
                    )
                self.plans[form] = Plan(simplified(first))
            except Exception as error:  # whatever it is, the step itself will tell, or does not mind
                self.plans[form] = None
                self.reason = error
            if len(self.plans) > MOST_PLANS:
                del self.plans[next(iter(self.plans))]
        self.plans[form] = self.plans.pop(form)  # the last one used is the last one
        return self.plans[form]

    def _recorded(self, state: State, data: Data, rows: np.ndarray, draws: Params) -> Program:
        recorder, given = Recorder(self.library), {}

        def tracers(tree: Any, name: Names) -> Any:
            if isinstance(tree, dict):
                return {key: tracers(value, (*name, key)) for key, value in tree.items()}
            if not isinstance(tree, np.ndarray):
                raise UnrecordableError(f"{'/'.join(name)} is of type {type(tree).__name__}, and not an array")
            if type(tree) not in PLAIN:
                raise UnrecordableError(
                    f"{'/'.join(name)} is of type {type(tree).__name__}, which may compute otherwise than an array; "
                    "numpy.asarray(...) makes a plain one"
                )
            given[name] = Ref(tree.shape, tree.dtype, given=name)
            if name[0] != "state":
                return Tracer(np.asarray(tree), given[name])
            if not (tree.flags.writeable and tree.flags.forc):
                raise UnrecordableError(f"{'/'.join(name)} is locked, or its elements are apart")
            return Tracer(np.array(tree, order="K"), given[name])

        args = {"state": state, "data": data, "rows": rows, "draws": draws}
        with recorder.recording():
            after, loss = self.plain.step(*(tracers(value, (name,)) for name, value in args.items()))
            if not isinstance(loss, Tracer):
                raise UnrecordableError("its loss is not an array")
            if not loss.ref.made:
                raise UnrecordableError("its loss is not computed, but one of its arguments or always the same")
            if loss.ref.base is not None:
                loss = recorder.copied(loss)  # what it is a view of may be overwritten
            _return_state(recorder, dict(_leaves({"state": after})), given)
        program = Program(recorder.calls, given, loss.ref)
        program.check_closed()
        return program

    def _calls(self, plan: Plan, given: Given, block: Block) -> tuple[list[Callable[[], Any]], np.ndarray, Params]:
        """The calls on these arrays, and where they find the rows and draws of a step."""
        bound, arrays, calls = self.bound or (None, {}, [])
        if bound is not plan or any(given[name] is not arrays[name] for name in given):
            state = [array for name, array in given.items() if name[0] == "state"]
            if any(np.may_share_memory(a, b) for a, b in combinations(state, 2)):
                raise UnrecordableError("two arrays of its state share memory")
            arrays = {**given, ("rows",): np.empty_like(block.rows[0])}
            arrays |= {("draws", name): np.empty_like(drawn[0]) for name, drawn in block.draws.items()}
            calls = plan.bound(arrays)
            self.bound = plan, arrays, calls
        return calls, arrays[("rows",)], {name: arrays[("draws", name)] for name in block.draws}

    def _plainly(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        result = self.plain.run(state, data, block)
        if self.reason is not None and not self.warned:
            self.warned = True
            told = isinstance(self.reason, UnrecordableError)
            why = str(self.reason) if told else f"{type(self.reason).__name__}: {self.reason}"
            warn(
                f"the training step is not compiled, and runs call by call: {why}. It was run to try; "
                "Trainer(compile=False) does not try",
                CompileWarning,
                stacklevel=2,
            )
        return result


def _leaves(tree: Any, name: Names = ()) -> Iterator[tuple[Names, np.ndarray]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*name, key))
        else:
            yield (*name, key), value


def _form(array: Any) -> Any:
    if type(array) not in PLAIN:
        return type(array), getattr(array, "shape", None)
    return array.shape, array.dtype.str, array.strides, array.flags.writeable


def _return_state(recorder: Recorder, after: dict[Names, Any], given: dict[Names, Ref]) -> None:
    """Note what brings the new state to where the old one is."""
    before = {name for name in given if name[0] == "state"}
    if after.keys() != before:
        raise UnrecordableError(f"its state has other names afterwards: {sorted(map('/'.join, after.keys() ^ before))}")
    for name, value in after.items():
        place, ref = given[name], recorder.operand(value)
        if ref is place:
            continue
        if not isinstance(ref, Ref) or (ref.shape, ref.dtype) != (place.shape, place.dtype):
            raise UnrecordableError(f"{'/'.join(name)} has another shape or dtype afterwards")
        if ref.root.given is not None:
            raise UnrecordableError(f"{'/'.join(name)} is another array of its arguments afterwards")
        recorder.calls.append(Call("copy", (ref,), place, elementwise=True))


def _same(first: Program, second: Program) -> bool:
    """Whether two recordings are of the same calls with the same constants."""
    if len(first.calls) != len(second.calls):
        return False
    known: dict[Ref, Ref] = {}

    def alike(a: Any, b: Any) -> bool:
        if isinstance(a, Ref) and isinstance(b, Ref):
            if a in known:
                return known[a] is b
            known[a] = b
            if a.constant is not None and b.constant is not None:
                return np.array_equal(a.constant, b.constant, equal_nan=a.dtype.kind == "f")
            same = (a.shape, a.dtype, a.given, a.how) == (b.shape, b.dtype, b.given, b.how)
            return same and alike(a.base, b.base)
        if isinstance(a, list | tuple) and isinstance(b, list | tuple):
            return len(a) == len(b) and all(map(alike, a, b))
        return bool(a is b or a == b or (a != a and b != b))

    for a, b in zip(first.calls, second.calls, strict=True):
        if a.name != b.name or a.options != b.options or not alike((a.operands, a.out), (b.operands, b.out)):
            return False
    return alike(first.loss, second.loss)
