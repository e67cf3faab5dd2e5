"""Steps drawn at random: lines of Python, of which those stay that NumPy can run and that keep the numbers small."""

from __future__ import annotations

import numpy as np
from replaying import copied

from xpnet import namespace

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
