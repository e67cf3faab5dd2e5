"""Each optimizer against its paper's lines in plain NumPy, and down a valley; its state; compiled; the book's form."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from optimizer_rules import CASES, OPTIONS, RULES, ids, problem, rates_of, run

from xpnet.optimizers import OPTIMIZERS, SGD, Adam, Momentum, Optimizer
from xpnet.schedules import Cosine, Exponential, ReduceOnPlateau, Warmup


def moved(backend, values, dtype="float64"):
    return {name: backend.asarray(value.astype(dtype), copy=True) for name, value in values.items()}


def after(backend, array, optimizer, params, gradients, dtype="float64"):
    """Parameters and state after steps on these gradients, which are locked where arrays can be."""
    params = moved(backend, params, dtype)
    state = optimizer.init(params)
    for grads in gradients:
        params, state = optimizer.step(params, {k: array(g, dtype) for k, g in grads.items()}, state)
    return params, state


def arrays_of(state):
    """The arrays of a state, with their places in it."""
    for key, value in state.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{place}", array) for place, array in arrays_of(value))
        else:
            yield key, value


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(("name", "kwargs"), CASES, ids=ids)
def test_as_the_paper_prints_it(training_backend, array, rng, name, kwargs, option):
    optimizer = OPTIMIZERS[name](**{**kwargs, **OPTIONS[option]})
    params, gradients = problem(rng)
    rates = rates_of(optimizer, option)
    expected = run(RULES[name], optimizer, params, gradients, rates)
    found, _ = after(training_backend, array, optimizer, params, gradients)
    for key, value in expected.items():
        np.testing.assert_allclose(training_backend.to_numpy(found[key]), value, rtol=1e-10, atol=1e-13)
        assert abs(value - params[key]).max() > 1e-4, "the parameters hardly moved"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_dtype_stays(training_backend, array, rng, name):
    """In float32 and in a mixture, with all that could widen it; and near what float64 gives."""
    options = {"weight_decay": 0.01, "clip_value": 0.9, "clip_norm": 1.5}
    optimizer = OPTIMIZERS[name](lr=ReduceOnPlateau(Cosine(0.05, 40, final=0.01)), **options)
    params, gradients = problem(rng, steps=3)
    b = training_backend
    found, state = after(b, array, optimizer, params, gradients, "float32")
    exact, _ = after(b, array, optimizer, params, gradients)
    for key, w in found.items():
        assert w.dtype == b.xp.float32
        # RAdam's second mean counts from the sixth step on; before, all is exact to a few roundings
        np.testing.assert_allclose(b.to_numpy(w), b.to_numpy(exact[key]), rtol=1e-4, atol=1e-5)
    for place, a in arrays_of(state):
        assert a.dtype == (b.xp.int32 if place == "t" else b.xp.float32), place
    mixed = {"W": b.asarray(params["W"], "float32", copy=True), "b": b.asarray(params["b"], copy=True)}
    grads = {"W": array(gradients[0]["W"], "float32"), "b": array(gradients[0]["b"])}
    mixed, _ = optimizer.step(mixed, grads, optimizer.init(mixed))
    assert (mixed["W"].dtype, mixed["b"].dtype) == (b.xp.float32, b.xp.float64)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state(training_backend, array, rng, name):
    """Arrays all of them, none twice, as many after a step and of the same shapes; {} for plain gradient descent."""
    params, gradients = problem(rng, steps=1)
    b = training_backend
    for lr in (0.1, Cosine(0.1, 10, final=0.01), ReduceOnPlateau(0.1)):
        optimizer = OPTIMIZERS[name](lr=lr)
        before = dict(arrays_of(optimizer.init(moved(b, params))))
        _, state = after(b, array, optimizer, params, gradients)
        found = dict(arrays_of(state))
        assert {k: (a.shape, a.dtype, type(a)) for k, a in before.items()} == {
            k: (a.shape, a.dtype, type(a)) for k, a in found.items()
        }
        assert len({id(a) for a in found.values()}) == len(found)
        assert ("scale" in found) == isinstance(lr, ReduceOnPlateau)
        assert ("t" in found) == (optimizer.counts or lr != 0.1)
        assert "t" not in found or int(found["t"]) == 1
        assert set(state) <= {"t", "slots", "scale"}
    assert SGD(0.1).init(moved(b, params)) == Adam(0.1).init({}) == {}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_scalars_are_parameters_too(name):
    """NumPy makes numbers of 0-d arrays wherever it can; parameters and state stay arrays."""
    optimizer = OPTIMIZERS[name](lr=Cosine(0.1, 10, 0.01), weight_decay=0.1, clip_value=2.0, clip_norm=1.0)
    params, rows = {"w": np.asarray(3.0)}, {"w": np.asarray([3.0])}
    state, row_state = optimizer.init(params), optimizer.init(rows)
    for _ in range(3):
        params, state = optimizer.step(params, {"w": np.asarray(2.0)}, state)
        rows, row_state = optimizer.step(rows, {"w": np.asarray([2.0])}, row_state)
    assert float(params["w"]) == rows["w"][0]
    assert all(isinstance(a, np.ndarray) for a in (params["w"], *dict(arrays_of(state)).values()))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_arrays_that_can_are_updated_in_place(name):
    params = {"w": np.asarray([3.0, 1.0])}
    w = params["w"]
    OPTIMIZERS[name](lr=0.1).update(params, {"w": np.asarray([2.0, -1.0])})
    assert params["w"] is w
    assert w[0] < 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_compilation(name, rng):
    """Compiled by JAX, once for all steps, and the same as step by step."""
    jax = pytest.importorskip("jax", reason="JAX is not installed, so nothing is compiled")
    lr = ReduceOnPlateau(Warmup(2, Cosine(0.05, 40, final=0.01)))
    optimizer = OPTIMIZERS[name](lr=lr, weight_decay=0.1, clip_value=1.0, clip_norm=1.5)
    start, gradients = problem(rng, steps=3)
    params = {k: jax.numpy.asarray(v, dtype="float32") for k, v in start.items()}
    state = optimizer.init(params)
    step = jax.jit(optimizer.step, donate_argnums=(0, 2))
    for grads in gradients:
        params, state = step(params, {k: jax.numpy.asarray(g, dtype="float32") for k, g in grads.items()}, state)
    assert step._cache_size() == 1
    ours = moved_numpy(start)
    other = optimizer.init(ours)
    for grads in gradients:
        ours, other = optimizer.step(ours, moved_numpy(grads), other)
    for key, w in params.items():
        np.testing.assert_allclose(np.asarray(w), ours[key], rtol=1e-4, atol=1e-6)
    assert int(state["t"]) == 3


def moved_numpy(values):
    return {key: value.astype("float32") for key, value in values.items()}


@pytest.mark.parametrize(
    ("name", "lr", "steps"),
    [
        ("sgd", 0.95, 100),
        ("momentum", 0.1, 200),
        ("nesterov", 0.1, 200),
        ("adagrad", 1.5, 100),
        ("adadelta", Exponential(100.0, 0.98), 500),
        ("rmsprop", Exponential(0.5, 0.95), 200),
        ("adam", 0.3, 300),
        ("adamw", 0.3, 300),
        ("adamax", 0.5, 300),
        ("nadam", 0.3, 300),
        ("radam", 0.3, 400),
        ("lion", Exponential(0.5, 0.97), 400),
        ("ftrl", 3.0, 200),
    ],
)
def test_down_the_valley(name, lr, steps):
    """x²/20 + y² from (-7, 2), where the book compares optimizers."""
    params, optimizer = {"x": np.asarray(-7.0), "y": np.asarray(2.0)}, OPTIMIZERS[name](lr=lr)
    for _ in range(steps):
        optimizer.update(params, {"x": params["x"] / 10, "y": 2 * params["y"]})
    assert params["x"] ** 2 / 20 + params["y"] ** 2 < 1e-3


def test_update_is_step(training_backend, array, rng):
    params, gradients = problem(rng, steps=3)
    for optimizer in (SGD(0.1), Momentum(0.1, 0.9), Adam(Cosine(0.1, 10))):
        stepped, _ = after(training_backend, array, optimizer, params, gradients)
        updated = moved(training_backend, params)
        for grads in gradients:
            assert optimizer.update(updated, {k: array(g) for k, g in grads.items()}) is None
        for key, w in stepped.items():
            np.testing.assert_array_equal(training_backend.to_numpy(updated[key]), training_backend.to_numpy(w))


def test_one_optimizer_for_each_network(rng):
    (params, gradients), adam = problem(rng, steps=1), Adam(0.1)
    adam.update(params, gradients[0])
    for others in ({"W": np.zeros((3, 2))}, {"W": np.zeros((3, 3)), "b": np.zeros(2)}):
        with pytest.raises(ValueError, match=r"parameters of shapes .*expected .*one optimizer for each network"):
            adam.update(others, others)
    plain = SGD(0.1)  # remembers nothing, so there is nothing to confuse
    for w in (np.zeros(2), np.zeros(3)):
        plain.update({"w": w}, {"w": np.ones_like(w)})
        np.testing.assert_array_equal(w, -0.1)


def test_copies_start_afresh(rng):
    params, gradients = problem(rng, steps=2)
    used, fresh = Momentum(0.1), Momentum(0.1)
    used.update({k: v.copy() for k, v in params.items()}, gradients[0])
    assert (used == fresh, hash(used) == hash(fresh), repr(used)) == (True, True, repr(fresh))
    expected = {k: v.copy() for k, v in params.items()}
    fresh.update(expected, gradients[1])
    for copied in (copy.copy(used), copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
        assert copied == used
        found = {k: v.copy() for k, v in params.items()}
        copied.update(found, gradients[1])
        np.testing.assert_array_equal(found["W"], expected["W"])


def test_an_optimizer_of_ones_own():
    class Halving(Optimizer):
        def rule(self, w, g, slots, lr, shared):
            w *= 0.5
            return w

    params = {"w": np.asarray([4.0])}
    Halving(1.0).update(params, {"w": np.asarray([0.0])})
    assert params["w"] == 2
    with pytest.raises(TypeError, match="abstract"):
        Optimizer(0.1)
