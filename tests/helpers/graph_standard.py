"""Recorded functions of the standard that are no operators: rows of shapes, order, products, algebra, transforms."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

from xpnet.backends.dispatch import device, namespace


class Case(NamedTuple):
    """f(xp, *arrays) of these shapes, with entries from ``low`` to ``high``.

    A central difference is right to ``noise`` at best where f computes with larger numbers than it returns.
    """

    f: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    low: float = -2
    high: float = 2
    without: tuple[str, ...] = ()
    costly: bool = False
    noise: float = 0.0


def indices(x, values):
    return namespace(x).asarray(values, device=device(x))


def reduced(name, **options):
    return lambda xp, x: getattr(xp, name)(x, **options)


def regular(xp, x):
    """Matrices that are far from singular."""
    return xp.matmul(x, xp.matrix_transpose(x)) + indices(x, [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.5]])


def both(xp, z):
    """Real and imaginary parts as one real number."""
    return xp.real(z) + 2.0 * xp.imag(z)


def folder(name, function, **options):
    return lambda xp, *arrays: getattr(getattr(xp, name), function)(*arrays, **options)


ROW = (slice(None), 1)
_KEYS = {
    "(1, array)": lambda x: (1, indices(x, [2, 0, 2])),
    "(array, array)": lambda x: (indices(x, [0, 3, 0]), indices(x, [2, 1, 2])),
    "(array, slice, array)": lambda x: (indices(x, [0, 3, 0]), slice(None), indices(x, [1, 1, 0])),
    "(slice, array)": lambda x: (slice(None), indices(x, [2, 2, 0, 1])),
    "(slice, array, slice)": lambda x: (slice(1, 3), indices(x, [-1, 0]), slice(None, 1)),
    "(..., array)": lambda x: (..., indices(x, [1, 0, 1])),
    "(array, None, array)": lambda x: (indices(x, [0, 1]), None, indices(x, [2, 0])),
    "(None, array, ...)": lambda x: (None, indices(x, [1, 0]), ...),
    "array of two axes": lambda x: indices(x, [[0, 1], [3, 3]]),
    "arrays that spread": lambda x: (indices(x, [[0], [2]]), indices(x, [1, 2, 1])),
    "(array, 1)": lambda x: (indices(x, [0, 2]), 1),
    "(array, ..., 0)": lambda x: (indices(x, [0, 2]), ..., 0),
    "a mask of one axis": lambda x: indices(x, [True, False, True, True]),
    "(slice, mask)": lambda x: (slice(None), indices(x, [True, False, True])),
    "a mask and an array": lambda x: (indices(x, [True, False, True, False]), indices(x, [2, 1])),
    "a mask and an integer": lambda x: (indices(x, [True, False, True, False]), 0),
    "True": lambda x: True,
    "False": lambda x: (False, 0),
    "(True, None, array)": lambda x: (True, None, indices(x, [1, 0])),
}
_NO_ARRAYS = ("strict",)
_NO_EIG = ("strict",)
_FFT = {"n": 6, "axis": 0}
STANDARD: dict[str, Case] = {
    # --- order, copies, pieces
    **{
        f"sort, {options}": Case(lambda xp, x, o=options: xp.sort(x, **o), ((3, 4),), costly=k > 0)
        for k, options in enumerate([{}, {"axis": 0}, {"descending": True}, {"axis": 0, "stable": False}])
    },
    "take_along_axis": Case(lambda xp, x: xp.take_along_axis(x, indices(x, [[2, 0, 2], [1, 1, 0]]), axis=1), ((2, 3),)),
    "take_along_axis, axis 0": Case(
        lambda xp, x: xp.take_along_axis(x, indices(x, [[1, 0, 1]]), axis=0), ((2, 3),), costly=True
    ),
    "take, two axes of indices": Case(
        lambda xp, x: xp.take(x, indices(x, [[2, 0], [1, 1]]), axis=0), ((3, 2),), without=("strict", "torch")
    ),
    "tensordot": Case(lambda xp, x, y: xp.tensordot(x, y), ((2, 3, 4), (3, 4, 2))),
    "tensordot, 1": Case(lambda xp, x, y: xp.tensordot(x, y, axes=1), ((2, 3), (3, 2)), costly=True),
    "tensordot, 0": Case(lambda xp, x, y: xp.tensordot(x, y, axes=0), ((2,), (3,))),
    "tensordot, pairs": Case(lambda xp, x, y: xp.tensordot(x, y, axes=((0, 2), (1, 0))), ((2, 3, 4), (4, 2, 5))),
    "repeat": Case(lambda xp, x: xp.repeat(x, 3, axis=1), ((2, 3),)),
    "repeat, flat": Case(lambda xp, x: xp.repeat(x, 2), ((2, 3),), costly=True),
    "repeat, each its own": Case(
        lambda xp, x: xp.repeat(x, indices(x, [2, 0, 1]), axis=-1), ((2, 3),), without=("jax",)
    ),
    "roll": Case(lambda xp, x: xp.roll(x, 2), ((2, 3),)),
    "roll, axes": Case(lambda xp, x: xp.roll(x, (1, -2), axis=(0, 1)), ((2, 3),)),
    "tile": Case(lambda xp, x: xp.tile(x, (2, 1, 3)), ((2, 3),)),
    "tile, fewer": Case(lambda xp, x: xp.tile(x, (2,)), ((2, 3),), costly=True),
    "unstack": Case(lambda xp, x: xp.unstack(x, axis=1)[0] * xp.unstack(x, axis=1)[2], ((2, 3),)),
    "diff": Case(lambda xp, x: xp.diff(x), ((2, 4),)),
    "diff, twice": Case(lambda xp, x: xp.diff(x, n=2, axis=0), ((4, 2),), costly=True),
    "diff, ends": Case(lambda xp, x, y: xp.diff(x, prepend=y, append=y), ((2, 4), (2, 1))),
    "meshgrid": Case(lambda xp, x, y: xp.meshgrid(x, y)[0] * xp.meshgrid(x, y, indexing="xy")[1], ((2,), (3,))),
    "meshgrid, ij": Case(lambda xp, x, y: xp.meshgrid(x, y, indexing="ij")[0] * y, ((2,), (3,)), costly=True),
    "tril": Case(lambda xp, x: xp.tril(x, k=1), ((3, 4),)),
    "triu": Case(lambda xp, x: xp.triu(x, k=-1), ((2, 3, 4),)),
    "copysign": Case(lambda xp, x, y: xp.copysign(x, y), ((2, 3), (3,)), 0.5, 2),
    "copysign, turned": Case(lambda xp, x, y: xp.copysign(x, -y), ((2, 3), (3,)), 0.5, 2, costly=True),
    "conj": Case(lambda xp, x: xp.conj(x), ((2, 3),), without=("strict",)),
    "real": Case(lambda xp, x: xp.real(x + 2j * x * x), ((2, 3),), without=("strict",)),
    "imag": Case(lambda xp, x: xp.imag(x * x + 2j * x), ((2, 3),), without=("strict",)),
    # --- over axes
    **{
        f"prod over {axis}{', kept' * keepdims}": Case(
            reduced("prod", axis=axis, keepdims=keepdims),
            ((2, 3, 2),),
            without=("torch",) * isinstance(axis, tuple),
            costly=axis != 1,
        )
        for axis in (None, 0, 1, (0, 2))
        for keepdims in (False, True)
    },
    "cumulative_sum": Case(lambda xp, x: xp.cumulative_sum(x, axis=1), ((2, 4),)),
    "cumulative_sum, from 0": Case(lambda xp, x: xp.cumulative_sum(x, axis=0, include_initial=True), ((3, 2),)),
    "cumulative_prod": Case(lambda xp, x: xp.cumulative_prod(x, axis=1), ((2, 5),)),
    "cumulative_prod, from 1": Case(lambda xp, x: xp.cumulative_prod(x, axis=0, include_initial=True), ((3, 2),)),
    "cumulative_prod, zeros": Case(lambda xp, x: xp.cumulative_prod(x * indices(x, [1.0, 0.0, 1.0, 0.0])), ((4,),)),
    "prod, zeros": Case(
        lambda xp, x: xp.prod(x * indices(x, [1.0, 0.0, 1.0])) + xp.prod(x * indices(x, [1.0, 2, 3])), ((3,),)
    ),
    # --- indices
    **{
        f"getitem {label}": Case(
            lambda xp, x, key=key: x[key(x)], ((4, 3, 2),), without=(*_NO_ARRAYS, *["jax"] * ("mask" in label))
        )
        for label, key in _KEYS.items()
    },
    # --- algebra
    "linalg.solve": Case(lambda xp, x, y: xp.linalg.solve(regular(xp, x), y), ((3, 3), (3, 2))),
    "linalg.solve, a vector": Case(lambda xp, x, y: xp.linalg.solve(regular(xp, x), y), ((3, 3), (3,))),
    "linalg.solve, spread": Case(lambda xp, x, y: xp.linalg.solve(regular(xp, x), y), ((2, 3, 3), (3, 2)), costly=True),
    "linalg.inv": Case(lambda xp, x: xp.linalg.inv(regular(xp, x)), ((2, 3, 3),), -1, 1),
    "linalg.det": Case(lambda xp, x: xp.linalg.det(x), ((2, 3, 3),)),
    "linalg.slogdet": Case(lambda xp, x: xp.linalg.slogdet(x)[1], ((2, 3, 3),)),
    "linalg.slogdet, sign": Case(
        lambda xp, x: xp.linalg.slogdet(x)[0] * x[:, 0, 0], ((2, 3, 3),), costly=True, without=("strict",)
    ),
    "linalg.cholesky": Case(lambda xp, x: xp.linalg.cholesky(regular(xp, x)), ((2, 3, 3),), -1, 1),
    "linalg.cholesky, upper": Case(
        lambda xp, x: xp.linalg.cholesky(regular(xp, x), upper=True), ((3, 3),), -1, 1, costly=True
    ),
    "linalg.eigh, values": Case(lambda xp, x: xp.linalg.eigh(regular(xp, x))[0], ((2, 3, 3),), -1, 1),
    "linalg.eigh, vectors": Case(lambda xp, x: xp.linalg.eigh(regular(xp, x))[1] ** 2, ((3, 3),), -1, 1),
    "linalg.eigvalsh": Case(lambda xp, x: xp.linalg.eigvalsh(regular(xp, x)), ((3, 3),), -1, 1),
    **{
        f"linalg.qr, {part} {shape}": Case(
            lambda xp, x, k=k: xp.linalg.qr(x)[k],
            (shape,),
            costly=shape != (4, 3),
            without=("jax",) * (shape == (2, 3)),
        )
        for k, part in enumerate("QR")
        for shape in ((3, 3), (4, 3), (2, 3), (2, 3, 2))
    },
    **{
        f"linalg.svd, {part} {shape}": Case(
            lambda xp, x, k=k: xp.linalg.svd(x, full_matrices=False)[k] ** 2, (shape,), costly=shape != (4, 3)
        )
        for k, part in enumerate(("U", "S", "Vh"))
        for shape in ((3, 3), (4, 3), (2, 3), (2, 3, 2))
    },
    "linalg.eigvals": Case(
        lambda xp, x: xp.sum(xp.abs(xp.linalg.eigvals(x)) ** 3, axis=-1), ((2, 3, 3),), without=_NO_EIG, costly=True
    ),
    "linalg.eig": Case(
        lambda xp, x: xp.sum(xp.abs(xp.linalg.eig(x)[1]) ** 4, axis=-2)[:, :1], ((2, 3, 3),), without=(*_NO_EIG, "jax")
    ),
    "linalg.svdvals": Case(lambda xp, x: xp.linalg.svdvals(x), ((3, 4),)),
    "linalg.pinv": Case(lambda xp, x: xp.linalg.pinv(x), ((4, 3),)),
    "linalg.pinv, wide": Case(lambda xp, x: xp.linalg.pinv(x), ((2, 2, 3),), costly=True),
    "linalg.trace": Case(lambda xp, x: xp.linalg.trace(x, offset=1), ((2, 3, 4),)),
    "linalg.diagonal": Case(lambda xp, x: xp.linalg.diagonal(x), ((2, 3, 4),)),
    "linalg.diagonal, below": Case(lambda xp, x: xp.linalg.diagonal(x, offset=-1), ((4, 3),), costly=True),
    "linalg.outer": Case(lambda xp, x, y: xp.linalg.outer(x, y), ((2,), (3,))),
    "linalg.cross": Case(lambda xp, x, y: xp.linalg.cross(x, y, axis=-2), ((3, 2), (3, 2))),
    "linalg.matrix_power": Case(lambda xp, x: xp.linalg.matrix_power(x, 5), ((3, 3),), -1, 1),
    "linalg.matrix_power, negative": Case(lambda xp, x: xp.linalg.matrix_power(regular(xp, x), -2), ((3, 3),), -1, 1),
    "linalg.vecdot": Case(folder("linalg", "vecdot"), ((2, 3), (3,))),
    "linalg.tensordot": Case(folder("linalg", "tensordot", axes=1), ((2, 3), (3, 2)), costly=True),
    **{
        f"linalg.vector_norm, {order} {axis}": Case(
            lambda xp, x, o=order, a=axis: xp.linalg.vector_norm(x, axis=a, ord=o, keepdims=a == 1),
            ((2, 3, 2),),
            costly=(order, axis) != (2, None),
        )
        for order in (2, 1, 3, 0.5, inf, -inf)
        for axis in (None, 1, (0, 2))
    },
    **{
        f"linalg.matrix_norm, {order}": Case(
            lambda xp, x, o=order: xp.linalg.matrix_norm(x, ord=o, keepdims=o == 1), ((2, 3, 4),), costly=order != "fro"
        )
        for order in ("fro", "nuc", 1, -1, 2, -2, inf, -inf)
    },
    # --- transforms
    **{
        f"fft.{name}, {label}": Case(
            lambda xp, x, y, n=name, o=options: both(xp, getattr(xp.fft, n)(x + 1j * y, **o)),
            ((4, 3), (4, 3)),
            without=("strict",),
            costly=k > 0,
        )
        for name in ("fft", "ifft")
        for k, (label, options) in enumerate({"plain": {}, "longer": _FFT, "cut": {"n": 2, "norm": "ortho"}}.items())
    },
    **{
        f"fft.{name}, {label}": Case(
            lambda xp, x, n=name, o=options: both(xp, getattr(xp.fft, n)(x, **o)), ((4, 3),), costly=k > 0
        )
        for name in ("rfft", "ihfft")
        for k, (label, options) in enumerate({"plain": {}, "longer": _FFT, "cut": {"n": 2, "norm": "forward"}}.items())
    },
    **{
        f"fft.{name}, {label}": Case(
            lambda xp, x, y, n=name, o=options: getattr(xp.fft, n)(x + 1j * y, **o),
            ((4, 3), (4, 3)),
            without=("strict",),
            costly=k > 0,
        )
        for name in ("irfft", "hfft")
        for k, (label, options) in enumerate(
            {"plain": {}, "odd": {"n": 5}, "longer": {"n": 10, "axis": 0}, "cut": {"n": 2, "norm": "ortho"}}.items()
        )
    },
    **{
        f"fft.{name}, {label}": Case(
            lambda xp, x, y, n=name, o=options: both(xp, getattr(xp.fft, n)(x + 1j * y, **o)),
            ((2, 4, 3), (2, 4, 3)),
            without=("strict",),
            costly=k > 0,
        )
        for name in ("fftn", "ifftn")
        for k, (label, options) in enumerate(
            {"plain": {}, "axes": {"axes": (0, 2)}, "sizes": {"s": (3, 4), "axes": (1, 2)}}.items()
        )
    },
    "fft.rfftn": Case(lambda xp, x: both(xp, xp.fft.rfftn(x)), ((2, 4, 3),)),
    "fft.rfftn, sizes": Case(lambda xp, x: both(xp, xp.fft.rfftn(x, s=(3, 2), axes=(0, 1))), ((2, 4, 3),), costly=True),
    "fft.irfftn": Case(lambda xp, x, y: xp.fft.irfftn(x + 1j * y), ((2, 4, 3), (2, 4, 3)), without=("strict",)),
    "fft.irfftn, sizes": Case(
        lambda xp, x, y: xp.fft.irfftn(x + 1j * y, s=(3, 5), axes=(0, 1)),
        ((2, 4, 3), (2, 4, 3)),
        without=("strict",),
        costly=True,
    ),
    "fft.fftshift": Case(lambda xp, x: xp.real(xp.fft.fftshift(x + 0j)), ((4, 3),), without=("strict",)),
    "fft.ifftshift": Case(lambda xp, x: xp.real(xp.fft.ifftshift(x + 0j, axes=(0,))), ((5, 3),), without=("strict",)),
}
STANDARD |= {name: case._replace(noise=1e-9) for name, case in STANDARD.items() if name.startswith(("linalg", "fft"))}
