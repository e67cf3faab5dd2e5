"""An array library of the tests' own: NumPy's arrays in boxes that nothing but this module opens."""

from __future__ import annotations

import operator
import sys

import array_api_compat.numpy as library
import numpy as np

__version__ = "0.5"


class Box:
    """An array of the standard, on the device ``"shelf"``."""

    __slots__ = ("content",)
    __array_ufunc__ = None
    device = "shelf"

    def __init__(self, content):
        self.content = np.asarray(content)

    def __array_namespace__(self, *, api_version=None):
        return sys.modules[__name__]

    def __array__(self, dtype=None, copy=None):
        raise TypeError("a box is opened by nobody else")

    def __getitem__(self, key):
        return Box(self.content[opened(key)])

    def __setitem__(self, key, value):
        self.content[opened(key)] = opened(value)

    shape, dtype, ndim, size = (
        property(lambda self, name=name: getattr(self.content, name)) for name in ("shape", "dtype", "ndim", "size")
    )
    mT = property(lambda self: Box(self.content.mT))  # noqa: N815


def opened(x):
    if isinstance(x, list | tuple):
        return type(x)(map(opened, x))
    return x.content if isinstance(x, Box) else x


def boxed(x):
    return Box(x) if isinstance(x, np.ndarray | np.generic) else x


def _method(function):
    return lambda *args: boxed(function(*map(opened, args)))


def _in_place(function):
    def method(self, other):
        self.content = function(self.content, opened(other))
        return self

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor"):
    _function, _plain = getattr(operator, _name), _name.rstrip("_")
    setattr(Box, f"__{_plain}__", _method(_function))
    setattr(Box, f"__r{_plain}__", _method(lambda a, b, f=_function: f(b, a)))
    setattr(Box, f"__i{_plain}__", _in_place(getattr(operator, "i" + _plain)))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert"):
    setattr(Box, f"__{_name}__", _method(getattr(operator, _name)))
for _name, _kind in {"bool": bool, "int": int, "float": float, "index": operator.index}.items():
    setattr(Box, f"__{_name}__", lambda self, kind=_kind: kind(self.content))


class Info:
    def dtypes(self, *, device=None, kind=None):
        return library.__array_namespace_info__().dtypes(device=None, kind=kind)


def __array_namespace_info__():  # noqa: N807
    return Info()


def __getattr__(name):
    found = getattr(library, name)
    if name.startswith("_") or isinstance(found, type | np.dtype) or not callable(found):
        return found

    def function(*args, device=None, **options):
        assert device in (None, "shelf")
        result = found(*map(opened, args), **{key: opened(value) for key, value in options.items()})
        return tuple(map(boxed, result)) if isinstance(result, tuple | list) else boxed(result)

    return function
