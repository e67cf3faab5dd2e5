"""Steps of all kinds, recorded: what they may do to their arrays, and what cannot be replayed."""

from __future__ import annotations

import numpy as np
import pytest
from replaying import NUMPY, assert_same, compared, copied, net_of, one_step, run

from xpnet import SGD, CompileWarning, Trainer, make_step, namespace
from xpnet.backends.replay.recorded import MOST_PLANS
from xpnet.layers import Affine, Rescale, Tanh
from xpnet.losses import MeanSquaredError
from xpnet.optimizers import Adam
from xpnet.training import init_state


@pytest.fixture
def small(rng):
    return rng.normal(size=(60, 7)), rng.integers(0, 4, 60)


def aliased(xp, w, x):
    y = x * 2.0
    turned = xp.matrix_transpose(y)
    y += 1.0
    return xp.sum(xp.matmul(turned, y)) * xp.sum(w)


def of_an_array_that_changes(xp, w, x):
    y = xp.matmul(x, w)
    z = 3.0 * y
    y *= 5.0
    return xp.sum(z) + xp.sum(y)


def product_of_what_changes(xp, w, x):
    """The product is multiplied by a number after its factor has changed."""
    a = x + 1.0
    y = xp.matmul(a, w)
    a += 1.0
    return xp.sum(3.0 * y) + xp.sum(a)


def scaled_array_that_changes(xp, w, x):
    a = x + 0.0
    scaled = 2.0 * a
    a += 1.0
    return xp.sum(xp.matmul(scaled, w)) + xp.sum(a)


def written_constant(xp, w, x):
    counts = xp.zeros_like(x)
    counts += x
    again = xp.zeros_like(x)
    return xp.sum(xp.matmul(counts + again, w))


def one_product_twice(xp, w, x):
    y = xp.matmul(x, w)
    return xp.sum(2.0 * y) + xp.sum(y * y)


def square_of_a_scaled_array(xp, w, x):
    a = 0.5 * xp.concat([x, x, x, x], axis=0)
    return xp.sum(xp.matmul(xp.matrix_transpose(a), a)) + xp.sum(w)


def slices(xp, w, x):
    y = x + 1.0
    y[:, 0] = 7.0
    y[1:3, :] += y[3:5, :]
    return xp.sum(y[:, ::2]) + xp.max(y) + xp.sum(w)


def functions(xp, w, x):
    y = xp.where(x > 0, x, -x) + xp.clip(x, -0.5, 0.5) + xp.sign(x) + xp.floor(x)
    y = xp.stack([y, xp.sort(y, axis=0), xp.flip(y, axis=1)])
    y = xp.permute_dims(y, (1, 0, 2))
    spread = xp.std(y, axis=1) + xp.var(y, axis=1, correction=1) + xp.prod(y, axis=1) + xp.min(y, axis=1)
    best = xp.astype(xp.argmax(spread, axis=1), w.dtype)
    return xp.mean(spread) + xp.sum(best * xp.any(x > 1, axis=1)) + xp.sum(xp.mean(y, axis=(0, 2), keepdims=True))


def empty_and_single(xp, w, x):
    return xp.sum(x[:0, :]) + xp.sum(xp.reshape(x, (-1,))[0]) + xp.sum(w[:1, :1])


def large_and_turned(xp, w, x):
    """What is computed from one row, or across, is not computed row by row."""
    y = xp.broadcast_to(x[:1, :1], (400, 400)) * 1.0
    y += xp.reshape(xp.arange(160_000, dtype=w.dtype), (400, 400))
    z = y + xp.matrix_transpose(y)
    y *= y[:1, :]
    z -= y
    return xp.sum(z) * 1e-9 + xp.sum(w)


STEPS = [
    *(aliased, of_an_array_that_changes, product_of_what_changes, scaled_array_that_changes, written_constant),
    *(one_product_twice, square_of_a_scaled_array, slices, functions, empty_and_single, large_and_turned),
]


def step_of(function):
    """A training step whose loss is that function, and whose weights go on by it."""

    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        w = state["w"]
        loss = function(xp, w, xp.take(data["x"], rows, axis=0))
        w -= 1e-3 * loss
        return {"w": w}, loss

    return step


def both(step, state, x, steps=4):
    recorded = NUMPY.compile(step)
    block = np.random.default_rng(0).integers(0, len(x), (steps, 6))
    t = np.zeros(len(x))
    found = [run(each, copied(state), x, t, block) for each in (step, recorded)]
    return found, recorded


@pytest.mark.parametrize("function", STEPS, ids=lambda f: f.__name__)
def test_what_a_step_may_do_to_its_own_arrays(function, rng):
    x, state = rng.normal(size=(60, 7)), {"w": rng.normal(size=(7, 3))}
    before = x.copy()
    found, recorded = both(step_of(function), state, x)
    assert all(recorded.plans.values()), recorded.reason
    assert_same(found)
    np.testing.assert_array_equal(x, before)


def test_new_arrays_in_the_state(rng):
    """They are brought to where the old ones are, which stay the caller's."""

    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        return {"a": xp.maximum(state["a"], 0.0) + 1.0, "b": state["a"] - state["b"]}, xp.sum(state["b"])

    found, recorded = both(step, {"a": rng.normal(size=4), "b": rng.normal(size=4)}, rng.normal(size=(9, 2)))
    assert all(recorded.plans.values()), recorded.reason
    assert_same(found)


def reads_a_value(state, data, rows, draws):
    state["w"] -= 1.0 if float(state["w"][0]) > 0 else 2.0
    return state, namespace(rows).sum(state["w"])


def has_a_shape_of_values(state, data, rows, draws):
    xp = namespace(rows)
    state["w"] += xp.sum(xp.unique_values(rows))
    return state, xp.sum(state["w"])


def grows(state, data, rows, draws):
    more = {f"w{len(state)}": state["w"] + 1.0} if len(state) < 3 else {}
    return state | more, namespace(rows).sum(state["w"])


def swaps(state, data, rows, draws):
    return {"w": state["v"], "v": state["w"]}, namespace(rows).sum(state["w"])


def has_its_own_loss(state, data, rows, draws):
    return state, namespace(rows).ones(())


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (reads_a_value, "it asks for the value of an array"),
        (has_a_shape_of_values, "unique_values is not recorded"),
        (grows, "its state has other names afterwards"),
        (swaps, "is another array of its arguments afterwards"),
        (has_its_own_loss, "its loss is not computed"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_what_cannot_be_recorded_runs_as_it_is_after_one_warning(step, why, rng):
    state = {"w": rng.normal(size=3), "v": rng.normal(size=3)}
    with pytest.warns(CompileWarning, match=f"not compiled, and runs call by call: .*{why}") as warned:
        found, _ = both(step, state, rng.normal(size=(9, 2)))
    assert len(warned) == 1
    assert_same(found)


def test_random_numbers_in_a_step_are_noticed(rng):
    generator = np.random.default_rng(0)

    def step(state, data, rows, draws):
        state["w"] += generator.normal(size=3)
        return state, namespace(rows).sum(state["w"])

    with pytest.warns(CompileWarning, match="as if it drew random numbers"):
        both(step, {"w": np.zeros(3)}, rng.normal(size=(9, 2)))


def test_errors_are_those_of_the_step(rng):
    def step(state, data, rows, draws):
        raise ZeroDivisionError("of its own")

    with pytest.raises(ZeroDivisionError, match="of its own"):  # and a warning would be another
        one_step(NUMPY.compile(step), {"w": np.zeros(3)}, np.zeros((3, 2)), np.zeros(3), [0, 0])


def test_rows_out_of_range_are_an_error_and_negative_ones_count_from_the_end(small):
    x, t = small
    net = net_of(Affine(6, 4))
    step = make_step(net, SGD(0.1))
    recorded = NUMPY.compile(step)
    for rows in ([0, 60], [-61, 0]):
        with pytest.raises(IndexError):
            one_step(recorded, init_state(net, SGD(0.1)), x, t, rows)
    _, loss = one_step(recorded, init_state(net, SGD(0.1)), x, t, [-1, 3])
    _, expected = one_step(step, init_state(net, SGD(0.1)), x, t, [59, 3])
    assert loss == pytest.approx(expected, rel=1e-12)


def test_states_by_turns_do_not_disturb_each_other(small):
    """One recorded step, two trainings: each goes on in its own arrays."""
    net = net_of(Tanh(), Affine(6, 4))
    optimizer = Adam(0.01)
    step = make_step(net, optimizer)
    recorded = NUMPY.compile(step)
    block = np.random.default_rng(3).integers(0, 60, (8, 10))
    expected, _ = run(step, init_state(net, optimizer), *small, block)
    states = [init_state(net, optimizer), init_state(net, optimizer)]
    for k in range(8):
        for i in (0, 1):
            states[i], _ = one_step(recorded, states[i], *small, block[k])
    for state in states:
        assert_same([(expected, 0), (state, 0)])


def test_arrays_of_the_state_that_share_memory_are_left_alone(rng):
    """What is written to one is read from the other, which a recording cannot know."""

    def step(state, data, rows, draws):
        state["w"] += 1.0
        state["v"] *= 2.0
        return state, namespace(rows).sum(state["w"])

    recorded, w = NUMPY.compile(step), np.ones(3)
    with pytest.warns(CompileWarning, match="two arrays of its state share memory"):
        one_step(recorded, {"w": w, "v": w[:2]}, np.zeros((3, 2)), np.zeros(3), [0, 0])
    assert w.tolist() == [4.0, 4.0, 2.0]


def test_it_computes_into_the_arrays_of_the_state(small):
    net = net_of(Affine(6, 4))
    recorded = NUMPY.compile(make_step(net, SGD(0.1)))
    state = init_state(net, SGD(0.1))
    held = dict(state["params"])
    state, _ = one_step(recorded, state, *small, np.arange(10))
    assert all(state["params"][name] is array for name, array in held.items())
    assert not np.array_equal(held["W1"], net.params["W1"])


def test_a_trainer_compiles_what_is_made_of_known_parts(small):
    """A class of the user's own may remember things, as the book's do: its steps run as they are, unless asked for."""

    class Own(SGD):
        pass

    class Scaled(Tanh):
        pass

    for layer, optimizer, compiles in (
        (Tanh(), SGD(0.1), True),
        (Tanh(), Own(0.1), False),
        (Scaled(), SGD(0.1), False),
    ):
        net = net_of(layer, Affine(6, 4))
        assert Trainer(net, optimizer).compiles is compiles
        assert Trainer(net, optimizer, compile=True).compiles
        assert not Trainer(net, optimizer, compile=False).compiles
        history = Trainer(net, optimizer, batch_size=10, seed=0, compile=True).fit(*small, epochs=1, progress=False)
        again = net_of(layer, Affine(6, 4))
        plain = Trainer(again, optimizer, batch_size=10, seed=0, compile=False).fit(*small, epochs=1, progress=False)
        np.testing.assert_allclose(history.losses, plain.losses, rtol=1e-10)
    with pytest.raises(ValueError, match="compile is 1, expected True or False"):
        Trainer(net, optimizer, compile=1)


class Marked(np.ndarray):
    """A kind of array that adds by a rule of its own."""

    def __add__(self, other):
        return np.asarray(self) + np.asarray(other) + 100.0


@pytest.mark.parametrize("kind", [Marked, np.recarray])
@pytest.mark.parametrize("where", ["x", "t", "state"])
@pytest.mark.parametrize("plain_first", [False, True])
def test_arrays_with_rules_of_their_own_run_as_they_are(kind, where, plain_first):
    def step(state, data, rows, draws):
        x, t, xp = data["x"], data["t"], namespace(data["x"])
        state["w"] = state["w"] + x[0:2, 0] + 0.0 * t[0:2]
        return state, xp.sum(state["w"]) + xp.sum(x[0:3, 0] + 1.0)

    def arguments(kind):
        arrays = {"state": np.ones(2), "x": np.ones((3, 2)), "t": np.ones(3)}
        if kind is not None:
            arrays[where] = arrays[where].view(kind)
        return {"w": arrays["state"]}, arrays["x"], arrays["t"], np.arange(3)

    recorded = NUMPY.compile(step)
    if plain_first:
        one_step(recorded, *arguments(None))
        assert all(recorded.plans.values()), "a plan for arrays of this shape is there"
    expected = one_step(step, *arguments(kind))
    with pytest.warns(CompileWarning, match=rf"{where}.* is of type {kind.__name__}, which may compute otherwise"):
        state, loss = one_step(recorded, *arguments(kind))
    assert float(loss) == float(expected[1])
    np.testing.assert_array_equal(state["w"], expected[0]["w"])


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
def test_data_that_lie_column_by_column_are_read(dtype, rng):
    """x, t and weights, also where a layer reshapes what it is given; weights of the network are copied row by row."""
    x, t, weight = rng.integers(0, 9, (60, 2, 7)).astype(dtype), rng.random((60, 4)), rng.random((60, 2))[:, 1]
    net = net_of(Affine(6, 4), loss=MeanSquaredError(), first=(Rescale(0.1), Affine(14, 7)))
    net.params = {name: np.asfortranarray(w) for name, w in net.params.items()}
    expected, _ = compared(net, Adam(0.01), x, t, weight=weight.copy())
    found = compared(net, Adam(0.01), np.asfortranarray(x), np.asfortranarray(t), weight=weight)
    for state, losses in found:
        assert_same([expected, (state, losses)])
        assert all(w.flags.c_contiguous for w in state["params"].values())


def test_columns_of_the_data_are_reshaped(rng):
    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        scaled = 2.0 * data["x"]  # lies as x does
        state["w"] += xp.sum(xp.reshape(scaled, (-1,))[:5]) + xp.sum(xp.reshape(data["x"], (7, 60))[2, :])
        return state, xp.sum(state["w"])

    x = rng.normal(size=(60, 7))
    for lies in (x, np.asfortranarray(x), np.asfortranarray(x)[::2], x.T.copy().T):
        found, recorded = both(step, {"w": np.zeros(3)}, np.concatenate([lies, lies]) if len(lies) < 60 else lies)
        assert all(recorded.plans.values()), recorded.reason
        assert_same(found)


def test_a_file_mapped_into_memory_is_an_array_as_others(tmp_path, small):
    x, t = small
    mapped = np.memmap(tmp_path / "x", x.dtype, "w+", shape=x.shape)
    mapped[...] = x
    found = compared(net_of(Tanh(), Affine(6, 4)), SGD(0.1), mapped, t)
    assert_same(found)


def test_plans_of_sizes_that_are_not_used_any_more_go(small):
    net = net_of(Affine(6, 4))
    recorded, state = NUMPY.compile(make_step(net, SGD(0.1))), init_state(net, SGD(0.1))
    expected = copied(state)
    for size in (*range(1, 40), 3, 39):
        rows = np.arange(size)
        state, loss = one_step(recorded, state, *small, rows)
        expected, other = one_step(recorded.plain, expected, *small, rows)
        assert float(loss) == pytest.approx(float(other), rel=1e-10)
        assert len(recorded.plans) <= MOST_PLANS
    assert all(recorded.plans.values())
