"""The step that a Trainer calls: recorded for each form of its arguments, and replayed."""

from __future__ import annotations

import threading
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from xpnet._typing import Array, Params, State
from xpnet.backends.base import Backend, Block, CompiledStep, Data, PlainStep, Step
from xpnet.backends.replay.plan import Given, Names, Plan
from xpnet.backends.replay.program import Call, Program, Ref, UnrecordableError
from xpnet.backends.replay.rewrite import simplified
from xpnet.backends.replay.tracer import Recorder
from xpnet.errors import CompileWarning
from xpnet.streams import warn

#: Types whose arrays compute as arrays do; other kinds of arrays may bring rules of their own.
PLAIN = (np.ndarray, np.memmap)
#: How many plans are kept, each with memory of its own: those of the forms of arguments that were used last.
MOST_PLANS = 16


class RecordedStep(CompiledStep):
    """A step that is recorded at its first run with arguments of such a form, and replayed from then on.

    What cannot be recorded runs as it is, after one warning that says why. Other libraries record in the same way, and
    make something else of the program: see the methods from ``_admits`` on.

    Args:
        step: pure but for consuming its state.
        backend: that of its arrays.
        programs: what was recorded for each form of arguments, or why it could not be; shared by equal steps.
    """

    recorder: ClassVar[type[Recorder]] = Recorder

    def __init__(self, step: Step, backend: Backend, programs: dict[Any, Program | Exception] | None = None) -> None:
        self.plain = PlainStep(step, backend)
        self.programs = {} if programs is None else programs
        self.plans: dict[Any, Any] = {}
        self.bound: dict[Any, tuple[Given, Any]] = {}
        self.reason: Exception | None = None
        self.warned = False
        self.lock = threading.Lock()

    def run(self, state: State, data: Data, block: Block) -> tuple[State, np.ndarray]:
        with self.lock:  # there is one memory, however many threads
            given: Given = {}
            _note_leaves({"state": state, "data": data}, (), given)
            plan, bound = self._plan(state, data, given, block), None
            if plan is not None:
                try:
                    bound = self._bound(plan, given, block)
                except Exception as error:  # nothing was computed yet, and the step itself can be
                    self.reason = error.with_traceback(None)  # which holds on to the arrays
            if bound is None:
                return self._plainly(state, data, block)
            return state, bound.losses(block)

    def release(self) -> None:
        with self.lock:
            self.bound = {}

    def another(self) -> RecordedStep:
        """One with memory of its own, so that both may run at a time."""
        return type(self)(self.plain.step, self.plain.backend, self.programs)

    def _plan(self, state: State, data: Data, given: Given, block: Block) -> Any:
        """How to replay the step on arguments of this form; None if it has to run as it is."""
        if not self._admits(given, block):
            return None
        rows, one = block.rows, {name: drawn[0] for name, drawn in block.draws.items()}
        for plan, (arrays, bound) in self.bound.items():  # two where the last minibatch of an epoch is smaller
            if bound.fits(block) and _same_arrays(arrays, given):
                return plan
        form = tuple([(name, self._form(a)) for name, a in (*given.items(), ("rows", rows[0]), *one.items())])
        if form not in self.plans:
            found = self._program(form, state, data, rows[0], one)
            self.plans[form] = None if isinstance(found, Exception) else self._planned(found)
            self.reason = found if isinstance(found, Exception) else self.reason
            if len(self.plans) > MOST_PLANS:
                oldest = self.plans.pop(next(iter(self.plans)))
                self.bound = {plan: arrays for plan, arrays in self.bound.items() if plan is not oldest}
        self.plans[form] = self.plans.pop(form)  # the last one used is the last one
        return self.plans[form]

    def _program(self, form: Any, state: State, data: Data, rows: np.ndarray, draws: Params) -> Program | Exception:
        """The step on arguments of this form as it was recorded, or why it cannot be."""
        found = self.programs.get(form)
        if found is None:
            try:
                with np.errstate(all="ignore"):
                    first, second = (self._recorded(state, data, rows, draws) for _ in range(2))
                if not _same(first, second):
                    raise UnrecordableError(
                        "it does not compute the same twice, as if it drew random numbers or counted"
                    )
                found = self._made_of(first)
                self._planned(found)  # which has complaints of its own
            except Exception as error:  # whatever it is, the step itself will tell, or does not mind
                found = error
            self.programs[form] = found
            while len(self.programs) > MOST_PLANS:
                self.programs.pop(next(iter(self.programs)), None)
        return found

    def _recorded(self, state: State, data: Data, rows: np.ndarray, draws: Params) -> Program:
        recorder, given = self.recorder(), {}

        def tracers(tree: Any, name: Names) -> Any:
            if isinstance(tree, dict):
                return {key: tracers(value, (*name, key)) for key, value in tree.items()}
            host = self._on_host(tree, name)
            given[name] = Ref(host.shape, host.dtype, given=name)
            return recorder.tracer(host, given[name])

        args = {"state": state, "data": data, "rows": rows, "draws": draws}
        with recorder.recording():
            after, loss = self.plain.step(*(tracers(value, (name,)) for name, value in args.items()))
            if not isinstance(loss, recorder.tracer):
                raise UnrecordableError("its loss is not an array")
            if not loss.ref.made:
                raise UnrecordableError("its loss is not computed, but one of its arguments or always the same")
            if loss.ref.base is not None:
                loss = recorder.copied(loss)  # what it is a view of may be overwritten
            returned: dict[Names, Any] = {}
            _note_leaves({"state": after}, (), returned)
            _return_state(recorder, returned, given)
        program = Program(recorder.calls, given, loss.ref)
        program.check_closed()
        return program

    def _bound(self, plan: Any, given: Given, block: Block) -> Any:
        """The plan on these arrays."""
        arrays, bound = self.bound.get(plan, ({}, None))
        if bound is None or not (bound.fits(block) and _same_arrays(arrays, given)):
            self._check_apart([array for name, array in given.items() if name[0] == "state"])
            self.bound.pop(plan, None)  # it may have memory of its own
            bound = plan.bound(given, block)
            self.bound[plan] = given, bound
        return bound

    def _admits(self, given: Given, block: Block) -> bool:
        """Whether all rows are in range, as nobody looks later; others are the step's own to refuse."""
        rows = block.rows
        data_shapes = [getattr(a, "shape", ()) for name, a in given.items() if name[0] == "data"]
        samples = min([shape[0] if shape else 0 for shape in data_shapes], default=0)
        return bool(rows.size) and int(rows.min()) >= 0 and int(rows.max()) < samples

    def _form(self, array: Array) -> Any:
        """What has to be equal for one recording to serve several arrays."""
        if type(array) not in PLAIN:
            return type(array), getattr(array, "shape", None)
        return array.shape, array.dtype.str, array.strides, array.flags.writeable

    def _on_host(self, array: Array, name: Names) -> np.ndarray:
        """What a step is recorded with in the place of an array of its arguments; an error if it cannot be."""
        if not isinstance(array, np.ndarray):
            raise UnrecordableError(f"{'/'.join(name)} is of type {type(array).__name__}, and not an array")
        if type(array) not in PLAIN:
            raise UnrecordableError(
                f"{'/'.join(name)} is of type {type(array).__name__}, which may compute otherwise than an array; "
                "numpy.asarray(...) makes a plain one"
            )
        if name[0] != "state":
            return np.asarray(array)
        if not (array.flags.writeable and array.flags.forc):
            raise UnrecordableError(f"{'/'.join(name)} is locked, or its elements are apart")
        return np.array(array, order="K")

    def _check_apart(self, arrays: list[Any]) -> None:
        if any(np.may_share_memory(a, b) for a, b in combinations(arrays, 2)):
            raise UnrecordableError("two arrays of its state share memory")

    def _made_of(self, program: Program) -> Program:
        """The program as it will run."""
        return simplified(program)

    def _planned(self, program: Program) -> Any:
        """A plan for it: its ``bound(given, block)`` has ``fits(block)`` and ``losses(block)``."""
        return Plan(program)

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


def _note_leaves(tree: Any, name: Names, found: dict[Names, Any]) -> None:
    """The arrays of nested dicts by all the names that lead to them."""
    for key, value in tree.items():
        if isinstance(value, dict):
            _note_leaves(value, (*name, key), found)
        else:
            found[(*name, key)] = value


def _same_arrays(arrays: Given, others: Given) -> bool:
    return len(arrays) == len(others) and all(arrays.get(name) is array for name, array in others.items())


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
                same = np.array_equal(a.constant, b.constant)  # which is several times faster than to ask for NaN
                return same or (a.dtype.kind == "f" and np.array_equal(a.constant, b.constant, equal_nan=True))
            same = (a.shape, a.dtype, a.given, a.how) == (b.shape, b.dtype, b.given, b.how)
            return same and alike(a.base, b.base)
        if isinstance(a, list | tuple) and isinstance(b, list | tuple):
            return len(a) == len(b) and all(map(alike, a, b))
        return bool(a is b or a == b or (a != a and b != b))

    for a, b in zip(first.calls, second.calls, strict=True):
        if a.name != b.name or a.options != b.options or not alike((a.operands, a.out), (b.operands, b.out)):
            return False
    return alike(first.loss, second.loss)
