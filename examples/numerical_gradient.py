"""Numerical gradient / 数値微分と勾配
===================================

The numerical gradient of x0^2 + x1^2, and the field of arrows it makes.

``python examples/numerical_gradient.py --backend torch``
"""

import argparse
import os

from xpnet import backend_names, get_backend, numerical_gradient
from xpnet.plotting import gradient_field, save

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--out", default="pictures", help="folder for the picture (default pictures)")
args = parser.parse_args()
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX computes in float32 until it is told otherwise
backend = get_backend(args.backend)


def f(x):
    return x[0] ** 2 + x[1] ** 2


# Each entry is moved by a small step up and down, and nothing but values of f is used. By hand it is (2 x0, 2 x1).
for point in ([3.0, 4.0], [0.0, 2.0], [3.0, 0.0]):
    gradient = numerical_gradient(f, backend.asarray(point, "float64"))
    print(f"the gradient at {point} is {backend.to_numpy(gradient).round(6)}")

# Arrows point downhill, and are longer where it is steeper.
ax = gradient_field(lambda x: numerical_gradient(f, x), backend=backend)
ax.set_title("x0² + x1²: the way down")
print(f"wrote {save(ax, f'{args.out}/gradient_field.png')}")
