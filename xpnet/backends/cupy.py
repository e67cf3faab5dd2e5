"""CuPy: CUDA GPUs."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.base import Backend, BackendUnavailableError


class CupyBackend(Backend):
    name = "cupy"
    packages = ("cupy",)
    namespace_module = "array_api_compat.cupy"
    in_place = True
    install = 'pip install "xpnet[cuda13]" for a CUDA 13 driver, "xpnet[cuda12]" for CUDA 12'
    special_module = "cupyx.scipy.special"

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        runtime = cls.library().cuda.runtime
        if runtime.driverGetVersion() == 0:
            raise BackendUnavailableError(
                "backend 'cupy': CuPy is installed, but there is no NVIDIA driver here; "
                "install the driver of your GPU (nvidia-smi then lists it), or use backend 'numpy'"
            )
        try:
            count = runtime.getDeviceCount()
        except runtime.CUDARuntimeError as error:
            raise BackendUnavailableError(
                f"backend 'cupy': CUDA answered {error}. CuPy needs CUDA {_dotted(runtime.runtimeGetVersion())}, the "
                f"driver here gives {_dotted(runtime.driverGetVersion())}; update the driver, or {cls.install}"
            ) from error
        if count == 0:
            raise BackendUnavailableError("backend 'cupy': the NVIDIA driver is here, but it shows no GPU")
        return tuple(f"cuda:{i}" for i in range(count))

    @classmethod
    def find_device(cls, device: Any) -> Any:
        """Accept ``"cuda"``, ``"cuda:1"``, ``1`` or a ``cupy.cuda.Device``."""
        known = cls.devices()
        index = getattr(device, "id", device)
        wanted = {None: known[0], "cuda": known[0]}.get(index, f"cuda:{str(index).removeprefix('cuda:')}")
        return cls.library().cuda.Device(known.index(wanted)) if wanted in known else super().find_device(device)

    @staticmethod
    def label(device: Any) -> str:
        return f"cuda:{device.id}"

    def _asarray(self, x: Any, dtype: Any, copy: bool | None) -> Array:
        with self.device:
            return self.xp.asarray(x, dtype=dtype, copy=copy)

    @staticmethod
    def to_host(x: Array) -> np.ndarray:
        return CupyBackend.library().asnumpy(x)  # type: ignore[no-any-return]

    @staticmethod
    def add_at(x: Array, index: Array, rows: Array) -> Array:
        CupyBackend.library().add.at(x, index, rows)
        return x

    def synchronize(self) -> None:
        self.device.synchronize()


def _dotted(version: int) -> str:
    """CUDA's own encoding of a version, 13020, as people write it: 13.2."""
    return f"{version // 1000}.{version % 1000 // 10}"


BACKEND = CupyBackend
