"""Transforms: against torch and by formulas; steps that wait for several minibatches; compiled, recorded, refused."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from optimizer_rules import SHAPES, problem

from xpnet import CompileWarning, get_backend
from xpnet._typing import Transform
from xpnet.backends.base import Block, PlainStep
from xpnet.backends.dispatch import namespace
from xpnet.optimizers import (
    OPTIMIZERS,
    SGD,
    TRANSFORMS,
    Accumulate,
    Adam,
    ClipByNorm,
    ClipByValue,
    Momentum,
    ScaleGradients,
    WeightDecay,
)
from xpnet.optimizers.transforms import apply_transforms, check_transforms, init_transforms, select, step_when
from xpnet.schedules import Cosine, ReduceOnPlateau, Step

EXAMPLES = [
    ClipByValue(0.5),
    ClipByNorm(1.5),
    WeightDecay(0.1),
    WeightDecay(0.1, biases=False),
    ScaleGradients(0.25),
    Accumulate(3),
]


def host(backend, tree):
    return {k: host(backend, v) if isinstance(v, dict) else backend.to_numpy(v) for k, v in tree.items()}


def leaves(tree, place=""):
    """The arrays of nested dicts, by their places."""
    return {
        name: array
        for key, value in tree.items()
        for name, array in (
            leaves(value, f"{place}/{key}") if isinstance(value, dict) else {f"{place}/{key}": value}
        ).items()
    }


def trained(transforms, optimizer, params, gradients):
    """Parameters and both states after each of these gradients, as a training step has them."""
    states, state, ready = init_transforms(transforms, params), optimizer.init(params), None
    for grads in gradients:
        grads, states, ready = apply_transforms(transforms, grads, states, params)
        params, state = step_when(ready, optimizer, params, grads, state)
    return params, state, states, ready


def on(backend, values, dtype="float64"):
    return {name: backend.asarray(value.astype(dtype), copy=True) for name, value in values.items()}


@dataclass(frozen=True)
class Smooth:
    """The running mean of gradients: a transform of one's own, which has a state."""

    keep: float = 0.5

    def init(self, params):
        return {name: namespace(w).zeros_like(w) for name, w in params.items()}

    def update(self, grads, state, params):
        state = {name: self.keep * state[name] + (1 - self.keep) * g for name, g in grads.items()}
        return {name: 1.0 * g for name, g in state.items()}, state


def test_clipping_as_torch_has_it(rng):
    torch = pytest.importorskip("torch", reason="torch is not installed, and it is its clipping that is compared with")
    _, (grads,) = problem(rng, steps=1)
    for norm in (0.3, 1.0, 1e3):
        theirs = {name: torch.zeros(g.shape, dtype=torch.float64) for name, g in grads.items()}
        for name, w in theirs.items():
            w.grad = torch.asarray(grads[name].copy())
        torch.nn.utils.clip_grad_norm_(theirs.values(), norm)
        found, state = ClipByNorm(norm).update(grads, {}, grads)
        assert state == {}
        for name, w in theirs.items():
            np.testing.assert_allclose(found[name], w.grad.numpy(), rtol=1e-14)
    for value in (0.1, 0.7, 1e3):
        for name, w in theirs.items():
            w.grad = torch.asarray(grads[name].copy())
        torch.nn.utils.clip_grad_value_(theirs.values(), value)
        found, _ = ClipByValue(value).update(grads, {}, grads)
        for name, w in theirs.items():
            np.testing.assert_array_equal(found[name], w.grad.numpy())


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop", "Adagrad"])
def test_weight_decay_as_torch_has_it(rng, kind):
    torch = pytest.importorskip("torch", reason="torch is not installed, and it is its decay that is compared with")
    params, gradients = problem(rng, steps=10)
    theirs = {name: torch.asarray(w.copy()).requires_grad_() for name, w in params.items()}
    oracle = getattr(torch.optim, kind)(theirs.values(), lr=0.05, weight_decay=0.1)
    for grads in gradients:
        for name, w in theirs.items():
            w.grad = torch.asarray(grads[name])
        oracle.step()
    found, *_ = trained((WeightDecay(0.1),), OPTIMIZERS[kind.lower()](lr=0.05), params, gradients)
    for name, w in theirs.items():
        np.testing.assert_allclose(found[name], w.detach().numpy(), rtol=1e-12)


def test_a_norm_below_the_limit_leaves_gradients_alone(training_backend, array):
    b, grads = training_backend, {"W": array([[3.0, 0.0]]), "b": array([4.0])}
    for norm, factor in ((1.0, 1 / (5 + 1e-6)), (5.0, 5 / (5 + 1e-6)), (5.1, 1)):
        found, _ = ClipByNorm(norm).update(grads, {}, grads)
        np.testing.assert_allclose(b.to_numpy(found["W"]), [[3 * factor, 0]], rtol=1e-15)
        np.testing.assert_allclose(b.to_numpy(found["b"]), [4 * factor], rtol=1e-15)
    zeros, _ = ClipByNorm(1.0).update({"W": array([[0.0, 0.0]])}, {}, grads)
    np.testing.assert_array_equal(b.to_numpy(zeros["W"]), 0)


@pytest.mark.parametrize("transform", EXAMPLES, ids=repr)
def test_pure_and_in_the_dtype_given(training_backend, array, rng, transform):
    b = training_backend
    values, (one, *_) = problem(rng, steps=2)
    for dtype in ("float32", "float64"):
        params, grads = ({k: array(v, dtype) for k, v in tree.items()} for tree in (values, one))
        before = host(b, params), host(b, grads)
        state = transform.init(params)
        kept = {place: b.to_numpy(a).copy() for place, a in leaves(state).items()}
        found, after = transform.update(grads, state, params)
        assert {k: (a.dtype, a.shape) for k, a in found.items()} == {k: (a.dtype, a.shape) for k, a in grads.items()}
        assert {k: (type(a), a.dtype, a.shape) for k, a in leaves(after).items()} == {
            k: (type(a), a.dtype, a.shape) for k, a in leaves(state).items()
        }
        for place, a in leaves(state).items():
            np.testing.assert_array_equal(b.to_numpy(a), kept[place], err_msg="the state given is not written to")
        for tree, values_before in zip((params, grads), before, strict=True):
            for name, a in tree.items():
                np.testing.assert_array_equal(b.to_numpy(a), values_before[name])
    assert transform.update({}, transform.init({}), {}) == ({}, {})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_options_of_optimizers_are_these(training_backend, array, rng, name):
    """To the last bit, and in this order."""
    options = {"clip_value": 0.7, "clip_norm": 1.2, "weight_decay": 0.1, "decay_biases": False, "decoupled": False}
    plain = OPTIMIZERS[name](lr=0.05, weight_decay=0.0)
    optimizer = replace(plain, **options)
    transforms = (ClipByValue(0.7), ClipByNorm(1.2), WeightDecay(0.1, biases=False))
    assert optimizer.transforms == transforms
    assert plain.transforms == replace(optimizer, decoupled=True, clip_value=None, clip_norm=None).transforms == ()
    params, gradients = problem(rng, steps=5)
    gradients = [{k: array(g) for k, g in grads.items()} for grads in gradients]
    found, *_ = trained(transforms, plain, on(training_backend, params), gradients)
    expected, *_ = trained((), optimizer, on(training_backend, params), gradients)
    for key, w in expected.items():
        np.testing.assert_array_equal(training_backend.to_numpy(found[key]), training_backend.to_numpy(w))


def test_a_scaled_loss_keeps_small_gradients(training_backend, array):
    b = training_backend
    if b.name == "strict":
        pytest.skip("array-api-strict has no float16")
    true, scale = np.asarray([1e-9, -2e-8]), 2.0**16
    assert not true.astype("float16").any(), "without a scale they would be lost"
    params = {"w": b.asarray(np.zeros(2, "float32"), copy=True)}
    grads, *_ = apply_transforms((ScaleGradients(1 / scale),), {"w": array(true * scale, "float16")}, {}, params)
    assert grads["w"].dtype == b.xp.float32
    np.testing.assert_allclose(b.to_numpy(grads["w"]), true, rtol=1e-3)


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


def test_scalars_and_arrays_without_elements(training_backend, array):
    b = training_backend
    for shape in ((), (0,), (0, 3)):
        params = {"w": b.asarray(np.ones(shape), copy=True)}
        for transform in EXAMPLES:
            gradients = [{"w": array(np.full(shape, 0.5))}] * 3
            found, *_ = trained((transform,), SGD(0.1), dict(params), gradients)
            assert tuple(found["w"].shape) == shape
            assert found["w"].dtype == b.xp.float64


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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClipByValue(0), "value is 0, expected a positive number, 1.0 for example"),
        (lambda: ClipByNorm(float("inf")), "norm is inf, expected a positive number"),
        (lambda: ClipByNorm(True), "norm is True, expected a positive number"),
        (lambda: WeightDecay(-0.1), "rate is -0.1, expected a finite number, 0 or more"),
        (lambda: WeightDecay(0.1, biases=1), "biases is 1, expected True or False"),
        (lambda: ScaleGradients(0), "factor is 0, expected a positive number, 1 / 1024 for example"),
        (lambda: Accumulate(0), "steps is 0, expected a whole number, 1 or more, 4 for example"),
        (lambda: Accumulate(2.5), "steps is 2.5, expected a whole number"),
        (lambda: Accumulate(True), "steps is True, expected a whole number"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        (ClipByNorm(1.0), r"transforms is .*ClipByNorm.*, expected a tuple of them: \(ClipByNorm\(1\.0\),\)"),
        ("clip", "transforms is .*, expected a tuple of them"),
        (
            (ClipByNorm,),
            r"transforms\[0\] is the class ClipByNorm, expected one made of it, as ClipByNorm\(1\.0\) is",
        ),
        ((ClipByNorm(1.0), SGD(0.1).update), r"transforms\[1\] is .*, expected init\(params\) and update"),
        ((None,), r"transforms\[0\] is of type NoneType, expected init\(params\) and update\(grads, state, params\)"),
    ],
)
def test_what_is_no_transform(transforms, message):
    with pytest.raises(TypeError, match=message):
        check_transforms(transforms)


def test_what_is():
    assert check_transforms([ClipByNorm(1.0), Smooth()]) == (ClipByNorm(1.0), Smooth())
    assert check_transforms(()) == ()
    assert SGD(0.1, clip_norm=1.0).transforms == check_transforms((ClipByNorm(1.0),))


def test_states_of_other_transforms_or_parameters():
    params, grads = {"w": np.ones(2)}, {"w": np.ones(2)}
    states = init_transforms((WeightDecay(0.1), Accumulate(2)), params)
    assert list(states) == ["1"], "only what has a state has a place"
    with pytest.raises(ValueError, match=r"no state of transforms\[0\], Accumulate\(steps=2\); start with init"):
        apply_transforms((Accumulate(2),), grads, states, params)
    with pytest.raises(ValueError, match=r"there are states of \['1'\], expected those of \[\]"):
        apply_transforms((WeightDecay(0.1),), grads, states, params)
    for other, message in (
        ({"v": np.ones(2)}, r"state has no sum for the gradient of 'w', of shape \(2,\); expected what Accumulate"),
        ({"w": np.ones(3)}, r"state has a sum of shape \(3,\) for the gradient of 'w', of shape \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            Accumulate(2).update(grads, Accumulate(2).init(other), params)


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (ClipByValue(1), "ClipByValue(value=1.0)"),
        (ClipByNorm(np.float32(2)), "ClipByNorm(norm=2.0)"),
        (WeightDecay(1e-4), "WeightDecay(rate=0.0001, biases=True)"),
        (ScaleGradients(1 / 4), "ScaleGradients(factor=0.25)"),
        (Accumulate(np.int64(4)), "Accumulate(steps=4)"),
    ],
)
def test_values(transform, text):
    assert repr(transform) == text
    again = TRANSFORMS[type(transform).__name__](**{f.name: getattr(transform, f.name) for f in fields(transform)})
    assert (again, hash(again)) == (transform, hash(transform))
    assert eval(text, dict(TRANSFORMS)) == transform
    assert {type(getattr(transform, f.name)) for f in fields(transform)} <= {float, int, bool}
    with pytest.raises(AttributeError):
        transform.value = 1.0
    typed: Transform = transform
    assert typed.init({}) == {}
