"""The standard's functions for CuPy: array-api-compat's, but for those that lose the device or wait for it.

It is a module that is made when it is first asked for, as it is made of CuPy, which is not everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from xpnet._typing import Array

#: What makes arrays. In CuPy they come to be on the device that is current, whatever ``device=`` says.
CREATION = """
arange asarray empty empty_like eye full full_like linspace ones ones_like zeros zeros_like
"""


@functools.cache
def cupy_namespace() -> ModuleType:
    """The namespace, always the same one."""
    cupy, compat = import_module("cupy"), import_module("array_api_compat.cupy")
    kept = {name: value for name, value in vars(compat).items() if not name.startswith("__") or "array" in name}
    kept |= {name: _on_its_device(kept[name], cupy) for name in CREATION.split()}
    kept |= {"clip": _clip(cupy), "sign": _sign(cupy)}
    xp = ModuleType(f"{__name__}.xp", "The standard's functions for CuPy.")
    vars(xp).update(kept)
    return xp


def _on_its_device(make: Callable[..., Array], cupy: ModuleType) -> Callable[..., Array]:
    """``make``, on the device that it is told, or else on that of the array it is given, as the standard has it."""

    @functools.wraps(make)
    def made(*args: Any, device: Any = None, **options: Any) -> Array:
        if device is None and args and isinstance(args[0], cupy.ndarray):
            device = args[0].device
        if device is None:
            return make(*args, **options)
        with cupy.cuda.Device(device):
            return make(*args, **options)

    return made


def _clip(cupy: ModuleType) -> Callable[..., Array]:
    def bound(limit: Any, x: Array) -> Any:
        if hasattr(limit, "astype"):
            return limit.astype(x.dtype, copy=False)
        if x.dtype.kind in "iu":
            info = cupy.iinfo(x.dtype)
            limit = max(info.min, min(int(limit), info.max))
        return x.dtype.type(limit)

    def clip(x: Array, /, min: Any = None, max: Any = None) -> Array:  # noqa: A002  (the standard's names)
        """Without masks: what is assigned through one is counted first, and the count waited for."""
        low = x if min is None else cupy.maximum(x, bound(min, x))
        high = low if max is None else cupy.minimum(low, bound(max, x))
        return x.copy() if high is x else high

    return clip


def _sign(cupy: ModuleType) -> Callable[[Array], Array]:
    def sign(x: Array, /) -> Array:
        """Without masks; NaN has the sign NaN, and a complex number one of length 1."""
        if x.dtype.kind == "c":
            size = cupy.abs(x)
            return cupy.where(size == 0, x, x / size)
        return cupy.where(x == x, cupy.sign(x), x) if x.dtype.kind == "f" else cupy.sign(x)

    return sign
