"""PyTorch: CPU, CUDA and MPS. Its autograd is not used; gradients are xpnet's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.base import Backend, BackendUnavailableError


class TorchBackend(Backend):
    name = "torch"
    namespace_module = "array_api_compat.torch"
    install = 'pip install "xpnet[torch]"'

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        torch = cls.library()
        found = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            found.append("mps:0")
        return tuple(found)

    @classmethod
    def find_device(cls, device: Any) -> Any:
        """Accept what ``torch.device`` accepts; by default torch's own default device."""
        torch = cls.library()
        try:
            wanted = torch.get_default_device() if device is None else torch.device(device)
        except RuntimeError as error:  # not a device's name at all
            raise ValueError(cls.no_such_device(device)) from error
        full = wanted if wanted.type == "cpu" or wanted.index is not None else torch.device(wanted.type, 0)
        if str(full) not in cls.devices():
            if full.type == "cuda" and not torch.cuda.is_available():
                why = "is built without CUDA" if torch.version.cuda is None else "finds no CUDA GPU or driver"
                raise BackendUnavailableError(f"{cls.no_such_device(device)} (torch {torch.__version__} {why})")
            raise ValueError(cls.no_such_device(device))
        return full

    def dtype(self, dtype: Any) -> Any:
        found = super().dtype(dtype)
        if self.device.type == "mps" and found == self.xp.float64:
            raise ValueError("torch has no float64 on mps; use dtype 'float32' or device 'cpu'")
        return found

    def _asarray(self, x: Any, dtype: Any, copy: bool | None) -> Array:
        if isinstance(x, np.ndarray) and not x.flags.writeable:
            copy = True  # torch has no read-only tensors and warns when it would have to share one
        return self.xp.asarray(x, dtype=dtype, device=self.device, copy=copy)

    @staticmethod
    def to_host(x: Array) -> np.ndarray:
        return x.detach().cpu().numpy()  # type: ignore[no-any-return]

    def synchronize(self) -> None:
        if self.device.type != "cpu":
            getattr(self.library(), self.device.type).synchronize()


BACKEND = TorchBackend
