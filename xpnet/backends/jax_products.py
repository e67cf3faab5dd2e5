"""Products of matrices in the order in which XLA on a CPU is fast."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from xpnet._typing import Array
from xpnet.backends.base import Step

#: Where y has at most so many columns, and x at least so many times as many, XLA on a CPU takes less time for xᵀ y as
#: (yᵀ x)ᵀ. With more columns of y the transpose costs what the product gains, and more where x has a power of two.
NARROW, TIMES = 64, 4


def with_turned_products(step: Step, jax: ModuleType) -> Step:
    """The step, with products xᵀ y written (yᵀ x)ᵀ where y (N, O) is narrow and x (N, I) is not.

    Such are the gradients of weights. What a step calls under a ``jit`` of its own stays as it is.
    """

    def turned(*arguments: Any) -> Any:
        closed, result = jax.make_jaxpr(step, return_shape=True)(*arguments)
        stored, equations = {}, []
        for equation in closed.eqns:
            if equation.primitive.name == "transpose" and equation.params["permutation"] == (1, 0):
                stored[equation.outvars[0]] = equation.invars[0]
            equations.append(_turned(equation, stored, jax) if equation.primitive.name == "dot_general" else equation)
        closed = closed.replace(jaxpr=closed.jaxpr.replace(eqns=equations))
        found = import_module("jax.extend.core").jaxpr_as_fun(closed)(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(result), found)

    return turned


def _turned(equation: Any, stored: dict[Any, Any], jax: ModuleType) -> Any:
    """A product as it is, or turned: if its left factor is the transpose of an x in ``stored``, and x has the shape."""
    left, y = equation.invars
    x, numbers = stored.get(left), equation.params["dimension_numbers"]
    if x is None or numbers != (((1,), (0,)), ((), ())) or y.aval.ndim != 2:
        return equation
    if y.aval.shape[1] > NARROW or x.aval.shape[1] < TIMES * y.aval.shape[1]:
        return equation
    options = {name: equation.params[name] for name in ("precision", "preferred_element_type")}

    def product(x: Array, y: Array) -> Array:
        turned = jax.lax.dot_general(y, x, (((0,), (0,)), ((), ())), **options)
        return jax.lax.optimization_barrier(turned).T  # without the barrier XLA turns it back

    call = jax.make_jaxpr(jax.jit(product))(x.aval, y.aval).eqns[0]
    return equation.replace(invars=[x, y], primitive=call.primitive, params=call.params, effects=call.effects)
