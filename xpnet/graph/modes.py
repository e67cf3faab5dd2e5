"""Other ways to differentiate than one gradient: products with vectors, whole matrices, entry by entry.

All of them are one sweep of :mod:`xpnet.graph.reverse` after another. Forward mode is a gradient of a gradient: what
:func:`vjp` gives is linear in its seed, and the derivative with respect to that is the product from the other side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import prod
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import describe, dtype_name, on_device_of
from xpnet.graph.operations import kind_of_dtype
from xpnet.graph.recording import holds_variable
from xpnet.graph.reverse import Ancestry, Gradients, as_variable, seed_for, sweep
from xpnet.graph.transforms import called, grad, pulled_back
from xpnet.graph.trees import leaves_of, mapped, rebuilt
from xpnet.graph.variable import Variable, variable


def _outputs(y: Any, leaves: list[Variable]) -> list[Variable]:
    """The leaves of what f returned as variables; what does not depend on anything as a constant."""
    return [_output(part, leaves) for part in leaves_of(y)]


def _output(part: Any, leaves: list[Variable]) -> Variable:
    if isinstance(part, Variable):
        return part
    kind = type(leaves[0])
    if hasattr(part, "tolist") and dtype_name(part.dtype) == "object":  # variables that NumPy put into an array
        part = part.tolist()
    if holds_variable(part):
        return kind.xp.asarray(part)  # type: ignore[no-any-return]
    try:
        array = kind.library.asarray(part)
    except (TypeError, ValueError):
        array = None
    if array is None or not kind_of_dtype(kind.library, array.dtype):
        raise TypeError(f"f returned a value {describe(part)}, expected arrays")
    return as_variable(array, kind)  # type: ignore[return-value]


def vjp(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """f(*primals), and a function from v to the products vᵀ J with the Jacobians of f: one for each argument.

    >>> import numpy as np
    >>> y, pull = vjp(lambda x: x**2, np.asarray([3.0, 4.0]))
    >>> y, pull(np.asarray([1.0, 10.0]))
    (array([ 9., 16.]), (array([ 6., 80.]),))

    Args:
        f: as for :func:`xpnet.graph.grad`, and it may return an array of any shape, or dicts, lists and tuples of them.
        primals: its arguments, each to be differentiated with respect to.

    Returns:
        The value, and a function that takes v, built and shaped like it, and returns a tuple as long as the arguments.
        It may be called again.
    """
    y, leaves, _ = called(f, tuple(range(len(primals))), primals, {})
    ends = _outputs(y, leaves)
    outer = Ancestry(ends, leaves[0].serial).outer

    def pull(v: Any) -> tuple[Any, ...]:
        seeds = leaves_of(v)
        if len(seeds) != len(ends):
            raise ValueError(f"v has {len(seeds)} arrays, and f returned {len(ends)}")
        _, found = pulled_back(ends, leaves, seeds)
        gradients = iter(found)
        return tuple(rebuilt(x, gradients) for x in primals)

    return rebuilt(y, iter(ends if outer else [end.value for end in ends])), pull


def jvp(f: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """f(*primals), and the product J t of its Jacobian with tangents: the derivative along them.

    >>> import numpy as np
    >>> jvp(lambda x: x**2, (np.asarray([3.0, 4.0]),), (np.asarray([1.0, 10.0]),))
    (array([ 9., 16.]), array([ 6., 80.]))

    Args:
        f: as for :func:`vjp`.
        primals, tangents: tuples of as many arguments, of the same build and shapes.
    """
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise TypeError("jvp takes a tuple of arguments and a tuple of tangents: jvp(f, (x,), (t,))")
    y, leaves, _ = called(f, tuple(range(len(primals))), tuple(primals), {})
    ends, ways = _outputs(y, leaves), leaves_of(list(tangents))
    if len(ways) != len(leaves):
        raise ValueError(f"there are {len(ways)} tangents for {len(leaves)} arrays")
    outer = Ancestry(ends, leaves[0].serial).outer or any(isinstance(t, Variable) and t.differentiable for t in ways)
    seeds = [variable(end.library.zeros_like(end.value)) for end in ends]
    _, linear = pulled_back(ends, leaves, seeds)
    starts: Gradients = {}
    for g, t in zip(linear, ways, strict=True):  # one of them may stand for several arrays
        if g.differentiable:
            start = seed_for(g, t)
            start = start.value if isinstance(start, Variable) and not outer else start
            starts[g.serial] = starts[g.serial] + start if g.serial in starts else start
    moving = list({g.serial: g for g in linear if g.serial in starts}.values())
    order = [v for v in Ancestry(moving, seeds[0].serial).order if v.serial >= seeds[0].serial] if moving else []
    keep = {seed.serial for seed in seeds}
    found = sweep(order, starts, again=outer, keep=keep) if order else {}
    slopes = [found[s.serial] if s.serial in found else s.library.zeros_like(s.value) for s in seeds]
    values: list[Any] = list(ends) if outer else [end.value for end in ends]
    return rebuilt(y, iter(values)), rebuilt(y, iter(slopes))


def jacobian(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns the derivatives of all entries of f with respect to all entries of an argument.

    >>> import numpy as np
    >>> jacobian(lambda x: x**2)(np.asarray([3.0, 4.0]))
    array([[6., 0.],
           [0., 8.]])

    Args:
        f: as for :func:`vjp`.
        argnums: the argument, or arguments, to differentiate with respect to.

    Returns:
        A function of the same arguments. For an array it returns an array of the shape of f's and that of the argument,
        one after the other; for other builds, the build of f's result, with that of the arguments in each place.
    """

    @functools.wraps(f)
    def differentiated(*args: Any, **options: Any) -> Any:
        y, leaves, numbers = called(f, argnums, args, options)
        rows = iter([_rows(end, leaves) for end in _outputs(y, leaves)])

        def of_one(_: Any) -> Any:
            parts = iter(next(rows))
            found = tuple(rebuilt(args[i], parts) for i in numbers)
            return found[0] if isinstance(argnums, int) else found

        return mapped(of_one, y)

    return differentiated


def _rows(y: Variable, leaves: list[Variable]) -> list[Array]:
    """The Jacobians of y with respect to each leaf, a sweep for each of its entries."""
    with on_device_of(y.value):
        xp, n = y.library, prod(y.shape)
        eye = xp.reshape(xp.eye(n, dtype=y.dtype, device=y.device), (n, *y.shape))
        found = [pulled_back([y], leaves, [eye[i, ...]])[1] for i in range(n)]
        made = []
        for k, v in enumerate(leaves):
            rows = [row[k] for row in found]
            space = (*y.shape, *v.shape)
            made.append(y.xp.reshape(y.xp.stack(rows), space) if n else xp.zeros(space, dtype=v.dtype, device=v.device))
        return made


def hessian(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns all second derivatives of f, which returns one number: the Jacobian of its gradient.

    >>> import numpy as np
    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.asarray([3.0, 4.0]))
    array([[8., 6.],
           [6., 0.]])
    """
    return jacobian(grad(f, argnums), argnums)


def hvp(f: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """A function of the arguments of f and a vector v, which returns H v: second derivatives, without the matrix.

    >>> import numpy as np
    >>> hvp(lambda x: x[0] ** 2 * x[1])(np.asarray([3.0, 4.0]), np.asarray([1.0, 0.0]))
    array([8., 6.])
    """

    @functools.wraps(f)
    def product(*args: Any, **options: Any) -> Any:
        *args_of_f, v = args
        number = argnums % len(args_of_f)

        def slope(x: Any) -> Any:
            return grad(f, number)(*args_of_f[:number], x, *args_of_f[number + 1 :], **options)

        return vjp(slope, args_of_f[number])[1](v)[0]

    return product


def elementwise_grad(f: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns the derivative of each entry of f, where it depends on that entry of the argument alone.

    >>> import numpy as np
    >>> elementwise_grad(lambda x: x**2)(np.asarray([3.0, 4.0]))
    array([6., 8.])

    Where entries depend on others too, it is the sum over all entries of f.
    """

    @functools.wraps(f)
    def differentiated(*args: Any, **options: Any) -> Any:
        y, leaves, numbers = called(f, argnums, args, options)
        ends = _outputs(y, leaves)
        ones = [end.library.ones_like(end.value) for end in ends]
        gradients = iter(pulled_back(ends, leaves, ones)[1])
        found = tuple(rebuilt(args[i], gradients) for i in numbers)
        return found[0] if isinstance(argnums, int) else found

    return differentiated
