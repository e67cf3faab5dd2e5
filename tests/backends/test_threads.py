"""How many threads multiply: what is asked for, never more than a user allows, and as before when nobody asks."""

import os
import threading

import pytest

from xpnet import get_backend
from xpnet.backends.threads import VARIABLES, WORTH_SHARING, Threads

SMALL, LARGE = 4_000_000, 800_000_000


class Pool:
    def __init__(self, number=8):
        self.number = number

    def get_num_threads(self):
        return self.number

    def set_num_threads(self, num_threads):
        self.number = num_threads


def threads(*pools, **environment):
    return Threads(lambda: pools, environment=environment)


def test_small_products_get_one_thread_and_large_ones_all():
    ours = threads(Pool(8))
    assert [ours.choose(work) for work in (0, SMALL, WORTH_SHARING - 1)] == [1, 1, 1]
    assert [ours.choose(work) for work in (WORTH_SHARING, LARGE)] == [8, 8]


def test_what_is_asked_for_is_given_up_to_what_is_in_force():
    ours = threads(Pool(8))
    assert [ours.choose(SMALL, asked) for asked in (1, 3, 8, 100)] == [1, 3, 8, 8]


def test_processes_of_one_training_share_the_cores():
    """Unless somebody has told how many each shall take."""
    ours = threads(Pool(8))
    for processes, expected in ((2, 4), (3, 2), (16, 1)):
        ours.sharing = processes
        assert (ours.choose(LARGE), ours.choose(SMALL), ours.choose(LARGE, 6)) == (expected, 1, 6)
    told = threads(Pool(8), OMP_NUM_THREADS="8")
    told.sharing = 2
    assert told.choose(LARGE) == 8


@pytest.mark.parametrize("name", VARIABLES)
def test_a_limit_in_the_environment_stands(name):
    ours = threads(Pool(2), **{name: "2"})
    assert (ours.choose(SMALL), ours.choose(LARGE), ours.choose(LARGE, 4), ours.choose(LARGE, 1)) == (2, 2, 2, 1)
    assert threads(Pool(2), **{name: ""}).choose(SMALL) == 1


def test_a_limit_that_was_set_meanwhile_stands():
    pool = Pool(8)
    ours = threads(pool)
    assert ours.choose(SMALL) == 1
    pool.number = 3
    assert [ours.choose(SMALL), ours.choose(LARGE), ours.choose(LARGE, 5)] == [3, 3, 3]


def test_the_number_is_in_force_within_the_block_and_as_before_behind_it():
    pools = Pool(8), Pool(2)
    ours = threads(*pools)
    for number, expected in ((1, [1, 1]), (4, [4, 2]), (None, [8, 2])):
        with ours.limited(number):
            assert [pool.number for pool in pools] == expected
            assert ours.number == 8
        assert [pool.number for pool in pools] == [8, 2]
    with pytest.raises(KeyError), ours.limited(1):
        raise KeyError
    assert [pool.number for pool in pools] == [8, 2]


def test_the_smallest_number_that_is_asked_for_is_in_force():
    pool = Pool(8)
    ours = threads(pool)
    with ours.limited(4):
        with ours.limited(6):
            assert (pool.number, ours.choose(LARGE), ours.choose(SMALL)) == (4, 8, 1)
        assert pool.number == 4
        with ours.limited(2):
            assert pool.number == 2
        assert pool.number == 4
    assert pool.number == 8


def test_what_somebody_else_sets_in_the_block_stays():
    pool = Pool(8)
    with threads(pool).limited(2):
        pool.number = 5
    assert pool.number == 5


def test_calls_from_many_threads_leave_the_number_as_it_was():
    pool = Pool(8)
    ours, seen, start = threads(pool), [], threading.Barrier(8)

    def ask(number):
        start.wait()
        for _ in range(200):
            with ours.limited(number):
                seen.append(pool.number <= number)

    workers = [threading.Thread(target=ask, args=(1 + k % 4,)) for k in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (len(seen), all(seen), pool.number) == (1600, True, 8)


def test_nobody_asks_any_more_in_a_forked_process():
    pool = Pool(8)
    ours = threads(pool)
    with ours.limited(1):
        ours.forget()
        assert pool.number == 8
        with ours.limited(3):
            assert pool.number == 3
    assert pool.number == 8


def test_without_pools_there_is_nothing_to_say():
    ours = threads()
    assert (ours.number, ours.choose(SMALL), ours.choose(LARGE, 2)) == (None, None, None)
    with ours.limited(2), ours.limited(None):
        pass
    quiet = threads(Pool(None))
    assert quiet.choose(SMALL) is None
    with quiet.limited(1):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX's")
def test_the_real_ones_are_limited(training_backend):
    ours = training_backend.threads
    if ours is None or ours.number is None:
        pytest.skip(f"{training_backend.name} does not tell how many threads it has")
    before = ours.number
    with ours.limited(1):
        assert max(pool.get_num_threads() for pool in ours._pools()) == 1
    assert ours.number == before


def test_numpy_knows_its_threads():
    assert get_backend("numpy").threads.number >= 1
