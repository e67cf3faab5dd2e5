"""Gradient descent and learning rates / 勾配降下法と学習率
========================================================

Gradient descent on x0^2 + x1^2, with learning rates that are right, too large and too small.

``python examples/gradient_descent.py --backend jax``
"""

import argparse
import os
import warnings

from xpnet import DivergedError, backend_names, get_backend, gradient_descent
from xpnet.plotting import contours, descent_paths, save, surface

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--out", default="pictures", help="folder for the pictures (default pictures)")
args = parser.parse_args()
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX computes in float32 until it is told otherwise
backend = get_backend(args.backend)
warnings.simplefilter("ignore")  # we print the warning's cause ourselves


def f(x):
    return x[0] ** 2 + x[1] ** 2


paths = {}
for start in ([-3.0, 4.0], [-2.0, 3.0]):
    print(f"from {start}, 100 steps:")
    for lr in (0.1, 10.0, 1e-10):
        try:
            x, path, _ = gradient_descent(f, backend.asarray(start, "float64"), lr=lr, steps=100)
            print(f"  learning rate {lr:<6g} ends at [{float(x[0]):.9g}, {float(x[1]):.9g}]")
        except DivergedError as error:
            path = error.path
            print(f"  learning rate {lr:<6g} {error}")
        paths[start[0], lr] = path

# The surface with its contours, and the same from above with the way that the descent took.
ax = surface(f, x=(-4, 4), y=(-4, 4))
ax.set_title("x0² + x1²")
print(f"wrote {save(ax, f'{args.out}/surface.png')}")
ax = contours(f, x=(-4, 4), y=(-4, 4))
ax.set_title("x0² + x1²")
print(f"wrote {save(ax, f'{args.out}/contours.png')}")
shown = {f"lr = {lr:g}": paths[-3.0, lr] for lr in (10.0, 0.1, 1e-10)}  # the last on top
ax = descent_paths(f, shown, x=(-5, 5), y=(-5, 5))
ax.set_title("x0² + x1²: learning rates right, too large, too small")
print(f"wrote {save(ax, f'{args.out}/learning_rates.png')}")
