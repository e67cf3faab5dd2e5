"""The namespace of a variable has what the standard has: every function, with its signature, for every dtype."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from xpnet import get_backend, namespace
from xpnet.graph import Variable, constant

strict = pytest.importorskip("array_api_strict")

FOLDERS = ("", "linalg", "fft")
#: What is no function of the standard, or NumPy's users want more of: "dtype" by its place, "UPLO".
OTHER = ("get_array_api_strict_flags", "set_array_api_strict_flags", "reset_array_api_strict_flags")
MORE = {
    "asarray",
    "eigh",
    "svd",
    "astype",
    "zeros_like",
    "ones_like",
    "empty_like",
    "full_like",
    "broadcast_shapes",
    "take",
}
MAKE = {"arange", "empty", "eye", "from_dlpack", "full", "linspace", "ones", "zeros", "fftfreq", "rfftfreq", "meshgrid"}
ASK = {"isdtype", "broadcast_shapes", "can_cast", "finfo", "iinfo", "result_type", "asarray", "empty_like"}
ARGUMENTS = {
    "astype": lambda xp, x: (x, xp.float64),
    "broadcast_to": lambda xp, x: (x, (2, 3, 3)),
    "broadcast_arrays": lambda xp, x: (x, x[:1, :]),
    "concat": lambda xp, x: ([x, x],),
    "stack": lambda xp, x: ([x, x],),
    "expand_dims": lambda xp, x: (x, 1),
    "squeeze": lambda xp, x: (x[:1, :], 0),
    "moveaxis": lambda xp, x: (x, 0, 1),
    "permute_dims": lambda xp, x: (x, (1, 0)),
    "repeat": lambda xp, x: (x, 2),
    "reshape": lambda xp, x: (x, (9,)),
    "roll": lambda xp, x: (x, 1),
    "tile": lambda xp, x: (x, (2, 1)),
    "take": lambda xp, x: (x[0, :], xp.asarray([2, 0])),
    "take_along_axis": lambda xp, x: (x, xp.asarray([[2, 0]])),
    "where": lambda xp, x: (xp.asarray(np.eye(3) > 0), x, x),
    "full_like": lambda xp, x: (x, 2),
    "searchsorted": lambda xp, x: (x[0, :], x[1, :]),
    "clip": lambda xp, x: (x, 1, 3),
    "matrix_power": lambda xp, x: (x, 2),
    "outer": lambda xp, x: (x[0, :], x[1, :]),
}
DTYPES = ["bool", "int8", "uint8", "int32", "int64", "uint64", "float32", "float64", "complex64", "complex128"]


def functions(folder):
    where = getattr(strict, folder) if folder else strict
    names = [name for name in where.__all__ if name not in OTHER and not name.startswith("_")]
    names = [name for name in names if inspect.isfunction(getattr(where, name))]
    return [(name, getattr(where, name)) for name in names]


ALL = [(folder, name, f) for folder in FOLDERS for name, f in functions(folder)]


def in_folder(xp, folder, name):
    return getattr(getattr(xp, folder) if folder else xp, name)


@pytest.mark.parametrize(("folder", "name", "theirs"), ALL, ids=[f"{a}.{b}" for a, b, _ in ALL])
def test_signatures(folder, name, theirs):
    xp = namespace(constant(np.ones(2)))
    ours, wanted = (
        [(p.name, p.kind) for p in inspect.signature(f).parameters.values() if p.kind is not p.VAR_KEYWORD]
        for f in (in_folder(xp, folder, name), theirs)
    )
    if name in MORE:
        assert {p for p, _ in wanted} <= {p for p, _ in ours} or name == "broadcast_shapes"
    else:
        assert ours == wanted


def values(y):
    if isinstance(y, tuple | list):
        return [part for each in y for part in values(each)]
    return [y]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("library", ["numpy", "strict"])
def test_constants_of_every_dtype(dtype, library, rng):
    """What the library computes of values is what its functions of constants have for values, in the same dtype."""
    b = get_backend(library)
    host = rng.integers(0, 5, (3, 3)).astype(dtype)
    x = b.asarray(host + (np.eye(3) * 2).astype(dtype) if dtype != "bool" else host)
    tried = 0
    for folder, name, f in ALL:
        if name in MAKE | ASK:
            continue
        count = sum(p.kind is p.POSITIONAL_ONLY for p in inspect.signature(f).parameters.values())
        arguments = ARGUMENTS[name](b.xp, x) if name in ARGUMENTS else (x,) * count
        for options in ({}, {"axis": 0}, {"axis": 1, "keepdims": True}):
            if options.keys() - set(inspect.signature(f).parameters) or (
                name.startswith(("tensordot", "take")) and options
            ):
                continue
            try:
                with np.errstate(all="ignore"):
                    wanted = values(in_folder(b.xp, folder, name)(*arguments, **options))
            except (TypeError, ValueError, np.linalg.LinAlgError, np.exceptions.ComplexWarning):
                continue
            given = [
                [constant(part) for part in a]
                if isinstance(a, list)
                else constant(a)
                if hasattr(a, "ndim") and not isinstance(a, type)
                else a
                for a in arguments
            ]
            with np.errstate(all="ignore"):
                found = values(in_folder(namespace(constant(x)), folder, name)(*given, **options))
            label = f"{folder}.{name} {options}"
            assert len(found) == len(wanted), label
            for y, w in zip(found, wanted, strict=True):
                assert isinstance(y, Variable), label
                w = w if hasattr(w, "dtype") else b.xp.asarray(w)  # some libraries count in Python's integers
                assert (y.dtype, y.shape) == (w.dtype, tuple(w.shape)), label
                np.testing.assert_allclose(b.to_numpy(y.value), b.to_numpy(w), rtol=1e-6, atol=1e-6, err_msg=label)
            tried += 1
    assert tried > 40
