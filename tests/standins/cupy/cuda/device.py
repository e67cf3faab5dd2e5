"""Devices of the stand-in: two, each thread on the first until it says otherwise."""

import threading
from collections import Counter

#: How often the host waited for a device, by what for.
waits = Counter()
#: How often the host asked a device for something, by what.
launches = Counter()
#: What each thread has of its own: its device, and the streams and the allocator that are current.
here = threading.local()
COUNT = 2


def current_device():
    return getattr(here, "device", 0)


class CUDARuntimeError(RuntimeError):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Device:
    """As CuPy's: entering it notes on the object itself which one was current before, and it has no hash."""

    __hash__ = None

    def __init__(self, device=None):
        self.id = current_device() if device is None else int(device)
        self._before = []

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __enter__(self):
        self._before.append(current_device())
        self.use()
        return self

    def __exit__(self, *_):
        here.device = self._before.pop()

    def use(self):
        if self.id >= COUNT:
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
        here.device = self.id

    def synchronize(self):
        from cupy.cuda.streams import get_current_stream

        get_current_stream().wait("synchronize")

    def __repr__(self):
        return f"<CUDA Device {self.id}>"
