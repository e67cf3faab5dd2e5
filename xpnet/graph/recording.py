"""The recording namespace: the standard's functions, which compute as their library does and remember variables."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from operator import index
from types import ModuleType
from typing import Any

from xpnet._typing import Array
from xpnet.backends.base import backend_class
from xpnet.backends.dispatch import backend_of, describe, device, dtype_name, name_of, namespace, traced
from xpnet.graph import operations as ops
from xpnet.graph.operations import OPERATIONS, Operation
from xpnet.graph.taken import Seen, note_number
from xpnet.graph.wrapper import Wrapper, node

#: The same functions by names that they had before there was a standard.
ALIASES = {
    "absolute": "abs",
    "amax": "max",
    "amin": "min",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "concatenate": "concat",
    "invert": "bitwise_invert",
    "mod": "remainder",
    "power": "pow",
    "true_divide": "divide",
}


#: Functions that are recorded and that libraries have in a folder as well.
SAME_IN_FOLDERS = {"matmul", "matrix_transpose", "vecdot"}

#: What can be written for functions that are not recorded.
INSTEAD = {
    "average": "mean(x)",
    "column_stack": "stack([x, y], axis=1)",
    "diff": "x[1:] - x[:-1]",
    "expit": "xpnet.functions.sigmoid(x)",
    "fabs": "abs(x)",
    "float_power": "x ** y",
    "fmax": "maximum(x, y)",
    "fmin": "minimum(x, y)",
    "hstack": "concat([x, y], axis=-1)",
    "inner": "vecdot(x, y)",
    "logsumexp": "log(sum(exp(x - max(x)))) + max(x)",
    "norm": "sqrt(sum(x * x))",
    "outer": "x[:, None] * y",
    "ptp": "max(x) - min(x)",
    "ravel": "reshape(x, (-1,))",
    "relu": "xpnet.functions.relu(x)",
    "sigmoid": "xpnet.functions.sigmoid(x)",
    "softmax": "xpnet.functions.softmax(x)",
    "swapaxes": "permute_dims(x, axes)",
    "tile": "concat([x, x])",
    "vstack": "concat([x, y], axis=0)",
}


class Recording(ModuleType):
    """``namespace(v)`` for variables v on top of one library: whatever is given no variable, the library computes.

    Attributes:
        library: the namespace of that library.
        record: what computes an operation and remembers it; see :func:`xpnet.graph.variable.record`.
    """

    def __init__(self, library: ModuleType, record: Callable[..., Any]) -> None:
        super().__init__("xpnet.graph.recording")
        self.library, self.record = library, record
        for name, operation in OPERATIONS.items():
            if not hasattr(type(self), name):
                plain = None if operation.own else getattr(library, name, None)
                setattr(self, name, _recorded(operation, plain, record, library.isdtype))
        for old, name in ALIASES.items():
            setattr(self, old, getattr(self, name))

    # --- functions made of recorded ones -------------------------------------------------------------------------

    def clip(self, x: Array, min: Any = None, max: Any = None) -> Array:  # noqa: A002  (the standard's names)
        for bound, function in ((min, self.maximum), (max, self.minimum)):
            if bound is not None:
                number = isinstance(bound, int | float)
                limit = self.full_like(x, bound) if number else bound
                x = function(x, node(type(x), limit) if number and isinstance(x, Wrapper) else limit)
                if Seen.any and isinstance(bound, float) and isinstance(x, Wrapper):
                    note_number(x, bound)
        return x

    def var(
        self, x: Array, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False, **other: Any
    ) -> Array:
        if other:
            known = "axis, correction (also called ddof) and keepdims"
            raise TypeError(f"var and std are recorded with the options {known}; got {', '.join(other)}")
        wide = ops.widened(self, x)
        squares = self.square(wide - self.mean(wide, axis=axis, keepdims=True))
        total = self.sum(squares, axis=axis, keepdims=keepdims)
        return self.astype(total / (prod(x.shape) / prod(total.shape) - correction), x.dtype)

    def std(self, x: Array, axis: Any = None, **options: Any) -> Array:
        return self.sqrt(self.var(x, axis, **options))

    def vecdot(self, x1: Array, x2: Array, *, axis: int = -1) -> Array:
        return self.sum(x1 * x2, axis=axis)

    def dot(self, x1: Array, x2: Array) -> Array:
        if x1.ndim == 0 or x2.ndim == 0:
            return x1 * x2
        if x1.ndim > 2 or x2.ndim > 2:
            raise TypeError("dot is recorded for vectors and matrices; matmul is for stacks of them")
        return self.matmul(x1, x2)

    def transpose(self, x: Array, axes: tuple[int, ...] | None = None) -> Array:
        return self.permute_dims(x, tuple(reversed(range(x.ndim))) if axes is None else axes)

    def moveaxis(self, x: Array, source: Any, destination: Any) -> Array:
        origins, places = (
            [i % x.ndim for i in (a if isinstance(a, tuple | list) else (a,))] for a in (source, destination)
        )
        order = [i for i in range(x.ndim) if i not in origins]
        for place, origin in sorted(zip(places, origins, strict=True)):
            order.insert(place, origin)
        return self.permute_dims(x, tuple(order))

    def broadcast_arrays(self, *arrays: Array) -> list[Array]:
        shape = self.library.broadcast_arrays(*map(_value, arrays))[0].shape
        return [self.broadcast_to(x, tuple(shape)) for x in arrays]

    def take(self, x: Array, indices: Array, axis: int | None = None) -> Array:
        if not isinstance(x, Wrapper):
            return self.library.take(x, _value(indices), axis=axis)
        if getattr(indices, "ndim", None) != 1 or (axis is None and x.ndim != 1):
            found = f"of shape {tuple(indices.shape)}" if hasattr(indices, "shape") else describe(indices)
            raise TypeError(
                f"take is recorded for one row of indices, an array, along an axis; got indices {found} and axis "
                f"{axis} for an array of shape {x.shape}"
            )
        axis = 0 if axis is None else index(axis)
        if not -x.ndim <= axis < x.ndim:
            raise IndexError(f"take was given axis {axis} of an array of shape {x.shape}")
        rows = self._rows(indices, x.shape[axis])
        return self.record(ops.TAKE, (x, rows), {"axis": axis % x.ndim})

    def _rows(self, indices: Array, n: int) -> Array:
        """Indices of any integer dtype as rows from 0 to n - 1 in the library's own, in which none wraps around.

        What is below 0, and what is not there, is not the same to all libraries: -1 is the last row, n is refused.
        """
        given, xp = _value(indices), self.library
        if namespace(given) is not xp:
            return indices  # what records refuses it
        if not xp.isdtype(given.dtype, "integral"):
            raise TypeError(f"indices are integers, and these are {dtype_name(given.dtype)}")
        least = 0 if xp.isdtype(given.dtype, "unsigned integer") else -n
        rows = xp.astype(given, xp.arange(0).dtype, copy=False)
        if not traced(rows) and bool(xp.any((rows < least) | (rows >= n))):
            bad = next(i for i in backend_of(given).to_numpy(given).tolist() if not least <= i < n)
            raise IndexError(f"index {bad} is out of bounds for an axis of length {n}")
        rows = xp.where(rows < 0, rows + n, rows)
        return node(type(indices), rows, name=indices.name) if isinstance(indices, Wrapper) else rows

    def bitwise_and(self, x1: Array, x2: Array) -> Array:
        return self._of_booleans(ops.AND, self.library.bitwise_and, x1, x2)

    def bitwise_or(self, x1: Array, x2: Array) -> Array:
        return self._of_booleans(ops.OR, self.library.bitwise_or, x1, x2)

    def bitwise_xor(self, x1: Array, x2: Array) -> Array:
        return self._of_booleans(ops.XOR, self.library.bitwise_xor, x1, x2)

    def bitwise_invert(self, x: Array) -> Array:
        return self._of_booleans(ops.NOT, self.library.bitwise_invert, x)

    def _of_booleans(self, operation: Operation, plain: Callable[..., Any], *operands: Any) -> Array:
        """What is bitwise for integers, and logical for booleans, which alone are recorded."""
        if not any(isinstance(x, Wrapper) for x in operands):
            return plain(*operands)
        for x in operands:
            if not isinstance(x, bool) and dtype_name(getattr(x, "dtype", type(x))) != "bool":
                found = getattr(x, "dtype", type(x).__name__)
                raise TypeError(f"&, |, ^ and ~ are recorded for booleans only, got {found}")
        return self.record(operation, operands)

    # --- functions that make arrays, and ask about them ----------------------------------------------------------

    def asarray(self, x: Any, dtype: Any = None, **options: Any) -> Array:
        if isinstance(x, list | tuple) and _holds_variable(x):
            raise TypeError("asarray is not recorded for lists of variables, stack([x, y]) is")
        if not isinstance(x, Wrapper):
            return self.library.asarray(x, dtype=dtype, **options)
        return x if dtype is None or dtype == x.dtype else self.astype(x, dtype)

    def astype(self, x: Array, dtype: Any, *, copy: bool = True) -> Array:
        if not isinstance(x, Wrapper):
            return self.library.astype(x, dtype, copy=copy)
        if x.dtype == dtype:
            return x
        floating = self.library.isdtype(dtype, "real floating")
        if not floating and x.differentiable and self.library.isdtype(dtype, "complex floating"):
            raise TypeError(f"a variable does not become {dtype_name(dtype)}: derivatives are found of real numbers")
        return self.record(ops.ASTYPE if floating else ops.TO_EXACT, (x,), {"dtype": dtype, "copy": copy})

    def zeros_like(self, x: Array, **options: Any) -> Array:
        return self.library.zeros_like(_value(x), **options)

    def ones_like(self, x: Array, **options: Any) -> Array:
        return self.library.ones_like(_value(x), **options)

    def full_like(self, x: Array, fill_value: Any, **options: Any) -> Array:
        if isinstance(fill_value, Wrapper):
            return self.zeros_like(x, **options) + fill_value
        return self.library.full_like(_value(x), fill_value, **options)

    def empty_like(self, x: Array, **options: Any) -> Array:
        return self.library.empty_like(_value(x), **options)

    def result_type(self, *arrays_and_dtypes: Any) -> Any:
        return self.library.result_type(*map(_value, arrays_and_dtypes))

    def can_cast(self, from_: Any, to: Any) -> bool:
        return bool(self.library.can_cast(_value(from_), to))

    def put_rows(self, g: Array, rows: Array, n: int, axis: int) -> Array:
        if isinstance(g, Wrapper):
            return self.record(ops.PUT_ROWS, (g, rows), {"n": n, "axis": axis})
        order = (axis, *(i for i in range(g.ndim) if i != axis))
        wide = self.library.permute_dims(ops.widened(self, g), order)
        zeros = self.library.zeros((n, *wide.shape[1:]), dtype=wide.dtype, device=device(g))
        name = name_of(g)
        assert name is not None
        added = backend_class(name).add_at(zeros, _value(rows), wide)
        back = self.library.permute_dims(added, tuple(sorted(range(g.ndim), key=lambda i: order[i])))
        return back if back.dtype == g.dtype else self.library.astype(back, g.dtype)

    def put_slice(self, g: Array, key: Any, shape: tuple[int, ...]) -> Array:
        if isinstance(g, Wrapper):
            return self.record(ops.PUT, (g,), {"key": key, "shape": shape})
        zeros = self.library.zeros(shape, dtype=g.dtype, device=device(g))
        plain = tuple(k for k in (key if isinstance(key, tuple) else (key,)) if k is not None)
        name = name_of(g)
        assert name is not None
        return backend_class(name).put(zeros, plain, self.library.reshape(g, zeros[plain].shape))

    def __getattr__(self, name: str) -> Any:
        """What is not recorded: dtypes and numbers of the library, and its functions while they get no variable."""
        found = getattr(self.library, name, None)
        if found is None:
            raise AttributeError(_not_recorded(name))
        return found if name.startswith("_") else _unrecorded(name, found, self)


class _Folder(ModuleType):
    """A part of a library, such as its ``linalg``."""

    def __init__(self, name: str, library: ModuleType, whole: Recording) -> None:
        super().__init__(name)
        self._library, self._whole = library, whole

    def __getattr__(self, name: str) -> Any:
        label, found = f"{self.__name__}.{name}", getattr(self._library, name, None)
        if found is None:
            raise AttributeError(_not_recorded(label))
        return getattr(self._whole, name) if name in SAME_IN_FOLDERS else _unrecorded(label, found, self._whole)

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise TypeError(f"{self.__name__} is a folder of functions and is not called itself{_known()}")


def _unrecorded(label: str, found: Any, whole: Recording) -> Any:
    """Something of a library by this name: a function computes as long as it gets no variable."""
    if isinstance(found, ModuleType):
        return _Folder(label, found, whole)
    if isinstance(found, type) or not callable(found):
        return found

    def unrecorded(*args: Any, **options: Any) -> Any:
        if any(_holds_variable(x) for x in (*args, *options.values())):
            raise TypeError(_not_recorded(label))
        return found(*args, **options)

    return unrecorded


def _recorded(
    operation: Operation, plain: Callable[..., Any] | None, record: Callable[..., Any], isdtype: Callable[..., bool]
) -> Callable[..., Any]:
    """The function of a namespace that records this operation where it is given a variable."""
    operands = 1 if operation.each else max(1, len(operation.pullbacks))
    if operation.spreads:
        operands = max(2, operands)

    def function(*args: Any, **options: Any) -> Any:
        inputs = tuple(args[0]) if operation.each else args[:operands]
        for x in inputs:
            if isinstance(x, Wrapper):
                break
        else:
            if any(isinstance(x, Wrapper) for x in options.values()):
                raise TypeError(
                    f"{operation.name} is recorded with its arrays first, without a name: {operation.name}(v)"
                )
            if plain is None:
                raise AttributeError(f"the library of these arrays has no {operation.name}")
            return plain(*args, **options)
        if options or len(args) > operands or len(inputs) < operands:
            options = _bound(operation, operands, args, options)
            if options.get("dtype") is not None and not isdtype(options["dtype"], "real floating"):
                kind = dtype_name(options["dtype"])
                raise TypeError(f"{operation.name} of a variable is recorded in floating-point dtypes, got {kind}")
        return record(operation, inputs, options)

    function.__name__ = function.__qualname__ = operation.name
    function.__doc__ = f"The standard's ``{operation.name}``, recorded where it is given a variable."
    return function


def _bound(operation: Operation, operands: int, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """The options of a call by their names; a ``TypeError`` if the operation has no such, or lacks an operand."""
    if len(args) < operands:
        raise TypeError(f"{operation.name} takes {operands} arrays, got {len(args)}")
    rest = args[operands:]
    unknown = options.keys() - set(operation.options)
    if unknown or len(rest) > len(operation.options):
        found, known = ", ".join(sorted(unknown)) or f"{len(rest)} of them", ", ".join(operation.options)
        raise TypeError(
            f"{operation.name} is recorded with {f'the options {known}' if known else 'no options'}; got {found}"
        )
    return options | dict(zip(operation.options, rest, strict=False))


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Wrapper) else x


def _holds_variable(x: Any) -> bool:
    return isinstance(x, Wrapper) or (isinstance(x, list | tuple) and any(map(_holds_variable, x)))


def _not_recorded(label: str) -> str:
    name = label.rpartition(".")[2]
    hint = f"; {INSTEAD[name]} does the same, or nearly" if name in INSTEAD else ""
    return f"{label} is not recorded{hint}{_known()}"


def _known() -> str:
    own = [name for name in vars(Recording) if not name.startswith("_")]
    made = [name for name, operation in OPERATIONS.items() if not (operation.own or name in ("getitem", "same"))]
    return f"; these are: {', '.join(sorted({*own, *made} - {'put_rows', 'put_slice'}))}, and slices"
