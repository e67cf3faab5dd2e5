"""Where values come into a graph: variables, which it can be differentiated with respect to, and constants."""

from __future__ import annotations

from typing import Any

from xpnet._typing import Array
from xpnet.backend import current_backend, dtype_name, get_backend, name_of, namespace, widest_floating
from xpnet.graph.variable import Variable, kind_of
from xpnet.graph.wrapper import NUMBERS, node


def variable(value: Array | float, name: str | None = None) -> Variable:
    """A variable: what is computed from it is recorded, and can be differentiated with respect to it.

    Args:
        value: a floating-point array of any library, which is not copied; or a number, which becomes a 0-d array of
            the backend that :func:`xpnet.use_backend` selected, in float64 where there is that.
        name: what a picture calls it.

    Raises:
        TypeError: integers, complex numbers, a list, a variable, or an array that its own library records.

    >>> apple, number = variable(100, "apple"), variable(2, "number")
    >>> cost = apple * number
    >>> cost.backward()
    >>> float(cost), float(apple.grad), float(number.grad)
    (200.0, 2.0, 100.0)
    """
    if isinstance(value, Variable):
        raise TypeError("this is a variable already; constant(v) is its value, cut off from what it was computed from")
    array = _array(value)
    if not namespace(array).isdtype(array.dtype, "real floating"):
        raise TypeError(
            f"a variable of dtype {dtype_name(array.dtype)} has no derivatives; make it floating-point first, "
            f"xp.astype(x, xp.float64), or a constant(x)"
        )
    if getattr(array, "requires_grad", False):
        raise TypeError("this array is recorded by its own library too (requires_grad is set); give x.detach()")
    return node(kind_of(array), array, True, name)


def constant(value: Array | float, name: str | None = None) -> Variable:
    """An array whose use is recorded, and that nothing is differentiated with respect to.

    Wherever arrays meet variables in an operator or a function of ``namespace(variable)`` they are constants by
    themselves. This is for code that takes the namespace from the array (``namespace(x).matmul(x, W)``), and for names
    in pictures. The constant of a variable is its value, cut off from what it was computed from.
    """
    if isinstance(value, Variable):
        return node(type(value), value.value, False, name)
    array = _array(value)
    return node(kind_of(array), array, False, name)


def _array(value: Any) -> Array:
    if not isinstance(value, NUMBERS):
        namespace(value)
        return value
    if name := name_of(value):  # a number of some library, and not of Python
        return get_backend(name).asarray(value)
    backend = current_backend()
    return backend.asarray(float(value), dtype_name(widest_floating(backend.asarray(0.0))))
