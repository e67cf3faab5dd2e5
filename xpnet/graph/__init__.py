"""The computational graph: values forward, derivatives backward, and a picture of both.

:func:`variable` makes an array whose use is recorded, on top of an array of any library; whatever is written against
the standard runs on it, and ``y.backward()`` finds the derivatives. :func:`grad` makes a function that returns the
gradient of another one, and :func:`draw` shows values and derivatives on the arrows of the graph.
"""

from xpnet.graph import composed as _composed  # noqa: F401  (fills the table of functions)
from xpnet.graph import special
from xpnet.graph.extend import checkpoint, defvjp, primitive
from xpnet.graph.modes import elementwise_grad, hessian, hvp, jacobian, jvp, vjp
from xpnet.graph.pictures.dot import DrawingUnavailableError
from xpnet.graph.pictures.drawing import Drawing, draw
from xpnet.graph.transforms import grad, value_and_grad
from xpnet.graph.variable import Variable, constant, variable
from xpnet.graph.wrapper import group

__all__ = [
    "Drawing",
    "DrawingUnavailableError",
    "Variable",
    "checkpoint",
    "constant",
    "defvjp",
    "draw",
    "elementwise_grad",
    "grad",
    "group",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "primitive",
    "special",
    "value_and_grad",
    "variable",
    "vjp",
]
