"""Parameters, gradients and states of every dtype, shape and size: steps of what fits, and what does not is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from xpnet import book
from xpnet.optimizers import OPTIMIZERS, SGD, Adam
from xpnet.schedules import Cosine, Step


@pytest.mark.parametrize(
    ("dtype", "grad_dtype", "entries"),
    [
        ("float32", "float32", [300.0, 0.0]),
        ("float32", "float32", [1e20, 0.0]),
        ("float32", "float32", [3e38, 3e38]),
        ("float32", "float64", [1e200, 1e200]),
        ("float64", "float64", [1e300, -1e300]),
        ("float64", "float64", [1e-300, 0.0]),
        ("float64", "int64", [300, 0]),
        ("float32", "int8", [100, -100]),
        ("float64", "uint8", [200, 255]),
        ("float64", "bool", [True, True]),
        ("float64", "int32", [2**31 - 1, -(2**31)]),
        ("float16", "float16", [300.0, 400.0]),
        ("float16", "float32", [3e5, 4e5]),
        ("float16", "float16", [6e4] * 5000),
        ("float16", "int64", [10**6, 0]),
    ],
)
def test_clipping_by_norm_of_what_squares_would_overflow(dtype, grad_dtype, entries, training_backend, array):
    if dtype == "float16" and training_backend.name == "strict":
        pytest.skip("array-api-strict has no float16")
    g = np.asarray(entries, grad_dtype)
    wide = g.astype("longdouble")
    expected = -wide * min(1, 1 / float(np.sqrt((wide * wide).sum())))
    params = {"W": training_backend.asarray(np.zeros(len(g), dtype), copy=True)}
    SGD(lr=1.0, clip_norm=1.0).update(params, {"W": array(g)})
    found = training_backend.to_numpy(params["W"])
    assert found.dtype == np.dtype(dtype)
    tolerance = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-6}[dtype]
    np.testing.assert_allclose(found, expected.astype("float64"), rtol=tolerance, atol=tolerance / 100)


def test_clipping_all_together_where_one_is_large_and_dtypes_differ(training_backend, array):
    b = training_backend
    grads = {"a": array([3e30], "float32"), "b": array([4e30], "float64"), "c": array(np.zeros(0), "float32")}
    params = {name: b.asarray(np.zeros(g.shape, "float64"), copy=True) for name, g in grads.items()}
    SGD(lr=1.0, clip_norm=10.0).update(params, grads)
    np.testing.assert_allclose(b.to_numpy(params["a"]), [-6], rtol=1e-6)
    np.testing.assert_allclose(b.to_numpy(params["b"]), [-8], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "value"), [("float16", 1e5), ("float16", 2.0), ("float32", 1e39), ("int8", 2.0)])
def test_clipping_by_value_in_small_dtypes(dtype, value, training_backend, array):
    if dtype == "float16" and training_backend.name == "strict":
        pytest.skip("array-api-strict has no float16")
    params = {"W": training_backend.asarray(np.zeros(3, "float32"), copy=True)}
    SGD(lr=1.0, clip_value=value).update(params, {"W": array(np.asarray([100, -1, 0], dtype))})
    expected = -np.clip([100.0, -1, 0], -value, value)
    np.testing.assert_allclose(training_backend.to_numpy(params["W"]), expected, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    ("shape", "g"), [((3,), (5, 3)), ((2, 3), (1, 3)), ((2, 3), (3,)), ((), (1,)), ((1, 3), (2, 3)), ((3,), ())]
)
def test_gradients_of_another_shape_are_refused(name, shape, g, training_backend, array):
    optimizer, b = OPTIMIZERS[name](lr=0.1), training_backend
    params = {"b1": b.asarray(np.ones(shape), copy=True)}
    message = rf"the gradient of 'b1' has shape {re.escape(str(g))}, expected {re.escape(str(shape))}"
    for call in (
        lambda: optimizer.update(params, {"b1": array(np.ones(g))}),
        lambda: optimizer.step(params, {"b1": array(np.ones(g))}, optimizer.init(params)),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert tuple(params["b1"].shape) == shape
    np.testing.assert_array_equal(b.to_numpy(params["b1"]), np.ones(shape))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_keep_their_dtype_whatever_that_of_the_gradient(name, training_backend, array):
    b, found = training_backend, {}
    for dtype in ("float32", "float64"):
        optimizer, params = OPTIMIZERS[name](lr=0.1), {"W": b.asarray(np.ones(2, "float32"), copy=True)}
        for _ in range(3):
            optimizer.update(params, {"W": array([0.5, -2.0], dtype)})
        assert params["W"].dtype == b.xp.float32
        found[dtype] = b.to_numpy(params["W"])
    np.testing.assert_array_equal(found["float64"], found["float32"])


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex128"])
def test_parameters_that_would_be_rounded_are_refused(dtype, training_backend, array):
    params = {"W": training_backend.asarray(np.ones(2, dtype), copy=True)}
    with pytest.raises(ValueError, match=rf"the parameter 'W' is {dtype}, .*expected floating-point"):
        SGD(0.1).update(params, {"W": array(np.ones(2))})


def test_complex_gradients_and_unknown_names_are_refused(training_backend, array):
    params = {"W": training_backend.asarray(np.ones(2), copy=True)}
    with pytest.raises(ValueError, match="the gradient of 'W' is complex128, expected float64"):
        SGD(0.1).update(params, {"W": array([1j, 1])})
    with pytest.raises(ValueError, match=r"a gradient of 'V', and no such parameter; expected \['W'\]"):
        SGD(0.1).step(params, {"V": array([1.0, 1])}, {})


@pytest.mark.parametrize("name", [name for name, kind in OPTIMIZERS.items() if kind(lr=0.1).slots(np.ones(2))])
def test_a_state_of_another_dtype_or_shape_is_refused(name, training_backend, array):
    b, optimizer, g = training_backend, OPTIMIZERS[name](lr=0.1), array(np.ones((2, 3)))
    params = {"W": b.asarray(np.ones((2, 3)), copy=True)}
    for other in (np.ones((2, 3), "float32"), np.ones((1, 3)), np.ones(6)):
        state = optimizer.init({"W": b.asarray(other, copy=True)})
        with pytest.raises(
            ValueError,
            match=rf"state: '\w+' of 'W' is .*, which does not fit .*{type(optimizer).__name__}.*init",
        ) as caught:
            optimizer.step(params, {"W": g}, state)
        assert "(2, 3) of float64" in str(caught.value)
    with pytest.raises(ValueError, match=r"state has no slots of 'W'"):
        optimizer.step(params, {"W": g}, optimizer.init({"V": params["W"]}))


@pytest.mark.parametrize(
    "kind", [*OPTIMIZERS.values(), book.AdaGrad, book.RMSprop, book.Adam], ids=lambda k: f"{k.__module__}.{k.__name__}"
)
def test_python_numbers_as_in_the_books_comparison(kind):
    """Chapter 6 keeps x and y as numbers, and appends them to a list after each step."""
    numbers, arrays = {"x": -7.0, "y": 2}, {"x": np.asarray(-7.0), "y": np.asarray(2.0)}
    one, other, path = kind(lr=0.1, clip_norm=3.0), kind(lr=0.1, clip_norm=3.0), []
    for _ in range(5):
        path.append(numbers["x"])
        one.update(numbers, {"x": numbers["x"] / 10, "y": 2 * numbers["y"]})
        other.update(arrays, {"x": arrays["x"] / 10, "y": 2 * arrays["y"]})
        assert numbers == {"x": pytest.approx(float(arrays["x"])), "y": pytest.approx(float(arrays["y"]))}
    assert {type(v) for v in numbers.values()} == {float}
    assert len(set(path)) == 5, "each step has a number of its own"


@pytest.mark.parametrize("which", ["params", "grads"])
def test_arrays_whose_gradients_torch_records_are_refused(which):
    torch = pytest.importorskip("torch", reason="torch is not installed, and it is its autograd that is looked for")
    given = {"params": torch.ones(2), "grads": torch.ones(2)}
    given[which] = given[which].requires_grad_() * 1.0  # in the middle of a graph, where torch takes w -= g
    for optimizer in (SGD(0.1), Adam(0.1)):
        with pytest.raises(TypeError, match=rf"{which}\['W'\] has its library record gradients.*detach\(\)"):
            optimizer.update({"W": given["params"]}, {"W": given["grads"]})


def test_schedules_count_steps_that_small_dtypes_cannot(training_backend, array):
    """2,047 is no bfloat16, and 70,000 no float16."""
    b = training_backend
    if b.name == "strict":
        pytest.skip("array-api-strict has no float16")
    for schedule, t in (
        (Step(1.0, 1000, factor=0.5), 999),
        (Cosine(1.0, 100_000), 50_000),
        (Cosine(1.0, 100_000), 70_000),
    ):
        state = {"t": b.asarray(np.asarray(t, "int32"), copy=True)}
        params = {"w": b.asarray(np.zeros(3, "float16"), copy=True)}
        params, _ = SGD(schedule).step(params, {"w": array(np.ones(3), "float16")}, state)
        assert str(params["w"].dtype).endswith("float16")
        expected = -float(schedule.rate(np.asarray(float(t))))
        np.testing.assert_allclose(b.to_numpy(params["w"]), expected, rtol=2e-3)


def test_gradients_of_fewer_digits_are_clipped_in_those_of_the_parameters(training_backend, array):
    b = training_backend
    if b.name == "strict":
        pytest.skip("array-api-strict has no float16")
    for options, expected in (({"clip_norm": 1e-6}, 1e-8), ({"clip_value": 1e-8}, 1e-8)):
        params = {"w": b.asarray(np.zeros(10_000, "float32"), copy=True)}
        SGD(lr=1.0, **options).update(params, {"w": array(np.ones(10_000), "float16")})
        np.testing.assert_allclose(b.to_numpy(params["w"]), -expected, rtol=2e-2)  # the norm has 1e-6 added to it


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_locked_parameters_are_replaced(name):
    locked, other = np.ones(3), np.ones(3)
    locked.setflags(write=False)
    params, expected = {"w": locked}, {"w": other}
    for given in (params, expected):
        OPTIMIZERS[name](lr=0.1).update(given, {"w": np.ones(3)})
    np.testing.assert_array_equal(params["w"], expected["w"])
    np.testing.assert_array_equal(locked, 1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_without_elements(name, training_backend, array):
    b, optimizer = training_backend, OPTIMIZERS[name](lr=Cosine(0.1, 10, 0.01), clip_norm=1.0)
    for shapes in (((0, 3), (2,)), ((0,), (0, 2))):
        params = {f"w{i}": b.asarray(np.ones(shape), copy=True) for i, shape in enumerate(shapes)}
        optimizer = OPTIMIZERS[name](lr=Cosine(0.1, 10, 0.01), clip_norm=1.0)
        for _ in range(2):
            optimizer.update(params, {key: array(np.ones(w.shape)) for key, w in params.items()})
        assert [tuple(w.shape) for w in params.values()] == list(shapes)
        assert np.isfinite(b.to_numpy(params["w1"])).all()


@pytest.mark.parametrize("g", [None, [1.0, 1.0], "a", 2j], ids=repr)
def test_gradients_that_are_no_arrays(g):
    for w in (np.ones(2), np.asarray(1.0)):
        with pytest.raises(TypeError, match=r"grads\['w'\]"):
            SGD(0.1, clip_norm=1.0).update({"w": w}, {"w": g})
        with pytest.raises(TypeError, match=r"grads\['w'\] is of type"):
            SGD(0.1, clip_norm=1.0).step({"w": w}, {"w": g}, {})


@pytest.mark.parametrize("g", [None, "3", [1.0], np.ones(1), True], ids=repr)
def test_gradients_of_numbers_that_are_none(g):
    params = {"x": 1.0}
    with pytest.raises(TypeError, match=r"grads\['x'\] is .*, expected a number, as params\['x'\] is one"):
        SGD(0.1).update(params, {"x": g})
    assert params == {"x": 1.0}


def test_numbers_of_numpy_and_numbers_beside_arrays(training_backend, array):
    b = training_backend
    for kind in OPTIMIZERS.values():
        params = {"w": 1.0, "i": np.int64(3), "v": b.asarray(np.ones(2), copy=True)}
        kind(lr=0.1, clip_norm=5.0).update(params, {"w": 1.0, "i": 1, "v": array(np.ones(2))})
        assert isinstance(params["w"], float)
        assert isinstance(params["i"], float)
        assert params["w"] == pytest.approx(float(params["v"][0]))


def test_gradients_of_another_library_are_refused(training_backend):
    if training_backend.name == "numpy":
        pytest.skip("the other library would be NumPy")
    params = {"w": training_backend.asarray(np.ones(2), copy=True)}
    with pytest.raises(TypeError, match=r"grads\['w'\] is a numpy array, and its parameter a .* array"):
        SGD(0.1).update(params, {"w": np.ones(2)})


def test_a_state_without_the_count_of_steps():
    for optimizer in (Adam(0.1), SGD(Cosine(0.1, 5))):
        with pytest.raises(ValueError, match=r"state has no count of steps, expected what .* returned"):
            optimizer.step({"w": np.ones(2)}, {"w": np.ones(2)}, {"slots": {"w": {"m": np.ones(2), "v": np.ones(2)}}})


@pytest.mark.parametrize(
    "value",
    [np.asarray(0.25), np.asarray(0.25, "float32"), np.float16(0.25)],
    ids=lambda v: f"{v.dtype}, {type(v).__name__}",
)
def test_arrays_without_axes_are_numbers(value):
    assert SGD(value).lr == SGD(0.25).lr == 0.25
    assert SGD(0.1, clip_norm=value) == SGD(0.1, clip_norm=0.25)
    with pytest.raises(ValueError, match="expected a positive number"):
        SGD(np.asarray(True))
    with pytest.raises(ValueError, match="expected a positive number"):
        SGD(np.asarray("0.1"))
