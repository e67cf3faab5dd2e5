"""Processes that are threads of one: what trains together, without an MPI, for tests of the seam."""

import threading
from concurrent.futures import ThreadPoolExecutor

from xpnet.parallel import Parallel

SECONDS = 60


class Rank(Parallel):
    """One of several threads, who meet at a barrier; sums are made in the order of ranks."""

    name = "threads"

    def __init__(self, rank, size, barrier, places):
        self.rank, self.size, self._barrier, self._places = rank, size, barrier, places
        self._sums = []  # the sizes of messages

    def exchange(self, value):
        self._places[self.rank] = value
        self._barrier.wait(SECONDS)
        found = list(self._places)
        self._barrier.wait(SECONDS)
        return found

    def all_reduce(self, part, out=None):
        self._sums.append(part.size)
        first, *rest = self.exchange(part.copy())  # the owner goes on to write into its own
        total = first.copy()
        for other in rest:
            total += other
        if out is None:
            return total
        out[...] = total
        return out

    def broadcast(self, array):
        return self.exchange(array.copy())[0].copy()

    def abort(self, error):
        self._barrier.abort()


def on_ranks(size, function):
    """What ``function(parallel)`` returns or raises in each of so many threads."""
    barrier, places = threading.Barrier(size), [None] * size

    def one(rank):
        try:
            return function(Rank(rank, size, barrier, places))
        except BaseException as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


def all_well(found):
    """The results, or the first error that was raised in a thread."""
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found
