"""Functions of entries by themselves, with their derivatives."""

from __future__ import annotations

import cmath
import operator
from math import log, nan
from typing import Any

from xpnet._typing import Array
from xpnet.graph.operations import Operation, Pullback, add, as_floating, cast, conjugate, is_complex, unbroadcast

# --- two operands ------------------------------------------------------------------------------------------------

_NUMBERS = (bool, int, float, complex)


def _power_base(xp: Any, g: Array, y: Array, a: Array, b: Any) -> Array:
    if isinstance(b, _NUMBERS):
        return g * (2 * a if b == 2 else b * a ** (b - 1)) if b else xp.zeros_like(g)
    b = as_floating(xp, b, y)
    return g * xp.where(b == 0, xp.zeros_like(y), b * a ** xp.where(b == 0, xp.ones_like(b), b - 1))


def _power_exponent(xp: Any, g: Array, y: Array, a: Any, b: Array) -> Array:
    if isinstance(a, complex):
        return g * y * cmath.log(a)
    if isinstance(a, int | float):
        return g * y * (log(a) if a > 0 else 0.0 if a == 0 else nan)
    a = as_floating(xp, a, y)
    return g * y * xp.log(xp.where(a == 0, xp.ones_like(a), a))  # 0^b stays 0 around b > 0


def _share(xp: Any, g: Array, y: Array, mine: Any, other: Any) -> Array:
    """g where this operand is the larger or smaller one; half of it at a tie, as from either side."""
    return xp.where(mine != y, xp.zeros_like(g), xp.where(other == y, 0.5 * g, g))


def _first(xp: Any, g: Array, y: Array, a: Any, b: Any) -> Array:
    return _share(xp, g, y, a, b)


def _second(xp: Any, g: Array, y: Array, a: Any, b: Any) -> Array:
    return _share(xp, g, y, b, a)


def _weight(xp: Any, g: Array, y: Array, mine: Any, other: Any) -> Array:
    """g times exp(mine) / exp(y); where y is infinite, what the maximum has."""
    infinite = xp.isinf(y)
    return xp.where(infinite, _share(xp, g, y, mine, other), g * xp.exp(xp.where(infinite, xp.zeros_like(y), mine - y)))


def _turned(xp: Any, g: Array, a: Array, b: Array) -> Array:
    """g a / (a² + b²), where the squares of what can be held cannot."""
    length = xp.hypot(a, b)
    return g * (a / length / length)


def _binary(name: str, symbol: str, compute: Any, *pullbacks: Pullback | None) -> Operation:
    return add(name, *pullbacks, symbol=symbol, compute=compute, spreads=True)


ADD = _binary("add", "+", operator.add, lambda xp, g, y, a, b: g, lambda xp, g, y, a, b: g)
SUBTRACT = _binary(
    "subtract", "-", operator.sub, lambda xp, g, y, a, b: g, lambda xp, g, y, a, b: -unbroadcast(xp, g, b)
)
MULTIPLY = _binary("multiply", "*", operator.mul, lambda xp, g, y, a, b: g * b, lambda xp, g, y, a, b: g * a)
DIVIDE = _binary("divide", "/", operator.truediv, lambda xp, g, y, a, b: g / b, lambda xp, g, y, a, b: -g * (y / b))
POW = _binary("pow", "**", operator.pow, _power_base, _power_exponent)
REMAINDER = _binary(
    "remainder", "%", operator.mod, lambda xp, g, y, a, b: g, lambda xp, g, y, a, b: -g * xp.floor_divide(a, b)
)
FLOOR_DIVIDE = _binary("floor_divide", "//", operator.floordiv)
_binary("maximum", "", None, _first, _second)
_binary("minimum", "", None, _first, _second)
_binary("logaddexp", "", None, _weight, lambda xp, g, y, a, b: _weight(xp, g, y, b, a))


def _side(xp: Any, g: Array, y: Array, side: Any) -> Array:
    """g side / y; 0 where both are 0, as of any norm."""
    nowhere = y == 0
    return g * xp.where(nowhere, xp.zeros_like(y), side / xp.where(nowhere, xp.ones_like(y), y))


_binary("hypot", "", None, lambda xp, g, y, a, b: _side(xp, g, y, a), lambda xp, g, y, a, b: _side(xp, g, y, b))
_binary("atan2", "", None, lambda xp, g, y, a, b: _turned(xp, g, b, a), lambda xp, g, y, a, b: _turned(xp, -g, a, b))


def _copied_sign(xp: Any, g: Array, y: Array, a: Array, b: Any) -> Array:
    """g where the sign stayed as it was, -g where it was turned."""
    one = xp.ones_like(y)
    return g * (xp.copysign(one, a) * xp.copysign(one, y))


_binary("copysign", "", None, _copied_sign)
add("nextafter", spreads=True)
add(
    "where",
    None,
    lambda xp, g, y, c, a, b: xp.where(c, g, xp.zeros_like(g)),
    lambda xp, g, y, c, a, b: xp.where(c, xp.zeros_like(g), g),
    spreads=True,
)
EQUAL = _binary("equal", "==", operator.eq)
NOT_EQUAL = _binary("not_equal", "!=", operator.ne)
LESS = _binary("less", "<", operator.lt)
LESS_EQUAL = _binary("less_equal", "<=", operator.le)
GREATER = _binary("greater", ">", operator.gt)
GREATER_EQUAL = _binary("greater_equal", ">=", operator.ge)
AND = _binary("logical_and", "and", None)
OR = _binary("logical_or", "or", None)
XOR = _binary("logical_xor", "xor", None)
BITS_AND = _binary("bitwise_and", "&", operator.and_)
BITS_OR = _binary("bitwise_or", "|", operator.or_)
BITS_XOR = _binary("bitwise_xor", "^", operator.xor)
SHIFT_LEFT = _binary("bitwise_left_shift", "<<", operator.lshift)
SHIFT_RIGHT = _binary("bitwise_right_shift", ">>", operator.rshift)

# --- one operand -------------------------------------------------------------------------------------------------


def _length(xp: Any, g: Array, y: Array, x: Array) -> Array:
    if not is_complex(xp, x.dtype):
        return g * xp.sign(x)
    nowhere = y == 0
    return xp.where(nowhere, 0 * x, g * xp.conj(x) / xp.where(nowhere, xp.ones_like(y), y))


def _direction(xp: Any, g: Array, y: Array, x: Array) -> Array:
    """Of x / |x| for complex numbers: what turns it, and nothing along it."""
    length = xp.abs(x)
    nowhere = length == 0
    length = xp.where(nowhere, xp.ones_like(length), length)
    return xp.where(nowhere, 0 * x, (g - xp.conj(y) * xp.real(g * y)) / length)


NEGATIVE = add("negative", lambda xp, g, y, x: -g, symbol="-", compute=operator.neg)
POSITIVE = add("positive", lambda xp, g, y, x: g, symbol="+", compute=operator.pos)
ABS = add("abs", _length, symbol="|x|", compute=abs)
add("exp", lambda xp, g, y, x: g * y)
add("expm1", lambda xp, g, y, x: g * xp.exp(x))
add("log", lambda xp, g, y, x: g / x)
add("log1p", lambda xp, g, y, x: g / (1 + x))
add("log2", lambda xp, g, y, x: g / (log(2) * x))
add("log10", lambda xp, g, y, x: g / (log(10) * x))
add("sqrt", lambda xp, g, y, x: 0.5 * g / y)
add("square", lambda xp, g, y, x: g * (2 * x), symbol="**2")
add("reciprocal", lambda xp, g, y, x: -g * (y * y), symbol="1/x")
add("sin", lambda xp, g, y, x: g * xp.cos(x))
add("cos", lambda xp, g, y, x: -g * xp.sin(x))
add("tan", lambda xp, g, y, x: g * (1 + y * y))
add("sinh", lambda xp, g, y, x: g * xp.cosh(x))
add("cosh", lambda xp, g, y, x: g * xp.sinh(x))
add("tanh", lambda xp, g, y, x: g * (1 - y * y))
add("asin", lambda xp, g, y, x: g / xp.sqrt(1 - x * x))
add("acos", lambda xp, g, y, x: -g / xp.sqrt(1 - x * x))
add("atan", lambda xp, g, y, x: g / (1 + x * x))
add(
    "asinh",
    lambda xp, g, y, x: g / (xp.sqrt(x * x + 1) if is_complex(xp, x.dtype) else xp.hypot(x, xp.ones_like(x))),
)
add("acosh", lambda xp, g, y, x: g / (xp.sqrt(x - 1) * xp.sqrt(x + 1)))
add("atanh", lambda xp, g, y, x: g / (1 - x * x))
add("conj", lambda xp, g, y, x: conjugate(xp, g))
add("real", lambda xp, g, y, x: xp.astype(g, x.dtype))
add("imag", lambda xp, g, y, x: -1j * xp.astype(g, x.dtype) if is_complex(xp, x.dtype) else xp.zeros_like(x))
ASTYPE = add(
    "astype",
    lambda xp, g, y, x, dtype, copy=True: cast(xp, g, x.dtype),
    options=("dtype", "copy"),
    own=True,
)
#: To integers or booleans: nothing comes back.
TO_EXACT = Operation("astype", (None,), options=("dtype", "copy"), own=True)
#: The direction of complex numbers; of real ones the sign, which changes nowhere that has a derivative.
DIRECTION = Operation("sign", (_direction,))
for _name in ("sign", "floor", "ceil", "trunc", "round", "isfinite", "isnan", "isinf", "signbit"):
    add(_name, None)
NOT = add("logical_not", None, symbol="not")
BITS_NOT = add("bitwise_invert", None, symbol="~", compute=operator.invert)
