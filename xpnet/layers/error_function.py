"""The complementary error function, which the standard lacks."""

from __future__ import annotations

from math import pi, sqrt

from xpnet._typing import Array
from xpnet.backends.dispatch import namespace

SMALL = (3.16112374387056560e00, 1.13864154151050156e02, 3.77485237685302021e02, 3.20937758913846947e03)
SMALL_LEADS = 1.85777706184603153e-1
SMALL_BELOW = (2.36012909523441209e01, 2.44024637934444173e02, 1.28261652607737228e03, 2.84423683343917062e03)
MIDDLE = (
    *(5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e01, 2.98635138197400131e02),
    *(8.81952221241769090e02, 1.71204761263407058e03, 2.05107837782607147e03, 1.23033935479799725e03),
)
MIDDLE_LEADS = 2.15311535474403846e-8
MIDDLE_BELOW = (
    *(1.57449261107098347e01, 1.17693950891312499e02, 5.37181101862009858e02, 1.62138957456669019e03),
    *(3.29079923573345963e03, 4.36261909014324716e03, 3.43936767414372164e03, 1.23033935480374942e03),
)
LARGE: tuple[float, ...] = (
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
)
LARGE += (6.58749161529837803e-4,)
LARGE_LEADS = 1.63153871373020978e-2
LARGE_BELOW: tuple[float, ...] = (
    2.56852019228982242e00,
    1.87295284992346725e00,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
)
LARGE_BELOW += (2.33520497626869185e-3,)


def erfc(x: Array) -> Array:
    """2/√π times the integral of exp(-t²) from x to infinity; any shape, to a few units in the last place.

    Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969).

    >>> import numpy as np
    >>> erfc(np.asarray([-1.0, 0.0, 1.0, 5.0]))
    array([1.84270079e+00, 1.00000000e+00, 1.57299207e-01, 1.53745979e-12])
    """
    xp = namespace(x)
    size = xp.abs(x)
    near, far = xp.minimum(size, xp.full_like(x, 0.46875)), xp.maximum(size, xp.full_like(x, 4.0))
    between = xp.minimum(xp.maximum(size, xp.full_like(x, 0.46875)), xp.full_like(x, 4.0))
    within = near * _ratio(near * near, SMALL, SMALL_LEADS, SMALL_BELOW)
    inverse = 1 / (far * far)
    tail = (1 / sqrt(pi) - inverse * _ratio(inverse, LARGE, LARGE_LEADS, LARGE_BELOW)) / far
    beyond = xp.where(size <= 4, _ratio(between, MIDDLE, MIDDLE_LEADS, MIDDLE_BELOW), tail)
    rounded = xp.floor(size * 16) / 16  # whose square is exact, so that exp keeps its digits
    beyond *= xp.exp(-rounded * rounded) * xp.exp(-(size - rounded) * (size + rounded))
    return xp.where(size <= 0.46875, 1 - xp.where(x < 0, -within, within), xp.where(x < 0, 2 - beyond, beyond))


def _ratio(x: Array, above: tuple[float, ...], leads: float, below: tuple[float, ...]) -> Array:
    numerator, denominator = leads * x, x
    for a, b in zip(above[:-1], below[:-1], strict=True):
        numerator, denominator = (numerator + a) * x, (denominator + b) * x
    return (numerator + above[-1]) / (denominator + below[-1])
