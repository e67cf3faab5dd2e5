"""What the recorded functions are tried on: one row each, and those without a derivative by themselves."""

from __future__ import annotations

import operator

import numpy as np
from graph_standard import STANDARD, Case, indices, reduced

from xpnet.backends.dispatch import device


def over(name, *axes, shape=(2, 3, 2), without=(), costly=True, **options):
    """A reduction over each of these axes, with and without the axes kept."""
    found = {}
    for axis in axes:
        for keepdims in (False, True):
            label = f"{name} over {axis}{', kept' * keepdims}{options or ''}"
            found[label] = Case(
                reduced(name, axis=axis, keepdims=keepdims, **options),
                (shape,),
                without=without,
                costly=costly and (axis, keepdims) != (1, True),
            )
    return found


def method(name):
    return lambda xp, *arrays: getattr(xp, name)(*arrays)


ANY, POSITIVE, INSIDE = (-2, 2), (0.5, 2), (-0.8, 0.8)
UNARY = {
    **dict.fromkeys(["abs", "exp", "expm1", "square", "negative", "positive"], ANY),
    **dict.fromkeys(["sin", "cos", "sinh", "cosh", "tanh", "atan", "asinh"], ANY),
    **dict.fromkeys(["log", "log1p", "log2", "log10", "sqrt", "reciprocal"], POSITIVE),
    **dict.fromkeys(["asin", "acos", "atanh", "tan"], INSIDE),
    "acosh": (1.2, 3),
}
BINARY = {
    **dict.fromkeys(["add", "subtract", "multiply", "maximum", "minimum", "logaddexp", "hypot", "atan2"], ANY),
    **dict.fromkeys(["divide", "pow", "remainder"], POSITIVE),
}
#: Shapes that broadcast; the first three are enough where each is compiled.
SPREAD = [((2, 1), (1, 3)), ((), (2, 3)), ((2, 3), (3,)), ((2, 3), (2, 3)), ((2, 3), ()), ((2, 1, 3), (2, 1)), ((), ())]
PRODUCTS = [
    ((2, 3), (3, 4)),
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 1, 2, 3), (3, 3, 4)),
    ((3,), (2, 3, 4)),
    ((2, 2, 3), (3,)),
    ((2, 2, 3), (3, 4)),
    ((2, 3), (2, 3, 4)),
    ((1, 2, 3), (4, 3, 1)),
]
KEYS = [
    (0, ...),
    (-1, ...),
    (2, 1, -1),
    (slice(None), 1, slice(None)),
    (slice(1, None), ...),
    (slice(None, None, 3), ..., slice(1)),
    (None, slice(None), None, ...),
    (..., 0),
    (..., None, slice(0, 2), 1),
    (0, ..., None),
    (slice(-3, -1), ..., None, 0),
    ...,
    (slice(None, None, -1), ...),
    (slice(3, 0, -2), ..., slice(None, None, -1)),
]
NUMBERS = {
    "x + 2": lambda x: x + 2,
    "2 + x": lambda x: 2 + x,
    "x - 2": lambda x: x - 2,
    "2 - x": lambda x: 2 - x,
    "x * 3.5": lambda x: x * 3.5,
    "3.5 * x": lambda x: 3.5 * x,
    "x / 3": lambda x: x / 3,
    "3 / x": lambda x: 3 / x,
    "x ** 1": lambda x: x**1,
    "x ** 2": lambda x: x**2,
    "x ** 3": lambda x: x**3,
    "x ** -1": lambda x: x**-1,
    "x ** 0.5": lambda x: x**0.5,
    "x ** 2.0": lambda x: x**2.0,
    "2 ** x": lambda x: 2.0**x,
    "1 ** x times x": lambda x: 1.0**x * x,
    "-x": lambda x: -x,
    "+x": lambda x: +x,
    "abs(x)": abs,
    "x % 0.3": lambda x: x % 0.3,
}
CASES: dict[str, Case] = {
    **{name: Case(method(name), ((2, 3),), *domain) for name, domain in UNARY.items()},
    **{
        f"{name} {a} {b}": Case(method(name), (a, b), *domain, costly=i > 2 or (i > 0 and name not in ("add", "pow")))
        for name, domain in BINARY.items()
        for i, (a, b) in enumerate(SPREAD)
    },
    **{
        f"operator {name}": Case(
            lambda xp, x, f=f: f(x), ((2, 3),), 0.5, 2, costly=name not in ("2 - x", "3 / x", "x ** 0.5", "2 ** x")
        )
        for name, f in NUMBERS.items()
    },
    "operator 2 % x": Case(
        lambda xp, x: 2 % x, ((2, 3),), 0.5, 2, without=("torch",), costly=True
    ),  # it has no derivative
    "operators": Case(lambda xp, x, y: (x + y) * (x - y) / (x * y) + x**y, ((2, 1), (3,)), 0.5, 2),
    "T": Case(lambda xp, x, y: x.T * y, ((2, 3), (3, 2))),
    "mT": Case(lambda xp, x: x.mT, ((2, 2, 3),)),
    **{f"matmul {a} {b}": Case(method("matmul"), (a, b), costly=i > 5) for i, (a, b) in enumerate(PRODUCTS)},
    "operator @": Case(lambda xp, x, y: x @ y @ x, ((2, 3), (3, 2))),
    "matrix_transpose": Case(lambda xp, x: xp.matrix_transpose(x), ((2, 2, 3),)),
    **{
        f"getitem {key}": Case(
            lambda xp, x, key=key: x[key], ((4, 3, 2),), without=("torch",) * (i > 11), costly=i not in (2, 5, 8, 13)
        )
        for i, key in enumerate(KEYS)
    },
    "getitem by a row of integers": Case(lambda xp, x: x[indices(x, [2, 0, 2, 1])], ((4,),)),
    "take": Case(lambda xp, x: xp.take(x, indices(x, [2, 0, 2]), axis=0), ((3, 2),)),
    "take, negative": Case(lambda xp, x: xp.take(x, indices(x, [-1, 0, 2]), axis=1), ((2, 3),), without=("torch",)),
    "take, axis -2": Case(lambda xp, x: xp.take(x, indices(x, [1, 1, 1, 0]), axis=-2), ((2, 3, 2),), costly=True),
    **over("sum", None, 0, 1, -1, (0, 2), (-1, -2)),
    **over("mean", None, 0, 1, -1, (0, 2), (-1, -2)),
    **over("max", None, 0, 1, -1, (0, 2)),
    **over("min", None, 0, 1, -1, (0, 2)),
    **over("var", None, 1, (0, -1), correction=1),
    **over("std", None, 1, (0, -1), correction=0.5, without=("torch",)),  # whole numbers there
    "sum, in order": Case(lambda xp, x: xp.sum(x, axis=-1, dtype=x.dtype), ((2, 3),)),
    "sum of a number": Case(lambda xp, x: xp.sum(x) + xp.mean(x) * xp.max(x), ((),)),
    "clip": Case(lambda xp, x: xp.clip(x, -1.0, 1.0), ((3, 4),)),
    "clip, below": Case(lambda xp, x: xp.clip(x, min=-0.5), ((3, 4),)),
    "clip, above": Case(lambda xp, x: xp.clip(x, max=0.5), ((3, 4),), costly=True),
    "clip, by arrays": Case(lambda xp, x, y: xp.clip(x, y - 0.5, y + 0.5), ((3, 4), (3, 1))),
    "where": Case(lambda xp, x, y: xp.where(x > 0, x * y, y), ((2, 3), (3,))),
    "where, spread": Case(lambda xp, x, y: xp.where(x > y, x, y), ((2, 1), (3,)), costly=True),
    "vecdot": Case(lambda xp, x, y: xp.vecdot(x, y), ((2, 3), (2, 3))),
    "vecdot, axis": Case(lambda xp, x, y: xp.vecdot(x, y, axis=-2), ((2, 3), (4, 2, 1))),
    "dot": Case(lambda xp, x, y: xp.dot(x, xp.dot(y, x[0, :])), ((2, 3), (3, 3)), without=("strict", "torch")),
    "dot with a number": Case(lambda xp, x, y: xp.dot(x, y), ((2, 3), ()), without=("strict", "torch")),
    "transpose": Case(lambda xp, x: xp.transpose(x), ((2, 3, 4),), without=("strict", "torch")),
    "transpose, axes": Case(
        lambda xp, x: xp.transpose(x, (2, 0, 1)), ((2, 3, 4),), without=("strict", "torch"), costly=True
    ),
    "moveaxis": Case(lambda xp, x: xp.moveaxis(x, 0, -1), ((2, 3, 4),)),
    "moveaxis, back": Case(lambda xp, x: xp.moveaxis(x, -1, 1), ((2, 3, 4),), costly=True),
    "moveaxis, several": Case(lambda xp, x: xp.moveaxis(x, (0, 1), (-1, 0)), ((2, 3, 4),)),
    "broadcast_arrays": Case(lambda xp, x, y: operator.mul(*xp.broadcast_arrays(x, y)), ((2, 1), (3,))),
    "asarray": Case(
        lambda xp, x: xp.asarray(x) * xp.asarray(2.0 * x, dtype=x.dtype), ((2, 3),), without=("torch",)
    ),  # it warns
    "full_like": Case(lambda xp, x, y: xp.full_like(x, y) * x, ((2, 3), ()), without=("strict", "torch")),
    "astype": Case(lambda xp, x: xp.astype(x, xp.float64) * x, ((2, 3),)),
    "reshape": Case(lambda xp, x: xp.reshape(x, (3, -1)), ((2, 3, 2),)),
    "expand_dims": Case(lambda xp, x: xp.expand_dims(xp.expand_dims(x, axis=-1), axis=1), ((2, 3),)),
    "squeeze": Case(lambda xp, x: xp.squeeze(x, axis=1), ((2, 1, 3),)),
    "squeeze, several": Case(lambda xp, x: xp.squeeze(x, axis=(0, -2)), ((1, 2, 1, 3),)),
    "permute_dims": Case(lambda xp, x: xp.permute_dims(x, (2, 0, 1)), ((2, 3, 4),)),
    "broadcast_to": Case(lambda xp, x: xp.broadcast_to(x, (2, 2, 3)), ((2, 1),)),
    "flip": Case(lambda xp, x: xp.flip(x, axis=-1), ((2, 3),)),
    "flip, all": Case(lambda xp, x: xp.flip(x), ((2, 3),), costly=True),
    "flip, several": Case(lambda xp, x: xp.flip(x, axis=(0, 2)), ((2, 3, 2),)),
    "concat": Case(lambda xp, x, y: xp.concat([x, y, x]), ((2, 3), (1, 3))),
    "concat, axis": Case(lambda xp, x, y: xp.concat((x, y), axis=-2), ((2, 1, 3), (2, 2, 3)), costly=True),
    "concat, flat": Case(lambda xp, x, y: xp.concat([x, y], axis=None), ((2, 3), (4,))),
    "stack": Case(lambda xp, x, y: xp.stack([x, y, x]), ((2, 3), (2, 3))),
    "stack, axis": Case(lambda xp, x, y: xp.stack((y, x), axis=-2), ((2, 3), (2, 3))),
}
CASES |= STANDARD
#: No derivative, or zero almost everywhere; ``test_values`` has them.
ROUND, ASK = ("floor", "ceil", "trunc", "round"), ("isfinite", "isnan", "isinf")
FLAT = {
    "equal": lambda xp, x, y: x == y,
    "not_equal": lambda xp, x, y: x != y,
    "less": lambda xp, x, y: x < y,
    "less_equal": lambda xp, x, y: x <= y,
    "greater": lambda xp, x, y: x > y,
    "greater_equal": lambda xp, x, y: x >= y,
    "floor_divide": lambda xp, x, y: x // y,
    "logical_and": lambda xp, x, y: (x > 0) & (y > 0),
    "logical_or": lambda xp, x, y: (x > 0) | (y > 0),
    "logical_xor": lambda xp, x, y: (x > 0) ^ (y > 0),
    "logical_not": lambda xp, x, y: ~(x > 0),
    **{
        n: lambda xp, x, y, n=n: getattr(xp, n)(x)
        for n in ["sign", "floor", "ceil", "trunc", "round", "isfinite", "isnan", "isinf"]
    },
    **{n: lambda xp, x, y, n=n: getattr(xp, n)(x, axis=1, keepdims=True) for n in ("argmax", "argmin")},
    **{n: lambda xp, x, y, n=n: getattr(xp, n)(x > 0, axis=0) for n in ("any", "all")},
    "count_nonzero": lambda xp, x, y: xp.count_nonzero(x > 0, axis=1, keepdims=True),
    "argsort": lambda xp, x, y: xp.argsort(x, axis=-1),
    "signbit": lambda xp, x, y: xp.signbit(x),
    "nextafter": lambda xp, x, y: xp.nextafter(x, y),
    "searchsorted": lambda xp, x, y: xp.searchsorted(xp.sort(y[0, :]), x[0, :]),
    "bitwise_and": lambda xp, x, y: xp.astype(x * 9, xp.int64) & xp.astype(y * 9, xp.int64),
    "bitwise_or": lambda xp, x, y: xp.astype(x * 9, xp.int64) | xp.astype(y * 9, xp.int64),
    "bitwise_xor": lambda xp, x, y: xp.astype(x * 9, xp.int64) ^ xp.astype(y * 9, xp.int64),
    "bitwise_invert": lambda xp, x, y: ~xp.astype(x * 9, xp.int64),
    "bitwise_left_shift": lambda xp, x, y: xp.astype(abs(x) * 9, xp.int64) << xp.astype(abs(y), xp.int64),
    "bitwise_right_shift": lambda xp, x, y: xp.astype(abs(x) * 9, xp.int64) >> xp.astype(abs(y), xp.int64),
    "linalg.matrix_rank": lambda xp, x, y: xp.linalg.matrix_rank(x),
}
#: What nobody calls: met in gradients of gradients.
INSIDE_GRADIENTS = {"put_rows", "put_slice", "same", "moved", "copy"}

#: f at points where it has no derivative, or a corner; what jax.grad says there
CORNERS = {
    "maximum": (lambda xp, x: xp.maximum(x, 1.0 + 0 * x) * 3, [1.0, 0.0, 2.0], [1.5, 0, 3]),
    "maximum with a number": (lambda xp, x: xp.maximum(x, 1.0), [1.0, 0.0, 2.0], [0.5, 0, 1]),
    "number and maximum": (lambda xp, x: xp.minimum(1.0, x), [1.0, 0.0, 2.0], [0.5, 1, 0]),
    "minimum": (lambda xp, x: xp.minimum(x, 1.0 + 0 * x) * 3, [1.0, 0.0, 2.0], [1.5, 3, 0]),
    "maximum of itself": (lambda xp, x: xp.maximum(x, x), [1.0, 0.0], [1, 1]),
    "max": (lambda xp, x: 3 * xp.max(x), [2.0, 1.0, 2.0, 2.0], [1, 0, 1, 1]),
    "min": (lambda xp, x: xp.min(x), [2.0, 1.0, 1.0], [0, 0.5, 0.5]),
    "abs": (lambda xp, x: xp.abs(x), [0.0, -1.0], [0, -1]),
    "sign": (lambda xp, x: xp.sign(x) * x, [0.0, -1.0], [0, -1]),
    "clip": (lambda xp, x: xp.clip(x, 0.0, 1.0), [0.0, 1.0, 0.5, 2.0], [0.5, 0.5, 1, 0]),
    "sqrt": (lambda xp, x: xp.sqrt(x), [0.0, 4.0], [np.inf, 0.25]),
    **{
        f"power {p}": (lambda xp, x, p=p: x**p, [0.0, 2.0], slopes)
        for p, slopes in {0: [0, 0], 1: [1, 1], 2: [0, 4], 3: [0, 12], -1: [-np.inf, -0.25]}.items()
    },
    "power 0.5": (lambda xp, x: x**0.5, [0.0, 4.0], [np.inf, 0.25]),
    "negative base": (lambda xp, x: x**3, [-2.0, -1.0], [12, 3]),
    "powers": (lambda xp, x: x ** xp.asarray([0.0, 1, 2, 3], device=device(x)), [0.0] * 4, [0, 1, 0, 0]),
    "0 ** x": (lambda xp, x: 0.0**x, [1.0, 2.0], [0, 0]),
}
