"""A variable: an array of the standard that remembers how it was computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from numbers import Complex, Integral, Real
from types import ModuleType
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import current_backend, describe, dtype_name, name_of, namespace, number_as_array
from xpnet.graph import indexing
from xpnet.graph.operations import Operation
from xpnet.graph.recording import Recording
from xpnet.graph.reverse import backward
from xpnet.graph.rules import elementwise as ops
from xpnet.graph.rules.matrices import MATMUL, MATRIX_TRANSPOSE
from xpnet.graph.rules.shapes import PERMUTE_DIMS
from xpnet.graph.taken import Seen, check_taken, note_number, note_taken
from xpnet.graph.wrapper import NOTHING, NUMBERS, Wrapper, check_name, check_operand, first_inside, node

#: The types of Python's own numbers.
PLAIN = frozenset(NUMBERS)


def _unary(operation: Operation) -> Callable[[Any], Variable]:
    return lambda self: record(operation, (self,))


def _left(operation: Operation) -> Callable[[Any, Any], Variable]:
    return lambda self, other: record(operation, (self, other))


def _right(operation: Operation) -> Callable[[Any, Any], Variable]:
    return lambda self, other: record(operation, (other, self))


def _compared(operation: Operation) -> Callable[[Any, Any], Any]:
    def compared(self: Variable, other: Any) -> Any:
        return NotImplemented if other is None or isinstance(other, str) else record(operation, (self, other))

    return compared


class Variable(Wrapper):
    """An array of the Array API standard on top of one of any library, and the node of a graph.

    Operators and the functions of ``namespace(v)`` compute on the value at once, and record what they did. Made by
    :func:`variable` and :func:`constant`, and by computing with what these made.

    Numbers of Python take the dtype of the array beside them. A number of NumPy has one of its own beside NumPy arrays,
    so that float32 times a float64 number is float64, as NumPy computes it; the gradient has the dtype of the variable.
    Beside arrays of other libraries it is a number like those of Python.

    What leaves the graph has no derivatives: ``v.value``, ``constant(v)``, ``f"{v:.3f}"``, ``float(v)``, ``int(v)``,
    and functions that take Python numbers, such as ``math.sin(v)``. :func:`grad` refuses ``float(v)`` and ``int(v)`` of
    what it differentiates. Outside of it, where results are printed, ``backward()`` warns if what it starts from was
    computed with a number that may be made of one taken by ``float(v)`` or ``math.sin(v)``.

    Attributes:
        value: the array underneath. It must not be written into while the graph is needed.
        name: what a picture calls it, or None.
        grad: after ``y.backward()``, dy/dv for each variable v that y was computed from, in the shape of v; until then
            None. Each call replaces it.
        operation, inputs, options: what computed it, from what; None and empty where values come in.
    """

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("a variable is made with xpnet.graph.variable(x) or constant(x)")

    @property
    def T(self) -> Variable:  # noqa: N802  (the standard's name)
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise ValueError(f"T is for matrices, this has shape {self.shape}; use matrix_transpose or permute_dims")
        return record(PERMUTE_DIMS, (self,), {"axes": (1, 0)})

    @property
    def mT(self) -> Variable:  # noqa: N802
        """The transposes of a stack of matrices."""
        return record(MATRIX_TRANSPOSE, (self,))

    def __iter__(self) -> Iterator[Variable]:
        return (self[i, ...] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Variable:
        return indexing.get(self, key)  # type: ignore[return-value]

    __add__, __radd__ = _left(ops.ADD), _right(ops.ADD)
    __sub__, __rsub__ = _left(ops.SUBTRACT), _right(ops.SUBTRACT)
    __mul__, __rmul__ = _left(ops.MULTIPLY), _right(ops.MULTIPLY)
    __truediv__, __rtruediv__ = _left(ops.DIVIDE), _right(ops.DIVIDE)
    __pow__, __rpow__ = _left(ops.POW), _right(ops.POW)
    __matmul__, __rmatmul__ = _left(MATMUL), _right(MATMUL)
    __mod__, __rmod__ = _left(ops.REMAINDER), _right(ops.REMAINDER)
    __floordiv__, __rfloordiv__ = _left(ops.FLOOR_DIVIDE), _right(ops.FLOOR_DIVIDE)
    __lshift__, __rlshift__ = _left(ops.SHIFT_LEFT), _right(ops.SHIFT_LEFT)
    __rshift__, __rrshift__ = _left(ops.SHIFT_RIGHT), _right(ops.SHIFT_RIGHT)
    __neg__, __pos__, __abs__ = _unary(ops.NEGATIVE), _unary(ops.POSITIVE), _unary(ops.ABS)
    __lt__, __le__ = _left(ops.LESS), _left(ops.LESS_EQUAL)
    __gt__, __ge__ = _left(ops.GREATER), _left(ops.GREATER_EQUAL)
    __eq__, __ne__ = _compared(ops.EQUAL), _compared(ops.NOT_EQUAL)  # elementwise, as for all arrays

    def __and__(self, other: Any) -> Any:
        return self.xp.bitwise_and(self, other)

    def __or__(self, other: Any) -> Any:
        return self.xp.bitwise_or(self, other)

    def __xor__(self, other: Any) -> Any:
        return self.xp.bitwise_xor(self, other)

    def __invert__(self) -> Any:
        return self.xp.bitwise_invert(self)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__
    __hash__ = object.__hash__

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    def __float__(self) -> float:
        number = float(self._number("float"))
        if self.differentiable:
            note_taken(self, number)
        return number

    def __int__(self) -> int:
        return int(self._number("int"))

    def __complex__(self) -> complex:
        return complex(self._number("complex"))

    def _number(self, kind: str) -> Array:
        """The value; refused inside of a function that is differentiated, as the result would depend on it unseen."""
        first = first_inside.get()
        if first is not None and self.differentiable and self.serial >= first:
            raise TypeError(
                f"{kind}(x) has no derivative, and x is a variable of a function that is being differentiated; compute "
                f"with operators and functions of namespace(x), and print x.value"
            )
        return self.value

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        return f"{'variable' if self.differentiable else 'constant'}({self.value!r}{name})"

    # --- the graph ---------------------------------------------------------------------------------------------------

    def backward(self, seed: Array | float | None = None, *, record: bool = False) -> None:
        """Find the derivatives of this with respect to all that it was computed from, and put them in their ``grad``.

        A step of gradient descent starts a graph of its own: ``w = variable(w.value - lr * w.grad)``; with
        ``w - lr * w.grad`` the graphs of all steps would hang together.

        Args:
            seed: the derivative of whatever comes after this with respect to this, in its shape; 1 by default, for
                which this has to be one number.
            record: whether ``grad`` is to be a variable, which has derivatives of its own: gradients of gradients.

        Raises:
            ValueError: no seed where one is needed, one of another shape, or nothing to differentiate: this was
                computed from constants alone.
            TypeError: a seed of another library, or a call without ``record`` in a function that grad() runs.

        Warns:
            UserWarning: this was computed with a number after ``float(x)`` or a function of ``math`` took one from the
                same variables; or it was computed with, or has for its seed, such a number itself, a function of
                ``math`` of it, or a number or array without a name on the line that took it, whichever variable it
                came from. Derivatives may lack what came that way. Not seen are numbers of other variables, or of one
                whose derivatives were found, and arrays with more entries than numbers were taken, that were made
                in other lines, as r is of ``s = float(x)``, ``r = 2 * s``.

        >>> from xpnet.graph import variable
        >>> x = variable(3.0)
        >>> y = x**2
        >>> y.backward(record=True)
        >>> slope = x.grad
        >>> slope.backward()
        >>> float(slope), float(x.grad)
        (6.0, 2.0)
        """
        backward(self, seed, record)
        check_taken(self, seed)


#: The class of variables on top of each library, by the library's namespace and by the types of its arrays.
_kinds: dict[ModuleType | type, type[Variable]] = {}


def kind_of(x: Any) -> type[Variable]:
    """The class of variables that x is of, or would be the value of."""
    try:
        return _kinds[type(x)]
    except KeyError:
        library = namespace(x)
    if library not in _kinds:
        body = {"__slots__": (), "__module__": __name__, "library": library, "xp": Recording(library, record)}
        kind = _kinds.setdefault(library, type("Variable", (Variable,), body))
        _kinds[kind] = kind.xp.kind = kind  # type: ignore[attr-defined]  # its namespace is a Recording
    return _kinds.setdefault(type(x), _kinds[library])


def record(operation: Operation, inputs: tuple[Any, ...], options: Mapping[str, Any] = NOTHING) -> Variable:
    """Compute one operation on variables, arrays and numbers, at least one of them a variable, and remember it.

    Raises:
        TypeError: operands of two libraries, or something that is no operand at all.
    """
    kind, differentiable, odd, values, numbers = None, False, False, [], []
    for i, x in enumerate(inputs):
        if isinstance(x, Variable):
            found = type(x)
            values.append(x.value)
            if x.differentiable and not differentiable:
                differentiable = operation.pullback(i) is not None
        else:
            sort = type(x)
            if sort in PLAIN:
                values.append(x)
                if sort is complex:
                    odd = True
                if Seen.any and not isinstance(x, int):
                    numbers.append(x)
                continue
            if _are_numbers(sort):  # type: ignore[arg-type]  # a type is hashable
                x = _number_for(x, inputs)
                inputs = (*inputs[:i], x, *inputs[i + 1 :])
            values.append(x)
            if Seen.any and not isinstance(x, int):
                numbers.append(x)
            if isinstance(x, NUMBERS):
                continue
            if check_operand(x):
                return record(operation, tuple(_unpacked(part, inputs) for part in inputs), options)
            found = kind_of(x)
        if found is not kind:
            if kind is not None:
                raise TypeError(_two_libraries(operation, inputs))
            kind = found
    assert kind is not None
    if operation.compute is not None:
        value = operation.compute(*values, **options)
    else:
        xp = kind.xp
        if operation.own:
            function = getattr(xp, operation.name)
        else:
            function = xp.computes.get(operation.name) or xp.computing(operation.name)
        value = function(values, **options) if operation.each else function(*values, **options)
    if odd or isinstance(value, int):  # Python's product of 1j and a number of NumPy; counts of some libraries
        value = kind.library.asarray(value)
    made = node(kind, value, differentiable, None, operation, inputs, options)
    for x in numbers:
        note_number(made, x)
    return made


@cache
def _are_numbers(kind: type) -> bool:
    return issubclass(kind, Complex)


def _unpacked(x: Any, inputs: tuple[Any, ...]) -> Any:
    """Variables that NumPy put into an array of objects, as one variable; others as they are."""
    if isinstance(x, Variable) or not hasattr(x, "tolist") or dtype_name(x.dtype) != "object":
        return x
    home = next(v for v in inputs if isinstance(v, Variable))
    return home.xp.asarray(x.tolist())


def _number_for(x: Any, inputs: tuple[Any, ...]) -> Any:
    """A number of some library beside variables of that library, which has rules for it; of Python beside others."""
    home = next(v for v in inputs if isinstance(v, Variable))
    if name_of(x) is not None and name_of(x) == name_of(home.value):
        return x
    return int(x) if isinstance(x, Integral) else float(x) if isinstance(x, Real) else complex(x)


def _two_libraries(operation: Operation, inputs: tuple[Any, ...]) -> str:
    values = [x.value if isinstance(x, Variable) else x for x in inputs]
    theirs = " and ".join(dict.fromkeys(describe(x) for x in values if not isinstance(x, NUMBERS)))
    return f"{operation.name} was given {theirs}; move one of them first, with get_backend(name).asarray(x)"


def variable(value: Array | float, name: str | None = None) -> Variable:
    """A variable: what is computed from it is recorded, and can be differentiated with respect to it.

    Args:
        value: a floating-point array of any library, real or complex, which is not copied, or a constant; or a number,
            which becomes a 0-d array of the backend that :func:`xpnet.use_backend` selected, in float64 where there is
            that.
        name: what a picture calls it.

    Raises:
        TypeError: an array of integers, a list, a variable, an array that its own library records, or
            a name that is no text.
        ValueError: a number that is too large for float64.

    >>> apple, number = variable(100, "apple"), variable(2, "number")
    >>> cost = apple * number
    >>> cost.backward()
    >>> float(cost), float(apple.grad), float(number.grad)
    (200.0, 2.0, 100.0)
    """
    if isinstance(value, Variable):
        if value.differentiable:
            raise TypeError("this is a variable already; constant(v) is its value, cut off from its graph")
        value = value.value
    if isinstance(value, bool):
        raise TypeError(f"a variable is a floating-point number; {value} has no derivatives")
    array = _array(value)
    if not namespace(array).isdtype(array.dtype, ("real floating", "complex floating")):
        raise TypeError(
            f"a variable of dtype {dtype_name(array.dtype)} has no derivatives; make it floating-point first, "
            f"xp.astype(x, xp.float64), or a constant(x)"
        )
    return node(kind_of(array), array, True, check_name(name))


def constant(value: Array | float, name: str | None = None) -> Variable:
    """An array whose use is recorded, and that nothing is differentiated with respect to.

    Wherever arrays meet variables in an operator or a function of ``namespace(variable)`` they are constants by
    themselves. This is for code that takes the namespace from the array (``namespace(x).matmul(x, W)``), and for names
    in pictures. The constant of a variable is its value, cut off from what it was computed from.
    """
    if isinstance(value, Variable):
        made = node(type(value), value.value, False, check_name(name))
        if value.operation is None and not value.differentiable:
            made.note = value.note
        return made
    array = _array(value)
    made = node(kind_of(array), array, False, check_name(name))
    if Seen.any and not isinstance(value, int):
        note_number(made, value)
    return made


def _array(value: Any) -> Array:
    check_operand(value)
    if isinstance(value, complex) and name_of(value) is None:
        return current_backend().asarray(value, "complex128")
    array = number_as_array(float(value) if isinstance(value, bool) else value)
    namespace(array)
    return array
