"""Which GPU a process takes, where several of them train together on a machine that has several."""

from __future__ import annotations

from xpnet.backends.dispatch import Backend, get_backend
from xpnet.parallel.base import Parallel


def own_device(backend: Backend, asked: str | None, parallel: Parallel) -> Backend:
    """The backend on the GPU of this process, where each of those on a machine is to have one of its own."""
    kind = backend.device_name.partition(":")[0]
    if parallel.size == 1 or kind == "cpu" or ":" in (asked or ""):
        return backend
    alike = [name for name in backend.devices() if name.partition(":")[0] == kind]
    return get_backend(backend.name, alike[parallel.place_here % len(alike)])
