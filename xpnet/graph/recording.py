"""The recording namespace: the standard's functions, which compute as their library does and remember variables.

It is long because it is one class: what a namespace has, and how each name is found.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from difflib import get_close_matches
from inspect import Parameter, Signature, signature
from operator import attrgetter
from types import ModuleType
from typing import Any

from xpnet._typing import Array
from xpnet.backends.base import Backend, _name_of_type, backend_class
from xpnet.backends.dispatch import backend_of, device, dtype_name, name_of, namespace, traced
from xpnet.graph.operations import OPERATIONS, Operation, kind_of_dtype, widened
from xpnet.graph.rules import elementwise, shapes
from xpnet.graph.signatures import CREATION, signature_of
from xpnet.graph.taken import Seen, note_number
from xpnet.graph.wrapper import Wrapper, check_operand, node

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
    "around": "round",
    "asanyarray": "asarray",
    "ascontiguousarray": "asarray",
    "bitwise_not": "bitwise_invert",
    "concatenate": "concat",
    "conjugate": "conj",
    "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "mod": "remainder",
    "power": "pow",
    "right_shift": "bitwise_right_shift",
    "rint": "round",
    "true_divide": "divide",
}

#: Functions that are recorded and that libraries have in a folder as well.
SAME_IN_FOLDERS = {f"linalg.{name}": name for name in ("matmul", "matrix_transpose", "tensordot", "vecdot")}

#: The dtypes of Python's numbers.
PYTHONS = {bool: "bool", int: "int64", float: "float64", complex: "complex128"}

#: Functions of libraries that write into what they are given.
WRITING = frozenset(["copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask"])

#: What can be written for functions that are not recorded.
INSTEAD = {
    "bincount": "bincount(v.value)",
    "fromfunction": "f(*meshgrid(...))",
    "histogram": "histogram(v.value)",
    "relu": "xpnet.functions.relu(x)",
    "sigmoid": "xpnet.functions.sigmoid(x)",
    "softmax": "xpnet.functions.softmax(x)",
    "vectorize": "functions of whole arrays",
}

#: Functions made of recorded ones, ``f(xp, ...)``, by name; those of the standard's names in ``STANDARD`` too.
COMPOSED: dict[str, Callable[..., Any]] = {}
STANDARD = set[str]()
#: Names of parameters that are one array each: a list of variables in the place of one becomes an array.
ARRAYS = frozenset(["a", "a1", "a2", "arr", "array", "ary", "b", "f", "m", "v", "x", "x1", "x2", "y", "z"])
#: What takes a call whose options are not the standard's: ``older(xp, name, inputs, rest, options)``.
OLDER: list[Callable[..., Any]] = []


def composed(*names: str, standard: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a function ``f(xp, ...)`` into every recording namespace, by these names.

    Args:
        names: with their folder, as ``"linalg.norm"``.
        standard: whether the standard has it, so that a library computes it itself where there is no variable.
    """

    def put(f: Callable[..., Any]) -> Callable[..., Any]:
        COMPOSED.update(dict.fromkeys(names, f))
        if standard:
            STANDARD.update(names)
        return f

    return put


#: Functions of other libraries that stand for one here, and their pullbacks by name: ufuncs that meet variables.
FOREIGN: dict[Any, Any] = {}
FOREIGN_NAMES: dict[str, tuple[Any, ...]] = {}


class Recording(ModuleType):
    """``namespace(v)`` for variables v on top of one library: whatever is given no variable, the library computes.

    Attributes:
        library: the namespace of that library.
        record: what computes an operation and remembers it; see :func:`xpnet.graph.variable.record`.
        kind: the class of variables on top of that library.
        computes: the library's functions by the names of operations.
        called: functions of this namespace by those of NumPy that stand for them.
    """

    kind: type[Wrapper]
    newaxis = None

    def __init__(self, library: ModuleType, record: Callable[..., Any]) -> None:
        super().__init__("xpnet.graph.recording")
        self.library, self.record = library, record
        self.row_dtype = library.arange(0).dtype
        self.computes: dict[str, Callable[..., Any]] = {}
        self.called: dict[Any, Callable[..., Any]] = {}
        for name, operation in OPERATIONS.items():
            if "." not in name and name not in COMPOSED and not hasattr(type(self), name):
                setattr(self, name, _recorded(self, operation))

    def __getattr__(self, name: str) -> Any:
        """What was not asked for yet: composed functions, folders, dtypes and numbers of the library."""
        found = self._found(name)
        setattr(self, name, found)
        return found

    def _found(self, label: str) -> Any:
        """The function, folder or constant of this name, which may have a folder: ``linalg.solve``."""
        name = ALIASES.get(label, label)
        name = SAME_IN_FOLDERS.get(name, name)
        if name in COMPOSED:
            return _bound_to(self, name, COMPOSED[name])
        if name in OPERATIONS:
            return vars(self).get(name) or _recorded(self, OPERATIONS[name])
        if name in CREATION:
            return _creating(self, name)
        if name != label:
            return getattr(self, name)
        found = _part(self.library, name)
        if found is None:
            raise AttributeError(_not_recorded(name))
        return found if label.startswith("_") else _unrecorded(label, found, self)

    def __dir__(self) -> list[str]:
        whole = {name for name in (*OPERATIONS, *COMPOSED, *CREATION, *ALIASES) if "." not in name}
        own = {name for name in vars(type(self)) if not name.startswith("_")}
        return sorted({*dir(self.library), *whole, *own} - {"put_rows", "put_slice", "getitem", "same"})

    def named(self, name: str) -> Callable[..., Any]:
        """The function of a name with its folder."""
        return functools.reduce(getattr, name.split("."), self)  # type: ignore[return-value]

    def computing(self, name: str) -> Callable[..., Any]:
        """The library's function behind an operation."""
        found = _part(self.library, name)
        if found is None:
            raise AttributeError(f"the library of these arrays has no {name}")
        self.computes[name] = found
        return found  # type: ignore[no-any-return]

    def like(self, function: Any) -> Callable[..., Any]:
        """The function of this namespace that stands for one of NumPy's."""
        try:
            return self.called[function]
        except KeyError:
            folders = getattr(function, "__module__", "").split(".")[1:]  # the library's fft, for one; ufuncs have none
        if function in FOREIGN:
            return FOREIGN[function]  # type: ignore[no-any-return]
        name = function.__name__
        if name in FOREIGN_NAMES and _part(self.library, name) is not function:
            operation = Operation(name, FOREIGN_NAMES[name], compute=function, spreads=True)
            self.called[function] = lambda *args: self.record(operation, args)
            return self.called[function]
        found: Callable[..., Any] = self.named(".".join((*folders, function.__name__)))
        self.called[function] = found
        return found

    def constant(self, value: Array) -> Wrapper:
        """An array of the library as a constant."""
        return value if isinstance(value, Wrapper) else node(self.kind, value)

    # --- functions that are more than one operation, or none ------------------------------------------------------

    def take(self, x: Array, indices: Array, /, axis: int | None = None) -> Array:
        if not isinstance(x, Wrapper):
            return self.library.take(x, _value(indices), axis=axis)
        return self._taken(x, indices, axis)

    def rows(self, indices: Array, n: int, *, trusting: bool = False) -> Array:
        """Indices of any integer dtype as rows from 0 to n - 1 in the library's own, in which none wraps around.

        What is below 0, and what is not there, is not the same to all libraries: -1 is the last row, n is refused. A
        library that sees to this itself is trusted with it where it is to be.
        """
        given, xp = _value(indices), self.library
        if namespace(given) is not xp:
            return indices  # what records refuses it
        kind = kind_of_dtype(xp, given.dtype)
        if not kind.endswith("integer"):
            raise TypeError(f"indices are integers, and these are {dtype_name(given.dtype)}")
        least = 0 if kind == "unsigned integer" else -n
        rows: Any = given if given.dtype == self.row_dtype else xp.astype(given, self.row_dtype)
        if trusting and rows is given and _backend_of(type(given)).checks_rows:  # type: ignore[arg-type]
            pass
        elif traced(rows):
            rows = xp.where(rows < 0, rows + n, rows)
        elif 0 not in rows.shape:
            lowest, highest = int(xp.min(rows)), int(xp.max(rows))
            if lowest < least or highest >= n:
                flat = backend_of(given).to_numpy(given).reshape(-1)
                bad = next(i for i in flat.tolist() if not least <= i < n)
                raise IndexError(f"index {bad} is out of bounds for an axis of length {n}")
            if lowest < 0:
                rows = xp.where(rows < 0, rows + n, rows)
        return node(type(indices), rows, name=indices.name) if isinstance(indices, Wrapper) else rows

    def sign(self, x: Array, /) -> Array:
        if not isinstance(x, Wrapper):
            return self.library.sign(x)
        real = not self.library.isdtype(x.dtype, "complex floating")
        return self.record(OPERATIONS["sign"] if real else elementwise.DIRECTION, (x,))

    def bitwise_and(self, x1: Array, x2: Array, /) -> Array:
        return self._bits(elementwise.AND, elementwise.BITS_AND, x1, x2)

    def bitwise_or(self, x1: Array, x2: Array, /) -> Array:
        return self._bits(elementwise.OR, elementwise.BITS_OR, x1, x2)

    def bitwise_xor(self, x1: Array, x2: Array, /) -> Array:
        return self._bits(elementwise.XOR, elementwise.BITS_XOR, x1, x2)

    def bitwise_invert(self, x: Array, /) -> Array:
        return self._bits(elementwise.NOT, elementwise.BITS_NOT, x)

    def _bits(self, logical: Operation, bitwise: Operation, *operands: Any) -> Array:
        """What is logical for booleans, and goes bit by bit for integers."""
        if not any(isinstance(x, Wrapper) for x in operands):
            return getattr(self.library, bitwise.name)(*operands)
        if all(dtype_name(getattr(x, "dtype", type(x))) == "bool" for x in operands):
            return self.record(logical, operands)
        for x in operands:
            if not isinstance(x, bool | int) and "int" not in dtype_name(getattr(x, "dtype", "float64")):
                if dtype_name(getattr(x, "dtype", "float64")) == "bool":
                    continue
                found = getattr(x, "dtype", type(x).__name__)
                raise TypeError(f"&, |, ^ and ~ are for booleans and integers, got {found}")
        return self.record(bitwise, operands)

    # --- functions that make arrays, and ask about them ----------------------------------------------------------

    def astype(self, x: Array, /, dtype: Any, *, copy: bool = True, device: Any = None) -> Array:
        if not isinstance(x, Wrapper):
            options = {} if device is None else {"device": device}
            return self.library.astype(x, dtype, copy=copy, **options)
        if device is not None:
            x = x.to_device(device)
        dtype = self.dtype(dtype)
        if x.dtype == dtype:
            return x
        floating = self.library.isdtype(dtype, ("real floating", "complex floating"))
        return self.record(
            elementwise.ASTYPE if floating else elementwise.TO_EXACT, (x,), {"dtype": dtype, "copy": copy}
        )

    def dtype(self, dtype: Any) -> Any:
        """A dtype of the library, for which NumPy's users write ``float`` or ``"float32"``."""
        name = dtype if isinstance(dtype, str) else PYTHONS.get(dtype) if isinstance(dtype, type) else None
        return dtype if name is None else getattr(self.library, name)

    def zeros_like(self, x: Array, /, *, dtype: Any = None, device: Any = None, **other: Any) -> Array:
        return self._alike("zeros_like", x, dtype, device, other)

    def ones_like(self, x: Array, /, *, dtype: Any = None, device: Any = None, **other: Any) -> Array:
        return self._alike("ones_like", x, dtype, device, other)

    def empty_like(self, x: Array, /, *, dtype: Any = None, device: Any = None, **other: Any) -> Array:
        return self._alike("empty_like", x, dtype, device, other)

    def full_like(self, x: Array, /, fill_value: Any, *, dtype: Any = None, device: Any = None, **other: Any) -> Array:
        if isinstance(fill_value, Wrapper):
            return self._alike("zeros_like", x, dtype, device, other) + fill_value
        if not isinstance(x, Wrapper):
            return self.library.full_like(x, fill_value, dtype=dtype, device=device, **other)
        made = node(type(x), self.library.full_like(x.value, fill_value, dtype=dtype, device=device, **other))
        if Seen.any and not isinstance(fill_value, int):
            note_number(made, fill_value)
        return made

    def _alike(self, name: str, x: Array, dtype: Any, device: Any, other: dict[str, Any]) -> Array:
        """What is made in the image of x: a constant, where that is a variable."""
        made = getattr(self.library, name)(_value(x), dtype=dtype, device=device, **other)
        return node(type(x), made) if isinstance(x, Wrapper) else made

    # --- what takes and puts pieces --------------------------------------------------------------------------------

    def _taken(self, x: Wrapper, indices: Array, axis: int | None) -> Array:
        """Rows of x along an axis; for indices of any number of axes their shape stands in the place of that axis."""
        if axis is None:
            x, axis = (x if x.ndim == 1 else self.reshape(x, (-1,))), 0
        axis = axis.__index__()
        if not -x.ndim <= axis < x.ndim:
            raise IndexError(f"take was given axis {axis} of an array of shape {x.shape}")
        axis %= x.ndim
        if not hasattr(indices, "shape"):
            indices = self.indices(indices, x)
        shape, n = tuple(indices.shape), x.shape[axis]
        rows = self.rows(indices, n, trusting=True)
        rows = rows if len(shape) == 1 else self.reshape(rows, (-1,))
        try:
            y = self.record(shapes.TAKE, (x, rows), {"axis": axis})
        except IndexError:
            self.rows(indices, n)  # which says it in its own words
            raise
        return y if len(shape) == 1 else self.reshape(y, (*x.shape[:axis], *shape, *x.shape[axis + 1 :]))

    def indices(self, numbers: Any, beside: Wrapper) -> Array:
        """A list or number as an array of the library, on the device of a variable."""
        if isinstance(numbers, list | tuple) and not numbers:
            return self.library.zeros((0,), dtype=self.library.int64, device=beside.device)
        return self.library.asarray(numbers, device=beside.device)

    def put_rows(self, g: Array, rows: Array, n: int, axis: int) -> Array:
        if isinstance(g, Wrapper):
            return self.record(shapes.PUT_ROWS, (g, rows), {"n": n, "axis": axis})
        wide, library, rows = widened(self, g), self.library, _value(rows)
        add_at = _backend_of(type(g)).add_at  # type: ignore[arg-type]
        if not axis:
            zeros = library.zeros((n, *wide.shape[1:]), dtype=wide.dtype, device=device(g))
            back = add_at(zeros, rows, wide)
        else:
            order = (axis, *(i for i in range(g.ndim) if i != axis))
            wide = library.permute_dims(wide, order)
            zeros = library.zeros((n, *wide.shape[1:]), dtype=wide.dtype, device=device(g))
            back = library.permute_dims(add_at(zeros, rows, wide), tuple(sorted(range(g.ndim), key=lambda i: order[i])))
        return back if back.dtype == g.dtype else library.astype(back, g.dtype)

    def put_slice(self, g: Array, key: Any, shape: tuple[int, ...]) -> Array:
        if isinstance(g, Wrapper):
            return self.record(shapes.PUT, (g,), {"key": key, "shape": shape})
        zeros = self.library.zeros(shape, dtype=g.dtype, device=device(g))
        plain = tuple(k for k in (key if isinstance(key, tuple) else (key,)) if k is not None)
        return _backend_of(type(g)).put(  # type: ignore[arg-type]
            zeros, plain, self.library.reshape(g, zeros[plain].shape)
        )


class _Folder(ModuleType):
    """A part of a library, such as its ``linalg``."""

    def __init__(self, name: str, library: ModuleType, whole: Recording) -> None:
        super().__init__(name)
        self._library, self._whole = library, whole

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = self._whole._found(f"{self.__name__}.{name}")
        setattr(self, name, found)
        return found

    def __dir__(self) -> list[str]:
        start = f"{self.__name__}."
        known = {name.removeprefix(start) for name in (*OPERATIONS, *COMPOSED) if name.startswith(start)}
        return sorted({*dir(self._library), *known})

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise TypeError(f"{self.__name__} is a folder of functions and is not called itself")


@functools.cache
def _backend_of(kind: Any) -> type[Backend]:
    """The backend of arrays of this type."""
    name = _name_of_type(kind)
    assert name is not None
    return backend_class(name)


def _part(library: ModuleType, name: str) -> Any:
    try:
        return attrgetter(name)(library)
    except AttributeError:
        return None


def created(xp: Recording, made: Array, *numbers: Any) -> Wrapper:
    """What the library made as a constant: functions of whatever has this namespace have it too."""
    check_operand(made)
    constant = xp.constant(made)
    if Seen.any:
        for x in numbers:
            if isinstance(x, float) or name_of(x) is not None:
                note_number(constant, x)
    return constant


def _creating(xp: Recording, name: str) -> Callable[..., Any]:
    """A function that makes an array of numbers: a constant in the library of this namespace."""
    make = xp.computing(name)

    def function(*args: Any, **options: Any) -> Wrapper:
        given = (*args, *options.values())
        if any(isinstance(x, Wrapper) and x.differentiable for x in given):
            raise TypeError(f"{name} of a variable has no derivative; give it a number, int(v.value) for example")
        if "dtype" in options:
            options["dtype"] = xp.dtype(options["dtype"])
        return created(xp, make(*map(_number, args), **{key: _number(x) for key, x in options.items()}), *given)

    return _named(function, name, signature_of(name), f"The standard's ``{name}``, as a constant.")


def _unrecorded(label: str, found: Any, whole: Recording) -> Any:
    """Something of a library by this name: a function computes of arrays, and of constants, which lose nothing."""
    if isinstance(found, ModuleType):
        return _Folder(label, found, whole)
    if isinstance(found, type) or not callable(found):
        return found

    @functools.wraps(found)
    def unrecorded(*args: Any, **options: Any) -> Any:
        given = (*args, *options.values())
        if not any(map(holds_variable, given)):
            return found(*args, **options)
        if label in WRITING:
            raise TypeError(f"{label} writes into an array; a new one is made by where, concat or stack, for example")
        if any(map(_differentiable, given)):
            raise TypeError(_not_recorded(label))
        return _constants(whole, found(*value(args), **{key: value(x) for key, x in options.items()}))

    return unrecorded


def _bound_to(xp: Recording, name: str, f: Callable[..., Any]) -> Callable[..., Any]:
    """A composed function of this namespace; where the standard has it, the library computes it of plain arrays."""
    plain = _part(xp.library, name) if name in STANDARD else None

    parameters = list(signature(f).parameters.values())[1:]
    every = any(p.kind in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL) for p in parameters)
    known = {p.name for p in parameters if p.kind is not Parameter.POSITIONAL_ONLY}
    places = sum(p.kind is not Parameter.KEYWORD_ONLY for p in parameters)
    needed = sum(p.default is Parameter.empty and p.kind is Parameter.POSITIONAL_ONLY for p in parameters)
    single = [p.name in ARRAYS for p in parameters]

    def function(*args: Any, **options: Any) -> Any:
        for x in args:
            if type(x) in (list, tuple) and holds_variable(x):
                pairs = zip(args, (*single, *[False] * len(args)), strict=False)
                args = tuple(xp.asarray(x) if one and isinstance(x, list | tuple) else x for x, one in pairs)
                break
        if plain is not None and not any(holds_variable(x) for x in (*args, *options.values())):
            return plain(*args, **options)
        if not every and (len(args) > places or len(args) < needed or options.keys() - known):
            return OLDER[0](xp, name, args[:needed], args[needed:], options)
        y = f(xp, *args, **options)
        if Seen.any and isinstance(y, Wrapper) and y.operation is not None:
            for x in (*args, *options.values()):
                if isinstance(x, float) or (hasattr(x, "shape") and not isinstance(x, Wrapper)):
                    note_number(y, x)
        return y

    return _named(function, name, Signature([p.replace(annotation=Parameter.empty) for p in parameters]), f.__doc__)


def _named(function: Any, name: str, its_signature: Signature, doc: str | None) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name.rpartition(".")[2]
    function.__signature__ = its_signature
    function.__doc__ = doc or f"The standard's ``{name}``, recorded where it is given a variable."
    return function  # type: ignore[no-any-return]


def _recorded(xp: Recording, operation: Operation) -> Callable[..., Any]:
    """The function of a namespace that records this operation where it is given a variable."""
    plain = None if operation.own else _part(xp.library, operation.name)
    operands, isdtype, record = operation.operands, xp.library.isdtype, xp.record
    each, name = operation.each is not None, operation.name

    def function(*args: Any, **options: Any) -> Any:
        if not options and not each and len(args) == operands:  # as most are called
            for x in args:
                if isinstance(x, Wrapper):
                    return record(operation, args)
        inputs = tuple(args[0]) if each else args[:operands]
        for x in inputs:
            if isinstance(x, Wrapper):
                break
        else:
            if any(isinstance(x, Wrapper) for x in options.values()):
                raise TypeError(f"{name} is recorded with its arrays first, without a name: {name}(v)")
            if any(map(holds_variable, inputs)):  # a list of variables for an array
                made = [xp.asarray(x) if holds_variable(x) else x for x in args]
                return function([*made[0]] if each else made[0], *made[1:], **options)
            if plain is None:
                raise AttributeError(f"the library of these arrays has no {name}")
            return plain(*args, **options)
        if options or len(args) > operands or len(inputs) < operands:
            known = _options(operation, args, options)
            if known is None:
                return OLDER[0](xp, name, inputs, args[operands:], options)
            options = known
            if options.get("dtype") is not None:
                options["dtype"] = xp.dtype(options["dtype"])
            dtype = options.get("dtype")
            exact = dtype is not None and not isdtype(dtype, ("real floating", "complex floating"))
            if exact and any(isinstance(x, Wrapper) and x.differentiable for x in inputs):
                raise TypeError(f"{name} of a variable is recorded in floating-point dtypes, got {dtype_name(dtype)}")
        return record(operation, inputs, options)

    return _named(function, name, signature_of(name, operands), None)


def _options(operation: Operation, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any] | None:
    """The options of a call by their names; None if there are others; a ``TypeError`` if an operand is missing."""
    if len(args) < operation.operands:
        raise TypeError(f"{operation.name} takes {operation.operands} arrays, got {len(args)}")
    rest = args[operation.operands :]
    if options.keys() - set(operation.options) or len(rest) > len(operation.options):
        return None
    return options | dict(zip(operation.options, rest, strict=False))


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Wrapper) else x


def _number(x: Any) -> Any:
    """The value of a constant; an integer, where it is one."""
    if isinstance(x, Wrapper) and not x.shape and x.library.isdtype(x.dtype, "integral"):
        return x.__index__()
    return _value(x)


def holds_variable(x: Any) -> bool:
    """Whether x is a variable, or a list or tuple with one inside."""
    return isinstance(x, Wrapper) or (isinstance(x, list | tuple) and any(map(holds_variable, x)))


def _differentiable(x: Any) -> bool:
    """Whether there are derivatives with respect to x, or what is inside."""
    return any(map(_differentiable, x)) if isinstance(x, list | tuple) else isinstance(x, Wrapper) and x.differentiable


def value(x: Any) -> Any:
    """The value of a variable; other things as they are, and lists of them part by part."""
    if isinstance(x, Wrapper):
        return x.value
    return type(x)(map(value, x)) if type(x) in (list, tuple) else x


def _constants(xp: Recording, found: Any) -> Any:
    """The arrays that a function returned as constants."""
    if type(found) in (list, tuple):
        return type(found)(_constants(xp, part) for part in found)
    return xp.constant(found) if name_of(found) is not None else found


def _not_recorded(label: str) -> str:
    name = label.rpartition(".")[2]
    hint = f"; {INSTEAD[name]} does the same, or nearly" if name in INSTEAD else ""
    names = {name for name, operation in OPERATIONS.items() if not operation.own} | COMPOSED.keys() | CREATION.keys()
    near = [] if hint else get_close_matches(label, sorted(names), cutoff=0.7)
    hint += f"; there is {', '.join(near)}" if near else ""
    return f"{label} is not recorded{hint}; the standard's functions are, and most of NumPy's that have derivatives"
