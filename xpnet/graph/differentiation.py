"""Reverse mode: from one number back to all that it was computed from, and gradients of functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from xpnet._typing import Array
from xpnet.backend import backend_of, describe, dtype_name, name_of, widest_floating
from xpnet.graph import operations as ops
from xpnet.graph.leaves import constant, variable
from xpnet.graph.operations import unbroadcast
from xpnet.graph.variable import NUMBERS, Variable, kind_of, record
from xpnet.graph.wrapper import first_inside

#: Gradients of variables, by their serial numbers.
Gradients = dict[int, Array]
#: ``on_arrow(y, i, gradient)``.
OnArrow = Callable[[Variable, int, Array], None]

OUTSIDE = (
    "xpnet.graph: an array from outside of f may not know what a variable is; give it to f as an argument, or make it "
    "one that knows: x = xpnet.graph.constant(x)"
)


class Ancestry:
    """What y was computed from, by differentiable steps, back to the variables from serial number ``since`` on.

    Attributes:
        order: y and these variables, last computed first.
        outer: whether y also depends on variables from before.
    """

    def __init__(self, y: Variable, since: int = 0, *, through_all: bool = False) -> None:
        found, waiting, self.outer = {y.serial: y}, [y], y.differentiable and y.serial < since
        while waiting:
            for x in waiting.pop().inputs:
                if isinstance(x, Variable) and (x.differentiable or through_all) and x.serial not in found:
                    if x.serial < since:
                        self.outer = True
                    else:
                        found[x.serial] = x
                        waiting.append(x)
        self.order = [found[serial] for serial in sorted(found, reverse=True)]


def sweep(
    order: list[Variable], seed: Array, *, again: bool, keep: set[int] | None = None, on_arrow: OnArrow | None = None
) -> Gradients:
    """The gradients of ``order[0]`` with respect to the others, by their serial numbers, where there are any.

    Args:
        order: what is differentiable, last computed first.
        seed: the gradient to start with.
        again: whether the gradients are to be recorded: computed from variables, and not from their values.
        keep: whose gradients are wanted; the memory of the others is given back on the way. By default all are.
        on_arrow: is called with y, i and what comes back from y to its operand i.
    """
    gradients, first = {order[0].serial: _as_variable(seed) if again else seed}, order[-1].serial
    for y in order:
        g = gradients.get(y.serial) if keep is None or y.serial in keep else gradients.pop(y.serial, None)
        operation = y.operation
        if g is None or operation is None:
            continue
        if again:
            own, inputs = y, [x if isinstance(x, NUMBERS) else _as_variable(x) for x in y.inputs]
        else:
            own, inputs = y.value, [x.value if isinstance(x, Variable) else x for x in y.inputs]
        for i, x in enumerate(y.inputs):
            if not (isinstance(x, Variable) and x.differentiable and x.serial >= first):
                continue
            pullback = operation.pullback(i)
            if pullback is None:
                continue
            came = pullback(y.xp, g, own, *inputs, **y.options)
            if operation.spreads:
                came = unbroadcast(y.xp, came, inputs[i])
            gradients[x.serial] = gradients[x.serial] + came if x.serial in gradients else came
            if on_arrow is not None:
                on_arrow(y, i, came)
    return gradients


def seed_for(y: Variable, seed: Array | None) -> Array:
    """The gradient to start with, in the shape and dtype of y."""
    if seed is None:
        if y.shape:
            raise ValueError(
                f"backward() starts from one number, and this has shape {y.shape}; reduce it with sum or mean, or give "
                f"backward(seed) the derivatives of what comes after, in this shape"
            )
        seed = 1.0
    if isinstance(seed, NUMBERS):
        return y.xp.full_like(y, seed)
    if kind_of(seed) is not type(y):
        raise TypeError(f"seed is {describe(seed)} and this is {describe(y.value)}; both have to be of one library")
    if seed.shape != y.shape:
        raise ValueError(f"seed has shape {tuple(seed.shape)}, expected {y.shape}, the shape of what is differentiated")
    return seed if seed.dtype == y.dtype else y.xp.astype(seed, y.dtype)


def backward(y: Variable, seed: Array | float | None, again: bool) -> None:
    """:meth:`Variable.backward`."""
    order = [v for v in Ancestry(y, through_all=True).order if v.differentiable]
    if not order:
        raise ValueError(
            "this was computed from constants alone, so there is nothing to differentiate it with respect to"
        )
    g = seed_for(y, seed)
    gradients = sweep(order, g, again=again) if y.differentiable else {}
    for v in order:  # what has no gradient was used where the result does not change with it
        found = gradients.get(v.serial)
        found = y.xp.zeros_like(v) if found is None else found
        if again:
            v.grad = _as_variable(found)
        else:  # where values come in, a gradient has memory of its own, and may be changed
            v.grad = y.library.asarray(found, copy=True) if v.operation is None else found


def value_and_grad(f: Callable[..., Array], argnums: int | tuple[int, ...] = 0) -> Callable[..., tuple[Array, Any]]:
    """A function that returns f(...) and its gradient with respect to some of its arguments, by reverse mode.

    Args:
        f: takes arrays, or numbers, or dicts, lists and tuples of them, and returns one number as a 0-d array. It is
            called with variables in their place, and may be written with operators and with the functions of
            ``namespace(x)``; xpnet's functions, layers and losses are. Its other arrays are constants. One that is no
            argument, but taken from outside and asked for its namespace, has to be made one: ``x = constant(x)``.
        argnums: the argument, or arguments, to differentiate with respect to: floating-point arrays, or numbers.

    Returns:
        A function of the same arguments. The gradient is built like the argument: an array for an array, a dict for a
        dict; a tuple of them if ``argnums`` is a tuple. Inside of a function that is differentiated itself, both are
        variables of that one, so that ``grad(grad(f))`` is the second derivative.

    Raises:
        TypeError: f returns something else than a variable, uses a function that is not recorded, or makes a Python
            number of a variable, which has no derivative; or there is nothing to differentiate with respect to.
        ValueError: f returns more than one number.

    >>> import numpy as np
    >>> value_and_grad(lambda x: x[0] ** 2 + x[1] ** 2)(np.asarray([3.0, 4.0]))
    (np.float64(25.0), array([6., 8.]))
    """

    @functools.wraps(f)
    def differentiated(*args: Any, **options: Any) -> tuple[Array, Any]:
        numbers = (argnums,) if isinstance(argnums, int) else argnums
        _check_argnums(numbers, len(args))
        leaves = list[Variable]()
        like = next(filter(_is_array, _leaves((args, options))), None)
        inside, others = _map(_as_constant, (list(args), options))
        for i in numbers:
            inside[i] = _map(lambda x: _leaf(x, leaves, like), args[i])
        if not leaves:
            raise TypeError("there is no array among the arguments to differentiate with respect to")
        y = _called(f, inside, others, leaves[0].serial)
        value, gradients = _differentiated(y, leaves)
        found = tuple(_map(lambda _: next(gradients), args[i]) for i in numbers)
        return value, found[0] if isinstance(argnums, int) else found

    return differentiated


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
    token = first_inside.set(first)
    try:
        return f(*args, **options)
    except (TypeError, AttributeError) as error:
        if "variable" in str(error).lower():
            error.add_note(OUTSIDE)
        raise
    finally:
        first_inside.reset(token)


def _leaf(x: Any, leaves: list[Variable], like: Array | None) -> Variable:
    # a variable of a function around this one goes in as a node of its own, so that f's own use of it stays apart
    if isinstance(x, Variable):
        leaves.append(record(ops.SAME, (x,)))
    elif isinstance(x, NUMBERS) and like is not None:  # a number beside arrays is one of theirs
        leaves.append(variable(backend_of(like).asarray(float(x), dtype_name(widest_floating(like)))))
    else:
        leaves.append(variable(x))
    return leaves[-1]


def _differentiated(y: Any, leaves: list[Variable]) -> tuple[Array, Iterator[Array]]:
    """The value of y and its gradients with respect to the leaves; as variables if y depends on others as well."""
    if not isinstance(y, Variable):
        raise TypeError(
            f"f returned a value {describe(y)}, which was not computed from its argument by functions that are "
            f"recorded; use operators, and functions of namespace(x), without float() or .value in between"
        )
    if y.shape:
        raise ValueError(f"f returned shape {y.shape}, expected one number; reduce it with sum or mean")
    reached, keep = Ancestry(y, leaves[0].serial), {v.serial for v in leaves}
    again = reached.outer
    gradients = sweep(reached.order, seed_for(y, None), again=again, keep=keep) if y.differentiable else {}
    found = [gradients[v.serial] if v.serial in gradients else v.xp.zeros_like(v) for v in leaves]
    if again:
        return y, map(_as_variable, found)
    return y.value, (y.library.asarray(g, copy=True) for g in found)  # they may share memory until here


def _is_array(x: Any) -> bool:
    return not isinstance(x, NUMBERS) and name_of(x) is not None


def _as_constant(x: Any) -> Any:
    """An array among the arguments as a constant, so that its namespace records; anything else as it is."""
    return constant(x) if _is_array(x) else x


def _as_variable(x: Array) -> Variable:
    return x if isinstance(x, Variable) else constant(x)


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same dicts, lists and tuples, with the function of each of their leaves."""
    if isinstance(tree, dict):
        return {key: _map(function, part) for key, part in tree.items()}
    if isinstance(tree, list | tuple):
        parts = [_map(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return function(tree)


def _leaves(tree: Any) -> list[Any]:
    found: list[Any] = []
    _map(found.append, tree)
    return [x.value if isinstance(x, Variable) else x for x in found]
