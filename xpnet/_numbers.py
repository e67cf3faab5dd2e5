"""A number for each of several networks, where code that is written for one network has one number."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any


class Numbers:
    """Numbers that are computed with as one is: in Python's precision, until they meet an array.

    An array of several networks (:class:`xpnet.stacked.Stacked`) takes each network's own. A comparison is a bool if it
    comes out alike for all, and else an error; they are true unless all are 0, as what code leaves out where a number
    is 0 changes nothing where it is.

    >>> rates = Numbers([0.1, 0.2])
    >>> 1 - 2 * rates
    Numbers(0.8, 0.6)
    >>> rates > 0.15
    Traceback (most recent call last):
    ValueError: a decision depends on a number that differs between networks: 0.1, 0.2; one_by_one=True trains with it
    """

    __slots__ = ("values",)
    __array_ufunc__ = None

    def __init__(self, values: Iterable[float]) -> None:
        self.values = tuple(map(float, values))

    def each(self, function: Callable[[float], float]) -> Numbers:
        """A function of each."""
        return Numbers(map(function, self.values))

    def __neg__(self) -> Numbers:
        return self.each(operator.neg)

    def __abs__(self) -> Numbers:
        return self.each(abs)

    def is_integer(self) -> bool:
        """Whether all are whole, as a float says of itself; an error if some are."""
        return self._agreed(lambda value, _: value.is_integer(), 0)

    def __bool__(self) -> bool:
        return any(self.values)

    def __hash__(self) -> int:
        return hash(self.values)

    def __repr__(self) -> str:
        shown = [f"{value:.6g}" for value in self.values[:4]]
        return f"Numbers({', '.join(shown)}{', ...' if len(self.values) > 4 else ''})"

    def __float__(self) -> float:
        raise self._differ("one number is asked for, and it")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Numbers):
            return self.values == other.values
        return self._agreed(operator.eq, other) if isinstance(other, int | float) else NotImplemented

    def _agreed(self, compare: Callable[[Any, Any], bool], other: Any) -> bool:
        answers = {compare(a, b) for a, b in _pairs(self, other)}
        if len(answers) > 1:
            raise self._differ("a decision depends on a number that")
        return answers.pop()

    def _differ(self, what: str) -> ValueError:
        shown = repr(self).partition("(")[2][:-1]
        return ValueError(f"{what} differs between networks: {shown}; one_by_one=True trains with it")


def _pairs(a: Numbers, b: Any) -> Iterable[tuple[float, Any]]:
    return zip(a.values, b.values if isinstance(b, Numbers) else (b,) * len(a.values), strict=True)


def _fits(x: Any) -> bool:
    return isinstance(x, Numbers | int | float)


def _operator(compute: Callable[[Any, Any], float]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """An operator with numbers on its left, and one with them on its right."""

    def left(self: Numbers, other: Any) -> Any:
        return Numbers(compute(a, b) for a, b in _pairs(self, other)) if _fits(other) else NotImplemented

    def right(self: Numbers, other: Any) -> Any:
        return Numbers(compute(b, a) for a, b in _pairs(self, other)) if _fits(other) else NotImplemented

    return left, right


def _comparison(compare: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    return lambda self, other: self._agreed(compare, other) if _fits(other) else NotImplemented


for _name, _compute in {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "pow": operator.pow,
}.items():
    for _prefix, _method in zip(("", "r"), _operator(_compute), strict=True):
        setattr(Numbers, f"__{_prefix}{_name}__", _method)
for _name in ("lt", "le", "gt", "ge"):
    setattr(Numbers, f"__{_name}__", _comparison(getattr(operator, _name)))


def each(function: Callable[[float], float], number: Any) -> Any:
    """A function of a number, or of each of several.

    >>> each(abs, -1.0), each(abs, Numbers([-1.0, 2.0]))
    (1.0, Numbers(1, 2))
    """
    return number.each(function) if isinstance(number, Numbers) else function(number)
