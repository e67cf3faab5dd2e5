"""NumPy: the CPU, and the reference that every other backend is compared with."""

from __future__ import annotations

from xpnet.backends.base import Backend


class NumpyBackend(Backend):
    name = "numpy"
    namespace_module = "array_api_compat.numpy"
    install = "pip install numpy"

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("cpu",)


BACKEND = NumpyBackend
