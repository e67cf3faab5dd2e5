"""What every optimizer takes and refuses, how it is written, learning rates over time; and the book's optimizers."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from xpnet import book
from xpnet.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Ftrl, Lion, Momentum, NAdam, RMSprop, check_learning_rate
from xpnet.optimizers.adam import bias_correction
from xpnet.schedules import Constant, Cosine, ReduceOnPlateau, Step, Warmup


def test_sgd(training_backend, array):
    b = training_backend
    params = {"W": b.asarray([1.0, 2.0]), "b": b.asarray([[3.0]])}
    grads = {"W": array([10.0, -10.0]), "b": array([[1.0]])}
    sgd = SGD(lr=0.1)
    params, state = sgd.step(params, grads, sgd.init(params))
    np.testing.assert_allclose(b.to_numpy(params["W"]), [0, 3], atol=1e-15)
    sgd.update(params, grads)
    np.testing.assert_allclose(b.to_numpy(params["W"]), [-1, 4], atol=1e-15)
    np.testing.assert_allclose(b.to_numpy(params["b"]), [[2.8]])
    assert state == {}
    assert OPTIMIZERS["sgd"](lr=0.1) == sgd


@pytest.mark.parametrize("lr", [0, -0.1, float("nan"), float("inf"), "0.1", None, True, lambda t: t])
def test_learning_rates_that_are_not(lr):
    for make in (SGD, Adam, check_learning_rate):
        with pytest.raises(ValueError, match=r"the learning rate is .*, expected a positive number"):
            make(lr)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Momentum(0.1, 1.0), "momentum is 1.0, expected a finite number, 0 or more and less than 1"),
        (lambda: Momentum(0.1, -0.1), "momentum is -0.1, expected"),
        (lambda: Adam(beta1=1), "beta1 is 1, expected"),
        (lambda: Adam(beta2="0.9"), "beta2 is '0.9', expected"),
        (lambda: Adam(eps=0), "eps is 0, expected a positive number, 1e-8 for example"),
        (lambda: Adam(folded=1), "folded is 1, expected True or False"),
        (lambda: RMSprop(decay_rate=math.nan), "decay_rate is nan, expected"),
        (lambda: RMSprop(centered="yes"), "centered is 'yes', expected True or False"),
        (lambda: NAdam(momentum_decay=-1), "momentum_decay is -1, expected a finite number, 0 or more"),
        (lambda: Ftrl(learning_rate_power=0.5), "learning_rate_power is 0.5, expected a finite number, 0 or less"),
        (lambda: Ftrl(initial_accumulator_value=0), "initial_accumulator_value is 0, expected a positive number"),
        (lambda: Ftrl(l1=-1), "l1 is -1, expected a finite number, 0 or more"),
        (lambda: Ftrl(l2=math.inf), "l2 is inf, expected a finite number"),
        (lambda: SGD(weight_decay=-1e-4), "weight_decay is -0.0001, expected a finite number, 0 or more"),
        (lambda: SGD(weight_decay=True), "weight_decay is True, expected a finite number"),
        (lambda: SGD(decoupled=None), "decoupled is None, expected True or False"),
        (lambda: SGD(decay_biases=0), "decay_biases is 0, expected True or False"),
        (lambda: SGD(clip_value=0), "clip_value is 0, expected a positive number"),
        (lambda: SGD(clip_norm=-1.0), "clip_norm is -1.0, expected a positive number"),
        (lambda: SGD(lr=10**400), "the learning rate is 1000000.*, expected a positive number"),
        (lambda: Adam(beta1=-(10**400)), "beta1 is -1000000.*, expected a finite number"),
        (
            lambda: Ftrl(learning_rate_power=-math.inf),
            "learning_rate_power is -inf, expected a finite number, 0 or less",
        ),
        (lambda: SGD(clip_value="1"), "clip_value is '1', expected a positive number, 1.0 for example, or None"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_empty_state_where_there_is_something_to_remember():
    for optimizer, missing in ((Momentum(0.1), "slots of 'w';"), (SGD(Step(0.1, 5)), "count of steps,")):
        with pytest.raises(ValueError, match=rf"state has no {missing} expected what .*init\(params\) returned"):
            optimizer.step({"w": np.ones(2)}, {"w": np.ones(2)}, {})


def test_what_all_share_is_given_by_name():
    with pytest.raises(TypeError, match="positional"):
        SGD(0.1, 0.01)
    with pytest.raises(TypeError, match="positional"):
        AdamW(0.1, 0.9, 0.999, 1e-8, False, 0.01)


def test_numbers_become_plain_ones():
    for kind in OPTIMIZERS.values():
        numbers = {f.name: np.float64(f.default) for f in fields(kind) if isinstance(f.default, float)}
        for f in fields(kind(**numbers, clip_norm=np.float32(2))):
            assert type(getattr(kind(**numbers), f.name)) in (float, bool, type(None)), f.name
        assert kind(**numbers) == kind()


@pytest.mark.parametrize(
    ("optimizer", "text"),
    [
        (SGD(0.1), "SGD(lr=0.1)"),
        (SGD(), "SGD(lr=0.01)"),
        (Momentum(0.1, 0.5), "Momentum(lr=0.1, momentum=0.5)"),
        (Adam(weight_decay=1e-4), "Adam(lr=0.001, weight_decay=0.0001)"),
        (AdamW(clip_norm=1), "AdamW(lr=0.001, clip_norm=1.0)"),
        (RMSprop(centered=True, decoupled=True), "RMSprop(lr=0.01, centered=True, decoupled=True)"),
        (SGD(Step(0.1, 5)), "SGD(lr=Step(lr=0.1, every=5, factor=0.1))"),
    ],
)
def test_as_text(optimizer, text):
    assert repr(optimizer) == text
    assert eval(text, {**vars(__import__("xpnet.optimizers").optimizers), "Step": Step}) == optimizer


def test_learning_rates_over_time(backend, array):
    steps = array([0.0, 1.0, 2.0, 3.0])
    for lr, expected in (
        (0.1, [0.1, 0.1, 0.1, 0.1]),
        (Step(0.4, 2, 0.5), [0.4, 0.4, 0.2, 0.2]),
        (ReduceOnPlateau(Warmup(4, 0.4)), [0.1, 0.2, 0.3, 0.4]),
    ):
        np.testing.assert_allclose(backend.to_numpy(SGD(lr).learning_rates(steps)), expected)
        np.testing.assert_allclose(backend.to_numpy(SGD(lr).learning_rates(array([0, 1, 2, 3]))), expected)


def test_the_scale_of_a_plateau_is_in_the_state(training_backend, array):
    """Whoever trains replaces it between epochs."""
    b, sgd = training_backend, SGD(ReduceOnPlateau(Step(0.4, 1, 0.5)))
    params = {"w": b.asarray([1.0, 2.0], copy=True)}
    state = sgd.init(params)
    assert float(state["scale"]) == 1
    for scale, expected in ((1.0, [0.6, 1.6]), (0.5, [0.5, 1.5]), (0.25, [0.475, 1.475])):
        state["scale"] = b.asarray(scale, "float64")
        params, state = sgd.step(params, {"w": array([1.0, 1.0])}, state)
        np.testing.assert_allclose(b.to_numpy(params["w"]), expected)
    assert (int(state["t"]), float(state["scale"])) == (3, 0.25)


def test_a_constant_schedule_is_a_number(rng):
    w, g = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    for kind in OPTIMIZERS.values():
        found = []
        for lr in (0.1, Constant(0.1), ReduceOnPlateau(0.1)):
            params, optimizer = {"w": w.copy()}, kind(lr=lr, weight_decay=0.1)
            for _ in range(2):
                optimizer.update(params, {"w": g})
            found.append(params["w"])
        np.testing.assert_allclose(found[1], found[0], rtol=1e-12)
        np.testing.assert_allclose(found[2], found[0], rtol=1e-12)


def test_only_parameters_with_a_gradient_move_in_a_step():
    params, adamw = {"w": np.ones(2), "frozen": np.ones(2)}, AdamW(0.1)
    params, _ = adamw.step(params, {"w": np.ones(2)}, adamw.init(params))
    assert params["w"][0] < 1 == params["frozen"][0]


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        ({"W": 1}, r"grads lacks \['b'\]; expected a gradient for each of \['W', 'b'\].* use step\(params"),
        ({"W": 1, "b": 1, "c": 1}, r"grads has \['c'\], which params has not; expected"),
        ({"W": 1, "B": 1}, r"grads lacks \['b'\] and has \['B'\], which params has not; expected"),
        ({}, r"grads lacks \['W', 'b'\]; expected"),
    ],
)
def test_an_update_needs_a_gradient_of_each_parameter(training_backend, array, grads, message):
    params = {name: training_backend.asarray([1.0, 2.0], copy=True) for name in ("W", "b")}
    for optimizer in (SGD(0.1), Adam(0.1)):
        with pytest.raises(ValueError, match=message):
            optimizer.update(params, {name: array([1.0, 1.0]) for name in grads})
        assert vars(optimizer).keys() == {f.name for f in fields(optimizer)}, "nothing is kept of it"
    for w in params.values():
        np.testing.assert_array_equal(training_backend.to_numpy(w), [1, 2])


def test_an_update_of_what_is_no_array():
    array, update = np.ones(2), Momentum(0.1).update
    with pytest.raises(TypeError, match=r"params\['w'\]: expected an array .* but this is of type list"):
        update({"w": [1.0, 2.0]}, {"w": array})
    with pytest.raises(TypeError, match=r"grads\['w'\]: expected an array .* but this is .*make one first"):
        update({"w": array}, {"w": None})
    with pytest.raises(TypeError, match=r"params is .*, expected a dict of arrays by name"):
        update([array], {"w": array})
    with pytest.raises(TypeError, match=r"grads is .*, expected a dict of arrays by name"):
        update({"w": array}, array)


def test_the_decay_of_lion_is_decoupled_as_in_its_paper():
    for options, expected in (({}, 0.95 - 0.1), ({"decoupled": False}, 1 - 0.1)):
        params = {"w": np.asarray([1.0])}
        Lion(lr=0.1, weight_decay=0.5, **options).update(params, {"w": np.asarray([1.0])})
        np.testing.assert_allclose(params["w"], expected)


def test_what_divides_by_the_learning_rate_needs_one_above_zero():
    zero = Cosine(0.1, 5)
    for lr in (zero, Warmup(3, zero), ReduceOnPlateau(zero), ReduceOnPlateau(Warmup(3, zero))):
        with pytest.raises(ValueError, match=r"comes down to 0; expected .* final=0\.001"):
            Ftrl(lr)
        assert SGD(lr).lr == lr
    params, ftrl = {"w": np.asarray([1.0])}, Ftrl(ReduceOnPlateau(Warmup(3, Cosine(0.1, 5, final=0.001))))
    for _ in range(12):
        ftrl.update(params, {"w": np.asarray([0.5])})
    assert np.isfinite(params["w"]).all()


def test_switches_of_numpy():
    adam = Adam(0.1, folded=np.True_, decoupled=np.False_)
    assert (adam.folded, adam.decoupled) == (True, False)
    assert {type(adam.folded), type(adam.decoupled)} == {bool}


def test_the_bias_correction_is_precise_in_float32(backend, array):
    t = array([1.0, 2.0, 10.0, 1e5], "float32")
    expected = [-math.expm1(step * math.log(0.9999)) for step in (1, 2, 10, 1e5)]
    np.testing.assert_allclose(backend.to_numpy(bias_correction(0.9999, t)), expected, rtol=1e-6)
    np.testing.assert_array_equal(backend.to_numpy(bias_correction(0.0, t)), 1)


def test_equal_gradients_leave_no_variance_below_zero():
    """Without a guard, rounding leaves the root of a negative number sooner or later."""
    params, optimizer = {"w": np.full(50, 1.0, "float32")}, RMSprop(1e-4, 0.5, centered=True)
    g = np.linspace(0.1, 3.3, 50, dtype="float32")
    for _ in range(100):
        optimizer.update(params, {"w": g})
    assert np.isfinite(params["w"]).all()


def book_sgd(o, w, g, s, t):
    w -= o.lr * g


def book_momentum(o, w, g, s, t):
    s["v"] = o.momentum * s.get("v", 0) - o.lr * g
    w += s["v"]


def book_nesterov(o, w, g, s, t):
    v = s.get("v", 0)
    w += o.momentum * o.momentum * v
    w -= (1 + o.momentum) * o.lr * g
    s["v"] = o.momentum * v - o.lr * g


def book_adagrad(o, w, g, s, t):
    s["h"] = s.get("h", 0) + g * g
    w -= o.lr * g / (np.sqrt(s["h"]) + 1e-7)


def book_rmsprop(o, w, g, s, t):
    s["h"] = o.decay_rate * s.get("h", 0) + (1 - o.decay_rate) * g * g
    w -= o.lr * g / (np.sqrt(s["h"]) + 1e-7)


def book_adam(o, w, g, s, t):
    lr_t = o.lr * np.sqrt(1 - o.beta2**t) / (1 - o.beta1**t)
    m, v = s.get("m", 0), s.get("v", 0)
    s["m"], s["v"] = m + (1 - o.beta1) * (g - m), v + (1 - o.beta2) * (g**2 - v)
    w -= lr_t * s["m"] / (np.sqrt(s["v"]) + 1e-7)


@pytest.mark.parametrize(
    ("optimizer", "rule"),
    [
        (book.SGD(lr=0.01), book_sgd),
        (book.Momentum(lr=0.01, momentum=0.9), book_momentum),
        (book.Nesterov(lr=0.01, momentum=0.9), book_nesterov),
        (book.AdaGrad(lr=0.01), book_adagrad),
        (book.RMSprop(lr=0.01, decay_rate=0.99), book_rmsprop),
        (book.Adam(lr=0.001, beta1=0.9, beta2=0.999), book_adam),
    ],
    ids=lambda v: type(v).__name__ if not callable(v) else "",
)
def test_the_books_rules(rng, optimizer, rule):
    assert type(optimizer)() == optimizer, "these are the book's defaults"
    ours = {"W1": rng.normal(size=(3, 2)), "b1": rng.normal(size=2)}
    theirs, slots = {name: w.copy() for name, w in ours.items()}, {name: {} for name in ours}
    for t in range(1, 51):
        # small gradients, beside which the 1e-7 counts
        grads = {name: 1e-6 * rng.normal(size=w.shape) for name, w in ours.items()}
        optimizer.update(ours, grads)
        for name, w in theirs.items():
            rule(optimizer, w, grads[name], slots[name], t)
    for name, w in theirs.items():
        np.testing.assert_allclose(ours[name], w, rtol=1e-10)
