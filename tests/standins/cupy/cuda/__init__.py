"""Devices of the stand-in: two, each thread on the first until it says otherwise."""

import threading
import types
from collections import Counter

#: How often the host waited for a device, by what for.
waits = Counter()

_thread = threading.local()


class Device:
    """As CuPy's: entering it notes on the object itself which one was current before, and it has no hash."""

    __hash__ = None

    def __init__(self, device=None):
        self.id = getattr(_thread, "current", 0) if device is None else int(device)
        self._before = []

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __enter__(self):
        self._before.append(getattr(_thread, "current", 0))
        self.use()
        return self

    def __exit__(self, *_):
        _thread.current = self._before.pop()

    def use(self):
        if self.id >= runtime.getDeviceCount():
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
        _thread.current = self.id

    def synchronize(self):
        waits["synchronize"] += 1

    def __repr__(self):
        return f"<CUDA Device {self.id}>"


class CUDARuntimeError(RuntimeError):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


runtime = types.SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    driverGetVersion=lambda: 13020,
    runtimeGetVersion=lambda: 13020,
    getDeviceCount=lambda: 2,
    getDeviceProperties=lambda device: {"name": b"stand-in"},
)
nvrtc = types.SimpleNamespace(getVersion=lambda: (13, 2))
cublas = types.SimpleNamespace()
