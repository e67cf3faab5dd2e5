"""Steps that wait for several minibatches: equal to those on a large one, eager, compiled by JAX and replayed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from optimizer_rules import SHAPES, problem
from transforming import Smooth, host, leaves, on, trained

from xpnet import CompileWarning, get_backend
from xpnet.backends.base import Block, PlainStep
from xpnet.backends.dispatch import namespace
from xpnet.optimizers import (
    OPTIMIZERS,
    SGD,
    Accumulate,
    Adam,
    ClipByNorm,
    ClipByValue,
    Momentum,
    ScaleGradients,
    WeightDecay,
)
from xpnet.optimizers.transforms import apply_transforms, init_transforms, select, step_when
from xpnet.schedules import Cosine, ReduceOnPlateau, Step


def slopes(x, t, w):
    """The gradient of mean((x w - t)²)/2, by hand."""
    return x.T @ (x @ w - t) / len(x)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_small_minibatches_add_up_to_a_large_one(training_backend, array, rng, name):
    b, steps = training_backend, 4
    optimizer = OPTIMIZERS[name](lr=ReduceOnPlateau(Cosine(0.05, 10, final=0.01)), clip_norm=1.0, weight_decay=0.01)
    x, t, w = rng.normal(size=(24, 3)), rng.normal(size=24), rng.normal(size=3)
    params, expected = {"w": b.asarray(w, copy=True)}, {"w": w.copy()}
    transforms = (Accumulate(steps),)
    states, state, ours = init_transforms(transforms, params), optimizer.init(params), optimizer.init(expected)
    for epoch in range(3):
        for i in range(steps):
            at = b.to_numpy(params["w"]).copy()
            rows = slice(6 * i, 6 * i + 6)
            grads = {"w": array(slopes(x[rows], t[rows], at))}
            grads, states, ready = apply_transforms(transforms, grads, states, params)
            assert (ready.shape, ready.dtype, bool(ready)) == ((), b.xp.bool, i == steps - 1)
            params, state = step_when(ready, optimizer, params, grads, state)
            assert (b.to_numpy(params["w"]) != at).any() == (i == steps - 1)
            assert int(state.get("t", epoch)) == epoch + (i == steps - 1)
        expected, ours = optimizer.step(expected, {"w": slopes(x, t, expected["w"])}, ours)
    np.testing.assert_allclose(b.to_numpy(params["w"]), expected["w"], rtol=1e-11, atol=1e-13)
    assert int(states["0"]["count"]) == 0


def test_a_step_that_waits_writes_into_nothing(training_backend, array, rng):
    """On libraries whose arrays change in place, the step that may be dropped is taken on copies."""
    b, optimizer = training_backend, Adam(Step(0.1, 2), weight_decay=0.1)
    params, (grads,) = problem(rng, steps=1)
    params = on(b, params)
    state = optimizer.init(params)
    before = host(b, {"params": params, "state": state})
    before = {k: a.copy() for k, a in leaves(before).items()}
    for waiting in (True, False):
        ready = b.asarray(not waiting, copy=True)
        found, after = step_when(ready, optimizer, params, {k: array(g) for k, g in grads.items()}, state)
        for place, a in leaves({"params": params, "state": state}).items():
            np.testing.assert_array_equal(b.to_numpy(a), before[place])
        same = [
            np.array_equal(b.to_numpy(a), before[place])
            for place, a in leaves({"params": found, "state": after}).items()
        ]
        assert all(same) if waiting else not any(same)


def test_what_stands_behind_one_that_waits_waits_too(training_backend, array, rng):
    b = training_backend
    params, gradients = problem(rng, steps=12)
    means = [{k: sum(g[k] for g in gradients[i : i + 3]) / 3 for k in SHAPES} for i in range(0, 12, 3)]
    gradients, means = ([{k: array(g) for k, g in grads.items()} for grads in some] for some in (gradients, means))
    expected, *_ = trained((Smooth(),), Momentum(0.1), on(b, params), means)
    found, _, states, _ = trained((Accumulate(3), Smooth()), Momentum(0.1), on(b, params), gradients)
    assert list(states) == ["0", "1"]
    for key in SHAPES:
        np.testing.assert_allclose(b.to_numpy(found[key]), b.to_numpy(expected[key]), rtol=1e-12)
    twice, *_ = trained((Accumulate(3), Smooth(), Accumulate(2)), SGD(0.1), on(b, params), gradients)
    smooth, seen = dict.fromkeys(SHAPES, 0), []
    for grads in means:
        smooth = {k: 0.5 * smooth[k] + 0.5 * b.to_numpy(grads[k]) for k in SHAPES}
        seen.append(smooth)
    for key, w in params.items():
        wanted = w - 0.1 * (seen[0][key] + seen[1][key]) / 2 - 0.1 * (seen[2][key] + seen[3][key]) / 2
        np.testing.assert_allclose(b.to_numpy(twice[key]), wanted, rtol=1e-12)


def test_one_after_the_other_multiplies(rng):
    params, gradients = problem(rng, steps=13)
    found = [trained(t, SGD(0.1), dict(params), gradients) for t in ((Accumulate(2), Accumulate(3)), (Accumulate(6),))]
    for key in SHAPES:
        np.testing.assert_allclose(found[0][0][key], found[1][0][key], rtol=1e-12)
        assert abs(found[0][0][key] - params[key]).min() > 0
    assert [bool(ready) for *_, ready in found] == [False, False]


def test_an_infinite_sum_is_gone_with_its_step():
    two, params = Accumulate(2), {"w": np.zeros(1)}
    state = two.init(params)
    for g, ready in ((np.inf, False), (1.0, True), (2.0, False), (4.0, True)):
        grads, state = two.update({"w": np.asarray([g])}, state, params)
        assert bool(two.ready(state)) == ready
    assert grads["w"] == 3


def test_a_gradient_that_is_missing_is_zero():
    two, params = Accumulate(2), {"w": np.zeros(1), "v": np.zeros(1), "frozen": np.zeros(1)}
    state, found = two.init(params), []
    for given in ({"w": 1.0, "v": 4.0}, {"w": 3.0, "v": 4.0}, {"w": 1.0}, {"w": 3.0, "v": 4.0}):
        grads, state = two.update({k: np.asarray([g]) for k, g in given.items()}, state, params)
        found.append({k: float(g[0]) for k, g in grads.items()})
    assert found[1::2] == [{"w": 2.0, "v": 4.0}, {"w": 2.0, "v": 2.0}]


def test_sums_of_small_dtypes_have_room(training_backend, array):
    b, many = training_backend, Accumulate(4096)
    if b.name == "strict":
        pytest.skip("array-api-strict has no float16")
    params = {"w": b.asarray(np.zeros(1, "float16"), copy=True)}
    state = many.init(params)
    assert state["sums"]["w"].dtype == b.xp.float32
    for _ in range(4096):
        grads, state = many.update({"w": array([1.0], "float16")}, state, params)
    assert float(grads["w"][0]) == 1  # in float16 the sum stays at 2048
    params, _ = SGD(0.5).step(params, grads, {})
    assert str(params["w"].dtype).endswith("float16")


def test_one_compilation(rng):
    jax = pytest.importorskip("jax", reason="JAX is not installed, so nothing is compiled")
    transforms = (ScaleGradients(0.5), Accumulate(3), ClipByNorm(1.0), Smooth(), WeightDecay(0.1))
    optimizer = Adam(ReduceOnPlateau(Cosine(0.05, 40)))
    start, gradients = problem(rng, steps=8)

    def step(state, grads):
        params = state["params"]
        grads, states, ready = apply_transforms(transforms, grads, state["transforms"], params)
        params, own = step_when(ready, optimizer, params, grads, state["optimizer"])
        return {"params": params, "optimizer": own, "transforms": states}

    compiled = jax.jit(step, donate_argnums=0)
    params = {k: jax.numpy.asarray(v) for k, v in start.items()}
    state = {"params": params, "optimizer": optimizer.init(params), "transforms": init_transforms(transforms, params)}
    for grads in gradients:
        state = compiled(state, {k: jax.numpy.asarray(g) for k, g in grads.items()})
    assert compiled._cache_size() == 1
    expected = trained(transforms, optimizer, start, gradients)
    for tree, ours in zip((state["params"], state["optimizer"], state["transforms"]), expected, strict=False):
        for place, a in leaves(ours).items():
            np.testing.assert_allclose(np.asarray(leaves(tree)[place]), a, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    "transforms",
    [
        (Accumulate(3),),
        (Accumulate(2), Accumulate(2)),
        (WeightDecay(0.01), Accumulate(4), Smooth(), ClipByNorm(0.5)),
        (ClipByValue(0.1), ScaleGradients(2.0), Smooth()),
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_recorded_and_replayed(rng, name, transforms):
    """On NumPy, to rounding, with the state in the arrays that it was in."""
    optimizer = OPTIMIZERS[name](lr=Cosine(0.05, 40, final=0.01))
    x, t = rng.normal(size=(60, 3)), rng.normal(size=60)

    def step(state, data, rows, draws):
        xp, params = namespace(data["x"]), state["params"]
        batch, target = (xp.take(data[name], rows, axis=0) for name in "xt")
        difference = xp.matmul(batch, params["w"]) + params["b"] - target
        grads = {"w": xp.matmul(batch.T, difference) / 6, "b": xp.sum(difference) / 6}
        grads, states, ready = apply_transforms(transforms, grads, state["transforms"], params)
        params, own = step_when(ready, optimizer, params, grads, state["optimizer"])
        loss = xp.sum(difference * difference) / 12
        return {"params": params, "optimizer": own, "transforms": states}, loss

    numpy = get_backend("numpy")
    block, found = Block(rng.integers(0, 60, (11, 6)), {}), []
    for each in (PlainStep(step, numpy), numpy.compile(step)):
        params = {"w": np.asarray([0.5, -1.0, 2.0]), "b": np.asarray(0.1)}
        state = {
            "params": params,
            "optimizer": optimizer.init(params),
            "transforms": init_transforms(transforms, params),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("error", CompileWarning)
            found.append(each.run(state, {"x": x, "t": t}, block))
    (plain, losses), (replayed, losses_again) = found
    np.testing.assert_allclose(losses_again, losses, rtol=1e-12)
    for place, a in leaves(plain).items():
        np.testing.assert_allclose(leaves(replayed)[place], a, rtol=1e-11, atol=1e-14, err_msg=place)
        assert leaves(replayed)[place].dtype == a.dtype


def test_select():
    new, old = {"a": {"b": np.ones(2)}, "c": np.asarray(3)}, {"a": {"b": np.zeros(2)}, "c": np.asarray(4)}
    for ready, expected in ((True, new), (False, old)):
        found = select(np.asarray(ready), new, old)
        np.testing.assert_array_equal(found["a"]["b"], expected["a"]["b"])
        assert found["c"] == expected["c"]
        assert isinstance(found["c"], np.ndarray)


def test_states_of_other_transforms_or_parameters():
    params, grads = {"w": np.ones(2)}, {"w": np.ones(2)}
    states = init_transforms((WeightDecay(0.1), Accumulate(2)), params)
    assert list(states) == ["1"], "only what has a state has a place"
    with pytest.raises(ValueError, match=r"no state of transforms\[0\], Accumulate\(steps=2\); start with init"):
        apply_transforms((Accumulate(2),), grads, states, params)
    with pytest.raises(ValueError, match=r"there are states of the transforms \['1'\], expected those of \[\]"):
        apply_transforms((WeightDecay(0.1),), grads, states, params)
    for other, message in (
        ({"v": np.ones(2)}, r"state has no sum for the gradient of 'w', of shape \(2,\); expected what Accumulate"),
        ({"w": np.ones(3)}, r"state has a sum of shape \(3,\) for the gradient of 'w', of shape \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            Accumulate(2).update(grads, Accumulate(2).init(other), params)
