"""Schedules against closed forms, torch.optim.lr_scheduler, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from xpnet.backends.dispatch import use_backend, widest_floating
from xpnet.schedules import SCHEDULES, Constant, Cosine, Exponential, ReduceOnPlateau, Schedule, Step, Warmup

STEPS = 40
CLOSED_FORMS = [
    (Constant(0.3), lambda t: 0.3),
    (Step(0.3, every=7), lambda t: 0.3 * 0.1 ** (t // 7)),
    (Step(0.3, 3, factor=0.5), lambda t: 0.3 * 0.5 ** (t // 3)),
    (Exponential(0.3, 0.9), lambda t: 0.3 * 0.9**t),
    (Exponential(0.3, 0.5, per=10), lambda t: 0.3 * 0.5 ** (t / 10)),
    (Cosine(0.3, 25), lambda t: 0.15 * (1 + math.cos(math.pi * t / 25)) if t < 25 else 0.0),
    (Cosine(0.3, 25, final=0.1), lambda t: 0.1 + 0.1 * (1 + math.cos(math.pi * t / 25)) if t < 25 else 0.1),
    (Warmup(5, 0.3), lambda t: 0.3 * min((t + 1) / 5, 1)),
    (Warmup(5, Step(0.3, every=7)), lambda t: 0.3 * ((t + 1) / 5 if t < 5 else 0.1 ** ((t - 5) // 7))),
    (Warmup(5, Warmup(2, Exponential(0.3, 0.9))), lambda t: twice_warmed(t)),
    (ReduceOnPlateau(0.3), lambda t: 0.3),
    (ReduceOnPlateau(Exponential(0.3, 0.9)), lambda t: 0.3 * 0.9**t),
]


def twice_warmed(t):
    return 0.15 * (t + 1) / 5 if t < 5 else 0.15 if t == 5 else 0.3 * 0.9 ** (t - 7) if t > 6 else 0.3


@pytest.mark.parametrize(("schedule", "form"), CLOSED_FORMS, ids=lambda v: repr(v) if isinstance(v, Schedule) else "")
def test_closed_forms(array, backend, schedule, form):
    expected = [form(t) for t in range(STEPS)]
    found = schedule(array(range(STEPS), "float64"))
    np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-13, atol=1e-16)
    for t in (0, 5, STEPS - 1):  # as in a training step
        single = schedule(array(t, "float32"))
        assert (single.shape, single.dtype) == ((), backend.xp.float32)
        assert float(single) == pytest.approx(expected[t], rel=1e-5, abs=1e-8)
    narrow = schedule(array([[0, 1], [2, 30]], "float32"))
    assert (narrow.shape, narrow.dtype) == ((2, 2), backend.xp.float32)
    assert schedule.start == pytest.approx(0.3)


@pytest.mark.parametrize(("schedule", "form"), CLOSED_FORMS, ids=lambda v: repr(v) if isinstance(v, Schedule) else "")
def test_compiled(schedule, form):
    jax = pytest.importorskip("jax", reason="JAX is not installed, so nothing is compiled")
    compiled = jax.jit(schedule)
    found = [float(compiled(jax.numpy.asarray(float(t), dtype="float64"))) for t in range(STEPS)]
    np.testing.assert_allclose(found, [form(t) for t in range(STEPS)], rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in CLOSED_FORMS], ids=repr)
def test_step_numbers_are_integers_too(array, backend, schedule):
    """The rates are then in the widest dtype, as in float16 or as integers they would be worth nothing."""
    expected = backend.to_numpy(schedule(array([0.0, 3.0, 8.0])))
    for dtype in ("int64", "int32", "uint8"):
        found = schedule(array([0, 3, 8], dtype))
        assert found.dtype == widest_floating(found)
        np.testing.assert_array_equal(backend.to_numpy(found), expected)
    single = schedule(array(3, "int32"))
    assert (single.shape, single.dtype) == ((), found.dtype)
    assert float(single) == pytest.approx(expected[1], rel=1e-14)
    for number in (3, 3.0, np.float64(3), np.int64(3), np.float32(3)):
        rate = schedule(number)
        assert type(rate) is float
        assert rate == pytest.approx(expected[1], rel=1e-14)


def test_a_number_on_the_current_backend(backend):
    with use_backend(backend):
        assert Cosine(0.3, 25, final=0.1)(7) == pytest.approx(0.1 + 0.1 * (1 + math.cos(math.pi * 7 / 25)), rel=1e-14)


def test_what_is_no_step_number(array):
    with pytest.raises(TypeError, match="t is bool, expected step numbers, integer or floating-point"):
        Constant(0.1)(array([True, False]))
    for t in (True, None, "3", [0, 1]):
        with pytest.raises(TypeError, match="expected an array of the Array API standard"):
            Step(0.1, 5)(t)


def test_a_schedule_of_ones_own(array, backend):
    class Triangle(Schedule):
        start = 0.5

        def rate(self, t):
            return self.start * abs(1 - t / 4)

    expected = [0.5, 0.25, 0.0, 0.25]
    np.testing.assert_array_equal(backend.to_numpy(Triangle()(array([0, 2, 4, 6]))), expected)
    warmed = Warmup(2, Triangle())(array([2, 4, 6, 8]))
    np.testing.assert_array_equal(backend.to_numpy(warmed), expected)
    assert Triangle()(2) == 0.25


@pytest.mark.parametrize(
    ("schedule", "reaches"),
    [
        (Cosine(0.1, 5), True),
        (Warmup(2, Cosine(0.1, 5)), True),
        (ReduceOnPlateau(Warmup(2, Cosine(0.1, 5))), True),
        (Cosine(0.1, 5, final=1e-9), False),
        (ReduceOnPlateau(Warmup(2, 0.1)), False),
        (Exponential(0.1, 0.5), False),
    ],
)
def test_whether_it_comes_down_to_zero(schedule, reaches):
    assert schedule.reaches_zero is reaches
    assert (schedule(100) == 0) is reaches


def test_far_away_nothing_overflows():
    t = np.asarray([0.0, 1e6])
    np.testing.assert_allclose(Warmup(10_000, Exponential(0.1, 0.1))(t), [1e-5, 0])
    np.testing.assert_allclose(Step(0.1, 1)(t), [0.1, 0])


def torch_rates(make, steps=STEPS, lr=0.3):
    torch = pytest.importorskip("torch", reason="torch is not installed, so its schedules are no oracle")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    scheduler, rates = make(torch.optim.lr_scheduler, optimizer), []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "theirs", "steps"),
    [
        (Step(0.3, 7, 0.5), lambda s, o: s.StepLR(o, 7, 0.5), STEPS),
        (Exponential(0.3, 0.9), lambda s, o: s.ExponentialLR(o, 0.9), STEPS),
        (Cosine(0.3, 25), lambda s, o: s.CosineAnnealingLR(o, 25), 26),
        (Cosine(0.3, 25, 0.1), lambda s, o: s.CosineAnnealingLR(o, 25, 0.1), 26),
        (Warmup(5, 0.3), lambda s, o: s.LinearLR(o, start_factor=1 / 5, total_iters=4), STEPS),
        (Warmup(5, Step(0.3, 7)), lambda s, o: warmed(s, o, lambda: s.StepLR(o, 7)), STEPS),
        (Warmup(5, Cosine(0.3, 25)), lambda s, o: warmed(s, o, lambda: s.CosineAnnealingLR(o, 25)), 31),
    ],
    ids=lambda value: "torch" if callable(value) and not isinstance(value, Schedule) else repr(value),
)
@pytest.mark.filterwarnings(
    "default:The epoch parameter in `scheduler.step:UserWarning"
)  # its own SequentialLR gives it
def test_as_torch_has_it(schedule, theirs, steps):
    np.testing.assert_allclose(schedule(np.arange(float(steps))), torch_rates(theirs, steps), rtol=1e-12, atol=1e-16)


def warmed(s, o, then):
    return s.SequentialLR(o, [s.LinearLR(o, start_factor=1 / 5, total_iters=4), then()], milestones=[5])


PLATEAUS = [
    {},
    {"factor": 0.5, "patience": 0},
    {"factor": 0.5, "patience": 3, "cooldown": 2},
    {"factor": 0.3, "patience": 1, "threshold": 0.2, "min_lr": 0.01},
    {"factor": 0.5, "patience": 2, "monitor": "accuracy"},
    {"factor": 0.5, "patience": 1, "monitor": "validation_accuracy", "threshold": 0.1, "cooldown": 1},
    {"factor": 0.1, "patience": 0, "monitor": "validation_loss", "threshold": 0.0},
]


def walk(rng, kind):
    """Values of 60 epochs: down and flat, about zero, or with NaN in between."""
    values = np.cumsum(rng.normal(size=60)) / 3
    values = np.abs(values) if kind != "signed" else values
    if kind == "nan":
        values[rng.random(60) < 0.3] = np.nan
    return values.tolist()


@pytest.mark.parametrize("kind", ["positive", "signed", "nan"])
@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_plateaus_as_torch_finds_them(rng, options, kind):
    torch = pytest.importorskip("torch", reason="torch is not installed, so its schedules are no oracle")
    ours, values = ReduceOnPlateau(0.3, **options), walk(rng, kind)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    known = {f.name: getattr(ours, f.name) for f in fields(ours) if f.name not in ("lr", "monitor")}
    mode = "max" if "accuracy" in ours.monitor else "min"
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, **known)
    rates = []
    for epoch, value in enumerate(values):
        theirs.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
        assert 0.3 * ours.scale(values[: epoch + 1]) == pytest.approx(rates[-1], rel=1e-12)
    assert len(set(rates)) > 1, "a walk without a plateau checks nothing"


@pytest.mark.parametrize(
    ("options", "values", "scales"),
    [
        ({"patience": 1}, [3, 2, 2, 2, 2, 2], [1, 1, 1, 0.5, 0.5, 0.25]),
        ({"patience": 0, "cooldown": 2}, [3, 3, 3, 3, 3], [1, 0.5, 0.5, 0.5, 0.25]),
        ({"patience": 0, "min_lr": 0.15}, [3, 3, 3, 3], [1, 0.5, 0.375, 0.375]),
        ({"patience": 0, "monitor": "accuracy"}, [0.5, 0.6, 0.6, 0.7], [1, 1, 0.5, 0.5]),
        ({"patience": 0, "monitor": "r2", "threshold": 0.1}, [-2.0, -1.9, -1.7, 0.1], [1, 0.5, 0.5, 0.5]),
        ({"patience": 0, "threshold": 0.1}, [1.0, 0.95, 0.8, 0.79], [1, 0.5, 0.5, 0.25]),
        ({"patience": 0}, [math.nan, 1.0, math.nan, 0.5], [0.5, 0.5, 0.25, 0.25]),
        ({"patience": 0}, [], []),
    ],
)
def test_plateaus_by_hand(options, values, scales):
    plateau = ReduceOnPlateau(0.4, factor=0.5, **options)
    assert [plateau.scale(values[: i + 1]) for i in range(len(values))] == pytest.approx(scales)
    assert plateau.scale([]) == 1.0
    inside = ReduceOnPlateau(Warmup(3, Cosine(0.4, 10)), factor=0.5, **options)
    assert inside.scale(values) == plateau.scale(values)


def test_no_validation_data():
    with pytest.raises(ValueError, match=r"validation_loss of epoch 1 is None.*give fit validation=\(x, t\)"):
        ReduceOnPlateau(0.1, monitor="validation_loss").scale([0.5, None])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(0), "lr is 0, expected a positive number"),
        (lambda: Constant(True), "lr is True, expected a positive number"),
        (lambda: Step(0.1, 0), "every is 0, expected a whole number, 1 or more, 1000 for example"),
        (lambda: Step(0.1, 2.5), "every is 2.5, expected a whole number"),
        (lambda: Step(0.1, 2, -1), "factor is -1, expected a positive number, 0.1 for example"),
        (lambda: Step(10**400, 2), r"lr is 10000000.*\(401 characters\), expected a positive number"),
        (lambda: Constant(10**5000), "lr is a very large integer, expected a positive number"),
        (lambda: Exponential(math.nan, 0.5), "lr is nan, expected a positive number"),
        (lambda: Exponential(0.1, 0), "factor is 0, expected a positive number, 0.99 for example"),
        (lambda: Exponential(0.1, 0.5, per=0), "per is 0, expected a whole number, 1 or more, 1000 for example"),
        (lambda: Cosine(0.1, -1), "steps is -1, expected a whole number"),
        (lambda: Cosine(0.1, 5, -0.1), "final is -0.1, expected a finite number, 0 or more"),
        (lambda: Cosine(0.1, 5, math.inf), "final is inf, expected a finite number"),
        (lambda: Cosine(0.1, 5, 10**400), r"final is 10000000.*, expected a finite number, 0 or more"),
        (lambda: Warmup(0, 0.1), "steps is 0, expected a whole number"),
        (lambda: Warmup(5, "0.1"), "then is '0.1', expected a positive number, .* or a schedule"),
        (lambda: Warmup(5, ReduceOnPlateau(0.1)), r"then is Reduce.*inside: ReduceOnPlateau\(Warmup"),
        (lambda: ReduceOnPlateau(ReduceOnPlateau(0.1)), "lr is ReduceOnPlateau.*depends on t alone"),
        (lambda: ReduceOnPlateau(-1), "lr is -1, expected a positive number, .* or a schedule"),
        (lambda: ReduceOnPlateau(0.1, 1.0), "factor is 1.0, expected a finite number, more than 0 and less than 1"),
        (lambda: ReduceOnPlateau(0.1, 0), "factor is 0, expected a finite number, more than 0 and less than 1"),
        (lambda: ReduceOnPlateau(0.1, patience=-1), "patience is -1, expected a whole number, 0 or more"),
        (lambda: ReduceOnPlateau(0.1, cooldown=0.5), "cooldown is 0.5, expected a whole number"),
        (lambda: ReduceOnPlateau(0.1, threshold=1), "threshold is 1, expected a finite number, 0 or more and less"),
        (lambda: ReduceOnPlateau(0.1, min_lr=-1e-3), "min_lr is -0.001, expected a finite number, 0 or more"),
        (lambda: ReduceOnPlateau(0.1, monitor="luck"), "unknown monitor 'luck', expected one of: loss, accuracy"),
        (
            lambda: ReduceOnPlateau(0.1, monitor=["loss"]),
            r"unknown monitor \['loss'\], expected one of: loss, accuracy",
        ),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_plain_values_that_can_be_compared_and_written_down():
    given = [
        Constant(np.float64(0.1)),
        Step(np.float32(0.5), np.int64(3)),
        Exponential(1, np.float64(0.5), np.int64(2)),
        Cosine(1, np.int64(3), np.float64(0)),
        Warmup(np.int64(3), np.float64(0.1)),
        ReduceOnPlateau(np.float64(0.1), np.float64(0.5), np.int64(3), min_lr=np.float64(0)),
    ]
    assert {type(s).__name__: type(s) for s in given} == SCHEDULES
    for schedule in given:
        values = {f.name: getattr(schedule, f.name) for f in fields(schedule)}
        assert {type(v) for v in values.values()} <= {float, int, str}
        assert type(schedule)(**values) == schedule
        assert hash(type(schedule)(**values)) == hash(schedule)
