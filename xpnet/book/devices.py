"""A device's namespace in NumPy's place: what a script calls ``np``, and the way of its arrays to the host."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from xpnet.backends.dispatch import get_backend


@dataclass(frozen=True)
class Device:
    """Where a script computes.

    Attributes:
        name: how the backend is called.
        library: its namespace, written as NumPy is.
        array: the type of its arrays.
        to_host: one of them as an array of NumPy.
    """

    name: str
    library: Any
    array: type[Any]
    to_host: Callable[[Any], np.ndarray]

    def host(self, x: Any) -> Any:
        """x with NumPy's arrays for those of the device, in lists and tuples too."""
        if isinstance(x, self.array):
            return self.to_host(x)
        if type(x) in (list, tuple) and any(isinstance(each, list | tuple | self.array) for each in x):
            return type(x)(map(self.host, x))
        return x


def device_of(name: str) -> Device | None:
    """The device of a backend; None for NumPy, which needs none of this.

    Raises:
        ValueError: a backend that is not written as NumPy is.
        BackendUnavailableError: it cannot be used here; the message says why.
    """
    if name == "numpy":
        return None
    if name != "cupy":
        raise ValueError(f"backend {name!r} has no namespace like NumPy's for the book's scripts; take numpy or cupy")
    library = get_backend(name).library()
    return Device(name, library, library.ndarray, library.asnumpy)


class Numbers(ModuleType):
    """The device's namespace as a module called ``numpy``; what it has not is told with the line that asks for it."""

    def __init__(self, device: Device) -> None:
        super().__init__("numpy", f"What backend {device.name!r} has in the place of NumPy.")
        self.__dict__["_device"] = device

    def __getattr__(self, name: str) -> Any:
        device = self.__dict__["_device"]
        try:
            found = getattr(device.library, name)
        except AttributeError:
            if name.startswith("__"):
                raise
            asked = sys._getframe(1)
            raise AttributeError(
                f"{Path(asked.f_code.co_filename).name}, line {asked.f_lineno}: np.{name} is not there on backend "
                f"{device.name!r}, whose library has no {name}; run this script with --backend numpy"
            ) from None
        if isinstance(found, type) and issubclass(found, np.generic):
            found = _converting(found, device)
        self.__dict__[name] = found
        return found

    def __dir__(self) -> list[str]:
        return dir(self.__dict__["_device"].library)


def _converting(kind: type, device: Device) -> type:
    """A type of numbers, ``np.uint8``, whose call takes an array of the device as well."""

    def convert(_: type, x: Any = 0) -> Any:
        return x.astype(kind) if isinstance(x, device.array) else kind(x)

    return type(kind.__name__, (kind,), {"__new__": convert})
