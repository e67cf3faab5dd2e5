"""Minimizing with SciPy / グラフの勾配による最適化
================================================

Minimize functions through SciPy, with gradients from the graph.

``python examples/graph_minimize.py --backend torch``

It needs SciPy, which xpnet does not.
"""

import argparse
import importlib
import os
import sys

import numpy as np

from xpnet import backend_names, get_backend, namespace
from xpnet.graph import hvp, value_and_grad

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--method", default="L-BFGS-B", help="as scipy.optimize calls it (default L-BFGS-B)")
args = parser.parse_args()
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX computes in float32 until it is told otherwise
backend = get_backend(args.backend)
try:
    optimize = importlib.import_module("scipy.optimize")
except ImportError:
    sys.exit(print("this example needs SciPy: pip install scipy"))


def minimize(f, x0, method=args.method, **options):
    """The minimum of a function of arrays on the backend; x0 and the result are NumPy arrays."""
    both, curved = value_and_grad(f), hvp(f)

    def on_host(x):
        value, slope = both(backend.asarray(x))
        return float(value), backend.to_numpy(slope)

    def product(x, v):
        return backend.to_numpy(curved(backend.asarray(x), backend.asarray(v)))

    second = {"hessp": product} if method in ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr") else {}
    return optimize.minimize(on_host, x0, jac=True, method=method, **second, **options)


def rosenbrock(x):
    return namespace(x).sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def line(w):
    """The mean of squares of a line through points, and a little of its size."""
    points, heights = (backend.asarray(a) for a in (np.linspace(0, 1, 20), 3 * np.linspace(0, 1, 20) - 1))
    return namespace(w).mean((w[0] * points + w[1] - heights) ** 2) + 1e-6 * namespace(w).sum(w**2)


found = minimize(rosenbrock, np.zeros(10))
print(f"Rosenbrock's function in 10 variables, {args.method}: {found.fun:.1e} at {np.round(found.x, 3).tolist()}")
assert found.fun < 1e-6
found = minimize(rosenbrock, np.zeros(10), "Newton-CG")
print(f"the same, Newton-CG with products of the Hessian: {found.nit} steps, {found.fun:.1e}")
assert found.fun < 1e-6
found = minimize(line, np.zeros(2))
print(f"a line: {found.x[0]:.3f} x + {found.x[1]:.3f}, which is 3 x - 1")
