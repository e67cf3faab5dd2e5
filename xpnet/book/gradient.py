"""The book's numerical gradient: f is called with x itself, moved in place, as f may see x without its argument."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import backend_of, describe, dtype_name, namespace
from xpnet.book.moves import through_layers

#: The book's step.
H = 1e-4


def numerical_gradient(f: Callable[[Array], Any], x: Array) -> Array:
    """(f(x + h) - f(x - h)) / 2h for each entry of x, h = 1e-4, x of any shape.

    f is called with x, one entry of which is moved in place and put back afterwards, also where f raises: so f may be
    ``lambda _: net.loss(x, t)`` and x one of the network's parameters. Where x is a parameter of one of the book's
    layers, and f the loss of a chain of these, f is called a few times only: what moving an entry does to the output of
    that layer is known, and the layers behind it compute many moves at once. That this gives f's values is tried out
    before it is relied on; see :mod:`xpnet.book.moves`.

    Raises:
        TypeError: x is no array of floating-point numbers, or one that cannot be changed in place.

    >>> import numpy as np
    >>> numerical_gradient(lambda x: x[0] ** 2 + x[1] ** 2, np.asarray([3.0, 4.0])).round(8)
    array([6., 8.])
    """
    _check(x)
    found = through_layers(f, x, H)
    return _one_by_one(f, x, x) if found is None else found


def numerical_gradient_2d(f: Callable[[Array], Any], X: Array) -> Array:
    """The same for an x (D,), or for each row of X (N, D): f is called with that row.

    >>> import numpy as np
    >>> numerical_gradient_2d(lambda x: x[0] * x[1], np.asarray([[1.0, 2.0], [3.0, 4.0]])).round(8)
    array([[2., 1.],
           [4., 3.]])
    """
    _check(X)
    return _one_by_one(f, X, X) if X.ndim < 2 else namespace(X).stack([_one_by_one(f, row, row) for row in X])


def _one_by_one(f: Callable[[Array], Any], x: Array, given: Array) -> Array:
    slopes = []
    flat = x.reshape(-1) if getattr(getattr(x, "flags", None), "c_contiguous", False) else None
    entries: Any = range(flat.shape[0]) if flat is not None else product(*map(range, x.shape))
    where = x if flat is None else flat  # the same memory, with one number for an index
    for entry in entries:
        before = float(where[entry])
        try:
            where[entry] = before + H
            above = _number(f(given))
            where[entry] = before - H
            below = _number(f(given))
        finally:
            where[entry] = before
        slopes.append((above - below) / (2 * H))
    xp = namespace(x)
    return xp.reshape(backend_of(x).asarray(slopes, dtype_name(x.dtype)), x.shape)


def _number(value: Any) -> float:
    return float(value.item() if hasattr(value, "item") else value)


def _check(x: Any) -> None:
    advice = "np.array(x, dtype=float) makes one"
    try:
        xp = namespace(x)
    except TypeError:
        raise TypeError(f"numerical_gradient: x is {describe(x)}, expected an array of numbers; {advice}") from None
    if not xp.isdtype(x.dtype, "real floating"):
        raise TypeError(f"numerical_gradient: x is {dtype_name(x.dtype)}, which a small step cannot move; {advice}")
    if not backend_of(x).in_place or getattr(getattr(x, "flags", None), "writeable", True) is False:
        raise TypeError(
            "numerical_gradient: x cannot be changed in place, which is what the book's does; "
            "xpnet.numerical_gradient gives f copies of x"
        )
