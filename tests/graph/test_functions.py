"""Every function that is recorded, by itself: gradients, and gradients of gradients, against those of others."""

from __future__ import annotations

import numpy as np
import pytest
from graph_cases import CASES, CORNERS, FLAT, INSIDE_GRADIENTS
from oracles import gradients

from xpnet import get_backend
from xpnet.backends.dispatch import namespace
from xpnet.graph import grad, variable
from xpnet.graph.operations import OPERATIONS

#: For programs that run once.
QUICK = {"xla_backend_optimization_level": 0}


def test_every_operation_is_in_the_table():
    known = {name.partition(",")[0].partition(" ")[0] for name in CASES} | FLAT.keys() | INSIDE_GRADIENTS
    assert OPERATIONS.keys() <= known, "an operation without a test"


class Problem:
    """Σ w f(x) for differentiation, and Σ d · (the gradient of Σ w f(x)³) for differentiating again."""

    def __init__(self, case, b, rng):
        self.f, self.b, self.n = case.f, b, len(case.shapes)
        self.numbers = tuple(range(self.n))
        self.hosts = [np.asarray(rng.uniform(case.low, case.high, shape)) for shape in case.shapes]
        self.weights = rng.normal(size=case.f(get_backend("numpy").xp, *self.hosts).shape)
        self.directions = [rng.normal(size=x.shape) for x in self.hosts]

    def first(self, make, cubed=False):
        def total(*arrays):
            xp = namespace(arrays[0])
            y = self.f(xp, *arrays)
            return xp.sum((y**3 if cubed else y) * make(self.weights))  # not all libraries let arrays be on the left

        return total

    def second(self, make, differentiate):
        def total(*arrays):
            slopes = differentiate(self.first(make, cubed=True), self.numbers)(*arrays)
            return sum(namespace(g).sum(g * make(d)) for g, d in zip(slopes, self.directions, strict=True))

        return total

    def by_graph(self, make):
        first, second = grad(self.first(make), self.numbers), grad(self.second(make, grad), self.numbers)
        return lambda *arrays: (*first(*arrays), *second(*arrays))

    def by_jax(self):
        """Both gradients, and the first by graph on JAX's arrays: compiled together, which is quickest."""
        import jax

        make, numbers = self.b.asarray, self.numbers
        kinds = jax.grad(self.first(make), numbers), jax.grad(self.second(make, jax.grad), numbers)
        kinds += (grad(self.first(make), numbers),)
        first, second, ours = jax.jit(lambda *x: [f(*x) for f in kinds], compiler_options=QUICK)(*self.hosts)
        return (*first, *second), ours

    def first_by_jax(self):
        import jax

        return jax.jit(jax.grad(self.first(self.b.asarray), self.numbers), compiler_options=QUICK)(*self.hosts)

    def by_torch(self):
        from torch.autograd import grad as by_torch

        second = self.second(self.b.asarray, lambda f, _: lambda *x: by_torch(f(*x), x, create_graph=True))
        first, _ = gradients(self.b, self.first(self.b.asarray), *self.hosts)
        return first + gradients(self.b, second, *self.hosts)[0]

    def steepness(self, h=1e-5):
        """Along the directions, of what is differentiated again: by central difference of the first gradient."""
        f, moves = self.second(np.asarray, grad), list(zip(self.hosts, self.directions, strict=True))
        above, below = ([np.asarray(x + side * d) for x, d in moves] for side in (h, -h))
        return (f(*above) - f(*below)) / (2 * h)


@pytest.mark.parametrize("name", CASES)
def test_gradients(name, training_backend, backend_name, array, rng):
    b, case = training_backend, CASES[name]
    if b.name in case.without:
        pytest.skip(f"{b.name} itself does not compute this")
    problem = Problem(case, b, rng)
    if case.costly and b.compiles_shapes:
        compare(grad(problem.first(np.asarray), problem.numbers)(*problem.hosts), problem.first_by_jax(), 1e-12)
        return
    given = [array(x) for x in problem.hosts]
    if b.name == "jax":
        wanted, ours = problem.by_jax()
        compare(ours, wanted[: problem.n], 1e-12)
    else:
        ours = [b.to_numpy(g) for g in problem.by_graph(array)(*given)]
    if b.name == "torch":
        wanted = problem.by_torch()
        compare(ours, wanted, 1e-12)
    if b.name in ("torch", "jax"):
        compare(problem.by_graph(np.asarray)(*problem.hosts), wanted, 1e-12)
    else:
        wanted, tolerance = gradients(b, problem.first(b.asarray), *problem.hosts)
        compare(ours[: problem.n], wanted, max(tolerance, case.noise))
    if backend_name == "numpy":
        along = sum((g * d).sum() for g, d in zip(ours[problem.n :], problem.directions, strict=True))
        compare([along], [problem.steepness()], 1e-5 if case.noise else 1e-6)
    for x, host in zip(given, problem.hosts, strict=True):
        np.testing.assert_array_equal(b.to_numpy(x), host)


def compare(found, wanted, tolerance):
    for g, w in zip(found, wanted, strict=True):
        g, w = np.asarray(g), np.asarray(w)
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=0, atol=tolerance * np.abs(w).max())


@pytest.mark.parametrize("name", FLAT)
def test_values(name, training_backend, array, rng):
    """As without recording; and nothing comes back through them."""
    if training_backend.compiles_shapes and name not in ("equal", "sign", "argmax", "any"):
        pytest.skip("each costs a compilation, and equal, sign, argmax and any stand for the others")
    x, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    x[0, 0] = y[0, 0]
    v = variable(array(x))
    found, wanted = FLAT[name](namespace(v), v, array(y)), FLAT[name](training_backend.xp, array(x), array(y))
    assert not found.differentiable
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(training_backend.to_numpy(found.value), training_backend.to_numpy(wanted))
    namespace(v).sum(v * namespace(v).astype(found, v.dtype)).backward()
    zero_or_value = np.broadcast_to(training_backend.to_numpy(wanted), x.shape).astype("float64")
    np.testing.assert_array_equal(training_backend.to_numpy(v.grad), zero_or_value)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("name", CORNERS)
def test_corners(name, training_backend, array):
    f, x, wanted = CORNERS[name]
    ours = grad(lambda x: namespace(x).sum(f(namespace(x), x)))
    if training_backend.name == "jax":
        import jax

        theirs = jax.grad(lambda x: namespace(x).sum(f(namespace(x), x)))
        g, their = jax.jit(lambda x: (ours(x), theirs(x)))(array(x))
        if name not in ("abs", "powers"):  # where it says 1, and NaN
            np.testing.assert_allclose(their, wanted, rtol=1e-12)
    else:
        g = ours(array(x))
    np.testing.assert_allclose(training_backend.to_numpy(g), wanted, rtol=1e-12)


INFINITE = {
    "inf and finite": (np.inf, 1.0, 1.0),
    "finite and -inf": (1.0, -np.inf, 1.0),
    "both sides": (np.inf, -np.inf, 1.0),
    "inf twice": (np.inf, np.inf, 0.5),
    "-inf twice": (-np.inf, -np.inf, 0.5),
    "far apart": (800.0, -800.0, 1.0),
    "a tie": (3.0, 3.0, 0.5),
}


@pytest.mark.parametrize("name", INFINITE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logaddexp_of_infinities(name, dtype, training_backend, array):
    """As PyTorch, and, where that says NaN, half to either side, as at any tie."""
    a, b, wanted = INFINITE[name]

    def f(a, b):
        return namespace(a).logaddexp(a, b)

    for one, other, slopes in ((a, b, (wanted, 1 - wanted)), (b, a, (1 - wanted, wanted))):
        found = grad(f, (0, 1))(array(one, dtype), array(other, dtype))
        assert tuple(map(float, found)) == pytest.approx(slopes, rel=1e-6)
        assert [g.dtype == array(1.0, dtype).dtype for g in found] == [True, True]
        by_number = grad(lambda x, other=other: f(x, other))(array(one, dtype))
        assert float(by_number) == pytest.approx(slopes[0], rel=1e-6)
        for i in (0, 1):  # and again
            second = grad(lambda a, b, i=i: grad(f, i)(a, b), (0, 1))(array(one, dtype), array(other, dtype))
            curved = 0.25 if name == "a tie" else 0.0
            assert tuple(map(float, second)) == pytest.approx((curved, -curved) if i == 0 else (-curved, curved))
    try:
        import torch
    except ImportError:
        return
    if not name.endswith("twice"):
        t = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (a, b)]
        torch.logaddexp(*t).backward()
        assert [float(v.grad) for v in t] == pytest.approx([wanted, 1 - wanted])


@pytest.mark.parametrize("name", ["add", "multiply", "divide", "pow", "hypot", "maximum", "where", "matmul"])
def test_random_broadcasts(name, training_backend, array, rng):
    """Stacks of any number of axes, some of length 1 and some absent; against jax.grad where JAX is tested."""
    jax_too = training_backend.name == "jax"
    for _ in range(2 if jax_too else 5):
        whole = rng.integers(1, 4, rng.integers(0, 4))
        a, b = (
            tuple(np.where(rng.random(whole.size) < 0.3, 1, whole)[rng.integers(0, whole.size + 1) :]) for _ in "ab"
        )
        if name == "matmul":
            a, b = (*a, 2, 3), (*b, 3, 2)
        x, y = (np.asarray(rng.uniform(0.5, 2, shape)) for shape in (a, b))

        def f(x, y):
            xp = namespace(x)
            z = xp.where(x > y, x, y) if name == "where" else getattr(xp, name)(x, y)
            return xp.sum(z**3)

        if jax_too:
            import jax

            wanted = jax.jit(jax.grad(f, (0, 1)), compiler_options=QUICK)(array(x), array(y))
            compare(grad(f, (0, 1))(x, y), wanted, 1e-12)
        else:
            found = [training_backend.to_numpy(g) for g in grad(f, (0, 1))(array(x), array(y))]
            compare(found, *gradients(training_backend, f, x, y))


def test_pieces_that_are_empty(training_backend, array):
    x = array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    none = array(np.zeros(0, "int64"))
    for f in (
        lambda xp, x: xp.sum(x[0:0, ...]) + xp.sum(x),
        lambda xp, x: xp.sum(xp.concat([x[:0, :], x])),
        lambda xp, x: xp.sum(xp.take(x, none, axis=1)) + xp.sum(x),
        lambda xp, x: xp.sum(xp.reshape(x[:, 3:], (0, 5))) + xp.sum(x),
    ):
        g = grad(lambda x, f=f: f(namespace(x), x))(x)
        np.testing.assert_array_equal(training_backend.to_numpy(g), np.ones((2, 3)))


def test_negative_number_to_the_power_of_an_array(training_backend, array):
    """(-2)^x is a number for whole x, and has no derivative there: NaN, as jax.grad says, and no error."""
    x = variable(array([2.0, 3.0]))
    namespace(x).sum((-2.0) ** x + x).backward()
    assert np.isnan(training_backend.to_numpy(x.grad)).all()
