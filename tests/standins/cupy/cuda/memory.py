"""Memory of the stand-in: pools, and blocks that come from them. The bytes are NumPy's."""

import itertools
import weakref
from contextlib import contextmanager

from cupy.cuda.device import here

_addresses = itertools.count(2**40, 2**30)


class Block:
    """A piece of memory; when nobody has it any more, its pool gives it to others."""

    def __init__(self, pool):
        self.pool, self.ptr = pool, next(_addresses)


class MemoryPool:
    """``shared`` where everybody takes memory from it, so that a piece that was given back is soon somebody else's."""

    def __init__(self):
        self.shared, self.taken, self.emptied = False, 0, 0

    def malloc(self, size):
        self.taken += 1
        return Block(self)

    def free_all_blocks(self):
        """What CuPy does too where the device has no memory left: nobody keeps what nobody has."""
        self.emptied += 1


_default = MemoryPool()
_default.shared = True


def alloc(size):
    return getattr(here, "allocator", _default.malloc)(size)


@contextmanager
def using_allocator(allocator=None):
    before, here.allocator = getattr(here, "allocator", _default.malloc), allocator or _default.malloc
    try:
        yield
    finally:
        here.allocator = before


class Watched:
    """A block as a graph knows it: by its address, which holds on to nothing."""

    def __init__(self, block):
        self.block, self.pool = weakref.ref(block), weakref.ref(block.pool)
        self.shared, self.emptied = block.pool.shared, block.pool.emptied

    def check(self):
        pool = self.pool()
        if self.block() is None and (self.shared or pool is None or pool.emptied > self.emptied):
            raise RuntimeError(
                "the graph computes in memory that was given back. CUDA would say nothing, and compute in what others "
                "have there by now"
            )
