"""Addresses of the stand-in's arrays, as libraries are given that C calls."""

import ctypes
import weakref

import numpy as np

#: Those that somebody asked for, and what is there.
_known = {}


def address(x):
    found = x._memory.ctypes.data
    _known[found] = weakref.ref(x)
    return found


def at_address(pointer, dtype):
    """What is there for a library that is given addresses: one number, and the array that somebody has there."""
    x = _known[pointer]() if pointer in _known else None
    if x is None:
        raise RuntimeError(f"nobody has an array at {pointer} any more")
    return np.frombuffer((ctypes.c_byte * x.itemsize).from_address(pointer), dtype), x
