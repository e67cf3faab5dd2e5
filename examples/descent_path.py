"""The path of a descent / 勾配降下法の軌跡
========================================

The path of a descent on (x0 - 1)^2 + (x1 - 2)^2 from the origin.

``python examples/descent_path.py --backend strict``
"""

import argparse
import os

from xpnet import backend_names, get_backend, gradient_descent
from xpnet.plotting import descent_paths, save

parser = argparse.ArgumentParser(description=(__doc__ or "").partition(" / ")[0])
parser.add_argument("--backend", choices=backend_names(), default="numpy")
parser.add_argument("--out", default="pictures", help="folder for the picture (default pictures)")
args = parser.parse_args()
os.environ.setdefault("JAX_ENABLE_X64", "1")  # JAX computes in float32 until it is told otherwise
backend = get_backend(args.backend)


def f(x):
    return (x[0] - 1) ** 2 + (x[1] - 2) ** 2


found = gradient_descent(f, backend.asarray([0.0, 0.0], "float64"), lr=0.1, steps=20)
for step in (0, 1, 2, 5, 10, 20):
    x0, x1 = (float(v) for v in backend.to_numpy(found.path)[step])
    print(f"step {step:2d}  x = ({x0:.6f}, {x1:.6f})  f = {found.values[step]:.6f}")

ax = descent_paths(f, found.path, x=(-0.5, 2.5), y=(-0.5, 3.5))
ax.set_title("(x0 - 1)² + (x1 - 2)², learning rate 0.1, 20 steps")
print(f"wrote {save(ax, f'{args.out}/descent_path.png')}")
