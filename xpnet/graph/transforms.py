"""Gradients of functions: functions that return them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from math import prod
from numbers import Number, Real
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import backend_of, describe, dtype_name, name_of, namespace, on_device_of, widest_floating
from xpnet.graph.operations import is_complex, is_real, kind_of_dtype
from xpnet.graph.reverse import Ancestry, Gradients, as_variable, seed_for, sweep
from xpnet.graph.rules.shapes import SAME
from xpnet.graph.trees import leaves_of, mapped
from xpnet.graph.variable import Variable, constant, record, variable
from xpnet.graph.wrapper import first_inside
from xpnet.streams import warn

OUTSIDE = (
    "xpnet.graph: functions of the library itself do not record, those of namespace(x) do; and an array from outside "
    "of f may not know what a variable is: give it to f as an argument, or make it one that knows: "
    "x = xpnet.graph.constant(x)"
)


def value_and_grad(f: Callable[..., Array], argnums: int | tuple[int, ...] = 0) -> Callable[..., tuple[Array, Any]]:
    """A function that returns f(...) and its gradient with respect to some of its arguments, by reverse mode.

    >>> import numpy as np
    >>> value_and_grad(lambda x: x[0] ** 2 + x[1] ** 2)(np.asarray([3.0, 4.0]))
    (np.float64(25.0), array([6., 8.]))

    Args:
        f: takes arrays, or numbers, or dicts, lists and tuples of them, and returns one number as a 0-d array. It is
            called with variables in their place, and with constants for the other floating-point arrays. It may be
            written with operators and the functions of ``namespace(x)``; xpnet's functions, layers and losses are. An
            array that is no argument, and is asked for its namespace, has to be made one: ``x = constant(x)``.
        argnums: the argument, or arguments, to differentiate with respect to: floating-point arrays, or numbers.

    Returns:
        A function of the same arguments. The gradient is built like the argument: an array for an array, a dict for a
        dict; a tuple of them if ``argnums`` is a tuple. Where f also depends on variables from outside, value and
        gradient are variables computed from these: inside of a function that is differentiated itself, for example, so
        that ``grad(grad(f))`` is the second derivative.

    Where there is no derivative the gradient is: of ``abs`` at 0, 0, and so it is of ``hypot``, ``std`` and norms where
    all is 0 or equal (PyTorch has 0 or NaN there, JAX NaN or 0.5); of ``maximum`` and ``clip`` at a tie, half of it to
    either side; of ``max``, shared alike; of ``sqrt``, and of ``x**p`` with p between 0 and 1, infinite at 0. And 0
    times infinity is NaN, which no library of this kind can help, JAX and PyTorch included: of ``sqrt(sum(x * x))``
    where all is 0, and of ``where`` if the branch that is not taken has no finite derivative. Take that one at a point
    where it has, by a ``where`` inside:

    >>> x = np.asarray([-1.0, 0.0, 4.0])
    >>> with np.errstate(all="ignore"):
    ...     grad(lambda x: np.sum(np.where(x > 0, np.sqrt(x), x)))(x)
    array([ nan,  nan, 0.25])
    >>> grad(lambda x: np.sum(np.where(x > 0, np.sqrt(np.where(x > 0, x, 1.0)), x)))(x)
    array([1.  , 1.  , 0.25])

    Raises:
        TypeError: f returns something else than a number, or a complex one, an integer or a truth value; uses a
            function that is not recorded, or makes a Python number of a variable, which has no derivative; or there is
            nothing to differentiate with respect to.
        ValueError: f returns more than one number.

    Warns:
        UserWarning: f returns a number that was not computed from its arguments: the gradient is zero.
    """

    @functools.wraps(f)
    def differentiated(*args: Any, **options: Any) -> tuple[Array, Any]:
        y, leaves, numbers = called(f, argnums, args, options)
        value, gradients = _differentiated(y, leaves)
        found = tuple(mapped(lambda _: next(gradients), args[i]) for i in numbers)
        return value, found[0] if isinstance(argnums, int) else found

    return differentiated


def called(
    f: Callable[..., Any], argnums: int | tuple[int, ...], args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Any, list[Variable], tuple[int, ...]]:
    """What f returns for variables in the places of its arguments; these variables; and which arguments they are."""
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    _check_argnums(numbers, len(args))
    leaves, wanted = list[Variable](), {i % len(args) for i in numbers}
    inside = [x if i in wanted else mapped(_as_constant, x) for i, x in enumerate(args)]
    for i in numbers:
        inside[i] = mapped(lambda x: _leaf(x, leaves, (args, options)), args[i])
    if not leaves:
        raise TypeError("there is no array among the arguments to differentiate with respect to")
    with on_device_of(leaves[0].value):
        return _called(f, inside, mapped(_as_constant, options), leaves[0].serial), leaves, numbers


def grad(f: Callable[..., Array], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns the gradient of f; see :func:`value_and_grad`.

    >>> slope = grad(lambda x: x**3)
    >>> float(slope(2.0)), float(grad(slope)(2.0))
    (12.0, 12.0)
    """
    both = value_and_grad(f, argnums)

    @functools.wraps(f)
    def gradient(*args: Any, **options: Any) -> Any:
        return both(*args, **options)[1]

    return gradient


def _check_argnums(numbers: tuple[int, ...], count: int) -> None:
    for i in numbers:
        if not -count <= i < count:
            raise TypeError(f"argnums names argument {i}, and there are {count} arguments that are not by name")
    if len({i % count for i in numbers}) < len(numbers):
        raise ValueError(f"argnums is {numbers}, which names an argument twice")


def _called(f: Callable[..., Any], args: list[Any], options: dict[str, Any], first: int) -> Any:
    token = first_inside.set(first_inside.get() or first)  # of nested functions the outermost counts
    try:
        return f(*args, **options)
    except (TypeError, AttributeError) as error:
        if "variable" in str(error).lower():
            error.add_note(OUTSIDE)
        raise
    finally:
        first_inside.reset(token)


def _leaf(x: Any, leaves: list[Variable], arguments: Any) -> Variable:
    # a variable of a function around this one goes in as a node of its own, so that f's own use of it stays apart
    if isinstance(x, Variable) and x.differentiable:
        leaves.append(record(SAME, (x,)))
    else:
        x = x.value if isinstance(x, Variable) else x
        leaves.append(variable(_beside(x, arguments) if isinstance(x, Real) else x))
    return leaves[-1]


def _beside(x: Any, arguments: Any) -> Any:
    """A number as an array of the library of the first array among the arguments, if there is one."""
    like = next((like for like in _values(arguments) if _is_array(like)), None)
    if like is None or name_of(x) == name_of(like) or x is True or x is False:
        return x
    return backend_of(like).asarray(float(x), dtype_name(widest_floating(like)))


def _differentiated(y: Any, leaves: list[Variable]) -> tuple[Array, Iterator[Array]]:
    """The value of y and its gradients with respect to the leaves; as variables if y depends on others as well."""
    if not isinstance(y, Variable):
        if not isinstance(y, Number) and name_of(y) is None:
            raise TypeError(f"f returned a value {describe(y)}, expected one number; use jacobian or vjp for several")
        kind = kind_of_dtype(namespace(y), y.dtype) if hasattr(y, "dtype") else "bool" * isinstance(y, bool)
        if kind and "floating" not in kind:
            raise TypeError(_in_steps(y))
        warn(
            "f returned a value that was not computed from its argument by functions that are recorded, so that the "
            "gradient is zero; use operators, and functions of namespace(x), without .value in between",
            stacklevel=3,
        )
        return y, (v.library.zeros_like(v.value) for v in leaves)
    if prod(y.shape) != 1:
        raise ValueError(
            f"f returned shape {y.shape}, expected one number; reduce it with sum or mean, or use jacobian or vjp"
        )
    if not is_real(y.library, y.dtype):
        if not is_complex(y.library, y.dtype):
            raise TypeError(_in_steps(y))
        raise TypeError(
            "f returned a complex number, whose gradient is none of one number; return real(y), imag(y) or abs(y)"
        )
    values, gradients = pulled_back([y], leaves, [1.0])
    return values[0], iter(gradients)


def _in_steps(y: Any) -> str:
    dtype = dtype_name(y.dtype) if hasattr(y, "dtype") else "bool"
    return f"f returned one of dtype {dtype}, whose derivative is 0 where it has one; return a floating-point number"


def pulled_back(ys: list[Variable], leaves: list[Variable], seeds: list[Any]) -> tuple[list[Array], list[Array]]:
    """The values of ys, and the gradients with respect to the leaves of the sum of their products with the seeds.

    They are variables where ys or seeds depend on variables from before the leaves.
    """
    reached, keep = Ancestry(ys, leaves[0].serial), {v.serial for v in leaves}
    again = reached.outer or any(isinstance(seed, Variable) and seed.differentiable for seed in seeds)
    starts: Gradients = {}
    for y, seed in zip(ys, seeds, strict=True):
        start = seed_for(y, seed)
        if not again and isinstance(start, Variable):
            start = start.value
        if y.differentiable:
            starts[y.serial] = starts[y.serial] + start if y.serial in starts else start
    gradients = sweep(reached.order, starts, again=again, keep=keep) if starts else {}
    found = [gradients[v.serial] if v.serial in gradients else v.library.zeros_like(v.value) for v in leaves]
    if again:
        return list(ys), [as_variable(g, type(v)) for g, v in zip(found, leaves, strict=True)]
    # they may share memory until here, and an array in another order of bytes is computed with in the machine's
    return [y.value for y in ys], [
        v.library.asarray(g, dtype=v.dtype, copy=True) for g, v in zip(found, leaves, strict=True)
    ]


def _is_array(x: Any) -> bool:
    return not isinstance(x, Real) and name_of(x) is not None


def _as_constant(x: Any) -> Any:
    """A floating-point array among the arguments as a constant, so that its namespace records; else x as it is."""
    return constant(x) if _is_array(x) and _is_floating(x) else x


def _values(tree: Any) -> list[Any]:
    return [x.value if isinstance(x, Variable) else x for x in leaves_of(tree)]


def _is_floating(x: Array) -> bool:
    return bool(namespace(x).isdtype(x.dtype, ("real floating", "complex floating")))
