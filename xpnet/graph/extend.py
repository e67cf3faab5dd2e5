"""Functions of one's own in the graph: with a derivative that one writes, or computed again to save memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from xpnet._typing import Array
from xpnet.backends.dispatch import name_of
from xpnet.graph.modes import vjp
from xpnet.graph.operations import Operation
from xpnet.graph.recording import FOREIGN
from xpnet.graph.trees import leaves_of, rebuilt
from xpnet.graph.variable import Variable, constant, record
from xpnet.graph.wrapper import NUMBERS

#: ``maker(y, *args, **options)`` returns ``g -> gradient``, as autograd's users write it.
Maker = Callable[..., Callable[[Array], Array]]


class Primitive:
    """A function that is recorded as one operation; see :func:`primitive`."""

    def __init__(self, f: Callable[..., Any], name: str | None = None, *, spreads: bool = False) -> None:
        functools.update_wrapper(self, f, updated=())
        self.f, self.spreads = f, spreads
        self.name = name or str(getattr(f, "__name__", "function"))
        self.makers: dict[int, Maker | None] = {}
        self.whole = Operation(self.name, _Pullbacks(self, None), compute=f, spreads=spreads)

    def defvjp(self, *makers: Maker | None, argnums: Any = None) -> Primitive:
        """Say what the pullbacks are; see :func:`defvjp`."""
        self.makers.update(zip(range(len(makers)) if argnums is None else argnums, makers, strict=True))
        return self

    def __call__(self, *args: Any, **options: Any) -> Any:
        places = tuple(i for i, x in enumerate(args) if isinstance(x, Variable) or name_of(x) is not None)
        if not any(isinstance(args[i], Variable) for i in places):
            return self.f(*args, **options)
        if len(places) == len(args) or all(isinstance(x, (Variable, *NUMBERS)) or name_of(x) for x in args):
            return record(self.whole, args, options)

        def filled(arrays: Any) -> list[Any]:
            found = list(args)
            for i, x in zip(places, arrays, strict=True):
                found[i] = x
            return found

        pullbacks = _Pullbacks(self, places, filled)
        operation = Operation(self.name, pullbacks, compute=lambda *a, **o: self.f(*filled(a), **o))
        return record(operation, tuple(args[i] for i in places), options)

    def pullback(self, i: int, filled: Any = list) -> Callable[..., Array] | None:
        """The pullback to argument i in the form of the table; None where it is said that there is none."""
        if self.makers.get(i, 0) is None:
            return None
        maker = self.makers.get(i)

        def pull(xp: Any, g: Array, y: Array, *args: Any, **options: Any) -> Array:
            if maker is None:
                raise NotImplementedError(
                    f"{self.name} has no derivative with respect to argument {i}; give one with "
                    f"defvjp({self.name}, lambda y, *args: lambda g: ...)"
                )
            return maker(y, *filled(args), **options)(g)

        return pull

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


class _Pullbacks(tuple):  # type: ignore[type-arg]
    """The pullbacks of a primitive, which are looked up when they are needed: they may be given later."""

    owner: Primitive
    places: tuple[int, ...] | None

    def __new__(cls, owner: Primitive, places: tuple[int, ...] | None, filled: Any = list) -> _Pullbacks:
        made = super().__new__(cls)
        made.owner, made.places, made.filled = owner, places, filled  # type: ignore[attr-defined]
        return made

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, i: Any) -> Any:
        return self.owner.pullback(i if self.places is None else self.places[i], self.filled)  # type: ignore[attr-defined]


def primitive(f: Callable[..., Any]) -> Primitive:
    """Record a function as one operation, with the derivative that is given by ``defvjp``.

    >>> import numpy as np
    >>> from xpnet.graph import grad
    >>> @primitive
    ... def softplus(x):
    ...     return np.log1p(np.exp(-abs(x))) + np.maximum(x, 0)
    >>> softplus.defvjp(lambda y, x: lambda g: g / (1 + np.exp(-x)))
    <primitive softplus>
    >>> float(grad(softplus)(0.0))
    0.5

    Args:
        f: takes arrays, and whatever else, and returns an array. It sees arrays, never variables.

    What is done in the pullback is recorded where gradients of gradients are wanted; there it gets variables.
    """
    return Primitive(f)


def defvjp(f: Any, *makers: Maker | None, argnums: Any = None) -> None:
    """Give the pullbacks of a primitive, or of a ufunc of any library that has none here, ``scipy.special.jv`` say.

    Args:
        f: a :func:`primitive`, or a ufunc.
        makers: for each argument a function of the result and the arguments, that returns a function from the gradient
            of what follows to that with respect to the argument; None where there is no derivative.
        argnums: which arguments these are, if they are not the first ones.

    >>> import numpy as np
    >>> @primitive
    ... def scaled(x, factor):
    ...     return x * factor
    >>> defvjp(scaled, lambda y, x, factor: lambda g: g * factor, None)
    """
    if isinstance(f, Primitive):
        f.defvjp(*makers, argnums=argnums)
        return
    if not hasattr(f, "nin"):
        raise TypeError(f"defvjp is for a primitive or a ufunc; make one of {f!r:.80} first: f = primitive(f)")
    known = FOREIGN.setdefault(f, Primitive(f, f.__name__, spreads=True))
    known.defvjp(*makers, argnums=argnums)


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """f, whose steps are not remembered: on the way back it is computed again, which costs time and saves memory.

    >>> from xpnet.graph import grad
    >>> float(grad(checkpoint(lambda x: x**3))(2.0))
    12.0

    Args:
        f: takes arrays, or dicts, lists and tuples of them, and returns such. What it uses from outside of its
            arguments is constant to it.
    """

    @functools.wraps(f)
    def forgetful(*args: Any, **options: Any) -> Any:
        given = leaves_of(list(args))
        places = [k for k, x in enumerate(given) if isinstance(x, Variable) and x.differentiable]
        if not places:
            return f(*args, **options)
        moving = tuple(given[k] for k in places)

        def inside(*arrays: Any) -> Any:
            full = list(given)
            for k, x in zip(places, arrays, strict=True):
                full[k] = x
            return f(*rebuilt(list(args), iter(full)), **options)

        y = inside(*map(constant, moving))
        values = [x.value if isinstance(x, Variable) else x for x in leaves_of(y)]
        made = [_forgotten(inside, k, value, moving, getattr(f, "__name__", "f")) for k, value in enumerate(values)]
        return rebuilt(y, iter(made))

    return forgetful


def _forgotten(inside: Callable[..., Any], k: int, value: Any, moving: tuple[Variable, ...], name: str) -> Variable:
    """Result number k as one operation of what f was given."""
    last: list[Any] = [None, ()]

    def pullback(i: int, xp: Any, g: Array, y: Array, *inputs: Any) -> Array:
        if last[0] is not g:
            last[:] = g, vjp(lambda *arrays: leaves_of(inside(*arrays))[k], *inputs)[1](g)
        found = last[1][i]
        if i == len(inputs) - 1:
            last[:] = None, ()
        return found

    pullbacks = tuple(functools.partial(pullback, i) for i in range(len(moving)))
    return record(Operation(name, pullbacks, compute=lambda *arrays: value), moving)
