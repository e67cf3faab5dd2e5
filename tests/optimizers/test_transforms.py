"""Transforms of gradients: against torch and by formulas, as optimizers have them; values, and what is refused."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from optimizer_rules import problem
from transforming import Smooth, host, leaves, on, trained

from xpnet._typing import Transform
from xpnet.optimizers import (
    OPTIMIZERS,
    SGD,
    TRANSFORMS,
    Accumulate,
    ClipByNorm,
    ClipByValue,
    ScaleGradients,
    WeightDecay,
)
from xpnet.optimizers.transforms import apply_transforms, check_transforms

EXAMPLES = [
    ClipByValue(0.5),
    ClipByNorm(1.5),
    WeightDecay(0.1),
    WeightDecay(0.1, biases=False),
    ScaleGradients(0.25),
    Accumulate(3),
]


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


def test_scalars_and_arrays_without_elements(training_backend, array):
    b = training_backend
    for shape in ((), (0,), (0, 3)):
        params = {"w": b.asarray(np.ones(shape), copy=True)}
        for transform in EXAMPLES:
            gradients = [{"w": array(np.full(shape, 0.5))}] * 3
            found, *_ = trained((transform,), SGD(0.1), dict(params), gradients)
            assert tuple(found["w"].shape) == shape
            assert found["w"].dtype == b.xp.float64


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
