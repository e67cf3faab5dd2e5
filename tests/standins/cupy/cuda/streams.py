"""Streams, events and graphs of the stand-in: what is launched runs at once, or is noted where it is captured."""

import itertools

from cupy.cuda.device import CUDARuntimeError, current_device, here, launches, waits
from cupy.cuda.memory import Watched

_pointers = itertools.count(16)
UNSUPPORTED = (900, "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")
INVALIDATED = (901, "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture")


class Stream:
    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.ptr, self.device_id = (0, -1) if null else (next(_pointers), current_device())
        self.non_blocking, self.nodes, self.broken = non_blocking, None, False

    def __eq__(self, other):
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self):
        return self.ptr

    def __enter__(self):
        if self.device_id not in (-1, current_device()):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with the current device "
                f"({current_device()})"
            )
        streams = _streams()
        here.__dict__.setdefault("entered", []).append((current_device(), streams.get(current_device())))
        streams[current_device()] = self
        return self

    def __exit__(self, *_):
        device, stream = here.entered.pop()
        _streams()[device] = stream

    def is_capturing(self):
        return self.nodes is not None

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if not self.non_blocking:
            raise RuntimeError("the stand-in's: another thread that uses the default stream would break this capture")
        self.nodes, self.broken = [], False

    def end_capture(self):
        nodes, self.nodes = self.nodes, None
        if self.broken:
            raise CUDARuntimeError(*INVALIDATED)
        return Graph(nodes, self.device_id)

    def launch(self, name, run, blocks=()):
        """Have something done, or noted."""
        if self.nodes is None:
            launches[name] += 1
            run()
        else:
            self.nodes.append((name, run, [Watched(block) for block in blocks]))

    def wait(self, what):
        """Have the host wait, which nobody may while something is captured."""
        if self.nodes is not None:
            self.broken = True
            raise CUDARuntimeError(*UNSUPPORTED)
        waits[what] += 1

    def synchronize(self):
        self.wait("synchronize")

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        """All that was asked for before is done."""


Stream.null = Stream(null=True)


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.done = True

    def record(self, stream=None):
        pass

    def synchronize(self):
        get_current_stream().wait("synchronize")


class Graph:
    """Calls in order, ``nodes``, which are made again at each launch."""

    def __init__(self, nodes, device):
        self.nodes, self.device = nodes, device

    def launch(self, stream=None):
        if self.device != current_device():
            raise CUDARuntimeError(400, "cudaErrorInvalidResourceHandle: invalid resource handle")
        if (stream or get_current_stream()).is_capturing():
            raise NotImplementedError("the stand-in's graphs hold no graphs")
        launches["graph"] += 1
        for _, run, blocks in self.nodes:
            for block in blocks:
                block.check()
            run()

    def upload(self, stream=None):
        pass


def get_current_stream(device_id=-1):
    return _streams().get(current_device() if device_id == -1 else device_id) or Stream.null


def _streams():
    here.__dict__.setdefault("streams", {})
    return here.streams
