"""Steps drawn at random: what is replayed is what NumPy computes, to the last bit, or it is not replayed and a warning
says so.

A step here is a list of lines of Python. They are drawn one after the other, and those stay that NumPy can run and that
keep the numbers small.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from replaying import NUMPY, copied, one_step, run

from xpnet import CompileWarning, namespace

#: ``{n}`` is a new name; ``{a}``, ``{b}`` and ``{c}`` are arrays there are; ``{f}`` is a number and ``{k}`` an axis.
COMPUTES = """
{n} = {a} + {b}|{n} = {a} - {b}|{n} = {a} * {b}|{n} = {f} * {a}|{n} = {a} * {f}|{n} = {a} / {f}|{n} = {f} - {a}
{n} = {a} / (2.0 + xp.abs({b}))|{n} = xp.tanh({a})|{n} = xp.exp(-xp.abs({a}))|{n} = {a} ** 2|{n} = -{a}
{n} = xp.maximum({a}, {f})|{n} = xp.minimum({a}, {b})|{n} = xp.where({a} > {f}, {b}, {c})
{n} = xp.clip({a}, -0.7, 0.9)|{n} = xp.where({a} > {f}, {f}, {b})|{n} = xp.where({b} < {f}, {a}, 0.0)
{n} = xp.astype({a} > {f}, {a}.dtype) * {b}|{n} = {f} * xp.matmul({a}, {b})|{n} = xp.matmul({a}, {b})
{n} = xp.matmul(xp.matrix_transpose({a}), {f} * {b})|{n} = xp.matmul({f} * {a}, xp.matrix_transpose({b})) / {f}
{n} = xp.sum({a}) * {b}|{n} = xp.sum({a} * {b})|{n} = xp.sum({a}, axis={k})|{n} = xp.max({a}, axis={k}, keepdims=True)
{n} = xp.sum({a}, axis={k}, keepdims=True)|{n} = xp.mean({a}, axis={k})|{n} = xp.max({a}, axis={k})|{n} = xp.min({a})
{n} = xp.var({a}, axis={k})|{n} = xp.mean({a})|{n} = xp.concat([{a}, {b}], axis={k})|{n} = xp.stack([{a}, {b}])
{n} = xp.take({a}, xp.asarray([1, 0, 1]), axis={k})|{n} = xp.astype(xp.floor({a} * 3.0 + 0.4137), xp.int64) * 2 + 1
{n} = xp.astype({a}, xp.float32)|{n} = xp.astype({a}, xp.float64)|{n} = xp.take(x, rows, axis=0)
{n} = xp.take(t, rows, axis=0)|{n} = xp.sqrt(xp.abs({a}))|{n} = xp.zeros_like({a})|{n} = xp.full_like({a}, {f})
{n} = xp.ones({a}.shape, dtype={a}.dtype)|{n} = xp.sort({a}, axis={k})
{n} = xp.reshape(xp.arange({a}.size, dtype={a}.dtype) * 0.01, {a}.shape)|{n} = xp.roll({a}, 1, axis={k})
{n} = xp.asarray({a}, copy=True)|{n} = xp.outer({a}, {b})|{n} = xp.cumulative_sum({a}, axis={k})
"""
VIEWS = """
{n} = {a}[1:]|{n} = {a}[::2]|{n} = {a}[:, ::-1]|{n} = {a}[:, 1:]|{n} = {a}[0]|{n} = {a}[:, 0]|{n} = {a}[None, ...]
{n} = {a}[..., None]|{n} = xp.reshape({a}, (-1,))|{n} = xp.matrix_transpose({a})|{n} = xp.flip({a}, axis={k})
{n} = {a}|{n} = xp.broadcast_to({a}, (3, *{a}.shape))|{n} = xp.reshape({a}, {a}.shape[::-1])
{n} = xp.squeeze({a}, axis=0)|{n} = xp.expand_dims({a}, axis=0)|{n} = xp.reshape({a}, (2, -1))|{n} = {a}.T
{n} = xp.astype({a}, xp.float64, copy=False)
"""
WRITES = """
{a} += {b}|{a} -= {b}|{a} *= {b}|{a} *= {f}|{a} += {f}|{a} /= {f}|{a}[0] = {b}|{a}[:, 0] = {f}|{a}[1:] = {a}[:-1]
{a}[1:] += {b}|{a}[...] = {b}|{a}[...] = {a}.T|{a}[:, 0] = {a}[0, :]|{a} -= xp.mean({a})|s["w"] *= {f}
s["w"] -= {f} * {b}|s["k"] += {f}|s["v"] = s["v"] * {f} + {b}|s["v"] = {a}|s["w"] = xp.tanh(s["w"])
s["v"] += s["w"][0]|s["k"] = xp.mean({a})|{n} = s["k"] * {a}
"""
KINDS = [[each for each in text.replace("\n", "|").split("|") if each] for text in (COMPUTES, VIEWS, WRITES)]
START = ['w = s["w"]', 'v = s["v"]', "b = xp.astype(xp.take(x, rows, axis=0), w.dtype)"]
STEPS, SMALL = 3, 300.0


def arguments(rng, seed):
    dtype = ("float64", "float32")[seed % 2]
    rows, columns = ((11, 4), (60, 3), (40, 9))[seed % 3]
    x, t = rng.normal(size=(2, rows, columns)).astype(dtype)
    x = x if seed % 5 else rng.integers(0, 5, x.shape).astype("uint8")
    t = t if seed % 7 else rng.integers(0, 4, rows)
    state = {"w": rng.normal(size=(columns, columns)), "v": rng.normal(size=columns), "k": np.asarray(0.3)}
    block = rng.integers(0, rows, (STEPS, (6, columns, 30)[seed % 11 % 3]))
    return {name: np.asarray(0.5 * array, dtype) for name, array in state.items()}, x, t, block


def drawn(seed, length=14):
    """The lines of a step, and arguments for it."""
    rng = np.random.default_rng(seed)
    args = arguments(rng, seed)
    lines, names = START, ["w", "v", "b"]
    for _ in range(4 * length):
        chosen = dict(zip("abc", rng.choice(names[-6:] + names[:1], 3), strict=True))
        number, axis = rng.choice([0.5, 0.37, -0.83, 1.7, 3.0]), rng.choice([0, 1, -1, None])
        kind, name = KINDS[rng.choice(3, p=(0.6, 0.2, 0.2))], f"y{len(lines)}"
        line = kind[rng.integers(len(kind))].format(n=name, f=number, k=axis, **chosen)
        if len(lines) < length and stays_small([*lines, line], args):
            lines, names = [*lines, line], [*names, *([name] if line.startswith(name) else [])]
    return lines, args


def step_of(lines):
    """The step of these lines; its loss is of every second array that they make, and of what they are made of."""
    names = [line.split(" =")[0] for line in lines if line.startswith(("y", "b ="))]
    names = [name for name in dict.fromkeys(names) if name.isalnum()][::-2]
    terms = [f"xp.mean(xp.astype({name}, w.dtype)) * {0.3 + i}" for i, name in enumerate(names)]
    code = compile("\n".join([*lines, 's["w"] *= 0.9', f"loss = {' + '.join(terms)}"]), "step", "exec")

    def step(state, data, rows, draws):
        here = {"xp": namespace(data["x"]), "s": dict(state), **data, "rows": rows}
        exec(code, here)
        step.left = here
        return here["s"], here["loss"]

    return step


def stays_small(lines, args):
    """Whether NumPy can do it, several times, and all numbers stay small and of their dtypes."""
    step, (before, x, t, block) = step_of(lines), args
    state = copied(before)
    for rows in block:
        try:
            state, loss = step(state, {"x": x, "t": t}, rows, {})
        except (ValueError, TypeError, IndexError, AttributeError, NameError):
            return False
        arrays = [loss, *state.values(), *(a for name, a in step.left.items() if name[0] in "yb" and name.isalnum())]
        if not all(0 < np.size(a) < 3000 and np.isfinite(a).all() and np.abs(a).max() < SMALL for a in arrays):
            return False
        if any((np.shape(state[name]), state[name].dtype) != (a.shape, a.dtype) for name, a in before.items()):
            return False
    return True


def replayed(lines, args):
    """Why the recorded step did not run, if it did not; it has to have done the same as the step itself."""
    step, (state, x, t, block) = step_of(lines), args
    recorded = NUMPY.compile(step)
    expected, losses = run(step, copied(state), x, t, block)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)
        found, again = run(recorded, copied(state), x, t, block)
    for name, a, b in [("loss", losses, again), *((name, expected[name], found[name]) for name in state)]:
        np.testing.assert_array_equal(b, a, err_msg=f"{name}, of\n" + "\n".join(lines))
    return recorded.reason


@pytest.mark.parametrize("part", range(9))
def test_steps_drawn_at_random(part):
    refused = []
    for seed in range(20 * part, 20 * part + 20):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of means of nothing, for example, which are not kept
            lines, args = drawn(seed)
            refused += filter(None, [replayed(lines, args)])
    assert len(refused) <= 2, refused


CASES = {
    "reshape of what lies column by column": "a = xp.matrix_transpose(b) * 2.0; y0 = xp.reshape(a.T, (-1,)) ** 2",
    "a scaled slice, reshaped": "y0 = xp.matmul(xp.reshape(2.0 * (b + 1.0)[:, :2], (2, 3)), b[:, :1])",
    "a column of the first row": "y0 = b + 0.0; y0[:, 0] = y0[0, :]; s['v'] += y0[0]; s['v'] += y0[1]",
    "its own transpose": "y0 = b + 0.0; y0[...] = y0.T; s['v'] += y0[0]",
    "a number of the same name": "a = xp.sum(b); c = a; c += 1.0; y0 = a * 1.0",
    "an element, then its array": "a = xp.sum(b, axis=0); c = a[0]; a += 1.0; y0 = c * 1.0",
    "a factor that changes": "a = s['k'] * b; s['k'] += 1.0; y0 = xp.matmul(a, b[:, 0])",
    "a factor of integers": "a = xp.astype(xp.floor(b * 3.0), xp.int64); y0 = 0.5 * xp.matmul(xp.concat([b, b]), a)",
    "a sum of another dtype": "a = xp.astype(b, xp.float32); y0 = xp.sum(a * (a + 1), dtype=xp.float64)",
    "a condition of integers": "y0 = xp.where(xp.astype(b * 2.0, xp.int64), b, 0.0)",
    "divided by what has no reciprocal": "y0 = xp.astype(b, xp.float32) * 0.0; y1 = y0 / 1e-39",
    "a mean of many halves": "y0 = xp.astype(xp.full_like(b, 3e4) + b, xp.float16); y1 = xp.mean(y0); y1 = y1 / 1e3",
    "a negative zero": "y0 = xp.atan2(xp.abs(b) * 0.0, -0.0)",
    "a number spread and cast": "a = xp.sum(b, axis=0) * 9; y0 = xp.astype(xp.broadcast_to(a[1:2], (3,)), xp.int64)",
    "part of a new array": "y0 = xp.zeros_like(b); y0[:, 0] = b[0]; y0[1] += 2.0",
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_steps_that_were_drawn_once(case):
    args = arguments(np.random.default_rng(4), 4)
    lines = [*START, *case.split("; ")]
    assert stays_small(lines, args) or "float16" in case
    with np.errstate(all="ignore"):
        replayed(lines, args)


def test_indices_that_differ_between_recordings_are_noticed(rng):
    columns = iter(range(100))

    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        return state, xp.sum(xp.take(data["x"], rows, axis=0)[:, next(columns) % 3])

    with pytest.warns(CompileWarning, match="does not compute the same twice"):
        one_step(NUMPY.compile(step), {"w": np.ones(2)}, rng.normal(size=(9, 3)), np.ones(9), np.arange(4))


def test_rows_of_a_part_are_looked_at(rng):
    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        return state, xp.sum(xp.take(data["x"][:5, :], rows, axis=0))

    with pytest.raises(IndexError):
        run(NUMPY.compile(step), {"w": np.ones(2)}, rng.normal(size=(9, 3)), np.ones(9), [[0], [7]])


@pytest.mark.parametrize("kind", ["scalar", "read-only"])
def test_a_state_that_cannot_be_written_is_replaced(kind, rng):
    def step(state, data, rows, draws):
        xp = namespace(data["x"])
        return {"w": state["w"] + 1.0}, xp.sum(xp.take(data["x"], rows, axis=0))

    w = np.float64(1.0) if kind == "scalar" else np.broadcast_to(1.0, 3)
    with pytest.warns(CompileWarning):
        state, _ = one_step(NUMPY.compile(step), {"w": w}, rng.normal(size=(9, 3)), np.ones(9), np.arange(4))
    np.testing.assert_array_equal(state["w"], np.full(np.shape(w), 2.0))
