"""Recording: arrays that compute as NumPy's do and note each call.

It is long because a tracer has all that an array of the standard has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Self

import numpy as np

from xpnet.backends.base import backend_class
from xpnet.backends.replay.functions import ABOUT, CREATION, LIKE, RECORDED, plainest, same_place
from xpnet.backends.replay.program import (
    HOST,
    THROUGH,
    TRANSPOSED,
    WRITTEN,
    Call,
    Ref,
    Stage,
    UnrecordableError,
    View,
    in_order,
    order_of,
)

#: What gives stages of calls, one after the other.
Stages = Callable[..., Iterable[Stage]]

_current: ContextVar[Recorder] = ContextVar("xpnet_recorder")


class Recorder:
    """The calls of one step so far.

    Attributes:
        library: the standard's functions for NumPy, whichever library the step will run on.
    """

    def __init__(self) -> None:
        self.library: ModuleType = backend_class("numpy").namespace()
        self.calls: list[Call] = []

    @property
    def tracer(self) -> type[Tracer]:
        """What stands for arrays."""
        return Tracer

    @contextmanager
    def recording(self) -> Iterator[None]:
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def constant(self, array: np.ndarray, folds: bool) -> Tracer:
        return self.tracer(array, Ref(array.shape, array.dtype, constant=array, folds=folds, order=order_of(array)))

    def operand(self, x: Any) -> Any:
        """What a call is given, as a place or a number."""
        if isinstance(x, Tracer):
            return x.ref
        if isinstance(x, np.ndarray | np.generic):  # of the layer's or the user's own
            array = np.asarray(x)
            return Ref(array.shape, array.dtype, constant=array)
        if isinstance(x, list | tuple):
            return type(x)(self.operand(each) for each in x)
        return x

    def call(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Compute a function of the library, and note it unless it is of constants alone."""
        function = plainest(name, getattr(self.library, name), args)
        if any(_holds_tracer(value) for value in options.values()):
            raise UnrecordableError(f"{name} is given an array by name")
        values = tuple(_value(x) for x in args)
        if name in ABOUT:
            return function(*values, **options)
        result = self.computed(name, function, args, options)
        if not isinstance(result, np.ndarray | np.generic):
            raise UnrecordableError(f"{name} returns {type(result).__name__}, not one array")
        if name in LIKE:
            return self.constant(np.zeros_like(result) if name == "empty_like" else np.asarray(result), folds=True)
        x, array = args[0], np.asarray(result)
        if isinstance(x, Tracer):
            if result is x.array:
                return x
            if np.may_share_memory(array, x.array):
                how = TRANSPOSED if name == "matrix_transpose" else f"{name} {values[1:]} {options}"
                others = values[1:]  # without x itself, whose values nobody needs any more
                return x.seen(lambda a: function(a, *others, **options), array, how)
        found = self.noted(name, args, options, array, function)
        found.scalar = isinstance(result, np.generic)
        return found

    def computed(self, name: str, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """What a function of NumPy returns for what these places hold."""
        return function(*map(_value, args), **options)

    def write(self, function: Callable[..., Any], target: Tracer, *args: Any) -> None:
        """Call a function of NumPy that writes into an array."""
        function(target.array, *map(_value, args))

    def copied(self, x: Tracer) -> Tracer:
        """The values of x of this moment."""
        return self.noted("asarray", (x,), {}, x.array.copy(), np.asarray)

    def noted(
        self, name: str, args: tuple[Any, ...], options: dict[str, Any], array: np.ndarray, function: Callable[..., Any]
    ) -> Tracer:
        operands = tuple(self.operand(x) for x in args)
        ufunc = isinstance(function, np.ufunc) and function.signature is None and not options
        elementwise = ufunc or name in ("astype", "asarray")
        order = order_of(array)
        if order is None:
            array = array.copy()  # as it will lie
        call = Call(name, operands, Ref(array.shape, array.dtype, order=order), options, function, elementwise)
        if all(ref.root.folds for ref in call.read()):
            return self.constant(array, folds=True)
        self.calls.append(call)
        return self.tracer(array, call.out)

    def in_place(self, name: str, x: Tracer, *others: Any) -> Tracer:
        """``name(x, *others)`` into the memory of x."""
        self.make_writable(x)
        function = getattr(self.library, name)
        self.write(lambda a, *b: function(a, *b, out=a), x, *others)
        operands = (x.ref, *(self.operand(y) for y in others))
        self.calls.append(Call(name, operands, x.ref, {}, function, elementwise=True))
        return x

    def add_at(self, x: Any, index: Any, rows: Any) -> None:
        """``numpy.add.at``: rows into those of x, where an index may come twice."""
        if not isinstance(x, Tracer):
            raise UnrecordableError("it writes into an array that is not its own")
        self.make_writable(x)
        self.write(np.add.at, x, index, rows)
        self.calls.append(Call("add_at", (x.ref, self.operand(index), self.operand(rows)), x.ref))

    def written(
        self, stages: Stages, operands: tuple[Any, ...], shape: tuple[int, ...], memory: dict[str, int], **options: Any
    ) -> Tracer:
        """See :func:`written`."""
        array = written(stages, *map(_value, operands), shape=shape, memory=memory, **options)
        out, shared, own = (Ref(size, array.dtype) for size in (shape, (memory["shared"],), (memory["own"],)))
        self.calls.append(Call(WRITTEN, self.operand(operands), out, options, stages, shared=shared, own=own))
        return Tracer(array, out)

    def host(self, made: Callable[..., Callable[[], None]], read: list[Tracer], into: list[Tracer]) -> None:
        """See :func:`host`."""
        for x in into:
            if x.ref.root is x.ref and x.ref.folds:
                x.ref.constant, x.ref.folds = None, False  # made by ``empty``, and nobody needs what is in it
            else:
                self.make_writable(x)
        places = self.operand(read), self.operand(into)
        self.calls.append(Call(HOST, places, into[0].ref, function=made))

    def assign(self, target: Tracer, value: Any) -> None:
        """The values of an array into the memory of another."""
        self.make_writable(target)
        self.write(lambda a, b: a.__setitem__(..., b), target, value)
        self.calls.append(Call("copy", (self.operand(value),), target.ref, elementwise=True))

    def make_writable(self, x: Tracer) -> None:
        root = x.ref.root
        if root.given and root.given[0] != "state":
            raise UnrecordableError(f"it writes into {root.given[0]}")
        if root.constant is None:
            return
        if not root.folds:
            raise UnrecordableError("it writes into an array that is not its own")
        # from here on it is made anew in each step, before whatever has read it
        source = Ref(root.shape, root.dtype, constant=root.constant.copy(order="K"), folds=True, order=root.order)
        root.constant, root.folds = None, False
        first = next((i for i, call in enumerate(self.calls) if root in (r.root for r in call.read())), len(self.calls))
        self.calls.insert(first, Call("copy", (source,), root, elementwise=True))


def written(stages: Stages, *operands: Any, shape: tuple[int, ...], memory: dict[str, int], **options: Any) -> Any:
    """What ``stages(*operands, out, shared, **options)`` write into ``out``, an array of this shape.

    They are calls of NumPy; ``memory`` says how many numbers of it they have together (``shared``), and each piece for
    itself while it runs (``own``). Where a step is recorded they are made once for it, and then called in each step.
    """
    if any(map(_holds_tracer, operands)):
        return _recorder().written(stages, operands, shape, memory, **options)
    out, shared, own = (np.empty(size, operands[0].dtype) for size in (shape, memory["shared"], memory["own"]))
    for call in in_order(stages(*operands, out, shared, **options), own):
        call()
    return out


def host(made: Callable[..., Callable[[], None]], read: list[Any], into: list[Any]) -> None:
    """Call what ``made(read, into)`` returns, which writes into some arrays: into all of one that ``empty`` has made.

    Where a step is recorded it is made once for it, when its arrays are known, and then called in each step.
    """
    if any(map(_holds_tracer, (read, into))):
        _recorder().host(made, read, into)
    else:
        made(read, into)()


class Namespace(ModuleType):
    """The library's functions, noted where they are given arrays that are being recorded."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") and _current.get(None) is None:
            raise AttributeError(name)  # whoever asks is not a step, but looks at what a module has
        found = getattr(_recorder().library, name)
        if name.startswith("_") or isinstance(found, type | np.dtype) or not callable(found):
            return found
        known = name in RECORDED | LIKE | ABOUT or isinstance(found, np.ufunc)

        def function(*args: Any, **options: Any) -> Any:
            if known and any(_holds_tracer(x) for x in args):
                return _recorder().call(name, args, options)
            if any(_holds_tracer(x) for x in (*args, *options.values())):
                raise UnrecordableError(f"{name} is not recorded")
            result = found(*args, **options)
            if not isinstance(result, np.ndarray):
                return result
            if name == "empty":
                result = np.zeros_like(result)  # the same in each recording
            own = name in CREATION and not any(np.may_share_memory(result, x) for x in args if hasattr(x, "shape"))
            return _recorder().constant(result, folds=own)

        setattr(self, name, function)
        return function


NAMESPACE = Namespace("xpnet.backends.replay.namespace", "The standard's functions for a step that is being recorded.")


def _recorder() -> Recorder:
    try:
        return _current.get()
    except LookupError:
        raise UnrecordableError("an array of a step was kept, and used after it") from None


def _operator(name: str) -> Callable[[Any, Any], Any]:
    return lambda self, other: _recorder().call(name, (self, other), {}) if _fits(other) else NotImplemented


def _reflected(name: str) -> Callable[[Any, Any], Any]:
    return lambda self, other: _recorder().call(name, (other, self), {}) if _fits(other) else NotImplemented


def _augmented(name: str) -> Callable[[Any, Any], Any]:
    def augmented(self: Tracer, other: Any) -> Any:
        if not _fits(other):
            return NotImplemented
        if self.scalar:
            return _recorder().call(name, (self, other), {})
        return _recorder().in_place(name, self, other)

    return augmented


def _unary(name: str) -> Callable[[Any], Any]:
    return lambda self: _recorder().call(name, (self,), {})


def _no_value(self: Any, *_: Any) -> Any:
    raise UnrecordableError("it asks for the value of an array, which another step may not have")


class Tracer:
    """An array of a step that is being recorded: the values of the moment, and the place they stand for.

    ``scalar`` says whether NumPy would have made one of its scalars: numbers, which augmented assignment replaces, and
    which nothing is a view of.
    """

    __slots__ = ("array", "ref", "scalar")
    __hash__ = object.__hash__
    #: The backend whose array it stands for; ``name_of`` says so.
    __xpnet_backend__ = "numpy"

    def __init__(self, array: np.ndarray, ref: Ref) -> None:
        self.array, self.ref, self.scalar = array, ref, False

    def __array_namespace__(self, **_: Any) -> Namespace:
        return NAMESPACE

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """What NumPy's own functions and arrays do with it."""
        if ufunc is np.add and method == "at":
            return _recorder().add_at(*inputs)
        if method != "__call__" or options or getattr(np, ufunc.__name__, None) is not ufunc:
            raise UnrecordableError(f"numpy's {ufunc.__name__} is called in a way that is not recorded")
        return _recorder().call(ufunc.__name__, inputs, {})

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def size(self) -> int:
        return self.array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def device(self) -> None:
        """None, as while other libraries trace: there is no value to look at."""

    @property
    def mT(self) -> Tracer:  # noqa: N802  (the standard's name)
        return self.seen(lambda a: a.mT, self.array.mT, TRANSPOSED)

    @property
    def T(self) -> Tracer:  # noqa: N802
        return self.seen(lambda a: a.T, self.array.T, TRANSPOSED if self.ndim == 2 else "T")

    def through(self, function: Callable[..., np.ndarray]) -> Tracer:
        """What a function of the host makes of it, which is called when steps are replayed, and not while recording."""
        return _recorder().noted(THROUGH, (self,), {}, self.array.copy(order="C"), function)

    def seen(self, view: View, array: np.ndarray, how: str) -> Tracer:
        """A view of this."""
        if self.scalar:
            own = _recorder().copied(self)
            return own.seen(view, view(own.array), how)
        return type(self)(array, Ref(array.shape, array.dtype, base=self.ref, view=view, how=how))

    def __getitem__(self, key: Any) -> Tracer:
        parts = key if isinstance(key, tuple) else (key,)
        found = self._part(parts)
        if found.shape or ... in parts:
            return found
        number = _recorder().copied(found)
        number.scalar = True
        return number

    def _part(self, parts: tuple[Any, ...]) -> Tracer:
        for part in parts:
            if isinstance(part, bool) or not (part is None or part is ... or isinstance(part, int | slice)):
                raise UnrecordableError("an array is indexed with another; take() and where() are recorded")
        if ... not in parts:
            parts = (*parts, ...)  # a view also where it is one element
        return self.seen(lambda a: a[parts], self.array[parts], f"{parts}")

    def __setitem__(self, key: Any, value: Any) -> None:
        parts = key if isinstance(key, tuple) else (key,)
        place = self._part(parts).array
        if isinstance(value, Tracer) and value.ref.root is self.ref.root and same_place(value.array, place):
            return  # x[key] += y has done it already
        _recorder().make_writable(self)
        _recorder().assign(self._part(parts), value)

    def __pow__(self, other: Any) -> Any:
        return _power(self, other) if _fits(other) else NotImplemented

    def __rpow__(self, other: Any) -> Any:
        return _power(other, self) if _fits(other) else NotImplemented

    def __ipow__(self, other: Any) -> Any:
        found = self**other
        if found is NotImplemented or self.scalar:
            return found
        _recorder().assign(self, found)
        return self

    def __len__(self) -> int:
        return len(self.array)

    def __copy__(self) -> Self:
        _no_value(self)
        return self

    __add__, __radd__, __iadd__ = _operator("add"), _reflected("add"), _augmented("add")
    __sub__, __rsub__, __isub__ = _operator("subtract"), _reflected("subtract"), _augmented("subtract")
    __mul__, __rmul__, __imul__ = _operator("multiply"), _reflected("multiply"), _augmented("multiply")
    __truediv__, __rtruediv__, __itruediv__ = _operator("divide"), _reflected("divide"), _augmented("divide")
    __floordiv__, __rfloordiv__ = _operator("floor_divide"), _reflected("floor_divide")
    __mod__, __rmod__ = _operator("remainder"), _reflected("remainder")
    __matmul__, __rmatmul__ = _operator("matmul"), _reflected("matmul")
    __and__, __rand__ = _operator("bitwise_and"), _reflected("bitwise_and")
    __or__, __ror__ = _operator("bitwise_or"), _reflected("bitwise_or")
    __xor__, __rxor__ = _operator("bitwise_xor"), _reflected("bitwise_xor")
    __lt__, __le__, __gt__, __ge__ = map(_operator, ("less", "less_equal", "greater", "greater_equal"))
    __eq__, __ne__ = _operator("equal"), _operator("not_equal")
    __neg__, __pos__, __abs__, __invert__ = map(_unary, ("negative", "positive", "abs", "bitwise_invert"))
    __bool__ = __int__ = __float__ = __index__ = __complex__ = __iter__ = __array__ = _no_value


def _power(x: Any, exponent: Any) -> Any:
    """``x ** exponent``, which NumPy computes otherwise than ``pow(x, exponent)`` where numbers are among them."""
    if _a_number(x) and _a_number(exponent):
        return _noted_power(x, exponent, lambda a, b: _as_number(a) ** _as_number(b))
    if not isinstance(exponent, int | float):
        return _recorder().call("pow", (x, exponent), {})
    if exponent == 2 and x.dtype.kind == "f":
        return _recorder().call("square", (x,), {})
    return _noted_power(x, exponent, operator.pow)


def _noted_power(x: Any, exponent: Any, power: Callable[..., Any]) -> Tracer:
    array = _recorder().computed("power", power, (x, exponent), {})
    found = _recorder().noted("power", (x, exponent), {}, np.asarray(array), power)
    found.scalar = isinstance(array, np.generic)
    return found


def _as_number(x: Any) -> Any:
    return x[()] if isinstance(x, np.ndarray) else x


def _a_number(x: Any) -> bool:
    return x.scalar if isinstance(x, Tracer) else not isinstance(x, np.ndarray)


def _fits(x: Any) -> bool:
    return isinstance(x, Tracer | np.ndarray | np.generic | bool | int | float | complex)


def _value(x: Any) -> Any:
    if isinstance(x, Tracer):
        return x.array
    return type(x)(map(_value, x)) if isinstance(x, list | tuple) else x


def _holds_tracer(x: Any) -> bool:
    return isinstance(x, Tracer) or (isinstance(x, list | tuple) and any(map(_holds_tracer, x)))
