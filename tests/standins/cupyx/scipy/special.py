"""Special functions of SciPy, for arrays of the stand-in."""

import scipy.special
from cupy._arrays import Function


def __getattr__(name):
    return Function(name, getattr(scipy.special, name))
