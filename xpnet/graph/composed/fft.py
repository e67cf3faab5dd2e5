"""Fourier transforms that are made of recorded ones."""

from __future__ import annotations

from typing import Any

from xpnet._typing import Array
from xpnet.graph.composed.linalg import conjugated
from xpnet.graph.recording import Recording, composed
from xpnet.graph.rules.fft import DUAL


@composed("fft.hfft", standard=True)
def hfft(xp: Recording, x: Array, /, *, n: int | None = None, axis: int = -1, norm: Any = "backward") -> Array:
    """The transform of half of a signal that equals its own conjugate reversed."""
    return xp.fft.irfft(conjugated(xp, x), n=n, axis=axis, norm=DUAL[norm])


@composed("fft.ihfft", standard=True)
def ihfft(xp: Recording, x: Array, /, *, n: int | None = None, axis: int = -1, norm: Any = "backward") -> Array:
    """The inverse of ``hfft``."""
    return xp.conj(xp.fft.rfft(x, n=n, axis=axis, norm=DUAL[norm]))


def _axes(x: Array, s: Any, axes: Any) -> tuple[int, ...]:
    if axes is not None:
        return tuple(axes)
    return tuple(range(0 if s is None else x.ndim - len(s), x.ndim))


@composed("fft.rfftn", standard=True)
def rfftn(xp: Recording, x: Array, /, *, s: Any = None, axes: Any = None, norm: Any = "backward") -> Array:
    """The transform of real numbers along several axes; half of the spectrum along the last one."""
    axes = _axes(x, s, axes)
    s = s or [x.shape[axis] for axis in axes]
    x = xp.fft.rfft(x, n=s[-1], axis=axes[-1], norm=norm)
    return xp.fft.fftn(x, s=tuple(s[:-1]), axes=axes[:-1], norm=norm) if axes[:-1] else x


@composed("fft.irfftn", standard=True)
def irfftn(xp: Recording, x: Array, /, *, s: Any = None, axes: Any = None, norm: Any = "backward") -> Array:
    """The inverse of ``rfftn``."""
    axes = _axes(x, s, axes)
    last = 2 * (x.shape[axes[-1]] - 1) if s is None else s[-1]
    if axes[:-1]:
        x = xp.fft.ifftn(x, s=None if s is None else tuple(s[:-1]), axes=axes[:-1], norm=norm)
    return xp.fft.irfft(x, n=last, axis=axes[-1], norm=norm)


def _of_two(name: str) -> None:
    """NumPy's transforms of two axes."""

    @composed(f"fft.{name}2")
    def transform(xp: Recording, x: Array, s: Any = None, axes: Any = (-2, -1), norm: Any = None) -> Array:
        return getattr(xp.fft, f"{name}n")(x, s=s, axes=axes, norm=norm or "backward")


for _name in ("fft", "ifft", "rfft", "irfft"):
    _of_two(_name)


def _shifted(xp: Recording, x: Array, axes: Any, way: int) -> Array:
    axes = tuple(range(x.ndim)) if axes is None else tuple(axes) if isinstance(axes, tuple | list) else (axes,)
    shifts = tuple(x.shape[axis] // 2 if way > 0 else -(x.shape[axis] // 2) for axis in axes)
    return xp.roll(x, shifts, axis=axes) if axes else x


@composed("fft.fftshift", standard=True)
def fftshift(xp: Recording, x: Array, /, *, axes: Any = None) -> Array:
    """The frequency 0 in the middle."""
    return _shifted(xp, x, axes, 1)


@composed("fft.ifftshift", standard=True)
def ifftshift(xp: Recording, x: Array, /, *, axes: Any = None) -> Array:
    """The inverse of ``fftshift``."""
    return _shifted(xp, x, axes, -1)
