"""Every backend by name: ours, a file of this folder each, and those of others, by entry points.

A distribution adds one of its own under the name by which it is selected, in its ``pyproject.toml`` for example:

    [project.entry-points."xpnet.backends"]
    mine = "my_package.my_module:MyBackend"

where ``MyBackend`` derives from :class:`xpnet.backends.base.Backend`. Entry points are read once, when something is
asked that ours do not answer: another name, all names, or whose an array of an unknown type is. Ours cannot be
replaced.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import TYPE_CHECKING, Any

from xpnet.streams import warn

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Ours, each imported when it is named, or when an array comes whose type those before do not know.
OURS = ("numpy", "cupy", "torch", "jax", "strict", "dask")
GROUP = "xpnet.backends"


def names() -> tuple[str, ...]:
    """Of all backends, whether they can be used or not."""
    return (*OURS, *others())


def known(name: Any) -> bool:
    """Whether there is a backend of this name."""
    return isinstance(name, str) and (name in OURS or name in others())


@functools.cache
def others() -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of backends of others, by name; one name has several if several distributions use it."""
    metadata = import_module("importlib.metadata")  # it takes a while, and ours need none
    found: dict[str, tuple[EntryPoint, ...]] = {}
    try:
        entries = sorted(metadata.entry_points(group=GROUP))
    except Exception as error:  # one distribution whose files are damaged is enough
        warn(f"backends of others are not seen: reading entry points failed with {error!r}", stacklevel=2)
        return found
    for entry in entries:
        if entry.name in OURS:
            warn(f"{origin(entry)} is left out: backend {entry.name!r} is xpnet's own, rename yours", stacklevel=2)
        elif entry.value not in (other.value for other in found.get(entry.name, ())):
            found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def origin(entry: EntryPoint) -> str:
    """Where an entry point leads, and whose it is."""
    return entry.value if entry.dist is None else f"{entry.value} of {entry.dist.name} {entry.dist.version}"
