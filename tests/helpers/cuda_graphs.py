"""A stand-in for ``torch.cuda`` without a GPU: streams that do nothing, and graphs that capture and replay on a CPU.

A capture notes each operation with the very arrays that it reads and writes, and nothing of it is computed: what was
written in place is put back, and results are NaN until a replay. A replay makes the same operations on the same
memory, and none of Python's lines in between. A capture refuses what CUDA's does: values that are read, and arrays made
on the host. It cannot show what kernels do, nor that memory is used on two streams at a time.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
REFUSED = {
    aten._local_scalar_dense.default: "a value is read",
    aten.nonzero.default: "a shape depends on values",
    aten.lift_fresh.default: "an array comes from the host",
}


class CUDAGraph:
    """Operations in their order."""

    def __init__(self):
        self.calls, self.replays = [], 0

    def replay(self):
        self.replays += 1
        for call in self.calls:
            call()


class _Capture(TorchDispatchMode):
    def __init__(self, graph):
        super().__init__()
        self.graph, self.before, self.results = graph, {}, []

    def __torch_dispatch__(self, function, types, args=(), options=None):
        options = options or {}
        if function in REFUSED:
            raise RuntimeError(f"operation not permitted when stream is capturing: {REFUSED[function]}")
        written = [a for a in self._written(function, args, options) if isinstance(a, torch.Tensor)]
        for a in written:
            self.before.setdefault(a.data_ptr(), (a, a.clone()))
        found = function(*args, **options)
        views = any(r.alias_info is not None for r in function._schema.returns)
        if written:
            self.graph.calls.append(lambda: function(*args, **options))
        elif not views:
            outs = [a for a in (found if isinstance(found, tuple | list) else [found]) if isinstance(a, torch.Tensor)]
            self.results += outs
            self.graph.calls.append(lambda: self._again(function, args, options, outs))
        return found

    @staticmethod
    def _written(function, args, options):
        for i, argument in enumerate(function._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                yield args[i] if i < len(args) else options.get(argument.name)

    @staticmethod
    def _again(function, args, options, outs):
        found = function(*args, **options)
        found = [a for a in (found if isinstance(found, tuple | list) else [found]) if isinstance(a, torch.Tensor)]
        for a, b in zip(outs, found, strict=True):
            a.copy_(b)

    def end(self):
        for a in self.results:
            if a.dtype.is_floating_point:
                a.fill_(float("nan"))
        for a, values in self.before.values():
            if not any(a is r for r in self.results):
                a.copy_(values)


class Stream:
    """Waits for nothing, and says for what it was asked to."""

    def __init__(self, name="side"):
        self.name = name

    def wait_stream(self, other):
        LOG.append(f"{self.name} waits for {other.name}")


LOG = []
_MAIN = Stream("main")


def current_stream():
    return _MAIN


def graph_pool_handle():
    return "pool"


@contextmanager
def stream(entered):
    LOG.append(f"on {entered.name}")
    yield


@contextmanager
def device(entered):
    yield


@contextmanager
def graph(captured, pool=None, stream=None, capture_error_mode="global"):
    LOG.append(f"capture on {stream.name} in {pool}, {capture_error_mode}")
    mode = _Capture(captured)
    try:
        with mode:
            yield
    finally:
        mode.end()
