"""array-api-strict: NumPy underneath, and an error for whatever the standard does not promise. For tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.base import Backend
from xpnet.backends.threads import BLAS, Threads


class StrictBackend(Backend):
    name = "strict"
    packages = ("array_api_strict",)
    install = 'pip install "xpnet[test]"'

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        """The library's make-believe devices: mixing two of them is an error, as it is on real ones."""
        return ("CPU_DEVICE", "device1", "device2")

    @classmethod
    def find_device(cls, device: Any) -> Any:
        named = device if device is None else cls.label(device)
        return cls.library().Device(super().find_device(named))

    @property
    def threads(self) -> Threads:
        return BLAS

    @staticmethod
    def label(device: Any) -> str:
        return str(getattr(device, "_device", device))  # its Device prints as a call

    @staticmethod
    def add_rows(x: Array, index: Array, rows: Array) -> Array:
        return StrictBackend.add_at(x, index, rows)  # it has no assignment to rows by an array of indices

    @staticmethod
    def to_host(x: Array) -> np.ndarray:
        return np.asarray(x.to_device(StrictBackend.library().Device("CPU_DEVICE")))


BACKEND = StrictBackend
