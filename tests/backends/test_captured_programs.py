"""What becomes of a recorded step on its way to a CUDA graph; neither CuPy nor a GPU is needed for that."""

from __future__ import annotations

import numpy as np
import pytest
from replaying import NUMPY

from xpnet import SGD, Adam, TwoLayerNet, make_step, namespace
from xpnet.backends.captured.blocks import for_blocks
from xpnet.backends.captured.groups import FUSED, MOST_PLACES, fused
from xpnet.backends.captured.outlines import outline, product
from xpnet.backends.captured.simpler import simpler
from xpnet.backends.captured.source import kernel_source
from xpnet.backends.replay.program import Call, Ref
from xpnet.training import init_state

UFUNCS = [np.add, np.multiply, np.divide, np.maximum, np.greater, np.exp, np.negative, np.power]
LAYOUTS = {
    "rows": lambda x: x,
    "columns": np.asfortranarray,
    "turned": lambda x: np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0),
    "a part": lambda x: np.pad(x, 1)[1:-1, 1:-1, 1:-1],
    "one row": lambda x: x[:1],
}


@pytest.mark.parametrize("function", UFUNCS, ids=lambda f: f.__name__)
def test_an_outline_lies_as_the_result_would(function, rng):
    x = rng.integers(1, 5, (2, 3, 4))
    for dtype in ("float32", "float64", "int32", "uint8"):
        for first in LAYOUTS.values():
            for second in (*LAYOUTS.values(), lambda x: 2, lambda x: 2.5, lambda x: x[0, 0], lambda x: x[0, 0, 0]):
                values = [first(x.astype(dtype)), second(x.astype("float32" if dtype == "uint8" else dtype))]
                values = values[: function.nin]
                wanted, found = np.asarray(function(*values)), outline(function, values)
                assert (found.dtype, found.shape, found.strides) == (wanted.dtype, wanted.shape, wanted.strides)
                assert not found.any()


def test_an_outline_of_a_product():
    found = product(np.ones((5, 1, 2, 3), "float32"), np.ones((4, 3, 6)))
    assert (found.shape, found.dtype, found.any()) == ((5, 4, 2, 6), np.float64, False)
    with pytest.raises(ValueError, match=r"shapes \(2, 3\) and \(4, 5\) do not fit"):
        product(np.ones((2, 3)), np.ones((4, 5)))


def test_numbers_are_given_to_kernels_and_do_not_stand_in_them(rng):
    """Each once, in the dtype that it is computed in."""
    x = {name: Ref((3,), np.dtype(name)) for name in ("float32", "float16", "uint8")}
    for name, value, given in (
        ("float32", 0.1, np.float32(0.1)),
        ("float16", 0.1, np.float32(np.float16(0.1))),
        ("uint8", 3, np.uint8(3)),
        ("float32", float("inf"), np.float32(np.inf)),
    ):
        call = Call("multiply", (x[name], value), Ref((3,), np.dtype(name)), {}, np.multiply, elementwise=True)
        again = Call("add", (call.out, value), Ref((3,), np.dtype(name)), {}, np.add, elementwise=True)
        source, inputs = kernel_source([call, again], (again.out,))
        assert inputs == (x[name], given)
        assert inputs[1].dtype == given.dtype
        assert not set("0123456789.") & set(source.replace("v0", "").replace("v1", "").replace("x0", "")) - set("1608")


def test_kernels_are_the_same_for_all_learning_rates(rng):
    data = {"x": rng.normal(size=(64, 6)).astype("float32"), "t": rng.integers(0, 3, 64)}
    found = []
    for rate in (0.1, 0.2):
        net = TwoLayerNet(6, 4, 3, seed=0, backend="numpy")
        calls = calls_of(make_step(net, Adam(rate)), init_state(net, Adam(rate)), data)
        found.append([call.source for call in calls if call.name == FUSED])
    assert found[0] == found[1]


def calls_of(step, state, data, samples=8):
    """The calls of a step as they would be captured, for blocks of up to four steps."""
    program = NUMPY.compile(step)._recorded(state, data, np.zeros(samples, int), {})
    return fused(for_blocks(simpler(program), 4)).calls


def test_sgd_and_adam_take_as_many_launches(rng):
    """Each array of parameters is one kernel; all counters are in that of the loss."""
    data = {"x": rng.normal(size=(64, 6)).astype("float32"), "t": rng.integers(0, 3, 64)}
    for optimizer in (SGD(0.1), Adam(0.1)):
        net = TwoLayerNet(6, 4, 3, seed=0, backend="numpy")
        calls = calls_of(make_step(net, optimizer), init_state(net, optimizer), data)
        names = [call.name for call in calls]
        assert names.count(FUSED) == 11
        assert len(names) == 25


def names_of(line, rng):
    """The calls of a step of one line, in which ``a`` and ``b`` are matrices and ``s`` is a state."""

    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        a = xp.take(data["x"], rows, axis=0)
        here = {"xp": xp, "a": a, "b": xp.tanh(a), "s": state}
        exec(line.replace("; ", "\n"), here)
        return state, xp.sum(here["y"])

    state, data = {"v": np.ones((8, 3)), "w": np.ones(3)}, {"x": rng.normal(size=(20, 3))}
    return [call.name for call in calls_of(step, state, data)][2:-2]  # without rows, a, the counter and the loss


TOGETHER = {
    "one after the other": ("y = xp.exp(a * b) + 1", ["fused", "sum"]),
    "what another call reads in between": ("c = a * b; d = xp.sum(c, axis=0); y = c + b", ["fused", "sum", "sum"]),
    "what another call makes in between": (
        "c = a * b; d = xp.sum(c, axis=0); y = c + d",
        ["fused", "sum", "fused", "sum"],
    ),
    "two states of two shapes": ("s['v'] += a; s['w'] *= 2; y = a * b", ["fused", "fused", "sum"]),
    "an array that is overwritten later": (
        "c = a * b; d = xp.sum(c, axis=0); c += 1; y = c * d",
        ["fused", "sum", "fused", "sum"],
    ),
    "a row of what was computed": ("c = a * b; c[0] = s['w']; y = c + 1", ["fused", "fused", "fused", "sum"]),
    "parts of a whole": ("y = xp.concat([a, a * b], axis=1)", ["fused", "fused", "sum"]),
    "clipped": ("y = xp.clip(a * 2, -1, 1)", ["fused", "sum"]),
    "nothing that is read": ("c = xp.exp(a); y = a * 2", ["fused", "sum"]),
}


@pytest.mark.parametrize(("line", "names"), TOGETHER.values(), ids=TOGETHER)
def test_what_is_computed_together(line, names, rng):
    assert names_of(line, rng) == names


def test_a_kernel_takes_so_many_arrays(rng):
    """As its arguments have room for."""

    def step(state, data, rows, draws):
        for name in state:
            state[name] += 1
        xp = namespace(data["x"])
        return state, xp.sum(xp.take(data["x"], rows, axis=0))

    state = {f"w{i}": np.ones(3) for i in range(100)}
    kernels = [call for call in calls_of(step, state, {"x": np.ones((9, 2))}) if call.name == FUSED]
    assert len(kernels) > 2
    assert all(len({*call.read(), *call.outs}) <= MOST_PLACES for call in kernels)
    assert sum(len(call.outs) for call in kernels) == 101
