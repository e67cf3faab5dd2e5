"""What variables refuse, and what they say; and NumPy's own functions, which are recorded or refused."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

from xpnet import get_backend, use_backend
from xpnet.backends.dispatch import namespace
from xpnet.graph import Variable, constant, draw, grad, group, variable


def total(x):
    return namespace(x).sum(x)


REFUSED = {
    "what no library has": (
        lambda v, xp: xp.nosuch(v),
        AttributeError,
        "nosuch is not recorded; the standard's functions are",
    ),
    "sorting in place": (lambda v, xp: v.sort(), AttributeError, r"'sort'; a variable is not written into"),
    "a function's name": (lambda v, xp: v.linspace, AttributeError, r"has a function: namespace\(v\)\.linspace"),
    "an option that nobody knows": (
        lambda v, xp: xp.sum(v, weights=v),
        TypeError,
        "options axis.*keepdims; got weights",
    ),
    "complex result": (lambda v, xp: grad(lambda x: 1j * xp.sum(x))(v.value), TypeError, "complex number.*real"),
    "export": (lambda v, xp: v.__dlpack__(), BufferError, r"the graph would end.*v\.value is its array"),
    "a mask of another shape": (lambda v, xp: v[xp.stack([v > 0, v > 0])], IndexError, "too many indices"),
    "a shorter mask": (lambda v, xp: v[(v > 0)[:1]], IndexError, r"mask of shape \(1,\).*\(2,\)"),
    "two dots": (lambda v, xp: v[..., [0], ...], IndexError, "one ... at most"),
    "assignment": (lambda v, xp: v.__setitem__(0, 1), TypeError, "cannot be assigned into.*where"),
    "exact sum": (lambda v, xp: xp.sum(v, dtype=xp.int64), TypeError, "floating-point dtypes, got int64"),
    "item": (lambda v, xp: v.item(), AttributeError, r"no attribute 'item'; v\.value is its array, and float\(v\)"),
    "detach": (lambda v, xp: v.detach(), AttributeError, r"constant\(v\) is its value"),
    "rounded": (lambda v, xp: round(xp.sum(v), 2), TypeError, r"f'{v:\.3f}' shows"),
    "format of a vector": (lambda v, xp: f"{v:.2f}", TypeError, r"'\.2f' is for one number.*\(2,\)"),
    "whole float": (lambda v, xp: v[xp.sum(v.value)], TypeError, "this index is"),
    "out of bounds": (lambda v, xp: v[2], IndexError, r"index 2 is out of bounds for axis 0 of shape \(2,\)"),
    "out of bounds below": (lambda v, xp: v[None, ..., -3], IndexError, "index -3 is out of bounds for axis 0"),
    "rows of a number": (lambda v, xp: xp.sum(v)[xp.arange(1)], IndexError, "too many indices.*1 axes"),
    "rows that are floats": (lambda v, xp: xp.take(v, v.value, axis=0), TypeError, "indices are integers.*float64"),
    "rows along no axis": (lambda v, xp: xp.take(v, xp.arange(1), axis=1), IndexError, r"axis 1 .*\(2,\)"),
    "a name": (lambda v, xp: variable(v.value, 1), TypeError, "name is 1, expected text"),
    "a name of bytes": (lambda v, xp: constant(v, b"x"), TypeError, "name is b'x', expected text"),
    "a name afterwards": (lambda v, xp: setattr(v, "name", 1), TypeError, "name is 1, expected text"),
    "a group's name": (lambda v, xp: group(1).__enter__(), TypeError, "name of a group is 1, expected text"),
    "what to unfold": (lambda v, xp: draw(xp.sum(v), unfold=1), TypeError, "unfold is 1, expected True, False"),
    "variable of a bool": (lambda v, xp: variable(True), TypeError, "True has no derivatives"),
    "variable that is huge": (lambda v, xp: variable(10**400), ValueError, "too large for float64"),
    "too few": (lambda v, xp: xp.add(v), TypeError, "add takes 2 arrays, got 1"),
    "a name that is nearly one": (lambda v, xp: xp.cumsums(v), AttributeError, "not recorded; there is cumsum, "),
    "end of a slice": (lambda v, xp: v[0 : v[0]], TypeError, "slice has integers for ends.*this is variable"),
    "start of a slice": (lambda v, xp: v[..., v.value[0] :], TypeError, "slice has integers for ends"),
    "step of a slice": (lambda v, xp: v[::1.5], TypeError, "slice has integers for ends and step, and this is 1.5"),
    "range": (lambda v, xp: range(v[0]), TypeError, r"an integer is needed.*dtype float64; int\(v\)"),
    "entry of a list": (lambda v, xp: [1, 2][v[0]], TypeError, "an integer is needed"),
    "length of a number": (lambda v, xp: len(v[0]), TypeError, r"no length.*no array is made.*float\(v\)"),
    "linalg": (lambda v, xp: xp.linalg(v), TypeError, "linalg is a folder of functions"),
    "fft": (lambda v, xp: xp.fft(v), TypeError, "fft is a folder of functions"),
    "float": (lambda v, xp: v[1.0], TypeError, "indexed with integers, slices.*this index is 1.0, of type float"),
    "text": (lambda v, xp: v["a"], TypeError, "of type str"),
    "list operand": (lambda v, xp: v * [1.0, 2.0], TypeError, "of type list"),
    "variable of variable": (lambda v, xp: variable(v), TypeError, r"is a variable already.*constant\(v\)"),
    "variable of a list": (lambda v, xp: variable([1.0]), TypeError, "expected an array.*of type list"),
    "variable of integers": (lambda v, xp: variable(xp.astype(v, xp.int64).value), TypeError, "int64.*floating-point"),
    "f returns a vector": (lambda v, xp: grad(lambda x: x * 2)(v.value), ValueError, r"\(2,\).*one number"),
    "f returns several": (lambda v, xp: grad(lambda x: (x[0], x[1]))(v.value), TypeError, "of type tuple"),
    "no arguments": (lambda v, xp: grad(lambda: 1.0)(), TypeError, "argument 0, and there are 0"),
    "argnums": (lambda v, xp: grad(lambda x: x, 1)(v.value), TypeError, "argument 1, and there are 1"),
    "argnums, negative": (lambda v, xp: grad(lambda x: x, (0, -2))(v.value), TypeError, "argument -2"),
    "no array": (lambda v, xp: grad(lambda x: x)({}), TypeError, "no array among the arguments"),
    "text argument": (lambda v, xp: grad(lambda x: x)("a"), TypeError, "of type str"),
    "no rows": (lambda v, xp: xp.sum(v)[0], IndexError, "ind"),
    "T of a vector": (lambda v, xp: v.T, ValueError, r"T is for matrices.*\(2,\)"),
    "variable by a name": (lambda v, xp: xp.sum(x=v), TypeError, "sum"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, training_backend, array):
    f, error, message = REFUSED[case]
    v = variable(array([1.0, 2.0]))
    with pytest.raises(error, match=message):
        f(v, namespace(v))


def test_what_does_not_depend_on_the_argument_has_the_gradient_zero(training_backend, array):
    x = array([1.0, 2.0])
    for f in (lambda x: 1.0, lambda x: namespace(x.value).sum(x.value)):
        with pytest.warns(UserWarning, match="the gradient is zero"):
            g = grad(f)(x)
        assert training_backend.to_numpy(g).tolist() == [0, 0]


@pytest.mark.parametrize("key", [np.int64(1), (np.int32(-1), ...), (..., np.uint8(0))])
def test_indices_by_numbers_of_numpy(key, rng):
    host = rng.normal(size=(2, 3))
    v = variable(host)
    np.testing.assert_array_equal(v[key].value, host[key])
    total(v[key] * v[key]).backward()
    wanted = np.zeros((2, 3))
    wanted[key] = 2 * host[key]
    np.testing.assert_array_equal(v.grad, wanted)


def test_numpy_arrays_are_not_written_into(rng):
    host, v = rng.normal(size=3), variable(rng.normal(size=3))
    before = host.copy()
    with pytest.raises(TypeError, match=r"add would write into an array.*write a = a \+ v"):
        host += v
    np.testing.assert_array_equal(host, before)
    with pytest.raises(TypeError, match="multiply would write"):
        np.multiply(v, 2, out=host)
    with pytest.raises(TypeError, match=r"add\.reduce is not recorded"):
        np.add.reduce(v)
    for convert in (np.asarray, np.array, lambda v: np.asarray([v, v])):
        with pytest.raises(TypeError, match=r"not converted to an array.*v\.value"):
            convert(v)
    with pytest.raises((TypeError, AttributeError), match="record"):
        np.mean(a=v)


def test_two_libraries(training_backend, array):
    other = get_backend("numpy" if training_backend.name == "strict" else "strict")
    v, w = variable(array([1.0, 2.0])), variable(other.asarray([1.0, 2.0]))
    names = rf"{training_backend.name} array and a {other.name} array.*get_backend\(name\)\.asarray\(x\)"
    for call in (
        lambda: v + w,
        lambda: v * w.value,
        lambda: namespace(v).concat([v, w]),
        lambda: namespace(v).matmul(v, w),
    ):
        with pytest.raises(TypeError, match=names):
            call()


def test_bitwise(rng):
    """The operators of booleans with a NumPy array on either side, and of integers as NumPy has them."""
    a, b = rng.normal(size=(2, 5)) > 0
    v, n = constant(b), np.arange(5)
    for found, wanted in ((a & v, a & b), (v & a, a & b), (a | v, a | b), (a ^ v, a ^ b), (~v, ~b)):
        np.testing.assert_array_equal(found.value, wanted)
    for f in (lambda n: n & 1, lambda n: n | 2, lambda n: n ^ 3, lambda n: ~n):
        try:
            found = f(constant(n)).value
        except TypeError:
            continue
        np.testing.assert_array_equal(found, f(n))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: namespace(v).linalg.nosuch(v), "^linalg.nosuch is not recorded"),
        (np.trim_zeros, "^trim_zeros is not recorded; .*the standard's functions are"),
        (np.spacing, "^spacing is not recorded"),
        (lambda v: np.random.default_rng(0).normal(v), r"not converted to an array.*v\.value"),
    ],
)
def test_functions_that_are_not_recorded_are_named(call, message):
    v = variable(np.eye(2))
    with pytest.raises((TypeError, AttributeError), match=message):
        call(v)


def test_functions_in_folders_of_a_library(training_backend, array, rng):
    """What is recorded is so under the name that it has there; and without a variable the library computes."""
    host = rng.normal(size=(2, 2))
    v = variable(array(host))
    if hasattr(training_backend.xp, "linalg"):
        product = namespace(v).linalg.matmul(v, v)
        assert isinstance(product, Variable)
        np.testing.assert_allclose(training_backend.to_numpy(product.value), host @ host, rtol=1e-12)
        found = namespace(v).linalg.trace(v.value)
        assert float(found) == pytest.approx(np.trace(host))


def test_broadcast_arrays_looks_at_shapes_alone(array):
    v = variable(array([1.0, 2.0]))
    few, many = array([np.inf, -np.inf]), array([[-np.inf, np.inf], [1.0, 2.0]])
    assert [x.shape for x in namespace(v).broadcast_arrays(v, few, many)] == [(2, 2)] * 3


def test_numpy_while_another_backend_is_selected(rng):
    """Execution follows the arrays, also where NumPy makes numbers of its own of them."""
    a = rng.normal(size=3)
    with use_backend("strict"):
        x = variable(a)
        (np.sum(x * x) ** 2).backward(record=True)
        np.sum(x.grad).backward()
        np.testing.assert_allclose(x.grad, 8 * a.sum() * a + 4 * (a * a).sum(), rtol=1e-12)
        by_both = grad(lambda x, y: np.sum(x) * y, (0, 1))(a, a.sum())
        np.testing.assert_allclose(by_both[1], a.sum(), rtol=1e-12)


#: A function of NumPy, and the same of the namespace
NUMPY = {
    "exp": (np.exp, lambda xp, v: xp.exp(v)),
    "sum": (lambda v: np.sum(v, axis=0), lambda xp, v: xp.sum(v, axis=0)),
    "mean": (lambda v: np.mean(v, axis=1, keepdims=True), lambda xp, v: xp.mean(v, axis=1, keepdims=True)),
    "max": (lambda v: np.max(v, axis=0), lambda xp, v: xp.max(v, axis=0)),
    "matmul": (lambda v: np.matmul(np.transpose(v), v), lambda xp, v: xp.matmul(v.T, v)),
    "dot": (lambda v: np.dot(v.T, v), lambda xp, v: v.T @ v),
    "concatenate": (lambda v: np.concatenate([v, np.ones((1, 3))]), lambda xp, v: xp.concat([v, np.ones((1, 3))])),
    "stack": (lambda v: np.stack([v, v], axis=1), lambda xp, v: xp.stack([v, v], axis=1)),
    "where": (lambda v: np.where(v > 0, v, 0.0), lambda xp, v: xp.where(v > 0, v, 0.0)),
    "maximum": (lambda v: np.maximum(0, v), lambda xp, v: xp.maximum(v, 0)),
    "clip": (lambda v: np.clip(v, -0.5, 0.5), lambda xp, v: xp.clip(v, -0.5, 0.5)),
    "power": (lambda v: np.power(v, 3), lambda xp, v: v**3),
    "reshape": (lambda v: np.reshape(v, (3, 2)), lambda xp, v: xp.reshape(v, (3, 2))),
    "an array on the left": (lambda v: np.arange(3.0) * v, lambda xp, v: v * np.arange(3.0)),
    "a number on the left": (lambda v: np.float64(2) * v, lambda xp, v: v * 2.0),
}


@pytest.mark.parametrize("name", NUMPY)
def test_functions_of_numpy(name, rng):
    theirs, ours = NUMPY[name]
    v = variable(rng.normal(size=(2, 3)))
    found, wanted = theirs(v), ours(namespace(v), v)
    assert isinstance(found, Variable)
    np.testing.assert_array_equal(found.value, wanted.value)
    gradients = []
    for y in (found, wanted):
        total(y * y).backward()
        gradients.append(v.grad)
    np.testing.assert_allclose(*gradients, rtol=1e-13)
    assert np.zeros_like(v).shape == np.ones_like(v).shape == np.full_like(v, 2.0).shape == (2, 3)


def test_a_number_that_would_lose_its_derivative_is_refused_inside_of_a_function_only():
    for escape in (lambda x: x * math.sin(x), lambda x: x * float(x), lambda x: x * int(x)):
        with pytest.raises(TypeError, match=r"has no derivative.*namespace\(x\).*x\.value"):
            grad(escape)(2.0)
    with pytest.raises(TypeError, match="has no derivative"):
        grad(lambda x: grad(lambda y: y * float(x))(1.0))(2.0)
    assert float(grad(lambda x: x * float(x.value))(3.0)) == 3
    assert float(grad(lambda x: x * float(constant(x)))(3.0)) == 3
    outside = variable(3.0)
    assert float(grad(lambda x: x * float(outside))(2.0)) == 3
    assert math.sin(outside) == math.sin(3)


def test_what_python_asks_of_any_object():
    v = variable(np.asarray(1 / 3))
    assert f"{v:.3f}|{v}" == f"0.333|{v!r}"
    assert v not in (None, "v")
    assert len({v, v * 1}) == 2
    with pytest.raises(TypeError, match="cannot be taken apart"):
        del variable(np.ones(3))[0]
    assert float(v.clip(0, 1)) == 1 / 3


def test_a_variable_is_made_by_its_functions_and_not_copied():
    v = variable(1.0)
    for copied in (lambda: copy.copy(v), lambda: copy.deepcopy({"v": v}), lambda: pickle.dumps(v)):
        with pytest.raises(TypeError, match=r"neither pickled nor copied.*v\.value"):
            copied()
    with pytest.raises(TypeError, match=r"variable\(x\) or constant\(x\)"):
        Variable()


@pytest.mark.parametrize(
    "odd", [np.asarray([[1.0, 2.0]]).view(np.matrix), np.ma.masked_array([1.0, 2.0], [True, False])]
)
def test_arrays_with_rules_of_their_own_are_refused(odd):
    with pytest.raises(TypeError, match=r"computes by rules of its own.*numpy\.asarray"):
        grad(lambda x: np.sum(x * x))(odd)
    with pytest.raises(TypeError, match="computes by rules of its own"):
        namespace(odd)


def test_what_another_library_records_is_refused():
    class Recorded(np.ndarray):
        requires_grad = True

    with pytest.raises(TypeError, match=r"requires_grad is set.*x\.detach\(\)"):
        variable(np.ones(2).view(Recorded))
    y = variable(np.ones(2)) * 2
    for f in (y.backward, lambda seed: draw(y, seed=seed)):
        with pytest.raises(TypeError, match=r"seed is recorded by its own library.*seed\.detach\(\)"):
            f(np.ones(2).view(Recorded))


def test_a_seed_that_torch_records_is_refused():
    torch = pytest.importorskip("torch")
    v = variable(torch.ones(2))
    seed = torch.ones(2, requires_grad=True)
    with pytest.raises(TypeError, match=r"seed is recorded by its own library"):
        v.backward(seed)
    v.backward(seed.detach())
    assert not v.grad.requires_grad
    with pytest.raises((TypeError, BufferError), match=r"v\.value is its array"):
        torch.tensor(v)
