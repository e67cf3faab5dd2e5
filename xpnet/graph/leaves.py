"""Where values come into a graph: variables, which it can be differentiated with respect to, and constants."""

from __future__ import annotations

from typing import Any

from xpnet._typing import Array
from xpnet.backend import dtype_name, namespace, number_as_array
from xpnet.graph.taken import Seen, note_number
from xpnet.graph.variable import Variable, check_operand, kind_of
from xpnet.graph.wrapper import check_name, node


def variable(value: Array | float, name: str | None = None) -> Variable:
    """A variable: what is computed from it is recorded, and can be differentiated with respect to it.

    Args:
        value: a floating-point array of any library, which is not copied; or a number, which becomes a 0-d array of
            the backend that :func:`xpnet.use_backend` selected, in float64 where there is that.
        name: what a picture calls it.

    Raises:
        TypeError: an array of integers, complex numbers, a list, a variable, an array that its own library records, or
            a name that is no text.
        ValueError: a number that is too large for float64.

    >>> apple, number = variable(100, "apple"), variable(2, "number")
    >>> cost = apple * number
    >>> cost.backward()
    >>> float(cost), float(apple.grad), float(number.grad)
    (200.0, 2.0, 100.0)
    """
    if isinstance(value, Variable):
        raise TypeError("this is a variable already; constant(v) is its value, cut off from what it was computed from")
    if isinstance(value, bool):
        raise TypeError(f"a variable is a floating-point number; {value} has no derivatives")
    array = _array(value)
    if not namespace(array).isdtype(array.dtype, "real floating"):
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
        return node(type(value), value.value, False, check_name(name))
    array = _array(value)
    made = node(kind_of(array), array, False, check_name(name))
    if Seen.any and not isinstance(value, int):
        note_number(made, value)
    return made


def _array(value: Any) -> Array:
    check_operand(value)
    array = number_as_array(float(value) if isinstance(value, bool) else value)
    namespace(array)
    return array
