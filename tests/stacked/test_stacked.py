"""Functions of stacked arrays, each against the same function of one network's arrays after the other."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from xpnet import namespace
from xpnet._numbers import Numbers, each
from xpnet.backends.dispatch import device
from xpnet.optimizers import SGD, Adam
from xpnet.stacked import StackError, front, plain, stacked

E = 3

#: Functions of a (2, 3, 4), b (4,), W (4, 5), n () and i (2,) of each network's own, and of x (2, 4) and r (2,), which
#: all share, by what they show.
CASES = {
    "broadcasting": lambda xp, a, b, n, x, **_: a * b + n - x[:, None, :] / (2 + n * n),
    "a shared array and a number": lambda xp, n, x, **_: x * n,
    "numbers": lambda xp, n, **_: n * n + 1,
    "from the right": lambda xp, b, **_: 1 - b / 2 + 2 / (b * b + 1) ** 2,
    "comparisons": lambda xp, a, x, **_: xp.where((a > 0) & (x[:, None, :] <= 0.5), a, -a),
    "elementwise": lambda xp, a, **_: xp.exp(a) + xp.maximum(a, xp.zeros_like(a)) + xp.abs(-a) + xp.sqrt(a * a + 1),
    "clip": lambda xp, a, n, **_: xp.clip(a, -0.5, 0.5) + xp.full_like(a, 2.0) + xp.ones_like(n),
    "x W": lambda xp, x, W, **_: xp.matmul(x, W),
    "xT dy": lambda xp, x, W, **_: xp.matmul(xp.matrix_transpose(x), xp.matmul(x, W)),
    "W of all": lambda xp, W, x, **_: xp.matmul(xp.matrix_transpose(W), xp.matrix_transpose(x)),
    "a W": lambda xp, a, W, **_: xp.matmul(a, W),
    "W W": lambda xp, W, **_: xp.matmul(xp.matmul(W.T, W), W.mT),
    "x a": lambda xp, x, a, **_: xp.matmul(x, xp.matrix_transpose(a)),
    "reductions": lambda xp, a, **_: xp.sum(a) + xp.mean(a, axis=(0, 2)) + xp.max(a, axis=-1)[0, :],
    "of the last axis": lambda xp, a, **_: xp.sum(a, axis=-1) - xp.min(a, axis=2),
    "of the first axis": lambda xp, a, **_: xp.sum(a, axis=0),
    "of a row": lambda xp, b, **_: xp.sum(b, axis=0) + xp.sum(b, axis=-1),
    "kept axes": lambda xp, a, **_: a - xp.max(a, axis=-1, keepdims=True) + xp.mean(a, axis=(0, 1), keepdims=True),
    "argmax": lambda xp, a, **_: xp.argmax(a, axis=-1) + xp.argmax(a, axis=0, keepdims=True)[:, :, 0],
    "all": lambda xp, a, **_: xp.all(xp.isfinite(a)) & xp.any(a > 0, axis=2),
    "reshape": lambda xp, a, **_: xp.reshape(a, (2, -1)),
    "reshape before the last axis": lambda xp, a, **_: xp.reshape(a, (-1, 4)),
    "reshape of a number": lambda xp, n, **_: xp.reshape(n, (1, 1)),
    "permute_dims": lambda xp, a, **_: xp.permute_dims(a, (2, 0, 1)),
    "expand_dims": lambda xp, b, n, **_: xp.expand_dims(b, axis=-1) * xp.expand_dims(n, axis=0),
    "squeeze": lambda xp, b, **_: xp.squeeze(b[None, :, None], axis=(0, 2)),
    "flip": lambda xp, a, **_: xp.flip(a, axis=-1) + xp.flip(a),
    "broadcast_to": lambda xp, b, **_: xp.broadcast_to(b, (2, 3, 4)) * 1.0,
    "concat": lambda xp, a, x, **_: xp.concat([a, xp.broadcast_to(x[:, None, :], (2, 3, 4))], axis=-1),
    "concat of rows": lambda xp, a, **_: xp.concat([a, a[:1, ...]], axis=0),
    "stack": lambda xp, b, n, **_: xp.stack([b, b * n], axis=-1) + xp.stack([n, n]),
    "take": lambda xp, a, r, **_: xp.take(a, r, axis=2) + xp.sum(xp.take(a, r, axis=0)),
    "take of one's own": lambda xp, x, i, **_: xp.take(x, i, axis=0),
    "slices": lambda xp, a, b, **_: a[:, 1:, ::2] + a[0, 1, 2] + b[None, None, :2],
    "entry": lambda xp, a, **_: a[0, 0, 0],
    "astype": lambda xp, a, **_: xp.astype(a > 0, a.dtype) * a,
    "creation": lambda xp, b, **_: b + xp.full((1, 4), 2.0, dtype=b.dtype, device=device(b)),
}


@pytest.fixture
def operands(rng):
    """Arrays of each network, and those of all."""
    own = {"a": (2, 3, 4), "b": (4,), "W": (4, 5), "n": ()}
    apart = [{name: rng.normal(size=shape) for name, shape in own.items()} for _ in range(E)]
    for arrays in apart:
        arrays["i"] = rng.integers(0, 2, 2)
    return apart, {"x": rng.normal(size=(2, 4)), "r": rng.integers(0, 2, 2)}


def together(backend, apart, shared):
    """The same as stacked arrays."""
    own = {name: np.stack([one[name] for one in apart], axis=max(apart[0][name].ndim - 1, 0)) for name in apart[0]}
    found = {name: stacked(backend.asarray(array), E) for name, array in own.items()}
    return found | {name: stacked(backend.asarray(array)) for name, array in shared.items()}


@pytest.mark.parametrize("case", CASES)
def test_as_one_after_the_other(training_backend, operands, case):
    backend, (apart, shared) = training_backend, operands
    arrays = together(backend, apart, shared)
    found = CASES[case](namespace(arrays["a"]), **arrays)
    for number, one in enumerate(apart):
        alone = {name: backend.asarray(array) for name, array in (one | shared).items()}
        expected = CASES[case](namespace(alone["a"]), **alone)
        assert (found.shape, found.dtype, found.ndim) == (tuple(expected.shape), expected.dtype, expected.ndim)
        values = backend.to_numpy(front(found))[number]
        np.testing.assert_allclose(values, backend.to_numpy(expected), rtol=1e-12, atol=1e-13)


def test_augmented_assignment_changes_the_array_where_that_is_possible(operands):
    apart, shared = operands
    arrays = together(TwoNumpy, apart, shared)
    a, b, x = arrays["a"], arrays["b"], arrays["x"]
    memory, before = a.array, a.array.copy()
    a += b
    a *= 2
    assert a.array is memory
    np.testing.assert_allclose(memory, (before + b.array) * 2)
    shape, whole = x.shape, x.array
    x -= b  # now each network has its own
    assert (x.shape, x.count) == (shape, E)
    assert x.array is not whole


def test_entries_are_assigned(training_backend, operands):
    apart, shared = operands
    arrays = together(training_backend, apart, shared)
    a, b = copy.copy(arrays["a"]), arrays["b"]
    if training_backend.name == "jax":
        pytest.skip("covered where arrays are written to")
    a.array = training_backend.copy(a.array)
    a[0, 1:, :] = b
    a[1, 0, 0] = 5.0
    values = training_backend.to_numpy(front(a))
    for number, one in enumerate(apart):
        np.testing.assert_allclose(values[number, 0, 1:], np.broadcast_to(one["b"], (2, 4)))
        assert values[number, 1, 0, 0] == 5
    with pytest.raises(StackError, match="an array that they share"):
        arrays["x"][0, :] = b


def test_a_shared_array_is_given_to_each():
    x = stacked(np.arange(6.0).reshape(2, 3))
    assert plain(x, 4).shape == (2, 4, 3)
    assert plain(stacked(np.asarray(2.0)), 4).tolist() == [2.0] * 4
    numbers = stacked(np.asarray(2.5)), stacked(np.asarray(2)), stacked(np.asarray(True))
    assert (float(numbers[0]), int(numbers[1]), bool(numbers[2])) == (2.5, 2, True)
    assert (len(x), x.size, [3, 4][stacked(np.asarray(1))]) == (2, 6, 4)


def test_what_cannot_be_computed_together_is_an_error_that_says_so():
    own, shared = stacked(np.ones((3, E, 3)), E), stacked(np.ones((3, 3)))
    xp = namespace(own)
    with pytest.raises(StackError, match="sort\\(\\) is not computed for several networks together"):
        xp.sort(own)
    with pytest.raises(StackError, match="value of an array"):
        float(xp.sum(own))
    with pytest.raises(StackError, match="indexed with an array"):
        own[own > 0]
    with pytest.raises(StackError, match="along the first axis of a shared array"):
        xp.take(own, stacked(np.zeros((E, 2), int), E), axis=0)
    with pytest.raises(StackError, match="one axis"):
        xp.matmul(own, shared[0, :])
    with pytest.raises(StackError, match="all axes"):
        xp.argmax(own)
    with pytest.raises(ValueError, match="axis 2 is none of an array of 2 axes"):
        xp.sum(own, axis=2)
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        xp.nothing_of_this_name  # noqa: B018


def test_numbers_are_computed_with_as_one_is():
    n = Numbers([1, 0.5])
    for compute in (
        lambda v: 1 - v * 2 + v / 4,
        lambda v: 2 / v - -v,
        lambda v: v**2 + 2**v,
        lambda v: v + v - v * v,
    ):
        assert compute(n) == Numbers(map(compute, n.values))
    assert each(lambda v: v + 1, n) == Numbers([2, 1.5])
    assert hash(n) == hash(Numbers([1.0, 0.5]))
    assert (bool(n), bool(Numbers([0, 0])), bool(Numbers([0, 1]))) == (True, False, True)
    assert abs(-n) == n
    assert Numbers([2, 3]).is_integer()
    assert n > 0
    assert not n < 0.5
    assert n <= 2
    assert repr(Numbers(range(6))) == "Numbers(0, 1, 2, 3, ...)"
    for ask in (lambda: n > 0.7, lambda: n == 1, lambda: float(n), n.is_integer):
        with pytest.raises(ValueError, match=r"differs between networks: 1, 0\.5; one_by_one=True trains"):
            ask()


def test_options_take_numbers_of_each_network_and_look_at_all_of_them():
    optimizer = Adam(lr=Numbers([0.1, 0.2]), beta1=Numbers([0, 0.9]))
    assert optimizer.lr == Numbers([0.1, 0.2])
    with pytest.raises(ValueError, match=r"the learning rate is -0\.2"):
        SGD(lr=Numbers([0.1, -0.2]))
    with pytest.raises(ValueError, match=r"beta1 is 1\.0"):
        Adam(beta1=Numbers([0, 1]))


def test_numbers_meet_arrays_in_their_dtype():
    g = stacked(np.ones((4, 2), "float32"), 2).xp.reshape(stacked(np.ones((4, 2, 1), "float32"), 2), (4,))
    found = Numbers([0.1, 0.2]) * g
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.array, np.asarray([[0.1] * 4, [0.2] * 4], "float32"))


class TwoNumpy:
    asarray = staticmethod(np.asarray)
