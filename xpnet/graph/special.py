"""Special functions, of variables and arrays alike: their values are the library's, their derivatives a table.

``scipy.special``'s own functions take variables on top of NumPy arrays too, where they are ufuncs; the table is for
every library: ``special.erf(v)``. One that is missing is given with :func:`xpnet.graph.defvjp`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any

from xpnet._typing import Array
from xpnet.backends.base import backend_class
from xpnet.backends.dispatch import name_of, namespace, number_as_array
from xpnet.graph.operations import Operation, Pullback, axes_of
from xpnet.graph.recording import FOREIGN_NAMES, composed
from xpnet.graph.variable import Variable, record

Function = Callable[..., Any]

#: Pullbacks by name.
TABLE: dict[str, tuple[Pullback | None, ...]] = {}
#: The same functions by other names.
ALIASES = {"psi": "digamma", "jn": "jv", "yn": "yv"}


def _add(name: str, *pullbacks: Pullback | None) -> None:
    TABLE[name] = pullbacks


_ROOT = math.sqrt(math.pi)


def _normal(xp: Any, x: Array) -> Array:
    return xp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _over(xp: Any, y: Array, x: Array) -> Array:
    """y / x for a function whose slope at 0 is 1/2."""
    nowhere = x == 0
    return xp.where(nowhere, 0.5 * xp.ones_like(y), y / xp.where(nowhere, xp.ones_like(x), x))


_add("erf", lambda xp, g, y, x: g * (2 / _ROOT) * xp.exp(-x * x))
_add("erfc", lambda xp, g, y, x: g * (-2 / _ROOT) * xp.exp(-x * x))
_add("erfinv", lambda xp, g, y, x: g * (_ROOT / 2) * xp.exp(y * y))
_add("erfcinv", lambda xp, g, y, x: g * (-_ROOT / 2) * xp.exp(y * y))
_add("expit", lambda xp, g, y, x: g * (y * (1 - y)))
_add("log_expit", lambda xp, g, y, x: g * -xp.expm1(y))
_add("logit", lambda xp, g, y, x: g / (x * (1 - x)))
_add("ndtr", lambda xp, g, y, x: g * _normal(xp, x))
_add("log_ndtr", lambda xp, g, y, x: g * xp.exp(-0.5 * x * x - y) / math.sqrt(2 * math.pi))
_add("ndtri", lambda xp, g, y, x: g / _normal(xp, y))
_add("gammaln", lambda xp, g, y, x: g * digamma(x))
_add("gamma", lambda xp, g, y, x: g * y * digamma(x))
_add("rgamma", lambda xp, g, y, x: -g * y * digamma(x))
_add("gammasgn", None)
_add("digamma", lambda xp, g, y, x: g * polygamma(1, x))
_add("polygamma", None, lambda xp, g, y, n, x: g * polygamma(n + 1, x))
_add(
    "betaln",
    lambda xp, g, y, a, b: g * (digamma(a) - digamma(a + b)),
    lambda xp, g, y, a, b: g * (digamma(b) - digamma(a + b)),
)
_add(
    "beta",
    lambda xp, g, y, a, b: g * y * (digamma(a) - digamma(a + b)),
    lambda xp, g, y, a, b: g * y * (digamma(b) - digamma(a + b)),
)
_add("gammainc", None, lambda xp, g, y, a, x: g * xp.exp(xlogy(a - 1, x) - x - gammaln(a)))
_add("gammaincc", None, lambda xp, g, y, a, x: -g * xp.exp(xlogy(a - 1, x) - x - gammaln(a)))
_add(
    "betainc",
    None,
    None,
    lambda xp, g, y, a, b, x: g * xp.exp(xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b)),
)
_add(
    "xlogy",
    lambda xp, g, y, a, b: g * xp.where(a == 0, 0 * b, xp.log(xp.where(a == 0, xp.ones_like(y), b + 0 * y))),
    lambda xp, g, y, a, b: g * (a / b),
)
_add("xlog1py", lambda xp, g, y, a, b: g * xp.log1p(b), lambda xp, g, y, a, b: g * (a / (1 + b)))
_add("entr", lambda xp, g, y, x: g * (-xp.log(x) - 1))
_add("rel_entr", lambda xp, g, y, a, b: g * (xp.log(a) - xp.log(b) + 1), lambda xp, g, y, a, b: -g * (a / b))
_add("kl_div", lambda xp, g, y, a, b: g * (xp.log(a) - xp.log(b)), lambda xp, g, y, a, b: g * (1 - a / b))
_add("exp10", lambda xp, g, y, x: g * y * math.log(10))
_add("i0", lambda xp, g, y, x: g * i1(x))
_add("i1", lambda xp, g, y, x: g * (i0(x) - _over(xp, y, x)))
_add("i0e", lambda xp, g, y, x: g * (i1e(x) - xp.sign(x) * y))
_add("i1e", lambda xp, g, y, x: g * (i0e(x) - xp.sign(x) * y - _over(xp, y, x)))
_add("j0", lambda xp, g, y, x: -g * j1(x))
_add("j1", lambda xp, g, y, x: g * (j0(x) - _over(xp, y, x)))
_add("y0", lambda xp, g, y, x: -g * y1(x))
_add("y1", lambda xp, g, y, x: g * (y0(x) - y / x))
_add("jv", None, lambda xp, g, y, n, x: g * (jv(n - 1, x) - jv(n + 1, x)) / 2)
_add("yv", None, lambda xp, g, y, n, x: g * (yv(n - 1, x) - yv(n + 1, x)) / 2)
_add("iv", None, lambda xp, g, y, n, x: g * (iv(n - 1, x) + iv(n + 1, x)) / 2)
_add("kv", None, lambda xp, g, y, n, x: -g * (kv(n - 1, x) + kv(n + 1, x)) / 2)
_add("ive", None, lambda xp, g, y, n, x: g * ((ive(n - 1, x) + ive(n + 1, x)) / 2 - xp.sign(x) * y))


def _library(x: Any, name: str) -> Callable[..., Any]:
    """The function of that name of the library of an array."""
    library = name_of(x)
    assert library is not None
    where = backend_class(library).special_module
    try:
        return getattr(importlib.import_module(where), name)  # type: ignore[no-any-return]
    except ImportError as error:
        package = where.partition(".")[0]
        raise TypeError(
            f"special.{name} of a {library} array is computed by {where}, which is not here: pip install {package}"
        ) from error
    except AttributeError as error:
        raise TypeError(f"special.{name} of a {library} array is computed by {where}, which has no {name}") from error


def _function(name: str) -> Callable[..., Any]:
    pullbacks = TABLE[name]

    def function(*args: Any) -> Array:
        like = next((x for x in args if isinstance(x, Variable) or name_of(x) is not None), None)
        if like is None:  # numbers, or a TypeError
            like = number_as_array(args[-1])
            if name_of(like) is None:
                raise TypeError(f"special.{name} is of arrays, variables and numbers, and got {args!r:.80}")
        compute = _library(like.value if isinstance(like, Variable) else like, name)
        if not any(isinstance(x, Variable) for x in args):
            return compute(*args)
        return record(Operation(name, pullbacks, compute=compute, spreads=True), args)

    of = next((list(signature(p).parameters)[3:] for p in pullbacks if p), ["x"])  # behind xp, g and y
    function.__signature__ = Signature([Parameter(x, Parameter.POSITIONAL_ONLY) for x in of])  # type: ignore[attr-defined]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"``{name}``, as its library computes it, with its derivative."
    return function


erf: Function = _function("erf")
erfc: Function = _function("erfc")
erfinv: Function = _function("erfinv")
erfcinv: Function = _function("erfcinv")
expit: Function = _function("expit")
log_expit: Function = _function("log_expit")
logit: Function = _function("logit")
ndtr: Function = _function("ndtr")
log_ndtr: Function = _function("log_ndtr")
ndtri: Function = _function("ndtri")
gammaln: Function = _function("gammaln")
gamma: Function = _function("gamma")
digamma: Function = _function("digamma")
polygamma: Function = _function("polygamma")
betaln: Function = _function("betaln")
beta: Function = _function("beta")
gammainc: Function = _function("gammainc")
gammaincc: Function = _function("gammaincc")
betainc: Function = _function("betainc")
xlogy: Function = _function("xlogy")
xlog1py: Function = _function("xlog1py")
entr: Function = _function("entr")
rel_entr: Function = _function("rel_entr")
kl_div: Function = _function("kl_div")
exp10: Function = _function("exp10")
i0: Function = _function("i0")
i1: Function = _function("i1")
i0e: Function = _function("i0e")
i1e: Function = _function("i1e")
j0: Function = _function("j0")
j1: Function = _function("j1")
y0: Function = _function("y0")
y1: Function = _function("y1")
jv: Function = _function("jv")
yv: Function = _function("yv")
iv: Function = _function("iv")
kv: Function = _function("kv")
ive: Function = _function("ive")
composed("i0")(lambda xp, x, /: i0(x))
psi: Function = digamma
rgamma: Function = _function("rgamma")
gammasgn: Function = _function("gammasgn")
FOREIGN_NAMES.update({**TABLE, **{old: TABLE[name] for old, name in ALIASES.items()}})


def logsumexp(a: Array, axis: Any = None, b: Any = None, keepdims: bool = False) -> Array:
    """log Σ b exp(a), where none of the powers can be held; -∞ of nothing but that."""
    xp = namespace(a)
    top = xp.max(a, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    top = top.__class__.xp.constant(top.value) if isinstance(top, Variable) else top
    powers = xp.exp(a - top)
    found = xp.log(xp.sum(powers if b is None else b * powers, axis=axis, keepdims=True)) + top
    if keepdims:
        return found
    return xp.squeeze(found, axis=axes_of(a, axis)) if a.ndim else found


def softmax(x: Array, axis: Any = None) -> Array:
    """exp(x) / Σ exp(x)."""
    return namespace(x).exp(log_softmax(x, axis))


def log_softmax(x: Array, axis: Any = None) -> Array:
    """x - log Σ exp(x)."""
    return x - logsumexp(x, axis, keepdims=True)


def multigammaln(a: Array, d: int) -> Array:
    """The logarithm of the gamma function of d dimensions."""
    found = d * (d - 1) / 4 * math.log(math.pi)
    for k in range(d):
        found = found + gammaln(a - k / 2)
    return found


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"special.{name} has no derivative here; give one with xpnet.graph.defvjp; there are: "
        f"{', '.join(sorted(TABLE))}, logsumexp, softmax, log_softmax, multigammaln"
    )
