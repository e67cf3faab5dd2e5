"""Devices, streams, graphs and memory of the stand-in."""

import types

from cupy.cuda.device import COUNT, CUDARuntimeError, Device, launches, waits  # noqa: F401
from cupy.cuda.memory import MemoryPool, alloc, using_allocator  # noqa: F401
from cupy.cuda.streams import Event, Graph, Stream, get_current_stream  # noqa: F401

runtime = types.SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    driverGetVersion=lambda: 13020,
    runtimeGetVersion=lambda: 13020,
    getDeviceCount=lambda: COUNT,
    getDeviceProperties=lambda device: {"name": b"stand-in"},
)
nvrtc = types.SimpleNamespace(getVersion=lambda: (13, 2))
cublas = types.SimpleNamespace()
