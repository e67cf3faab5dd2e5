"""Minibatches: each sample once an epoch, or drawn with replacement; the same ones however they are asked for."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import xpnet.training.minibatches
from xpnet.training.minibatches import Minibatches

EACH = pytest.mark.parametrize("sampling", ["epochs", "sequential", "replacement"])


def draws(rng, samples):
    return {"mask1": rng.random((samples, 3), dtype="float32") >= 0.5, "mask2": rng.random((samples, 7)) >= 0.1}


def make(sampling, masked, n=25, batch_size=10):
    batches = Minibatches(n, batch_size, np.random.default_rng(4), sampling)
    if masked:
        batches.block = partial(batches.block, draws=draws)
    return batches


def steps(batches, sizes):
    """The rows and masks of each step, asked for in blocks of at most these sizes."""
    found = []
    for most in sizes:
        block = batches.block(most)
        assert 1 <= len(block.rows) <= most
        assert all(len(mask) == len(block.rows) for mask in block.draws.values())
        found += [(row, {name: mask[k] for name, mask in block.draws.items()}) for k, row in enumerate(block.rows)]
    return found


def assert_same(found, wanted):
    for (row, its_draws), (other, other_draws) in zip(found, wanted, strict=False):
        np.testing.assert_array_equal(row, other)
        assert its_draws.keys() == other_draws.keys()
        for name, mask in its_draws.items():
            np.testing.assert_array_equal(mask, other_draws[name])


@pytest.mark.parametrize(
    ("n", "batch_size", "per_epoch"), [(25, 10, 3), (30, 10, 3), (10, 10, 1), (11, 10, 2), (3, 1, 3)]
)
def test_an_epoch_has_every_sample_once(n, batch_size, per_epoch):
    batches = make("epochs", masked=False, n=n, batch_size=batch_size)
    assert batches.per_epoch == per_epoch
    orders = []
    for _ in range(3):
        rows = []
        while not rows or not batches.epoch_ended:
            block = batches.block(2).rows
            assert block.shape[1] == min(batch_size, n - batch_size * len(rows))
            rows += list(block)
        assert len(rows) == per_epoch
        orders.append(np.concatenate(rows))
        np.testing.assert_array_equal(np.sort(orders[-1]), np.arange(n))
    if n > 3:
        assert (orders[0] != orders[1]).any()


def test_an_epoch_is_one_permutation_of_the_generator():
    batches = make("epochs", masked=False)
    rng = np.random.default_rng(4)
    for _ in range(2):
        order = np.concatenate([row for row, _ in steps(batches, [5, 5])])
        np.testing.assert_array_equal(order, rng.permutation(25))


def test_replacement_draws_every_batch_whole_and_by_itself():
    batches = make("replacement", masked=False)
    rng = np.random.default_rng(4)
    for k in range(1, 8):
        row = batches.block(1).rows[0]
        np.testing.assert_array_equal(row, rng.integers(0, 25, 10))
        assert batches.epoch_ended == (k % 3 == 0), "an epoch is as many batches as a shuffled one has"
    drawn = np.bincount(np.concatenate([row.ravel() for row, _ in steps(batches, [3] * 2000)]), minlength=25)
    expected = drawn.sum() / 25
    assert (abs(drawn - expected) < 6 * np.sqrt(expected)).all()


def test_in_the_order_of_the_data():
    batches = make("sequential", masked=False)
    for _ in range(2):
        rows = [row.tolist() for size in (2, 1) for row in batches.block(size).rows]
        assert rows == [[*range(10)], [*range(10, 20)], [*range(20, 25)]]
        assert batches.epoch_ended


@EACH
@pytest.mark.parametrize("masked", [False, True])
def test_the_same_steps_in_blocks_of_any_size(sampling, masked):
    one_by_one = steps(make(sampling, masked), [1] * 40)
    for sizes in ([256] * 20, [2] * 30, [1, 7, 2, 3] * 7):
        assert_same(steps(make(sampling, masked), sizes), one_by_one)


@EACH
def test_masks_that_take_much_memory_make_blocks_short(sampling, monkeypatch):
    wanted = steps(make(sampling, masked=True, n=200), [1] * 40)
    assert len(make(sampling, masked=True, n=200).block(20).rows) == 20
    monkeypatch.setattr(xpnet.training.minibatches, "DRAW_BYTES", 350)  # one step takes 100
    batches = make(sampling, masked=True, n=200)
    assert len(batches.block(20).rows) == 4
    assert not batches.epoch_ended
    assert_same(steps(make(sampling, masked=True, n=200), [20] * 10), wanted)
    monkeypatch.setattr(xpnet.training.minibatches, "DRAW_BYTES", 1)
    assert_same(steps(make(sampling, masked=True, n=200), [20] * 40), wanted)


@EACH
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("before", [0, 1, 2, 3, 5])
def test_going_back_gives_the_same_steps_again(sampling, masked, before):
    """From the start, the middle and the end of an epoch, into the next ones."""
    batches = make(sampling, masked)
    steps(batches, [1] * before)
    mark = batches.mark()
    ended = batches.epoch_ended
    first = steps(batches, [1] * 9)
    for sizes in ([1] * 9, [4] * 6):
        batches.go_back(mark)
        assert batches.epoch_ended == ended
        assert_same(steps(batches, sizes), first)


def test_masks_have_the_size_of_their_batch():
    batches = make("epochs", masked=True)
    assert [{name: mask.shape for name, mask in batches.block(5).draws.items()} for _ in range(2)] == [
        {"mask1": (2, 10, 3), "mask2": (2, 10, 7)},
        {"mask1": (1, 5, 3), "mask2": (1, 5, 7)},
    ]
